//! `SELECT` over one table.

use super::database::Database;

fn people() -> Database {
    Database::with(
        "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, city text, age int, height numeric(4,2));
         INSERT INTO people VALUES
            (1, 'Ada', 'London', 36, 1.65), (2, 'Blaise', 'Paris', 39, 1.80), (3, 'Carl', 'Paris', null, 1.75),
            (4, 'Emmy', null, 53, null), (5, 'Alan', 'London', 41, 1.79);",
    )
}

#[test]
fn rows_are_selected_and_shown() {
    let mut db = people();
    for (sql, expect) in [
        ("SELECT * FROM people WHERE id = 1", "1|Ada|London|36|1.65"),
        (
            "SELECT name, age + 1 AS next FROM people WHERE age < 40",
            "Ada|37\nBlaise|40",
        ),
        ("SELECT p.name FROM people p WHERE p.id = 2", "Blaise"),
        ("SELECT p.* FROM people AS p WHERE p.id = 4", "4|Emmy|null|53|null"),
        ("SELECT people.name FROM public.people WHERE people.id = 2", "Blaise"),
        (
            "SELECT people.name FROM people p",
            "42P01: missing FROM-clause entry for table \"people\"",
        ),
        ("SELECT name FROM people WHERE city IS NULL", "Emmy"),
        (
            "SELECT name FROM people WHERE city = 'Paris' AND age IS NULL OR id = 1",
            "Ada\nCarl",
        ),
        ("SELECT name FROM people WHERE name LIKE 'A%'", "Ada\nAlan"),
        (
            "SELECT name FROM people WHERE age > 36 ORDER BY age DESC",
            "Emmy\nAlan\nBlaise",
        ),
        ("SELECT id FROM people ORDER BY age", "1\n2\n5\n4\n3"),
        ("SELECT id FROM people ORDER BY age DESC", "3\n4\n5\n2\n1"),
        ("SELECT id FROM people ORDER BY age NULLS FIRST", "3\n1\n2\n5\n4"),
        ("SELECT id FROM people ORDER BY city, name DESC", "5\n1\n3\n2\n4"),
        ("SELECT name AS n FROM people ORDER BY n LIMIT 2", "Ada\nAlan"),
        (
            "SELECT name, length(name) FROM people ORDER BY 2 DESC, 1 LIMIT 2",
            "Blaise|6\nAlan|4",
        ),
        (
            "SELECT id FROM people ORDER BY 2",
            "42P10: ORDER BY position 2 is not in select list",
        ),
        ("SELECT id FROM people ORDER BY -id LIMIT 2 OFFSET 1", "4\n3"),
        ("SELECT id FROM people LIMIT 2 OFFSET 3", "4\n5"),
        ("SELECT id FROM people OFFSET 4", "5"),
        ("SELECT id FROM people LIMIT 0", ""),
        ("SELECT id FROM people LIMIT ALL OFFSET 4", "5"),
        ("SELECT id FROM people LIMIT null OFFSET 4", "5"),
        ("SELECT id FROM people FETCH FIRST 2 ROWS ONLY", "1\n2"),
        ("SELECT id FROM people LIMIT -1", "2201W: LIMIT must not be negative"),
        ("SELECT id FROM people OFFSET -1", "2201X: OFFSET must not be negative"),
        ("SELECT DISTINCT city FROM people", "London\nParis\nnull"),
        (
            "SELECT DISTINCT city FROM people ORDER BY city DESC NULLS LAST LIMIT 1",
            "Paris",
        ),
        (
            "SELECT DISTINCT city FROM people ORDER BY age",
            "42P10: for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        ),
        ("SELECT 1 WHERE false", ""),
        ("SELECT 1, 2 AS b", "1|2"),
        ("SELECT FROM people WHERE id = 1", ""),
        ("SELECT nope FROM people", "42703: column \"nope\" does not exist"),
        ("SELECT p.nope FROM people p", "42703: column p.nope does not exist"),
        ("SELECT * FROM nope", "42P01: relation \"nope\" does not exist"),
        ("SELECT *", "42601: SELECT * with no tables specified is not valid"),
        (
            "SELECT 1 FROM people WHERE id",
            "42804: argument of WHERE must be type boolean, not type integer",
        ),
        ("SELECT \"Name\" FROM people", "42703: column \"Name\" does not exist"),
        ("SELECT NAME FROM PEOPLE WHERE ID = 1", "Ada"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn groups_and_aggregates() {
    let mut db = people();
    for (sql, expect) in [
        ("SELECT count(*), count(age), count(DISTINCT city) FROM people", "5|4|2"),
        (
            "SELECT sum(age), avg(age), min(name), max(height) FROM people",
            "169|42.2500000000000000|Ada|1.80",
        ),
        (
            "SELECT count(*), sum(age), avg(age), min(age) FROM people WHERE false",
            "0|null|null|null",
        ),
        (
            "SELECT city, count(*) FROM people GROUP BY city",
            "London|2\nParis|2\nnull|1",
        ),
        (
            "SELECT city AS c, count(*) n FROM people GROUP BY c ORDER BY n DESC, c LIMIT 2",
            "London|2\nParis|2",
        ),
        (
            "SELECT city FROM people GROUP BY 1 HAVING count(*) > 1 ORDER BY 1",
            "London\nParis",
        ),
        (
            "SELECT upper(city), max(age) - min(age) FROM people GROUP BY upper(city) ORDER BY 1",
            "LONDON|5\nPARIS|0\nnull|0",
        ),
        (
            "SELECT age / 10 * 10, count(*) FROM people WHERE age IS NOT NULL GROUP BY age / 10 ORDER BY age / 10",
            "30|2\n40|1\n50|1",
        ),
        ("SELECT count(*) FILTER (WHERE age > 38) FROM people", "3"),
        (
            "SELECT bool_and(age > 30), bool_or(age > 50), every(city = 'Paris') FROM people",
            "t|t|f",
        ),
        (
            "SELECT city, name FROM people GROUP BY city",
            "42803: column \"people.name\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        (
            "SELECT name FROM people HAVING true",
            "42803: column \"people.name\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        (
            "SELECT city FROM people GROUP BY city ORDER BY age",
            "42803: column \"people.age\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        (
            "SELECT 1 FROM people WHERE count(*) > 1",
            "42803: aggregate functions are not allowed in WHERE",
        ),
        (
            "SELECT sum(count(*)) FROM people",
            "42803: aggregate functions are not allowed in an aggregate function's argument",
        ),
        (
            "SELECT count(*) FROM people GROUP BY count(*)",
            "42803: aggregate functions are not allowed in GROUP BY",
        ),
        (
            "SELECT sum(name) FROM people",
            "42883: function sum(text) does not exist",
        ),
        ("SELECT sum(2147483647) + 1 FROM people", "10737418236"),
        (
            "SELECT sum(9223372036854775807), avg(9223372036854775807) FROM people",
            "46116860184273879035|9223372036854775807",
        ),
        (
            "SELECT sum(0.5::float4), avg(0.5::float4), sum(0.1::float8) FROM people",
            "2.5|0.5|0.5",
        ),
        (
            "SELECT count(*) FROM people GROUP BY city, city HAVING count(*) = 1",
            "1",
        ),
        ("SELECT DISTINCT count(*) FROM people GROUP BY city ORDER BY 1", "1\n2"),
        ("SELECT count(*) + 1, 'x' FROM people LIMIT 1", "6|x"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn columns_have_the_names_and_types_of_postgresql() {
    let db = people();
    for (sql, expect) in [
        (
            "SELECT *, 1 FROM people",
            "id:Int4 name:Text city:Text age:Int4 height:Numeric { precision_and_scale: Some((4, 2)) } ?column?:Int4",
        ),
        (
            "SELECT count(*), upper(name), age::text, 1::int8, age AS a FROM people GROUP BY name, age",
            "count:Int8 upper:Text age:Text int8:Int8 a:Int4",
        ),
        (
            "SELECT true, CASE WHEN true THEN 1 END, 'x', now(), current_user",
            "bool:Bool case:Int4 ?column?:Text now:TimestampTz current_user:Text",
        ),
    ] {
        let plan = db.plan(sql, &[]).expect(sql);
        let columns: Vec<String> = plan
            .columns()
            .expect("a query has columns")
            .iter()
            .map(|column| format!("{}:{:?}", column.name, column.column_type))
            .collect();
        assert_eq!(columns.join(" "), expect, "{sql}");
    }
}

#[test]
fn what_is_not_there_is_refused() {
    let mut db = people();
    for (sql, expect) in [
        (
            "SELECT 1 FROM people a, people b",
            "0A000: more than one table is not supported",
        ),
        (
            "SELECT 1 FROM people a JOIN people b ON true",
            "0A000: JOIN is not supported",
        ),
        (
            "SELECT 1 FROM (SELECT 1) x",
            "0A000: a subquery in FROM is not supported",
        ),
        ("SELECT 1 UNION SELECT 2", "0A000: UNION is not supported"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "0A000: WITH is not supported"),
        (
            "SELECT 1 FROM people FOR UPDATE",
            "0A000: FOR UPDATE and its kin is not supported",
        ),
        ("SELECT id INTO x FROM people", "0A000: SELECT INTO is not supported"),
        (
            "SELECT DISTINCT ON (city) city FROM people",
            "0A000: DISTINCT ON is not supported",
        ),
        (
            "SELECT city FROM people GROUP BY ROLLUP (city)",
            "0A000: the expression ROLLUP (city) is not supported",
        ),
        (
            "SELECT id FROM people WHERE id IN (SELECT 1)",
            "0A000: a subquery is not supported",
        ),
        (
            "SELECT * FROM people TABLESAMPLE BERNOULLI (1)",
            "0A000: TABLESAMPLE is not supported",
        ),
        ("VALUES (1)", "0A000: VALUES outside of INSERT is not supported"),
        (
            "SELECT count(*) OVER (ORDER BY id) FROM people",
            "0A000: a window function is not supported",
        ),
        ("TABLE people", "0A000: TABLE is not supported"),
        ("SELECT * FROM other.people", "42P01: schema \"other\" does not exist"),
        (
            "SELECT * FROM people AS p (a, b)",
            "0A000: a table alias with columns is not supported",
        ),
        (
            "SELECT * FROM generate_series(1, 2)",
            "42883: function generate_series() does not exist as a table",
        ),
        (
            "CREATE INDEX i ON people (name)",
            "0A000: CREATE INDEX is not supported",
        ),
        ("CREATE VIEW v AS SELECT 1", "0A000: CREATE VIEW is not supported"),
        (
            "ALTER TABLE people ADD COLUMN x int",
            "0A000: ALTER TABLE is not supported",
        ),
        ("TRUNCATE people", "0A000: TRUNCATE is not supported"),
        ("LISTEN x", "0A000: LISTEN is not supported"),
        ("GRANT SELECT ON people TO bob", "0A000: GRANT is not supported"),
        ("CREATE USER bob", "0A000: CREATE USER is not supported"),
        (
            "EXPLAIN ANALYZE SELECT 1",
            "0A000: an option of EXPLAIN is not supported",
        ),
        (
            "EXPLAIN (COSTS OFF) SELECT 1",
            "0A000: an option of EXPLAIN is not supported",
        ),
        ("EXPLAIN BEGIN", "0A000: EXPLAIN of this statement is not supported"),
        ("EXPLAIN EXPLAIN SELECT 1", "42601: syntax error at or near \"EXPLAIN\""),
        ("EXPLAIN", "42601: syntax error at end of input"),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql",
            "0A000: CREATE OR is not supported",
        ),
        ("DO $$ BEGIN END $$", "0A000: DO is not supported"),
        ("IF true THEN SELECT 1; END IF", "42601: syntax error at or near \"IF\""),
        ("DESCRIBE people", "42601: syntax error at or near \"DESCRIBE\""),
        ("VACUUM", "0A000: VACUUM is not supported"),
        ("PREPARE x AS SELECT 1", "0A000: PREPARE is not supported"),
        (
            "MERGE INTO people USING people AS p ON true WHEN MATCHED THEN DELETE",
            "0A000: MERGE is not supported",
        ),
    ] {
        let answer = db.answer(sql);
        assert!(answer.starts_with(expect), "{sql}: {answer}");
    }
}

#[test]
fn history_and_the_information_schema_are_tables_to_select_from() {
    let mut db = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; DELETE FROM t;",
    );
    db.check(
        "SELECT position, operation, actor, key, before, after FROM craton_history('t') ORDER BY position",
        "0|INSERT|ada|{\"id\":1}|null|{\"id\":1,\"v\":\"a\"}\n\
         1|UPDATE|ada|{\"id\":1}|{\"id\":1,\"v\":\"a\"}|{\"id\":1,\"v\":\"b\"}\n\
         2|DELETE|ada|{\"id\":1}|{\"id\":1,\"v\":\"b\"}|null",
    );
    db.check(
        "SELECT count(*) FROM craton_history('t') h WHERE h.operation = 'UPDATE'",
        "1",
    );
    db.check(
        "SELECT * FROM craton_history('nope')",
        "42P01: relation \"nope\" does not exist",
    );
    db.check(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        "t",
    );
    db.check(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns ORDER BY ordinal_position",
        "id|integer|NO\nv|text|YES",
    );
    let plan = db.plan("SELECT * FROM information_schema.tables", &[]).expect("plans");
    assert!(!plan.is_current(&db), "its rows were read when it was planned");
}
