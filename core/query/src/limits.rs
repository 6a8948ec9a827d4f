//! Every bound of this crate.

/// The longest text handed to [`crate::parse`], in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// The most tokens in such a text: bounds the memory that the syntax tree takes.
pub const STATEMENT_TOKENS_MAX: usize = 1 << 18;
/// The most tokens between two commas, counted over all open parentheses: bounds how deep a chain of operators
/// can make the syntax tree.
pub const CHAIN_TOKENS_MAX: usize = 8_000;
/// How deep parentheses and brackets may nest.
pub const BRACKETS_DEPTH_MAX: usize = 160;
/// How deep expressions may nest. Chains of `AND` and of `OR` count as one level.
pub const EXPRESSION_DEPTH_MAX: usize = 128;
/// The most parameters of a statement, as the protocol counts them in 16 bits.
pub const PARAMETERS_MAX: usize = 65_535;
/// The most columns of a table, as in PostgreSQL.
pub const COLUMNS_MAX: usize = 1_600;
/// The most columns of a primary key, as in PostgreSQL.
pub const KEY_COLUMNS_MAX: usize = 32;
/// The most items of a select list, as in PostgreSQL.
pub const SELECT_ITEMS_MAX: usize = 1_664;
/// The longest name in bytes, as PostgreSQL's `NAMEDATALEN - 1`. Longer ones are refused, not cut.
pub const NAME_BYTES_MAX: usize = 63;
/// The most rows that one transaction writes: every row is a chunk of its record, beside the summary.
pub const ROWS_WRITTEN_MAX: usize = craton_types::CHUNKS_MAX as usize - 1;
/// The usual bound for [`crate::Context::memory_bytes_max`].
pub const MEMORY_BYTES_DEFAULT: usize = 256 << 20;
/// The longest `varchar(n)`, as in PostgreSQL.
pub const VARCHAR_LENGTH_MAX: u32 = 10_485_760;
/// The most significant digits of a `numeric`.
pub const NUMERIC_PRECISION_MAX: u8 = 28;
