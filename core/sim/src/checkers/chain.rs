//! Each record names the hash of the record before it, and no record that was ever seen changes or goes.

use std::collections::BTreeMap;

use craton_types::{Hash, Offset};

use super::{Checker, Objection, View, ensure};

/// What was seen of each tenant's log.
#[derive(Default)]
pub(super) struct Chain(BTreeMap<usize, Vec<Hash>>);

impl Checker for Chain {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let count = usize::try_from(view.tenant.end().get()).expect("a short log");
        let headers = view.tenant.record_headers(Offset::ZERO, count)?;
        ensure(headers.len() == count, || {
            format!("{} headers of {count} records", headers.len())
        })?;
        let mut hashes = Vec::with_capacity(count);
        let (mut previous, mut time) = (Hash::ZERO, None);
        for (offset, header) in (0..).zip(&headers) {
            ensure(
                header.offset.get() == offset && header.previous_hash == previous,
                || format!("record {offset} does not follow the one before it: {header:?}"),
            )?;
            ensure(time <= Some(header.timestamp), || {
                format!("record {offset} is older than the one before it")
            })?;
            time = Some(header.timestamp);
            previous = craton_crypto::record_hash(&header.encode());
            hashes.push(previous);
        }
        let seen = self.0.entry(view.number).or_default();
        ensure(hashes.starts_with(seen), || {
            let differs = seen.iter().zip(&hashes).position(|(seen, now)| seen != now);
            format!(
                "{} records were seen, now there are {count}; the first that differs: {differs:?}",
                seen.len()
            )
        })?;
        *seen = hashes;
        Ok(count as u64)
    }
}
