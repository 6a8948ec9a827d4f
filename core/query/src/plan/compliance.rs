//! Data subjects: the storage parameters of tables, and the statements that erase, hold and release a subject.

use std::sync::Arc;

use craton_types::{Column, ColumnType, DataClass, PlacementRules, Retention, SubjectColumns, TableSchema, Value};
use sqlparser::ast::{self, Expr};

use super::relation::{self, start_of_name};
use super::{Bound, PlanKind, Planner, ResultColumn, check_parameters};
use crate::expression::{Expression, Interval, Scope};
use crate::parse::position;
use crate::statement::{ComplianceSyntax, SubjectVerb};
use crate::types::type_name;
use crate::{Context, SqlError, SqlState};

/// `ERASE SUBJECT`, `HOLD SUBJECT` or `RELEASE SUBJECT`, bound.
#[derive(Clone, Debug)]
pub struct SubjectPlan {
    pub(crate) verb: SubjectVerb,
    subject: Expression,
    reason: Option<Expression>,
    pub(crate) parameter_types: Arc<[ColumnType]>,
}

/// What a statement about a data subject asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectRequest {
    /// `ERASE SUBJECT`.
    Erase {
        /// The subject.
        subject: String,
        /// Why, if it was said.
        reason: Option<String>,
    },
    /// `HOLD SUBJECT`.
    Hold {
        /// The subject.
        subject: String,
        /// Why.
        reason: String,
    },
    /// `RELEASE SUBJECT`.
    Release {
        /// The subject.
        subject: String,
        /// Why.
        reason: String,
    },
}

impl SubjectPlan {
    pub(super) const fn tag(&self) -> &'static str {
        match self.verb {
            SubjectVerb::Erase => "ERASE SUBJECT",
            SubjectVerb::Hold => "HOLD SUBJECT",
            SubjectVerb::Release => "RELEASE SUBJECT",
        }
    }

    /// What it asks for, with the values of its parameters.
    ///
    /// # Errors
    /// When the parameters do not fit, or the subject or a reason that is needed is NULL or missing.
    pub fn request(&self, context: &Context<'_>) -> Result<SubjectRequest, SqlError> {
        check_parameters(&self.parameter_types, context.parameters)?;
        let text = |expression: &Expression| match expression.evaluate(&[], context)?.into_owned() {
            Value::Text(text) => Ok(Some(text)),
            _ => Ok::<_, SqlError>(None),
        };
        let refused = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
        let subject = text(&self.subject)?.ok_or_else(|| refused(format!("{} needs a subject", self.tag())))?;
        let reason = match &self.reason {
            Some(reason) => text(reason)?,
            None => None,
        };
        let needed = |reason: Option<String>| {
            reason
                .filter(|reason| !reason.trim().is_empty())
                .ok_or_else(|| refused(format!("{} needs a reason", self.tag())).with_hint("Write REASON '…'."))
        };
        Ok(match self.verb {
            SubjectVerb::Erase => SubjectRequest::Erase { subject, reason },
            SubjectVerb::Hold => SubjectRequest::Hold {
                subject,
                reason: needed(reason)?,
            },
            SubjectVerb::Release => SubjectRequest::Release {
                subject,
                reason: needed(reason)?,
            },
        })
    }
}

/// `ALTER TABLE … SET (retention = …)` or `ALTER DATABASE … SET (retention = …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRetention {
    /// The table; `None` for the database's default.
    pub table: Option<Arc<TableSchema>>,
    /// The database that was named, for the default.
    pub database: Option<String>,
    /// How long; `None` for no rule.
    pub retention: Option<Retention>,
}

/// `ALTER DATABASE … SET (placement = …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlacement {
    /// The database that was named.
    pub database: String,
    /// Which regions may keep data of which class.
    pub rules: PlacementRules,
}

impl SetRetention {
    pub(super) const fn tag(&self) -> &'static str {
        match self.table {
            Some(_) => "ALTER TABLE",
            None => "ALTER DATABASE",
        }
    }
}

