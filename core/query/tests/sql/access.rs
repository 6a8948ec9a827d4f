//! Access paths: which keys are read, and when reading stops.

use super::database::Database;

fn visits() -> Database {
    let mut db = Database::with(
        "CREATE TABLE visits (clinic text, day date, room int, note text, PRIMARY KEY (clinic, day, room))",
    );
    for clinic in ["a", "b", "c"] {
        for day in 1..=9 {
            for room in 1..=3 {
                let sql = format!("INSERT INTO visits VALUES ('{clinic}', '2024-01-0{day}', {room}, 'n{room}')");
                assert_eq!(db.answer(&sql), "INSERT 0 1");
            }
        }
    }
    db
}

/// The access path of a condition, and how many rows it reads of 81.
#[test]
fn conditions_on_the_key_read_only_what_they_name() {
    let mut db = visits();
    for (condition, path, rows_read, rows_out) in [
        ("true", "Scan on visits", 81, 81),
        ("note = 'n1'", "Scan on visits", 81, 27),
        ("clinic = 'b'", "Key Range Scan on visits by (clinic)", 27, 27),
        (
            "'b' = clinic AND day = '2024-01-05'",
            "Key Range Scan on visits by (clinic, day)",
            3,
            3,
        ),
        (
            "clinic = 'b' AND day = '2024-01-05' AND room = 2",
            "Key Lookup on visits by (clinic, day, room)",
            1,
            1,
        ),
        (
            "room = 2 AND day = '2024-01-05' AND clinic = 'b' AND note = 'x'",
            "Key Lookup on visits by (clinic, day, room)",
            1,
            0,
        ),
        (
            "clinic = 'b' AND day > '2024-01-07'",
            "Key Range Scan on visits by (clinic, day)",
            6,
            6,
        ),
        (
            "clinic = 'b' AND day >= '2024-01-07' AND day < '2024-01-08'",
            "Key Range Scan on visits by (clinic, day)",
            3,
            3,
        ),
        (
            "clinic = 'b' AND day BETWEEN '2024-01-02' AND '2024-01-03'",
            "Key Range Scan on visits by (clinic, day)",
            6,
            6,
        ),
        ("clinic > 'a'", "Key Range Scan on visits by (clinic)", 54, 54),
        ("clinic <= 'a'", "Key Range Scan on visits by (clinic)", 27, 27),
        (
            "clinic < 'b' AND clinic > 'b'",
            "Key Range Scan on visits by (clinic)",
            0,
            0,
        ),
        (
            "clinic IN ('c', 'a', 'c', null)",
            "Key Range Scan on visits by (clinic)",
            54,
            54,
        ),
        (
            "clinic IN ('c', 'a') AND day = '2024-01-05' AND room IN (1, 9)",
            "Key Lookup on visits by (clinic, day, room)",
            4,
            2,
        ),
        ("clinic = null", "Key Range Scan on visits by (clinic)", 0, 0),
        ("clinic > null", "Key Range Scan on visits by (clinic)", 0, 0),
        ("NOT clinic IN ('a', null)", "Scan on visits", 81, 0),
        (
            "clinic = lower('B') AND day = DATE '2024-01-01' + 1",
            "Key Range Scan on visits by (clinic, day)",
            3,
            3,
        ),
        ("clinic = 'b' OR clinic = 'c'", "Scan on visits", 81, 54),
        (
            "clinic = 'b' AND (room = 1 OR room = 2)",
            "Key Range Scan on visits by (clinic)",
            27,
            18,
        ),
        ("clinic = note", "Scan on visits", 81, 0),
        ("day = '2024-01-05'", "Scan on visits", 81, 9),
        (
            "clinic = 'b' AND day = TIMESTAMP '2024-01-05 00:00'",
            "Key Range Scan on visits by (clinic)",
            27,
            3,
        ),
        (
            "clinic = 'b' AND day = '2024-01-05' AND room = 1.0",
            "Key Range Scan on visits by (clinic, day)",
            3,
            1,
        ),
        (
            "clinic = 'b' AND day = '2024-01-05' AND room = 99999999999",
            "Key Lookup on visits by (clinic, day, room)",
            1,
            0,
        ),
        ("NOT clinic = 'b'", "Scan on visits", 81, 54),
        ("clinic <> 'b'", "Scan on visits", 81, 54),
    ] {
        let explained = db.answer(&format!("EXPLAIN SELECT * FROM visits WHERE {condition}"));
        assert_eq!(explained.lines().next(), Some(path), "{condition}");
        let answer = db.answer(&format!("SELECT * FROM visits WHERE {condition}"));
        assert_eq!(answer.lines().count(), rows_out, "{condition}: {answer}");
        assert_eq!(db.rows_read.get(), rows_read, "{condition}");
        let count = db.answer(&format!("SELECT count(*) FROM visits WHERE {condition}"));
        assert_eq!(count, rows_out.to_string(), "{condition}");
        // The same rows without the key's help.
        let slow = db.answer(&format!("SELECT count(*) FROM visits WHERE ({condition}) IS TRUE"));
        assert_eq!(slow, rows_out.to_string(), "{condition}");
    }
}

