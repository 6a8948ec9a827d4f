//! What checkpoints say about the rows: receipts of rows that are there and of rows that are not, now and in the past,
//! and what becomes of a state tree that was lost.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Folder, create, rows, run, session, tag};
use craton_engine::{Craton, Session};
use craton_proof::{StateReceipt, VerifiedStateReceipt, VerifierKey, WitnessPolicy};
use craton_types::{Change, Row, Value};

async fn state_receipt(session: &mut Session, arguments: &str) -> String {
    match &rows(session, &format!("SELECT craton_state_receipt({arguments})")).await[..] {
        [row] => match &row[..] {
            [Value::Text(receipt)] => receipt.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn verify(engine: &Craton, receipt: &str) -> VerifiedStateReceipt {
    let key: VerifierKey = engine
        .tenant("main")
        .expect("it exists")
        .log_key()
        .parse()
        .expect("a key");
    StateReceipt::verify(receipt.as_bytes(), &key, &WitnessPolicy::default()).expect("it verifies")
}

async fn verified(engine: &Craton, session: &mut Session, arguments: &str) -> VerifiedStateReceipt {
    verify(engine, &state_receipt(session, arguments).await)
}

/// The row that a receipt says was there.
fn row_of(verified: &VerifiedStateReceipt) -> Option<Row> {
    let record = verified.row.as_ref()?;
    match &record.changes[..] {
        [change] => match &change.change {
            Change::Row(row) => row.after.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn person(id: i64, name: &str) -> Option<Row> {
    Some(vec![Value::Int(id), Value::Text(name.to_owned())])
}

async fn people(engine: &Craton) -> Session {
    create(engine, "main").await;
    let mut session = session(engine, "main");
    tag(&mut session, "CREATE TABLE people (id int PRIMARY KEY, name text)").await;
    session
}

#[tokio::test]
async fn a_row_is_latest_or_absent_now_and_in_the_past() {
    let folder = Folder::new();
    let engine = folder.open();
    let mut session = people(&engine).await;
    let absent = verified(&engine, &mut session, "'people', 1").await;
    assert_eq!((row_of(&absent), absent.table.name.as_str()), (None, "people"));
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace')").await;
    let first = verified(&engine, &mut session, "'people', 2").await;
    assert_eq!(row_of(&first), person(2, "Grace"));
    assert!(first.claim().starts_with("latest as of record "), "{first}");
    tag(&mut session, "UPDATE people SET name = 'Grace H.' WHERE id = 2").await;
    tag(&mut session, "DELETE FROM people WHERE id = 1").await;
    assert_eq!(
        row_of(&verified(&engine, &mut session, "'people', 2").await),
        person(2, "Grace H.")
    );
    let gone = verified(&engine, &mut session, "'people', 1").await;
    assert_eq!(row_of(&gone), None);
    assert!(
        gone.claim().starts_with("absent as of record ") && gone.to_string().contains("id = 1"),
        "{gone}"
    );

    // At the position of the first receipt's state, and at every later one, what was so then is still provable.
    let position = first.size - 1;
    tag(&mut session, &format!("SET craton.as_of_position = {position}")).await;
    for (arguments, row) in [("'people', 1", person(1, "Ada")), ("'people', 2", person(2, "Grace"))] {
        let then = verified(&engine, &mut session, arguments).await;
        assert_eq!(row_of(&then), row, "{arguments}");
        assert!(then.size <= first.size);
    }
}

#[tokio::test]
async fn a_name_that_was_given_again_leads_to_the_new_table() {
    let folder = Folder::new();
    let engine = folder.open();
    let mut session = people(&engine).await;
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada')").await;
    let old = verified(&engine, &mut session, "'people', 1").await;
    tag(&mut session, "DROP TABLE people").await;
    tag(&mut session, "CREATE TABLE people (id int PRIMARY KEY, name text)").await;
    let new = verified(&engine, &mut session, "'people', 1").await;
    assert_eq!((row_of(&old), row_of(&new)), (person(1, "Ada"), None));
    assert_ne!(old.table.id, new.table.id);
}

#[tokio::test]
async fn a_row_of_a_large_transaction_is_proved_by_its_one_chunk() {
    let folder = Folder::new();
    let engine = folder.open();
    let mut session = people(&engine).await;
    let values: Vec<String> = (0..2_000).map(|id| format!("({id}, 'person {id}')")).collect();
    tag(
        &mut session,
        &format!("INSERT INTO people VALUES {}", values.join(", ")),
    )
    .await;
    for id in [0, 999, 1_999] {
        let proved = verified(&engine, &mut session, &format!("'people', {id}")).await;
        assert_eq!(row_of(&proved), person(id, &format!("person {id}")));
    }
}

/// Where the state trees are.
fn trees(folder: &Folder) -> Vec<PathBuf> {
    let paths = folder.tenants().into_iter().map(|tenant| tenant.join("state.redb"));
    paths.filter(|path| path.exists()).collect()
}

/// A tree that is kept, one that is lost, one that is damaged and one of another log lead to the same states: the old
/// ones, which the log's checkpoints commit to, and the new ones.
#[tokio::test]
async fn a_lost_tree_is_rebuilt_from_the_log() {
    let folder = Folder::new();
    let engine = folder.open();
    let mut session = people(&engine).await;
    let mut old = Vec::new();
    for round in 0..5 {
        for id in 0..20 {
            let name = format!("{round} {id}");
            let insert = "INSERT INTO people VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name";
            let parameters = [Value::Int(id * (round + 1) % 37), Value::Text(name)];
            run(&mut session, insert, &parameters).await.expect("an upsert");
        }
        tag(&mut session, &format!("DELETE FROM people WHERE id = {}", round * 3)).await;
        old.push(state_receipt(&mut session, "'people', 6").await);
    }
    drop((session, engine));
    let mut newest = Vec::new();
    for loss in 0..4 {
        let copy = folder.copy();
        let [tree] = &trees(&copy)[..] else {
            panic!("one tenant has rows");
        };
        match loss {
            0 => {}
            1 => fs::remove_file(tree).expect("it exists"),
            2 => {
                let mut bytes = fs::read(tree).expect("readable");
                let end = bytes.len();
                bytes[end / 4..].fill(0xa5);
                fs::write(tree, bytes).expect("writable");
            }
            _ => fs::write(tree, []).expect("writable"),
        }
        let engine = copy.open();
        let mut session = common::session(&engine, "main");
        tag(&mut session, "INSERT INTO people VALUES (100, 'new')").await;
        assert_eq!(
            row_of(&verified(&engine, &mut session, "'people', 100").await),
            person(100, "new")
        );
        for receipt in &old {
            let before = verify(&engine, receipt);
            tag(
                &mut session,
                &format!("SET craton.as_of_position = {}", before.size - 1),
            )
            .await;
            let again = verified(&engine, &mut session, "'people', 6").await;
            assert_eq!(
                (row_of(&again), again.size),
                (row_of(&before), before.size),
                "loss {loss}"
            );
        }
        tag(&mut session, "RESET craton.as_of_position").await;
        newest.push(row_of(&verified(&engine, &mut session, "'people', 6").await));
    }
    assert!(newest.iter().all(|row| *row == newest[0]), "{newest:?}");
}