/// What `ERASE SUBJECT` tells: a row of these columns.
pub(super) fn erased_columns() -> Arc<[ResultColumn]> {
    [
        ("subject", ColumnType::Text),
        ("key", ColumnType::Int8),
        ("position", ColumnType::Int8),
        ("time", ColumnType::TimestampTz),
    ]
    .into_iter()
    .map(|(name, column_type)| ResultColumn {
        name: name.to_owned(),
        column_type,
    })
    .collect()
}

impl Planner<'_> {
    pub(super) fn bind_compliance(&mut self, syntax: &ComplianceSyntax) -> Result<Bound, SqlError> {
        match syntax {
            ComplianceSyntax::Subject { verb, subject, reason } => {
                let subject =
                    self.binder(Scope::empty(), "a data subject")
                        .bind_as(subject, ColumnType::Text, "SUBJECT")?;
                let reason = match reason {
                    Some(reason) => Some(self.binder(Scope::empty(), "a reason").bind_as(
                        reason,
                        ColumnType::Text,
                        "REASON",
                    )?),
                    None => None,
                };
                let columns = (*verb == SubjectVerb::Erase).then(erased_columns);
                let plan = SubjectPlan {
                    verb: *verb,
                    subject,
                    reason,
                    parameter_types: Arc::default(),
                };
                Ok((PlanKind::Subject(plan), columns))
            }
            ComplianceSyntax::Alter {
                is_database,
                name,
                options,
            } => {
                if *is_database && let Some(rules) = altered_placement(options)? {
                    let database = relation::name_of(name)?;
                    return Ok((PlanKind::SetPlacement(SetPlacement { database, rules }), None));
                }
                let (table, database) = if *is_database {
                    (None, Some(relation::name_of(name)?))
                } else {
                    let table = self.table(name)?;
                    if table.subjects.is_none() {
                        let message = format!("table \"{}\" has no erasable columns", table.name);
                        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
                            .with_hint("Retention is for the data of data subjects.")
                            .at(start_of_name(name)));
                    }
                    (Some(table), None)
                };
                let set = SetRetention {
                    table,
                    database,
                    retention: altered_retention(options)?,
                };
                Ok((PlanKind::SetRetention(set), None))
            }
        }
    }
}

/// The rules of `SET (placement = …)`; `None` when something else is set.
fn altered_placement(options: &[ast::SqlOption]) -> Result<Option<PlacementRules>, SqlError> {
    let [option] = options else {
        return Ok(None);
    };
    let (name, value, at) = storage_parameter(option)?;
    if name != "placement" {
        return Ok(None);
    }
    value
        .parse()
        .map(Some)
        .map_err(|error: craton_types::PlacementError| invalid(&error).at(at))
}

fn invalid(error: &craton_types::PlacementError) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, error.to_string())
}

fn altered_retention(options: &[ast::SqlOption]) -> Result<Option<Retention>, SqlError> {
    let [option] = options else {
        return Err(SqlError::syntax("SET takes one storage parameter"));
    };
    match storage_parameter(option)? {
        (name, value, _) if name == "retention" => parse_retention(&value),
        (name, _, at) => Err(unrecognized(&name)
            .with_hint("Retention can be changed, and a database's placement.")
            .at(at)),
    }
}

/// What `WITH (…)` says about a table's data.
#[derive(Default)]
pub(super) struct TableData {
    /// Whose it is: `subject`, `erasable` and `retention`.
    pub(super) subjects: Option<SubjectColumns>,
    /// What kind it is: `data_class`.
    pub(super) class: Option<DataClass>,
}

/// Reads the storage parameters of `CREATE TABLE`.
pub(super) fn table_data(
    options: &[ast::SqlOption],
    columns: &[Column],
    primary_key: &[u16],
) -> Result<TableData, SqlError> {
    let (mut subject, mut erasable, mut retention, mut class) = (None, None, None, None);
    for option in options {
        let (name, value, at) = storage_parameter(option)?;
        let given_twice = match name.as_str() {
            "subject" => subject
                .replace(place_of(columns, value.trim()).map_err(|error| error.at(at))?)
                .is_some(),
            "erasable" => {
                let places: Result<Vec<u16>, SqlError> = value
                    .split(',')
                    .map(|column| place_of(columns, column.trim()))
                    .collect();
                erasable.replace(places.map_err(|error| error.at(at))?).is_some()
            }
            "data_class" => class
                .replace(value.parse::<DataClass>().map_err(|error| invalid(&error).at(at))?)
                .is_some(),
            "retention" => retention
                .replace(parse_retention(&value).map_err(|error| error.at(at))?)
                .is_some(),
            _ => return Err(unrecognized(&name).at(at)),
        };
        if given_twice {
            let message = format!("parameter \"{name}\" specified more than once");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(at));
        }
    }
    let subjects = subject_columns(subject, erasable, retention, columns, primary_key)?;
    Ok(TableData { subjects, class })
}

