//! Identifiers as they appear in messages: TypeID text, a prefix, `_` and 26 Crockford base32 digits of a UUID.

use std::fmt;

/// Digits of a UUID in Crockford base32 (TypeID specification 0.3).
const SUFFIX_DIGITS: usize = 26;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is no identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no identifier of the form {prefix}_ and 26 base32 digits")]
pub struct IdError {
    /// The refused text, at most 64 characters of it.
    pub text: String,
    /// The prefix that was wanted.
    pub prefix: &'static str,
}

fn check(text: &str, prefix: &'static str) -> Result<(), IdError> {
    let suffix = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let accepted = suffix.is_some_and(|suffix| {
        suffix.len() == SUFFIX_DIGITS
            && suffix.bytes().all(|digit| ALPHABET.contains(&digit))
            // 26 digits carry 130 bits; the first may hold only the three that a UUID has left.
            && suffix.as_bytes()[0] <= b'7'
    });
    if accepted {
        Ok(())
    } else {
        Err(IdError {
            text: text.chars().take(64).collect(),
            prefix,
        })
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What the text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Parses the TypeID text.
            ///
            /// # Errors
            /// When the prefix, the length or a digit is wrong.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, Self::PREFIX)?;
                Ok(Self(text.to_owned()))
            }

            /// The TypeID text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text, Self::PREFIX)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A node: one agent with its data directory.
    NodeId, "node"
}
text_id! {
    /// A cluster. A node runs one process for each of its members that is placed there.
    ClusterId, "clu"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_checked_in_prefix_length_and_digits() {
        for (text, accepted) in [
            ("node_01h455vb4pex5vsknk084sn02q", true),
            ("node_7zzzzzzzzzzzzzzzzzzzzzzzzz", true),
            ("node_8zzzzzzzzzzzzzzzzzzzzzzzzz", false),
            ("clu_01h455vb4pex5vsknk084sn02q", false),
            ("node01h455vb4pex5vsknk084sn02q", false),
            ("node_01h455vb4pex5vsknk084sn02", false),
            ("node_01h455vb4pex5vsknk084sn02qq", false),
            ("node_01h455vb4pex5vsknk084sn02l", false),
            ("node_../../../../etc/passwd0000", false),
            ("", false),
        ] {
            assert_eq!(NodeId::parse(text).is_ok(), accepted, "{text:?}");
        }
    }
}
