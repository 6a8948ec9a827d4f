//! `CREATE TABLE` and `DROP TABLE`.

use craton_types::TableSchema;

/// `CREATE TABLE`, checked. Whether the name is free is for the kernel to say: [`crate::SqlError::duplicate_table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    /// The definition; its id is zero until the kernel gives it one.
    pub schema: TableSchema,
    /// Whether an existing table is left alone with a notice.
    pub if_not_exists: bool,
}

/// `DROP TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTable {
    /// The tables' names, each once.
    pub tables: Vec<String>,
    /// Whether missing tables are skipped with a notice.
    pub if_exists: bool,
}
