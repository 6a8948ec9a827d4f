//! Integers, floats and `numeric`.

use std::fmt::Write as _;

use craton_types::ColumnType;
use rust_decimal::{Decimal, RoundingStrategy};

use super::{excerpt, invalid, out_of_range};
use crate::limits::NUMERIC_PRECISION_MAX;
use crate::{SqlError, SqlState};

/// The bounds of an integer type; other types have those of `bigint`.
pub(crate) const fn integer_bounds(column_type: ColumnType) -> (i64, i64) {
    match column_type {
        ColumnType::Int2 => (i16::MIN as i64, i16::MAX as i64),
        ColumnType::Int4 => (i32::MIN as i64, i32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    }
}

pub(crate) fn parse_integer(text: &str, column_type: ColumnType) -> Result<i64, SqlError> {
    let digits = text.trim_ascii();
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(text, column_type));
    }
    let (min, max) = integer_bounds(column_type);
    match digits.parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(out_of_range(text, column_type)),
    }
}

pub(super) fn write_integer(value: i64, out: &mut String) {
    write!(out, "{value}").expect("writing to a String does not fail");
}

pub(super) fn parse_float8(text: &str) -> Result<f64, SqlError> {
    let number: f64 = text
        .trim_ascii()
        .parse()
        .map_err(|_| invalid(text, ColumnType::Float8))?;
    check_float(number.is_infinite(), number == 0.0, text, ColumnType::Float8)?;
    Ok(one_nan(number))
}

pub(super) fn parse_float4(text: &str) -> Result<f64, SqlError> {
    let number: f32 = text
        .trim_ascii()
        .parse()
        .map_err(|_| invalid(text, ColumnType::Float4))?;
    check_float(number.is_infinite(), number == 0.0, text, ColumnType::Float4)?;
    Ok(one_nan(f64::from(number)))
}

/// Digits that become infinite or nothing are out of range; spelled infinities and zeros are not.
fn check_float(is_infinite: bool, is_zero: bool, text: &str, column_type: ColumnType) -> Result<(), SqlError> {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let overflowed = is_infinite && text.bytes().any(|byte| byte.is_ascii_digit());
    let underflowed = is_zero && mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if overflowed || underflowed {
        return Err(SqlError::new(
            SqlState::NUMERIC_OUT_OF_RANGE,
            format!(
                "\"{}\" is out of range for type {}",
                excerpt(text.trim_ascii()),
                crate::types::type_name(column_type)
            ),
        ));
    }
    Ok(())
}

/// SQL has one NaN, so it has one encoding.
pub(crate) const fn one_nan(number: f64) -> f64 {
    if number.is_nan() { f64::NAN } else { number }
}

/// The shortest digits that read back as the same number, with an exponent where PostgreSQL uses one.
pub(super) fn write_float(value: f64, single: bool, out: &mut String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float4 is kept in an f64 that holds it exactly"
    )]
    let scientific = if single {
        format!("{:e}", value as f32)
    } else {
        format!("{value:e}")
    };
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes an integer exponent");
    let exponent_max = if single { 6 } else { 15 };
    if exponent < -4 || exponent >= exponent_max {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs()).expect("writing to a String does not fail");
        return;
    }
    if single {
        #[expect(clippy::cast_possible_truncation, reason = "as above")]
        let number = value as f32;
        write!(out, "{number}").expect("writing to a String does not fail");
    } else {
        write!(out, "{value}").expect("writing to a String does not fail");
    }
}

pub(super) fn parse_numeric(text: &str) -> Result<Decimal, SqlError> {
    const TYPE: ColumnType = ColumnType::Numeric {
        precision_and_scale: None,
    };
    let trimmed = text.trim_ascii();
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if matches!(unsigned.to_ascii_lowercase().as_str(), "nan" | "infinity" | "inf") {
        return Err(SqlError::unsupported(format!("numeric {unsigned}")));
    }
    let mut digits_count = 0;
    let mut points_count = 0;
    let mut exponent = None;
    for (index, byte) in unsigned.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => digits_count += 1,
            b'.' => points_count += 1,
            b'e' | b'E' if digits_count > 0 => {
                exponent = Some(&unsigned[index + 1..]);
                break;
            }
            _ => return Err(invalid(text, TYPE)),
        }
    }
    if digits_count == 0 || points_count > 1 {
        return Err(invalid(text, TYPE));
    }
    let overflow = || {
        SqlError::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format").with_detail(format!(
            "A numeric holds up to {NUMERIC_PRECISION_MAX} significant digits."
        ))
    };
    let number = match exponent {
        None => Decimal::from_str_exact(trimmed.strip_prefix('+').unwrap_or(trimmed)).map_err(|_| overflow())?,
        Some(exponent) => {
            let exponent: i32 = exponent.parse().map_err(|_| invalid(text, TYPE))?;
            let mantissa = trimmed.split(['e', 'E']).next().unwrap_or(trimmed);
            let mantissa =
                Decimal::from_str_exact(mantissa.strip_prefix('+').unwrap_or(mantissa)).map_err(|_| overflow())?;
            shift(mantissa, exponent).ok_or_else(overflow)?
        }
    };
    Ok(positive_zero(number))
}

/// `number` times ten to the power `exponent`, exactly.
fn shift(mut number: Decimal, exponent: i32) -> Option<Decimal> {
    if number.is_zero() {
        return Some(Decimal::ZERO);
    }
    let scale = i64::from(number.scale()) - i64::from(exponent);
    if let Ok(scale) = u32::try_from(scale) {
        number.set_scale(scale).ok()?;
        return Some(number);
    }
    number.set_scale(0).ok()?;
    for _ in 0..scale.unsigned_abs().min(64) {
        number = number.checked_mul(Decimal::TEN)?;
    }
    Some(number)
}

fn positive_zero(mut number: Decimal) -> Decimal {
    if number.is_zero() {
        number.set_sign_positive(true);
    }
    number
}

pub(super) fn write_numeric(value: Decimal, out: &mut String) {
    write!(out, "{}", positive_zero(value)).expect("writing to a String does not fail");
}

/// Rounds to the declared scale, half away from zero, and checks the declared precision.
pub(crate) fn fit_numeric(number: Decimal, precision_and_scale: Option<(u8, u8)>) -> Result<Decimal, SqlError> {
    let Some((precision, scale)) = precision_and_scale else {
        return Ok(positive_zero(number));
    };
    let overflow = || {
        SqlError::new(SqlState::NUMERIC_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
            precision.saturating_sub(scale)
        ))
    };
    let mut rounded = number.round_dp_with_strategy(u32::from(scale), RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(u32::from(scale));
    if rounded.scale() != u32::from(scale) {
        return Err(overflow());
    }
    let limit = 10i128.checked_pow(u32::from(precision)).ok_or_else(overflow)?;
    if rounded.mantissa().abs() >= limit {
        return Err(overflow());
    }
    Ok(positive_zero(rounded))
}
