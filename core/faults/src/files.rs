//! Files that are not what was written: missing, emptied, cut, of an earlier time, in the place of another; the whole
//! write-ahead log or a tenant's whole log emptied, of an earlier time, or in the place of another's.
//!
//! A node that finds such files says so with an error, mends what is derived, or holds everything that was
//! acknowledged. It never opens with less.

use std::path::{Path, PathBuf};

use craton_log::testing::{Crash, MemoryDisk};

use crate::campaign::{Campaign, Next};
use crate::history::History;
use crate::node::{Defect, NodeOptions, WAL_DIR, tenant_dir};
use crate::workload::TENANTS;
use crate::writer::Writer;

const COMMAND_BYTES_MAX: u64 = 700;
const SEGMENT_BYTES: u64 = 16_384;
/// How often the node is opened while it writes; each time a copy of the disk is kept, to be put back later.
const LIVES: u64 = 5;
const STEPS: u64 = 24;
/// Files are cut at multiples of this.
const CUT_BYTES: usize = 512;

/// What the campaign is run with.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Decides what is written.
    pub seed: u64,
    /// How many cases go on beside each other.
    pub threads: usize,
    /// A defect to find.
    pub defect: Option<Defect>,
}

/// What happens to the files.
enum Harm {
    Missing(PathBuf),
    Cut {
        path: PathBuf,
        length: usize,
    },
    /// A file of an earlier time.
    Stale {
        path: PathBuf,
        time: usize,
    },
    /// Two files change their names.
    Swapped {
        one: PathBuf,
        other: PathBuf,
    },
    /// All files below a directory are of an earlier time.
    StaleDirectory {
        directory: PathBuf,
        time: usize,
    },
    /// A directory has no files any more.
    EmptyDirectory(PathBuf),
    /// Two directories change their names.
    SwappedDirectories {
        one: PathBuf,
        other: PathBuf,
    },
}

/// Runs the campaign.
pub fn run(campaign: &Campaign, options: FileOptions) {
    let world = match World::new(options) {
        Ok(world) => world,
        Err(what) => return campaign.case("0.run", || Err(what)),
    };
    let harms = world.harms();
    campaign.for_each(options.threads, |number| {
        let Some(harm) = usize::try_from(number).ok().and_then(|number| harms.get(number)) else {
            return Next::Nothing;
        };
        campaign.case(&format!("{number}.{}", harm.name()), || world.check(harm));
        Next::More
    });
}

/// A node's files at several times, and what was written.
struct World {
    earlier: Vec<MemoryDisk>,
    disk: MemoryDisk,
    writer: Writer,
}

impl World {
    fn new(options: FileOptions) -> Result<Self, String> {
        let node_options = NodeOptions {
            wal_segment_bytes: SEGMENT_BYTES,
            tenant_segment_bytes: SEGMENT_BYTES,
            defect: options.defect,
        };
        let disk = MemoryDisk::new();
        disk.set_syncs_lie(options.defect == Some(Defect::LyingDisk));
        let mut writer = Writer::new(node_options, options.seed, COMMAND_BYTES_MAX, History::default());
        let mut earlier = Vec::new();
        let failed = |error| format!("without any harm: {error}");
        for life in 0..LIVES {
            writer.open(&disk, life).map_err(failed)??;
            for step in 0..STEPS {
                writer.step().map_err(failed)?;
                if step == STEPS / 2 {
                    earlier.push(disk.fork());
                }
            }
            writer.flush_if(life + 1 < LIVES).map_err(failed)?;
            writer.close().map_err(failed)?;
            earlier.push(disk.fork());
        }
        // The node stopped cleanly and the machine as well: everything is on the medium.
        earlier.pop();
        Ok(Self { earlier, disk, writer })
    }

