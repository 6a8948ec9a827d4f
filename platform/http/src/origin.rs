//! The platform's own origin, and the refusal of requests that another site made a browser send.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Problem;

/// The URL at which browsers reach the platform: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: Arc<str>,
    host: Arc<str>,
    https: bool,
}

/// Why a text is no public URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no public URL: give https://host, https://host:port, or http://localhost:port")]
pub struct PublicUrlError {
    /// The refused text.
    pub text: String,
}

impl PublicUrl {
    /// Parses a URL without path. Plain HTTP is accepted for `localhost` and its subdomains only, as browsers
    /// allow passkeys on no other plain origin (W3C Secure Contexts, section 3.1).
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let error = || PublicUrlError { text: text.to_owned() };
        let uri: Uri = text.parse().map_err(|_| error())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(error)?;
        let host = authority.host().to_ascii_lowercase();
        let https = match scheme {
            "https" => true,
            "http" if host == "localhost" || host.ends_with(".localhost") => false,
            _ => return Err(error()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(error());
        }
        // A browser leaves the scheme's own port out of an origin (RFC 6454 section 6.2).
        let own_port = if https { 443 } else { 80 };
        let origin = match authority.port_u16().filter(|port| *port != own_port) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        Ok(Self {
            origin: origin.into(),
            host: host.into(),
            https,
        })
    }

    /// The origin as browsers send it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host name without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether browsers come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Middleware: a state-changing request that may carry a cookie must come from our own pages.
///
/// Programs send bearer tokens, which no browser adds by itself, so they are let through.
pub async fn same_origin(State(public_url): State<PublicUrl>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || comes_from_us(request.headers(), public_url.origin()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::FORBIDDEN,
        "cross_origin",
        "Cross-origin request",
        "A request with a session cookie must come from the platform's own pages.",
    )
    .into_response()
}

fn comes_from_us(headers: &HeaderMap, origin: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("origin"), text("sec-fetch-site")) {
        (Some(sent), _) => sent == origin,
        (None, Some(site)) => site == "same-origin",
        // Neither header: no current browser, so only a cookie makes it suspicious.
        (None, None) => headers.contains_key(header::AUTHORIZATION) || !headers.contains_key(header::COOKIE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls_are_origins() {
        for (text, origin) in [
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("http://LOCALHOST:80/", Some("http://localhost")),
            ("https://cloud.example:443", Some("https://cloud.example")),
            ("http://platform.localhost:8080", Some("http://platform.localhost:8080")),
            ("http://cloud.example", None),
            ("http://127.0.0.1:8080", None),
            ("https://cloud.example/path", None),
            ("https://cloud.example/?q", None),
            ("https://user@cloud.example", None),
            ("cloud.example", None),
            ("", None),
        ] {
            let parsed = PublicUrl::parse(text).ok();
            assert_eq!(parsed.as_ref().map(PublicUrl::origin), origin, "{text}");
        }
    }

    #[test]
    fn who_counts_as_our_own_page() {
        let own = "https://cloud.example";
        for (headers, accepted) in [
            (vec![], true),
            (vec![("cookie", "a=b")], false),
            (vec![("cookie", "a=b"), ("origin", own)], true),
            (vec![("cookie", "a=b"), ("origin", "https://evil.example")], false),
            (vec![("cookie", "a=b"), ("origin", "null")], false),
            (vec![("cookie", "a=b"), ("sec-fetch-site", "same-origin")], true),
            (vec![("cookie", "a=b"), ("sec-fetch-site", "same-site")], false),
            (vec![("cookie", "a=b"), ("sec-fetch-site", "cross-site")], false),
            (vec![("cookie", "a=b"), ("authorization", "Bearer x")], true),
            (vec![("origin", "https://evil.example")], false),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
                .collect();
            assert_eq!(comes_from_us(&map, own), accepted, "{headers:?}");
        }
    }
}
