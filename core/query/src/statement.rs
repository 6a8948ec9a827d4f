//! A parsed statement: the syntax tree and the time travel clause that was taken out of it.

use std::sync::Arc;

use sqlparser::ast;

/// One statement of a text, parsed and not yet bound to tables. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) syntax: Arc<Syntax>,
    /// Whether `EXPLAIN` stood before it.
    pub(crate) explain: bool,
    pub(crate) as_of: Option<Arc<AsOfSyntax>>,
}

/// What was parsed.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a statement has one, behind an Arc, and nearly always the larger one"
)]
pub(crate) enum Syntax {
    /// A statement that SQL has.
    Sql(ast::Statement),
    /// One about data subjects.
    Compliance(ComplianceSyntax),
}

/// A statement about data subjects, before its expressions are bound.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a statement has one, behind an Arc, and nearly always the larger one"
)]
pub(crate) enum ComplianceSyntax {
    /// `ERASE SUBJECT … [REASON …]` and its kin.
    Subject {
        verb: SubjectVerb,
        subject: ast::Expr,
        reason: Option<ast::Expr>,
    },
    /// `ALTER TABLE … SET (…)` or `ALTER DATABASE … SET (…)`.
    Alter {
        is_database: bool,
        name: ast::ObjectName,
        options: Vec<ast::SqlOption>,
    },
}

/// What is done to a data subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectVerb {
    Erase,
    Hold,
    Release,
}

/// `AS OF POSITION …` or `FOR SYSTEM_TIME AS OF …`, before its expression is bound.
#[derive(Debug)]
pub(crate) struct AsOfSyntax {
    pub(crate) kind: AsOfKind,
    pub(crate) expression: ast::Expr,
    /// Where the clause begins, in characters counted from one.
    pub(crate) position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsOfKind {
    Position,
    SystemTime,
}

/// Which state of the database a statement reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AsOf {
    /// The present.
    #[default]
    Now,
    /// The state after the record at this position.
    Position(u64),
    /// The state after the last record at or before this time, in microseconds since the Unix epoch.
    Timestamp(i64),
}
