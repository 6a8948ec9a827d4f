//! Transactions: the client's own, those of a batch, and those of a pipeline.

use futures::future::join_all;

use crate::support::World;

async fn ids(client: &tokio_postgres::Client) -> Vec<i32> {
    let rows = client.query("SELECT id FROM t ORDER BY id", &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

fn sqlstate(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

#[tokio::test]
async fn a_transaction_is_seen_whole_or_not_at_all() {
    let world = World::start();
    let (mut writer, reader) = (world.client().await, world.client().await);
    writer
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .expect("created");
    let transaction = writer.transaction().await.expect("begun");
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .expect("inserted");
    transaction
        .execute("INSERT INTO t VALUES (2)", &[])
        .await
        .expect("inserted");
    assert_eq!(
        transaction
            .query("SELECT id FROM t", &[])
            .await
            .expect("its own rows")
            .len(),
        2
    );
    assert!(ids(&reader).await.is_empty());
    transaction.commit().await.expect("committed");
    assert_eq!(ids(&reader).await, [1, 2]);

    let transaction = writer.transaction().await.expect("begun");
    transaction.execute("DELETE FROM t", &[]).await.expect("deleted");
    transaction.rollback().await.expect("rolled back");
    assert_eq!(ids(&reader).await, [1, 2]);
}

#[tokio::test]
async fn of_two_that_change_a_row_one_is_told_to_retry() {
    let world = World::start();
    let (mut first, mut second) = (world.client().await, world.client().await);
    first
        .batch_execute("CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 100)")
        .await
        .expect("filled");
    let withdraw = "UPDATE account SET balance = balance - 60 WHERE id = 1";
    let (mine, theirs) = (
        first.transaction().await.expect("begun"),
        second.transaction().await.expect("begun"),
    );
    mine.execute(withdraw, &[]).await.expect("buffered");
    theirs.execute(withdraw, &[]).await.expect("buffered");
    mine.commit().await.expect("the first wins");
    let error = theirs.commit().await.expect_err("the second must retry");
    assert_eq!(sqlstate(&error), "40001", "{error}");
    let row = second
        .query_one("SELECT balance FROM account WHERE id = 1", &[])
        .await
        .expect("a row");
    assert_eq!(row.get::<_, i32>(0), 40);
}

#[tokio::test]
async fn an_error_fails_the_transaction_until_it_ends() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .expect("created");
    client.batch_execute("BEGIN").await.expect("begun");
    client
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .expect("inserted");
    client
        .batch_execute("SELECT * FROM missing")
        .await
        .expect_err("no such table");
    let error = client.batch_execute("SELECT 1").await.expect_err("failed already");
    assert_eq!(sqlstate(&error), "25P02", "{error}");
    client.batch_execute("COMMIT").await.expect("ends as a rollback");
    assert!(ids(&client).await.is_empty());
}

#[tokio::test]
async fn the_statements_of_one_text_are_one_transaction() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .expect("created");
    let error = client
        .batch_execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); SELECT 1 / 0")
        .await
        .expect_err("division by zero");
    assert_eq!(sqlstate(&error), "22012", "{error}");
    assert!(ids(&client).await.is_empty());

    // COMMIT in the middle keeps what came before it.
    client
        .batch_execute("INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT 1 / 0")
        .await
        .expect_err("division by zero");
    assert_eq!(ids(&client).await, [1]);

    // BEGIN in the middle makes the transaction the client's, with what came before it.
    client
        .batch_execute("INSERT INTO t VALUES (3); BEGIN; INSERT INTO t VALUES (4)")
        .await
        .expect("open");
    assert_eq!(ids(&client).await, [1, 3, 4]);
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    assert_eq!(ids(&client).await, [1]);

    // A syntax error anywhere in the text keeps all of it from running.
    client
        .batch_execute("INSERT INTO t VALUES (5); SELEC 1")
        .await
        .expect_err("a syntax error");
    assert_eq!(ids(&client).await, [1]);
}

#[tokio::test]
async fn statements_sent_together_with_a_sync_each_stand_alone() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .expect("created");
    let insert = client.prepare("INSERT INTO t VALUES ($1)").await.expect("prepared");
    let values = [1i32, 2, 2, 3];
    let parameters: Vec<[&(dyn tokio_postgres::types::ToSql + Sync); 1]> = values
        .iter()
        .map(|value| [value as &(dyn tokio_postgres::types::ToSql + Sync)])
        .collect();
    let results = join_all(parameters.iter().map(|parameters| client.execute(&insert, parameters))).await;
    let codes: Vec<&str> = results
        .iter()
        .map(|result| result.as_ref().map_or_else(sqlstate, |_| "ok"))
        .collect();
    assert_eq!(codes, ["ok", "ok", "23505", "ok"]);
    assert_eq!(ids(&client).await, [1, 2, 3]);
}

#[tokio::test]
async fn concurrent_sessions_count_without_losing_any() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE counter (id int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)")
        .await
        .expect("filled");
    let sessions = join_all((0..8).map(|_| world.client())).await;
    join_all(sessions.iter().map(|session| async {
        for _ in 0..10 {
            loop {
                match session.execute("UPDATE counter SET n = n + 1 WHERE id = 1", &[]).await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(sqlstate(&error), "40001", "{error}"),
                }
            }
        }
    }))
    .await;
    let row = client
        .query_one("SELECT n FROM counter WHERE id = 1", &[])
        .await
        .expect("a row");
    assert_eq!(row.get::<_, i32>(0), 80);
}
