//! Binary forms of values, as PostgreSQL's `typsend` and `typreceive` functions have them.
//!
//! Times count from 2000-01-01 on the wire and from 1970-01-01 in [`Value`]. A `numeric` is a sign, a weight and
//! digits in base 10,000.

use bytes::{Buf, BufMut, BytesMut};
use craton_types::{ColumnType, Value};
use rust_decimal::Decimal;

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Microseconds of a day; `time` may be 24:00:00 exactly.
const DAY_MICROS: i64 = 86_400_000_000;

const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
/// The most base-10,000 digits that can still hold 28 significant decimal digits and leading or trailing zeros.
const NUMERIC_DIGITS_MAX: u16 = 64;
/// The furthest from the point that such a digit may stand.
const NUMERIC_WEIGHT_MAX: i16 = 16;
/// Digits after the point that a value can hold.
const NUMERIC_SCALE_MAX: usize = 28;

/// The version byte that precedes the text of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;

/// Why bytes are no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BinaryError {
    /// The bytes have another length or shape than the type's. SQLSTATE 22P03.
    #[error("incorrect binary data format")]
    Format,
    /// The bytes are a value of PostgreSQL's type that has no counterpart here. SQLSTATE 22003.
    #[error("value out of range")]
    Range,
    /// The bytes are not UTF-8, or hold a zero byte. SQLSTATE 22021.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    Encoding,
}

/// A value does not have the type that its column was described with: a defect of the server, not of the input. The
/// value itself is not repeated, for this goes to the log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("a value is not of its column's type {column_type:?}")]
pub(crate) struct TypeMismatch {
    column_type: ColumnType,
}

/// Appends a value's binary form. NULL has none: the caller writes its length of -1.
///
/// # Errors
/// When the value is not of the type.
pub(crate) fn encode(value: &Value, column_type: ColumnType, out: &mut BytesMut) -> Result<(), TypeMismatch> {
    let mismatch = || TypeMismatch { column_type };
    match (column_type, value) {
        (ColumnType::Bool, Value::Bool(value)) => out.put_u8(u8::from(*value)),
        (ColumnType::Int2, Value::Int(value)) => out.put_i16(i16::try_from(*value).map_err(|_| mismatch())?),
        (ColumnType::Int4, Value::Int(value)) => out.put_i32(i32::try_from(*value).map_err(|_| mismatch())?),
        (ColumnType::Int8, Value::Int(value)) => out.put_i64(*value),
        #[expect(clippy::cast_possible_truncation, reason = "a real holds what an f32 holds")]
        (ColumnType::Float4, Value::Float(value)) => out.put_f32(*value as f32),
        (ColumnType::Float8, Value::Float(value)) => out.put_f64(*value),
        (ColumnType::Numeric { .. }, Value::Numeric(value)) => put_numeric(*value, out),
        (ColumnType::Text | ColumnType::Varchar { .. }, Value::Text(value)) => out.put_slice(value.as_bytes()),
        (ColumnType::Bytea, Value::Bytes(value)) => out.put_slice(value),
        (ColumnType::Date, Value::Date(days)) => out.put_i32(days.checked_sub(EPOCH_DAYS).ok_or_else(mismatch)?),
        (ColumnType::Time, Value::Time(micros)) => out.put_i64(*micros),
        (ColumnType::Timestamp, Value::Timestamp(micros)) | (ColumnType::TimestampTz, Value::TimestampTz(micros)) => {
            out.put_i64(micros.checked_sub(EPOCH_MICROS).ok_or_else(mismatch)?);
        }
        (ColumnType::Uuid, Value::Uuid(bytes)) => out.put_slice(bytes),
        (ColumnType::Json, Value::Json(text)) => out.put_slice(text.as_bytes()),
        (ColumnType::Jsonb, Value::Json(text)) => {
            out.put_u8(JSONB_VERSION);
            out.put_slice(text.as_bytes());
        }
        _ => return Err(mismatch()),
    }
    Ok(())
}

