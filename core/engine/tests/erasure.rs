//! Erasing a data subject: what is left of it, who may do it, and what crashes and lost files change.

mod common;

use std::fs;

use common::{Folder, create, rows, run, session, sqlstate, tag};
use craton_engine::{Craton, Response, Session};
use craton_types::Value;

const PATIENTS: &str = "CREATE TABLE patients (id bigint PRIMARY KEY, name text, born date, ward text)
    WITH (subject = 'id', erasable = 'name, born')";
const KEY_FILES: [&str; 2] = ["subjects.a.keys", "subjects.b.keys"];

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A clinic with two patients.
async fn clinic(folder: &Folder) -> (Craton, Session) {
    let craton = folder.open();
    create(&craton, "clinic").await;
    let mut session = session(&craton, "clinic");
    tag(&mut session, PATIENTS).await;
    tag(
        &mut session,
        "INSERT INTO patients VALUES (42, 'Ada Lovelace', '1815-12-10', 'north'), (43, 'Bob', NULL, 'south')",
    )
    .await;
    tag(&mut session, "UPDATE patients SET ward = 'east' WHERE id = 42").await;
    (craton, session)
}

/// Everything that any statement tells of patient 42, in one text.
async fn everything_about_42(session: &mut Session) -> String {
    let mut told = String::new();
    for sql in [
        "SELECT * FROM patients",
        "SELECT count(*) FROM patients WHERE name LIKE 'Ada%'",
        "SELECT name FROM patients WHERE id = 42",
        "SELECT name FROM patients AS OF POSITION 2 WHERE id = 42",
        "SELECT * FROM craton_history('patients')",
        "SELECT craton_receipt('patients', 42)",
    ] {
        told.push_str(&format!("{:?}\n", rows(session, sql).await));
    }
    match run(session, "COPY patients TO STDOUT", &[]).await {
        Ok(Response::CopyOut { data, .. }) => told.push_str(&String::from_utf8_lossy(&data)),
        other => panic!("{other:?}"),
    }
    let receipt = rows(session, "SELECT craton_receipt('patients', 42)").await;
    let [Value::Text(receipt)] = receipt[0].as_slice() else {
        panic!("a text")
    };
    let key = rows(session, "SELECT craton_log_key()").await;
    let [Value::Text(key)] = key[0].as_slice() else {
        panic!("a text")
    };
    let verified = craton_proof::Receipt::verify(receipt.as_bytes(), &key.parse().expect("a key"));
    told.push_str(&verified.expect("the receipt verifies").to_string());
    told
}

async fn assert_erased(session: &mut Session) {
    let told = everything_about_42(session).await;
    assert!(!told.contains("Ada Lovelace") && !told.contains("1815-12-10"), "{told}");
    assert!(told.contains("(erased or withheld)"), "{told}");
    assert!(told.contains("Bob"), "others are as they were: {told}");
    assert_eq!(
        rows(session, "SELECT name, born, ward FROM patients WHERE id = 42").await,
        [[Value::Null, Value::Null, text("east")]]
    );
}

#[tokio::test]
async fn an_erased_subject_is_gone_from_every_statement_and_stays_gone() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    let told = everything_about_42(&mut client).await;
    assert!(told.contains("Ada Lovelace") && told.contains("1815-12-10"), "{told}");
    let erased = rows(&mut client, "ERASE SUBJECT '42' REASON 'art. 17'").await;
    assert_eq!(erased[0][..2], [text("42"), Value::Int(0)]);
    assert_erased(&mut client).await;
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '42'").await, "P0002");
    drop(client);
    craton.close().expect("it closes");
    drop(craton);

    let craton = folder.open();
    assert_erased(&mut session(&craton, "clinic")).await;
    drop(craton);
    for tenant in folder.tenants() {
        let _ = fs::remove_file(tenant.join("view.redb"));
    }
    let craton = folder.open();
    assert_erased(&mut session(&craton, "clinic")).await;
}

