//! What was acknowledged is never lost, and what was refused never happens.

use std::collections::{BTreeMap, BTreeSet};

use craton_types::Offset;

use super::{Checker, Objection, View, ensure, integers, rows};
use crate::history::Told;

/// More records than a run makes.
const RECORDS_MAX: usize = 1_000_000;

#[derive(Default)]
pub(super) struct Acknowledged;

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged-never-lost"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        Ok(check_appends(view)? + check_transfers(view)? + check_patients(view)?)
    }
}

fn check_appends(view: &View<'_>) -> Result<u64, Objection> {
    let page = view.tenant.read_events(Offset::ZERO, RECORDS_MAX)?;
    let records: BTreeMap<Offset, _> = page
        .records
        .iter()
        .map(|record| (record.header.offset, record))
        .collect();
    let mut facts = 0;
    for (number, append) in view.history.appends.iter().enumerate() {
        let Some(place) = append.place.filter(|_| append.tenant == view.number) else {
            continue;
        };
        facts += 1;
        let record = records.get(&place.offset);
        let is_there = record.is_some_and(|record| {
            record.record_hash == place.hash
                && record.header.stream_sequence == place.sequence
                && *record.stream == append.stream
                && record.events == [append.event.clone()]
        });
        ensure(is_there, || {
            format!("append {number} was acknowledged at {place:?}; the log has {record:?} there")
        })?;
    }
    Ok(facts)
}

fn check_transfers(view: &View<'_>) -> Result<u64, Objection> {
    let rows = rows(view.tenant, "SELECT id FROM ledger")?;
    let ids: BTreeSet<i64> = rows
        .iter()
        .map(|row| integers(row).map(|[id]| id))
        .collect::<Result<_, _>>()?;
    let mut facts = 0;
    for transfer in view
        .history
        .transfers
        .iter()
        .filter(|transfer| transfer.tenant == view.number)
    {
        facts += 1;
        let is_there = ids.contains(&transfer.id);
        let is_right = match transfer.told {
            Told::Nothing => true,
            Told::Done => is_there,
            Told::Refused => !is_there,
        };
        ensure(is_right, || format!("in the ledger: {is_there}, of {transfer:?}"))?;
    }
    Ok(facts)
}

fn check_patients(view: &View<'_>) -> Result<u64, Objection> {
    let rows = rows(view.tenant, "SELECT id FROM patients")?;
    let ids: BTreeSet<i64> = rows
        .iter()
        .map(|row| integers(row).map(|[id]| id))
        .collect::<Result<_, _>>()?;
    let mut facts = 0;
    for patient in view
        .history
        .patients
        .iter()
        .filter(|patient| patient.tenant == view.number)
    {
        facts += 1;
        let is_there = ids.contains(&patient.id);
        let is_right = match patient.admitted {
            Told::Nothing => true,
            Told::Done => is_there,
            Told::Refused => !is_there,
        };
        ensure(is_right, || format!("in the table: {is_there}, of {patient:?}"))?;
    }
    Ok(facts)
}
