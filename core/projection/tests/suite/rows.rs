//! Rows, positions and states that follow from a number.

use std::sync::Arc;

use craton_crypto::SecretBytes;
use craton_projection::{Applied, RowVersion};
use craton_types::{Hash, LogIndex, Offset, PrimaryKey, Row, TableId, Value};

pub(crate) const KEY: SecretBytes = SecretBytes::new([3; 32]);
pub(crate) const TABLE: TableId = TableId::FIRST_USER;

pub(crate) fn key(number: i64) -> PrimaryKey {
    PrimaryKey::encode([&Value::Int(number)]).expect("an integer is a key")
}

pub(crate) fn row(text: impl Into<String>) -> Arc<Row> {
    Arc::new(vec![Value::Text(text.into()), Value::Null])
}

pub(crate) fn put(version: u64, number: i64, text: impl Into<String>) -> RowVersion {
    RowVersion {
        version: Offset::new(version),
        table: TABLE,
        key: key(number),
        row: Some(row(text)),
    }
}

pub(crate) fn delete(version: u64, number: i64) -> RowVersion {
    RowVersion {
        version: Offset::new(version),
        table: TABLE,
        key: key(number),
        row: None,
    }
}

/// An applied position whose parts all follow from its end.
pub(crate) fn applied(end: u64) -> Applied {
    Applied {
        log_index: LogIndex::new(end * 10),
        end: Offset::new(end),
        hash: Hash::new([u8::try_from(end % 251).expect("less than 251"); 32]),
    }
}

/// A kernel state that belongs to one end.
pub(crate) fn state(end: u64) -> Vec<u8> {
    format!("the kernel's state at {end}").into_bytes()
}
