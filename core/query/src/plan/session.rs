//! Statements about the session: transactions, settings, time travel.

use std::sync::Arc;

use craton_types::{ColumnType, Value};
use sqlparser::ast::{self, Expr, Statement as Syntax};

use super::{Bound, PlanKind, Planner, relation};
use crate::expression::{CastContext, Expression, Scope, fold, start_of};
use crate::limits::NAME_BYTES_MAX;
use crate::statement::AsOfKind;
use crate::types::type_name;
use crate::{AsOf, Context, SqlError, SqlState, Statement, variables};

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
    /// `SET name = value`, for settings that come with the start-up message.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_ascii_lowercase(),
            value: Some(value.to_owned()),
            local: false,
            reset_spelling: false,
        }
    }

    pub(crate) const fn tag(&self) -> &'static str {
        if self.reset_spelling { "RESET" } else { "SET" }
    }
}

/// Binds every statement that touches no table.
pub(super) fn bind(statement: &Syntax) -> Result<Bound, SqlError> {
    let kind = match statement {
        Syntax::StartTransaction {
            modes,
            begin,
            transaction: _,
            modifier: None,
            statements,
            exception: None,
            has_end_keyword: false,
        } if statements.is_empty() => PlanKind::Begin(TransactionModes {
            start_spelling: !begin,
            ..transaction_modes(modes)?
        }),
        Syntax::Commit {
            chain: false,
            end: _,
            modifier: None,
        } => PlanKind::Commit,
        Syntax::Rollback {
            chain: false,
            savepoint: None,
        } => PlanKind::Rollback,
        Syntax::Commit { .. } | Syntax::Rollback { .. } | Syntax::StartTransaction { .. } => {
            return Err(SqlError::unsupported("this form of transaction control"));
        }
        Syntax::Set(set) => bind_set(set)?,
        Syntax::Reset(ast::ResetStatement { reset }) => match reset {
            ast::Reset::ALL => PlanKind::ResetAll,
            ast::Reset::ConfigurationParameter(name) => PlanKind::Set(SetVariable {
                name: variable_name(name)?,
                value: None,
                local: false,
                reset_spelling: true,
            }),
            ast::Reset::SessionAuthorization => return Err(SqlError::unsupported("RESET SESSION AUTHORIZATION")),
        },
        Syntax::ShowVariable { variable } => {
            let name = shown_variable(variable)?;
            let columns = variables::show_columns(name.as_deref()).into();
            return Ok((PlanKind::Show(name), Some(columns)));
        }
        Syntax::Discard {
            object_type: ast::DiscardObject::ALL,
        } => PlanKind::DiscardAll,
        Syntax::Deallocate { name, prepare: _ } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            PlanKind::Deallocate(if is_all { None } else { Some(fold(name)?) })
        }
        other => return Err(SqlError::unsupported(first_words(&other.to_string()))),
    };
    Ok((kind, None))
}

/// The words in capitals that a statement begins with.
fn first_words(text: &str) -> String {
    let words: Vec<&str> = text
        .split_ascii_whitespace()
        .take_while(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .take(3)
        .collect();
    if words.is_empty() {
        "this statement".to_owned()
    } else {
        words.join(" ")
    }
}

fn transaction_modes(modes: &[ast::TransactionMode]) -> Result<TransactionModes, SqlError> {
    let mut bound = TransactionModes::default();
    for mode in modes {
        match mode {
            ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadOnly) => bound.read_only = Some(true),
            ast::TransactionMode::AccessMode(ast::TransactionAccessMode::ReadWrite) => bound.read_only = Some(false),
            ast::TransactionMode::IsolationLevel(
                ast::TransactionIsolationLevel::ReadUncommitted
                | ast::TransactionIsolationLevel::ReadCommitted
                | ast::TransactionIsolationLevel::RepeatableRead
                | ast::TransactionIsolationLevel::Serializable,
            ) => {}
            ast::TransactionMode::IsolationLevel(other) => {
                return Err(SqlError::unsupported(format!("isolation level {other}")));
            }
        }
    }
    Ok(bound)
}

