//! Members have the same records: where two of them have a record at an offset, it is the same one (Raft's Log Matching and
//! State Machine Safety, Ongaro 2014, section 3.6).

use std::collections::BTreeMap;

use craton_types::{Hash, Offset};

use super::{Checker, Objection, View, ensure};

/// The longest log of each tenant that any member ever had.
#[derive(Default)]
pub(crate) struct LogMatching(BTreeMap<usize, Vec<Hash>>);

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        super::LOG_MATCHING
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let count = usize::try_from(view.tenant.end().get()).expect("a short log");
        let headers = view.tenant.record_headers(Offset::ZERO, count)?;
        let hashes: Vec<Hash> = headers
            .iter()
            .map(|header| craton_crypto::record_hash(&header.encode()))
            .collect();
        let known = self.0.entry(view.number).or_default();
        let differs = known.iter().zip(&hashes).position(|(known, here)| known != here);
        ensure(differs.is_none(), || {
            format!("record {differs:?} is another one than a member had")
        })?;
        if hashes.len() > known.len() {
            *known = hashes;
        }
        Ok(count as u64)
    }
}