#[test]
fn key_order_needs_no_sort_and_stops_early() {
    let mut db = visits();
    for (query, sorts, first, rows_read) in [
        ("ORDER BY clinic LIMIT 1", false, "a|2024-01-01|1|n1", 1),
        ("ORDER BY clinic DESC LIMIT 1", false, "c|2024-01-09|3|n3", 1),
        (
            "ORDER BY clinic, day, room, note LIMIT 1",
            false,
            "a|2024-01-01|1|n1",
            1,
        ),
        ("ORDER BY clinic DESC, day DESC LIMIT 1", false, "c|2024-01-09|3|n3", 1),
        (
            "WHERE clinic = 'b' ORDER BY day DESC LIMIT 1",
            false,
            "b|2024-01-09|3|n3",
            1,
        ),
        (
            "WHERE clinic = 'b' ORDER BY clinic DESC, day LIMIT 1",
            false,
            "b|2024-01-01|1|n1",
            1,
        ),
        (
            "WHERE clinic = 'b' AND day = '2024-01-04' ORDER BY room DESC LIMIT 1",
            false,
            "b|2024-01-04|3|n3",
            1,
        ),
        (
            "WHERE clinic IN ('c', 'b') ORDER BY clinic DESC LIMIT 1",
            false,
            "c|2024-01-09|3|n3",
            1,
        ),
        ("WHERE note = 'n3' LIMIT 1", false, "a|2024-01-01|3|n3", 3),
        ("LIMIT 1 OFFSET 2", false, "a|2024-01-01|3|n3", 3),
        ("ORDER BY clinic, day DESC LIMIT 1", true, "a|2024-01-09|1|n1", 81),
        ("ORDER BY day LIMIT 1", true, "a|2024-01-01|1|n1", 81),
        ("ORDER BY note DESC LIMIT 1", true, "a|2024-01-01|3|n3", 81),
    ] {
        let explained = db.answer(&format!("EXPLAIN SELECT * FROM visits {query}"));
        assert_eq!(explained.contains("Sort"), sorts, "{query}: {explained}");
        let answer = db.answer(&format!("SELECT * FROM visits {query}"));
        assert_eq!(answer, first, "{query}");
        // The in-memory source reads backward scans as a whole; forward ones show the early stop.
        if !explained.contains("backward") {
            assert_eq!(db.rows_read.get(), rows_read, "{query}");
        }
    }
}

#[test]
fn keys_of_every_type_are_found() {
    for (column_type, low, middle, high) in [
        ("bool", "false", "true", "true"),
        ("smallint", "-5", "0", "7"),
        ("bigint", "-9223372036854775808", "0", "9223372036854775807"),
        ("real", "-1.5", "0", "3e10"),
        ("float8", "'-Infinity'", "-0.0", "'NaN'"),
        ("text", "''", "'a'", "'aa'"),
        ("varchar(5)", "'a'", "'ab'", "'b'"),
        ("bytea", "'\\x'", "'\\x00'", "'\\x0001'"),
        ("date", "'0001-01-01'", "'1970-01-01'", "'9999-12-31'"),
        ("time", "'00:00'", "'12:00'", "'24:00'"),
        ("timestamp", "'0001-01-01'", "'1970-01-01'", "'2024-01-01 10:00'"),
        ("timestamptz", "'0001-01-01'", "'1970-01-01'", "'2024-01-01 10:00'"),
        (
            "uuid",
            "'00000000-0000-0000-0000-000000000000'",
            "'0f000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ),
    ] {
        let mut db = Database::with(&format!("CREATE TABLE k (id {column_type} PRIMARY KEY, n int)"));
        for (n, value) in [(1, low), (2, middle), (3, high)] {
            db.answer(&format!("INSERT INTO k VALUES ({value}, {n}) ON CONFLICT DO NOTHING"));
        }
        let count = if column_type == "bool" { 2 } else { 3 };
        db.check(&format!("SELECT n FROM k WHERE id = {low}"), "1");
        assert!(
            db.rows_read.get() <= 1 || column_type == "real" || column_type == "float8",
            "{column_type}"
        );
        db.check(&format!("SELECT n FROM k WHERE id = {middle}"), "2");
        db.check(&format!("SELECT count(*) FROM k WHERE id >= {low}"), &count.to_string());
        db.check(
            &format!("SELECT count(*) FROM k WHERE id > {low}"),
            &(count - 1).to_string(),
        );
        db.check(&format!("SELECT count(*) FROM k WHERE id < {middle}"), "1");
        db.check("SELECT n FROM k ORDER BY id LIMIT 2", "1\n2");
    }
}
