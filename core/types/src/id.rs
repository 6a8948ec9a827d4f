//! Identifiers, positions and times. Each is its own type, so that none can stand in for another.

use std::fmt;

/// Declares an integer newtype with CBOR encoding.
macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, minicbor::Encode, minicbor::Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] $inner);

        impl $name {
            /// The zeroth value.
            pub const ZERO: Self = Self(0);

            /// Wraps an integer.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The integer.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The next value. Panics on overflow, which no real log reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(value) => Self(value),
                    None => panic!("identifier space exhausted"),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Declares a 16-byte identifier with CBOR encoding, shown in the UUID text form (RFC 9562 section 4).
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The identifier that stands for "none".
            pub const NIL: Self = Self([0; 16]);

            /// Wraps 16 bytes.
            #[must_use]
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (index, byte) in self.0.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message("an identifier has 16 bytes"))
            }
        }
    };
}

integer_id! {
    /// A record's position in its tenant's log, counted from zero. SQL shows it as the *position*.
    Offset(u64)
}
integer_id! {
    /// The position of a record within its stream, counted from zero.
    StreamSequence(u64)
}
integer_id! {
    /// A stream of a tenant's log. Stream 0 holds everything that belongs to no single stream.
    StreamId(u64)
}
integer_id! {
    /// A table of a tenant. Numbers below [`TableId::FIRST_USER`] are the engine's own.
    TableId(u32)
}
integer_id! {
    /// The number of the data-encryption key that a record is encrypted under.
    KeyEpoch(u32)
}
integer_id! {
    /// The number of a stored data key, from which the keys of one or more epochs are derived.
    DataKeyNumber(u32)
}
integer_id! {
    /// The index of an entry in the consensus log (Raft, section 5.3), counted from one.
    LogIndex(u64)
}
integer_id! {
    /// A leader's term (Raft, section 5.1).
    Term(u64)
}
integer_id! {
    /// A node of a cluster, counted from one; zero is no node. Numbers are never used again.
    NodeId(u64)
}
integer_id! {
    /// Nanoseconds since the Unix epoch. Within one tenant's log times never decrease.
    Timestamp(u64)
}

impl TableId {
    /// The first number given to a table that a user creates.
    pub const FIRST_USER: Self = Self(16);
}

impl Timestamp {
    /// Microseconds since the Unix epoch, rounded down: the resolution of SQL timestamps.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        // A u64 of nanoseconds divided by a thousand always fits an i64.
        (self.0 / 1_000).cast_signed()
    }
}

uuid_id! {
    /// A tenant: one database with its own log, keys and views.
    TenantId
}
uuid_id! {
    /// Who made a change: a database user, a service or the engine itself ([`ActorId::NIL`]).
    ActorId
}
uuid_id! {
    /// Ties a change to the request that caused it.
    CorrelationId
}
uuid_id! {
    /// Chosen by the client before its first attempt; a retry with the same id is applied once.
    IdempotencyId
}

/// The longest database name in bytes, PostgreSQL's `NAMEDATALEN - 1`.
const DATABASE_NAME_BYTES_MAX: usize = 63;

/// A database's name: 1 to 63 bytes of `a-z`, `0-9` and `_`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, minicbor::Encode)]
#[cbor(transparent)]
pub struct DatabaseName(#[n(0)] String);

/// Why a text is no database name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no database name: use 1 to 63 of a-z, 0-9 and _, beginning with a letter")]
pub struct DatabaseNameError {
    /// The refused text.
    pub name: String,
}

impl DatabaseName {
    /// Parses a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds another character.
    pub fn parse(name: &str) -> Result<Self, DatabaseNameError> {
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let spelled_well = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if starts_well && spelled_well && name.len() <= DATABASE_NAME_BYTES_MAX {
            Ok(Self(name.to_owned()))
        } else {
            Err(DatabaseNameError { name: name.to_owned() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for DatabaseName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::parse(d.str()?).map_err(|_| minicbor::decode::Error::message("not a database name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_are_checked_at_their_limits() {
        for (name, accepted) in [
            ("a", true),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
            ("", false),
            ("1a", false),
            ("Clinic", false),
            ("clinic-a", false),
            ("clinic_a1", true),
        ] {
            assert_eq!(DatabaseName::parse(name).is_ok(), accepted, "{name:?}");
        }
    }

    #[test]
    fn identifiers_show_as_uuids() {
        let id = TenantId::new([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0001-020304050607");
    }
}
