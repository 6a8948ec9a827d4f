//! Texts that people choose, checked where they come in.

use serde::{Deserialize, Serialize};

/// The longest name in characters.
pub(crate) const NAME_CHARS_MAX: usize = 100;
/// The longest e-mail address in bytes (RFC 5321 section 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;

/// Why a text is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    /// No name.
    #[error("use 1 to {NAME_CHARS_MAX} characters, none of them a control character, not only spaces")]
    Name,
    /// No address.
    #[error("this is no e-mail address")]
    Email,
}

/// A name for people: trimmed, 1 to 100 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, TextError> {
        let text = text.trim();
        let length = text.chars().count();
        if (1..=NAME_CHARS_MAX).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError::Name)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address: contact data, not an identity, so only its shape is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Email(String);

impl Email {
    pub(crate) fn parse(text: &str) -> Result<Self, TextError> {
        let text = text.trim();
        let parts = text.rsplit_once('@');
        let shaped = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        let clean = !text.chars().any(|letter| letter.is_control() || letter.is_whitespace());
        if shaped && clean && text.len() <= EMAIL_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError::Email)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_their_limits() {
        for (text, accepted) in [
            ("a", true),
            ("  Ada Lovelace ", true),
            ("", false),
            ("   ", false),
            ("a\nb", false),
            (&"ä".repeat(100), true),
            (&"ä".repeat(101), false),
        ] {
            assert_eq!(Name::parse(text).is_ok(), accepted, "{text:?}");
        }
        assert_eq!(Name::parse(" Ada ").expect("a name").as_str(), "Ada");
    }

    #[test]
    fn addresses_are_checked_for_their_shape() {
        for (text, accepted) in [
            ("ada@example.org", true),
            ("a@b", true),
            ("\"a@b\"@c", true),
            ("ada", false),
            ("@example.org", false),
            ("ada@", false),
            ("a da@example.org", false),
            (&format!("{}@b", "a".repeat(252)), true),
            (&format!("{}@b", "a".repeat(253)), false),
        ] {
            assert_eq!(Email::parse(text).is_ok(), accepted, "{text:?}");
        }
    }
}
