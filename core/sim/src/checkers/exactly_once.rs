//! A request that was asked again with the same idempotency id is applied once, and nothing is there that nobody asked
//! for.

use std::collections::{BTreeMap, BTreeSet};

use craton_types::Offset;

use super::{Checker, Objection, View, ensure};

/// More records than a run makes.
const RECORDS_MAX: usize = 1_000_000;

#[derive(Default)]
pub(super) struct ExactlyOnce;

impl Checker for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly-once"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let asked: BTreeSet<(&str, &[u8])> = view
            .history
            .appends
            .iter()
            .filter(|append| append.tenant == view.number)
            .map(|append| (append.stream.as_str(), append.event.as_slice()))
            .collect();
        let page = view.tenant.read_events(Offset::ZERO, RECORDS_MAX)?;
        let mut seen: BTreeMap<&[u8], Offset> = BTreeMap::new();
        let mut sequences: BTreeMap<&str, u64> = BTreeMap::new();
        for record in &page.records {
            let offset = record.header.offset;
            let next = sequences.entry(&record.stream).or_default();
            ensure(record.header.stream_sequence.get() == *next, || {
                format!(
                    "record {offset} of stream {:?} is not number {next} of it",
                    record.stream
                )
            })?;
            *next += 1;
            for event in &record.events {
                ensure(asked.contains(&(&*record.stream, event.as_slice())), || {
                    format!("record {offset} holds an event that nobody appended")
                })?;
                if let Some(first) = seen.insert(event, offset) {
                    return Err(Objection::Broken(format!(
                        "the event of record {offset} is in record {first} as well"
                    )));
                }
            }
        }
        Ok(page.records.len() as u64)
    }
}
