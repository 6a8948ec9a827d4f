//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677) in the text form that PostgreSQL stores:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
//!
//! A verifier checks a password without holding it. Passwords are ASCII without control characters, on which
//! SASLprep (RFC 4013) is the identity; others are refused instead of being prepared differently from the client.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::sha256;

const MECHANISM: &str = "SCRAM-SHA-256";
/// The iteration count that RFC 7677 asks for and PostgreSQL uses.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 4096;
/// The fewest iterations a verifier may have.
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;
/// The most iterations a verifier may have: about a second of work for one log-in.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// The longest password in bytes, PostgreSQL's limit.
const PASSWORD_BYTES_MAX: usize = 1024;
const SALT_BYTES_MAX: usize = 64;

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// Why a password is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramPasswordError {
    /// It is empty or longer than 1,024 bytes.
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length in bytes.
        found: usize,
    },
    /// It holds a control character or one outside ASCII.
    #[error("a password consists of printable ASCII characters; the one at byte {position} is not")]
    Character {
        /// Where the first such character is.
        position: usize,
    },
    /// The iteration count is out of bounds.
    #[error("the iteration count is {SCRAM_ITERATIONS_MIN} to {SCRAM_ITERATIONS_MAX}, found {found}")]
    Iterations {
        /// The count given.
        found: u32,
    },
    /// The salt is empty or longer than 64 bytes.
    #[error("a salt has 1 to {SALT_BYTES_MAX} bytes, found {found}")]
    Salt {
        /// Its length in bytes.
        found: usize,
    },
}

/// Why a text is no verifier. The text itself is not repeated: it is nearly as good as a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of the SCRAM-SHA-256 verifier is not valid")]
pub struct ScramParseError {
    /// The first part that is wrong: `mechanism`, `iterations`, `salt`, `StoredKey` or `ServerKey`.
    pub part: &'static str,
}

impl ScramVerifier {
    /// Derives a verifier from a password; `salt` is random, 16 bytes by custom.
    ///
    /// # Errors
    /// When the password, the salt or the iteration count is outside its limits.
    pub fn from_password(password: &str, salt: &[u8], iterations: u32) -> Result<Self, ScramPasswordError> {
        check_password(password)?;
        if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramPasswordError::Iterations { found: iterations });
        }
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramPasswordError::Salt { found: salt.len() });
        }
        let salted = salted_password(password, salt, iterations);
        let client_key = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        Ok(Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: *sha256(&[client_key.as_slice()]).as_bytes(),
            server_key: hmac(salted.as_slice(), b"Server Key"),
        })
    }

    /// Whether this is the verifier of `password`: the tests' other side of the exchange.
    #[cfg(test)]
    fn verify_password(&self, password: &str) -> bool {
        let salted = salted_password(password, &self.salt, self.iterations);
        let client_key = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        let stored_key = sha256(&[client_key.as_slice()]);
        crate::constant_time_equal(stored_key.as_bytes(), &self.stored_key) && check_password(password).is_ok()
    }

    /// Checks a client's proof over an exchange's AuthMessage (RFC 5802, section 3) and gives the signature
    /// that proves the server to the client in return; `None` when the password was another.
    #[cfg(test)]
    fn verify_proof(&self, auth_message: &[u8], client_proof: &[u8; 32]) -> Option<[u8; 32]> {
        let client_signature = hmac(&self.stored_key, auth_message);
        let client_key = Zeroizing::new(std::array::from_fn::<u8, 32, _>(|index| {
            client_proof[index] ^ client_signature[index]
        }));
        let stored_key = sha256(&[client_key.as_slice()]);
        crate::constant_time_equal(stored_key.as_bytes(), &self.stored_key)
            .then(|| hmac(&self.server_key, auth_message))
    }

    /// How many rounds of PBKDF2 the client has to do.
    #[must_use]
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt, which is public.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// `StoredKey` of RFC 5802.
    #[must_use]
    pub const fn stored_key(&self) -> &[u8; 32] {
        &self.stored_key
    }

    /// `ServerKey` of RFC 5802.
    #[must_use]
    pub const fn server_key(&self) -> &[u8; 32] {
        &self.server_key
    }
}

fn check_password(password: &str) -> Result<(), ScramPasswordError> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(ScramPasswordError::Length { found: password.len() });
    }
    match password.bytes().position(|byte| !(b' '..=b'~').contains(&byte)) {
        Some(position) => Err(ScramPasswordError::Character { position }),
        None => Ok(()),
    }
}

fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(
        password.as_bytes(),
        salt,
        iterations,
    ))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        write!(f, "{MECHANISM}${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramVerifier({} iterations, redacted)", self.iterations)
    }
}

impl FromStr for ScramVerifier {
    type Err = ScramParseError;

