//! `date`, `time`, `timestamp` and `timestamptz`: ISO 8601 in, ISO `DateStyle` and UTC out.
//!
//! Years run from 1 to 9999. Text without an offset is UTC, the only time zone that sessions have.

use std::fmt::Write as _;

use craton_types::ColumnType;
use jiff::Span;
use jiff::civil::{Date, DateTime};

use super::excerpt;
use crate::types::type_name;
use crate::{SqlError, SqlState};

/// Microseconds of a day.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;
const MINUTE_MICROS: i64 = 60_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// Days since 1970-01-01 of 0001-01-01 and 9999-12-31.
const DAY_MIN: i32 = -719_162;
const DAY_MAX: i32 = 2_932_896;

/// Whether a timestamp is between the years 1 and 9999.
pub(crate) const fn timestamps_in_range(micros: i64) -> bool {
    let day = micros.div_euclid(DAY_MICROS);
    day >= DAY_MIN as i64 && day <= DAY_MAX as i64
}

/// Whether a date is between the years 1 and 9999.
pub(crate) const fn dates_in_range(days: i32) -> bool {
    days >= DAY_MIN && days <= DAY_MAX
}

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The calendar date of a day since 1970-01-01 between the years 1 and 9999.
fn date_of(days: i32) -> Date {
    EPOCH
        .checked_add(Span::new().days(days))
        .expect("years 1 to 9999 are in the calendar")
}

fn day_of(date: Date) -> i32 {
    EPOCH.until(date).expect("days between dates are in range").get_days()
}

/// The calendar fields of a timestamp, for `date_trunc` and `extract`; `None` outside the calendar.
pub(crate) fn timestamp_fields(micros: i64) -> Option<DateTime> {
    let days = i32::try_from(micros.div_euclid(DAY_MICROS)).ok()?;
    if !dates_in_range(days) {
        return None;
    }
    let time = micros.rem_euclid(DAY_MICROS);
    let field = |unit: i64, modulus: i64| i8::try_from(time / unit % modulus).expect("a clock field fits");
    let nanos = i32::try_from(time % SECOND_MICROS * 1_000).expect("nanoseconds of a second fit");
    Some(date_of(days).at(
        field(HOUR_MICROS, 24),
        field(MINUTE_MICROS, 60),
        field(SECOND_MICROS, 60),
        nanos,
    ))
}

/// Microseconds since 1970-01-01 of calendar fields.
pub(crate) fn timestamp_from_fields(fields: DateTime) -> i64 {
    i64::from(day_of(fields.date())) * DAY_MICROS
        + i64::from(fields.hour()) * HOUR_MICROS
        + i64::from(fields.minute()) * MINUTE_MICROS
        + i64::from(fields.second()) * SECOND_MICROS
        + i64::from(fields.subsec_nanosecond() / 1_000)
}

/// Why a text is no date or time.
enum Refusal {
    Syntax,
    Range,
    Infinity,
    Zone,
}

fn describe(refusal: &Refusal, text: &str, column_type: ColumnType) -> SqlError {
    let text = excerpt(text);
    match refusal {
        Refusal::Syntax => SqlError::new(
            SqlState::INVALID_DATETIME,
            format!("invalid input syntax for type {}: \"{text}\"", type_name(column_type)),
        ),
        Refusal::Range => SqlError::new(
            SqlState::DATETIME_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        ),
        Refusal::Infinity => SqlError::unsupported(format!("{} \"{text}\"", type_name(column_type))),
        Refusal::Zone => SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("time zone of \"{text}\" is not recognized"),
        )
        .with_hint("Write the offset from UTC, such as +02 or Z."),
    }
}

pub(super) fn parse_date(text: &str) -> Result<i32, SqlError> {
    split(text)
        .and_then(|parts| parts.day.ok_or(Refusal::Syntax))
        .map_err(|refusal| describe(&refusal, text, ColumnType::Date))
}

