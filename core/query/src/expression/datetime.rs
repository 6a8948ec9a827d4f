//! `date_trunc`, `extract` and shifts by an interval.

use craton_types::{ColumnType, Retention, Value};
use jiff::Span;
use jiff::civil::DateTime;
use rust_decimal::Decimal;

use crate::text::{DAY_MICROS, excerpt, timestamp_fields, timestamp_from_fields, timestamps_in_range};
use crate::types::type_name;
use crate::{SqlError, SqlState};

/// A constant interval: it has no column type, but timestamps and dates can be moved by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    months: i32,
    days: i32,
    micros: i64,
}

fn out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_OVERFLOW, "timestamp out of range")
}

impl Interval {
    /// Parses `'1 day 2 hours'` and the like, with an optional default unit for a number alone.
    pub(crate) fn parse(text: &str, default_unit: Option<&str>) -> Result<Self, SqlError> {
        Self::parse_words(text, default_unit).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_DATETIME,
                format!("invalid input syntax for type interval: \"{}\"", excerpt(text)),
            )
            .with_hint("Write numbers and units, such as '1 day 2 hours'.")
        })
    }

    fn parse_words(text: &str, default_unit: Option<&str>) -> Option<Self> {
        let mut interval = Self::default();
        let mut words = text.split_ascii_whitespace().peekable();
        words.peek()?;
        while let Some(word) = words.next() {
            if let Some(micros) = parse_clock(word) {
                interval.micros = interval.micros.checked_add(micros)?;
                continue;
            }
            let unit_at = word
                .char_indices()
                .find(|&(index, c)| !(c.is_ascii_digit() || (index == 0 && (c == '-' || c == '+'))))
                .map_or(word.len(), |(index, _)| index);
            let (number, attached_unit) = word.split_at(unit_at);
            let number: i64 = number.parse().ok()?;
            let unit = if attached_unit.is_empty() {
                words.next().or(default_unit)?
            } else {
                attached_unit
            };
            interval = interval.plus(number, &unit.to_ascii_lowercase())?;
        }
        Some(interval)
    }

    fn plus(mut self, number: i64, unit: &str) -> Option<Self> {
        let small = i32::try_from(number);
        let singular = unit.strip_suffix('s').filter(|rest| rest.len() > 1).unwrap_or(unit);
        let micros = |factor: i64| number.checked_mul(factor);
        match singular {
            "year" | "y" | "yr" => self.months = self.months.checked_add(small.ok()?.checked_mul(12)?)?,
            "month" | "mon" => self.months = self.months.checked_add(small.ok()?)?,
            "week" | "w" => self.days = self.days.checked_add(small.ok()?.checked_mul(7)?)?,
            "day" | "d" => self.days = self.days.checked_add(small.ok()?)?,
            "hour" | "h" | "hr" => self.micros = self.micros.checked_add(micros(3_600_000_000)?)?,
            "minute" | "min" | "m" => self.micros = self.micros.checked_add(micros(60_000_000)?)?,
            "second" | "sec" | "s" => self.micros = self.micros.checked_add(micros(1_000_000)?)?,
            "millisecond" | "msec" | "ms" => self.micros = self.micros.checked_add(micros(1_000)?)?,
            "microsecond" | "usec" | "us" => self.micros = self.micros.checked_add(number)?,
            _ => return None,
        }
        Some(self)
    }

    /// The same span as a time to keep data; `None` when a part of it is negative.
    pub(crate) fn to_retention(self) -> Option<Retention> {
        Some(Retention {
            months: u32::try_from(self.months).ok()?,
            days: u32::try_from(self.days).ok()?,
            microseconds: u64::try_from(self.micros).ok()?,
        })
    }

    pub(super) fn negated(self) -> Option<Self> {
        Some(Self {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            micros: self.micros.checked_neg()?,
        })
    }

    /// Moves a date or timestamp: first by months, keeping the day of the month where it exists, then days, then time.
    pub(super) fn shift(self, value: &Value) -> Result<Value, SqlError> {
        match value {
            Value::Null => Ok(Value::Null),
            Value::Date(days) => self.shift_micros(i64::from(*days) * DAY_MICROS).map(Value::Timestamp),
            Value::Timestamp(micros) => self.shift_micros(*micros).map(Value::Timestamp),
            Value::TimestampTz(micros) => self.shift_micros(*micros).map(Value::TimestampTz),
            _ => Err(SqlError::internal("only dates and timestamps are moved by an interval")),
        }
    }

    fn shift_micros(self, micros: i64) -> Result<i64, SqlError> {
        let mut at = micros;
        if self.months != 0 {
            let fields = timestamp_fields(at).ok_or_else(out_of_range)?;
            let span = Span::new().try_months(self.months).map_err(|_| out_of_range())?;
            let moved = fields.checked_add(span).map_err(|_| out_of_range())?;
            if moved.year() < 1 {
                return Err(out_of_range());
            }
            at = timestamp_from_fields(moved);
        }
        i64::from(self.days)
            .checked_mul(DAY_MICROS)
            .and_then(|days| at.checked_add(days))
            .and_then(|at| at.checked_add(self.micros))
            .filter(|at| timestamps_in_range(*at))
            .ok_or_else(out_of_range)
    }
}

