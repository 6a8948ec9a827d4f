//! `ORDER BY`, `LIMIT` and `OFFSET`.

use craton_types::ColumnType;
use sqlparser::ast::{self, Expr};

use super::Planner;
use super::query::{Draft, Input, SortKey};
use crate::expression::{Aggregate, Expression, Scope, fold, start_of};
use crate::{Direction, SqlError, SqlState};

impl Planner<'_> {
    pub(super) fn bind_order_by(
        &mut self,
        order: &[&ast::OrderByExpr],
        scope: &Scope<'_>,
        draft: &Draft,
        aggregates: &mut Vec<Aggregate>,
    ) -> Result<Vec<SortKey>, SqlError> {
        let mut sort = Vec::with_capacity(order.len());
        for item in order {
            let ast::OrderByExpr {
                expr,
                options,
                with_fill: None,
            } = item
            else {
                return Err(SqlError::unsupported("WITH FILL"));
            };
            let descending = match &options.sort {
                None | Some(ast::OrderBySort::Asc) => false,
                Some(ast::OrderBySort::Desc) => true,
                Some(ast::OrderBySort::Using(_)) => return Err(SqlError::unsupported("ORDER BY … USING")),
            };
            let (expression, column_type) = self.bind_order_item(expr, scope, draft, aggregates)?;
            if matches!(column_type, Some(ColumnType::Json | ColumnType::Jsonb)) {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    "could not identify an ordering operator for type json",
                )
                .at(start_of(expr)));
            }
            if matches!(expression, Expression::Literal(_)) {
                // A constant orders nothing.
                continue;
            }
            sort.push(SortKey {
                expression,
                descending,
                nulls_first: options.nulls_first.unwrap_or(descending),
            });
        }
        Ok(sort)
    }

    fn bind_order_item(
        &mut self,
        syntax: &Expr,
        scope: &Scope<'_>,
        draft: &Draft,
        aggregates: &mut Vec<Aggregate>,
    ) -> Result<(Expression, Option<ColumnType>), SqlError> {
        let by_index = |index: usize| (draft.projection[index].clone(), Some(draft.columns[index].column_type));
        if let Some(index) = ordinal(syntax, draft.projection.len(), "ORDER BY")? {
            return Ok(by_index(index));
        }
        if let Expr::Identifier(name) = syntax {
            let wanted = fold(name)?;
            let mut found = (0..draft.columns.len()).filter(|&index| draft.columns[index].name == wanted);
            if let Some(first) = found.next() {
                if found.any(|other| draft.projection[other] != draft.projection[first]) {
                    return Err(SqlError::new(
                        SqlState::AMBIGUOUS_COLUMN,
                        format!("ORDER BY \"{wanted}\" is ambiguous"),
                    )
                    .at(start_of(syntax)));
                }
                return Ok(by_index(first));
            }
        }
        let mut binder = self.binder(scope.clone(), "ORDER BY").collecting(aggregates);
        let typed = binder.bind(syntax)?;
        let (expression, column_type) = binder.resolve_as_text(typed)?;
        Ok((expression, Some(column_type)))
    }

    pub(super) fn bind_limit(
        &mut self,
        clause: Option<&ast::LimitClause>,
        fetch: Option<&ast::Fetch>,
    ) -> Result<(Option<Expression>, Option<Expression>), SqlError> {
        let (limit, offset) = match clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) if limit_by.is_empty() => (limit.as_ref(), offset.as_ref().map(|offset| &offset.value)),
            Some(_) => return Err(SqlError::unsupported("this form of LIMIT")),
        };
        let fetched = match fetch {
            None => None,
            Some(ast::Fetch {
                with_ties: false,
                percent: false,
                quantity,
            }) if limit.is_none() => Some(quantity.as_ref()),
            Some(_) => return Err(SqlError::unsupported("this form of FETCH")),
        };
        let one = Expr::Value(ast::Value::Number("1".to_owned(), false).into());
        let limit = limit.or_else(|| fetched.map(|quantity| quantity.unwrap_or(&one)));
        Ok((self.bind_count(limit, "LIMIT")?, self.bind_count(offset, "OFFSET")?))
    }

    fn bind_count(&mut self, syntax: Option<&Expr>, what: &'static str) -> Result<Option<Expression>, SqlError> {
        match syntax {
            None => Ok(None),
            Some(syntax) => self
                .binder(Scope::empty(), what)
                .bind_as(syntax, ColumnType::Int8, what)
                .map(Some),
        }
    }
}

pub(super) fn order_items(order_by: Option<&ast::OrderBy>) -> Result<Vec<&ast::OrderByExpr>, SqlError> {
    match order_by {
        None => Ok(Vec::new()),
        Some(ast::OrderBy {
            kind: ast::OrderByKind::Expressions(items),
            interpolate: None,
        }) => Ok(items.iter().collect()),
        Some(_) => Err(SqlError::unsupported("this form of ORDER BY")),
    }
}

/// The place in the select list that an integer literal means.
pub(super) fn ordinal(syntax: &Expr, items_count: usize, clause: &str) -> Result<Option<usize>, SqlError> {
    let Expr::Value(value) = syntax else { return Ok(None) };
    let ast::Value::Number(spelled, _) = &value.value else {
        return Ok(None);
    };
    match spelled.parse::<usize>() {
        Ok(number) if (1..=items_count).contains(&number) => Ok(Some(number - 1)),
        _ => Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("{clause} position {spelled} is not in select list"),
        )
        .at(start_of(syntax))),
    }
}

/// Lets the keys' own order do the work of `ORDER BY` where it can.
pub(super) fn arrange(input: &mut Input, sort: &mut Vec<SortKey>) {
    let Input::Table { table, access } = input else {
        if matches!(input, Input::OneRow) {
            sort.clear();
        }
        return;
    };
    let fixed = access.fixed_columns_count();
    let key_columns: Vec<usize> = table.primary_key.iter().map(|&place| usize::from(place)).collect();
    let mut next = fixed;
    let mut direction: Option<Direction> = None;
    for key in sort.iter() {
        if next == key_columns.len() {
            // The whole key is used: no two rows are left to order.
            break;
        }
        let Expression::Column(place) = key.expression else {
            return;
        };
        if key_columns[..fixed].contains(&place) {
            // It has one value only.
            continue;
        }
        let wanted = if key.descending {
            Direction::Backward
        } else {
            Direction::Forward
        };
        if place != key_columns[next] || direction.is_some_and(|direction| direction != wanted) {
            return;
        }
        direction = Some(wanted);
        next += 1;
    }
    access.direction = direction.unwrap_or_default();
    sort.clear();
}
