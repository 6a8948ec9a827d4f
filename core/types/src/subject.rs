//! Data subjects: whose data a row is, which of its cells can be erased, and how long they must be kept.
//!
//! A cell of an erasable column is stored sealed under a key of its subject. Destroying that key erases the cell
//! from the log, its views and every copy of them, while every hash stays as it was.

use minicbor::{Decode, Encode};

use crate::{KeyEpoch, Offset, Timestamp, Value};

/// The longest name of a data subject in bytes.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// The longest reason for a hold, a release or an erasure in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// The number of a data subject's key, counted from zero within a tenant and never used again. A subject that is
/// written again after its erasure gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct SubjectKeyId(#[n(0)] u64);

impl SubjectKeyId {
    /// Wraps an integer.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The integer.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for SubjectKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A value sealed under the key of a data subject, with all that is needed to derive its cell key from that key.
///
/// It says where the value was written first; a copy of it, such as the row before a later change, keeps that.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedCell {
    /// The subject's key.
    #[n(0)]
    pub key: SubjectKeyId,
    /// The key epoch of the record that wrote the value.
    #[n(1)]
    pub epoch: KeyEpoch,
    /// The offset of that record.
    #[n(2)]
    pub offset: Offset,
    /// The change's chunk in that record.
    #[n(3)]
    pub chunk: u32,
    /// The cell's position in its row.
    #[n(4)]
    pub column: u16,
    /// `commitment (32) ‖ ciphertext ‖ tag (16)` over the value's CBOR.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// Which cells of a table belong to a data subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubjectColumns {
    /// The position of the column that names the row's subject. It is never NULL and never erasable.
    #[n(0)]
    pub subject: u16,
    /// The positions of the columns whose cells are sealed under the subject's key, ascending.
    #[n(1)]
    pub erasable: Vec<u16>,
    /// How long a row's cells must be kept from their writing on; the tenant's default when it is not said.
    #[n(2)]
    pub retention: Option<Retention>,
}

/// The name of the subject that a value of a subject column stands for: `None` for types that name none.
#[must_use]
pub fn subject_name(value: &Value) -> Option<String> {
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Uuid(bytes) => Some(crate::ActorId::new(*bytes).to_string()),
        _ => None,
    }
}

/// A span of time by the calendar, as PostgreSQL's `interval` without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Encode, Decode)]
pub struct Retention {
    /// Calendar months; a year has twelve.
    #[n(0)]
    pub months: u32,
    /// Days of 24 hours, counted after the months.
    #[n(1)]
    pub days: u32,
    /// Microseconds, counted after the days.
    #[n(2)]
    pub microseconds: u64,
}

const NANOSECONDS_PER_DAY: u64 = 86_400 * 1_000_000_000;

impl Retention {
    /// The time so much after `start`, in UTC. A day that a month lacks becomes the month's last day, as in PostgreSQL.
    /// Times past the end of [`Timestamp`] become its last.
    #[must_use]
    pub fn after(self, start: Timestamp) -> Timestamp {
        let (day, time) = (start.get() / NANOSECONDS_PER_DAY, start.get() % NANOSECONDS_PER_DAY);
        let day = add_months(day, self.months).saturating_add(u64::from(self.days));
        let nanoseconds = day
            .saturating_mul(NANOSECONDS_PER_DAY)
            .saturating_add(time)
            .saturating_add(self.microseconds.saturating_mul(1_000));
        Timestamp::new(nanoseconds)
    }
}

impl std::fmt::Display for Retention {
    /// As PostgreSQL shows intervals: `10 years 3 mons 2 days 01:00:00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        let mut push = |count: u32, one: &str, many: &str| match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            _ => parts.push(format!("{count} {many}")),
        };
        push(self.months / 12, "year", "years");
        push(self.months % 12, "mon", "mons");
        push(self.days, "day", "days");
        let seconds = self.microseconds / 1_000_000;
        let micros = self.microseconds % 1_000_000;
        if self.microseconds > 0 || parts.is_empty() {
            let mut time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            if micros > 0 {
                time.push_str(format!(".{micros:06}").trim_end_matches('0'));
            }
            parts.push(time);
        }
        f.write_str(&parts.join(" "))
    }
}

