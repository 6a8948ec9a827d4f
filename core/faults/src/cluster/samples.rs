//! What the members' processes take, looked at once a second.

use std::fs;
use std::path::Path;

use super::members::Cluster;
use crate::campaign::Campaign;

/// Resident memory of one member's processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    first: u64,
    most: u64,
    last: u64,
}

/// Samples of all members.
pub(super) struct Samples {
    members: Vec<Memory>,
    /// The most that the write-ahead log of a member took.
    wal_bytes_max: u64,
    /// The most that the data directory of a member took.
    data_bytes_max: u64,
    first_term: Option<u64>,
    last_term: u64,
}

impl Samples {
    pub(super) fn new(members: usize) -> Self {
        Self {
            members: vec![Memory::default(); members],
            wal_bytes_max: 0,
            data_bytes_max: 0,
            first_term: None,
            last_term: 0,
        }
    }

    /// Looks at every member. One that is away is left out.
    pub(super) fn take(&mut self, cluster: &Cluster) {
        for (memory, server) in self.members.iter_mut().zip(&cluster.members) {
            let status = server
                .process_id()
                .and_then(|process| fs::read_to_string(format!("/proc/{process}/status")).ok());
            if let Some(bytes) = status.as_deref().and_then(resident_bytes) {
                memory.note(bytes);
            }
            self.wal_bytes_max = self.wal_bytes_max.max(directory_bytes(&server.data_dir().join("wal")));
            self.data_bytes_max = self.data_bytes_max.max(directory_bytes(server.data_dir()));
        }
        let terms = (0..cluster.members.len()).filter_map(|member| cluster.view_of(member)?["term"].as_u64());
        if let Some(term) = terms.max() {
            self.first_term.get_or_insert(term);
            self.last_term = term;
        }
    }

    /// The most that one process had.
    pub(super) fn memory_bytes_max(&self) -> u64 {
        self.members.iter().map(|memory| memory.most).max().unwrap_or(0)
    }

    /// Tells what was seen, of the member that took most where there are several.
    pub(super) fn note_figures(&self, campaign: &Campaign) {
        let most = |of: fn(&Memory) -> u64| self.members.iter().map(of).max().unwrap_or(0) >> 20;
        campaign.figure("MiB of memory of a member, first", most(|memory| memory.first));
        campaign.figure("MiB of memory of a member, most", most(|memory| memory.most));
        campaign.figure("MiB of memory of a member, last", most(|memory| memory.last));
        campaign.figure("MiB of a write-ahead log, most", self.wal_bytes_max >> 20);
        campaign.figure("MiB on the disk of a member, most", self.data_bytes_max >> 20);
        campaign.figure("elections", self.last_term - self.first_term.unwrap_or(self.last_term));
    }
}

impl Memory {
    fn note(&mut self, bytes: u64) {
        if self.first == 0 {
            self.first = bytes;
        }
        self.most = self.most.max(bytes);
        self.last = bytes;
    }
}

/// `VmRSS` of `/proc/<process>/status`, see proc(5).
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What the files below a directory take. One that vanishes meanwhile takes nothing.
fn directory_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| match entry.metadata().ok()? {
        metadata if metadata.is_dir() => Some(directory_bytes(&entry.path())),
        metadata => Some(metadata.len()),
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tcraton-server\nVmHWM:\t  99 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(resident_bytes(status), Some(12 * 1024));
        assert_eq!(resident_bytes("Name:\tcraton-server\n"), None);
        let mut memory = Memory::default();
        for bytes in [3, 9, 5] {
            memory.note(bytes);
        }
        assert_eq!((memory.first, memory.most, memory.last), (3, 9, 5));
    }
}
