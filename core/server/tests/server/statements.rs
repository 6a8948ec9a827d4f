//! Statements through psql and through a driver.

use std::time::{Duration, UNIX_EPOCH};

use tokio_postgres::types::Type;

use crate::support::World;

#[test]
fn psql_creates_writes_and_reads() {
    let world = World::start();
    world.psql(
        "CREATE TABLE patient (id int PRIMARY KEY, name text NOT NULL, born date, weight numeric(5,2));
         INSERT INTO patient VALUES (1, 'Ada', '1815-12-10', 61.50), (2, 'Grace', '1906-12-09', NULL)",
    );
    assert_eq!(
        world.psql("UPDATE patient SET name = 'Ada L.' WHERE id = 1 RETURNING name"),
        "Ada L."
    );
    assert_eq!(
        world.psql("SELECT * FROM patient ORDER BY id DESC"),
        "2|Grace|1906-12-09|\n1|Ada L.|1815-12-10|61.50"
    );
    world.psql("DELETE FROM patient WHERE id = 2");
    assert_eq!(world.psql("SELECT count(*) FROM patient"), "1");
    world.psql("DROP TABLE patient");
    let error = world
        .psql_as("app", "main", "SELECT * FROM patient")
        .expect_err("dropped");
    assert!(error.contains("42P01: relation \"patient\" does not exist"), "{error}");
}

#[test]
fn errors_carry_their_code_place_and_detail() {
    let world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL); INSERT INTO t VALUES (1, 'a')");
    for (sql, parts) in [
        (
            "SELECT * FORM t",
            &["ERROR:  42601: ", "LINE 1: SELECT * FORM t", "^"][..],
        ),
        (
            "SELECT nothing FROM t",
            &[
                "ERROR:  42703: column \"nothing\" does not exist",
                "LINE 1: SELECT nothing FROM t",
            ],
        ),
        (
            "INSERT INTO t VALUES (1, 'b')",
            &[
                "ERROR:  23505: duplicate key value violates unique constraint \"t_pkey\"",
                "DETAIL:  Key (id)=(1) already exists.",
            ],
        ),
        (
            "INSERT INTO t VALUES (2, NULL)",
            &["ERROR:  23502: null value in column \"v\""],
        ),
        (
            "INSERT INTO t VALUES ('x', 'b')",
            &["ERROR:  22P02: invalid input syntax for type integer: \"x\""],
        ),
        (
            "SELECT * FROM missing",
            &["ERROR:  42P01: relation \"missing\" does not exist"],
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY)",
            &["ERROR:  42P07: relation \"t\" already exists"],
        ),
        ("SELECT $1::int", &["ERROR:  42P02: there is no parameter $1"]),
    ] {
        let error = world.psql_as("app", "main", sql).expect_err(sql);
        for part in parts {
            assert!(error.contains(part), "{sql}: {error}");
        }
    }
    assert_eq!(world.psql("SELECT * FROM t"), "1|a");
}

#[tokio::test]
async fn every_type_travels_in_binary_both_ways() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute(
            "CREATE TABLE kinds (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 real, f8 float8, n numeric(12,3),
             s text, c varchar(5), x bytea, d date, t time, ts timestamp, tz timestamptz, u uuid, j json, jb jsonb)",
        )
        .await
        .expect("created");
    let insert =
        "INSERT INTO kinds (id, b, i2, i8, f4, f8, s, c, x, tz) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let moment = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let bytes: &[u8] = &[0, 1, 255];
    let written = client
        .execute(
            insert,
            &[
                &1i32,
                &true,
                &-2i16,
                &(1i64 << 40),
                &1.5f32,
                &-0.1f64,
                &"né",
                &"abcde",
                &bytes,
                &moment,
            ],
        )
        .await
        .expect("inserted");
    assert_eq!(written, 1);
    let nulls: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
        &2i32,
        &None::<bool>,
        &None::<i16>,
        &None::<i64>,
        &None::<f32>,
        &None::<f64>,
        &None::<&str>,
        &None::<&str>,
        &None::<&[u8]>,
        &None::<std::time::SystemTime>,
    ];
    client.execute(insert, &nulls).await.expect("inserted");

    let rows = client
        .query("SELECT * FROM kinds ORDER BY id", &[])
        .await
        .expect("rows");
    let types: Vec<&Type> = rows[0].columns().iter().map(tokio_postgres::Column::type_).collect();
    assert_eq!(
        types,
        [
            &Type::INT4,
            &Type::BOOL,
            &Type::INT2,
            &Type::INT8,
            &Type::FLOAT4,
            &Type::FLOAT8,
            &Type::NUMERIC,
            &Type::TEXT,
            &Type::VARCHAR,
            &Type::BYTEA,
            &Type::DATE,
            &Type::TIME,
            &Type::TIMESTAMP,
            &Type::TIMESTAMPTZ,
            &Type::UUID,
            &Type::JSON,
            &Type::JSONB
        ]
    );
    let row = &rows[0];
    assert!(row.get::<_, bool>("b"));
    assert_eq!(row.get::<_, i16>("i2"), -2);
    assert_eq!(row.get::<_, i64>("i8"), 1 << 40);
    assert_eq!(row.get::<_, f32>("f4"), 1.5);
    assert_eq!(row.get::<_, f64>("f8"), -0.1);
    assert_eq!(row.get::<_, &str>("s"), "né");
    assert_eq!(row.get::<_, &str>("c"), "abcde");
    assert_eq!(row.get::<_, &[u8]>("x"), bytes);
    assert_eq!(row.get::<_, std::time::SystemTime>("tz"), moment);
    assert_eq!(rows[1].get::<_, Option<i64>>("i8"), None);
    // The same value in text.
    assert_eq!(
        world.psql("SELECT tz, x FROM kinds WHERE id = 1"),
        "2023-11-14 22:13:20.123456+00|\\x0001ff"
    );
}

