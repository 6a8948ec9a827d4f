//! SQL through a session: tables, transactions, the past, receipts and the walls between databases.

mod common;

use common::{Folder, create, rows, run, session, sqlstate, tag};
use craton_engine::{EngineError, Response, TransactionStatus};
use craton_proof::{Receipt, VerifierKey};
use craton_types::Value;

fn int(value: i64) -> Value {
    Value::Int(value)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

const TABLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL)";

#[tokio::test]
async fn rows_are_written_changed_deleted_and_read() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut session = session(&engine, "main");
    assert_eq!(tag(&mut session, TABLE).await, "CREATE TABLE");
    assert_eq!(
        tag(
            &mut session,
            "INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob'), (3, 'Cyd')"
        )
        .await,
        "INSERT 0 3"
    );
    assert_eq!(
        tag(&mut session, "UPDATE people SET name = 'Ada L.' WHERE id = 1").await,
        "UPDATE 1"
    );
    assert_eq!(tag(&mut session, "DELETE FROM people WHERE id >= 3").await, "DELETE 1");
    let found = rows(&mut session, "SELECT id, name FROM people ORDER BY id DESC").await;
    assert_eq!(found, [vec![int(2), text("Bob")], vec![int(1), text("Ada L.")]]);
    assert_eq!(
        sqlstate(&mut session, "INSERT INTO people VALUES (1, 'Eve')").await,
        "23505"
    );
    assert_eq!(sqlstate(&mut session, "SELECT * FROM nowhere").await, "42P01");
}

#[tokio::test]
async fn the_past_stays_readable_also_of_dropped_tables() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada')").await;
    tag(&mut session, "UPDATE people SET name = 'Grace' WHERE id = 1").await;
    tag(&mut session, "DELETE FROM people WHERE id = 1").await;
    for (position, expected) in [
        (0, vec![]),
        (1, vec![vec![text("Ada")]]),
        (2, vec![vec![text("Grace")]]),
        (3, vec![]),
    ] {
        let sql = format!("SELECT name FROM people AS OF POSITION {position}");
        assert_eq!(rows(&mut session, &sql).await, expected, "{sql}");
    }
    assert_eq!(
        sqlstate(&mut session, "SELECT name FROM people AS OF POSITION 99").await,
        "22023"
    );
    tag(&mut session, "SET craton.as_of_position = 1").await;
    assert_eq!(rows(&mut session, "SELECT name FROM people").await, [vec![text("Ada")]]);
    assert_eq!(sqlstate(&mut session, "DELETE FROM people").await, "25006");
    tag(&mut session, "RESET craton.as_of_position").await;
    let future = "SELECT count(*) FROM people FOR SYSTEM_TIME AS OF TIMESTAMP '2999-01-01 00:00:00'";
    assert_eq!(rows(&mut session, future).await, [vec![int(0)]]);
}

#[tokio::test]
async fn a_dropped_table_is_there_in_its_past() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada')").await;
    tag(&mut session, "DROP TABLE people").await;
    assert_eq!(sqlstate(&mut session, "SELECT name FROM people").await, "42P01");
    assert_eq!(
        rows(&mut session, "SELECT name FROM people AS OF POSITION 1").await,
        [vec![text("Ada")]]
    );
    assert_eq!(
        sqlstate(&mut session, "SELECT name FROM people AS OF POSITION 2").await,
        "42P01"
    );
}

#[tokio::test]
async fn a_transaction_is_one_record_or_nothing() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    let before = database.end();
    tag(&mut session, "BEGIN").await;
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada')").await;
    tag(&mut session, "UPDATE people SET name = 'Ada L.' WHERE id = 1").await;
    tag(&mut session, "INSERT INTO people VALUES (2, 'Bob')").await;
    assert_eq!(rows(&mut session, "SELECT count(*) FROM people").await, [vec![int(2)]]);
    assert_eq!(database.end(), before);
    assert_eq!(tag(&mut session, "COMMIT").await, "COMMIT");
    assert_eq!(database.end().get(), before.get() + 1);

    tag(&mut session, "BEGIN").await;
    tag(&mut session, "DELETE FROM people").await;
    assert_eq!(tag(&mut session, "ROLLBACK").await, "ROLLBACK");
    tag(&mut session, "BEGIN").await;
    tag(&mut session, "DELETE FROM people").await;
    assert_eq!(sqlstate(&mut session, "SELECT nonsense FROM people").await, "42703");
    assert_eq!(session.transaction_status(), TransactionStatus::Failed);
    assert_eq!(sqlstate(&mut session, "SELECT 1").await, "25P02");
    assert_eq!(tag(&mut session, "COMMIT").await, "ROLLBACK");
    assert_eq!(rows(&mut session, "SELECT count(*) FROM people").await, [vec![int(2)]]);
}

