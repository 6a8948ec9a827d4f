//! Primary keys as bytes whose order is the order of the values.

use std::borrow::Borrow;

use crate::Value;

/// A primary key, encoded so that comparing bytes compares keys column by column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrimaryKey(Vec<u8>);

/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 2_048;

/// Why values are no primary key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyEncodeError {
    /// A key column is NULL.
    #[error("a primary key column is null")]
    Null,
    /// Values of this type have no order that bytes can carry.
    #[error("values of type {type_name} cannot be part of a primary key")]
    Type {
        /// The type's SQL name.
        type_name: &'static str,
    },
    /// The key is too long.
    #[error("the primary key takes {bytes} bytes, more than {KEY_BYTES_MAX}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

const TAG_FALSE: u8 = 1;
const TAG_TRUE: u8 = 2;
const TAG_INT: u8 = 3;
const TAG_FLOAT: u8 = 4;
const TAG_TEXT: u8 = 5;
const TAG_BYTES: u8 = 6;
const TAG_DATE: u8 = 7;
const TAG_TIME: u8 = 8;
const TAG_TIMESTAMP: u8 = 9;
const TAG_TIMESTAMPTZ: u8 = 10;
const TAG_UUID: u8 = 11;

impl PrimaryKey {
    /// Encodes the key columns' values in key order. A prefix of the columns gives a prefix of the bytes.
    ///
    /// # Errors
    /// When a value is NULL, of a type without a byte order (`numeric`, `json`), or the key is too long.
    pub fn encode<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<Self, KeyEncodeError> {
        let mut out = Vec::with_capacity(16);
        for value in values {
            encode_value(value, &mut out)?;
        }
        if out.len() > KEY_BYTES_MAX {
            return Err(KeyEncodeError::TooLong { bytes: out.len() });
        }
        Ok(Self(out))
    }

    /// Wraps bytes that [`Self::encode`] made, as read back from a store.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The encoded bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Ordered maps of keys can be searched by bytes: both compare alike.
impl Borrow<[u8]> for PrimaryKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

fn encode_value(value: &Value, out: &mut Vec<u8>) -> Result<(), KeyEncodeError> {
    match value {
        Value::Null => return Err(KeyEncodeError::Null),
        Value::Bool(false) => out.push(TAG_FALSE),
        Value::Bool(true) => out.push(TAG_TRUE),
        Value::Int(value) => put_i64(TAG_INT, *value, out),
        Value::Float(value) => put_f64(*value, out),
        Value::Text(value) => put_escaped(TAG_TEXT, value.as_bytes(), out),
        Value::Bytes(value) => put_escaped(TAG_BYTES, value, out),
        Value::Date(value) => put_i64(TAG_DATE, i64::from(*value), out),
        Value::Time(value) => put_i64(TAG_TIME, *value, out),
        Value::Timestamp(value) => put_i64(TAG_TIMESTAMP, *value, out),
        Value::TimestampTz(value) => put_i64(TAG_TIMESTAMPTZ, *value, out),
        Value::Uuid(value) => {
            out.push(TAG_UUID);
            out.extend_from_slice(value);
        }
        Value::Numeric(_) => return Err(KeyEncodeError::Type { type_name: "numeric" }),
        Value::Json(_) => return Err(KeyEncodeError::Type { type_name: "json" }),
        Value::Sealed(_) => return Err(KeyEncodeError::Type { type_name: "sealed" }),
    }
    Ok(())
}

/// Flipping the sign bit makes two's complement order equal to byte order.
fn put_i64(tag: u8, value: i64, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

/// IEEE 754 bits order as sign and magnitude: negative numbers are inverted, positive ones get the sign bit.
fn put_f64(value: f64, out: &mut Vec<u8>) {
    // SQL holds -0.0 = 0.0, so both take one encoding.
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    let ordered = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
    out.push(TAG_FLOAT);
    out.extend_from_slice(&ordered.to_be_bytes());
}

/// Zero bytes become `00 FF` and the end is `00 00`, so that a prefix sorts before its extensions.
fn put_escaped(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(values: &[Value]) -> PrimaryKey {
        PrimaryKey::encode(values).expect("these values are keys")
    }

    proptest! {
        #[test]
        fn integers_keep_their_order(a in any::<i64>(), b in any::<i64>()) {
            prop_assert_eq!(key(&[Value::Int(a)]).cmp(&key(&[Value::Int(b)])), a.cmp(&b));
        }

        #[test]
        fn floats_keep_their_order(a in -1e300f64..1e300, b in -1e300f64..1e300) {
            prop_assert_eq!(key(&[Value::Float(a)]).partial_cmp(&key(&[Value::Float(b)])), a.partial_cmp(&b));
        }

        #[test]
        fn byte_strings_keep_their_order_before_a_second_column(
            a in proptest::collection::vec(0u8..3, 0..5), b in proptest::collection::vec(0u8..3, 0..5),
            x in any::<i64>(), y in any::<i64>(),
        ) {
            let left = key(&[Value::Bytes(a.clone()), Value::Int(x)]);
            let right = key(&[Value::Bytes(b.clone()), Value::Int(y)]);
            prop_assert_eq!(left.cmp(&right), (a, x).cmp(&(b, y)));
        }
    }

    #[test]
    fn keys_are_refused_past_their_limit() {
        // A text takes a tag and a terminator of three bytes together.
        let at_edge = Value::Text("x".repeat(KEY_BYTES_MAX - 3));
        assert!(PrimaryKey::encode([&at_edge]).is_ok());
        let past_edge = Value::Text("x".repeat(KEY_BYTES_MAX - 2));
        assert_eq!(
            PrimaryKey::encode([&past_edge]),
            Err(KeyEncodeError::TooLong {
                bytes: KEY_BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn nulls_and_unordered_types_are_refused() {
        assert_eq!(PrimaryKey::encode([&Value::Null]), Err(KeyEncodeError::Null));
        assert_eq!(
            PrimaryKey::encode([&Value::Json("{}".into())]),
            Err(KeyEncodeError::Type { type_name: "json" })
        );
    }
}
