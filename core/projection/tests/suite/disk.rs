//! A disk in memory that counts operations, fails at a chosen one and forgets unsynced data in a crash.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use craton_log::DiskFile;

/// What a crash may tear: a disk writes sectors whole.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Default)]
struct Content {
    /// What readers see.
    cached: Vec<u8>,
    /// What is on disk for certain.
    synced: Vec<u8>,
    /// What happened since the last sync.
    unsynced: Vec<Change>,
    operations: usize,
    fails_from: Option<usize>,
}

/// A handle to a file on the disk; clones are the same file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Content>>);

impl Disk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().expect("no test panics while it holds this")
    }

    /// How many writes, length changes and syncs there were.
    pub(crate) fn operations(&self) -> usize {
        self.content().operations
    }

    /// Lets the operation with this number, counted from zero, and all later ones fail.
    pub(crate) fn fail_from(&self, operation: usize) {
        self.content().fails_from = Some(operation);
    }

    /// A disk as a power cut now would leave it: of what is not synced, some prefix arrived, with writes in it missing
    /// or torn between sectors.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Self {
        let content = self.content();
        let mut image = content.synced.clone();
        let arrived = random.below(content.unsynced.len() + 1);
        for change in &content.unsynced[..arrived] {
            let change = match change {
                Change::Write { position, bytes } => {
                    let sectors = bytes.len().div_ceil(SECTOR_BYTES);
                    let kept = match random.below(3) {
                        0 => 0,
                        1 => random.below(sectors + 1) * SECTOR_BYTES,
                        _ => bytes.len(),
                    };
                    Change::Write {
                        position: *position,
                        bytes: bytes[..kept.min(bytes.len())].to_vec(),
                    }
                }
                length @ Change::Length(_) => length.clone(),
            };
            apply(&mut image, &change);
        }
        Self::holding(image)
    }

    /// A disk as it is when the process dies and the machine does not: everything written is there.
    pub(crate) fn after_kill(&self) -> Self {
        Self::holding(self.content().cached.clone())
    }

    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Content {
            cached: bytes.clone(),
            synced: bytes,
            ..Content::default()
        })))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.content().cached.clone()
    }
}

impl Content {
    fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fails_from {
            Some(first) if number >= first => Err(io::Error::other("the disk failed, as it was told to")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.operation()?;
        apply(&mut self.cached, &change);
        self.unsynced.push(change);
        Ok(())
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { position, bytes } => {
            image.resize(image.len().max(position + bytes.len()), 0);
            image[*position..position + bytes.len()].copy_from_slice(bytes);
        }
        Change::Length(length) => image.resize(*length, 0),
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("test files are small")
}

impl DiskFile for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().cached.len() as u64)
    }

    fn read_at(&self, out: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.content();
        let bytes = content.cached.get(index(position)..).unwrap_or_default();
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.content().change(Change::Write {
            position: index(position),
            bytes: bytes.to_vec(),
        })?;
        Ok(bytes.len())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.set_len(self.len()?.max(length))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.content().change(Change::Length(index(bytes)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.content();
        content.operation()?;
        content.synced = content.cached.clone();
        content.unsynced.clear();
        Ok(())
    }
}

/// A small generator of reproducible choices (Vigna's SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below a usize")
    }
}