fn bind_set(set: &ast::Set) -> Result<PlanKind, SqlError> {
    let variable = |name: String, value, local| {
        PlanKind::Set(SetVariable {
            name,
            value,
            local,
            reset_spelling: false,
        })
    };
    match set {
        ast::Set::SingleAssignment {
            scope,
            hivevar: false,
            variable: name,
            values,
        } => {
            let local = match scope {
                None | Some(ast::ContextModifier::Session) => false,
                Some(ast::ContextModifier::Local) => true,
                Some(ast::ContextModifier::Global) => return Err(SqlError::unsupported("SET GLOBAL")),
            };
            Ok(variable(variable_name(name)?, setting_value(values)?, local))
        }
        ast::Set::SetTimeZone { local, value } => {
            let value = setting_value(std::slice::from_ref(value))?;
            // LOCAL and DEFAULT are both the server's own zone.
            let value = value.filter(|zone| !zone.eq_ignore_ascii_case("local"));
            Ok(variable("timezone".to_owned(), value, *local))
        }
        ast::Set::SetNames {
            charset_name,
            collation_name: None,
        } => Ok(variable(
            "client_encoding".to_owned(),
            Some(charset_name.value.clone()),
            false,
        )),
        ast::Set::SetNamesDefault {} => Ok(variable("client_encoding".to_owned(), None, false)),
        ast::Set::SetTransaction {
            modes,
            snapshot: None,
            session,
        } => Ok(PlanKind::SetTransaction(TransactionModes {
            for_session: *session,
            ..transaction_modes(modes)?
        })),
        other => Err(SqlError::unsupported(first_words(&other.to_string()))),
    }
}

fn variable_name(name: &ast::ObjectName) -> Result<String, SqlError> {
    let spelled: Vec<String> = name
        .0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => Ok(ident.value.to_ascii_lowercase()),
            ast::ObjectNamePart::Function(_) => Err(SqlError::syntax("a setting's name is expected")),
        })
        .collect::<Result<_, _>>()?;
    let name = spelled.join(".");
    if name.len() > NAME_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            "unrecognized configuration parameter",
        ));
    }
    Ok(name)
}

/// The value of `SET` as text; `None` for `DEFAULT`.
fn setting_value(values: &[Expr]) -> Result<Option<String>, SqlError> {
    if let [Expr::Identifier(word)] = values
        && word.quote_style.is_none()
        && word.value.eq_ignore_ascii_case("default")
    {
        return Ok(None);
    }
    let mut spelled = Vec::with_capacity(values.len());
    for value in values {
        spelled.push(setting_word(value)?);
    }
    Ok(Some(spelled.join(", ")))
}

fn setting_word(value: &Expr) -> Result<String, SqlError> {
    match value {
        Expr::Identifier(word) => Ok(word.value.clone()),
        Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => Ok(digits.clone()),
            ast::Value::Boolean(value) => Ok(if *value { "on" } else { "off" }.to_owned()),
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => Ok(text.clone()),
            other => Err(SqlError::syntax(format!("{other} is no value of a setting"))),
        },
        Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => setting_word(expr).map(|digits| format!("-{digits}")),
        other => Err(SqlError::syntax("a setting takes a word, a number or a string literal").at(start_of(other))),
    }
}

/// `SHOW ALL` is `None`.
fn shown_variable(words: &[ast::Ident]) -> Result<Option<String>, SqlError> {
    let words: Vec<String> = words.iter().map(|word| word.value.to_ascii_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["all"] => None,
        ["time", "zone"] => Some("timezone".to_owned()),
        ["transaction", "isolation", "level"] => Some("transaction_isolation".to_owned()),
        [name] => Some((*name).to_owned()),
        // The parser leaves the point out.
        [class, name] => Some(format!("{class}.{name}")),
        _ => return Err(SqlError::syntax("SHOW takes one name")),
    })
}

