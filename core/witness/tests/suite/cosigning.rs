//! A node and its witnesses: what is cosigned, what is refused, and what nobody waits for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use craton_engine::{ActorId, Response, Value, Wait as _};
use craton_proof::{Receipt, WitnessPolicy};
use craton_witness::{Cosigning, CosigningStatus, RequestOutcome};

use crate::support::{Witnesses, cosigned, log_key, open, until, until_cosigned, write};

fn policy_of(witnesses: &Witnesses, quorum: usize) -> WitnessPolicy {
    let keys = witnesses
        .policy()
        .witnesses()
        .iter()
        .map(|witness| witness.key.clone())
        .collect();
    WitnessPolicy::new(keys, quorum).expect("a policy")
}

fn count(status: &CosigningStatus, outcome: RequestOutcome) -> u64 {
    status.requests.get(&outcome).copied().unwrap_or(0)
}

#[test]
fn every_new_checkpoint_is_cosigned_and_receipts_carry_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(2));
    witnesses.learn(&log_key(&tenant));
    write(&tenant, "before anybody was asked");
    let cosigning = Cosigning::start(engine.clone(), witnesses.clone(), witnesses.policy()).expect("threads");
    until_cosigned(&tenant, &cosigning);
    write(&tenant, "after");
    until_cosigned(&tenant, &cosigning);
    policy_of(&witnesses, 2)
        .verify(&cosigned(&tenant))
        .expect("both have signed");

    let receipt = tenant
        .receipt(craton_engine::Offset::new(0), &|_| true)
        .wait()
        .expect("a receipt");
    let verified = Receipt::verify(receipt.as_bytes(), &log_key(&tenant)).expect("it verifies");
    assert_eq!(verified.checkpoint.size, tenant.cosigned_size());
    assert!(receipt.contains("witness.example/1"), "{receipt}");

    // What is known already is not asked for again, not even after a restart.
    cosigning.stop();
    let requests = cosigning.status().requests;
    assert_eq!(count(&cosigning.status(), RequestOutcome::Cosigned), 4, "{requests:?}");
    drop((cosigning, tenant));
    engine.close().expect("closed");
    drop(engine);
    let (engine, tenant) = open(directory.path());
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    until(
        "look at both",
        || format!("{:?}", cosigning.status()),
        || cosigning.status().witnesses.len() == 2,
    );
    assert_eq!(cosigning.status().requests.len(), 0);
    write(&tenant, "and on");
    until_cosigned(&tenant, &cosigning);
    assert_eq!(
        count(&cosigning.status(), RequestOutcome::Conflict),
        0,
        "the node knows where the witnesses are"
    );
}

#[test]
fn a_witness_that_is_down_or_does_not_know_the_log_yet_holds_up_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(3));
    witnesses.get(0).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).is_down.store(true, Ordering::Release);
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    write(&tenant, "one");
    until_cosigned(&tenant, &cosigning);
    let signers = policy_of(&witnesses, 0).verify(&cosigned(&tenant)).expect("some");
    assert_eq!(signers.len(), 1);
    let status = cosigning.status();
    let errors: Vec<_> = status.witnesses.iter().map(|witness| witness.error.is_some()).collect();
    assert_eq!(errors, [false, true, true], "{status:?}");
    assert!(count(&status, RequestOutcome::UnknownOrigin) > 0 && count(&status, RequestOutcome::Unreachable) > 0);

    // They are asked again about the same checkpoint, and what they say is added.
    witnesses.get(1).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).is_down.store(false, Ordering::Release);
    until(
        "all three",
        || format!("{:?}", cosigning.status()),
        || policy_of(&witnesses, 3).verify(&cosigned(&tenant)).is_ok(),
    );
}

#[test]
fn a_forked_log_and_one_that_was_turned_back_are_refused_and_it_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let (honest, forked) = (directory.path().join("honest"), directory.path().join("forked"));
    let (engine, tenant) = open(&honest.join("node"));
    let witnesses = Arc::new(Witnesses::of(1));
    witnesses.learn(&log_key(&tenant));
    write(&tenant, "what both share");
    engine.close().expect("closed");
    drop((engine, tenant));
    copy(&honest, &forked);

    let (engine, tenant) = open(&honest.join("node"));
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    for event in ["paid", "shipped", "returned"] {
        write(&tenant, event);
    }
    until_cosigned(&tenant, &cosigning);
    let witnessed = tenant.cosigned_size();

    let (engine, tenant) = open(&forked.join("node"));
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    write(&tenant, "never paid");
    assert!(tenant.checkpoint_size() < witnessed);
    let refused = || count(&cosigning.status(), RequestOutcome::OtherHistory);
    until("refusal", || format!("{:?}", cosigning.status()), || refused() > 0);
    let error = cosigning.status().witnesses[0].error.clone().unwrap_or_default();
    assert!(error.contains("turned back or forked"), "{error}");
    while tenant.checkpoint_size() <= witnessed {
        write(&tenant, "never shipped");
    }
    let before = refused();
    until(
        "another refusal",
        || format!("{:?}", cosigning.status()),
        || refused() > before,
    );
    let error = cosigning.status().witnesses[0].error.clone().unwrap_or_default();
    assert!(error.contains("another history"), "{error}");
    assert_eq!(count(&cosigning.status(), RequestOutcome::Cosigned), 0);
    assert_eq!(tenant.cosigned_size(), 0);
}

#[test]
fn no_write_waits_for_a_witness_and_a_receipt_only_for_a_while() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(1));
    witnesses.learn(&log_key(&tenant));
    witnesses.get(0).is_slow.store(true, Ordering::Release);
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    let mut session = tenant.session(ActorId::NIL);
    let mut run = |sql: &str| session.sql(sql, &[]).wait().expect("it succeeds");
    run("CREATE TABLE people (id int PRIMARY KEY, name text)");
    run("INSERT INTO people VALUES (1, 'Ada')");
    let mut receipt = |session_sql: &str| {
        run(session_sql);
        match run("SELECT craton_receipt('people', 1)") {
            Response::Rows { result, .. } => match &result.rows[0][0] {
                Value::Text(receipt) => receipt.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let without = receipt("SET craton.cosignature_timeout = '200ms'");
    assert!(!without.contains("witness.example"), "{without}");
    let also_without = receipt("SET craton.cosignature_timeout = 0");
    assert!(!also_without.contains("witness.example"));

    witnesses.get(0).is_slow.store(false, Ordering::Release);
    let with = receipt("SET craton.cosignature_timeout = '30s'");
    assert!(with.contains("witness.example/0"), "{with}");
    cosigning.stop();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
