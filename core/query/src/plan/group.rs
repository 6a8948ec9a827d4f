//! `GROUP BY` and `HAVING`.

use sqlparser::ast::{self, Expr};

use super::Planner;
use super::order::ordinal;
use super::query::Draft;
use crate::expression::{Expression, Scope, fold, start_of};
use crate::{SqlError, SqlState};

impl Planner<'_> {
    pub(super) fn bind_group_by(
        &mut self,
        group_by: &ast::GroupByExpr,
        scope: &Scope<'_>,
        items: &[ast::SelectItem],
        draft: &Draft,
    ) -> Result<Vec<Expression>, SqlError> {
        let expressions = match group_by {
            ast::GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => expressions,
            _ => return Err(SqlError::unsupported("this form of GROUP BY")),
        };
        let mut keys = Vec::with_capacity(expressions.len());
        for syntax in expressions {
            let key = if let Some(index) = ordinal(syntax, draft.projection.len(), "GROUP BY")? {
                draft.projection[index].clone()
            } else if let Some(index) = self.alias_index(syntax, scope, items, true)? {
                draft.projection[index].clone()
            } else {
                let mut binder = self.binder(scope.clone(), "GROUP BY");
                let typed = binder.bind(syntax)?;
                binder.resolve_as_text(typed)?.0
            };
            let mut has_aggregate = false;
            key.walk(&mut |node| has_aggregate |= matches!(node, Expression::Aggregate(_)));
            if has_aggregate {
                return Err(SqlError::new(
                    SqlState::GROUPING_ERROR,
                    "aggregate functions are not allowed in GROUP BY",
                )
                .at(start_of(syntax)));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The select item that a lone name means. `GROUP BY` prefers the table's columns, `ORDER BY` the aliases.
    fn alias_index(
        &self,
        syntax: &Expr,
        scope: &Scope<'_>,
        items: &[ast::SelectItem],
        columns_first: bool,
    ) -> Result<Option<usize>, SqlError> {
        let Expr::Identifier(name) = syntax else {
            return Ok(None);
        };
        let wanted = fold(name)?;
        if columns_first && scope.has_column(&wanted) {
            return Ok(None);
        }
        // With a wildcard the items' places are not the columns' places.
        let plain = items.iter().all(|item| {
            matches!(
                item,
                ast::SelectItem::UnnamedExpr(_) | ast::SelectItem::ExprWithAlias { .. }
            )
        });
        if !plain {
            return Ok(None);
        }
        for (index, item) in items.iter().enumerate() {
            if let ast::SelectItem::ExprWithAlias { alias, .. } = item
                && fold(alias)? == wanted
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

pub(super) fn has_group_by(group_by: &ast::GroupByExpr) -> bool {
    matches!(group_by, ast::GroupByExpr::Expressions(expressions, _) if !expressions.is_empty())
}

/// Turns an expression over the input's row into one over the group's row: its keys, then its aggregates. What is
/// then still a column of the input is in no group.
pub(super) fn over_group(expression: &mut Expression, keys: &[Expression], scope: &Scope<'_>) -> Result<(), SqlError> {
    if let Some(index) = keys.iter().position(|key| key == expression) {
        *expression = Expression::Column(index);
        return Ok(());
    }
    match expression {
        Expression::Aggregate(index) => {
            *expression = Expression::Column(keys.len() + *index);
            Ok(())
        }
        Expression::Column(place) => {
            let name = scope
                .column_at(*place)
                .map_or_else(|| "?".to_owned(), |(table, column)| format!("{table}.{}", column.name));
            Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"),
            ))
        }
        other => {
            let mut result = Ok(());
            other.for_each_child_mut(&mut |child| {
                if result.is_ok() {
                    result = over_group(child, keys, scope);
                }
            });
            result
        }
    }
}
