//! Statements about the session: transactions and settings.

/// The modes of `BEGIN` and `SET TRANSACTION`. Every isolation level that SQL names is accepted: transactions are
/// serializable, which meets them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TransactionModes {
    /// `READ ONLY` or `READ WRITE`, when said.
    pub read_only: Option<bool>,
    /// Whether the modes are for the session's later transactions (`SET SESSION CHARACTERISTICS`).
    pub for_session: bool,
    /// Whether the statement was spelled `START TRANSACTION`.
    pub(crate) start_spelling: bool,
}

impl TransactionModes {
    pub(crate) const fn begin_tag(self) -> &'static str {
        if self.start_spelling {
            "START TRANSACTION"
        } else {
            "BEGIN"
        }
    }
}

/// `SET name = value`, `SET name TO DEFAULT` and `RESET name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetVariable {
    /// The setting's name in lower case.
    pub name: String,
    /// The value as text; `None` goes back to the default.
    pub value: Option<String>,
    /// `SET LOCAL`: until the transaction ends.
    pub local: bool,
    /// Whether it was spelled `RESET`.
    pub(crate) reset_spelling: bool,
}

impl SetVariable {
    pub(crate) const fn tag(&self) -> &'static str {
        if self.reset_spelling { "RESET" } else { "SET" }
    }
}
