//! Which keys of a table a statement looks at: point reads, ranges or everything.

use craton_types::{ColumnType, TableSchema, Value};

use crate::Direction;
use crate::expression::{Comparison, Expression, ParameterTypes, conjuncts};
use crate::types::base;

/// The most keys that `IN` lists may multiply to; longer ones are filtered instead.
const POINTS_MAX: usize = 4_096;

/// The keys to read, in key order: for each leading key column the values it may have, then perhaps a range of the
/// next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Alternatives per leading key column. When every key column has them, the keys are read one by one.
    pub(crate) equal: Vec<Vec<Expression>>,
    /// Bounds of the key column after those.
    pub(crate) lower: Option<KeyBound>,
    pub(crate) upper: Option<KeyBound>,
    pub(crate) direction: Direction,
}

/// One end of a range.
#[derive(Clone, Debug)]
pub(crate) struct KeyBound {
    pub(crate) value: Expression,
    pub(crate) inclusive: bool,
}

impl Access {
    /// Whether it reads single keys.
    pub(crate) fn is_points(&self, table: &TableSchema) -> bool {
        self.equal.len() == table.primary_key.len()
    }

    /// How many leading key columns have a single value.
    pub(crate) fn fixed_columns_count(&self) -> usize {
        self.equal
            .iter()
            .take_while(|alternatives| alternatives.len() == 1)
            .count()
    }
}

/// Takes from a condition what the key order answers; the rest is left to filter by.
pub(crate) fn choose(
    table: &TableSchema,
    condition: Option<Expression>,
    parameters: &ParameterTypes,
) -> (Access, Option<Expression>) {
    let mut rest: Vec<Option<Expression>> = condition
        .map(conjuncts)
        .unwrap_or_default()
        .into_iter()
        .map(Some)
        .collect();
    let mut access = Access::default();
    let mut points = 1;
    for &place in &table.primary_key {
        let place = usize::from(place);
        let Some(column_type) = table.columns.get(place).map(|column| column.column_type) else {
            break;
        };
        let found = rest.iter_mut().find_map(|slot| {
            let alternatives = equal_values(slot.as_ref()?, place, column_type, parameters)?;
            if points * alternatives.len() > POINTS_MAX {
                return None;
            }
            slot.take();
            Some(alternatives)
        });
        if let Some(alternatives) = found {
            points *= alternatives.len();
            access.equal.push(alternatives);
            continue;
        }
        for slot in &mut rest {
            let Some((bound, is_lower)) = slot
                .as_ref()
                .and_then(|condition| range_bound(condition, place, column_type, parameters))
            else {
                continue;
            };
            let end = if is_lower { &mut access.lower } else { &mut access.upper };
            if end.is_none() {
                *end = Some(bound);
                slot.take();
            }
        }
        break;
    }
    let mut rest: Vec<Expression> = rest.into_iter().flatten().collect();
    let filter = match rest.len() {
        0 => None,
        1 => rest.pop(),
        _ => Some(Expression::And(rest)),
    };
    (access, filter)
}

/// The values that a condition allows for a key column, when it is `column = value` or `column IN (…)`.
fn equal_values(
    condition: &Expression,
    place: usize,
    column_type: ColumnType,
    parameters: &ParameterTypes,
) -> Option<Vec<Expression>> {
    match condition {
        Expression::Compare {
            operator: Comparison::Equal,
            left,
            right,
        } => {
            let value = match (left.as_ref(), right.as_ref()) {
                (Expression::Column(column), value) | (value, Expression::Column(column)) if *column == place => value,
                _ => return None,
            };
            fits_key(value, column_type, parameters).then(|| vec![value.clone()])
        }
        Expression::InList {
            operand,
            list,
            negated: false,
        } if **operand == Expression::Column(place)
            && list.iter().all(|value| fits_key(value, column_type, parameters)) =>
        {
            Some(list.clone())
        }
        // A boolean key column can be a condition by itself.
        Expression::Column(column) if *column == place && column_type == ColumnType::Bool => {
            Some(vec![Expression::Literal(Value::Bool(true))])
        }
        _ => None,
    }
}

/// A bound that a condition sets for a key column, and whether it is the lower one.
fn range_bound(
    condition: &Expression,
    place: usize,
    column_type: ColumnType,
    parameters: &ParameterTypes,
) -> Option<(KeyBound, bool)> {
    let Expression::Compare { operator, left, right } = condition else {
        return None;
    };
    let (operator, value) = match (left.as_ref(), right.as_ref()) {
        (Expression::Column(column), value) if *column == place => (*operator, value),
        (value, Expression::Column(column)) if *column == place => (operator.mirrored(), value),
        _ => return None,
    };
    let (is_lower, inclusive) = match operator {
        Comparison::Greater => (true, false),
        Comparison::GreaterOrEqual => (true, true),
        Comparison::Less => (false, false),
        Comparison::LessOrEqual => (false, true),
        Comparison::Equal | Comparison::NotEqual => return None,
    };
    fits_key(value, column_type, parameters).then(|| {
        (
            KeyBound {
                value: value.clone(),
                inclusive,
            },
            is_lower,
        )
    })
}

/// Whether comparing with the value orders like comparing with its key bytes: it is the same for every row, and of
/// a type that the column's encoding holds.
fn fits_key(value: &Expression, column_type: ColumnType, parameters: &ParameterTypes) -> bool {
    if !value.is_row_independent() || value.calls_receipt() {
        return false;
    }
    if *value == Expression::Literal(Value::Null) {
        // It equals nothing, whatever its type.
        return true;
    }
    let Some(found) = value.known_type(parameters) else {
        return false;
    };
    let is_integer = |of| matches!(of, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8);
    let is_float = |of| matches!(of, ColumnType::Float4 | ColumnType::Float8);
    let (found, column) = (base(found), base(column_type));
    found == column || (is_integer(found) && is_integer(column)) || (is_float(found) && is_float(column))
}
