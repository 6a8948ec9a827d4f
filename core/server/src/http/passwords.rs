//! HTTP Basic authentication (RFC 7617) with a database user's name and password.
//!
//! A check costs thousands of rounds of hashing, so few run at once, off the threads that serve others; a success is
//! remembered for a short while, and who fails too often waits. An unknown user costs what a known one does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_crypto::{ScramVerifier, SecretBytes, constant_time_equal};
use craton_types::UserDefinition;
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::postgres::MockVerifiers;

/// How many passwords are checked at once.
const CHECKS_MAX: usize = 2;
/// How long a checked password is believed. A changed password or user is noticed at once all the same.
const SUCCESS_LIFETIME: Duration = Duration::from_secs(60);
/// How many checked passwords are remembered.
const SUCCESSES_MAX: usize = 1_024;
/// How many wrong passwords an address may send in [`FAILURE_PERIOD`].
pub(super) const FAILURES_MAX: u32 = 10;
/// How long failures count.
pub(super) const FAILURE_PERIOD: Duration = Duration::from_secs(60);
/// How many addresses' failures are counted. Further ones are refused until the oldest are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// A name and a password as a client sent them.
pub(super) struct Credentials {
    pub(super) user: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Reads the `Authorization` header; `None` when there is none, or it is of another kind.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = Zeroizing::new(BASE64.decode(encoded.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        })
    }
}

/// What a check of a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// The address has been wrong too often and is not listened to for now.
    TooMany,
}

/// Checks passwords.
pub(crate) struct Passwords {
    /// What is remembered says nothing to those who do not have it.
    key: SecretBytes,
    checks: Semaphore,
    successes: Mutex<HashMap<[u8; 32], Instant>>,
    failures: Mutex<Failures>,
}

impl Passwords {
    /// `key` is for nothing else.
    pub(crate) fn new(key: SecretBytes) -> Self {
        Self {
            key,
            checks: Semaphore::new(CHECKS_MAX),
            successes: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Whether the password is that of `known`, the user of the credentials' name if there is one.
    pub(super) async fn check(
        &self,
        mock: &MockVerifiers,
        address: IpAddr,
        credentials: Credentials,
        known: Option<&UserDefinition>,
        now: Instant,
    ) -> Verdict {
        let fingerprint = self.fingerprint(&credentials, known);
        if let Some(fingerprint) = fingerprint
            && self
                .successes
                .lock()
                .get(&fingerprint)
                .is_some_and(|until| now < *until)
        {
            return Verdict::Right;
        }
        let address = subscriber(address);
        if self.failures.lock().is_too_many(address, now) {
            return Verdict::TooMany;
        }
        let _permit = self.checks.acquire().await.expect("the semaphore is never closed");
        let (salt, iterations, stored_key) = match known.and_then(|user| user.scram_verifier.parse().ok()) {
            Some(verifier) => parts(&verifier),
            None => mock.parts(&credentials.user),
        };
        let password = credentials.password;
        let derived =
            tokio::task::spawn_blocking(move || ScramVerifier::from_password(&password, &salt, iterations)).await;
        let is_right = matches!(derived, Ok(Ok(derived)) if constant_time_equal(derived.stored_key(), &stored_key));
        match fingerprint.filter(|_| is_right) {
            Some(fingerprint) => {
                self.remember(fingerprint, now);
                Verdict::Right
            }
            None => {
                self.failures.lock().note(address, now);
                Verdict::Wrong
            }
        }
    }

    /// What a success is remembered by: it changes with the password and with the user's verifier. `None` for an
    /// unknown user.
    fn fingerprint(&self, credentials: &Credentials, known: Option<&UserDefinition>) -> Option<[u8; 32]> {
        let known = known?;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("HMAC takes keys of any length");
        for part in [&credentials.user, &*credentials.password, &known.scram_verifier] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac.finalize().into_bytes().into())
    }

    fn remember(&self, fingerprint: [u8; 32], now: Instant) {
        let mut successes = self.successes.lock();
        if successes.len() >= SUCCESSES_MAX {
            successes.retain(|_, until| now < *until);
        }
        if successes.len() < SUCCESSES_MAX {
            successes.insert(fingerprint, now + SUCCESS_LIFETIME);
        }
    }
}

fn parts(verifier: &ScramVerifier) -> (Vec<u8>, u32, [u8; 32]) {
    (verifier.salt().to_vec(), verifier.iterations(), *verifier.stored_key())
}

/// An IPv6 address counts by its /64, which one subscriber holds.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Wrong passwords by address.
#[derive(Default)]
struct Failures(HashMap<IpAddr, Counted>);

struct Counted {
    count: u32,
    until: Instant,
}

impl Failures {
    fn is_too_many(&mut self, address: IpAddr, now: Instant) -> bool {
        match self.0.get(&address) {
            Some(counted) => counted.count >= FAILURES_MAX && now < counted.until,
            None => {
                if self.0.len() >= ADDRESSES_MAX {
                    self.0.retain(|_, counted| now < counted.until);
                }
                self.0.len() >= ADDRESSES_MAX
            }
        }
    }

