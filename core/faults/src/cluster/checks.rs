//! What must be true when all faults are over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use craton_history::{Call, Register, RegisterOperation, check_keys};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::ClusterOptions;
use super::load::{Fate, Load, REGISTERS_PER_ROUND, Record};
use super::members::Cluster;
use crate::campaign::Campaign;

/// How many steps the search for an explanation of one key's history may take.
const CONFIGURATIONS_MAX: usize = 2_000_000;
/// How many examples a violation names.
const EXAMPLES: usize = 5;

/// Checks everything; violations are noted, an error says that the checks could not be made.
pub(super) fn check_everything(
    campaign: &Campaign,
    options: &ClusterOptions,
    runtime: &Runtime,
    cluster: &mut Cluster,
    load: &Load,
    mut record: Record,
    worked: Duration,
) -> anyhow::Result<()> {
    note_figures(campaign, options, &record, worked);
    let broken = std::mem::take(&mut record.broken);
    for what in broken.into_iter().take(EXAMPLES) {
        campaign.note("0.answers", Err(what));
    }
    for (member, door) in cluster.doors()?.into_iter().enumerate() {
        let rows = runtime.block_on(async {
            let client = door.open().await.context("no session at the end")?;
            client.batch_execute("SET craton.consistency = 'linearizable'").await?;
            read_registers(&client, load, &mut record).await?;
            anyhow::Ok((ids(&client).await?, counters(&client).await?))
        });
        let (ids, counters) = rows.with_context(|| format!("member {}", member + 1))?;
        let checked = check_entries(&record, &ids).and_then(|()| check_counters(&record, &counters));
        let checked = checked.map_err(|what| format!("on member {}: {what}", member + 1));
        campaign.note("0.rows", checked.map(|()| "all rows of a member were as acknowledged"));
    }
    check_histories(campaign, record.calls);
    let log_bytes = cluster.wait_until_logs_are_equal()?;
    campaign.figure("log bytes of each member", log_bytes);
    campaign.note("0.logs", Ok("the logs of all members were byte-identical"));
    cluster.stop_and_verify()?;
    campaign.note("0.verify", Ok("the logs of all members verified offline"));
    let panics = cluster.panics();
    if !panics.is_empty() {
        campaign.note("0.panics", Err(format!("processes panicked: {panics:#?}")));
    }
    Ok(())
}

fn note_figures(campaign: &Campaign, options: &ClusterOptions, record: &Record, worked: Duration) {
    campaign.figure("members", options.members as u64);
    campaign.figure("sessions", options.sessions as u64);
    campaign.figure("seconds of load", worked.as_secs());
    campaign.figure("operations answered", record.answered);
    let milliseconds = u64::try_from(worked.as_millis()).expect("less than a million years");
    campaign.figure("operations a second", record.answered * 1_000 / milliseconds.max(1));
    campaign.figure("operations refused", record.refused);
    campaign.figure("operations with unknown outcome", record.unknown);
    let mut moments = record.acknowledged_at.clone();
    moments.sort_unstable();
    let longest = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
    campaign.figure(
        "longest time without an acknowledged write, ms",
        longest.unwrap_or(0) / 1_000,
    );
}

/// Reads every register that was used, as one more operation of its history.
async fn read_registers(client: &Client, load: &Load, record: &mut Record) -> anyhow::Result<()> {
    let begun = load.shared.now();
    let rows = client.query("SELECT key, value FROM register", &[]).await?;
    let ended = Some(load.shared.now());
    let values: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let keys: BTreeSet<i64> = record.calls.iter().map(|(key, _)| *key).collect();
    for key in keys {
        let operation = RegisterOperation::Read(values.get(&key).copied());
        record.calls.push((
            key,
            Call {
                begun,
                ended,
                operation,
            },
        ));
    }
    Ok(())
}

