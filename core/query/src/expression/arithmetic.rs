//! Arithmetic with PostgreSQL's result types, rounding and errors.

use craton_types::{ColumnType, Value};
use rust_decimal::{Decimal, RoundingStrategy};

use super::Arithmetic;
use super::cast::{check_integer, number_rank, out_of_range, to_float4};
use super::compare::as_float;
use crate::text::dates_in_range;
use crate::types::{NUMERIC, base};
use crate::{SqlError, SqlState};

impl Arithmetic {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// The type of the result; `None` when there is no such operator.
pub(super) fn result_type(operator: Arithmetic, left: ColumnType, right: ColumnType) -> Option<ColumnType> {
    use ColumnType::{Date, Float4, Float8, Int2, Int4};
    let (left, right) = (base(left), base(right));
    match (operator, left, right) {
        (Arithmetic::Add | Arithmetic::Subtract, Date, Int2 | Int4) | (Arithmetic::Add, Int2 | Int4, Date) => {
            return Some(Date);
        }
        (Arithmetic::Subtract, Date, Date) => return Some(Int4),
        _ => {}
    }
    let (a, b) = (number_rank(left)?, number_rank(right)?);
    let has_float = matches!(left, Float4 | Float8) || matches!(right, Float4 | Float8);
    if has_float {
        if operator == Arithmetic::Remainder {
            return None;
        }
        // Only two singles make a single: every other pair meets at double precision.
        return Some(if left == Float4 && right == Float4 {
            Float4
        } else {
            Float8
        });
    }
    Some(if a >= b { left } else { right })
}

/// Applies the operator to two values that are not NULL.
pub(super) fn apply(operator: Arithmetic, left: &Value, right: &Value, result: ColumnType) -> Result<Value, SqlError> {
    match (left, right, result) {
        (Value::Int(a), Value::Int(b), _) => integers(operator, *a, *b, result).map(Value::Int),
        (Value::Date(a), Value::Date(b), _) => Ok(Value::Int(i64::from(*a) - i64::from(*b))),
        (Value::Date(days), Value::Int(number), _) => shift_date(operator, *days, *number),
        (Value::Int(number), Value::Date(days), _) => shift_date(operator, *days, *number),
        (_, _, ColumnType::Float4 | ColumnType::Float8) => match (as_float(left), as_float(right)) {
            (Some(a), Some(b)) => floats(operator, a, b, result).map(Value::Float),
            _ => Err(mismatch(operator)),
        },
        _ => match (as_decimal(left), as_decimal(right)) {
            (Some(a), Some(b)) => decimals(operator, a, b).map(Value::Numeric),
            _ => Err(mismatch(operator)),
        },
    }
}

fn mismatch(operator: Arithmetic) -> SqlError {
    SqlError::internal(format!("operands of {} were bound to another type", operator.symbol()))
}

fn as_decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(number) => Some(Decimal::from(*number)),
        Value::Numeric(number) => Some(*number),
        _ => None,
    }
}

pub(super) fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn integers(operator: Arithmetic, a: i64, b: i64, result: ColumnType) -> Result<i64, SqlError> {
    if b == 0 && matches!(operator, Arithmetic::Divide | Arithmetic::Remainder) {
        return Err(division_by_zero());
    }
    let number = match operator {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        // The remainder of the least integer by -1 is zero, though the division overflows.
        Arithmetic::Remainder => Some(a.checked_rem(b).unwrap_or(0)),
    };
    let number = number.ok_or_else(|| out_of_range(result))?;
    check_integer(number, result)?;
    Ok(number)
}

fn shift_date(operator: Arithmetic, days: i32, number: i64) -> Result<Value, SqlError> {
    let shifted = match operator {
        Arithmetic::Subtract => i64::from(days).checked_sub(number),
        _ => i64::from(days).checked_add(number),
    };
    shifted
        .and_then(|days| i32::try_from(days).ok())
        .filter(|days| dates_in_range(*days))
        .map(Value::Date)
        .ok_or_else(|| SqlError::new(SqlState::DATETIME_OVERFLOW, "date out of range"))
}

fn floats(operator: Arithmetic, a: f64, b: f64, result: ColumnType) -> Result<f64, SqlError> {
    let number = match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide if b == 0.0 && !a.is_nan() => return Err(division_by_zero()),
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
    };
    if number.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(SqlError::new(
            SqlState::NUMERIC_OUT_OF_RANGE,
            "value out of range: overflow",
        ));
    }
    let number = if result == ColumnType::Float4 {
        to_float4(number)?
    } else {
        number
    };
    Ok(crate::text::one_nan(number))
}

