//! The engine's own tables: versioned rows like any other, so that the past has its catalogue too.

use craton_types::{
    DataClass, IdempotencyId, KeyEpoch, KeysRotated, Offset, PrimaryKey, Recovered, Row, StreamId, TableId,
    TableSchema, Value, decode_whole,
};

/// The catalogue: one row per table, keyed by table id, holding the definition's CBOR.
pub const CATALOGUE_TABLE: TableId = TableId::new(1);
/// The known idempotency ids, keyed by id.
pub(crate) const IDEMPOTENCY_TABLE: TableId = TableId::new(3);
/// The same ids by slot of a ring, so that the oldest is forgotten when the ring is full.
pub(crate) const IDEMPOTENCY_RING_TABLE: TableId = TableId::new(4);
/// The key epochs, keyed by number. Epoch 0 has no row: it begins with the log, with data key 0 and a salt of zeros.
pub const KEY_EPOCH_TABLE: TableId = TableId::new(6);
/// The records of what the node mended by itself, keyed by their offsets.
pub const RECOVERY_TABLE: TableId = TableId::new(10);
/// The data classes of named streams, keyed by stream number. A stream without one has no row.
pub(crate) const STREAM_CLASS_TABLE: TableId = TableId::new(11);
/// How many idempotency ids a tenant remembers.
pub const IDEMPOTENCY_IDS_MAX: u64 = 65_536;

/// The longest stream name in bytes.
pub const STREAM_NAME_BYTES_MAX: usize = 512;

/// The key of a table's row in the catalogue.
pub(crate) fn catalogue_key(table: TableId) -> PrimaryKey {
    key(&integer(u64::from(table.get())))
}

/// The catalogue's row for a table.
pub(crate) fn catalogue_row(schema: &TableSchema) -> Row {
    let bytes = minicbor::to_vec(schema).expect("writing to memory does not fail");
    vec![Value::Bytes(bytes)]
}

/// Reads a table's definition back; `None` when the row holds none.
#[must_use]
pub fn catalogue_table(row: &[Value]) -> Option<TableSchema> {
    match row {
        [Value::Bytes(bytes)] => decode_whole(bytes).ok(),
        _ => None,
    }
}

/// The key of an idempotency id.
pub(crate) fn idempotency_key(id: IdempotencyId) -> PrimaryKey {
    key(&Value::Uuid(*id.as_bytes()))
}

/// The row of an idempotency id: where its record is.
pub(crate) fn idempotency_row(offset: Offset) -> Row {
    vec![integer(offset.get())]
}

/// Reads an idempotency row back.
pub(crate) fn idempotency_offset(row: &[Value]) -> Option<Offset> {
    match row {
        [Value::Int(offset)] => Some(Offset::new(offset.cast_unsigned())),
        _ => None,
    }
}

/// The key of a ring slot.
pub(crate) fn ring_key(slot: u64) -> PrimaryKey {
    key(&integer(slot))
}

/// The row of a ring slot.
pub(crate) fn ring_row(id: IdempotencyId) -> Row {
    vec![Value::Uuid(*id.as_bytes())]
}

/// Reads a ring row back.
pub(crate) fn ring_id(row: &[Value]) -> Option<IdempotencyId> {
    match row {
        [Value::Uuid(id)] => Some(IdempotencyId::new(*id)),
        _ => None,
    }
}

/// The key of an epoch.
pub(crate) fn key_epoch_key(epoch: KeyEpoch) -> PrimaryKey {
    key(&integer(u64::from(epoch.get())))
}

/// The row of an epoch: what its record says, and where that is.
pub(crate) fn key_epoch_row(rotated: &KeysRotated, offset: Offset) -> Row {
    let bytes = minicbor::to_vec(rotated).expect("writing to memory does not fail");
    vec![Value::Bytes(bytes), integer(offset.get())]
}

/// Reads an epoch and where it begins back; `None` when the row is not one.
#[must_use]
pub fn key_epoch_from_row(row: &[Value]) -> Option<(KeysRotated, Offset)> {
    match row {
        [Value::Bytes(bytes), Value::Int(offset)] => {
            Some((decode_whole(bytes).ok()?, Offset::new(offset.cast_unsigned())))
        }
        _ => None,
    }
}

/// The key of a recovery record.
pub(crate) fn recovery_key(offset: Offset) -> PrimaryKey {
    key(&integer(offset.get()))
}

/// The row of a recovery record: what it says, and where it is.
pub(crate) fn recovery_row(recovered: &Recovered, offset: Offset) -> Row {
    let bytes = minicbor::to_vec(recovered).expect("writing to memory does not fail");
    vec![Value::Bytes(bytes), integer(offset.get())]
}

/// Reads a recovery and where its record is back; `None` when the row is not one.
#[must_use]
pub fn recovery_from_row(row: &[Value]) -> Option<(Recovered, Offset)> {
    match row {
        [Value::Bytes(bytes), Value::Int(offset)] => {
            Some((decode_whole(bytes).ok()?, Offset::new(offset.cast_unsigned())))
        }
        _ => None,
    }
}

/// The key of a stream's class.
pub(crate) fn stream_class_key(stream: StreamId) -> PrimaryKey {
    key(&integer(stream.get()))
}

/// The row of a stream's class.
pub(crate) fn stream_class_row(class: &DataClass) -> Row {
    vec![Value::Text(class.to_string())]
}

/// Reads a stream's class back.
pub(crate) fn stream_class(row: &[Value]) -> Option<DataClass> {
    match row {
        [Value::Text(class)] => class.parse().ok(),
        _ => None,
    }
}

fn integer(value: u64) -> Value {
    Value::Int(value.cast_signed())
}

fn key(value: &Value) -> PrimaryKey {
    PrimaryKey::encode([value]).expect("names are bounded and the other keys are fixed")
}
