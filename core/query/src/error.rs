//! The one error type of this crate: what the client is told, in PostgreSQL's words.

use craton_types::{TableSchema, Value};

use crate::text;

/// A five-character SQLSTATE (SQL:2016 part 2, clause 24; PostgreSQL's appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(&'static str);

macro_rules! sql_states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }
    };
}

sql_states! {
    /// A message of the protocol does not fit the statement.
    PROTOCOL_VIOLATION = "08P01";
    /// A feature that is not there.
    FEATURE_NOT_SUPPORTED = "0A000";
    /// More than one row for one `ON CONFLICT` target.
    CARDINALITY_VIOLATION = "21000";
    /// A text is longer than its column.
    STRING_TOO_LONG = "22001";
    /// A number does not fit its type.
    NUMERIC_OUT_OF_RANGE = "22003";
    /// A date or time is outside the calendar.
    DATETIME_OVERFLOW = "22008";
    /// A text is no date or time.
    INVALID_DATETIME = "22007";
    /// Division by zero.
    DIVISION_BY_ZERO = "22012";
    /// An argument has no meaning for its function or setting.
    INVALID_PARAMETER_VALUE = "22023";
    /// A negative `LIMIT`.
    INVALID_LIMIT = "2201W";
    /// A negative `OFFSET`.
    INVALID_OFFSET = "2201X";
    /// A negative substring length.
    SUBSTRING_ERROR = "22011";
    /// A malformed `LIKE` pattern.
    INVALID_ESCAPE_SEQUENCE = "22025";
    /// A text that does not spell a value of the type.
    INVALID_TEXT_REPRESENTATION = "22P02";
    /// A line of `COPY` data that does not fit the table.
    BAD_COPY_FILE_FORMAT = "22P04";
    /// Bytes that are not UTF-8, or a zero byte in a text.
    CHARACTER_NOT_IN_REPERTOIRE = "22021";
    /// NULL in a `NOT NULL` column.
    NOT_NULL_VIOLATION = "23502";
    /// A second row with a primary key.
    UNIQUE_VIOLATION = "23505";
    /// Commands are ignored until the failed transaction ends.
    IN_FAILED_TRANSACTION = "25P02";
    /// A write where only reads are allowed.
    READ_ONLY_TRANSACTION = "25006";
    /// `BEGIN` inside a transaction, and its kin.
    ACTIVE_TRANSACTION = "25001";
    /// The end of a transaction where there is none.
    NO_ACTIVE_TRANSACTION = "25P01";
    /// A concurrent change; retry the transaction.
    SERIALIZATION_FAILURE = "40001";
    /// The role may not do that.
    INSUFFICIENT_PRIVILEGE = "42501";
    /// The text does not parse.
    SYNTAX_ERROR = "42601";
    /// A name is given twice.
    DUPLICATE_COLUMN = "42701";
    /// A name could mean several things.
    AMBIGUOUS_COLUMN = "42702";
    /// No such column.
    UNDEFINED_COLUMN = "42703";
    /// No such setting, operator class or similar.
    UNDEFINED_OBJECT = "42704";
    /// The object is not of the kind that this is for.
    WRONG_OBJECT_TYPE = "42809";
    /// A name is used by another object.
    DUPLICATE_OBJECT = "42710";
    /// A column outside `GROUP BY`, an aggregate where none may be.
    GROUPING_ERROR = "42803";
    /// Two types that do not go together.
    DATATYPE_MISMATCH = "42804";
    /// A type that cannot be cast to another.
    CANNOT_COERCE = "42846";
    /// No such function or operator.
    UNDEFINED_FUNCTION = "42883";
    /// Several operators would fit.
    AMBIGUOUS_FUNCTION = "42725";
    /// No such table.
    UNDEFINED_TABLE = "42P01";
    /// No such parameter.
    UNDEFINED_PARAMETER = "42P02";
    /// A table of that name exists.
    DUPLICATE_TABLE = "42P07";
    /// An `ORDER BY` or `GROUP BY` position outside the select list, and its kin.
    INVALID_COLUMN_REFERENCE = "42P10";
    /// A definition that makes no sense.
    INVALID_TABLE_DEFINITION = "42P16";
    /// A parameter whose type nothing tells.
    INDETERMINATE_DATATYPE = "42P18";
    /// A limit of the program.
    PROGRAM_LIMIT_EXCEEDED = "54000";
    /// A statement nested too deeply.
    STATEMENT_TOO_COMPLEX = "54001";
    /// Too many columns.
    TOO_MANY_COLUMNS = "54011";
    /// Too much waits already; try again.
    INSUFFICIENT_RESOURCES = "53000";
    /// It is not known whether a statement took effect.
    STATEMENT_COMPLETION_UNKNOWN = "40003";
    /// The server cannot serve this now; another one can, or this one later.
    CANNOT_CONNECT_NOW = "57P03";
    /// The disk is full; reads go on.
    DISK_FULL = "53100";
    /// A result that takes more memory than allowed.
    OUT_OF_MEMORY = "53200";
    /// The state does not allow it now.
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    /// Something holds on to it.
    OBJECT_IN_USE = "55006";
    /// The setting cannot be changed.
    CANNOT_CHANGE_SETTING = "55P02";
    /// The statement took too long, or its client asked for its end.
    QUERY_CANCELED = "57014";
    /// The node stops.
    ADMIN_SHUTDOWN = "57P01";
    /// The view could not be read.
    IO_ERROR = "58030";
    /// A function found no row.
    NO_DATA_FOUND = "P0002";
    /// A bug of ours.
    INTERNAL_ERROR = "XX000";
}

