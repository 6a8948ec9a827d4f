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
        "SELECT * FROM craton_events",
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

#[tokio::test]
async fn the_events_of_the_log_are_a_table_that_is_read_in_parts() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    let tenant = craton.tenant("clinic").expect("the tenant");
    let append = craton_engine::Append::new("ward-rounds", ["first"]);
    tenant.append(append).await.expect("an event");
    tag(&mut client, "HOLD SUBJECT '43' REASON 'court'").await;
    assert_eq!(sqlstate(&mut client, "ERASE SUBJECT '43'").await, "55006");
    tag(&mut client, "ERASE SUBJECT '42' REASON 'art. 17'").await;
    tag(&mut client, "ALTER TABLE patients SET (retention = '2 years')").await;
    let told = rows(
        &mut client,
        "SELECT operation, table_name, subject, erased, detail FROM craton_events
         WHERE kind <> 'checkpoint' AND kind <> 'policy' ORDER BY position, change",
    )
    .await;
    let (null, yes, no) = (Value::Null, Value::Bool(true), Value::Bool(false));
    let expected = [
        [
            text("CREATE TABLE"),
            text("patients"),
            null.clone(),
            null.clone(),
            null.clone(),
        ],
        [text("INSERT"), text("patients"), text("42"), yes.clone(), null.clone()],
        [text("INSERT"), text("patients"), text("43"), no, null.clone()],
        [text("UPDATE"), text("patients"), text("42"), yes, null.clone()],
        [text("APPEND"), null.clone(), null.clone(), null.clone(), null.clone()],
        [text("HOLD"), null.clone(), text("43"), null.clone(), text("court")],
        [
            text("ERASE REFUSED"),
            null.clone(),
            text("43"),
            null.clone(),
            text("held: court"),
        ],
        [text("ERASE"), null.clone(), text("42"), null.clone(), text("art. 17")],
        [
            text("SET RETENTION"),
            text("patients"),
            null.clone(),
            null,
            text("2 years"),
        ],
    ];
    assert_eq!(told, expected);

    let all = rows(&mut client, "SELECT position, change FROM craton_events").await;
    let count = all.len();
    let place = |row: &[Value]| match row {
        [Value::Int(position), Value::Int(change)] => (*position, *change),
        other => panic!("two integers, got {other:?}"),
    };
    assert!(all.is_sorted_by_key(|row| place(row)), "{all:?}");
    let backward = rows(
        &mut client,
        "SELECT position, change FROM craton_events ORDER BY position DESC, change DESC",
    )
    .await;
    assert!(backward.iter().eq(all.iter().rev()), "{backward:?}");
    for from in 0..=tenant.end().get() + 1 {
        for (condition, expected) in [
            (
                format!("position >= {from}"),
                all.iter().filter(|row| place(row).0.cast_unsigned() >= from).count(),
            ),
            (
                format!("position > {from}"),
                all.iter().filter(|row| place(row).0.cast_unsigned() > from).count(),
            ),
            (
                format!("position < {from}"),
                all.iter().filter(|row| place(row).0.cast_unsigned() < from).count(),
            ),
            (
                format!("position = {from}"),
                all.iter().filter(|row| place(row).0.cast_unsigned() == from).count(),
            ),
            (
                format!("position = {from} AND change = 1"),
                all.iter().filter(|row| place(row) == (from.cast_signed(), 1)).count(),
            ),
        ] {
            let found = rows(
                &mut client,
                &format!("SELECT position FROM craton_events WHERE {condition}"),
            )
            .await;
            assert_eq!(found.len(), expected, "{condition} of {count}");
        }
    }
    assert_eq!(
        rows(
            &mut client,
            "SELECT stream FROM craton_events WHERE operation = 'APPEND'"
        )
        .await,
        [[text("ward-rounds")]]
    );
    assert_eq!(sqlstate(&mut client, "DELETE FROM craton_events").await, "42P01");
    assert_eq!(
        sqlstate(&mut client, "CREATE TABLE craton_events (id int PRIMARY KEY)").await,
        "42P07"
    );
}

/// A node that stops before the traces are removed goes on when it is opened.
#[tokio::test]
async fn an_erasure_that_was_interrupted_is_finished_at_the_next_start() {
    let folder = Folder::new();
    let (craton, mut client) = clinic(&folder).await;
    tag(&mut client, "ERASE SUBJECT '42'").await;
    drop(client);
    craton.close().expect("it closes");
    drop(craton);
    // As if it had stopped after the record was applied and before the key's slot was overwritten.
    let tenant = folder
        .tenants()
        .into_iter()
        .find(|tenant| tenant.join(KEY_FILES[0]).exists())
        .expect("the clinic's folder");
    let erased = fs::read(tenant.join(KEY_FILES[0])).expect("a copy");
    let mut alive = erased.clone();
    let kept = alive[224..320].to_vec();
    alive[128..224].copy_from_slice(&kept);
    for name in KEY_FILES {
        fs::write(tenant.join(name), &alive).expect("a copy");
    }
    let mut condemned = 0u64.to_be_bytes().to_vec();
    condemned.extend_from_slice(&crc32c::crc32c(&condemned).to_be_bytes());
    fs::write(tenant.join("subjects.condemned"), condemned).expect("a list");

    let craton = folder.open();
    assert!(!tenant.join("subjects.condemned").exists());
    for name in KEY_FILES {
        assert_eq!(fs::read(tenant.join(name)).expect("a copy"), erased);
    }
    assert_erased(&mut session(&craton, "clinic")).await;
}