/// Reads a value's binary form. The texts of `json` and `jsonb` are not checked here.
///
/// # Errors
/// When the bytes are no value of the type.
pub(crate) fn decode(mut bytes: &[u8], column_type: ColumnType) -> Result<Value, BinaryError> {
    let value = match column_type {
        ColumnType::Bool => match bytes.try_get_u8() {
            Ok(0) => Value::Bool(false),
            Ok(1) => Value::Bool(true),
            _ => return Err(BinaryError::Format),
        },
        ColumnType::Int2 => Value::Int(i64::from(fixed(bytes.try_get_i16())?)),
        ColumnType::Int4 => Value::Int(i64::from(fixed(bytes.try_get_i32())?)),
        ColumnType::Int8 => Value::Int(fixed(bytes.try_get_i64())?),
        ColumnType::Float4 => Value::Float(f64::from(fixed(bytes.try_get_f32())?)),
        ColumnType::Float8 => Value::Float(fixed(bytes.try_get_f64())?),
        ColumnType::Numeric { .. } => Value::Numeric(get_numeric(&mut bytes)?),
        ColumnType::Text | ColumnType::Varchar { .. } => return text(bytes).map(Value::Text),
        ColumnType::Bytea => return Ok(Value::Bytes(bytes.to_vec())),
        ColumnType::Date => match fixed(bytes.try_get_i32())? {
            // PostgreSQL's infinities.
            i32::MIN | i32::MAX => return Err(BinaryError::Range),
            days => Value::Date(days.checked_add(EPOCH_DAYS).ok_or(BinaryError::Range)?),
        },
        ColumnType::Time => match fixed(bytes.try_get_i64())? {
            micros @ 0..=DAY_MICROS => Value::Time(micros),
            _ => return Err(BinaryError::Range),
        },
        ColumnType::Timestamp => Value::Timestamp(unix_micros(fixed(bytes.try_get_i64())?)?),
        ColumnType::TimestampTz => Value::TimestampTz(unix_micros(fixed(bytes.try_get_i64())?)?),
        ColumnType::Uuid => return bytes.try_into().map(Value::Uuid).map_err(|_| BinaryError::Format),
        ColumnType::Json => return text(bytes).map(Value::Json),
        ColumnType::Jsonb => match bytes.split_first() {
            Some((&JSONB_VERSION, rest)) => return text(rest).map(Value::Json),
            _ => return Err(BinaryError::Format),
        },
    };
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(BinaryError::Format)
    }
}

fn fixed<T>(read: Result<T, bytes::TryGetError>) -> Result<T, BinaryError> {
    read.map_err(|_| BinaryError::Format)
}

fn text(bytes: &[u8]) -> Result<String, BinaryError> {
    if bytes.contains(&0) {
        return Err(BinaryError::Encoding);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| BinaryError::Encoding)
}

fn unix_micros(micros: i64) -> Result<i64, BinaryError> {
    match micros {
        i64::MIN | i64::MAX => Err(BinaryError::Range),
        _ => micros.checked_add(EPOCH_MICROS).ok_or(BinaryError::Range),
    }
}