#[tokio::test]
async fn parameters_are_counted_typed_and_checked() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await
        .expect("created");
    let statement = client
        .prepare("SELECT id, v FROM t WHERE id = $1 AND v = $2")
        .await
        .expect("prepared");
    assert_eq!(statement.params(), [Type::INT4, Type::TEXT]);
    let statement = client
        .prepare_typed("INSERT INTO t VALUES ($1, $2)", &[Type::INT8, Type::TEXT])
        .await
        .expect("prepared");
    assert_eq!(statement.params(), [Type::INT8, Type::TEXT]);
    client.execute(&statement, &[&7i64, &"seven"]).await.expect("inserted");
    let error = client
        .execute(&statement, &[&(1i64 << 40), &"big"])
        .await
        .expect_err("out of range");
    assert_eq!(error.code().map(|code| code.code()), Some("22003"), "{error}");
    let error = client
        .prepare("SELECT id FROM t WHERE id = $1; SELECT 1")
        .await
        .expect_err("two statements");
    assert_eq!(error.code().map(|code| code.code()), Some("42601"), "{error}");
    // A prepared statement stays good when the table is made anew with the same columns.
    let read = client.prepare("SELECT v FROM t WHERE id = $1").await.expect("prepared");
    assert_eq!(
        client
            .query_one(&read, &[&7i32])
            .await
            .expect("a row")
            .get::<_, &str>(0),
        "seven"
    );
    client
        .batch_execute("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (7, 'new')")
        .await
        .expect("made anew");
    assert_eq!(
        client
            .query_one(&read, &[&7i32])
            .await
            .expect("a row")
            .get::<_, &str>(0),
        "new"
    );
}

#[tokio::test]
async fn a_statement_too_long_is_refused_and_the_session_goes_on() {
    let world = World::start();
    let client = world.client().await;
    let bytes_max = craton_query::limits::STATEMENT_BYTES_MAX;
    let statement = |bytes: usize| format!("SELECT '{}'", "x".repeat(bytes - "SELECT ''".len()));
    client.simple_query(&statement(bytes_max)).await.expect("at the edge");
    let error = client
        .simple_query(&statement(bytes_max + 1))
        .await
        .expect_err("past the edge");
    assert_eq!(error.code().map(|code| code.code()), Some("54000"), "{error}");
    client.simple_query("SELECT 1").await.expect("the session goes on");
}

#[tokio::test]
async fn portals_give_rows_in_parts() {
    let world = World::start();
    let mut client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4), (5)")
        .await
        .expect("filled");
    let transaction = client.transaction().await.expect("begun");
    let portal = transaction
        .bind("SELECT id FROM t ORDER BY id", &[])
        .await
        .expect("bound");
    let mut parts = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 2).await.expect("rows");
        if rows.is_empty() {
            break;
        }
        parts.push(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>());
    }
    assert_eq!(parts, [vec![1, 2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn the_past_is_read_by_position_and_time() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await
        .expect("created");
    client
        .execute("INSERT INTO t VALUES (1, 'old')", &[])
        .await
        .expect("inserted");
    let row = client
        .query_one("SELECT craton_position(), now()", &[])
        .await
        .expect("a row");
    let position: i64 = row.get(0);
    client
        .execute("UPDATE t SET v = 'new' WHERE id = 1", &[])
        .await
        .expect("updated");
    let text = |row: tokio_postgres::Row| row.get::<_, String>(0);
    let now = client
        .query_one("SELECT v FROM t WHERE id = 1", &[])
        .await
        .expect("a row");
    assert_eq!(text(now), "new");
    let then = client
        .query_one(&format!("SELECT v FROM t AS OF POSITION {position} WHERE id = 1"), &[])
        .await
        .expect("a row");
    assert_eq!(text(then), "old");
    let then = client
        .query_one(
            "SELECT v FROM t FOR SYSTEM_TIME AS OF $1 WHERE id = 1",
            &[&row.get::<_, std::time::SystemTime>(1)],
        )
        .await
        .expect("a row");
    assert_eq!(text(then), "old");
    let before = client
        .query(
            &format!("SELECT v FROM t AS OF POSITION {} WHERE id = 1", position - 1),
            &[],
        )
        .await
        .expect("rows");
    assert!(before.is_empty());
}

#[tokio::test]
async fn a_session_has_settings_that_clients_are_told_of() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("SET application_name = 'ledger'")
        .await
        .expect("set");
    let row = client.query_one("SHOW application_name", &[]).await.expect("a row");
    assert_eq!(row.get::<_, &str>(0), "ledger");
    let error = client
        .batch_execute("SET TimeZone = 'Europe/Berlin'")
        .await
        .expect_err("only UTC is kept");
    assert_eq!(error.code().map(|code| code.code()), Some("22023"), "{error}");
    let version = client.query_one("SHOW server_version", &[]).await.expect("a row");
    assert!(!version.get::<_, &str>(0).is_empty());
}
