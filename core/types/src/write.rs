//! A row write as the query layer proposes it, before the kernel decides.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::{Offset, Row, TableId};

/// What the writer saw and the kernel checks again when it applies the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Expected {
    /// No row with this key: an insert. Refused as a unique violation (SQLSTATE 23505).
    #[n(0)]
    Absent,
    /// The row that the record at this offset wrote. Refused as a serialization failure (SQLSTATE 40001).
    #[n(1)]
    Version(#[n(0)] Offset),
}

/// Replaces (`after`) or deletes (no `after`) the row with this key.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RowWrite {
    /// The row's table.
    #[n(0)]
    pub table: TableId,
    /// The encoded primary key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// What the writer saw.
    #[n(2)]
    pub expected: Expected,
    /// The row to be; `None` deletes.
    #[n(3)]
    pub after: Option<Row>,
}

/// A row as a view holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionedRow {
    /// The offset of the record that wrote this version.
    pub version: Offset,
    /// The row.
    pub row: Arc<Row>,
}