/// The end of the UTC day of a time: times of writing are kept by the day, so that a subject that is written often
/// is not noted with every write. Nothing is kept for less time because of it.
#[must_use]
pub const fn end_of_day(time: Timestamp) -> Timestamp {
    let days = (time.get() / NANOSECONDS_PER_DAY).saturating_add(1);
    Timestamp::new(days.saturating_mul(NANOSECONDS_PER_DAY))
}

/// Adds calendar months to a day counted from 1970-01-01, by the days-from-civil algorithms of H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms".
fn add_months(day: u64, months: u32) -> u64 {
    const DAYS_0000_TO_1970: u64 = 719_468;
    let shifted = day + DAYS_0000_TO_1970;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months are counted from March here, so that the leap day is the last of its year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5;
    let total = (era * 400 + year_of_era) * 12 + month_from_march + u64::from(months);
    let (year, month_from_march) = (total / 12, total % 12);
    let day_of_month = day_of_month.min(days_in(year, month_from_march) - 1);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day_of_month;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - DAYS_0000_TO_1970
}

/// How many days a month has; months and years count from March.
fn days_in(year: u64, month_from_march: u64) -> u64 {
    // February of a year that begins in March belongs to the calendar year after it.
    let calendar_year = year + 1;
    let leap =
        calendar_year.is_multiple_of(4) && (!calendar_year.is_multiple_of(100) || calendar_year.is_multiple_of(400));
    match month_from_march {
        11 => 28 + u64::from(leap),
        1 | 3 | 6 | 8 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since the epoch, from `date -u -d … +%s`.
    const fn seconds(seconds: u64) -> Timestamp {
        Timestamp::new(seconds * 1_000_000_000)
    }

    const fn months(months: u32) -> Retention {
        Retention {
            months,
            days: 0,
            microseconds: 0,
        }
    }

    #[test]
    fn time_is_added_by_the_calendar() {
        for (start, retention, end) in [
            // 2026-11-21 13:00:00 + 10 years = 2036-11-21 13:00:00
            (1_795_266_000, months(120), 2_110_885_200),
            // 2024-01-31 + 1 month = 2024-02-29
            (1_706_659_200, months(1), 1_709_164_800),
            // 2023-01-31 + 1 month = 2023-02-28
            (1_675_123_200, months(1), 1_677_542_400),
            // 2024-02-29 + 1 year = 2025-02-28
            (1_709_164_800, months(12), 1_740_700_800),
            // 1970-01-01 + 0
            (0, months(0), 0),
            // 2026-11-21 13:00:00 + 2 days and a second
            (
                1_795_266_000,
                Retention {
                    months: 0,
                    days: 2,
                    microseconds: 1_000_000,
                },
                1_795_438_801,
            ),
        ] {
            assert_eq!(retention.after(seconds(start)), seconds(end), "{start} + {retention}");
        }
    }

    #[test]
    fn time_ends_where_timestamps_do() {
        assert_eq!(months(u32::MAX).after(seconds(0)), Timestamp::new(u64::MAX));
        let longest = Retention {
            months: u32::MAX,
            days: u32::MAX,
            microseconds: u64::MAX,
        };
        assert_eq!(longest.after(Timestamp::new(u64::MAX)), Timestamp::new(u64::MAX));
        assert_eq!(end_of_day(Timestamp::new(u64::MAX)), Timestamp::new(u64::MAX));
        assert_eq!(end_of_day(seconds(0)), seconds(86_400));
        assert_eq!(end_of_day(seconds(86_399)), seconds(86_400));
    }

    #[test]
    fn spans_show_as_postgresql_shows_them() {
        for (retention, text) in [
            (Retention::default(), "00:00:00"),
            (months(120), "10 years"),
            (months(15), "1 year 3 mons"),
            (
                Retention {
                    months: 0,
                    days: 1,
                    microseconds: 3_600_500_000,
                },
                "1 day 01:00:00.5",
            ),
        ] {
            assert_eq!(retention.to_string(), text);
        }
    }

    #[test]
    fn subjects_are_named_by_numbers_texts_and_uuids() {
        assert_eq!(subject_name(&Value::Int(42)).as_deref(), Some("42"));
        assert_eq!(subject_name(&Value::Text("p-7".into())).as_deref(), Some("p-7"));
        assert_eq!(
            subject_name(&Value::Uuid([0x11; 16])).as_deref(),
            Some("11111111-1111-1111-1111-111111111111")
        );
        assert_eq!(subject_name(&Value::Null), None);
        assert_eq!(subject_name(&Value::Bool(true)), None);
    }
}
