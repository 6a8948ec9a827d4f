//! Every bound at its edge.

use craton_query::{PlanKind, limits};

use super::database::Database;

#[test]
fn columns_are_bounded() {
    let table = |count: usize| {
        let columns: Vec<String> = (1..count).map(|index| format!("c{index} int")).collect();
        format!("CREATE TABLE t (id int PRIMARY KEY, {})", columns.join(", "))
    };
    let mut db = Database::new();
    db.check(
        &table(limits::COLUMNS_MAX + 1),
        "54011: tables can have at most 1600 columns",
    );
    db.check(&table(limits::COLUMNS_MAX), "CREATE TABLE");
    db.check("INSERT INTO t (id) VALUES (1)", "INSERT 0 1");
    db.check("SELECT c1599 FROM t", "null");
    db.check(
        "SELECT *, * FROM t",
        "54011: target lists can have at most 1664 entries",
    );
}

#[test]
fn key_columns_are_bounded() {
    let table = |count: usize| {
        let columns: Vec<String> = (0..count).map(|index| format!("c{index}")).collect();
        format!(
            "CREATE TABLE t ({} int, PRIMARY KEY ({}))",
            columns.join(" int, "),
            columns.join(", ")
        )
    };
    let mut db = Database::new();
    db.check(
        &table(limits::KEY_COLUMNS_MAX + 1),
        "54011: a primary key cannot have more than 32 columns",
    );
    db.check(&table(limits::KEY_COLUMNS_MAX), "CREATE TABLE");
}

#[test]
fn names_are_bounded_and_never_cut() {
    let mut db = Database::new();
    let name = "n".repeat(limits::NAME_BYTES_MAX);
    db.check(&format!("CREATE TABLE {name} (id int PRIMARY KEY)"), "CREATE TABLE");
    db.check(
        &format!("CREATE TABLE {name}n (id int PRIMARY KEY)"),
        "54000: a name cannot be longer than 63 bytes",
    );
    db.check(
        "SELECT 1 AS \"\"",
        "42601: a name must not be empty or hold a zero byte",
    );
}

#[test]
fn expressions_nest_to_a_bound() {
    // The literal is a level of its own.
    let parentheses = |levels: usize| format!("SELECT {}1{}", "(".repeat(levels), ")".repeat(levels));
    let sum = |levels: usize| format!("SELECT 1{}", " + 1".repeat(levels));
    let mut db = Database::new();
    let most = limits::EXPRESSION_DEPTH_MAX - 1;
    db.check(&parentheses(most), "1");
    db.check(&parentheses(most + 1), "54001: the statement is nested too deeply");
    db.check(&sum(most), "128");
    db.check(&sum(most + 1), "54001: the statement is nested too deeply");
    // Chains of one logical operator are one level, however long.
    let chain = |operator: &str| format!("SELECT true{}", format!(" {operator} true").repeat(1_900));
    db.check(&chain("AND"), "t");
    db.check(&chain("OR"), "t");
    // Statements do not nest at all.
    for nesting in [
        "EXPLAIN ",
        "PREPARE x AS ",
        "BEGIN ",
        "IF true THEN ",
        "WITH x AS (",
        "CREATE VIEW v AS EXPLAIN ",
    ] {
        let answer = db.answer(&format!("{}SELECT 1", nesting.repeat(10_000 / nesting.len())));
        assert!(
            ["42601", "0A000", "54001"].contains(&&answer[..5]),
            "{nesting}: {answer}"
        );
    }
}

#[test]
fn memory_is_bounded() {
    let mut db = Database::with("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let rows: Vec<String> = (0..2_000).map(|id| format!("({id}, '{}')", "x".repeat(100))).collect();
    db.check(&format!("INSERT INTO t VALUES {}", rows.join(", ")), "INSERT 0 2000");
    db.memory_bytes_max = 100_000;
    for sql in [
        "SELECT * FROM t",
        "SELECT id FROM t ORDER BY v, id",
        "SELECT v, id, count(*) FROM t GROUP BY v, id LIMIT 1",
        "SELECT DISTINCT v, id FROM t LIMIT 2000",
        "SELECT count(DISTINCT v || id) FROM t",
        "UPDATE t SET v = v || 'y'",
        "DELETE FROM t",
        "DELETE FROM t WHERE id < 500 RETURNING v",
        "INSERT INTO t SELECT id + 10000, v FROM t",
        "COPY t TO STDOUT",
    ] {
        let answer = db.answer(sql);
        assert!(
            answer.starts_with("53200: the statement needs more memory"),
            "{sql}: {}",
            &answer[..60.min(answer.len())]
        );
    }
    // What is not kept is not counted.
    for (sql, expect) in [
        ("SELECT count(*), max(v) IS NULL FROM t", "2000|f"),
        ("SELECT id FROM t LIMIT 1 OFFSET 1999", "1999"),
        ("SELECT count(*) FROM t GROUP BY v", "2000"),
        ("DELETE FROM t WHERE id < 10", "DELETE 10"),
    ] {
        db.check(sql, expect);
    }
    db.memory_bytes_max = 1_000_000;
    db.check("SELECT id FROM t ORDER BY v, id DESC LIMIT 1 OFFSET 2", "1997");
}

#[test]
fn keys_are_bounded() {
    let mut db = Database::with("CREATE TABLE t (id text PRIMARY KEY)");
    let longest = "x".repeat(2_045);
    db.check(&format!("INSERT INTO t VALUES ('{longest}')"), "INSERT 0 1");
    db.check(
        &format!("INSERT INTO t VALUES ('{longest}x')"),
        "54000: the primary key takes 2049 bytes, more than 2048",
    );
    db.check(&format!("SELECT count(*) FROM t WHERE id = '{longest}'"), "1");
    db.check(&format!("SELECT count(*) FROM t WHERE id = '{longest}x'"), "0");
}

#[test]
fn long_lists_are_filtered_when_they_are_too_many_keys() {
    let mut db = Database::with(
        "CREATE TABLE t (a int, b int, PRIMARY KEY (a, b)); INSERT INTO t VALUES (1, 1), (1, 2), (2, 1)",
    );
    let list = |count: i32| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    for (a, b) in [(64, 64), (64, 65), (4_096, 1), (4_097, 1)] {
        let sql = format!("SELECT count(*) FROM t WHERE a IN ({}) AND b IN ({})", list(a), list(b));
        let expect = if b == 1 { "2" } else { "3" };
        db.check(&sql, expect);
    }
    let plan = db
        .plan(&format!("SELECT 1 FROM t WHERE a IN ({})", list(4_097)), &[])
        .expect("plans");
    assert!(matches!(plan.kind(), PlanKind::Select(_)));
}
