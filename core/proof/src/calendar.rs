//! Times as text, computed without a clock or a time zone (proleptic Gregorian calendar, UTC).

use craton_types::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// `2026-11-21T10:15:30.123456789Z` (RFC 3339).
#[must_use]
pub fn timestamp_text(timestamp: Timestamp) -> String {
    let seconds = (timestamp.get() / 1_000_000_000).cast_signed();
    let nanos = timestamp.get() % 1_000_000_000;
    format!(
        "{}T{}.{nanos:09}Z",
        date_text(seconds.div_euclid(SECONDS_PER_DAY)),
        clock_text(seconds.rem_euclid(SECONDS_PER_DAY))
    )
}

/// `2026-11-21 10:15:30.123456` for microseconds since the Unix epoch.
pub(crate) fn date_time_text(micros: i64) -> String {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let date = date_text(seconds.div_euclid(SECONDS_PER_DAY));
    let micros_of_day = micros.rem_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY);
    format!("{date} {}", time_text(micros_of_day))
}

/// `10:15:30.123456` for microseconds since midnight; without the fraction when it is zero.
pub(crate) fn time_text(micros: i64) -> String {
    let clock = clock_text(micros.div_euclid(MICROS_PER_SECOND));
    match micros.rem_euclid(MICROS_PER_SECOND) {
        0 => clock,
        fraction => format!("{clock}.{fraction:06}"),
    }
}

/// `2026-11-21` for days since 1970-01-01; years outside 0..=9999 carry a sign (ISO 8601).
pub(crate) fn date_text(days: i64) -> String {
    // Count from 1 March of year 0, so that a leap day is the last day of its year. Eras have 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 30.6 days on average, which integer arithmetic distributes rightly.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if (0..=9_999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+05}-{month:02}-{day:02}")
    }
}

fn clock_text(seconds: i64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (20_778, "2026-11-21"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
        ] {
            assert_eq!(date_text(days), text, "{days}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = |year: i64| {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut days = -719_528;
        for year in 0..=2_400 {
            for (month, length) in (1..).zip(lengths(year)) {
                assert_eq!(date_text(days), format!("{year:04}-{month:02}-01"));
                days += length;
                assert_eq!(date_text(days - 1), format!("{year:04}-{month:02}-{length:02}"));
            }
        }
    }

    #[test]
    fn times() {
        assert_eq!(timestamp_text(Timestamp::ZERO), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            timestamp_text(Timestamp::new(1_795_256_130_123_456_789)),
            "2026-11-21T10:15:30.123456789Z"
        );
        assert_eq!(
            timestamp_text(Timestamp::new(u64::MAX)),
            "2554-07-21T23:34:33.709551615Z"
        );
        assert_eq!(time_text(0), "00:00:00");
        assert_eq!(time_text(36_930_000_001), "10:15:30.000001");
        assert_eq!(date_time_text(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(date_time_text(86_400_000_000), "1970-01-02 00:00:00");
    }
}