    fn note(&mut self, address: IpAddr, now: Instant) {
        let counted = self.0.entry(address).or_insert(Counted {
            count: 0,
            until: now + FAILURE_PERIOD,
        });
        if now >= counted.until {
            counted.count = 0;
            counted.until = now + FAILURE_PERIOD;
        }
        counted.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use craton_types::ActorId;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a beginning to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
        headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
        Credentials::of(&headers).expect("credentials")
    }

    fn user(password: &str) -> UserDefinition {
        UserDefinition {
            name: "app".to_owned(),
            actor: ActorId::NIL,
            scram_verifier: ScramVerifier::from_password(password, b"salt", 4096)
                .expect("a password")
                .to_string(),
            databases: Vec::new(),
            read_only: false,
            compliance: false,
        }
    }

    fn mock() -> MockVerifiers {
        MockVerifiers::new(SecretBytes::new([1; 32]))
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_password_is_right_until_it_or_the_users_verifier_changes() {
        let passwords = Passwords::new(SecretBytes::new([2; 32]));
        let (mock, now) = (mock(), start());
        let (old, new) = (user("old one"), user("new one"));
        let check = async |password, known, now| {
            let credentials = credentials("app", password);
            passwords.check(&mock, ADDRESS, credentials, known, now).await
        };
        for _ in 0..2 {
            assert_eq!(check("old one", Some(&old), now).await, Verdict::Right);
        }
        assert_eq!(passwords.successes.lock().len(), 1);
        assert_eq!(check("old two", Some(&old), now).await, Verdict::Wrong);
        assert_eq!(check("old one", Some(&new), now).await, Verdict::Wrong);
        assert_eq!(check("old one", None, now).await, Verdict::Wrong);
        assert_eq!(check("", Some(&old), now).await, Verdict::Wrong);
        let later = now + SUCCESS_LIFETIME;
        assert_eq!(
            check("old one", Some(&old), later).await,
            Verdict::Right,
            "checked again"
        );
    }

    #[tokio::test]
    async fn who_is_wrong_too_often_waits_and_others_do_not() {
        let passwords = Passwords::new(SecretBytes::new([2; 32]));
        let (mock, now, known) = (mock(), start(), user("right"));
        let check = async |address: &str, password: &str, now| {
            let address = address.parse().expect("an address");
            let credentials = credentials("app", password);
            passwords.check(&mock, address, credentials, Some(&known), now).await
        };
        for attempt in 0..FAILURES_MAX {
            assert_eq!(check("2001:db8::1", "wrong", now).await, Verdict::Wrong, "{attempt}");
        }
        assert_eq!(
            check("2001:db8::2", "right", now).await,
            Verdict::TooMany,
            "the same /64"
        );
        assert_eq!(check("192.0.2.1", "right", now).await, Verdict::Right);
        assert_eq!(
            check("2001:db8::1", "right", now).await,
            Verdict::Right,
            "already known to be right"
        );
        assert_eq!(
            check("2001:db8::1", "right", now + FAILURE_PERIOD).await,
            Verdict::Right
        );
        assert_eq!(
            check("2001:db8::1", "wrong", now + FAILURE_PERIOD).await,
            Verdict::Wrong
        );
    }

    #[test]
    fn memory_is_bounded() {
        let now = start();
        let mut failures = Failures::default();
        for number in 0..ADDRESSES_MAX {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(number).expect("small")));
            assert!(!failures.is_too_many(address, now));
            failures.note(address, now);
        }
        let another = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
        assert!(failures.is_too_many(another, now));
        assert!(!failures.is_too_many(another, now + FAILURE_PERIOD));

        let passwords = Passwords::new(SecretBytes::new([2; 32]));
        for number in 0..SUCCESSES_MAX as u64 + 1 {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            passwords.remember(fingerprint, now);
        }
        assert_eq!(passwords.successes.lock().len(), SUCCESSES_MAX);
    }

    #[test]
    fn only_well_formed_basic_headers_are_credentials() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
            Credentials::of(&headers).map(|found| (found.user.clone(), found.password.to_string()))
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("Basic YTpi"), pair("a", "b"));
        assert_eq!(of("basic YTpiOmM="), pair("a", "b:c"), "only the first colon counts");
        for value in ["Bearer YTpi", "Basic", "Basic !", "Basic YWI=", "Basic //8="] {
            assert_eq!(of(value), None, "{value}");
        }
        assert!(Credentials::of(&HeaderMap::new()).is_none());
    }
}