#[tokio::test]
async fn transactions_are_serializable() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let (mut one, mut two) = (session(&engine, "main"), session(&engine, "main"));
    tag(&mut one, TABLE).await;
    tag(&mut one, "INSERT INTO people VALUES (1, 'on call'), (2, 'on call')").await;
    // Write skew: each goes off call because it sees the other on call (Berenson et al., 1995).
    for (session, id) in [(&mut one, 1), (&mut two, 2)] {
        tag(session, "BEGIN").await;
        assert_eq!(
            rows(session, "SELECT count(*) FROM people WHERE name = 'on call'").await,
            [vec![int(2)]]
        );
        tag(session, &format!("UPDATE people SET name = 'off' WHERE id = {id}")).await;
    }
    assert_eq!(tag(&mut one, "COMMIT").await, "COMMIT");
    assert_eq!(sqlstate(&mut two, "COMMIT").await, "40001");
    assert_eq!(two.transaction_status(), TransactionStatus::Idle);
    assert_eq!(
        rows(&mut two, "SELECT count(*) FROM people WHERE name = 'on call'").await,
        [vec![int(1)]]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_statements_wait_for_each_other_instead_of_failing() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut first = session(&engine, "main");
    tag(
        &mut first,
        "CREATE TABLE counters (id bigint PRIMARY KEY, n bigint NOT NULL)",
    )
    .await;
    tag(&mut first, "INSERT INTO counters VALUES (1, 0)").await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let mut session = session(&engine, "main");
            tokio::spawn(async move {
                for _ in 0..10 {
                    tag(&mut session, "UPDATE counters SET n = n + 1 WHERE id = 1").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no statement failed");
    }
    assert_eq!(rows(&mut first, "SELECT n FROM counters").await, [vec![int(160)]]);
}

#[tokio::test]
async fn a_rows_receipt_proves_its_value_and_its_deletion() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let key: VerifierKey = database.log_key().parse().expect("a verifier key");
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    tag(
        &mut session,
        "INSERT INTO people VALUES (1, 'Ada'), (2, 'Bob'), (3, 'Cyd')",
    )
    .await;
    for (statement, told) in [
        ("UPDATE people SET name = 'Grace' WHERE id = 2", "Grace"),
        ("DELETE FROM people WHERE id = 2", "Grace"),
    ] {
        tag(&mut session, statement).await;
        let answer = rows(&mut session, "SELECT craton_receipt('people', 2)").await;
        let [Value::Text(receipt)] = answer[0].as_slice() else {
            panic!("a text, got {answer:?}")
        };
        let verified = Receipt::verify(receipt.as_bytes(), &key).expect("it verifies");
        assert_eq!(verified.changes.len(), 1);
        let shown = verified.to_string();
        assert!(shown.contains(told) && !shown.contains("Cyd"), "{shown}");
    }
    assert_eq!(
        sqlstate(&mut session, "SELECT craton_receipt('people', 99)").await,
        "P0002"
    );
}

#[tokio::test]
async fn databases_with_equal_tables_see_nothing_of_each_other() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "clinic_a").await;
    create(&engine, "clinic_b").await;
    let (mut a, mut b) = (session(&engine, "clinic_a"), session(&engine, "clinic_b"));
    for session in [&mut a, &mut b] {
        tag(session, TABLE).await;
    }
    tag(&mut a, "INSERT INTO people VALUES (1, 'Ada')").await;
    assert!(rows(&mut b, "SELECT * FROM people").await.is_empty());
    assert_eq!(sqlstate(&mut b, "SELECT craton_receipt('people', 1)").await, "P0002");
    assert_eq!(tag(&mut b, "UPDATE people SET name = 'Eve'").await, "UPDATE 0");
    let user = engine.user("clinic_a_app").expect("the user");
    assert!(matches!(
        engine.open_session("clinic_b", &user),
        Err(EngineError::DatabaseDenied { .. })
    ));
    assert!(matches!(
        engine.open_session("system", &user),
        Err(EngineError::DatabaseMissing { .. })
    ));
}

