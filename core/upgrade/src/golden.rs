//! Golden data directories: what a build wrote in a format version, kept so that later builds show that they still open it.
//!
//! A directory is that of the only member of a cluster, so that it has every kind of file: `data`, `master.key`, and
//! `expected.json`, which says what is in it. Its keys protect nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use craton_consensus::{Lane, ListedMember, MemberList, Peer, Transport, TransportError};
use craton_crypto::{FileMasterKey, SecretBytes, record_hash};
use craton_engine::{Append, ClusterOptions, Craton, Response, StreamSequence, Tenant};
use craton_proof::Receipt;
use craton_types::{ActorId, Format, FormatVersion, NodeId, Offset};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::cluster::wait_for;

const ORIGIN: &str = "golden.craton.localhost";
const DATABASE: &str = "clinic";
const STREAM: &str = "patient-42";
const ACTOR: ActorId = ActorId::new([7; 16]);
const SETUP: [&str; 6] = [
    "CREATE TABLE patients (id bigint PRIMARY KEY, name text, born date) \
     WITH (subject = 'id', erasable = 'name, born')",
    "CREATE TABLE visits (id bigint PRIMARY KEY, patient bigint NOT NULL, note text, cost numeric, at timestamptz)",
    "INSERT INTO patients VALUES (1, 'Ada', '1815-12-10'), (2, 'Grace', '1906-12-09')",
    "INSERT INTO visits VALUES (1, 1, 'first', 12.50, '2026-01-02 03:04:05+00'), (2, 2, NULL, 0, NULL), (3, 1, '', 7, NULL)",
    "UPDATE visits SET note = 'changed' WHERE id = 1",
    "DELETE FROM visits WHERE id = 3",
];
const QUERIES: [&str; 3] = [
    "SELECT * FROM patients ORDER BY id",
    "SELECT * FROM visits ORDER BY id",
    "SELECT id, note FROM visits AS OF POSITION 4 ORDER BY id",
];

