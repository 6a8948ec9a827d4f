//! Tables of texts and values in PostgreSQL's own words, and round trips.

use craton_types::{ColumnType, Value};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{format, parse};
use crate::types::NUMERIC;

#[track_caller]
fn check(column_type: ColumnType, text: &str, expect: &str) {
    let shown = match parse(text, column_type) {
        Ok(value) => format(&value, column_type),
        Err(error) => format!("{}: {}", error.sqlstate, error.message),
    };
    assert_eq!(shown, expect, "{text:?} as {column_type:?}");
}

#[test]
fn booleans() {
    for (text, expect) in [
        ("t", "t"),
        (" TRUE ", "t"),
        ("tr", "t"),
        ("yes", "t"),
        ("on", "t"),
        ("1", "t"),
        ("of", "f"),
        ("no", "f"),
        ("0", "f"),
        ("o", "22P02: invalid input syntax for type boolean: \"o\""),
        ("", "22P02: invalid input syntax for type boolean: \"\""),
    ] {
        check(ColumnType::Bool, text, expect);
    }
}

#[test]
fn integers_at_their_edges() {
    check(ColumnType::Int2, "32767", "32767");
    check(
        ColumnType::Int2,
        "32768",
        "22003: value \"32768\" is out of range for type smallint",
    );
    check(ColumnType::Int4, " -2147483648 ", "-2147483648");
    check(
        ColumnType::Int4,
        "-2147483649",
        "22003: value \"-2147483649\" is out of range for type integer",
    );
    check(ColumnType::Int8, "+9223372036854775807", "9223372036854775807");
    check(
        ColumnType::Int8,
        "9223372036854775808",
        "22003: value \"9223372036854775808\" is out of range for type bigint",
    );
    check(
        ColumnType::Int4,
        "1.5",
        "22P02: invalid input syntax for type integer: \"1.5\"",
    );
    check(
        ColumnType::Int4,
        "-",
        "22P02: invalid input syntax for type integer: \"-\"",
    );
}

