//! What clients send, parsed for fuzzing.

use bytes::{Bytes, BytesMut};
use craton_types::ColumnType;

use super::{binary, frontend};

/// The first message of a connection, without its length.
#[must_use]
pub fn postgres_opening(bytes: &[u8]) -> bool {
    frontend::parse_opening(Bytes::copy_from_slice(bytes)).is_ok()
}

/// A message: its type byte and what follows its length.
#[must_use]
pub fn postgres_message(bytes: &[u8]) -> bool {
    let Some((&tag, body)) = bytes.split_first() else {
        return false;
    };
    let body = Bytes::copy_from_slice(body);
    let parsed = frontend::parse(tag, body.clone());
    if tag == b'p' {
        let initial = frontend::parse_sasl_initial_response(body.clone()).is_ok();
        let password = frontend::parse_password(body).is_ok();
        return initial || password;
    }
    parsed.is_ok()
}

const TYPES: [ColumnType; 16] = [
    ColumnType::Bool,
    ColumnType::Int2,
    ColumnType::Int4,
    ColumnType::Int8,
    ColumnType::Float4,
    ColumnType::Float8,
    ColumnType::Numeric {
        precision_and_scale: None,
    },
    ColumnType::Text,
    ColumnType::Bytea,
    ColumnType::Date,
    ColumnType::Time,
    ColumnType::Timestamp,
    ColumnType::TimestampTz,
    ColumnType::Uuid,
    ColumnType::Json,
    ColumnType::Jsonb,
];

/// A parameter's binary form: a byte that says which type, and the value.
#[must_use]
pub fn postgres_binary(bytes: &[u8]) -> bool {
    let Some((&number, bytes)) = bytes.split_first() else {
        return false;
    };
    let column_type = TYPES[usize::from(number) % TYPES.len()];
    let Ok(value) = binary::decode(bytes, column_type) else {
        return false;
    };
    let encode = |value| {
        let mut encoded = BytesMut::new();
        binary::encode(value, column_type, &mut encoded).expect("a value of its type has a form");
        encoded
    };
    let encoded = encode(&value);
    let again = binary::decode(&encoded, column_type).expect("what was encoded decodes");
    assert_eq!(encode(&again), encoded);
    true
}
