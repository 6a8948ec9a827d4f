//! Parameters: their inferred types, their values, and plans that are used again.

use craton_types::{ColumnType, Value};

use super::database::{Database, show, show_error};
use craton_query::PlanKind;

fn db() -> Database {
    Database::with(
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(3), at timestamptz, n numeric(5,2), f real, b bytea);
         INSERT INTO t VALUES (1, 'a', '2024-01-01', 1, 1, '\\x01'), (2, 'b', null, 2, 2, '\\x02');",
    )
}

#[test]
fn types_are_inferred_from_where_a_parameter_stands() {
    use ColumnType::*;
    let numeric = Numeric {
        precision_and_scale: None,
    };
    let db = db();
    for (sql, expect) in [
        ("SELECT * FROM t WHERE id = $1", vec![Int8]),
        (
            "SELECT * FROM t WHERE $1 < id AND v LIKE $2 AND n > $3",
            vec![Int8, Text, numeric],
        ),
        (
            "SELECT * FROM t WHERE id IN ($1, $2) AND at BETWEEN $3 AND now()",
            vec![Int8, Int8, TimestampTz],
        ),
        (
            "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6)",
            vec![Int8, Text, TimestampTz, numeric, Float4, Bytea],
        ),
        ("UPDATE t SET v = $2, f = $3 WHERE id = $1", vec![Int8, Text, Float4]),
        ("SELECT $1", vec![Text]),
        ("SELECT $1::int, CAST($2 AS date)", vec![Int4, Date]),
        ("SELECT $1 + 1, $2 || 'x', 2.5 * $3", vec![Int4, Text, numeric]),
        (
            "SELECT lower($1), coalesce($2, 1), round($3, $4)",
            vec![Text, Int4, numeric, Int4],
        ),
        ("SELECT * FROM t LIMIT $1 OFFSET $2", vec![Int8, Int8]),
        ("SELECT * FROM t AS OF POSITION $1 WHERE id = $2", vec![Int8, Int8]),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF $1", vec![TimestampTz]),
        ("SELECT craton_receipt('t', $1)", vec![Int8]),
        (
            "SELECT $1 IS NULL, $2 = $3, CASE WHEN $4 THEN 1 ELSE $5 END",
            vec![Text, Text, Text, Bool, Int4],
        ),
        ("SELECT $3", vec![Text, Text, Text]),
        ("SELECT id FROM t WHERE id = $1 AND v = $1::text", vec![Int8]),
    ] {
        match db.plan(sql, &[]) {
            Ok(plan) => assert_eq!(plan.parameter_types(), expect, "{sql}"),
            Err(error) => panic!("{sql}: {error}"),
        }
    }
    let plan = db.plan("SELECT * FROM t WHERE id = $1", &[Some(Int4)]).expect("plans");
    assert_eq!(plan.parameter_types(), [Int4], "what the client told stays");
    let plan = db
        .plan("SELECT * FROM t WHERE v = $1", &[None, Some(Varchar { length_max: 1 })])
        .expect("plans");
    assert_eq!(plan.parameter_types(), [Text, Text]);
    for (sql, expect) in [
        ("SELECT $0", "42601: there is no parameter $0"),
        (
            "SELECT $65536",
            "54000: a statement cannot have more than 65535 parameters",
        ),
    ] {
        assert_eq!(show_error(&db.plan(sql, &[]).expect_err(sql)), expect);
    }
    assert_eq!(
        db.plan("SELECT $65535", &[])
            .expect("the last one")
            .parameter_types()
            .len(),
        65_535
    );
}

#[test]
fn a_plan_is_made_once_and_executed_many_times() {
    let mut db = db();
    let insert = db.plan("INSERT INTO t (id, v) VALUES ($1, $2)", &[]).expect("plans");
    let select = db.plan("SELECT v FROM t WHERE id = $1", &[]).expect("plans");
    let (PlanKind::Write(insert), PlanKind::Select(select)) = (insert.kind(), select.kind()) else {
        panic!("kinds")
    };
    for id in 10..20 {
        let values = [Value::Int(id), Value::Text(format!("v{id}"))];
        let set = craton_query::execute_write(insert, &db, &db.context(&values)).expect("writes");
        assert_eq!(set.tag, "INSERT 0 1");
        db.apply(set.writes).expect("applies");
        let values = [Value::Int(id)];
        db.rows_read.set(0);
        let result = craton_query::execute_select(select, &db, &db.context(&values)).expect("reads");
        assert_eq!(show(&result), format!("v{id}"));
        assert_eq!(db.rows_read.get(), 1);
    }
    let none = craton_query::execute_select(select, &db, &db.context(&[Value::Null])).expect("reads");
    assert_eq!(none.rows.len(), 0);
}

#[test]
fn values_are_checked_against_their_types() {
    let db = db();
    let plan = db
        .plan("SELECT v FROM t WHERE id = $1 AND at < $2", &[])
        .expect("plans");
    let PlanKind::Select(select) = plan.kind() else {
        panic!("a query is expected")
    };
    for (values, expect) in [
        (
            vec![],
            "08P01: bind message supplies 0 parameters, but the statement requires 2",
        ),
        (
            vec![Value::Text("1".to_owned()), Value::Null],
            "42804: a parameter's value is not of type bigint",
        ),
        (
            vec![Value::Int(1), Value::TimestampTz(i64::MAX)],
            "22008: timestamp with time zone out of range",
        ),
    ] {
        let error = craton_query::execute_select(select, &db, &db.context(&values)).expect_err(expect);
        assert_eq!(show_error(&error), expect);
    }
    let plan = db.plan("INSERT INTO t (id, v) VALUES ($1, $2)", &[]).expect("plans");
    let PlanKind::Write(write) = plan.kind() else {
        panic!("a write is expected")
    };
    for (text, expect) in [
        ("abcd", "22001: value too long for type character varying(3)"),
        ("a\0", "22021: invalid byte sequence for encoding \"UTF8\": 0x00"),
    ] {
        let values = [Value::Int(9), Value::Text(text.to_owned())];
        let error = craton_query::execute_write(write, &db, &db.context(&values)).expect_err(expect);
        assert_eq!(show_error(&error), expect);
    }
}

#[test]
fn plans_know_whether_their_tables_are_still_there() {
    let mut db = db();
    let plan = db.plan("SELECT * FROM t", &[]).expect("plans");
    assert!(plan.is_current(&db));
    db.check("DROP TABLE t", "DROP TABLE");
    assert!(!plan.is_current(&db));
    db.check("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE");
    assert!(!plan.is_current(&db));
}