#[tokio::test]
async fn tables_rows_and_catalogue_survive_a_copy_taken_without_closing() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut writer = session(&engine, "main");
    tag(&mut writer, TABLE).await;
    for id in 0..200 {
        tag(&mut writer, &format!("INSERT INTO people VALUES ({id}, 'someone')")).await;
    }
    let copy = folder.copy();
    let reopened = copy.open();
    let mut reader = session(&reopened, "main");
    assert_eq!(rows(&mut reader, "SELECT count(*) FROM people").await, [vec![int(200)]]);
    assert_eq!(sqlstate(&mut reader, TABLE).await, "42P07");
    tag(&mut reader, "INSERT INTO people VALUES (200, 'next')").await;
}

#[tokio::test]
async fn a_read_only_user_may_only_read() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    tag(&mut session(&engine, "main"), TABLE).await;
    let auditor = craton_types::UserDefinition {
        read_only: true,
        compliance: true,
        ..common::user("auditor", &["main"])
    };
    engine
        .put_user(auditor, craton_types::ActorId::NIL)
        .await
        .expect("a user");
    let mut auditor = engine
        .open_session("main", &engine.user("auditor").expect("the user"))
        .expect("a session");
    assert!(rows(&mut auditor, "SELECT * FROM people").await.is_empty());
    assert_eq!(
        sqlstate(&mut auditor, "INSERT INTO people VALUES (1, 'Eve')").await,
        "42501"
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    let rows_of = |from: i64| {
        (from..from + 5_000)
            .map(|id| format!("({id}, 'x')"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for from in [0, 5_000, 10_000, 15_000] {
        tag(&mut session, &format!("INSERT INTO people VALUES {}", rows_of(from))).await;
    }
    tag(&mut session, "SET statement_timeout = 1").await;
    let slow = "SELECT count(*) FROM people WHERE upper(name) || id LIKE '%9%9%'";
    assert_eq!(sqlstate(&mut session, slow).await, "57014");
    tag(&mut session, "RESET statement_timeout").await;
    assert_eq!(
        rows(&mut session, "SELECT count(*) FROM people").await,
        [vec![int(20_000)]]
    );
}

#[tokio::test]
async fn copied_lines_become_one_record() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let mut session = session(&engine, "main");
    tag(&mut session, TABLE).await;
    let before = database.end();
    let statement = session
        .parse("COPY people FROM STDIN (FORMAT csv)")
        .expect("it parses")
        .remove(0);
    let prepared = session.prepare(&statement, &[]).expect("it binds");
    let Ok(Response::CopyIn { columns_count: 2 }) = session.execute(&prepared, &[]).await else {
        panic!("copy in")
    };
    let data: String = (0..500).map(|id| format!("{id},\"name, {id}\"\n")).collect();
    session.copy_in(&prepared, data.as_bytes()).await.expect("copied");
    assert_eq!(database.end().get(), before.get() + 1);
    let failed = session
        .copy_in(&prepared, b"500,ok\nnot a number,x\n")
        .await
        .expect_err("the second line is wrong");
    assert_eq!(failed.sqlstate.as_str(), "22P02");
    assert_eq!(
        rows(&mut session, "SELECT count(*) FROM people").await,
        [vec![int(500)]]
    );
    assert!(
        matches!(run(&mut session, "SELECT name FROM people WHERE id = $1", &[int(7)]).await, Ok(Response::Rows { result, .. }) if result.rows == [vec![text("name, 7")]])
    );
}