    fn harms(&self) -> Vec<Harm> {
        let paths = self.disk.paths();
        let mut harms = Vec::new();
        for path in &paths {
            harms.push(Harm::Missing(path.clone()));
            let length = self.disk.contents(path).unwrap_or_default().len();
            for length in (0..length).step_by(CUT_BYTES) {
                let path = path.clone();
                harms.push(Harm::Cut { path, length });
            }
            for (time, earlier) in self.earlier.iter().enumerate() {
                let then = earlier.contents(path);
                if then.is_some() && then != self.disk.contents(path) {
                    let path = path.clone();
                    harms.push(Harm::Stale { path, time });
                }
            }
            for other in paths
                .iter()
                .filter(|other| *other > path && other.extension() == path.extension())
            {
                let (one, other) = (path.clone(), other.clone());
                harms.push(Harm::Swapped { one, other });
            }
        }
        let tenants: Vec<PathBuf> = (0..TENANTS).map(tenant_dir).collect();
        for directory in tenants.iter().cloned().chain([PathBuf::from(WAL_DIR)]) {
            harms.push(Harm::EmptyDirectory(directory.clone()));
            for time in 0..self.earlier.len() {
                let directory = directory.clone();
                harms.push(Harm::StaleDirectory { directory, time });
            }
        }
        for (number, one) in tenants.iter().enumerate() {
            for other in &tenants[number + 1..] {
                let (one, other) = (one.clone(), other.clone());
                harms.push(Harm::SwappedDirectories { one, other });
            }
        }
        harms
    }

    fn check(&self, harm: &Harm) -> Result<&'static str, String> {
        let disk = self.disk.fork();
        self.apply(harm, &disk);
        let mut writer = self.writer.fork();
        for (salt, when) in [(1, "opened"), (2, "opened again")] {
            match writer.open(&disk, (1 << 32) + salt) {
                Err(_) if salt == 1 => return Ok("an error when opening"),
                Err(error) => return Err(format!("does not open after it did: {error}")),
                Ok(Ok(())) => {}
                Ok(Err(what)) if what.starts_with("cannot read: ") => return Ok("an error when reading"),
                Ok(Err(what)) => return Err(format!("{when}: {what}")),
            }
            disk.crash(Crash::DropUnsynced);
        }
        Ok("mended, or nothing was missing")
    }

    fn apply(&self, harm: &Harm, disk: &MemoryDisk) {
        match harm {
            Harm::Missing(path) => disk.unlink(path),
            Harm::Cut { path, length } => disk.tamper(path, |bytes| bytes.truncate(*length)),
            Harm::Stale { path, time } => disk.transplant(&self.earlier[*time], path, path),
            Harm::Swapped { one, other } => {
                disk.transplant(&self.disk, one, other);
                disk.transplant(&self.disk, other, one);
            }
            Harm::StaleDirectory { directory, time } => {
                empty(disk, directory);
                let earlier = &self.earlier[*time];
                for path in earlier.paths().iter().filter(|path| path.starts_with(directory)) {
                    disk.transplant(earlier, path, path);
                }
            }
            Harm::EmptyDirectory(directory) => empty(disk, directory),
            Harm::SwappedDirectories { one, other } => {
                for (from, to) in [(one, other), (other, one)] {
                    empty(disk, to);
                    for path in self.disk.paths() {
                        if let Ok(name) = path.strip_prefix(from) {
                            disk.transplant(&self.disk, &path, &to.join(name));
                        }
                    }
                }
            }
        }
    }
}

fn empty(disk: &MemoryDisk, directory: &Path) {
    for path in disk.paths().iter().filter(|path| path.starts_with(directory)) {
        disk.unlink(path);
    }
}

impl Harm {
    fn name(&self) -> String {
        let short = |path: &Path| path.display().to_string();
        match self {
            Self::Missing(path) => format!("missing:{}", short(path)),
            Self::Cut { path, length } => format!("cut:{}:{length}", short(path)),
            Self::Stale { path, time } => format!("stale:{}:{time}", short(path)),
            Self::Swapped { one, other } => format!("swapped:{}:{}", short(one), short(other)),
            Self::StaleDirectory { directory, time } => format!("stale-directory:{}:{time}", short(directory)),
            Self::SwappedDirectories { one, other } => format!("swapped-directories:{}:{}", short(one), short(other)),
            Self::EmptyDirectory(directory) => format!("empty-directory:{}", short(directory)),
        }
    }
}
