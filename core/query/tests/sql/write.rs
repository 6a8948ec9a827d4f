//! `INSERT`, `UPDATE`, `DELETE`, what they check and what they propose to the kernel.

use craton_query::{InsertCheck, PlanKind};
use craton_types::{Expected, Offset, RowWrite, Value};

use super::database::{Database, show_error};

fn items() -> Database {
    Database::with(
        "CREATE TABLE items (id int PRIMARY KEY, name varchar(5) NOT NULL DEFAULT 'none', price numeric(5,2), at timestamptz DEFAULT now(), n smallint DEFAULT 1 + 1);
         INSERT INTO items (id, name, price) VALUES (1, 'one', 1.5), (2, 'two', 2);",
    )
}

#[test]
fn rows_are_inserted_with_defaults_and_casts() {
    let mut db = items();
    for (sql, expect) in [
        (
            "INSERT INTO items (id) VALUES (3) RETURNING *",
            "INSERT 0 1\n3|none|null|2024-02-29 12:34:56.789+00|2",
        ),
        (
            "INSERT INTO items VALUES (4, 'four', '1.005', DEFAULT, 7) RETURNING price, at, n",
            "INSERT 0 1\n1.01|2024-02-29 12:34:56.789+00|7",
        ),
        (
            "INSERT INTO items (name, id) VALUES ('a', 5), ('b', 6) RETURNING id, name || '!' AS loud",
            "INSERT 0 2\n5|a!\n6|b!",
        ),
        ("INSERT INTO items VALUES (7)", "INSERT 0 1"),
        (
            "INSERT INTO items (id, at) VALUES (8.4, '2024-01-01') RETURNING id, at",
            "INSERT 0 1\n8|2024-01-01 00:00:00+00",
        ),
        ("INSERT INTO items AS i (id) VALUES (9) RETURNING i.id", "INSERT 0 1\n9"),
        (
            "INSERT INTO items (id, name) SELECT id + 100, upper(name) FROM items WHERE id <= 2 RETURNING id, name",
            "INSERT 0 2\n101|ONE\n102|TWO",
        ),
        (
            "INSERT INTO items (id, name) VALUES (10, 'abc       ') RETURNING length(name)",
            "INSERT 0 1\n5",
        ),
        ("SELECT count(*) FROM items", "12"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut db = items();
    for (sql, expect) in [
        (
            "INSERT INTO items (id) VALUES (1)",
            "23505: duplicate key value violates unique constraint \"items_pkey\" [Key (id)=(1) already exists.]",
        ),
        (
            "INSERT INTO items (id) VALUES (3), (4), (3)",
            "23505: duplicate key value violates unique constraint \"items_pkey\" [Key (id)=(3) already exists.]",
        ),
        (
            "INSERT INTO items (id) VALUES (null)",
            "23502: null value in column \"id\" of relation \"items\" violates not-null constraint [Failing row contains (null, none, null, 2024-02-29 12:34:56.789+00, 2).]",
        ),
        (
            "INSERT INTO items (name) VALUES ('x')",
            "23502: null value in column \"id\" of relation \"items\" violates not-null constraint [Failing row contains (null, x, null, 2024-02-29 12:34:56.789+00, 2).]",
        ),
        (
            "INSERT INTO items (id, name) VALUES (3, null)",
            "23502: null value in column \"name\" of relation \"items\" violates not-null constraint [Failing row contains (3, null, null, 2024-02-29 12:34:56.789+00, 2).]",
        ),
        (
            "INSERT INTO items (id, name) VALUES (3, 'abcdef')",
            "22001: value too long for type character varying(5)",
        ),
        (
            "INSERT INTO items (id, name) VALUES (3, 'ab' || 'cdef')",
            "22001: value too long for type character varying(5)",
        ),
        (
            "INSERT INTO items (id, price) VALUES (3, 1000)",
            "22003: numeric field overflow [A field with precision 5, scale 2 must round to an absolute value less than 10^3.]",
        ),
        (
            "INSERT INTO items (id, n) VALUES (3, 32768)",
            "22003: smallint out of range",
        ),
        (
            "INSERT INTO items (id) VALUES (3000000000)",
            "22003: integer out of range",
        ),
        (
            "INSERT INTO items (id) VALUES ('x')",
            "22P02: invalid input syntax for type integer: \"x\"",
        ),
        (
            "INSERT INTO items (id) VALUES ('3'::text)",
            "42804: column \"id\" is of type integer but expression is of type text",
        ),
        (
            "INSERT INTO items (id) VALUES (true)",
            "42804: column \"id\" is of type integer but expression is of type boolean",
        ),
        (
            "INSERT INTO items (id, id) VALUES (3, 3)",
            "42701: column \"id\" specified more than once",
        ),
        (
            "INSERT INTO items (id) VALUES (3, 4)",
            "42601: INSERT has more expressions than target columns",
        ),
        (
            "INSERT INTO items (id, name) VALUES (3)",
            "42601: INSERT has more target columns than expressions",
        ),
        (
            "INSERT INTO items VALUES (3), (4, 'x')",
            "42601: VALUES lists must all be the same length",
        ),
        (
            "INSERT INTO items (id) VALUES (name)",
            "42703: column \"name\" does not exist",
        ),
        (
            "INSERT INTO items (id) VALUES (count(*))",
            "42803: aggregate functions are not allowed in VALUES",
        ),
        ("INSERT INTO nope VALUES (1)", "42P01: relation \"nope\" does not exist"),
        (
            "INSERT INTO items (nope) VALUES (1)",
            "42703: column \"nope\" of relation \"items\" does not exist",
        ),
        (
            "INSERT INTO items DEFAULT VALUES",
            "23502: null value in column \"id\" of relation \"items\" violates not-null constraint [Failing row contains (null, none, null, 2024-02-29 12:34:56.789+00, 2).]",
        ),
        ("SELECT count(*) FROM items", "2"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn conflicts_are_ignored_or_become_updates() {
    let mut db = items();
    for (sql, expect) in [
        (
            "INSERT INTO items (id) VALUES (1), (3), (3) ON CONFLICT DO NOTHING RETURNING id",
            "INSERT 0 1\n3",
        ),
        (
            "INSERT INTO items (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
            "INSERT 0 0",
        ),
        (
            "INSERT INTO items (id, name) VALUES (1, 'new'), (4, 'four') ON CONFLICT (id) DO UPDATE SET name = excluded.name, n = items.n + 1 RETURNING id, name, n",
            "INSERT 0 2\n1|new|3\n4|four|2",
        ),
        (
            "INSERT INTO items (id, name) VALUES (1, 'x') ON CONFLICT ON CONSTRAINT items_pkey DO UPDATE SET name = 'y' WHERE items.name = 'nope'",
            "INSERT 0 0",
        ),
        (
            "INSERT INTO items (id) VALUES (5), (5) ON CONFLICT (id) DO UPDATE SET n = 0",
            "21000: ON CONFLICT DO UPDATE command cannot affect row a second time",
        ),
        (
            "INSERT INTO items (id) VALUES (5) ON CONFLICT (name) DO NOTHING",
            "42P10: there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ),
        (
            "INSERT INTO items (id) VALUES (5) ON CONFLICT DO UPDATE SET n = 0",
            "42601: ON CONFLICT DO UPDATE requires inference specification or constraint name",
        ),
        (
            "INSERT INTO items (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 9",
            "0A000: changing the key column \"id\" in ON CONFLICT DO UPDATE is not supported",
        ),
        (
            "INSERT INTO items (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = name",
            "INSERT 0 1",
        ),
        ("SELECT id, name, n FROM items", "1|new|3\n2|two|2\n3|none|2\n4|four|2"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn rows_are_updated_and_deleted() {
    let mut db = items();
    for (sql, expect) in [
        (
            "UPDATE items SET price = price * 2, name = upper(name) WHERE id = 2 RETURNING id, name, price",
            "UPDATE 1\n2|TWO|4.00",
        ),
        ("UPDATE items SET (name, n) = ('x', n + 1)", "UPDATE 2"),
        ("UPDATE items i SET n = DEFAULT WHERE i.id = 1", "UPDATE 1"),
        ("SELECT id, name, n FROM items", "1|x|2\n2|x|3"),
        ("UPDATE items SET n = 0 WHERE id = 9", "UPDATE 0"),
        (
            "UPDATE items SET name = null",
            "23502: null value in column \"name\" of relation \"items\" violates not-null constraint [Failing row contains (1, null, 1.50, 2024-02-29 12:34:56.789+00, 2).]",
        ),
        (
            "UPDATE items SET n = 1, n = 2",
            "42601: multiple assignments to same column \"n\"",
        ),
        (
            "UPDATE items SET n = 'x'::text",
            "42804: column \"n\" is of type smallint but expression is of type text",
        ),
        (
            "UPDATE items SET n = i.n FROM items i",
            "0A000: UPDATE … FROM is not supported",
        ),
        (
            "DELETE FROM items WHERE price < 2 RETURNING *",
            "DELETE 1\n1|x|1.50|2024-02-29 12:34:56.789+00|2",
        ),
        (
            "DELETE FROM items USING items i",
            "0A000: DELETE … USING is not supported",
        ),
        ("DELETE FROM items", "DELETE 1"),
        ("SELECT count(*) FROM items", "0"),
    ] {
        db.check(sql, expect);
    }
}

#[test]
fn a_changed_key_moves_the_row() {
    let mut db = Database::with(
        "CREATE TABLE k (id int PRIMARY KEY, v text); INSERT INTO k VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    for (sql, expect) in [
        ("UPDATE k SET id = id + 1 RETURNING id, v", "UPDATE 3\n2|a\n3|b\n4|c"),
        ("SELECT * FROM k", "2|a\n3|b\n4|c"),
        (
            "UPDATE k SET id = 3 WHERE id = 2",
            "23505: duplicate key value violates unique constraint \"k_pkey\" [Key (id)=(3) already exists.]",
        ),
        (
            "UPDATE k SET id = 9",
            "23505: duplicate key value violates unique constraint \"k_pkey\" [Key (id)=(9) already exists.]",
        ),
        ("UPDATE k SET id = id, v = 'same' WHERE id = 2", "UPDATE 1"),
        ("SELECT * FROM k", "2|same\n3|b\n4|c"),
    ] {
        db.check(sql, expect);
    }
}

fn proposed(db: &Database, sql: &str, check: InsertCheck) -> Result<Vec<RowWrite>, String> {
    let plan = db.plan(sql, &[]).map_err(|error| show_error(&error))?;
    let PlanKind::Write(write) = plan.kind() else {
        panic!("a write is expected")
    };
    let mut context = db.context(&[]);
    context.insert_check = check;
    craton_query::execute_write(write, db, &context)
        .map(|set| set.writes)
        .map_err(|error| show_error(&error))
}

#[test]
fn the_kernel_is_told_what_the_writer_saw() {
    let db = Database::with(
        "CREATE TABLE k (id int PRIMARY KEY, v text); INSERT INTO k VALUES (1, 'a'); INSERT INTO k VALUES (2, 'b')",
    );
    let expected = |writes: Vec<RowWrite>| writes.iter().map(|write| write.expected).collect::<Vec<_>>();
    let seen = |version| Expected::Version(Offset::new(version));
    let at_apply = |sql| expected(proposed(&db, sql, InsertCheck::AtApply).expect(sql));
    assert_eq!(
        at_apply("INSERT INTO k VALUES (3, 'c'), (1, 'x')"),
        [Expected::Absent, Expected::Absent]
    );
    assert_eq!(db.rows_read.get(), 0, "a lone insert reads nothing");
    assert_eq!(at_apply("UPDATE k SET v = 'z'"), [seen(0), seen(1)]);
    assert_eq!(at_apply("DELETE FROM k WHERE id = 2"), [seen(1)]);
    assert_eq!(
        at_apply("INSERT INTO k VALUES (2, 'c') ON CONFLICT (id) DO UPDATE SET v = 'd'"),
        [seen(1)]
    );
    assert_eq!(
        proposed(&db, "INSERT INTO k VALUES (1, 'x')", InsertCheck::Now),
        Err(
            "23505: duplicate key value violates unique constraint \"k_pkey\" [Key (id)=(1) already exists.]"
                .to_owned()
        )
    );
    let writes = proposed(&db, "INSERT INTO k VALUES (3, 'c')", InsertCheck::Now).expect("a new key");
    assert_eq!(writes[0].after, Some(vec![Value::Int(3), Value::Text("c".to_owned())]));
    for (sql, again) in [
        ("INSERT INTO k VALUES (1, 'x')", false),
        ("INSERT INTO k VALUES (1, 'x') ON CONFLICT DO NOTHING", true),
        (
            "INSERT INTO k VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'y'",
            true,
        ),
    ] {
        let plan = db.plan(sql, &[]).expect(sql);
        assert!(
            matches!(plan.kind(), PlanKind::Write(write) if write.has_on_conflict() == again),
            "{sql}"
        );
    }
    let moved = proposed(&db, "UPDATE k SET id = 2 WHERE id = 1", InsertCheck::Now);
    assert!(moved.is_err_and(|error| error.starts_with("23505")));
}

#[test]
fn receipts_are_asked_of_the_engine() {
    let mut db =
        Database::with("CREATE TABLE p (a text, b int, PRIMARY KEY (a, b)); INSERT INTO p VALUES ('x', 1), ('x', 2);");
    for (sql, expect) in [
        ("SELECT craton_receipt('p', 'x', 1)", "receipt of p at 0"),
        (
            "SELECT craton_receipt('public.p', 'x', b) FROM p WHERE b = 2",
            "receipt of p at 0",
        ),
        ("SELECT craton_receipt('p', 'x', null)", "null"),
        ("SELECT craton_receipt('p', 'x', 9)", "P0002: no such row"),
        (
            "SELECT craton_receipt('p', 'x')",
            "22023: the primary key of \"p\" has 2 columns, but 1 values were given",
        ),
        (
            "SELECT craton_receipt('p', 'x', true)",
            "42804: key column \"b\" is of type integer but the value is of type boolean",
        ),
        (
            "SELECT craton_receipt('p', 'x', 'y')",
            "22P02: invalid input syntax for type integer: \"y\"",
        ),
        (
            "SELECT craton_receipt('nope', 1)",
            "42P01: relation \"nope\" does not exist",
        ),
        (
            "SELECT craton_receipt(a, b) FROM p",
            "22023: the first argument of craton_receipt must be a table's name as a string literal",
        ),
        ("SELECT craton_state_receipt('p', 'x', 1)", "latest in p"),
        ("SELECT craton_state_receipt('p', 'x', 9)", "absent in p"),
        (
            "SELECT craton_state_receipt(a, b) FROM p",
            "22023: the first argument of craton_state_receipt must be a table's name as a string literal",
        ),
    ] {
        db.check(sql, expect);
    }
    for (sql, calls) in [
        ("SELECT craton_receipt('p', 'x', 1)", true),
        ("SELECT 1 FROM p ORDER BY craton_receipt('p', a, b)", true),
        ("DELETE FROM p RETURNING length(craton_receipt('p', a, b))", true),
        ("SELECT 1 FROM p", false),
    ] {
        let plan = db.plan(sql, &[]).expect(sql);
        assert_eq!(
            (plan.calls_receipt(), plan.calls_state_receipt()),
            (calls, false),
            "{sql}"
        );
    }
    let plan = db
        .plan("SELECT length(craton_state_receipt('p', 'x', 1))", &[])
        .expect("a plan");
    assert!(plan.calls_receipt() && plan.calls_state_receipt());
}