impl Planner<'_> {
    /// Binds the time travel clause, which only a query over a table can have.
    pub(super) fn bind_as_of(
        &mut self,
        statement: &Statement,
        kind: &PlanKind,
    ) -> Result<Option<(AsOfKind, Expression)>, SqlError> {
        let Some(as_of) = &statement.as_of else { return Ok(None) };
        match kind {
            PlanKind::Select(_) if !self.tables.is_empty() => {}
            PlanKind::Write(write) => return Err(SqlError::read_only_past(write.command()).at(as_of.position)),
            _ => return Err(SqlError::syntax("AS OF must follow a table in FROM").at(as_of.position)),
        }
        let (to, what) = match as_of.kind {
            AsOfKind::Position => (ColumnType::Int8, "AS OF POSITION"),
            AsOfKind::SystemTime => (ColumnType::TimestampTz, "FOR SYSTEM_TIME AS OF"),
        };
        let mut binder = self.binder(Scope::empty(), "AS OF");
        let typed = binder.bind(&as_of.expression)?;
        let found = typed.column_type;
        let expression = binder.cast_in(typed, to, CastContext::Implicit)?.ok_or_else(|| {
            SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "argument of {what} must be type {}, not type {}",
                    type_name(to),
                    found.map_or("unknown", type_name)
                ),
            )
            .at(start_of(&as_of.expression))
        })?;
        Ok(Some((as_of.kind, expression)))
    }
}

/// The state that a bound clause means now.
pub(super) fn evaluate_as_of(kind: AsOfKind, expression: &Expression, context: &Context<'_>) -> Result<AsOf, SqlError> {
    let refused = |message: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    match (kind, expression.evaluate(&[], context)?.as_ref()) {
        (AsOfKind::Position, Value::Int(position)) => match u64::try_from(*position) {
            Ok(position) => Ok(AsOf::Position(position)),
            Err(_) => refused("AS OF POSITION must not be negative"),
        },
        (AsOfKind::SystemTime, Value::TimestampTz(micros)) => Ok(AsOf::Timestamp(*micros)),
        (_, Value::Null) => refused("AS OF must not be null"),
        _ => Err(SqlError::internal("AS OF was bound to another type")),
    }
}

/// Whether a statement's own time travel clause can be resolved before the statement is bound, so that it is bound
/// to the tables of that time.
pub(super) fn constant_as_of(statement: &Statement, context: &Context<'_>) -> Result<Option<AsOf>, SqlError> {
    let Some(as_of) = &statement.as_of else {
        return Ok(Some(AsOf::Now));
    };
    let nothing = super::NoTables;
    let mut parameters = crate::expression::ParameterTypes::new(&[])?;
    let mut binder = crate::expression::Binder::new(Scope::empty(), &nothing, &mut parameters, "AS OF");
    let typed = binder.bind(&as_of.expression)?;
    let to = match as_of.kind {
        AsOfKind::Position => ColumnType::Int8,
        AsOfKind::SystemTime => ColumnType::TimestampTz,
    };
    let Some(expression) = binder.cast_in(typed, to, CastContext::Implicit)? else {
        return Ok(None);
    };
    if !parameters.finish().is_empty() {
        return Ok(None);
    }
    evaluate_as_of(as_of.kind, &expression, context).map(Some)
}

/// `42P01` unless each name is a table of schema `public`.
pub(super) fn table_names(names: &[ast::ObjectName]) -> Result<Vec<String>, SqlError> {
    let mut folded: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let name = relation::name_of(name)?;
        if !folded.contains(&name) {
            folded.push(name);
        }
    }
    Ok(folded)
}

/// The one column of `EXPLAIN`.
pub(super) fn explain_columns() -> Arc<[super::ResultColumn]> {
    [super::ResultColumn {
        name: "QUERY PLAN".to_owned(),
        column_type: ColumnType::Text,
    }]
    .into()
}
