//! Identifiers: a UUIDv7 (RFC 9562) shown as a TypeID 0.3 (`org_01h455vb4pex5vsknk084sn02q`).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use uuid::Uuid;

use crate::base32;

/// Base 32 digits of a UUID.
const SUFFIX_DIGITS: usize = 26;

/// Why a text is no identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no identifier of the form {prefix}_ followed by 26 base 32 digits")]
pub struct IdParseError {
    /// The prefix that was wanted.
    pub prefix: &'static str,
    /// The refused text.
    pub text: String,
}

/// Makes a version 7 UUID from a time and ten random bytes (RFC 9562 section 5.7).
pub(crate) fn uuid_v7(now: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Parses the 26 digits after a prefix.
pub(crate) fn parse_suffix(digits: &str) -> Option<Uuid> {
    // 26 digits hold 130 bits, so the first digit of a UUID is at most 7.
    let fits = digits.len() == SUFFIX_DIGITS && digits.as_bytes()[0] <= b'7';
    let uuid = Uuid::from_u128(fits.then(|| base32::decode_u128(digits)).flatten()?);
    is_v7(uuid).then_some(uuid)
}

fn is_v7(uuid: Uuid) -> bool {
    uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122
}

/// An identifier that [`crate::Environment::new_id`] can make.
pub(crate) trait TypedId: Sized {
    /// Wraps a version 7 UUID.
    fn from_v7(uuid: Uuid) -> Self;
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl TypedId for $name {
            fn from_v7(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// Wraps a UUID, if it is of version 7.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Option<Self> {
                is_v7(uuid).then_some(Self(uuid))
            }

            /// The 26 base 32 digits without the prefix.
            #[must_use]
            pub fn suffix(&self) -> String {
                base32::encode_u128(self.0.as_u128(), SUFFIX_DIGITS)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.suffix())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(parse_suffix)
                    .map(Self)
                    .ok_or_else(|| IdParseError { prefix: $prefix, text: text.chars().take(64).collect() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$")))
                    .examples([concat!($prefix, "_01h455vb4pex5vsknk084sn02q")])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

typed_id!(
    /// An organisation: the tenant of the control plane.
    OrgId, "org"
);
typed_id!(
    /// A person with an account.
    UserId, "usr"
);
typed_id!(
    /// A database cluster.
    ClusterId, "clu"
);
typed_id!(
    /// A host that runs an agent.
    NodeId, "node"
);
typed_id!(
    /// A long-running operation.
    OperationId, "op"
);
typed_id!(
    /// An API key. It names the key and is no secret.
    ApiKeyId, "key"
);
typed_id!(
    /// A browser session. It names the session and is no secret.
    SessionId, "ses"
);
typed_id!(
    /// A registered passkey.
    PasskeyId, "pky"
);
typed_id!(
    /// A join token of an agent. It names the token and is no secret.
    JoinTokenId, "jtk"
);
typed_id!(
    /// An event in the platform's log.
    EventId, "evt"
);
typed_id!(
    /// An HTTP request, also the correlation id of the events that it causes.
    RequestId, "req"
);
typed_id!(
    /// A WebAuthn ceremony between its start and its finish.
    CeremonyId, "cer"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_typeid_specification_example_parses() {
        // TypeID 0.3, valid.json "valid-uuidv7".
        let uuid = parse_suffix("01h455vb4pex5vsknk084sn02q").expect("a version 7 UUID");
        assert_eq!(uuid.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
    }

    #[test]
    fn only_the_one_spelling_is_accepted() {
        for text in [
            "",
            "org",
            "org_",
            "usr_01h455vb4pex5vsknk084sn02q",
            "org_01h455vb4pex5vsknk084sn02",
            "org_01h455vb4pex5vsknk084sn02qq",
            "org_01H455VB4PEX5VSKNK084SN02Q",
            "org_81h455vb4pex5vsknk084sn02q",
            "org_0ih455vb4pex5vsknk084sn02q",
            "org_00000000000000000000000000",
            " org_01h455vb4pex5vsknk084sn02q",
            "org_é1h455vb4pex5vsknk084sn02",
        ] {
            assert!(text.parse::<OrgId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn identifiers_survive_a_round_trip(millis in 0i64..253_402_207_200_000, random: [u8; 10]) {
            let id = OrgId(uuid_v7(Timestamp::from_millisecond(millis).expect("in range"), random));
            prop_assert_eq!(id.to_string().parse::<OrgId>(), Ok(id));
            let json = serde_json::to_string(&id).expect("a string");
            prop_assert_eq!(serde_json::from_str::<OrgId>(&json).expect("a string"), id);
        }

        #[test]
        fn later_identifiers_sort_later(millis in 0i64..253_402_207_199_999, a: [u8; 10], b: [u8; 10]) {
            let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
            let (first, second) = (OrgId(uuid_v7(at(millis), a)), OrgId(uuid_v7(at(millis + 1), b)));
            prop_assert!(first.to_string() < second.to_string());
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<OrgId>();
        }
    }
}
