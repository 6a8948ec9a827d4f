//! The mark: how many records are known to be synced.
//!
//! It tells a write that a power cut tore (after the mark, the write-ahead log still has the record) from
//! damage to what was durable. The mark is written after each sync and not synced itself: a stale one
//! only claims less. Two slots in different sectors are written in turn, so one is always whole.

use super::TenantLogError;
use super::files::{Files, NamedFile};
use super::records::with_crc;

pub(super) const MARK_NAME: &str = "synced";
const MAGIC: [u8; 8] = *b"CRTSYN\x00\x01";
const SLOT_BYTES: usize = 8 + 8 + 4;
/// A sector of the largest size in use, so that no torn write reaches both slots.
const SLOT_DISTANCE_BYTES: u64 = 4096;
const SLOTS: u64 = 2;

pub(super) struct Mark {
    file: NamedFile,
    synced: u64,
    next_slot: u64,
}

pub(super) fn encode(synced: u64) -> Vec<u8> {
    with_crc(&[MAGIC, synced.to_be_bytes()].concat())
}

pub(super) fn decode(slot: &[u8; SLOT_BYTES]) -> Option<u64> {
    let (fields, _) = slot.split_first_chunk::<16>()?;
    let (magic, synced) = fields.split_first_chunk::<8>()?;
    let whole = *magic == MAGIC && with_crc(fields) == slot;
    whole.then(|| u64::from_be_bytes(synced.try_into().expect("eight bytes follow the magic")))
}

impl Mark {
    pub(super) fn create(files: &Files) -> Result<Self, TenantLogError> {
        Ok(Self {
            file: files.create_whole(MARK_NAME, &encode(0))?,
            synced: 0,
            next_slot: 1,
        })
    }

    /// Opens the mark; without a whole slot nothing is known to be synced.
    pub(super) fn open(files: &Files) -> Result<Self, TenantLogError> {
        let file = files.open(MARK_NAME)?;
        let mut newest = (0, 1);
        for slot in 0..SLOTS {
            let mut bytes = [0; SLOT_BYTES];
            let whole = file.fill(&mut bytes, slot * SLOT_DISTANCE_BYTES)?;
            if let Some(synced) = decode(&bytes).filter(|&synced| whole && synced >= newest.0) {
                newest = (synced, slot);
            }
        }
        Ok(Self {
            file,
            synced: newest.0,
            next_slot: (newest.1 + 1) % SLOTS,
        })
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Notes, unless that is known already, that the first `synced` records are durable.
    pub(super) fn advance(&mut self, synced: u64) -> Result<(), TenantLogError> {
        if synced > self.synced {
            self.file.write(&encode(synced), self.next_slot * SLOT_DISTANCE_BYTES)?;
            self.synced = synced;
            self.next_slot = (self.next_slot + 1) % SLOTS;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_survive_a_round_trip_and_no_flip(synced in any::<u64>(), at in 0..SLOT_BYTES, bit in 0..8) {
            let mut slot: [u8; SLOT_BYTES] = encode(synced).try_into().expect("a slot");
            prop_assert_eq!(decode(&slot), Some(synced));
            slot[at] ^= 1u8 << bit;
            prop_assert_eq!(decode(&slot), None);
        }
    }
}