fn put_numeric(value: Decimal, out: &mut BytesMut) {
    let scale = value.scale() as usize;
    let digits = format!("{:0>width$}", value.mantissa().unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let padded = format!(
        "{:0>whole_width$}{:0<fraction_width$}",
        whole,
        fraction,
        whole_width = whole.len().next_multiple_of(4),
        fraction_width = scale.next_multiple_of(4),
    );
    let groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    let trailing = groups[leading..].iter().rev().take_while(|&&group| group == 0).count();
    let significant = &groups[leading..groups.len() - trailing];
    let whole_groups = whole.len().div_ceil(4);
    let small = |count: usize| i16::try_from(count).expect("a decimal has at most 29 digits");

    out.put_i16(small(significant.len()));
    // The weight of zero is zero, by PostgreSQL's convention.
    out.put_i16(if significant.is_empty() {
        0
    } else {
        small(whole_groups) - 1 - small(leading)
    });
    let negative = value.is_sign_negative() && !value.is_zero();
    out.put_u16(if negative { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE });
    out.put_i16(small(scale));
    for &group in significant {
        out.put_u16(group);
    }
}

fn get_numeric(bytes: &mut &[u8]) -> Result<Decimal, BinaryError> {
    let count = fixed(bytes.try_get_u16())?;
    let weight = fixed(bytes.try_get_i16())?;
    let sign = fixed(bytes.try_get_u16())?;
    let scale = usize::from(fixed(bytes.try_get_u16())?);
    if !matches!(sign, NUMERIC_POSITIVE | NUMERIC_NEGATIVE) {
        // Not a number, or an infinity.
        return Err(BinaryError::Range);
    }
    if count > NUMERIC_DIGITS_MAX || !(-NUMERIC_WEIGHT_MAX..=NUMERIC_WEIGHT_MAX).contains(&weight) {
        return Err(BinaryError::Range);
    }
    let groups = (0..count)
        .map(|_| match fixed(bytes.try_get_u16())? {
            group @ 0..=9_999 => Ok(group),
            _ => Err(BinaryError::Format),
        })
        .collect::<Result<Vec<u16>, _>>()?;

    let mut text = String::from(if sign == NUMERIC_NEGATIVE { "-" } else { "" });
    let group_at = |position: i16| {
        usize::try_from(weight - position)
            .ok()
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    for position in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group_at(position)));
    }
    let last = weight - i16::try_from(count).expect("checked above") + 1;
    let mut fraction: String = (last.min(0)..0)
        .rev()
        .map(|position| format!("{:04}", group_at(position)))
        .collect();
    // The scale says how many digits to show: more than are sent means zeros, fewer hides zeros only.
    if fraction.len() < scale {
        fraction.push_str(&"0".repeat(scale.min(NUMERIC_SCALE_MAX).saturating_sub(fraction.len())));
    }
    let shown = scale.min(NUMERIC_SCALE_MAX).min(fraction.len());
    if fraction[shown..].bytes().any(|digit| digit != b'0') {
        return Err(BinaryError::Range);
    }
    text.push('.');
    text.push_str(&fraction[..shown]);
    let text = text.trim_end_matches('.');
    Decimal::from_str_exact(text).map_err(|_| BinaryError::Range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMERIC: ColumnType = ColumnType::Numeric {
        precision_and_scale: None,
    };

    fn numeric(text: &str) -> Value {
        Value::Numeric(Decimal::from_str_exact(text).expect("a decimal"))
    }

    /// Bytes as PostgreSQL 15's send functions produce them (`SELECT encode(numeric_send('1.5'), 'hex')` and so on).
    fn golden() -> Vec<(ColumnType, Value, &'static [u8])> {
        let mut uuid = [0; 16];
        uuid[15] = 9;
        vec![
            (ColumnType::Bool, Value::Bool(true), &[1]),
            (ColumnType::Int2, Value::Int(-2), &[0xff, 0xfe]),
            (ColumnType::Int4, Value::Int(258), &[0, 0, 1, 2]),
            (ColumnType::Int8, Value::Int(-1), &[0xff; 8]),
            (ColumnType::Float4, Value::Float(1.5), &[0x3f, 0xc0, 0, 0]),
            (ColumnType::Float8, Value::Float(-1.5), &[0xbf, 0xf8, 0, 0, 0, 0, 0, 0]),
            (NUMERIC, numeric("0"), &[0, 0, 0, 0, 0, 0, 0, 0]),
            (NUMERIC, numeric("0.00"), &[0, 0, 0, 0, 0, 0, 0, 2]),
            (NUMERIC, numeric("1.5"), &[0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88]),
            (
                NUMERIC,
                numeric("-12345.678"),
                &[0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c],
            ),
            (NUMERIC, numeric("0.0001"), &[0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1]),
            (NUMERIC, numeric("0.00001"), &[0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x03, 0xe8]),
            (NUMERIC, numeric("10000"), &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            (
                NUMERIC,
                numeric("10000.10"),
                &[0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0x03, 0xe8],
            ),
            (ColumnType::Text, Value::Text("é".into()), "é".as_bytes()),
            (ColumnType::Varchar { length_max: 3 }, Value::Text("abc".into()), b"abc"),
            (ColumnType::Bytea, Value::Bytes(vec![0, 255]), &[0, 255]),
            (ColumnType::Date, Value::Date(EPOCH_DAYS + 1), &[0, 0, 0, 1]),
            (ColumnType::Date, Value::Date(0), &[0xff, 0xff, 0xd5, 0x33]),
            (ColumnType::Time, Value::Time(1), &[0, 0, 0, 0, 0, 0, 0, 1]),
            (ColumnType::Timestamp, Value::Timestamp(EPOCH_MICROS), &[0; 8]),
            (
                ColumnType::TimestampTz,
                Value::TimestampTz(EPOCH_MICROS - 1),
                &[0xff; 8],
            ),
            (
                ColumnType::Uuid,
                Value::Uuid(uuid),
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
            ),
            (ColumnType::Json, Value::Json("{}".into()), b"{}"),
            (ColumnType::Jsonb, Value::Json("{}".into()), b"\x01{}"),
        ]
    }

    #[test]
    fn binary_forms_are_postgresqls() {
        for (column_type, value, bytes) in golden() {
            let mut out = BytesMut::new();
            encode(&value, column_type, &mut out).expect("the value has the type");
            assert_eq!(&out[..], bytes, "{value:?} as {column_type:?}");
            assert_eq!(decode(bytes, column_type), Ok(value), "{column_type:?}");
        }
    }

    #[test]
    fn every_truncation_and_extension_of_a_fixed_type_is_refused() {
        for (column_type, _, bytes) in golden() {
            if super::super::types::size(column_type) < 0 {
                continue;
            }
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length], column_type), Err(BinaryError::Format));
            }
            let longer = [bytes, &[0]].concat();
            assert_eq!(decode(&longer, column_type), Err(BinaryError::Format));
        }
    }

    #[test]
    fn values_without_a_counterpart_are_refused() {
        for (column_type, bytes, error) in [
            (ColumnType::Bool, &[2][..], BinaryError::Format),
            (ColumnType::Text, b"a\0b", BinaryError::Encoding),
            (ColumnType::Text, &[0xff], BinaryError::Encoding),
            (ColumnType::Date, &i32::MAX.to_be_bytes(), BinaryError::Range),
            (ColumnType::Timestamp, &i64::MAX.to_be_bytes(), BinaryError::Range),
            (ColumnType::TimestampTz, &i64::MIN.to_be_bytes(), BinaryError::Range),
            (ColumnType::Time, &(DAY_MICROS + 1).to_be_bytes(), BinaryError::Range),
            (ColumnType::Jsonb, b"\x02{}", BinaryError::Format),
            (ColumnType::Jsonb, b"", BinaryError::Format),
            // NaN.
            (NUMERIC, &[0, 0, 0, 0, 0xc0, 0, 0, 0], BinaryError::Range),
            // A base-10,000 digit of 10,000.
            (NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10], BinaryError::Format),
            // 10^40.
            (NUMERIC, &[0, 1, 0, 10, 0, 0, 0, 0, 0, 1], BinaryError::Range),
            (NUMERIC, &[0, 1, 0x7f, 0xff, 0, 0, 0, 0, 0, 1], BinaryError::Range),
        ] {
            assert_eq!(decode(bytes, column_type), Err(error), "{column_type:?} {bytes:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_a_defect_that_is_reported() {
        let mut out = BytesMut::new();
        assert!(encode(&Value::Int(40_000), ColumnType::Int2, &mut out).is_err());
        assert!(encode(&Value::Text("1".into()), ColumnType::Int4, &mut out).is_err());
        assert!(encode(&Value::Null, ColumnType::Int4, &mut out).is_err());
    }

    proptest! {
        #[test]
        fn numerics_come_back_with_their_scale(mantissa in any::<i64>(), scale in 0u32..=28) {
            let value = Decimal::from_i128_with_scale(i128::from(mantissa), scale);
            let mut out = BytesMut::new();
            encode(&Value::Numeric(value), NUMERIC, &mut out).expect("a numeric");
            let Ok(Value::Numeric(back)) = decode(&out, NUMERIC) else {
                return Err(TestCaseError::fail("does not decode"));
            };
            prop_assert_eq!((back, back.scale()), (value, value.scale()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            for (column_type, _, _) in golden() {
                let _ = decode(&bytes, column_type);
            }
        }

        #[test]
        fn no_numeric_panics(
            count in 0u16..70, weight in any::<i16>(), scale in any::<u16>(),
            digits in proptest::collection::vec(0u16..10_000, 0..70),
        ) {
            let mut bytes = BytesMut::new();
            bytes.put_u16(count);
            bytes.put_i16(weight % 20);
            bytes.put_u16(0);
            bytes.put_u16(scale % 40);
            for digit in digits {
                bytes.put_u16(digit);
            }
            let _ = decode(&bytes, NUMERIC);
        }
    }
}
