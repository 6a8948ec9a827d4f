//! Aggregate functions and their running states.

use std::collections::HashSet;

use craton_types::{ColumnType, Value};
use rust_decimal::Decimal;

use super::arithmetic::{divide_decimals, numeric_overflow};
use super::cast::{out_of_range, to_float4};
use super::compare::compare;
use super::{Expression, equal_key};
use crate::types::{NUMERIC, base};
use crate::{Context, SqlError};

/// An aggregate of a grouped query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) function: AggregateFunction,
    /// `None` for `count(*)`.
    pub(crate) argument: Option<Expression>,
    pub(crate) argument_type: ColumnType,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateFunction {
    Count,
    Sum,
    Average,
    Min,
    Max,
    Every,
    Any,
}

impl AggregateFunction {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Average,
            "min" => Self::Min,
            "max" => Self::Max,
            "bool_and" | "every" => Self::Every,
            "bool_or" => Self::Any,
            _ => return None,
        })
    }

    /// The type of the result; `None` when the function does not take such an argument.
    pub(super) fn result_type(self, argument: ColumnType) -> Option<ColumnType> {
        use ColumnType::{Bool, Float4, Float8, Int2, Int4, Int8, Json, Jsonb};
        Some(match (self, base(argument)) {
            (Self::Count, _) => Int8,
            (Self::Sum, Int2 | Int4) => Int8,
            (Self::Sum, Int8) => NUMERIC,
            (Self::Sum, same @ (Float4 | Float8)) => same,
            (Self::Average, Float4 | Float8) => Float8,
            (Self::Sum, same) if same == NUMERIC => same,
            (Self::Average, number) if number == NUMERIC || matches!(number, Int2 | Int4 | Int8) => NUMERIC,
            (Self::Min | Self::Max, Json | Jsonb | Bool) => return None,
            (Self::Min | Self::Max, same) => same,
            (Self::Every | Self::Any, Bool) => Bool,
            _ => return None,
        })
    }
}

/// The running state of one aggregate of one group.
#[derive(Debug)]
pub(crate) struct Accumulator {
    state: State,
    seen: Option<HashSet<Vec<u8>>>,
}

#[derive(Debug)]
enum State {
    Count(i64),
    Integers { sum: i128, count: i64 },
    Decimals { sum: Decimal, count: i64 },
    Floats { sum: f64, count: i64 },
    Extreme(Option<Value>),
    Logic(Option<bool>),
}

impl Accumulator {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        let state = match aggregate.function {
            AggregateFunction::Count => State::Count(0),
            AggregateFunction::Sum | AggregateFunction::Average => match base(aggregate.argument_type) {
                ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => State::Integers { sum: 0, count: 0 },
                ColumnType::Float4 | ColumnType::Float8 => State::Floats { sum: 0.0, count: 0 },
                _ => State::Decimals {
                    sum: Decimal::ZERO,
                    count: 0,
                },
            },
            AggregateFunction::Min | AggregateFunction::Max => State::Extreme(None),
            AggregateFunction::Every | AggregateFunction::Any => State::Logic(None),
        };
        Self {
            state,
            seen: aggregate.distinct.then(HashSet::new),
        }
    }

    /// Takes one input row; gives the bytes by which the state has grown.
    pub(crate) fn add(
        &mut self,
        aggregate: &Aggregate,
        row: &[Value],
        context: &Context<'_>,
    ) -> Result<usize, SqlError> {
        if let Some(filter) = &aggregate.filter
            && !filter.is_true(row, context)?
        {
            return Ok(0);
        }
        let Some(argument) = &aggregate.argument else {
            if let State::Count(count) = &mut self.state {
                *count += 1;
            }
            return Ok(0);
        };
        let value = argument.evaluate(row, context)?;
        if value.is_null() {
            return Ok(0);
        }
        let mut grown = 0;
        if let Some(seen) = &mut self.seen {
            let mut key = Vec::new();
            equal_key(&value, &mut key);
            grown = key.len();
            if !seen.insert(key) {
                return Ok(0);
            }
        }
        self.state.add(aggregate.function, &value)?;
        Ok(grown)
    }

    /// The aggregate's value.
    pub(crate) fn finish(self, aggregate: &Aggregate) -> Result<Value, SqlError> {
        let average = aggregate.function == AggregateFunction::Average;
        Ok(match self.state {
            State::Count(count) => Value::Int(count),
            State::Integers { count: 0, .. } | State::Decimals { count: 0, .. } | State::Floats { count: 0, .. } => {
                Value::Null
            }
            State::Integers { sum, count } if average => {
                Value::Numeric(divide_decimals(decimal(sum)?, Decimal::from(count))?)
            }
            State::Integers { sum, .. } if base(aggregate.argument_type) == ColumnType::Int8 => {
                Value::Numeric(decimal(sum)?)
            }
            State::Integers { sum, .. } => Value::Int(i64::try_from(sum).map_err(|_| out_of_range(ColumnType::Int8))?),
            State::Decimals { sum, count } if average => Value::Numeric(divide_decimals(sum, Decimal::from(count))?),
            State::Decimals { sum, .. } => Value::Numeric(sum),
            #[expect(clippy::cast_precision_loss, reason = "the average of doubles is a double")]
            State::Floats { sum, count } if average => Value::Float(sum / count as f64),
            State::Floats { sum, .. } if aggregate.argument_type == ColumnType::Float4 => Value::Float(to_float4(sum)?),
            State::Floats { sum, .. } => Value::Float(sum),
            State::Extreme(value) => value.unwrap_or(Value::Null),
            State::Logic(value) => value.map_or(Value::Null, Value::Bool),
        })
    }
}

fn decimal(sum: i128) -> Result<Decimal, SqlError> {
    Decimal::try_from_i128_with_scale(sum, 0).map_err(|_| numeric_overflow())
}

impl State {
    fn add(&mut self, function: AggregateFunction, value: &Value) -> Result<(), SqlError> {
        match (self, value) {
            (Self::Count(count), _) => *count += 1,
            (Self::Integers { sum, count }, Value::Int(number)) => {
                // 2^63 rows of 64 bits fit in 128 bits.
                *sum += i128::from(*number);
                *count += 1;
            }
            (Self::Decimals { sum, count }, Value::Numeric(number)) => {
                *sum = sum.checked_add(*number).ok_or_else(numeric_overflow)?;
                *count += 1;
            }
            (Self::Floats { sum, count }, Value::Float(number)) => {
                *sum += number;
                *count += 1;
            }
            (Self::Extreme(best), value) => {
                let better = best.as_ref().and_then(|best| compare(value, best)).is_none_or(|order| {
                    if function == AggregateFunction::Min {
                        order.is_lt()
                    } else {
                        order.is_gt()
                    }
                });
                if better {
                    *best = Some(value.clone());
                }
            }
            (Self::Logic(state), Value::Bool(value)) => {
                let so_far = state.unwrap_or(*value);
                *state = Some(if function == AggregateFunction::Every {
                    so_far && *value
                } else {
                    so_far || *value
                });
            }
            _ => return Err(SqlError::internal("an aggregate was bound to another type")),
        }
        Ok(())
    }
}