/// The data subjects of a table.
fn subject_columns(
    subject: Option<u16>,
    erasable: Option<Vec<u16>>,
    retention: Option<Option<Retention>>,
    columns: &[Column],
    primary_key: &[u16],
) -> Result<Option<SubjectColumns>, SqlError> {
    let (subject, mut erasable) = match (subject, erasable) {
        (Some(subject), Some(erasable)) => (subject, erasable),
        (None, None) if retention.is_none() => return Ok(None),
        _ => {
            return Err(
                SqlError::new(SqlState::INVALID_TABLE_DEFINITION, "subject and erasable go together").with_hint(
                    "WITH (subject = 'id', erasable = 'name, born') says whose data the columns are, and which.",
                ),
            );
        }
    };
    erasable.sort_unstable();
    erasable.dedup();
    check_subject(&columns[usize::from(subject)])?;
    for &place in &erasable {
        let column = &columns[usize::from(place)];
        let refuse = |why: &str| {
            let message = format!("column \"{}\" cannot be erasable: {why}", column.name);
            Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message))
        };
        if place == subject {
            return refuse("it names the data subject");
        }
        if primary_key.contains(&place) {
            return refuse("it is part of the primary key");
        }
        if !column.nullable {
            return refuse("it is NOT NULL, and an erased cell reads as NULL");
        }
    }
    Ok(Some(SubjectColumns {
        subject,
        erasable,
        retention: retention.flatten(),
    }))
}

fn check_subject(column: &Column) -> Result<(), SqlError> {
    let refuse = |why: String| {
        let message = format!("column \"{}\" cannot name the data subject: {why}", column.name);
        Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message))
    };
    match column.column_type {
        ColumnType::Int2
        | ColumnType::Int4
        | ColumnType::Int8
        | ColumnType::Text
        | ColumnType::Varchar { .. }
        | ColumnType::Uuid => {}
        other => return refuse(format!("its type is {}", type_name(other))),
    }
    if column.nullable {
        return refuse("it is not declared NOT NULL".to_owned());
    }
    Ok(())
}

/// A column by its name as SQL spells it.
fn place_of(columns: &[Column], spelled: &str) -> Result<u16, SqlError> {
    let name = match spelled.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => spelled.to_lowercase(),
    };
    let place = columns.iter().position(|column| column.name == name);
    let place = place.ok_or_else(|| {
        let message = format!("column \"{name}\" named in a storage parameter does not exist");
        SqlError::new(SqlState::UNDEFINED_COLUMN, message)
    })?;
    u16::try_from(place).map_err(|_| SqlError::internal("more columns than were allowed"))
}

/// A storage parameter's name and value, and where it stands.
fn storage_parameter(option: &ast::SqlOption) -> Result<(String, String, u32), SqlError> {
    let ast::SqlOption::KeyValue { key, value } = option else {
        return Err(SqlError::unsupported(format!("the storage parameter {option}")));
    };
    let at = position(key.span);
    let value = match value {
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _) => text.clone(),
            _ => return Err(SqlError::syntax("a storage parameter takes a string literal").at(at)),
        },
        Expr::Identifier(word) => word.value.clone(),
        _ => return Err(SqlError::syntax("a storage parameter takes a string literal").at(at)),
    };
    Ok((key.value.to_lowercase(), value, at))
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unrecognized parameter \"{name}\""),
    )
}

/// An interval of no or positive time; `none` for no rule.
fn parse_retention(text: &str) -> Result<Option<Retention>, SqlError> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    Interval::parse(text, None)?
        .to_retention()
        .map(Some)
        .ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "a retention cannot be negative"))
}
