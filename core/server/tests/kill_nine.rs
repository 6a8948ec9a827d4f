//! `kill -9` in the middle of inserts, again and again: every acknowledged row is there, none twice, the catalogue is
//! intact, and the log verifies.

#[path = "server/support.rs"]
#[expect(dead_code, reason = "this test needs a part of what the others share")]
mod support;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;

use support::World;

/// How often the process is killed.
const KILLS: u64 = 20;
/// Sessions that insert at the same time, so that kills meet shared batches.
const SESSIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_and_nothing_is_doubled() {
    let mut world = World::start();
    // A torn tail is what a kill may leave; it was never acknowledged.
    world.expect_in_log("torn tail");
    world.psql(
        "CREATE TABLE entry (id int8 PRIMARY KEY, session int4 NOT NULL);
         CREATE TABLE tally (session int4 PRIMARY KEY, n int8 NOT NULL)",
    );
    for session in 0..SESSIONS {
        world.psql(&format!("INSERT INTO tally VALUES ({session}, 0)"));
    }
    let next_id = Arc::new(AtomicI64::new(0));
    // Each acknowledged id with its session; and how many increments each session was told of and has tried.
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let mut told = [0i64; SESSIONS];
    let mut tried = [0i64; SESSIONS];
    for kill in 0..KILLS {
        let mut tasks = Vec::new();
        for session in 0..SESSIONS {
            let client = world.client().await;
            let (next_id, acknowledged) = (next_id.clone(), acknowledged.clone());
            tasks.push(tokio::spawn(async move {
                let number = i32::try_from(session).expect("few sessions");
                let (mut told, mut tried) = (0, 0);
                loop {
                    let id = next_id.fetch_add(1, Ordering::Relaxed);
                    if client
                        .execute("INSERT INTO entry VALUES ($1, $2)", &[&id, &number])
                        .await
                        .is_err()
                    {
                        break;
                    }
                    acknowledged.lock().expect("no panic").insert(id, number);
                    tried += 1;
                    if client
                        .execute("UPDATE tally SET n = n + 1 WHERE session = $1", &[&number])
                        .await
                        .is_err()
                    {
                        break;
                    }
                    told += 1;
                }
                (told, tried)
            }));
        }
        // Another moment each time; the first kills come while the sessions begin.
        tokio::time::sleep(Duration::from_millis(20 + kill * 37 % 300)).await;
        world.kill();
        for (session, counts) in join_all(tasks).await.into_iter().enumerate() {
            let (more_told, more_tried) = counts.expect("no panic");
            told[session] += more_told;
            tried[session] += more_tried;
        }
        world.spawn();
        let so_far = acknowledged.lock().expect("no panic").clone();
        check(&world, kill, &so_far, &told, &tried).await;
    }
    assert!(
        !acknowledged.lock().expect("no panic").is_empty(),
        "nothing was ever acknowledged"
    );
    let log_key = world.database_status("main")["log_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert!(world.terminate().success());
    let summary = world.verify_log(&log_key);
    assert!(
        summary.unsigned_records() <= 1,
        "the last checkpoint covers all before itself: {summary:?}"
    );
}

/// The same with stock `psql` reading a script: what it printed was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_psql_was_told_survives() {
    /// Statements in a script; a kill comes long before the last.
    const STATEMENTS: i64 = 100_000;
    let mut world = World::start();
    world.expect_in_log("torn tail");
    world.psql("CREATE TABLE entry (id int8 PRIMARY KEY)");
    let mut printed = Vec::new();
    for kill in 0..KILLS {
        let first = i64::try_from(kill).expect("few kills") * STATEMENTS;
        let script = world.path(&format!("inserts-{kill}.sql"));
        let inserts = (first..first + STATEMENTS).map(|id| format!("INSERT INTO entry VALUES ({id}) RETURNING id;\n"));
        std::fs::write(&script, inserts.collect::<String>()).expect("a script");
        let mut psql = world.psql_command("app", support::PASSWORD, "main", "verify-full");
        psql.arg("--file")
            .arg(script)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let psql = psql.spawn().expect("psql is installed");
        tokio::time::sleep(Duration::from_millis(120 + kill * 37 % 300)).await;
        world.kill();
        let output = psql.wait_with_output().expect("psql ends");
        assert!(
            !output.status.success(),
            "kill {kill}: the script was through before the kill"
        );
        let text = String::from_utf8(output.stdout).expect("numbers");
        printed.extend(text.lines().map(|line| line.parse::<i64>().expect("an id")));
        world.spawn();
        let rows = world.psql("SELECT id FROM entry ORDER BY id");
        let rows: Vec<i64> = rows.lines().map(|line| line.parse().expect("an id")).collect();
        assert!(
            rows.is_sorted_by(|one, next| one < next),
            "kill {kill}: a row is there twice"
        );
        let missing: Vec<_> = printed.iter().filter(|id| rows.binary_search(id).is_err()).collect();
        assert!(
            missing.is_empty(),
            "kill {kill}: acknowledged rows are missing: {missing:?}"
        );
        let under_way = usize::try_from(kill + 1).expect("few kills");
        assert!(
            rows.len() <= printed.len() + under_way,
            "kill {kill}: more rows than were sent"
        );
    }
    assert!(!printed.is_empty(), "nothing was ever acknowledged");
    let log_key = world.database_status("main")["log_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert!(world.terminate().success());
    world.verify_log(&log_key);
}

async fn check(
    world: &World,
    kill: u64,
    acknowledged: &BTreeMap<i64, i32>,
    told: &[i64; SESSIONS],
    tried: &[i64; SESSIONS],
) {
    let client = world.client().await;
    let rows = client
        .query("SELECT id, session FROM entry ORDER BY id", &[])
        .await
        .expect("the catalogue is intact");
    let mut found = BTreeMap::new();
    for row in rows {
        let doubled = found.insert(row.get::<_, i64>(0), row.get::<_, i32>(1));
        assert_eq!(doubled, None, "kill {kill}: a row is there twice");
    }
    for (id, session) in acknowledged {
        assert_eq!(
            found.get(id),
            Some(session),
            "kill {kill}: acknowledged row {id} is missing or changed"
        );
    }
    // At most one row of each session and kill was under way without an acknowledgement.
    let unasked = found.len() - acknowledged.len();
    let most = SESSIONS * usize::try_from(kill + 1).expect("few kills");
    assert!(unasked <= most, "kill {kill}: {unasked} rows more than acknowledged");
    for row in client.query("SELECT session, n FROM tally", &[]).await.expect("rows") {
        let session = usize::try_from(row.get::<_, i32>(0)).expect("a session");
        let n = row.get::<_, i64>(1);
        assert!(
            (told[session]..=tried[session]).contains(&n),
            "kill {kill}: session {session} counted {n}, was told of {} of {}",
            told[session],
            tried[session]
        );
    }
}