async fn ids(client: &Client) -> anyhow::Result<Vec<i64>> {
    let rows = client.query("SELECT id FROM entry ORDER BY id", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn counters(client: &Client) -> anyhow::Result<BTreeMap<i32, i64>> {
    let rows = client.query("SELECT session, value FROM counter", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn check_entries(record: &Record, ids: &[i64]) -> Result<(), String> {
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err("an entry is there twice".to_owned());
    }
    let wrong = |fate: Fate, is_there: bool| {
        let entries = record.entries.iter().filter(move |(_, known)| *known == fate);
        let wrong = entries.filter(move |(id, _)| ids.binary_search(id).is_ok() == is_there);
        wrong.map(|(id, _)| *id).take(EXAMPLES).collect::<Vec<_>>()
    };
    let lost = wrong(Fate::Acknowledged, false);
    if !lost.is_empty() {
        return Err(format!("acknowledged entries are missing, the first of them: {lost:?}"));
    }
    let refused = wrong(Fate::Refused, true);
    if !refused.is_empty() {
        return Err(format!("refused entries are there, the first of them: {refused:?}"));
    }
    let known: BTreeSet<i64> = record.entries.iter().map(|(id, _)| *id).collect();
    match ids.iter().find(|id| !known.contains(id)) {
        Some(id) => Err(format!("entry {id} is there, which nobody inserted")),
        None => Ok(()),
    }
}

fn check_counters(record: &Record, counters: &BTreeMap<i32, i64>) -> Result<(), String> {
    for (session, count) in &record.counters {
        let value = counters.get(session).copied().unwrap_or(0);
        if !(count.acknowledged..=count.acknowledged + count.unknown).contains(&value) {
            return Err(format!(
                "the counter of session {session} is {value}, with {} counts acknowledged and {} unknown",
                count.acknowledged, count.unknown
            ));
        }
    }
    Ok(())
}

/// Checks the registers of each round as a case of that round.
fn check_histories(campaign: &Campaign, calls: Vec<(i64, Call<RegisterOperation>)>) {
    let mut rounds: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for (key, call) in calls {
        rounds.entry(key / REGISTERS_PER_ROUND).or_default().push((key, call));
    }
    let mut checked = 0;
    for (round, calls) in rounds {
        match check_keys(&Register, calls, CONFIGURATIONS_MAX) {
            Ok(answered) => {
                checked += answered;
                campaign.note(&format!("0.{round}"), Ok("a history was linearizable"));
            }
            Err((key, error)) => campaign.note(&format!("0.{round}"), Err(format!("register {key}: {error}"))),
        }
    }
    campaign.figure("operations in checked histories", checked as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::load::Count;

    fn record(entries: &[(i64, Fate)], counter: Count) -> Record {
        Record {
            entries: entries.to_vec(),
            counters: [(7, counter)].into(),
            ..Record::default()
        }
    }

    #[test]
    fn entries_that_are_lost_doubled_refused_or_from_nowhere_are_found() {
        let entries = [(1, Fate::Acknowledged), (2, Fate::Refused), (3, Fate::Unknown)];
        let record = record(&entries, Count::default());
        for (ids, expected) in [
            (vec![1], None),
            (vec![1, 3], None),
            (vec![3], Some("missing")),
            (vec![1, 1], Some("twice")),
            (vec![1, 2], Some("refused")),
            (vec![1, 4], Some("nobody")),
        ] {
            let what = check_entries(&record, &ids).err();
            assert_eq!(what.is_some(), expected.is_some(), "{ids:?}: {what:?}");
            assert!(
                what.unwrap_or_default().contains(expected.unwrap_or_default()),
                "{ids:?}"
            );
        }
    }

    #[test]
    fn counts_that_are_lost_or_doubled_are_found() {
        let count = Count {
            acknowledged: 5,
            unknown: 1,
        };
        let record = record(&[], count);
        for (value, is_right) in [(4, false), (5, true), (6, true), (7, false)] {
            assert_eq!(
                check_counters(&record, &[(7, value)].into()).is_ok(),
                is_right,
                "{value}"
            );
        }
    }
}
