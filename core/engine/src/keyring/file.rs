//! The keyring's file: two copies, each replaced as a whole.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | magic, `CRTK` |
//! | 4 | version, 1 |
//! | 5..n-32 | [`SavedKeyring`] in CBOR; every key in it is wrapped |
//! | n-32..n | SHA-256 of all bytes before |

use std::io;
use std::path::{Path, PathBuf};

use craton_crypto::sha256;
use craton_log::Disk;
use craton_types::{DataKeyNumber, TenantId, decode_whole};
use minicbor::{Decode, Encode};

use crate::durable_file::replace;

/// The copies, in the order in which they are written.
pub(super) const FILES: [&str; 2] = ["keyring", "keyring.copy"];
const MAGIC: [u8; 4] = *b"CRTK";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
/// The longest file that is read: room for some hundred thousand tenants.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SavedKeyring {
    /// Counts the replacements; of two copies the higher one is the newer.
    #[n(0)]
    pub(super) generation: u64,
    /// The key that wraps everything below, wrapped by the master key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) root: Vec<u8>,
    /// Wraps the keys of the write-ahead log's segments.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) wal: Vec<u8>,
    /// The seed of the checkpoint signing key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(super) signing_seed: Vec<u8>,
    /// What other secrets of the node are derived from.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(super) derivation: Vec<u8>,
    /// The tenants' keys, ascending by tenant.
    #[n(5)]
    pub(super) tenants: Vec<SavedTenant>,
    /// What keys are wrapped under on their way to other nodes and through the write-ahead log.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub(super) transport: Vec<u8>,
}

/// A tenant's keys in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SavedTenant {
    #[n(0)]
    pub(super) tenant: TenantId,
    /// The key-encryption key, wrapped by the root key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) kek: Vec<u8>,
    /// The tenant's secret, wrapped by the key-encryption key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) secret: Vec<u8>,
    /// The data keys, ascending by number.
    #[n(3)]
    pub(super) data_keys: Vec<SavedDataKey>,
}

/// A data key in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SavedDataKey {
    #[n(0)]
    pub(super) number: DataKeyNumber,
    /// Wrapped by the key-encryption key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) wrapped: Vec<u8>,
}

/// Reads a copy's bytes; `None` when they are damaged or of an unknown version.
pub(super) fn decode(bytes: &[u8]) -> Option<SavedKeyring> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if bytes.len() > FILE_BYTES_MAX || sha256(&[content]).as_bytes() != checksum {
        return None;
    }
    let (magic, rest) = content.split_first_chunk::<4>()?;
    let (&version, cbor) = rest.split_first()?;
    if (*magic, version) != (MAGIC, VERSION) {
        return None;
    }
    decode_whole(cbor).ok()
}

/// A copy's bytes.
pub(super) fn encode(saved: &SavedKeyring) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    minicbor::encode(saved, &mut bytes).expect("writing to memory does not fail");
    bytes.extend_from_slice(sha256(&[&bytes]).as_bytes());
    bytes
}

/// A copy on the disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Missing,
    Damaged,
    Whole(SavedKeyring),
}

impl Copy {
    pub(super) const fn whole(&self) -> Option<&SavedKeyring> {
        match self {
            Self::Whole(saved) => Some(saved),
            Self::Missing | Self::Damaged => None,
        }
    }
}

/// Both copies, in the order of [`FILES`].
pub(super) fn read(disk: &dyn Disk, directory: &Path) -> io::Result<[Copy; 2]> {
    let [first, second] = paths(directory);
    Ok([read_copy(disk, &first)?, read_copy(disk, &second)?])
}

fn read_copy(disk: &dyn Disk, path: &Path) -> io::Result<Copy> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Missing),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    // One byte more than the longest file shows one that is too long.
    let mut bytes = vec![0; length.min(FILE_BYTES_MAX + 1)];
    let read = file.read_up_to(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(decode(&bytes).map_or(Copy::Damaged, Copy::Whole))
}

/// Replaces both copies, one after the other: at every moment one of them is whole.
pub(super) fn write(disk: &dyn Disk, directory: &Path, saved: &SavedKeyring) -> io::Result<()> {
    let bytes = encode(saved);
    if bytes.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the keyring is full"));
    }
    paths(directory).iter().try_for_each(|path| replace(disk, path, &bytes))
}

pub(super) fn paths(directory: &Path) -> [PathBuf; 2] {
    FILES.map(|name| directory.join(name))
}