impl SqlState {
    /// The five characters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl std::fmt::Display for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a statement was refused: the fields of PostgreSQL's `ErrorResponse` (protocol 3.0, section 55.8).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// The class of the error.
    pub sqlstate: SqlState,
    /// One line for a person.
    pub message: String,
    /// More about this case.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters counted from one.
    pub position: Option<u32>,
}

impl SqlError {
    /// An error with a message alone.
    #[must_use]
    pub fn new(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// Adds a detail line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the position, unless one is known already or this one is zero.
    #[must_use]
    pub fn at(mut self, position: u32) -> Self {
        if self.position.is_none() && position > 0 {
            self.position = Some(position);
        }
        self
    }

    /// `0A000`: something PostgreSQL has and we do not.
    #[must_use]
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// `42P01`.
    #[must_use]
    pub fn undefined_table(name: &str) -> Self {
        Self::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    }

    /// `42P07`.
    #[must_use]
    pub fn duplicate_table(name: &str) -> Self {
        Self::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
    }

    /// `23505` for the primary key of `row`, as PostgreSQL words it.
    #[must_use]
    pub fn unique_violation(table: &TableSchema, row: &[Value]) -> Self {
        let mut columns = String::new();
        let mut values = String::new();
        for &position in &table.primary_key {
            let position = usize::from(position);
            let (Some(column), Some(value)) = (table.columns.get(position), row.get(position)) else {
                continue;
            };
            if !columns.is_empty() {
                columns.push_str(", ");
                values.push_str(", ");
            }
            columns.push_str(&column.name);
            text::write(value, column.column_type, &mut values);
        }
        Self::new(
            SqlState::UNIQUE_VIOLATION,
            format!("duplicate key value violates unique constraint \"{}_pkey\"", table.name),
        )
        .with_detail(format!("Key ({columns})=({values}) already exists."))
    }

    /// `40001`: the row was changed since it was read.
    #[must_use]
    pub fn serialization_failure() -> Self {
        Self::new(
            SqlState::SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        )
        .with_hint("The transaction might succeed if retried.")
    }

    /// `25006`: a write inside a read-only transaction.
    #[must_use]
    pub fn read_only_transaction(command: &str) -> Self {
        Self::new(
            SqlState::READ_ONLY_TRANSACTION,
            format!("cannot execute {command} in a read-only transaction"),
        )
    }

    /// `25006`: a write in a session that looks at the past.
    #[must_use]
    pub fn read_only_past(command: &str) -> Self {
        Self::new(
            SqlState::READ_ONLY_TRANSACTION,
            format!("cannot execute {command} while reading the past"),
        )
        .with_hint("RESET craton.as_of_position returns to the present.")
    }

    /// `25P02`.
    #[must_use]
    pub fn in_failed_transaction() -> Self {
        Self::new(
            SqlState::IN_FAILED_TRANSACTION,
            "current transaction is aborted, commands ignored until end of transaction block",
        )
    }

    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new(SqlState::SYNTAX_ERROR, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    pub(crate) fn undefined_column(name: &str) -> Self {
        Self::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
    }

    pub(crate) fn memory_exceeded(bytes_max: usize) -> Self {
        Self::new(
            SqlState::OUT_OF_MEMORY,
            "the statement needs more memory than it may use",
        )
        .with_detail(format!("The bound is {bytes_max} bytes of rows kept at once."))
        .with_hint("Add a LIMIT, select fewer columns, or order by the primary key.")
    }
}
