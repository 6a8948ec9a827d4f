//! The two calls of Vault's transit API that are needed.

use std::io::Read;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use ureq::http::{Request, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::{VaultError, VaultOptions, is_ciphertext, token};

/// More than any answer to these calls.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// What an error keeps of Vault's own words.
const ERRORS_CHARS_MAX: usize = 300;

pub(crate) struct Client {
    agent: ureq::Agent,
    options: VaultOptions,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

impl Client {
    pub(crate) fn new(mut options: VaultOptions) -> Result<Self, VaultError> {
        check_address(&options.address)?;
        options.address = options.address.trim_end_matches('/').to_owned();
        options.mount = options.mount.trim_matches('/').to_owned();
        check_path("transit mount", &options.mount)?;
        check_segment("transit key", &options.key)?;
        if let Some(namespace) = &options.namespace {
            check_path("namespace", namespace.trim_matches('/'))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(root_certificates(&options)?)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("craton/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().into(),
            options,
        })
    }

    /// Which key this is.
    pub(crate) fn name(&self) -> String {
        let VaultOptions {
            address, mount, key, ..
        } = &self.options;
        format!("vault key {mount}/{key} at {address}")
    }

    /// Encrypts base64 bytes; the associated data is base64 as well.
    pub(crate) fn encrypt(&self, plaintext: &str, associated_data: &str) -> Result<String, VaultError> {
        let body = Zeroizing::new(json!({ "plaintext": plaintext, "associated_data": associated_data }).to_string());
        let answer: Answer<Encrypted> = self.call("encrypt", &body)?;
        let ciphertext = answer.data.ciphertext;
        match is_ciphertext(&ciphertext) {
            true => Ok(ciphertext),
            false => Err(VaultError::Answer(
                "the ciphertext does not begin with vault:v<version>:",
            )),
        }
    }

    /// Decrypts to base64 bytes.
    pub(crate) fn decrypt(&self, ciphertext: &str, associated_data: &str) -> Result<Zeroizing<String>, VaultError> {
        let body = json!({ "ciphertext": ciphertext, "associated_data": associated_data }).to_string();
        let answer: Answer<Decrypted> = self.call("decrypt", &body)?;
        Ok(Zeroizing::new(answer.data.plaintext))
    }

    fn call<T: for<'a> Deserialize<'a>>(&self, action: &str, body: &str) -> Result<T, VaultError> {
        let mut delay = self.options.retry_delay;
        let mut attempt = 1;
        loop {
            match self.attempt(action, body) {
                Err(error) if error.is_retryable() && attempt < self.options.attempts_max => {
                    std::thread::sleep(delay);
                    delay = delay.saturating_mul(2);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn attempt<T: for<'a> Deserialize<'a>>(&self, action: &str, body: &str) -> Result<T, VaultError> {
        let unreachable = |error| VaultError::Unreachable(Box::new(error));
        let VaultOptions {
            address, mount, key, ..
        } = &self.options;
        let token = token::read(&self.options.token_file)?;
        let mut request = Request::post(format!("{address}/v1/{mount}/{action}/{key}"))
            .header("X-Vault-Token", token.as_str())
            .header("X-Vault-Request", "true")
            .header("Content-Type", "application/json");
        if let Some(namespace) = &self.options.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let request = request
            .body(body)
            .map_err(|error| unreachable(ureq::Error::Http(error)))?;
        let response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Zeroizing::new(Vec::new());
        let mut reader = response.into_body().into_reader().take(ANSWER_BYTES_MAX);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| unreachable(ureq::Error::Io(error)))?;
        if status != StatusCode::OK {
            return Err(refusal(status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|_| VaultError::Answer("the body is not what the transit API answers"))
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> VaultError {
    let errors = serde_json::from_slice::<Errors>(body).map(|answer| answer.errors.join("; "));
    let errors: String = errors.unwrap_or_default().chars().take(ERRORS_CHARS_MAX).collect();
    match status.as_u16() {
        403 => VaultError::Denied { errors },
        404 => VaultError::Missing { errors },
        // 429: too many requests, or a standby; 472 and 473: replication secondaries; 503: sealed.
        408 | 412 | 429 | 472 | 473 | 500..=599 => VaultError::Unavailable {
            status: status.as_u16(),
            errors,
        },
        status => VaultError::Refused { status, errors },
    }
}

fn check_address(address: &str) -> Result<(), VaultError> {
    // The parser drops a fragment, and the paths that are put behind the address with it.
    let parsed = address.parse::<Uri>().ok().filter(|_| !address.contains('#'));
    let uri = parsed.filter(|uri| {
        uri.scheme_str() == Some("https")
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'))
            && matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/"))
    });
    uri.map(|_| ()).ok_or_else(|| VaultError::Address {
        address: address.to_owned(),
    })
}

fn check_path(what: &'static str, path: &str) -> Result<(), VaultError> {
    path.split('/').try_for_each(|segment| check_segment(what, segment))
}

fn check_segment(what: &'static str, name: &str) -> Result<(), VaultError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match !name.is_empty() && name.len() <= 128 && name.bytes().all(is_plain) && !matches!(name, "." | "..") {
        true => Ok(()),
        false => Err(VaultError::Name {
            what,
            name: name.to_owned(),
        }),
    }
}

fn root_certificates(options: &VaultOptions) -> Result<RootCerts, VaultError> {
    let Some(path) = &options.ca_file else {
        return Ok(RootCerts::PlatformVerifier);
    };
    let failed = |reason: String| VaultError::Authority {
        path: path.clone(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(failed("no certificate in it".to_owned())),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}

/// What Vault answers to a call, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn transit_answer(bytes: &[u8]) -> bool {
    for status in [400, 403, 404, 429, 503] {
        let status = StatusCode::from_u16(status).expect("a status");
        // The text says of Vault's words no more than an error keeps.
        let text = refusal(status, bytes).to_string();
        assert!(text.chars().count() < ERRORS_CHARS_MAX + 200, "{text}");
    }
    let encrypted = serde_json::from_slice::<Answer<Encrypted>>(bytes);
    let decrypted = serde_json::from_slice::<Answer<Decrypted>>(bytes);
    encrypted.is_ok_and(|answer| is_ciphertext(&answer.data.ciphertext)) || decrypted.is_ok()
}

/// Where Vault is and what its key is called, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn transit_address(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Some((address, key)) = text.split_once('\n') else {
        return false;
    };
    let named = check_address(address).is_ok() && check_segment("transit key", key).is_ok();
    if named {
        // What is put together of them is asked at that place and nowhere else.
        let url: Uri = format!("{}/v1/transit/encrypt/{key}", address.trim_end_matches('/'))
            .parse()
            .expect("checked parts make a URL");
        let origin: Uri = address.parse().expect("checked");
        assert_eq!(url.authority(), origin.authority());
        assert_eq!(url.path(), format!("/v1/transit/encrypt/{key}"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_checked() {
        for (address, accepted) in [
            ("https://vault.example:8200", true),
            ("https://vault.example/", true),
            ("https://vault.example#", false),
            ("https://vault.example:8200/#/v1", false),
            ("http://vault.example:8200", false),
            ("https://user:secret@vault.example", false),
            ("https://vault.example/v1", false),
            ("https://vault.example/?x", false),
            ("vault.example", false),
            ("", false),
        ] {
            assert_eq!(check_address(address).is_ok(), accepted, "{address:?}");
        }
        for (name, accepted) in [
            ("craton", true),
            ("a-b_c.d", true),
            ("..", false),
            ("a/b", false),
            ("a?b", false),
            ("", false),
        ] {
            assert_eq!(check_segment("transit key", name).is_ok(), accepted, "{name:?}");
        }
        assert!(check_path("transit mount", "team/transit").is_ok());
        assert!(check_path("transit mount", "team//transit").is_err());
        assert!(check_segment("transit key", &"k".repeat(128)).is_ok());
        assert!(check_segment("transit key", &"k".repeat(129)).is_err());
    }
}