#[tokio::test]
async fn a_subject_that_is_written_again_is_there_again() {
    let folder = Folder::new();
    let (_craton, mut client) = clinic(&folder).await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    tag(&mut client, "UPDATE patients SET name = 'Ada King' WHERE id = 42").await;
    assert_eq!(
        rows(&mut client, "SELECT name, born FROM patients WHERE id = 42").await,
        [[text("Ada King"), Value::Null]]
    );
    let history = format!(
        "{:?}",
        rows(&mut client, "SELECT * FROM craton_history('patients')").await
    );
    assert!(
        history.contains("Ada King") && !history.contains("Lovelace"),
        "{history}"
    );
}

#[tokio::test]
async fn holds_and_retention_refuse_and_the_refusal_is_on_record() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    let tenant = craton.tenant("clinic").expect("the tenant");
    tag(&mut client, "HOLD SUBJECT '42' REASON 'court order 7/2026'").await;
    let end = tenant.end();
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '42'").await, "55006");
    assert_eq!(tenant.end(), end.next(), "the refusal is a record");
    tag(&mut client, "RELEASE SUBJECT '42' REASON 'order lifted'").await;
    assert_eq!(
        sqlstate(&mut client, "RELEASE SUBJECT '42' REASON 'again'").await,
        "55000"
    );
    tag(&mut client, "ALTER TABLE patients SET (retention = '12 years')").await;
    let end = tenant.end();
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '42'").await, "55000");
    assert_eq!(tenant.end(), end.next(), "the refusal is a record");
    tag(&mut client, "ALTER TABLE patients SET (retention = 'none')").await;
    tag(&mut client, "ALTER DATABASE clinic SET (retention = '1 year')").await;
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '42'").await, "55000");
    tag(&mut client, "ALTER DATABASE clinic SET (retention = 'none')").await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    assert_erased(&mut client).await;
}

#[tokio::test]
async fn only_those_may_erase_who_have_the_right_and_outside_of_transactions() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    for (name, read_only, compliance, expected) in [
        ("clerk", false, false, "42501"),
        ("auditor", true, true, "42501"),
        ("officer", false, true, ""),
    ] {
        let user = craton_types::UserDefinition {
            read_only,
            compliance,
            ..common::user(name, &["clinic"])
        };
        let mut session = craton.open_session("clinic", &user).expect("a session");
        for sql in [
            "HOLD SUBJECT '43' REASON 'x'",
            "RELEASE SUBJECT '43' REASON 'x'",
            "ALTER TABLE patients SET (retention = 'none')",
            "ERASE SUBJECT '43'",
        ] {
            match expected {
                "" => drop(tag(&mut session, sql).await),
                expected => assert_eq!(sqlstate(&mut session, sql).await, expected, "{name}: {sql}"),
            }
        }
    }
    tag(&mut client, "BEGIN").await;
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '42'").await, "25001");
    tag(&mut client, "ROLLBACK").await;
    for sql in [
        "HOLD SUBJECT '42'",
        "HOLD SUBJECT '42' REASON ' '",
        "ERASE SUBJECT NULL",
    ] {
        assert_eq!(sqlstate(&mut client, sql).await, "22023", "{sql}");
    }
    assert_eq!(
        run(&mut client, "ERASE SUBJECT $1", &[text("42")]).await.map(drop).ok(),
        Some(())
    );
}

#[tokio::test]
async fn a_transaction_that_read_before_the_erasure_neither_sees_nor_writes_afterwards() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    let mut other = session(&craton, "clinic");
    tag(&mut other, "CREATE TABLE notes (id bigint PRIMARY KEY, text text)").await;
    tag(&mut other, "BEGIN").await;
    assert_eq!(
        rows(&mut other, "SELECT name FROM patients WHERE id = 42").await,
        [[text("Ada Lovelace")]]
    );
    tag(&mut other, "UPDATE patients SET ward = 'west' WHERE id = 42").await;
    tag(
        &mut other,
        "INSERT INTO notes SELECT id, name FROM patients WHERE id = 43",
    )
    .await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    assert_eq!(
        rows(
            &mut other,
            "SELECT count(*) FROM patients AS OF POSITION 2 WHERE name IS NOT NULL"
        )
        .await,
        [[Value::Int(1)]]
    );
    assert_eq!(sqlstate(&mut other, "COMMIT").await, "40001");
    assert_erased(&mut client).await;
}

