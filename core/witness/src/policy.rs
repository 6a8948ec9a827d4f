//! Which witnesses are asked.

use std::fmt;
use std::str::FromStr;

use craton_proof::{CosignerKey, VerifierKeyError};
use craton_timestamp::{Authorities, TimeStampError};
use serde::Deserialize;

use crate::TimeStampAuthority;

/// The most witnesses of a node.
pub const WITNESSES_MAX: usize = 8;
/// The longest policy file in bytes.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The longest URL in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// The URL of a witness or a time stamp authority: `https`, or `http` on this machine. Without user, query and
/// fragment, and without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceUrl(String);

/// A text that is no URL of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not usable: {reason}")]
pub struct ServiceUrlError {
    /// The text.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for ServiceUrl {
    type Err = ServiceUrlError;

    fn from_str(text: &str) -> Result<Self, ServiceUrlError> {
        let url = Self::parse_any_http(text)?;
        if url.0.starts_with("https:") || url.is_local() {
            return Ok(url);
        }
        Err(ServiceUrlError {
            url: url.0,
            reason: "it is neither https nor on this machine",
        })
    }
}

impl ServiceUrl {
    /// Parses a URL that may also be plain `http` on another machine: many time stamp authorities have no other. What
    /// they answer is signed, and tells nobody more than a hash.
    ///
    /// # Errors
    /// When it is neither `http` nor `https`, or not just a scheme, a host and a path.
    pub fn parse_any_http(text: &str) -> Result<Self, ServiceUrlError> {
        let refused = |reason| ServiceUrlError {
            url: text.chars().take(200).collect(),
            reason,
        };
        if text.len() > URL_BYTES_MAX {
            return Err(refused("it is too long"));
        }
        let uri: http::Uri = text.parse().map_err(|_| refused("it is no URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused("it has no scheme and host"));
        };
        if authority.as_str().contains('@') {
            return Err(refused("it holds a user name"));
        }
        if uri.query().is_some() || text.contains(['?', '#']) {
            return Err(refused("it has a query or fragment"));
        }
        match scheme {
            "http" | "https" => {}
            _ => return Err(refused("it is neither http nor https")),
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl ServiceUrl {
    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let uri: Option<http::Uri> = self.0.parse().ok();
        uri.as_ref().and_then(http::Uri::host).is_some_and(is_local)
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host.ends_with(".localhost")
}

/// A witness to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The prefix of its API.
    pub url: ServiceUrl,
    /// What its cosignatures are verified with.
    pub key: CosignerKey,
}

impl Witness {
    /// Name and id of its key.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}+{}", self.key.name(), self.key.id())
    }
}

/// The witnesses of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    witnesses: Vec<Witness>,
    time_stamp_authority: Option<TimeStampAuthority>,
}

/// Why a policy is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is longer than any.
    #[error("a policy has at most {POLICY_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// It is not the JSON that it should be.
    #[error("the policy is not as it should be: {0}")]
    Json(String),
    /// A URL is not usable.
    #[error(transparent)]
    Url(#[from] ServiceUrlError),
    /// The certificates of the time stamp authority are not usable.
    #[error(transparent)]
    Authorities(#[from] TimeStampError),
    /// A key is none of a witness.
    #[error("{key:?} is no witness's key: {source}")]
    Key {
        /// The text.
        key: String,
        /// What is wrong with it.
        #[source]
        source: VerifierKeyError,
    },
    /// A key is there twice.
    #[error("the key of witness {name} is there twice")]
    Twice {
        /// Its name.
        name: String,
    },
    /// There are too many.
    #[error("a policy has at most {WITNESSES_MAX} witnesses, found {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
}

/// The JSON of a policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    witnesses: Vec<WitnessText>,
    time_stamp_authority: Option<AuthorityText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityText {
    url: String,
    certificates: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessText {
    url: String,
    verifier_key: String,
}

impl Policy {
    /// A policy of these witnesses.
    ///
    /// # Errors
    /// When there are too many or one is there twice.
    pub fn new(witnesses: Vec<Witness>) -> Result<Self, PolicyError> {
        if witnesses.len() > WITNESSES_MAX {
            return Err(PolicyError::Count { found: witnesses.len() });
        }
        for (index, witness) in witnesses.iter().enumerate() {
            let key = witness.key.public_key();
            if witnesses[..index].iter().any(|other| other.key.public_key() == key) {
                return Err(PolicyError::Twice {
                    name: witness.key.name().to_string(),
                });
            }
        }
        Ok(Self {
            witnesses,
            time_stamp_authority: None,
        })
    }

    /// The same, with time stamps by an authority (RFC 3161) over what the witnesses cosigned.
    #[must_use]
    pub fn with_time_stamps(self, authority: TimeStampAuthority) -> Self {
        Self {
            time_stamp_authority: Some(authority),
            ..self
        }
    }

    /// Reads a policy: `{"witnesses": [{"url": "https://witness.example", "verifier_key": "<name>+<id>+<base64>"}],
    /// "time_stamp_authority": {"url": "https://tsa.example", "certificates": "<PEM>"}}`. The second part may be left out.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, PolicyError> {
        if json.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::Length { found: json.len() });
        }
        let text: PolicyText = serde_json::from_slice(json).map_err(|error| PolicyError::Json(error.to_string()))?;
        let witness = |text: WitnessText| {
            let key = text.verifier_key.parse().map_err(|source| PolicyError::Key {
                key: text.verifier_key.chars().take(200).collect(),
                source,
            })?;
            let url = text.url.parse()?;
            Ok(Witness { url, key })
        };
        let witnesses: Result<_, PolicyError> = text.witnesses.into_iter().map(witness).collect();
        let policy = Self::new(witnesses?)?;
        Ok(match text.time_stamp_authority {
            Some(authority) => policy.with_time_stamps(TimeStampAuthority {
                url: ServiceUrl::parse_any_http(&authority.url)?,
                certificates: Authorities::from_pem(&authority.certificates)?,
            }),
            None => policy,
        })
    }

