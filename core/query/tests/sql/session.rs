//! Transactions, settings and time travel, as far as they are statements.

use craton_query::{AsOf, PlanKind};
use craton_types::Value;

use super::database::{Database, show_error};

#[test]
fn settings_are_set_shown_and_reset() {
    let mut db = Database::new();
    for (sql, expect) in [
        ("SHOW server_version", "16.0"),
        ("SET application_name = 'psql'; SHOW application_name", "SET\npsql"),
        (
            "SET SESSION application_name TO other; SHOW application_name",
            "SET\nother",
        ),
        ("RESET application_name; SHOW application_name", "RESET\n"),
        ("SET client_encoding TO 'UTF8'", "SET"),
        ("SET NAMES 'utf8'", "SET"),
        (
            "SET client_encoding = latin1",
            "22023: invalid value for parameter \"client_encoding\": \"latin1\"",
        ),
        ("SET datestyle TO ISO", "SET"),
        (
            "SET datestyle = 'German'",
            "22023: invalid value for parameter \"DateStyle\": \"German\"",
        ),
        ("SET extra_float_digits = 3; SHOW extra_float_digits", "SET\n3"),
        (
            "SET extra_float_digits = 4",
            "22023: invalid value for parameter \"extra_float_digits\": \"4\"",
        ),
        ("SET TIME ZONE 'UTC'; SHOW TIME ZONE", "SET\nUTC"),
        ("SET TIME ZONE DEFAULT", "SET"),
        (
            "SET TimeZone = 'Europe/Paris'",
            "22023: invalid value for parameter \"TimeZone\": \"Europe/Paris\"",
        ),
        (
            "SET search_path = public, \"$user\"; SHOW search_path",
            "SET\npublic, $user",
        ),
        ("SET statement_timeout = '2s'; SHOW statement_timeout", "SET\n2000"),
        (
            "SET statement_timeout = -1",
            "22023: invalid value for parameter \"statement_timeout\": \"-1\"",
        ),
        ("SET standard_conforming_strings = on", "SET"),
        (
            "SET standard_conforming_strings = off",
            "22023: invalid value for parameter \"standard_conforming_strings\": \"off\"",
        ),
        (
            "SET server_version = '1'",
            "55P02: parameter \"server_version\" cannot be changed",
        ),
        ("SET nope = 1", "42704: unrecognized configuration parameter \"nope\""),
        ("SHOW nope", "42704: unrecognized configuration parameter \"nope\""),
        ("SHOW TRANSACTION ISOLATION LEVEL", "serializable"),
        ("SET craton.as_of_position = 7; SHOW craton.as_of_position", "SET\n7"),
        (
            "SET craton.as_of_position = -7",
            "22023: invalid value for parameter \"craton.as_of_position\": \"-7\"",
        ),
        ("SET ROLE bob", "0A000: SET ROLE is not supported"),
    ] {
        db.check(sql, expect.trim_end());
    }
    assert_eq!(db.variables.as_of(), AsOf::Position(7));
    assert_eq!(db.variables.statement_timeout_ms(), 2_000);
    db.check("SET craton.as_of_position = DEFAULT", "SET");
    assert_eq!(db.variables.as_of(), AsOf::Now);
    db.check("SET default_transaction_read_only = on; RESET ALL", "SET\nRESET");
    assert!(!db.variables.default_read_only());
    assert!(db.answer("SHOW ALL").contains("server_encoding|UTF8|"));
}