pub(super) fn parse_time(text: &str) -> Result<i64, SqlError> {
    let parse = || {
        let trimmed = text.trim_ascii();
        // A time alone, or the time of a timestamp.
        let (clock, _) = match parse_clock_and_zone(trimmed) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                let parts = split(trimmed).map_err(|_| refusal)?;
                return parts.time.ok_or(Refusal::Syntax);
            }
        };
        Ok(clock)
    };
    parse().map_err(|refusal| describe(&refusal, text, ColumnType::Time))
}

pub(super) fn parse_timestamp(text: &str) -> Result<i64, SqlError> {
    // As in PostgreSQL, an offset in the text of a timestamp without time zone is read and ignored.
    split(text)
        .and_then(|parts| parts.timestamp(0))
        .map_err(|refusal| describe(&refusal, text, ColumnType::Timestamp))
}

pub(super) fn parse_timestamptz(text: &str) -> Result<i64, SqlError> {
    split(text)
        .and_then(|parts| parts.timestamp(parts.offset_seconds.unwrap_or(0)))
        .map_err(|refusal| describe(&refusal, text, ColumnType::TimestampTz))
}

struct Parts {
    day: Option<i32>,
    time: Option<i64>,
    offset_seconds: Option<i64>,
}

impl Parts {
    fn timestamp(&self, offset_seconds: i64) -> Result<i64, Refusal> {
        let day = self.day.ok_or(Refusal::Syntax)?;
        let micros = i64::from(day) * DAY_MICROS + self.time.unwrap_or(0) - offset_seconds * SECOND_MICROS;
        if timestamps_in_range(micros) {
            Ok(micros)
        } else {
            Err(Refusal::Range)
        }
    }
}

/// A date, then optionally `T` or a blank and a time, then optionally an offset.
fn split(text: &str) -> Result<Parts, Refusal> {
    let text = text.trim_ascii();
    match text.to_ascii_lowercase().as_str() {
        "epoch" => {
            return Ok(Parts {
                day: Some(0),
                time: Some(0),
                offset_seconds: Some(0),
            });
        }
        "infinity" | "-infinity" => return Err(Refusal::Infinity),
        _ => {}
    }
    let date_end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let day = parse_day(&text[..date_end])?;
    let rest = text[date_end..].get(1..).unwrap_or("").trim_ascii_start();
    let (time, offset_seconds) = if rest.is_empty() {
        (None, None)
    } else {
        let (time, offset) = parse_clock_and_zone(rest)?;
        (Some(time), offset)
    };
    Ok(Parts {
        day: Some(day),
        time,
        offset_seconds,
    })
}

/// `2024-01-31` or `20240131`.
fn parse_day(text: &str) -> Result<i32, Refusal> {
    let (year, month, day) = match text.split('-').collect::<Vec<_>>().as_slice() {
        [year, month, day] => (number(year, 4..=4)?, number(month, 1..=2)?, number(day, 1..=2)?),
        [all] if all.len() == 8 && all.is_ascii() => (
            number(&all[..4], 4..=4)?,
            number(&all[4..6], 2..=2)?,
            number(&all[6..], 2..=2)?,
        ),
        _ => return Err(Refusal::Syntax),
    };
    let field = |value: i64| i8::try_from(value).map_err(|_| Refusal::Range);
    let year = i16::try_from(year).map_err(|_| Refusal::Range)?;
    if year < 1 {
        return Err(Refusal::Range);
    }
    Date::new(year, field(month)?, field(day)?)
        .map(day_of)
        .map_err(|_| Refusal::Range)
}

fn number(digits: &str, length: std::ops::RangeInclusive<usize>) -> Result<i64, Refusal> {
    if !length.contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Syntax);
    }
    digits.parse().map_err(|_| Refusal::Syntax)
}

/// `10:11`, `10:11:12`, `10:11:12.123456`, each optionally followed by an offset.
fn parse_clock_and_zone(text: &str) -> Result<(i64, Option<i64>), Refusal> {
    let clock_end = text
        .find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.')
        .unwrap_or(text.len());
    let zone = text[clock_end..].trim_ascii();
    let offset = if zone.is_empty() { None } else { Some(parse_zone(zone)?) };
    Ok((parse_clock(&text[..clock_end])?, offset))
}