/// `hh:mm[:ss]`, with a sign.
fn parse_clock(word: &str) -> Option<i64> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, word),
    };
    if !digits.contains(':') {
        return None;
    }
    match crate::text::parse(digits, ColumnType::Time) {
        Ok(Value::Time(micros)) => Some(sign * micros),
        _ => None,
    }
}

fn not_recognized(field: &str, column_type: ColumnType) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!(
            "unit \"{}\" not recognized for type {}",
            excerpt(field),
            type_name(column_type)
        ),
    )
}

/// `date_trunc(field, timestamp)`, on microseconds since 1970-01-01.
pub(super) fn truncate(field: &str, micros: i64, column_type: ColumnType) -> Result<i64, SqlError> {
    let fields = timestamp_fields(micros).ok_or_else(out_of_range)?;
    let day = |date: jiff::civil::Date| timestamp_from_fields(date.at(0, 0, 0, 0));
    Ok(match field.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" => micros,
        "millisecond" | "milliseconds" => micros - micros.rem_euclid(1_000),
        "second" => micros - micros.rem_euclid(1_000_000),
        "minute" => micros - micros.rem_euclid(60_000_000),
        "hour" => micros - micros.rem_euclid(3_600_000_000),
        "day" => micros - micros.rem_euclid(DAY_MICROS),
        // Day 0 was a Thursday; weeks begin on Monday.
        "week" => {
            let days = micros.div_euclid(DAY_MICROS);
            let truncated = (days - (days + 3).rem_euclid(7)) * DAY_MICROS;
            if timestamps_in_range(truncated) {
                truncated
            } else {
                return Err(out_of_range());
            }
        }
        "month" => day(fields.date().first_of_month()),
        "quarter" => {
            let month = (fields.month() - 1) / 3 * 3 + 1;
            day(jiff::civil::Date::new(fields.year(), month, 1).map_err(|_| out_of_range())?)
        }
        "year" => day(fields.date().first_of_year()),
        _ => return Err(not_recognized(field, column_type)),
    })
}

/// `extract(field from …)`, as numeric.
pub(super) fn extract(field: &str, value: &Value, column_type: ColumnType) -> Result<Value, SqlError> {
    let micros = match value {
        Value::Null => return Ok(Value::Null),
        Value::Date(days) => i64::from(*days) * DAY_MICROS,
        Value::Timestamp(micros) | Value::TimestampTz(micros) | Value::Time(micros) => *micros,
        _ => return Err(SqlError::internal("only dates and times have fields")),
    };
    let field = field.to_ascii_lowercase();
    let of_time = matches!(
        field.as_str(),
        "hour" | "minute" | "second" | "millisecond" | "milliseconds" | "microsecond" | "microseconds" | "epoch"
    );
    let allowed = match value {
        Value::Time(_) => of_time,
        Value::Date(_) => !of_time || field == "epoch",
        _ => true,
    };
    if !allowed {
        return Err(not_recognized(&field, column_type));
    }
    let fields = timestamp_fields(micros).ok_or_else(out_of_range)?;
    let whole = |number: i64| Decimal::from(number);
    let second_micros = micros.rem_euclid(60_000_000);
    Ok(Value::Numeric(match field.as_str() {
        "epoch" if matches!(value, Value::Date(_)) => whole(micros / 1_000_000),
        "epoch" => Decimal::new(micros, 6),
        "second" => Decimal::new(second_micros, 6),
        "millisecond" | "milliseconds" => Decimal::new(second_micros, 3),
        "microsecond" | "microseconds" => whole(second_micros),
        "year" => whole(fields.year().into()),
        "quarter" => whole(i64::from((fields.month() - 1) / 3 + 1)),
        "month" => whole(fields.month().into()),
        "day" => whole(fields.day().into()),
        "hour" => whole(fields.hour().into()),
        "minute" => whole(fields.minute().into()),
        "dow" => whole(day_of_week(fields, 0)),
        "isodow" => whole(day_of_week(fields, 7)),
        "doy" => whole(fields.date().day_of_year().into()),
        "week" => whole(fields.date().iso_week_date().week().into()),
        "isoyear" => whole(fields.date().iso_week_date().year().into()),
        _ => return Err(not_recognized(&field, column_type)),
    }))
}

/// Monday is 1; Sunday is what is asked for.
fn day_of_week(fields: DateTime, sunday: i64) -> i64 {
    match fields.weekday().to_monday_one_offset() {
        7 => sunday,
        day => day.into(),
    }
}