#[test]
fn transactions_are_told_apart() {
    let db = Database::new();
    for (sql, tag, read_only) in [
        ("BEGIN", "BEGIN", None),
        ("BEGIN TRANSACTION READ ONLY", "BEGIN", Some(true)),
        ("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE", "BEGIN", Some(false)),
        (
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "START TRANSACTION",
            None,
        ),
    ] {
        let plan = db.plan(sql, &[]).expect(sql);
        let PlanKind::Begin(modes) = plan.kind() else {
            panic!("{sql}")
        };
        assert_eq!((plan.tag(), modes.read_only), (tag, read_only), "{sql}");
    }
    for (sql, tag) in [
        ("COMMIT", "COMMIT"),
        ("END", "COMMIT"),
        ("COMMIT WORK", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("ABORT", "ROLLBACK"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("DEALLOCATE x", "DEALLOCATE"),
        ("DEALLOCATE ALL", "DEALLOCATE ALL"),
        ("SET TRANSACTION READ ONLY", "SET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
        ("SET LOCAL statement_timeout = 0", "SET"),
    ] {
        let plan = db.plan(sql, &[]).expect(sql);
        assert_eq!(plan.tag(), tag, "{sql}");
        assert!(!plan.writes(), "{sql}");
        assert_eq!(plan.columns(), None, "{sql}");
    }
    for sql in [
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "COMMIT AND CHAIN",
        "PREPARE TRANSACTION 'x'",
    ] {
        let error = match db_plan(&db, sql) {
            Ok(()) => panic!("{sql} was planned"),
            Err(error) => error,
        };
        assert!(
            error.starts_with("0A000") || error.starts_with("42601"),
            "{sql}: {error}"
        );
    }
}

fn db_plan(db: &Database, sql: &str) -> Result<(), String> {
    let statements = craton_query::parse(sql).map_err(|error| show_error(&error))?;
    for statement in &statements {
        craton_query::plan(statement, db, &[]).map_err(|error| show_error(&error))?;
    }
    Ok(())
}

#[test]
fn time_travel_is_resolved_by_the_session() {
    let mut db = Database::with("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    for (sql, expect) in [
        ("SELECT id FROM t AS OF POSITION 5", "Position(5)\n1"),
        (
            "SELECT id FROM t AS OF POSITION 2 + 3 WHERE id = 1 LIMIT 1",
            "Position(5)\n1",
        ),
        ("SELECT x.id FROM t AS OF POSITION 5 AS x", "Position(5)\n1"),
        (
            "SELECT id FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '1970-01-01 00:00:01'",
            "Timestamp(1000000)\n1",
        ),
        (
            "SELECT id FROM t FOR SYSTEM_TIME AS OF '1970-01-01 01:00:01+01' WHERE id = 2",
            "Timestamp(1000000)",
        ),
        (
            "SELECT id FROM t FOR SYSTEM_TIME AS OF now() - interval '1 hour'",
            "Timestamp(1709206496789000)\n1",
        ),
        (
            "SELECT id FROM t AS OF POSITION -1",
            "22023: AS OF POSITION must not be negative",
        ),
        ("SELECT id FROM t AS OF POSITION null", "22023: AS OF must not be null"),
        (
            "SELECT id FROM t AS OF POSITION 1.5",
            "42804: argument of AS OF POSITION must be type bigint, not type numeric",
        ),
        (
            "SELECT id FROM t AS OF POSITION id",
            "42703: column \"id\" does not exist",
        ),
        (
            "SELECT id FROM t FOR SYSTEM_TIME AS OF 5",
            "42804: argument of FOR SYSTEM_TIME AS OF must be type timestamp with time zone, not type integer",
        ),
        (
            "DELETE FROM t AS OF POSITION 5",
            "25006: cannot execute DELETE while reading the past",
        ),
        (
            "INSERT INTO t SELECT id FROM t AS OF POSITION 5",
            "25006: cannot execute INSERT while reading the past",
        ),
        (
            "UPDATE t AS OF POSITION 5 SET id = 2",
            "25006: cannot execute UPDATE while reading the past",
        ),
    ] {
        db.check(sql, expect);
    }
    let plan = db.plan("SELECT id FROM t AS OF POSITION $1", &[]).expect("plans");
    assert!(plan.has_as_of());
    assert_eq!(plan.as_of(&db.context(&[Value::Int(3)])), Ok(AsOf::Position(3)));
    for (sql, expect) in [
        ("SELECT 1", Some(AsOf::Now)),
        ("SELECT * FROM dropped AS OF POSITION 4", Some(AsOf::Position(4))),
        ("SELECT * FROM dropped AS OF POSITION $1", None),
    ] {
        let statements = craton_query::parse(sql).expect("parses");
        assert_eq!(statements[0].constant_as_of(&db.context(&[])), Ok(expect), "{sql}");
    }
}
