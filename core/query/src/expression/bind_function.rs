//! Binding function calls and the syntax that is a function call in disguise.

use craton_types::{ColumnType, Value};
use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::bind::{Aggregates, Binder, start_of, string_literal};
use super::coerce::make_cast;
use super::{Aggregate, AggregateFunction, CastContext, Expression, Function, ReceiptKind, Typed};
use crate::types::{NUMERIC, base, full_type_name, type_name};
use crate::{SERVER_VERSION, SqlError, SqlState};

/// The arguments of a call, and what stands around them.
struct Call<'s> {
    arguments: Vec<&'s Expr>,
    /// `f(*)`
    star: bool,
    distinct: bool,
    filter: Option<&'s Expr>,
}

impl Binder<'_> {
    /// Everything that is not an operator, a name or a literal.
    pub(super) fn bind_function_syntax(&mut self, syntax: &Expr) -> Result<Typed, SqlError> {
        let at = start_of(syntax);
        match syntax {
            Expr::Function(function) => {
                let name = self.fold_function_name(&function.name)?;
                let call = take_apart(function).map_err(|error| error.at(at))?;
                self.bind_call(&name, &call, at)
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => {
                let one = Expr::Value(ast::Value::Number("1".to_owned(), false).into());
                let from = substring_from.as_deref().unwrap_or(&one);
                let mut arguments = vec![expr.as_ref(), from];
                arguments.extend(substring_for.as_deref());
                self.bind_scalar("substring", &arguments, at)
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let name = match trim_where {
                    None | Some(ast::TrimWhereField::Both) => "btrim",
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                };
                let mut arguments = vec![expr.as_ref()];
                arguments.extend(trim_what.as_deref());
                arguments.extend(trim_characters.iter().flatten());
                self.bind_scalar(name, &arguments, at)
            }
            Expr::Position { expr, r#in } => self.bind_scalar("strpos", &[r#in, expr], at),
            Expr::Ceil {
                expr,
                field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.bind_scalar("ceil", &[expr], at),
            Expr::Floor {
                expr,
                field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.bind_scalar("floor", &[expr], at),
            Expr::Extract { field, expr, syntax: _ } => {
                let field = field.to_string();
                let field = Expr::Value(ast::Value::SingleQuotedString(field.trim_matches('\'').to_owned()).into());
                self.bind_scalar("extract", &[&field, expr], at)
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.bind_time_zone(timestamp, time_zone),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                Err(SqlError::unsupported("a subquery")
                    .with_hint("Read the rows first and pass their values as parameters.")
                    .at(at))
            }
            Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::Array(_) | Expr::CompoundFieldAccess { .. } => {
                Err(SqlError::unsupported("an array").with_hint("Write IN (…).").at(at))
            }
            Expr::Tuple(_) => Err(SqlError::unsupported("a row value").at(at)),
            Expr::Interval(_) => Err(SqlError::unsupported("an interval by itself")
                .with_hint("Intervals can be added to and subtracted from dates and timestamps.")
                .at(at)),
            Expr::SimilarTo { .. } | Expr::RLike { .. } => Err(SqlError::unsupported("a regular expression")
                .with_hint("Write LIKE.")
                .at(at)),
            other => Err(
                SqlError::unsupported(format!("the expression {}", crate::text::excerpt(&other.to_string()))).at(at),
            ),
        }
    }

    fn bind_call(&mut self, name: &str, call: &Call<'_>, at: u32) -> Result<Typed, SqlError> {
        if let Some(function) = AggregateFunction::by_name(name) {
            return self.bind_aggregate(name, function, call, at);
        }
        if call.star || call.distinct || call.filter.is_some() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{name} is not an aggregate function"),
            )
            .at(at));
        }
        if let Some(kind) = ReceiptKind::by_function(name) {
            return self.bind_receipt(kind, &call.arguments, at);
        }
        self.bind_scalar(name, &call.arguments, at)
    }

    fn bind_aggregate(
        &mut self,
        name: &str,
        function: AggregateFunction,
        call: &Call<'_>,
        at: u32,
    ) -> Result<Typed, SqlError> {
        if let Aggregates::Refused(clause) = &self.aggregates {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("aggregate functions are not allowed in {clause}"),
            )
            .at(at));
        }
        // An aggregate's own argument is bound where aggregates are refused.
        let aggregates = std::mem::replace(
            &mut self.aggregates,
            Aggregates::Refused("an aggregate function's argument"),
        );
        let bound = self.bind_aggregate_parts(name, function, call, at);
        self.aggregates = aggregates;
        let (aggregate, result) = bound?;
        let Aggregates::Collected(list) = &mut self.aggregates else {
            return Err(SqlError::internal("aggregates were refused after all"));
        };
        let index = list.iter().position(|known| *known == aggregate).unwrap_or(list.len());
        if index == list.len() {
            list.push(aggregate);
        }
        Ok(Typed::new(Expression::Aggregate(index), result, at))
    }

    fn bind_aggregate_parts(
        &mut self,
        name: &str,
        function: AggregateFunction,
        call: &Call<'_>,
        at: u32,
    ) -> Result<(Aggregate, ColumnType), SqlError> {
        let filter = match call.filter {
            Some(filter) => Some(self.bind_condition(filter, "FILTER")?),
            None => None,
        };
        let argument = match (call.star, call.arguments.as_slice()) {
            (true, []) if function == AggregateFunction::Count && !call.distinct => None,
            (false, [argument]) => {
                let typed = self.bind(argument)?;
                Some(self.resolve_as_text(typed)?)
            }
            _ => return Err(no_function(name, &[]).at(at)),
        };
        let argument_type = argument
            .as_ref()
            .map_or(ColumnType::Int8, |(_, argument_type)| *argument_type);
        let json = matches!(argument_type, ColumnType::Json | ColumnType::Jsonb);
        let result = function
            .result_type(argument_type)
            .filter(|_| !(json && call.distinct))
            .ok_or_else(|| no_function(name, &[argument_type]).at(at))?;
        Ok((
            Aggregate {
                function,
                argument: argument.map(|(argument, _)| argument),
                argument_type,
                distinct: call.distinct,
                filter,
            },
            result,
        ))
    }

    /// `craton_receipt('table', key…)` and `craton_state_receipt('table', key…)`, with the key's values in the order of the
    /// primary key.
    fn bind_receipt(&mut self, kind: ReceiptKind, arguments: &[&Expr], at: u32) -> Result<Typed, SqlError> {
        let table_name = match arguments.first() {
            Some(Expr::Value(value)) => string_literal(&value.value),
            _ => None,
        };
        let Some(table_name) = table_name else {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!(
                    "the first argument of {} must be a table's name as a string literal",
                    kind.function()
                ),
            )
            .with_hint(format!("SELECT {}('patients', 42)", kind.function()))
            .at(at));
        };
        let bare = table_name.strip_prefix("public.").unwrap_or(table_name);
        let table = self
            .catalog
            .table(bare)
            .or_else(|| self.catalog.table(&bare.to_ascii_lowercase()))
            .ok_or_else(|| SqlError::undefined_table(table_name).at(at))?;
        let values = &arguments[1..];
        if values.len() != table.primary_key.len() {
            let names: Vec<&str> = table
                .primary_key
                .iter()
                .filter_map(|&position| {
                    table
                        .columns
                        .get(usize::from(position))
                        .map(|column| column.name.as_str())
                })
                .collect();
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!(
                    "the primary key of \"{table_name}\" has {} columns, but {} values were given",
                    names.len(),
                    values.len()
                ),
            )
            .with_hint(format!("The key is ({}).", names.join(", ")))
            .at(at));
        }
        let mut key = Vec::with_capacity(values.len());
        for (&place, value) in table.primary_key.iter().zip(values) {
            let column = table
                .columns
                .get(usize::from(place))
                .ok_or_else(|| SqlError::internal("a primary key names a missing column"))?;
            let typed = self.bind(value)?;
            let found = typed.type_name();
            let expression = self
                .cast_in(typed, base(column.column_type), CastContext::Assignment)?
                .ok_or_else(|| {
                    SqlError::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "key column \"{}\" is of type {} but the value is of type {found}",
                            column.name,
                            type_name(column.column_type)
                        ),
                    )
                    .at(start_of(value))
                })?;
            key.push(expression);
        }
        Ok(Typed::new(
            Expression::Receipt { kind, table, key },
            ColumnType::Text,
            at,
        ))
    }

    fn bind_scalar(&mut self, name: &str, arguments: &[&Expr], at: u32) -> Result<Typed, SqlError> {
        let mut typed = Vec::with_capacity(arguments.len());
        for argument in arguments {
            typed.push(self.bind(argument)?);
        }
        let known: Vec<Option<ColumnType>> = typed.iter().map(|argument| argument.column_type.map(base)).collect();
        let (function, argument_types, result) = match self.bind_polymorphic(name, &mut typed, at)? {
            Some(done) => return Ok(done),
            None => signature(name, &known).ok_or_else(|| {
                let types: Vec<ColumnType> = known.iter().map(|known| known.unwrap_or(ColumnType::Text)).collect();
                no_function(name, &types).at(at)
            })?,
        };
        let mut bound = Vec::with_capacity(typed.len());
        for (argument, to) in typed.into_iter().zip(argument_types) {
            let cast = self.cast_in(argument, to, CastContext::Implicit)?;
            bound.push(cast.ok_or_else(|| {
                let types: Vec<ColumnType> = known.iter().map(|known| known.unwrap_or(ColumnType::Text)).collect();
                no_function(name, &types).at(at)
            })?);
        }
        Ok(Typed::new(
            Expression::Call {
                function,
                arguments: bound,
            },
            result,
            at,
        ))
    }

    /// Functions whose result has the type of their arguments, or that are constants here.
    fn bind_polymorphic(&mut self, name: &str, typed: &mut Vec<Typed>, at: u32) -> Result<Option<Typed>, SqlError> {
        let text_literal = |text: String| {
            Ok(Some(Typed::new(
                Expression::Literal(Value::Text(text)),
                ColumnType::Text,
                at,
            )))
        };
        match (name, typed.len()) {
            ("coalesce" | "greatest" | "least", 1..) => {
                let function = match name {
                    "coalesce" => Function::Coalesce,
                    "greatest" => Function::Greatest,
                    _ => Function::Least,
                };
                let (arguments, result) = self.unify_list(std::mem::take(typed), &name.to_uppercase())?;
                Ok(Some(Typed::new(Expression::Call { function, arguments }, result, at)))
            }
            ("nullif", 2) => {
                let (arguments, result) = self.unify_list(std::mem::take(typed), "NULLIF")?;
                Ok(Some(Typed::new(
                    Expression::Call {
                        function: Function::NullIf,
                        arguments,
                    },
                    result,
                    at,
                )))
            }
            ("concat", 1..) => {
                let mut arguments = Vec::with_capacity(typed.len());
                for argument in std::mem::take(typed) {
                    // As in PostgreSQL, concat spells a boolean as t or f.
                    let boolean = argument.column_type == Some(ColumnType::Bool);
                    let text = self.as_text(argument)?;
                    arguments.push(if boolean {
                        Expression::Call {
                            function: Function::Left,
                            arguments: vec![text, Expression::Literal(Value::Int(1))],
                        }
                    } else {
                        text
                    });
                }
                Ok(Some(Typed::new(
                    Expression::Call {
                        function: Function::Concat,
                        arguments,
                    },
                    ColumnType::Text,
                    at,
                )))
            }
            ("version", 0) => text_literal(format!(
                "PostgreSQL {SERVER_VERSION} (Craton {})",
                env!("CARGO_PKG_VERSION")
            )),
            ("current_schema", 0) => text_literal("public".to_owned()),
            ("pg_typeof", 1) => {
                let name = typed
                    .first()
                    .and_then(|argument| argument.column_type)
                    .map_or("unknown".to_owned(), |found| full_type_name(base(found)));
                text_literal(name)
            }
            _ => Ok(None),
        }
    }

    /// `AT TIME ZONE 'UTC'` turns a timestamp into the instant and back.
    fn bind_time_zone(&mut self, timestamp: &Expr, zone: &Expr) -> Result<Typed, SqlError> {
        let zone_name = match zone {
            Expr::Value(value) => string_literal(&value.value).unwrap_or_default(),
            _ => "",
        };
        if !["utc", "gmt", "etc/utc", "z"]
            .iter()
            .any(|name| zone_name.eq_ignore_ascii_case(name))
        {
            return Err(SqlError::unsupported("a time zone other than UTC").at(start_of(zone)));
        }
        let typed = self.bind(timestamp)?;
        let typed = self.resolve(typed, ColumnType::TimestampTz)?;
        let at = typed.position;
        let (from, to) = match typed.column_type {
            Some(ColumnType::TimestampTz) => (ColumnType::TimestampTz, ColumnType::Timestamp),
            Some(from @ (ColumnType::Timestamp | ColumnType::Date)) => (from, ColumnType::TimestampTz),
            _ => return Err(no_function("timezone", &[typed.column_type.unwrap_or(ColumnType::Text)]).at(at)),
        };
        Ok(Typed::new(make_cast(typed.expression, from, to)?, to, at))
    }
}