fn parse_clock(text: &str) -> Result<i64, Refusal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fields: Vec<&str> = whole.split(':').collect();
    let (hour, minute, second) = match fields.as_slice() {
        [hour, minute] if !text.contains('.') => (number(hour, 1..=2)?, number(minute, 2..=2)?, 0),
        [hour, minute, second] => (number(hour, 1..=2)?, number(minute, 2..=2)?, number(second, 2..=2)?),
        _ => return Err(Refusal::Syntax),
    };
    let micros = parse_fraction(fraction)?;
    // 60 seconds and 24:00:00 are taken and carry over, as in PostgreSQL.
    if hour > 24 || minute > 59 || second > 60 {
        return Err(Refusal::Range);
    }
    let total = hour * HOUR_MICROS + minute * MINUTE_MICROS + second * SECOND_MICROS + micros;
    if total > DAY_MICROS {
        Err(Refusal::Range)
    } else {
        Ok(total)
    }
}

/// Digits after the point as microseconds, rounded half up.
fn parse_fraction(digits: &str) -> Result<i64, Refusal> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Syntax);
    }
    let mut micros = 0;
    for index in 0..6 {
        micros = micros * 10 + i64::from(digits.as_bytes().get(index).map_or(0, |digit| digit - b'0'));
    }
    let rounds_up = digits.as_bytes().get(6).is_some_and(|&digit| digit >= b'5');
    Ok(micros + i64::from(rounds_up))
}

/// `Z`, `UTC`, `+02`, `+0200`, `+02:00` or `+02:00:30`, in seconds east of UTC.
fn parse_zone(text: &str) -> Result<i64, Refusal> {
    if ["z", "utc", "gmt"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Ok(0);
    }
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(Refusal::Zone),
    };
    let fields: Vec<&str> = digits.split(':').collect();
    let (hours, minutes, seconds) = match fields.as_slice() {
        [all] if all.len() == 4 && all.is_ascii() => (number(&all[..2], 2..=2)?, number(&all[2..], 2..=2)?, 0),
        [hours] => (number(hours, 1..=2)?, 0, 0),
        [hours, minutes] => (number(hours, 1..=2)?, number(minutes, 2..=2)?, 0),
        [hours, minutes, seconds] => (number(hours, 1..=2)?, number(minutes, 2..=2)?, number(seconds, 2..=2)?),
        _ => return Err(Refusal::Zone),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Refusal::Range);
    }
    Ok(sign * (hours * 3_600 + minutes * 60 + seconds))
}

/// What is shown for a value that no input gives: PostgreSQL's words for its own out-of-range values.
fn write_out_of_range(is_positive: bool, out: &mut String) {
    out.push_str(if is_positive { "infinity" } else { "-infinity" });
}

pub(super) fn write_date(days: i32, out: &mut String) {
    if !dates_in_range(days) {
        return write_out_of_range(days > 0, out);
    }
    let date = date_of(days);
    write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day()).expect("writing to a String does not fail");
}

pub(super) fn write_time(micros: i64, out: &mut String) {
    let micros = micros.clamp(0, DAY_MICROS);
    write!(
        out,
        "{:02}:{:02}:{:02}",
        micros / HOUR_MICROS,
        micros / MINUTE_MICROS % 60,
        micros / SECOND_MICROS % 60
    )
    .expect("writing to a String does not fail");
    let fraction = micros % SECOND_MICROS;
    if fraction > 0 {
        write!(out, ".{fraction:06}").expect("writing to a String does not fail");
        while out.ends_with('0') {
            out.pop();
        }
    }
}

pub(super) fn write_timestamp(micros: i64, out: &mut String) {
    if !timestamps_in_range(micros) {
        return write_out_of_range(micros > 0, out);
    }
    let days = i32::try_from(micros.div_euclid(DAY_MICROS)).expect("the range was checked");
    write_date(days, out);
    out.push(' ');
    write_time(micros.rem_euclid(DAY_MICROS), out);
}