pub(super) fn numeric_overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")
}

fn decimals(operator: Arithmetic, a: Decimal, b: Decimal) -> Result<Decimal, SqlError> {
    match operator {
        Arithmetic::Add => a.checked_add(b).ok_or_else(numeric_overflow),
        Arithmetic::Subtract => a.checked_sub(b).ok_or_else(numeric_overflow),
        Arithmetic::Multiply => a.checked_mul(b).ok_or_else(numeric_overflow),
        Arithmetic::Divide => divide_decimals(a, b),
        Arithmetic::Remainder if b.is_zero() => Err(division_by_zero()),
        Arithmetic::Remainder => a.checked_rem(b).ok_or_else(numeric_overflow),
    }
}

/// Division with as many digits as PostgreSQL gives (`select_div_scale`): at least 16 significant ones, never fewer
/// after the point than an operand has, and no more than a numeric holds.
pub(super) fn divide_decimals(a: Decimal, b: Decimal) -> Result<Decimal, SqlError> {
    const SIGNIFICANT_DIGITS_MIN: i64 = 16;
    if b.is_zero() {
        return Err(division_by_zero());
    }
    let quotient = a.checked_div(b).ok_or_else(numeric_overflow)?;
    let (weight_a, first_a) = leading_group(a);
    let (weight_b, first_b) = leading_group(b);
    let mut weight = weight_a - weight_b;
    if first_a <= first_b {
        weight -= 1;
    }
    let scale = (SIGNIFICANT_DIGITS_MIN - weight * 4)
        .max(i64::from(a.scale()))
        .max(i64::from(b.scale()))
        .max(0);
    let scale = u32::try_from(scale)
        .unwrap_or(Decimal::MAX_SCALE)
        .min(Decimal::MAX_SCALE);
    let mut rounded = quotient.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(scale);
    Ok(rounded)
}

/// PostgreSQL keeps numbers in groups of four digits around the point: the leading group and its place, where 0 is
/// the group before the point.
fn leading_group(number: Decimal) -> (i64, u128) {
    if number.is_zero() {
        return (0, 0);
    }
    let mantissa = number.mantissa().unsigned_abs();
    let scale = i64::from(number.scale());
    let digits = i64::from(mantissa.ilog10()) + 1;
    // The place of the leading digit, where 0 is the digit before the point.
    let leading_place = digits - 1 - scale;
    let weight = leading_place.div_euclid(4);
    // The group ends at this place; digits beyond the number's own are zeros.
    let group_end = weight * 4;
    let drop = group_end + scale;
    let group = match u32::try_from(drop) {
        Ok(drop) => mantissa / 10u128.pow(drop.min(38)),
        Err(_) => mantissa * 10u128.pow(u32::try_from(-drop).unwrap_or(0).min(3)),
    };
    (weight, group)
}

/// The negative of a number that is not NULL.
pub(super) fn negate(value: &Value, result: ColumnType) -> Result<Value, SqlError> {
    match value {
        Value::Int(number) => {
            let negative = number.checked_neg().ok_or_else(|| out_of_range(result))?;
            check_integer(negative, result)?;
            Ok(Value::Int(negative))
        }
        Value::Float(number) => Ok(Value::Float(-number)),
        Value::Numeric(number) if number.is_zero() => Ok(Value::Numeric(*number)),
        Value::Numeric(number) => Ok(Value::Numeric(-*number)),
        _ => Err(SqlError::internal("only numbers are negated")),
    }
}

/// The operand's type when it can be negated.
pub(super) const fn negated_type(column_type: ColumnType) -> Option<ColumnType> {
    match column_type {
        ColumnType::Numeric { .. } => Some(NUMERIC),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Float4 | ColumnType::Float8 => {
            Some(column_type)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_has_the_digits_of_postgresql() {
        for (a, b, expect) in [
            ("1", "3", "0.33333333333333333333"),
            ("10.0", "2", "5.0000000000000000"),
            ("2", "3", "0.66666666666666666667"),
            ("1000000", "7", "142857.142857142857"),
            ("0.0001", "3", "0.000033333333333333333333"),
            ("12345678", "3", "4115226.000000000000"),
            ("0", "5", "0.00000000000000000000"),
        ] {
            let number = |text: &str| text.parse::<Decimal>().expect("a number");
            let quotient = divide_decimals(number(a), number(b)).expect("divides");
            assert_eq!(quotient.to_string(), expect, "{a} / {b}");
        }
    }
}