    /// Who stamps what the witnesses cosigned.
    #[must_use]
    pub const fn time_stamp_authority(&self) -> Option<&TimeStampAuthority> {
        self.time_stamp_authority.as_ref()
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }
}

#[cfg(test)]
mod tests {
    use craton_crypto::{SecretBytes, SigningKey};
    use craton_proof::{KeyName, VerifierKey};

    use super::*;

    fn key(seed: u8) -> String {
        let key = SigningKey::from_seed(&SecretBytes::new([seed; 32]));
        let name = KeyName::parse(&format!("witness.example/{seed}")).expect("a name");
        CosignerKey::new(name, key.verifying_key()).to_string()
    }

    #[test]
    fn only_https_and_this_machine_are_asked() {
        for (url, usable) in [
            ("https://witness.example", true),
            ("https://witness.example:8443/a/b/", true),
            ("http://localhost:8080/witness", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1/x", true),
            ("http://platform.craton.localhost", true),
            ("http://witness.example", false),
            ("http://localhost.example", false),
            ("ftp://witness.example", false),
            ("https://user:password@witness.example", false),
            ("https://witness.example?a=b", false),
            ("https://witness.example#a", false),
            ("witness.example", false),
            ("/path", false),
            ("", false),
        ] {
            assert_eq!(url.parse::<ServiceUrl>().is_ok(), usable, "{url}");
        }
        let plain = "http://tsa.example/stamp";
        assert!(plain.parse::<ServiceUrl>().is_err());
        assert_eq!(
            ServiceUrl::parse_any_http(plain).expect("for time stamps").as_str(),
            plain
        );
        assert!(ServiceUrl::parse_any_http("ftp://tsa.example").is_err());
        let longest = format!("https://w.example/{}", "a".repeat(URL_BYTES_MAX - 18));
        assert_eq!(longest.len(), URL_BYTES_MAX);
        assert!(longest.parse::<ServiceUrl>().is_ok());
        assert!(format!("{longest}a").parse::<ServiceUrl>().is_err());
        let url: ServiceUrl = "https://witness.example/a/".parse().expect("usable");
        assert_eq!(url.as_str(), "https://witness.example/a");
    }

    #[test]
    fn a_policy_is_read_whole_or_refused() {
        let witness = |seed| {
            format!(
                "{{\"url\": \"https://witness.example\", \"verifier_key\": \"{}\"}}",
                key(seed)
            )
        };
        let policy =
            |witnesses: &[String]| Policy::parse(format!("{{\"witnesses\": [{}]}}", witnesses.join(", ")).as_bytes());
        let many: Vec<_> = (0..9).map(witness).collect();
        assert_eq!(policy(&many[..8]).expect("eight").witnesses().len(), 8);
        assert_eq!(policy(&many), Err(PolicyError::Count { found: 9 }));
        assert_eq!(policy(&[]).expect("none").witnesses(), []);
        assert!(matches!(
            policy(&[witness(1), witness(1)]),
            Err(PolicyError::Twice { .. })
        ));
        let signing_key = SigningKey::from_seed(&SecretBytes::new([1; 32]));
        let log_key = VerifierKey::new(KeyName::parse("log").expect("a name"), signing_key.verifying_key());
        let wrong_type = format!("{{\"url\": \"https://witness.example\", \"verifier_key\": \"{log_key}\"}}");
        assert!(matches!(policy(&[wrong_type]), Err(PolicyError::Key { .. })));
        assert!(matches!(Policy::parse(b"{}"), Err(PolicyError::Json(_))));
        let authority = b"{\"witnesses\": [], \"time_stamp_authority\": {\"url\": \"https://tsa.example\", \"certificates\": \"\"}}";
        assert!(matches!(Policy::parse(authority), Err(PolicyError::Authorities(_))));
        assert!(matches!(
            Policy::parse(b"{\"witnesses\": [], \"more\": 1}"),
            Err(PolicyError::Json(_))
        ));
        let long = vec![b' '; POLICY_BYTES_MAX + 1];
        assert_eq!(Policy::parse(&long), Err(PolicyError::Length { found: long.len() }));
    }
}
