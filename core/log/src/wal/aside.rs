//! Opening a log that lost something it was known to hold: what precedes the damage counts, the rest is set aside.
//!
//! The superblock says that the log is incomplete before anything is moved, so no crash leaves a shorter log that passes for
//! a whole one.

use super::chain::{Chain, Reach, Tail, read_log};
use super::format::SEGMENT_HEADER_LENGTH;
use super::recovery::{TornTail, keep_aside};
use super::segment::Storage;
use super::superblock::Superblock;
use super::{Damage, WalError};

/// What the names of files end with that were set aside because they were damaged.
const SUFFIX: &str = ".aside";

/// Where a log is damaged first, and what is lost with it.
pub(super) struct Lost {
    segment: u64,
    /// Where the segment's records end that are kept; zero when it is not.
    position: u64,
    reason: Damage,
    /// The segments behind that place, as far as they are there.
    segments: Vec<u64>,
}

/// Reads what precedes the damage that reading everything met. What is no damage stays an error.
pub(super) fn read_prefix(
    storage: &Storage,
    sequences: &[u64],
    known: &Superblock,
    met: WalError,
) -> Result<(Lost, Chain, Tail), WalError> {
    let mut lost = Lost::of(met)?;
    loop {
        let reach = Reach::Before {
            segment: lost.segment,
            position: lost.position,
        };
        match read_log(storage, sequences, known, reach) {
            Ok((chain, tail)) => {
                let behind =
                    |sequence: &&u64| **sequence > lost.segment || (**sequence == lost.segment && lost.position == 0);
                lost.segments = sequences.iter().filter(behind).copied().collect();
                return Ok((lost, chain, tail));
            }
            Err(met) => lost = Lost::of(met)?.before(&lost)?,
        }
    }
}

impl Lost {
    fn of(met: WalError) -> Result<Self, WalError> {
        match met {
            WalError::Corrupt {
                segment,
                position,
                reason,
            } => Ok(Self {
                segment,
                position: if position < SEGMENT_HEADER_LENGTH { 0 } else { position },
                reason,
                segments: Vec::new(),
            }),
            other => Err(other),
        }
    }

    /// Each turn looks at less of the log: a segment that does not even open is lost as a whole.
    fn before(mut self, last: &Self) -> Result<Self, WalError> {
        let place = |lost: &Self| (lost.segment, lost.position);
        if place(&self) >= place(last) {
            self.position = 0;
        }
        match place(&self) < place(last) {
            true => Ok(self),
            false => Err(WalError::Corrupt {
                segment: self.segment,
                position: self.position,
                reason: self.reason,
            }),
        }
    }

    /// Keeps what is lost beside the log, durably, and reports it.
    pub(super) fn set_aside(&self, storage: &Storage, generation: u64) -> Result<Vec<TornTail>, WalError> {
        let report = |segment, start, end| TornTail {
            generation,
            segment,
            start,
            end,
            reason: self.reason,
            was_synced: true,
        };
        let mut reports = Vec::new();
        if self.position > 0 {
            let bytes = self.read_rest(storage)?;
            let torn = report(self.segment, self.position, self.position + bytes.len() as u64);
            keep_aside(storage, &torn, &bytes)?;
            reports.push(torn);
        } else if !self.segments.contains(&self.segment) {
            reports.push(report(self.segment, 0, 0));
        }
        for &sequence in &self.segments {
            let path = storage.segment_path(sequence);
            let file = storage.disk.open(&path).map_err(WalError::io("open", &path))?;
            let torn = report(sequence, 0, file.len().map_err(WalError::io("measure", &path))?);
            let aside = storage.dir.join(torn.file_name());
            storage
                .disk
                .rename(&path, &aside)
                .map_err(WalError::io("rename", &path))?;
            reports.push(torn);
        }
        storage
            .disk
            .sync_dir(&storage.dir)
            .map_err(WalError::io("sync", &storage.dir))?;
        Ok(reports)
    }

    /// The bytes from the damage on up to the last one that is not zero.
    fn read_rest(&self, storage: &Storage) -> Result<Vec<u8>, WalError> {
        let path = storage.segment_path(self.segment);
        let file = storage.disk.open(&path).map_err(WalError::io("open", &path))?;
        let length = file.len().map_err(WalError::io("measure", &path))?;
        let length = usize::try_from(length.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let read = file.read_up_to(&mut bytes, self.position);
        bytes.truncate(read.map_err(WalError::io("read", &path))?);
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        Ok(bytes)
    }
}

/// Removes everything that was set aside.
pub(super) fn forget(storage: &Storage) -> Result<(), WalError> {
    let names = storage
        .disk
        .list(&storage.dir)
        .map_err(WalError::io("list", &storage.dir))?;
    for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
        let path = storage.dir.join(name);
        storage.disk.remove(&path).map_err(WalError::io("remove", &path))?;
    }
    storage
        .disk
        .sync_dir(&storage.dir)
        .map_err(WalError::io("sync", &storage.dir))
}