/// The function of a name for arguments of these types, the types that it takes, and its result's.
fn signature(name: &str, given: &[Option<ColumnType>]) -> Option<(Function, Vec<ColumnType>, ColumnType)> {
    use ColumnType::{Bool, Bytea, Date, Float4, Float8, Int2, Int4, Int8, Text, Time, Timestamp, TimestampTz, Uuid};
    let first = given.first().copied().flatten();
    let fixed = |function, arguments: &[ColumnType], result| Some((function, arguments.to_vec(), result));
    // A number that has no type yet is a double, as in PostgreSQL.
    let number = first.unwrap_or(Float8);
    let is_integer = matches!(number, Int2 | Int4 | Int8);
    match (name, given.len()) {
        ("now" | "current_timestamp" | "transaction_timestamp" | "statement_timestamp", 0) => {
            fixed(Function::Now, &[], TimestampTz)
        }
        ("localtimestamp", 0) => fixed(Function::LocalTimestamp, &[], Timestamp),
        ("localtime", 0) => fixed(Function::LocalTime, &[], Time),
        ("current_date", 0) => fixed(Function::CurrentDate, &[], Date),
        ("current_database" | "current_catalog", 0) => fixed(Function::CurrentDatabase, &[], Text),
        ("current_user" | "session_user" | "user" | "current_role", 0) => fixed(Function::CurrentUser, &[], Text),
        ("current_setting", 1) => fixed(Function::CurrentSetting, &[Text], Text),
        ("current_setting", 2) => fixed(Function::CurrentSetting, &[Text, Bool], Text),
        ("gen_random_uuid", 0) => fixed(Function::GenerateUuid, &[], Uuid),
        ("craton_position", 0) => fixed(Function::Position, &[], Int8),
        ("craton_log_key", 0) => fixed(Function::LogKey, &[], Text),
        ("craton_cosigned_checkpoint", 0) => fixed(Function::CosignedCheckpoint, &[], Text),
        ("craton_timestamp", 0) => fixed(Function::TimeStamp, &[], Bytea),

        ("abs", 1) => fixed(Function::Abs(number), &[number], number),
        ("ceil" | "ceiling", 1) => {
            let number = if is_integer { Float8 } else { number };
            fixed(Function::Ceil, &[number], number)
        }
        ("floor", 1) => {
            let number = if is_integer { Float8 } else { number };
            fixed(Function::Floor, &[number], number)
        }
        ("round", 1) => {
            let number = if is_integer || number == Float4 { Float8 } else { number };
            fixed(Function::Round, &[number], number)
        }
        ("round", 2) => fixed(Function::Round, &[NUMERIC, Int4], NUMERIC),

        ("lower", 1) => fixed(Function::Lower, &[Text], Text),
        ("upper", 1) => fixed(Function::Upper, &[Text], Text),
        ("length", 1) if first == Some(Bytea) => fixed(Function::Length, &[Bytea], Int4),
        ("length" | "char_length" | "character_length", 1) => fixed(Function::Length, &[Text], Int4),
        ("octet_length", 1) if first == Some(Bytea) => fixed(Function::OctetLength, &[Bytea], Int4),
        ("octet_length", 1) => fixed(Function::OctetLength, &[Text], Int4),
        ("left", 2) => fixed(Function::Left, &[Text, Int4], Text),
        ("right", 2) => fixed(Function::Right, &[Text, Int4], Text),
        ("replace", 3) => fixed(Function::Replace, &[Text, Text, Text], Text),
        ("strpos", 2) => fixed(Function::StringPosition, &[Text, Text], Int4),
        ("substring" | "substr", 2) => fixed(Function::Substring, &[Text, Int4], Text),
        ("substring" | "substr", 3) => fixed(Function::Substring, &[Text, Int4, Int4], Text),
        ("btrim" | "trim", 1 | 2) => Some((Function::Trim, vec![Text; given.len()], Text)),
        ("ltrim", 1 | 2) => Some((Function::TrimStart, vec![Text; given.len()], Text)),
        ("rtrim", 1 | 2) => Some((Function::TrimEnd, vec![Text; given.len()], Text)),

        ("date_trunc", 2) => {
            let of = match given.get(1).copied().flatten() {
                Some(Timestamp) => Timestamp,
                _ => TimestampTz,
            };
            fixed(Function::DateTrunc(of), &[Text, of], of)
        }
        ("extract" | "date_part", 2) => {
            let of = match given.get(1).copied().flatten() {
                Some(of @ (Date | Time | Timestamp)) => of,
                _ => TimestampTz,
            };
            fixed(Function::Extract(of), &[Text, of], NUMERIC)
        }
        _ => None,
    }
    .filter(|(function, ..)| match function {
        Function::Abs(number) => super::arithmetic::negated_type(*number).is_some(),
        Function::Ceil | Function::Floor | Function::Round => super::arithmetic::negated_type(number).is_some(),
        _ => true,
    })
}

