//! Table definitions.

use minicbor::{Decode, Encode};

use crate::{DataClass, SubjectColumns, TableId};

/// A column's SQL type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ColumnType {
    /// `boolean`.
    #[n(0)]
    Bool,
    /// `smallint`.
    #[n(1)]
    Int2,
    /// `integer`.
    #[n(2)]
    Int4,
    /// `bigint`.
    #[n(3)]
    Int8,
    /// `real`.
    #[n(4)]
    Float4,
    /// `double precision`.
    #[n(5)]
    Float8,
    /// `numeric`, `numeric(precision, scale)`.
    #[n(6)]
    Numeric {
        /// Significant digits and digits after the point, when declared.
        #[n(0)]
        precision_and_scale: Option<(u8, u8)>,
    },
    /// `text`.
    #[n(7)]
    Text,
    /// `varchar(n)`: at most `length_max` characters.
    #[n(8)]
    Varchar {
        /// Characters, not bytes.
        #[n(0)]
        length_max: u32,
    },
    /// `bytea`.
    #[n(9)]
    Bytea,
    /// `date`.
    #[n(10)]
    Date,
    /// `time`.
    #[n(11)]
    Time,
    /// `timestamp`.
    #[n(12)]
    Timestamp,
    /// `timestamptz`.
    #[n(13)]
    TimestampTz,
    /// `uuid`.
    #[n(14)]
    Uuid,
    /// `json`.
    #[n(15)]
    Json,
    /// `jsonb`.
    #[n(16)]
    Jsonb,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Column {
    /// Its name, folded to lower case unless it was quoted.
    #[n(0)]
    pub name: String,
    /// Its type.
    #[n(1)]
    pub column_type: ColumnType,
    /// Whether NULL is allowed.
    #[n(2)]
    pub nullable: bool,
    /// The default expression as SQL text.
    #[n(3)]
    pub default_sql: Option<String>,
}

/// A table's definition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TableSchema {
    /// Its number, never reused within a tenant.
    #[n(0)]
    pub id: TableId,
    /// Its name, folded to lower case unless it was quoted.
    #[n(1)]
    pub name: String,
    /// Its columns in order.
    #[n(2)]
    pub columns: Vec<Column>,
    /// Positions in `columns` of the primary key's columns, in key order; never empty.
    #[n(3)]
    pub primary_key: Vec<u16>,
    /// Whose data its rows are, when they are of data subjects.
    #[n(4)]
    pub subjects: Option<SubjectColumns>,
    /// What kind of data its rows are, when it was said.
    #[n(5)]
    pub data_class: Option<DataClass>,
}

impl TableSchema {
    /// The position of a column by name.
    #[must_use]
    pub fn column_position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