#[test]
fn floats_are_shown_as_postgresql_shows_them() {
    for (text, expect) in [
        ("1", "1"),
        ("0.1", "0.1"),
        ("1e14", "100000000000000"),
        ("1e15", "1e+15"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("123456789012345680", "1.2345678901234568e+17"),
        ("-0", "-0"),
        ("nan", "NaN"),
        ("-inf", "-Infinity"),
        ("1e400", "22003: \"1e400\" is out of range for type double precision"),
        ("1e-400", "22003: \"1e-400\" is out of range for type double precision"),
        ("x", "22P02: invalid input syntax for type double precision: \"x\""),
    ] {
        check(ColumnType::Float8, text, expect);
    }
    check(ColumnType::Float4, "100000", "100000");
    check(ColumnType::Float4, "1000000", "1e+06");
    check(ColumnType::Float4, "0.1", "0.1");
    check(
        ColumnType::Float4,
        "1e39",
        "22003: \"1e39\" is out of range for type real",
    );
}

#[test]
fn numerics_keep_their_scale_and_their_bounds() {
    let declared = ColumnType::Numeric {
        precision_and_scale: Some((5, 2)),
    };
    for (column_type, text, expect) in [
        (NUMERIC, "1.50", "1.50"),
        (NUMERIC, "-0.0", "0.0"),
        (NUMERIC, "1e3", "1000"),
        (NUMERIC, "1.5e-3", "0.0015"),
        (NUMERIC, ".5", "0.5"),
        (NUMERIC, "1e40", "22003: value overflows numeric format"),
        (NUMERIC, "1e-40", "22003: value overflows numeric format"),
        (
            NUMERIC,
            "1..2",
            "22P02: invalid input syntax for type numeric: \"1..2\"",
        ),
        (NUMERIC, "1_0", "22P02: invalid input syntax for type numeric: \"1_0\""),
        (NUMERIC, "NaN", "0A000: numeric NaN is not supported"),
        (declared, "1", "1.00"),
        (declared, "1.005", "1.01"),
        (declared, "-1.005", "-1.01"),
        (declared, "999.994", "999.99"),
        (declared, "999.995", "22003: numeric field overflow"),
    ] {
        check(column_type, text, expect);
    }
}

#[test]
fn dates_and_times() {
    use ColumnType::{Date, Time, Timestamp, TimestampTz};
    for (column_type, text, expect) in [
        (Date, "2024-02-29", "2024-02-29"),
        (Date, "20240229", "2024-02-29"),
        (Date, "2024-02-29 10:00", "2024-02-29"),
        (
            Date,
            "2023-02-29",
            "22008: date/time field value out of range: \"2023-02-29\"",
        ),
        (
            Date,
            "yesterday",
            "22007: invalid input syntax for type date: \"yesterday\"",
        ),
        (Date, "0001-01-01", "0001-01-01"),
        (Date, "9999-12-31", "9999-12-31"),
        (
            Date,
            "0000-12-31",
            "22008: date/time field value out of range: \"0000-12-31\"",
        ),
        (Date, "infinity", "0A000: date \"infinity\" is not supported"),
        (Time, "10:11", "10:11:00"),
        (Time, "10:11:12.5", "10:11:12.5"),
        (Time, "10:11:12.1234567", "10:11:12.123457"),
        (Time, "24:00:00", "24:00:00"),
        (
            Time,
            "24:00:01",
            "22008: date/time field value out of range: \"24:00:01\"",
        ),
        (Timestamp, "2024-01-31 10:11:12.000001", "2024-01-31 10:11:12.000001"),
        (Timestamp, "2024-01-31T10:11:12+02", "2024-01-31 10:11:12"),
        (Timestamp, "2024-01-31", "2024-01-31 00:00:00"),
        (Timestamp, "1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"),
        (TimestampTz, "2024-01-31 10:11:12+02", "2024-01-31 08:11:12+00"),
        (TimestampTz, "2024-01-31 10:11:12 -0530", "2024-01-31 15:41:12+00"),
        (TimestampTz, "2024-01-31T10:11:12Z", "2024-01-31 10:11:12+00"),
        (TimestampTz, "2024-01-31 24:00:00", "2024-02-01 00:00:00+00"),
        (TimestampTz, "epoch", "1970-01-01 00:00:00+00"),
        (
            TimestampTz,
            "0001-01-01 00:00:00+01",
            "22008: date/time field value out of range: \"0001-01-01 00:00:00+01\"",
        ),
        (
            TimestampTz,
            "2024-01-31 10:11:12 Europe/Paris",
            "22023: time zone of \"2024-01-31 10:11:12 Europe/Paris\" is not recognized",
        ),
    ] {
        check(column_type, text, expect);
    }
}

#[test]
fn bytes_and_uuids() {
    for (text, expect) in [
        ("\\xDEad", "\\xdead"),
        ("\\x de ad", "\\xdead"),
        ("a\\\\b\\001", "\\x615c6201"),
        ("\\xf", "22023: invalid hexadecimal data: odd number of digits"),
        ("\\xg0", "22023: invalid hexadecimal digit: \"g\""),
        ("\\9", "22P02: invalid input syntax for type bytea"),
    ] {
        check(ColumnType::Bytea, text, expect);
    }
    let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for text in [
        canonical,
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    ] {
        check(ColumnType::Uuid, text, canonical);
    }
    check(
        ColumnType::Uuid,
        "a0",
        "22P02: invalid input syntax for type uuid: \"a0\"",
    );
    check(
        ColumnType::Uuid,
        "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
        "22P02: invalid input syntax for type uuid: \"a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11\"",
    );
}

#[test]
fn json_keeps_its_text_and_jsonb_does_not() {
    check(ColumnType::Json, r#"{"b":1, "a":1.10}"#, r#"{"b":1, "a":1.10}"#);
    check(
        ColumnType::Jsonb,
        r#"{"bb":1,"a":1.10,"b":[true,{"x":null}],"a":2.50}"#,
        r#"{"a": 2.50, "b": [true, {"x": null}], "bb": 1}"#,
    );
    check(ColumnType::Jsonb, r#" "\u00e9\n" "#, "\"é\\n\"");
    check(
        ColumnType::Json,
        "{",
        "22P02: invalid input syntax for type json: \"{\"",
    );
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    check(ColumnType::Jsonb, &nested(128), &nested(128));
    check(
        ColumnType::Jsonb,
        &nested(129),
        "54001: a jsonb value nests deeper than 128 levels",
    );
    check(ColumnType::Json, &nested(100_000), &nested(100_000));
}

#[test]
fn texts_hold_no_zero_byte() {
    check(
        ColumnType::Text,
        "a\0",
        "22021: invalid byte sequence for encoding \"UTF8\": 0x00",
    );
}

/// Values as a column of the type holds them.
pub(crate) fn typed_value() -> impl Strategy<Value = (ColumnType, Value)> {
    let days = -719_162i32..=2_932_896;
    let micros = -719_162i64 * 86_400_000_000..=2_932_896i64 * 86_400_000_000;
    prop_oneof![
        any::<bool>().prop_map(|value| (ColumnType::Bool, Value::Bool(value))),
        any::<i16>().prop_map(|value| (ColumnType::Int2, Value::Int(value.into()))),
        any::<i32>().prop_map(|value| (ColumnType::Int4, Value::Int(value.into()))),
        any::<i64>().prop_map(|value| (ColumnType::Int8, Value::Int(value))),
        any::<f32>()
            .prop_filter("one NaN", |value| !value.is_nan())
            .prop_map(|value| (ColumnType::Float4, Value::Float(value.into()))),
        any::<f64>()
            .prop_filter("one NaN", |value| !value.is_nan())
            .prop_map(|value| (ColumnType::Float8, Value::Float(value))),
        (any::<i64>(), 0u32..=28).prop_map(|(number, scale)| (NUMERIC, Value::Numeric(Decimal::new(number, scale)))),
        "[^\0]{0,20}".prop_map(|value| (ColumnType::Text, Value::Text(value))),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|value| (ColumnType::Bytea, Value::Bytes(value))),
        days.prop_map(|value| (ColumnType::Date, Value::Date(value))),
        (0..=86_400_000_000i64).prop_map(|value| (ColumnType::Time, Value::Time(value))),
        micros
            .clone()
            .prop_map(|value| (ColumnType::Timestamp, Value::Timestamp(value))),
        micros.prop_map(|value| (ColumnType::TimestampTz, Value::TimestampTz(value))),
        any::<[u8; 16]>().prop_map(|value| (ColumnType::Uuid, Value::Uuid(value))),
    ]
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    proptest::sample::select(vec![
        ColumnType::Bool,
        ColumnType::Int2,
        ColumnType::Int4,
        ColumnType::Int8,
        ColumnType::Float4,
        ColumnType::Float8,
        NUMERIC,
        ColumnType::Text,
        ColumnType::Bytea,
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::Timestamp,
        ColumnType::TimestampTz,
        ColumnType::Uuid,
        ColumnType::Json,
        ColumnType::Jsonb,
    ])
}

proptest! {
    #[test]
    fn values_survive_their_text((column_type, value) in typed_value()) {
        let text = format(&value, column_type);
        let back = parse(&text, column_type).expect("our own text");
        prop_assert_eq!(&back, &value, "{}", text);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,30}", column_type in any_type()) {
        if let Ok(value) = parse(&text, column_type) {
            // What was accepted is shown in a form that is accepted again and stays.
            let shown = format(&value, column_type);
            let again = parse(&shown, column_type).expect("our own text");
            prop_assert_eq!(format(&again, column_type), shown);
        }
    }

    #[test]
    fn near_dates_never_panic(text in "[-+0-9:.TZ /]{0,30}", column_type in any_type()) {
        let _ = parse(&text, column_type);
    }

    #[test]
    fn any_number_is_shown(days in any::<i32>(), micros in any::<i64>()) {
        for value in [Value::Date(days), Value::Time(micros), Value::Timestamp(micros), Value::TimestampTz(micros)] {
            prop_assert!(!format(&value, ColumnType::Text).is_empty());
        }
    }
}