/// What a crash right after the acknowledgement leaves holds neither the key nor anything that it opens.
#[tokio::test]
async fn a_crash_after_the_acknowledgement_brings_nothing_back() {
    let folder = Folder::new();
    let (_craton, mut client) = clinic(&folder).await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    tag(&mut client, "UPDATE patients SET ward = 'east' WHERE id = 43").await;
    let crashed = folder.copy();
    let craton = crashed.open();
    assert_erased(&mut session(&craton, "clinic")).await;
}

#[tokio::test]
async fn keys_survive_the_loss_of_a_copy_and_are_missed_when_both_are_lost() {
    let folder = Folder::new();
    let (craton, client) = clinic(&folder).await;
    drop(client);
    drop(craton);
    let tenant = folder
        .tenants()
        .into_iter()
        .find(|tenant| tenant.join(KEY_FILES[0]).exists())
        .expect("the clinic's folder");
    let name = async |craton: &Craton| {
        let mut session = session(craton, "clinic");
        run(&mut session, "SELECT name FROM patients WHERE id = 42", &[]).await
    };
    for lost in KEY_FILES {
        fs::remove_file(tenant.join(lost)).expect("a copy");
        let craton = folder.open();
        assert!(format!("{:?}", name(&craton).await).contains("Ada Lovelace"));
        drop(craton);
        let [first, second] = KEY_FILES.map(|name| fs::read(tenant.join(name)).expect("both are there again"));
        assert_eq!(first, second);
    }
    // A damaged slot is mended from the other copy; without a good one, nobody is told that the cell is erased.
    let slot = 128..128 + 96;
    for (damaged, mended) in [
        (&KEY_FILES[..1], true),
        (&KEY_FILES[1..], true),
        (&KEY_FILES[..], false),
    ] {
        let good = fs::read(tenant.join(KEY_FILES[0])).expect("a copy");
        for name in damaged {
            let mut bytes = good.clone();
            bytes[slot.clone()].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(tenant.join(name), bytes).expect("a copy");
        }
        let craton = folder.open();
        let told = format!("{:?}", name(&craton).await);
        assert_eq!(told.contains("Ada Lovelace"), mended, "{told}");
        assert_eq!(told.contains("58030"), !mended, "{told}");
        drop(craton);
        if mended {
            assert_eq!(fs::read(tenant.join(damaged[0])).expect("a copy"), good);
        }
    }
    for lost in KEY_FILES {
        fs::remove_file(tenant.join(lost)).expect("a copy");
    }
    let error = folder.options().open(folder.data()).err().expect("it refuses");
    assert!(
        matches!(error, craton_engine::EngineError::SubjectKeysLost { .. }),
        "{error}"
    );
}

/// The key of an erased subject is in no file any more, whoever has every other key.
#[tokio::test]
async fn both_copies_of_the_key_are_overwritten_before_the_acknowledgement() {
    let folder = Folder::new();
    let (_craton, mut client) = clinic(&folder).await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    let tenant = folder
        .tenants()
        .into_iter()
        .find(|tenant| tenant.join(KEY_FILES[0]).exists())
        .expect("the clinic's folder");
    for name in KEY_FILES {
        let bytes = fs::read(tenant.join(name)).expect("a copy");
        let (erased, kept) = (&bytes[128..224], &bytes[224..320]);
        assert_eq!((erased[4], kept[4]), (2, 1), "the states of the slots");
        assert!(erased[16..].iter().all(|byte| *byte == 0));
        assert!(kept[16..85].iter().any(|byte| *byte != 0));
    }
    assert!(!tenant.join("subjects.condemned").exists());
}