/// What a golden directory holds.
#[derive(Debug, Serialize, Deserialize)]
struct Expected {
    format: u8,
    log_key: String,
    /// How many records the database's log had, and the hash of the last one.
    records: u64,
    head_hash: String,
    /// The answer to each query.
    answers: Vec<Vec<String>>,
    /// The events of the stream.
    events: Vec<String>,
    /// Receipts that were given then, with the offset and hash of the record that each is of.
    receipts: Vec<ExpectedReceipt>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExpectedReceipt {
    offset: u64,
    record_hash: String,
    text: String,
}

/// Nobody else is in the cluster.
struct Nobody;

impl Transport for Nobody {
    fn call(&self, peer: Peer, _: Lane, _: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let error = TransportError::Unreachable {
            peer: peer.id,
            reason: "the cluster has one member".to_owned(),
        };
        std::future::ready(Err(error)).boxed()
    }
}

/// Opens the node of a golden directory as a build that knows the versions up to `newest`.
///
/// # Errors
/// When it does not open.
pub async fn open(directory: &Path, newest: FormatVersion) -> anyhow::Result<Craton> {
    let node = NodeId::new(1);
    let options = Craton::options()
        .origin(ORIGIN)
        .master_key(Arc::new(FileMasterKey::open(&directory.join("master.key"))?))
        .format(Arc::new(Format::new(newest)))
        .cluster(ClusterOptions {
            node,
            bootstrap: true,
            members: MemberList {
                generation: 1,
                members: vec![ListedMember {
                    id: node,
                    peer_address: "golden:1".to_owned(),
                }],
            },
            transport: Arc::new(Nobody),
            keys: None,
            runtime: None,
        });
    let data = directory.join("data");
    let craton = tokio::task::spawn_blocking(move || options.open(data)).await??;
    wait_for("the only member to lead", || Ok(craton.leads().then_some(()))).await?;
    Ok(craton)
}

/// Closes a node in order.
///
/// # Errors
/// When its last flush fails.
pub async fn close(craton: Craton) -> anyhow::Result<()> {
    Ok(tokio::task::spawn_blocking(move || craton.close()).await??)
}

/// Writes a golden directory.
///
/// # Errors
/// When it is there already, the build does not know the version, or the engine fails.
pub async fn write(directory: &Path, format: FormatVersion) -> anyhow::Result<()> {
    Format::default().check(format)?;
    fs::create_dir_all(directory)?;
    FileMasterKey::generate(&directory.join("master.key"), SecretBytes::new([42; 32]))?;
    let craton = open(directory, format).await?;
    let tenant = craton.open_tenant(DATABASE).await?;
    for statement in SETUP {
        answer(&tenant, statement).await?;
    }
    for event in ["admitted", "discharged"] {
        tenant.append(Append::new(STREAM, [event])).await?;
    }
    tenant.hold_subject("2", "an inquiry", ACTOR).await?;
    tenant.rotate_data_key(ACTOR).await?;
    tenant.erase_subject("1", None, ACTOR).await?;
    answer(
        &tenant,
        "INSERT INTO visits VALUES (4, 2, 'after the rotation', 1, NULL)",
    )
    .await?;
    // Once more, so that there is more than one file of the log, and a record of the opening.
    drop(tenant);
    close(craton).await?;
    let craton = open(directory, format).await?;
    let tenant = craton.tenant(DATABASE).context("the database")?;
    answer(
        &tenant,
        "INSERT INTO visits VALUES (5, 2, 'after the opening', 1, NULL)",
    )
    .await?;
    tenant.checkpoint().await?;
    let expected = expect(&tenant, format).await?;
    fs::write(directory.join("expected.json"), serde_json::to_vec_pretty(&expected)?)?;
    close(craton).await
}

async fn expect(tenant: &Tenant, format: FormatVersion) -> anyhow::Result<Expected> {
    let records = tenant.end().get();
    let mut receipts = Vec::new();
    for offset in [2, 5, 7] {
        let receipt = tenant.receipt(Offset::new(offset), &|_| true).await?;
        receipts.push(ExpectedReceipt {
            offset,
            record_hash: hash_at(tenant, offset)?,
            text: String::from_utf8(receipt.as_bytes().to_vec())?,
        });
    }
    Ok(Expected {
        format: format.get(),
        log_key: tenant.log_key(),
        records,
        head_hash: hash_at(tenant, records - 1)?,
        answers: answers(tenant).await?,
        events: events(tenant)?,
        receipts,
    })
}

fn hash_at(tenant: &Tenant, offset: u64) -> anyhow::Result<String> {
    let headers = tenant.record_headers(Offset::new(offset), 1)?;
    let header = headers.first().context("a record")?;
    Ok(record_hash(&header.encode()).to_string())
}

async fn answers(tenant: &Tenant) -> anyhow::Result<Vec<Vec<String>>> {
    let mut answers = Vec::new();
    for query in QUERIES {
        answers.push(answer(tenant, query).await?);
    }
    Ok(answers)
}

async fn answer(tenant: &Tenant, sql: &str) -> anyhow::Result<Vec<String>> {
    let mut session = tenant.session(ACTOR);
    match session.sql(sql, &[]).await.with_context(|| sql.to_owned())? {
        Response::Rows { result, .. } => Ok(result.rows.iter().map(|row| format!("{row:?}")).collect()),
        _ => Ok(Vec::new()),
    }
}

fn events(tenant: &Tenant) -> anyhow::Result<Vec<String>> {
    let records = tenant.read_stream(STREAM, StreamSequence::ZERO, 10)?;
    let events = records.into_iter().flat_map(|record| record.events);
    Ok(events
        .map(|event| String::from_utf8_lossy(&event).into_owned())
        .collect())
}

/// Opens a golden directory with this build and makes sure that it holds what it held, and can be written to. Its format
/// version.
///
/// # Errors
/// What is different.
pub async fn check(directory: &Path) -> anyhow::Result<FormatVersion> {
    let expected: Expected = serde_json::from_slice(&fs::read(directory.join("expected.json"))?)?;
    let craton = open(directory, FormatVersion::NEWEST).await?;
    ensure!(craton.format().active.get() == expected.format, "{:?}", craton.format());
    let tenant = craton.tenant(DATABASE).context("the database")?;
    check_content(&tenant, &expected).await?;
    answer(
        &tenant,
        "INSERT INTO visits VALUES (100, 2, 'by a later build', 1, NULL)",
    )
    .await?;
    let appended = tenant.append(Append::new("patient-43", ["admitted"])).await?;
    tenant.checkpoint().await?;
    let end = tenant.end().get();
    let receipt = tenant.receipt(appended.offset, &|_| true).await?;
    Receipt::verify(receipt.as_bytes(), &expected.log_key.parse()?)?;
    craton.finalize_format(ACTOR, None).await?;
    drop(tenant);
    close(craton).await?;

    let craton = open(directory, FormatVersion::NEWEST).await?;
    ensure!(craton.format().active == FormatVersion::NEWEST, "{:?}", craton.format());
    let tenant = craton.tenant(DATABASE).context("the database")?;
    ensure!(tenant.end().get() >= end, "{} records, {end} before", tenant.end());
    answer(&tenant, "DELETE FROM visits WHERE id = 100").await?;
    check_content(&tenant, &expected).await?;
    close(craton).await?;
    Ok(FormatVersion::new(expected.format))
}

async fn check_content(tenant: &Tenant, expected: &Expected) -> anyhow::Result<()> {
    ensure!(
        tenant.log_key() == expected.log_key,
        "the log key is {}",
        tenant.log_key()
    );
    let head = hash_at(tenant, expected.records - 1)?;
    ensure!(head == expected.head_hash, "record {} is {head}", expected.records - 1);
    let answers = answers(tenant).await?;
    ensure!(
        answers == expected.answers,
        "{answers:?} instead of {:?}",
        expected.answers
    );
    ensure!(events(tenant)? == expected.events, "{:?}", events(tenant)?);
    for given in &expected.receipts {
        let key = expected.log_key.parse()?;
        let fresh = tenant.receipt(Offset::new(given.offset), &|_| true).await?;
        for text in [given.text.as_bytes(), fresh.as_bytes()] {
            let hash = Receipt::verify(text, &key)?.record_hash.to_string();
            ensure!(
                hash == given.record_hash,
                "the receipt of record {} is of {hash}",
                given.offset
            );
        }
    }
    Ok(())
}
