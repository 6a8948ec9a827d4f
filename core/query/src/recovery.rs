//! `craton_recoveries`: what the node mended by itself, as a table.

use craton_types::{Column, ColumnType, Recovered, Row, Timestamp, Value};

/// The table's name.
pub(crate) const RECOVERIES: &str = "craton_recoveries";

/// One row of `craton_recoveries`.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryEntry {
    /// Whether the record is in the node's own log; otherwise it is in this database's.
    pub is_node: bool,
    /// The position of the record.
    pub position: u64,
    /// When the record was proposed.
    pub time: Timestamp,
    /// What it says.
    pub recovered: Recovered,
}

pub(crate) fn columns() -> Vec<Column> {
    let column = |name: &str, column_type| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
        default_sql: None,
    };
    vec![
        column("scope", ColumnType::Text),
        column("position", ColumnType::Int8),
        column("time", ColumnType::TimestampTz),
        column("generation", ColumnType::Int8),
        column("area", ColumnType::Text),
        column("file", ColumnType::Text),
        column("first_byte", ColumnType::Int8),
        column("end_byte", ColumnType::Int8),
        column("reason", ColumnType::Text),
        column("action", ColumnType::Text),
        column("member", ColumnType::Int8),
    ]
}

pub(crate) fn row(entry: &RecoveryEntry) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    let integer = |value: u64| Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
    let recovered = &entry.recovered;
    vec![
        text(if entry.is_node { "node" } else { "database" }),
        integer(entry.position),
        Value::TimestampTz(entry.time.as_micros()),
        integer(recovered.generation),
        text(recovered.area.as_str()),
        text(&recovered.file),
        integer(recovered.start),
        integer(recovered.end),
        text(&recovered.reason),
        text(recovered.action.as_str()),
        recovered.node.map_or(Value::Null, |node| integer(node.get())),
    ]
}