    fn from_str(text: &str) -> Result<Self, ScramParseError> {
        let fail = |part| ScramParseError { part };
        let rest = text
            .strip_prefix(MECHANISM)
            .and_then(|rest| rest.strip_prefix('$'))
            .ok_or(fail("mechanism"))?;
        let (iterations, rest) = rest.split_once(':').ok_or(fail("iterations"))?;
        let (salt, rest) = rest.split_once('$').ok_or(fail("salt"))?;
        let (stored_key, server_key) = rest.split_once(':').ok_or(fail("StoredKey"))?;
        if iterations.starts_with(['0', '+']) {
            return Err(fail("iterations"));
        }
        let iterations = iterations
            .parse()
            .ok()
            .filter(|count| (SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(count))
            .ok_or(fail("iterations"))?;
        let salt = BASE64
            .decode(salt)
            .ok()
            .filter(|salt| !salt.is_empty() && salt.len() <= SALT_BYTES_MAX)
            .ok_or(fail("salt"))?;
        let key = |text, part| {
            let bytes = BASE64.decode(text).ok();
            bytes
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or(fail(part))
        };
        Ok(Self {
            iterations,
            salt,
            stored_key: key(stored_key, "StoredKey")?,
            server_key: key(server_key, "ServerKey")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<const N: usize>(text: &str) -> [u8; N] {
        BASE64.decode(text).expect("base64").try_into().expect("length")
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn rfc_7677_exchange() {
        let salt: [u8; 16] = decode("W22ZaJ0SNY7soEsUEjb6gQ==");
        let verifier = ScramVerifier::from_password("pencil", &salt, 4096).expect("within limits");
        let auth_message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(
            verifier.verify_proof(auth_message, &proof),
            Some(decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))
        );
        let mut wrong = proof;
        wrong[0] ^= 1;
        assert_eq!(verifier.verify_proof(auth_message, &wrong), None);
        assert_eq!(verifier.verify_proof(b"another exchange", &proof), None);
    }

    #[test]
    fn passwords_verify_and_others_do_not() {
        let verifier = ScramVerifier::from_password("pencil", &[1; 16], SCRAM_ITERATIONS_DEFAULT).expect("valid");
        assert!(verifier.verify_password("pencil"));
        for other in ["Pencil", "pencil ", "", "pencil\0"] {
            assert!(!verifier.verify_password(other), "{other:?}");
        }
    }

    #[test]
    fn text_survives_a_round_trip() {
        let verifier = ScramVerifier::from_password("pencil", &[1; 16], 4096).expect("valid");
        let text = verifier.to_string();
        assert!(
            text.starts_with("SCRAM-SHA-256$4096:AQEBAQEBAQEBAQEBAQEBAQ==$"),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(verifier));
    }

    #[test]
    fn malformed_text_names_the_part() {
        let key = BASE64.encode([0; 32]);
        for (text, part) in [
            (String::new(), "mechanism"),
            ("md5abc".into(), "mechanism"),
            ("SCRAM-SHA-256".into(), "mechanism"),
            ("SCRAM-SHA-256$".into(), "iterations"),
            (format!("SCRAM-SHA-256$4095:AAAA${key}:{key}"), "iterations"),
            (format!("SCRAM-SHA-256$1000001:AAAA${key}:{key}"), "iterations"),
            (format!("SCRAM-SHA-256$+4096:AAAA${key}:{key}"), "iterations"),
            (format!("SCRAM-SHA-256$4096:${key}:{key}"), "salt"),
            (format!("SCRAM-SHA-256$4096:A${key}:{key}"), "salt"),
            (format!("SCRAM-SHA-256$4096:AAAA$AAAA:{key}"), "StoredKey"),
            (format!("SCRAM-SHA-256$4096:AAAA${key}"), "StoredKey"),
            (format!("SCRAM-SHA-256$4096:AAAA${key}:{key}="), "ServerKey"),
        ] {
            assert_eq!(text.parse::<ScramVerifier>(), Err(ScramParseError { part }), "{text}");
        }
    }

    #[test]
    fn limits_are_refused_one_past_the_edge() {
        let build = |password: &str, salt: usize, iterations| {
            ScramVerifier::from_password(password, &vec![1; salt], iterations).map(|_| ())
        };
        assert_eq!(build(&"x".repeat(1024), 64, 4096), Ok(()));
        for (password, salt, iterations, error) in [
            ("x".repeat(1025), 16, 4096, ScramPasswordError::Length { found: 1025 }),
            (String::new(), 16, 4096, ScramPasswordError::Length { found: 0 }),
            ("a\tb".into(), 16, 4096, ScramPasswordError::Character { position: 1 }),
            ("a\x7f".into(), 16, 4096, ScramPasswordError::Character { position: 1 }),
            ("é".into(), 16, 4096, ScramPasswordError::Character { position: 0 }),
            ("x".into(), 0, 4096, ScramPasswordError::Salt { found: 0 }),
            ("x".into(), 65, 4096, ScramPasswordError::Salt { found: 65 }),
            ("x".into(), 16, 4095, ScramPasswordError::Iterations { found: 4095 }),
            (
                "x".into(),
                16,
                1_000_001,
                ScramPasswordError::Iterations { found: 1_000_001 },
            ),
        ] {
            assert_eq!(build(&password, salt, iterations), Err(error));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let verifier = ScramVerifier::from_password("pencil", &[1; 16], 4096).expect("valid");
        assert_eq!(format!("{verifier:?}"), "ScramVerifier(4096 iterations, redacted)");
    }
}
