//! Order and equality of values.

use std::cmp::Ordering;

use craton_types::Value;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::Comparison;
use crate::text::DAY_MICROS;

impl Comparison {
    pub(super) const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    /// The comparison that says the same with its sides exchanged.
    pub(crate) const fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }

    pub(crate) const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Orders two values of comparable types; `None` when one is NULL.
///
/// Numbers compare across their types, dates with timestamps at midnight UTC. The binder lets no other pair
/// through; such a pair would order by its types, so that the order is total.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    Some(match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return None,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) | (Value::Json(a), Value::Json(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Numeric(a), Value::Numeric(b)) => a.cmp(b),
        (Value::Int(a), Value::Numeric(b)) => Decimal::from(*a).cmp(b),
        (Value::Numeric(a), Value::Int(b)) => a.cmp(&Decimal::from(*b)),
        _ => match (as_float(left), as_float(right)) {
            (Some(a), Some(b)) => compare_floats(a, b),
            _ => match (as_micros(left), as_micros(right)) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => type_rank(left).cmp(&type_rank(right)),
            },
        },
    })
}

/// SQL orders NaN after every number and holds it equal to itself, and -0 equal to 0.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "SQL compares bigint with double precision as double precision"
)]
pub(super) fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::Numeric(number) => number.to_f64(),
        _ => None,
    }
}

fn as_micros(value: &Value) -> Option<i64> {
    match value {
        Value::Date(days) => Some(i64::from(*days) * DAY_MICROS),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => Some(*micros),
        _ => None,
    }
}

const fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Float(_) => 3,
        Value::Numeric(_) => 4,
        Value::Text(_) => 5,
        Value::Bytes(_) => 6,
        Value::Date(_) => 7,
        Value::Time(_) => 8,
        Value::Timestamp(_) => 9,
        Value::TimestampTz(_) => 10,
        Value::Uuid(_) => 11,
        Value::Json(_) => 12,
        Value::Sealed(_) => 13,
    }
}

/// Orders for `ORDER BY`: NULL after every value. Whether NULLs come first after all is for the sort key to say.
pub(crate) fn compare_for_sort(left: &Value, right: &Value) -> Ordering {
    compare(left, right).unwrap_or_else(|| left.is_null().cmp(&right.is_null()))
}

/// Appends bytes that are equal exactly when the values are not distinct: the key of `GROUP BY` and `DISTINCT`.
pub(crate) fn equal_key(value: &Value, out: &mut Vec<u8>) {
    out.push(type_rank(value));
    let mut put = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => put(&[u8::from(*value)]),
        Value::Int(value) | Value::Time(value) | Value::Timestamp(value) | Value::TimestampTz(value) => {
            put(&value.to_be_bytes());
        }
        Value::Float(value) => {
            let one_zero = if *value == 0.0 { 0.0 } else { *value };
            put(&crate::text::one_nan(one_zero).to_be_bytes());
        }
        Value::Numeric(value) => put(&value.normalize().serialize()),
        Value::Text(value) | Value::Json(value) => put(value.as_bytes()),
        Value::Bytes(value) => put(value),
        Value::Date(value) => put(&value.to_be_bytes()),
        Value::Uuid(value) => put(value),
        Value::Sealed(cell) => put(&cell.sealed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_across_their_types() {
        let decimal = |text: &str| Value::Numeric(text.parse().expect("a number"));
        for (left, right, expect) in [
            (Value::Int(1), Value::Int(2), Ordering::Less),
            (Value::Int(1), decimal("1.00"), Ordering::Equal),
            (decimal("1.5"), Value::Int(1), Ordering::Greater),
            (Value::Float(1.5), decimal("1.5"), Ordering::Equal),
            (Value::Float(-0.0), Value::Float(0.0), Ordering::Equal),
            (Value::Float(f64::NAN), Value::Float(f64::INFINITY), Ordering::Greater),
            (Value::Float(f64::NAN), Value::Float(f64::NAN), Ordering::Equal),
            (Value::Date(1), Value::Timestamp(DAY_MICROS), Ordering::Equal),
            (Value::TimestampTz(5), Value::Date(0), Ordering::Greater),
        ] {
            assert_eq!(compare(&left, &right), Some(expect), "{left:?} {right:?}");
        }
        assert_eq!(compare(&Value::Null, &Value::Int(1)), None);
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let key = |values: &[Value]| {
            let mut out = Vec::new();
            for value in values {
                equal_key(value, &mut out);
            }
            out
        };
        let decimal = |text: &str| Value::Numeric(text.parse().expect("a number"));
        assert_eq!(key(&[decimal("1.0")]), key(&[decimal("1.00")]));
        assert_eq!(key(&[Value::Float(0.0)]), key(&[Value::Float(-0.0)]));
        assert_ne!(key(&[Value::Null]), key(&[Value::Text(String::new())]));
        let text = |text: &str| Value::Text(text.to_owned());
        assert_ne!(key(&[text("a"), text("bc")]), key(&[text("ab"), text("c")]));
    }
}
