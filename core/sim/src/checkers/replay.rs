//! A view is what a replay of the log makes: a node that has lost its views shows the same as one that has not.

use craton_engine::{EngineError, StreamSequence, Tenant};
use craton_log::testing::MemoryDisk;

use super::{Objection, rows};

/// What is derived from the logs, and can be lost.
const DERIVED: [&str; 2] = ["view.redb", "state.redb"];
const TABLES: [&str; 4] = ["accounts", "ledger", "patients", "registers"];
/// More records than a run makes.
const RECORDS_MAX: usize = 1_000_000;

/// Removes every view of a disk, has `reopen` open a node on it, and compares what the tenants show. `shown` is what they
/// showed before.
pub(crate) fn compare_with_replay(
    disk: &MemoryDisk,
    shown: &[String],
    reopen: impl FnOnce(&MemoryDisk) -> Result<Vec<Tenant>, EngineError>,
    streams: u64,
) -> Result<u64, Objection> {
    let is_derived = |path: &std::path::PathBuf| DERIVED.iter().any(|name| path.ends_with(name));
    for path in disk.paths().iter().filter(|path| is_derived(path)) {
        disk.unlink(path);
    }
    let tenants = reopen(disk)?;
    for (tenant, shown) in tenants.iter().zip(shown) {
        let replayed = show(tenant, streams)?;
        if replayed != *shown {
            return Err(Objection::Broken(format!(
                "a replay of {} shows {replayed}, the view showed {shown}",
                tenant.name()
            )));
        }
    }
    Ok(tenants.len() as u64)
}

/// Everything that a tenant's tables and streams show.
pub(crate) fn show(tenant: &Tenant, streams: u64) -> Result<String, Objection> {
    let mut shown = String::new();
    for table in TABLES {
        let rows = rows(tenant, &format!("SELECT * FROM {table} ORDER BY id"))?;
        shown.push_str(&format!("{table}: {rows:?}\n"));
    }
    for stream in 0..streams {
        let records = tenant.read_stream(&format!("stream {stream}"), StreamSequence::ZERO, RECORDS_MAX)?;
        let hashes: Vec<String> = records.iter().map(|record| record.record_hash.to_string()).collect();
        shown.push_str(&format!("stream {stream}: {hashes:?}\n"));
    }
    Ok(shown)
}