fn no_function(name: &str, types: &[ColumnType]) -> SqlError {
    let types: Vec<&str> = types.iter().copied().map(type_name).collect();
    SqlError::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", types.join(", ")),
    )
    .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// Takes a call's syntax apart; what is not carried out is refused.
fn take_apart(function: &ast::Function) -> Result<Call<'_>, SqlError> {
    let ast::Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args,
        within_group,
        filter,
        null_treatment: None,
        over,
    } = function
    else {
        return Err(SqlError::unsupported(format!("this form of {}()", function.name)));
    };
    if over.is_some() {
        return Err(SqlError::unsupported("a window function"));
    }
    if !within_group.is_empty() {
        return Err(SqlError::unsupported("WITHIN GROUP"));
    }
    let mut call = Call {
        arguments: Vec::new(),
        star: false,
        distinct: false,
        filter: filter.as_deref(),
    };
    let list = match args {
        FunctionArguments::None => return Ok(call),
        FunctionArguments::Subquery(_) => return Err(SqlError::unsupported("a subquery")),
        FunctionArguments::List(list) => list,
    };
    if !list.clauses.is_empty() {
        return Err(SqlError::unsupported(format!(
            "a clause inside the arguments of {name}()"
        )));
    }
    call.distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => call.arguments.push(argument),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => call.star = true,
            _ => return Err(SqlError::unsupported(format!("a named argument of {name}()"))),
        }
    }
    if call.star && !call.arguments.is_empty() {
        return Err(SqlError::syntax("* must be the only argument"));
    }
    Ok(call)
}
