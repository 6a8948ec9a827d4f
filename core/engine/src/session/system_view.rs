//! Tables that the engine computes when they are read. They can be queried like any other, also in the past, and cannot
//! be changed.
//!
//! | name | rows |
//! |---|---|
//! | `craton_key_epochs` | the key epochs of the database |

use std::sync::{Arc, LazyLock};

use craton_types::{
    Column, ColumnType, Offset, PrimaryKey, RotationReason, TableId, TableSchema, Timestamp, Value, VersionedRow,
};

use crate::{EngineError, KeyEpochStatus, Tenant};

/// Computes a view's rows at an exclusive end, in key order.
type Rows = fn(&Tenant, Offset) -> Result<Vec<VersionedRow>, EngineError>;

/// A system view.
pub(super) struct SystemView {
    schema: Arc<TableSchema>,
    rows: Rows,
}

static VIEWS: LazyLock<[SystemView; 1]> = LazyLock::new(|| {
    [SystemView::new(
        11,
        "craton_key_epochs",
        &[
            ("epoch", ColumnType::Int8),
            ("data_key", ColumnType::Int8),
            ("position", ColumnType::Int8),
            ("started_at", ColumnType::TimestampTz),
            ("reason", ColumnType::Text),
            ("active", ColumnType::Bool),
        ],
        key_epochs,
    )]
});

impl SystemView {
    /// A view with a number below those of users' tables. Its first column is its key.
    fn new(id: u32, name: &str, columns: &[(&str, ColumnType)], rows: Rows) -> Self {
        let columns = columns.iter().map(|(name, column_type)| Column {
            name: (*name).to_owned(),
            column_type: *column_type,
            nullable: true,
            default_sql: None,
        });
        let schema = TableSchema {
            id: TableId::new(id),
            name: name.to_owned(),
            columns: columns.collect(),
            primary_key: vec![0],
            subjects: None,
            data_class: None,
        };
        Self {
            schema: Arc::new(schema),
            rows,
        }
    }

    /// The view of this name.
    pub(super) fn schema_of(name: &str) -> Option<Arc<TableSchema>> {
        let view = VIEWS.iter().find(|view| view.schema.name == name);
        view.map(|view| Arc::clone(&view.schema))
    }

    /// The view with this number.
    pub(super) fn by_id(id: TableId) -> Option<&'static Self> {
        VIEWS.iter().find(|view| view.schema.id == id)
    }

    /// Its rows and their keys at an exclusive end, in key order.
    pub(super) fn rows(&self, tenant: &Tenant, end: Offset) -> Result<Vec<(PrimaryKey, VersionedRow)>, EngineError> {
        let rows = (self.rows)(tenant, end)?.into_iter().map(|row| {
            let key = PrimaryKey::encode([&row.row[0]]).expect("the first column is a key");
            (key, row)
        });
        Ok(rows.collect())
    }
}

fn key_epochs(tenant: &Tenant, end: Offset) -> Result<Vec<VersionedRow>, EngineError> {
    let mut epochs = tenant.key_epochs()?;
    epochs.retain(|epoch| epoch.reason.is_none() || epoch.offset < end);
    let newest = epochs.last().map(|epoch| epoch.epoch);
    let rows = epochs.into_iter().map(|epoch| {
        let active = Some(epoch.epoch) == newest;
        VersionedRow {
            version: epoch.offset,
            row: Arc::new(key_epoch_row(&epoch, active)),
        }
    });
    Ok(rows.collect())
}

fn key_epoch_row(epoch: &KeyEpochStatus, active: bool) -> Vec<Value> {
    let time = |timestamp: Timestamp| Value::TimestampTz(timestamp.as_micros());
    let reason = |reason: RotationReason| {
        let text = match reason {
            RotationReason::Opened => "opened",
            RotationReason::DataKey => "data key rotated",
            RotationReason::KeyEncryptionKey => "key-encryption key rotated",
            RotationReason::MasterKey => "master key rotated",
        };
        Value::Text(text.to_owned())
    };
    vec![
        Value::Int(epoch.epoch.get().into()),
        Value::Int(epoch.data_key.get().into()),
        Value::Int(epoch.offset.get().cast_signed()),
        epoch.timestamp.map_or(Value::Null, time),
        epoch.reason.map_or(Value::Null, reason),
        Value::Bool(active),
    ]
}
