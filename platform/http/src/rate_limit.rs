//! Rate limits by account, or by address for those who are not signed in.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use craton_platform_kernel::{OrgId, Principal, UserId};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::{Authentication, Problem};

const LIMIT_HEADER: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING_HEADER: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// How many requests one caller may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests at once.
    pub burst: NonZeroU32,
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
}

/// Who shares a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    User(UserId),
    /// All keys of an organisation together, so that more keys are not more requests.
    Organisation(OrgId),
    Operator,
    /// IPv6 addresses count by their /64, which one subscriber holds.
    Address(IpAddr),
}

type Limiter = RateLimiter<Caller, DashMapStateStore<Caller>, DefaultClock, StateInformationMiddleware>;

/// A limit and what callers have used of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimiting {
    limit: RateLimit,
    limiter: Arc<Limiter>,
    clock: DefaultClock,
}

impl RateLimiting {
    /// Starts counting.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let quota = Quota::per_second(limit.per_second).allow_burst(limit.burst);
        Self {
            limit,
            limiter: Arc::new(RateLimiter::keyed(quota).with_middleware()),
            clock: DefaultClock::default(),
        }
    }

    /// Forgets callers that are back at their full allowance, which bounds the memory. To be called now and then.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// Middleware: counts the request, or answers 429 with the seconds to wait.
    pub async fn layer(State(limiting): State<Self>, request: Request, next: Next) -> Response {
        let Some(caller) = caller(&request) else {
            // Without address and account there is nobody to count: only a server without connect info does that.
            return next.run(request).await;
        };
        let (mut response, remaining) = match limiting.limiter.check_key(&caller) {
            Ok(snapshot) => (next.run(request).await, snapshot.remaining_burst_capacity()),
            Err(not_until) => {
                let wait = not_until.wait_time_from(limiting.clock.now());
                (too_many(wait.as_secs() + 1).into_response(), 0)
            }
        };
        let headers = response.headers_mut();
        headers.insert(LIMIT_HEADER, HeaderValue::from(limiting.limit.burst.get()));
        headers.insert(REMAINING_HEADER, HeaderValue::from(remaining));
        response
    }
}

fn too_many(seconds: u64) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "Too many requests",
        format!("Wait {seconds} s before the next request."),
    )
    .retry_after(seconds)
}

fn caller(request: &Request) -> Option<Caller> {
    if let Some(Authentication::Principal(principal)) = request.extensions().get() {
        match principal {
            Principal::User { user_id, .. } => return Some(Caller::User(*user_id)),
            Principal::ApiKey { org_id, .. } => return Some(Caller::Organisation(*org_id)),
            Principal::Operator { .. } => return Some(Caller::Operator),
            Principal::Node { .. } | Principal::System => {}
        }
    }
    let ConnectInfo(address) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(Caller::Address(match address.ip() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn statuses(router: &Router, address: &str, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            let mut request = Request::new(Body::empty());
            let address: SocketAddr = address.parse().expect("an address");
            request.extensions_mut().insert(ConnectInfo(address));
            let response = router.clone().oneshot(request).await.expect("infallible");
            assert_eq!(response.status() == 429, response.headers().contains_key("retry-after"));
            statuses.push(response.status().as_u16());
        }
        statuses
    }

    #[tokio::test]
    async fn one_request_past_the_burst_is_refused_and_others_are_not_hurt() {
        let limit = RateLimit {
            burst: NonZeroU32::new(3).expect("not zero"),
            per_second: NonZeroU32::MIN,
        };
        let limiting = RateLimiting::new(limit);
        let router = Router::new()
            .route("/", get(|| async {}))
            .layer(from_fn_with_state(limiting.clone(), RateLimiting::layer));
        assert_eq!(statuses(&router, "192.0.2.1:1", 4).await, [200, 200, 200, 429]);
        assert_eq!(statuses(&router, "192.0.2.2:1", 1).await, [200]);
        assert_eq!(statuses(&router, "[2001:db8::1]:1", 3).await, [200, 200, 200]);
        assert_eq!(statuses(&router, "[2001:db8::2]:1", 1).await, [429], "the same /64");
        assert_eq!(statuses(&router, "[2001:db8:0:1::2]:1", 1).await, [200]);
        limiting.forget_idle();
        assert_eq!(
            statuses(&router, "192.0.2.1:1", 1).await,
            [429],
            "a busy caller is not forgotten"
        );
    }
}
