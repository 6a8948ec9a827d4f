//! Checkpoints are signed and say what the records say, each continues those before it, and receipts verify.

use std::collections::BTreeMap;

use craton_proof::{Checkpoint, Frontier, Receipt, VerifierKey, verify_consistency};
use craton_types::{Hash, Offset};

use super::{Checker, Objection, View, ensure};

/// Consistency is checked from so many of the last checkpoints.
const CHECKPOINTS_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Merkle {
    /// Sizes and roots of each tenant's checkpoints, ascending.
    checkpoints: BTreeMap<usize, Vec<(u64, Hash)>>,
    /// How many receipts were verified.
    receipts: BTreeMap<usize, usize>,
}

impl Checker for Merkle {
    fn name(&self) -> &'static str {
        "merkle-consistency"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let key: VerifierKey = view.tenant.log_key().parse().expect("a node gives a key");
        let hashes = hashes(view)?;
        let facts = self.check_checkpoints(view, &key, &hashes)?;
        Ok(facts + self.check_receipts(view, &key, &hashes)?)
    }
}

impl Merkle {
    fn check_checkpoints(&mut self, view: &View<'_>, key: &VerifierKey, hashes: &[Hash]) -> Result<u64, Objection> {
        let known = self.checkpoints.entry(view.number).or_default();
        let last = known.last().copied().unwrap_or((0, Hash::ZERO));
        let Some(signed) = view.tenant.newest_checkpoint()? else {
            return ensure(known.is_empty(), || {
                "there was a checkpoint, now there is none".to_owned()
            })
            .map(|()| 0);
        };
        let checkpoint = Checkpoint::open(signed.note.as_bytes(), key)
            .map_err(|error| Objection::Broken(format!("the checkpoint of {} records: {error}", signed.size)))?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        ensure(
            size == signed.size && size >= last.0 && size <= hashes.len() as u64,
            || {
                format!(
                    "a checkpoint of {size} records in a log of {} after one of {}",
                    hashes.len(),
                    last.0
                )
            },
        )?;
        let mut tree = Frontier::new();
        for hash in &hashes[..usize::try_from(size).expect("a short log")] {
            tree.push(*hash);
        }
        ensure(tree.root() == root, || {
            format!(
                "the checkpoint of {size} records says {root}, they give {}",
                tree.root()
            )
        })?;
        for (old_size, old_root) in known.iter().rev().take(CHECKPOINTS_MAX) {
            let path = view.tenant.consistency_proof(*old_size, size)?;
            let verified = verify_consistency(*old_size, old_root, size, &root, &path);
            ensure(verified.is_ok(), || {
                format!("the checkpoint of {size} records does not continue that of {old_size}: {verified:?}")
            })?;
        }
        if size > last.0 {
            known.push((size, root));
        }
        Ok(1)
    }

    fn check_receipts(&mut self, view: &View<'_>, key: &VerifierKey, hashes: &[Hash]) -> Result<u64, Objection> {
        let verified = self.receipts.entry(view.number).or_default();
        let receipts = view
            .history
            .receipts
            .iter()
            .filter(|receipt| receipt.tenant == view.number);
        let mut facts = 0;
        for receipt in receipts.skip(*verified) {
            let offset = receipt.offset;
            let checked = Receipt::verify(receipt.text.as_bytes(), key);
            let checked = checked.map_err(|error| Objection::Broken(format!("the receipt of {offset}: {error}")))?;
            let in_log = usize::try_from(offset.get()).ok().and_then(|offset| hashes.get(offset));
            ensure(
                checked.header.offset == offset && Some(&checked.record_hash) == in_log,
                || format!("the receipt of {offset} is of another record"),
            )?;
            facts += 1;
        }
        *verified += usize::try_from(facts).expect("few");
        Ok(facts)
    }
}

/// The hash of every record.
fn hashes(view: &View<'_>) -> Result<Vec<Hash>, Objection> {
    let count = usize::try_from(view.tenant.end().get()).expect("a short log");
    let headers = view.tenant.record_headers(Offset::ZERO, count)?;
    Ok(headers
        .iter()
        .map(|header| craton_crypto::record_hash(&header.encode()))
        .collect())
}
