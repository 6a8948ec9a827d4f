//! COPY in both directions.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};

use crate::support::{PASSWORD, World, outcome};

#[test]
fn psql_copies_a_csv_file_in_and_out_again() {
    let world = World::start();
    world.psql("CREATE TABLE city (id int PRIMARY KEY, name text, people int8, note text)");
    let mut csv = String::from("id,name,people,note\n");
    for id in 0..3_000 {
        csv.push_str(&format!("{id},\"Town, no. {id}\",{},\n", id * 1_000));
    }
    fs::write(world.path("cities.csv"), &csv).expect("writable");
    let copy = format!(
        "\\copy city FROM '{}' WITH (FORMAT csv, HEADER true)",
        world.path("cities.csv").display()
    );
    world.psql(&copy);
    assert_eq!(world.psql("SELECT count(*) FROM city"), "3000");
    assert_eq!(
        world.psql("SELECT name, people, note IS NULL FROM city WHERE id = 2999"),
        "Town, no. 2999|2999000|t"
    );
    let out = world.path("out.csv");
    world.psql(&format!(
        "\\copy city TO '{}' WITH (FORMAT csv, HEADER true)",
        out.display()
    ));
    assert_eq!(fs::read_to_string(out).expect("written"), csv);
}

#[test]
fn copy_from_a_pipe_takes_the_text_format() {
    let world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut psql = world.psql_command("app", PASSWORD, "main", "verify-full");
    let mut child = psql
        .args(["--command", "COPY t FROM STDIN"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is installed");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"1\ta\\tb\n2\t\\N\n")
        .expect("psql reads");
    outcome(child.wait_with_output().expect("psql ends")).expect("copied");
    assert_eq!(
        world.psql("SELECT id, v IS NULL, v = E'a\\tb' FROM t ORDER BY id"),
        "1|f|t\n2|t|"
    );
}

async fn copy(client: &tokio_postgres::Client, parts: &[&'static str]) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in("COPY t FROM STDIN WITH (FORMAT csv)").await?;
    futures::pin_mut!(sink);
    for part in parts {
        sink.send(Bytes::from_static(part.as_bytes())).await?;
    }
    sink.finish().await
}

#[tokio::test]
async fn an_error_anywhere_leaves_nothing_and_the_session_goes_on() {
    let world = World::start_with(&["--copy-bytes-max", "1000"]);
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await
        .expect("created");
    let long: &'static str = Box::leak(format!("9,{}\n", "x".repeat(994)).into_boxed_str());
    let longer: &'static str = Box::leak(format!("9,{}\n", "x".repeat(998)).into_boxed_str());
    for (parts, expected) in [
        (&["1,a\n", "x,b\n"][..], Err("22P02")),
        (&["1,a\n", "1,b\n"], Err("23505")),
        (&["1,a,b\n"], Err("22P04")),
        (&[longer], Err("54000")),
        (&[long], Ok(1)),
        (&["1,a\n2,", "b\n"], Ok(2)),
        (&[], Ok(0)),
    ] {
        let result = copy(&client, parts).await;
        let result = result.map_err(|error| {
            error
                .code()
                .map_or_else(|| error.to_string(), |code| code.code().to_owned())
        });
        assert_eq!(result, expected.map_err(str::to_owned), "{parts:?}");
    }
    let rows = client.query("SELECT id FROM t ORDER BY id", &[]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2, 9]);
    // The client breaks off.
    {
        let sink = client
            .copy_in::<_, Bytes>("COPY t FROM STDIN WITH (FORMAT csv)")
            .await
            .expect("started");
        futures::pin_mut!(sink);
        sink.send(Bytes::from_static(b"100,z\n")).await.expect("sent");
    }
    assert_eq!(
        client
            .query("SELECT id FROM t WHERE id = 100", &[])
            .await
            .expect("rows")
            .len(),
        0
    );
    // Inside a transaction that is rolled back.
    client.batch_execute("BEGIN").await.expect("begun");
    assert_eq!(copy(&client, &["200,z\n"]).await.expect("copied"), 1);
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    assert_eq!(
        client
            .query("SELECT id FROM t WHERE id = 200", &[])
            .await
            .expect("rows")
            .len(),
        0
    );
}

#[tokio::test]
async fn a_driver_copies_out() {
    let world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a,b'), (2, NULL)")
        .await
        .expect("filled");
    let stream = client
        .copy_out("COPY t TO STDOUT WITH (FORMAT csv)")
        .await
        .expect("started");
    let parts: Vec<Bytes> = stream.try_collect().await.expect("lines");
    // Some drivers rely on one message for each row.
    assert_eq!(parts, [&b"1,\"a,b\"\n"[..], b"2,\n"]);
}
