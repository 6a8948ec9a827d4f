//! `craton verify cluster` and `craton verify export`: a log by its checkpoint, tiles and entries, wherever they are.

use std::collections::VecDeque;
use std::num::NonZero;
use std::thread::{self, ScopedJoinHandle};

use anyhow::Context as _;
use craton_proof::{
    BundleDigest, Checkpoint, CheckpointError, ComputedTile, Cosignature, Finding, Frontier, Note, ProofError,
    TILE_WIDTH, TileContent, TileFault, TileHashReader, TilePath, TileReadError, TilesAssembly, VerifierKey,
    WitnessError, WitnessPolicy, consistency_proof, digest_bundle, verify_consistency,
};
use craton_verifier::json;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Outcome, Verdict};
use crate::log_source::{LogSource, SourceError};

/// How many bundles are fetched and checked at the same time, unless it is said.
const THREADS_DEFAULT: NonZero<usize> = NonZero::new(8).expect("eight");

/// What a log is verified against.
pub(super) struct TilesOptions<'a> {
    pub(super) key: &'a VerifierKey,
    pub(super) witnesses: &'a WitnessPolicy,
    /// A checkpoint kept from earlier, which the log must continue.
    pub(super) given: Option<Checkpoint>,
    /// Checkpoints that were seen before, which the log must continue.
    pub(super) pinned: &'a [Checkpoint],
    /// How many records the log must continue, whatever their root; entries are checked from there on.
    pub(super) from: Option<u64>,
    /// Whether entries are read: those after the newest checkpoint that is known, or after `from`.
    pub(super) entries: bool,
    pub(super) threads: Option<NonZero<usize>>,
}

/// A log that verified.
pub(super) struct VerifiedTiles {
    pub(super) checkpoint: Checkpoint,
    /// The signed note.
    pub(super) note: String,
    cosignatures: Vec<Cosignature>,
    /// The sizes of the earlier checkpoints that it continues, ascending.
    continues: Vec<u64>,
    /// The first record whose entry was read.
    entries_from: Option<u64>,
}

/// Why a log does not verify, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TilesError {
    /// A file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no checkpoint.
    #[error("{place} is missing: there is no such log, or nothing of it is signed yet")]
    NoCheckpoint {
        /// Where it should be.
        place: String,
    },
    /// The checkpoint is malformed, of another log, or not signed by the key.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Too few witnesses cosigned.
    #[error("cosignatures: {0}")]
    Witness(#[from] WitnessError),
    /// A tile or an entry is wrong.
    #[error(transparent)]
    Fault(#[from] Box<TileFault>),
    /// A tile has another length, or the tree has no such tile.
    #[error("{0}")]
    Tile(String),
    /// The entries are others than the signed ones.
    #[error("checkpoint root: {0}")]
    Root(Finding),
    /// More is asked for than the checkpoint covers.
    #[error("the checkpoint covers {size} records, fewer than --from {from}")]
    Short {
        /// What was asked for.
        from: u64,
        /// What there is.
        size: u64,
    },
    /// The log ends before a checkpoint that is known.
    #[error(
        "the {kind} checkpoint covers {} records with root {}, and the log now shows {} records with root {}: it was \
         rolled back", .known.size, .known.root, .found.size, .found.root
    )]
    RolledBack {
        /// How the checkpoint is known.
        kind: Kind,
        /// The checkpoint that is known.
        known: Box<Checkpoint>,
        /// What the log shows.
        found: Box<Checkpoint>,
    },
    /// The log has another history than a checkpoint that is known.
    #[error(
        "the {kind} checkpoint covers {} records with root {}, which the log's {} records with root {} do not begin \
         with: it shows two histories", .known.size, .known.root, .found.size, .found.root
    )]
    Forked {
        /// How the checkpoint is known.
        kind: Kind,
        /// The checkpoint that is known.
        known: Box<Checkpoint>,
        /// What the log shows.
        found: Box<Checkpoint>,
    },
}

/// How a checkpoint is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It was seen by an earlier verification.
    Pinned,
    /// It was given with `--checkpoint`.
    Given,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pinned => "pinned",
            Self::Given => "given",
        })
    }
}

impl TilesError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::RolledBack { kind, .. } | Self::Forked { kind, .. } if *kind == Kind::Pinned => Verdict::Contradicts,
            _ => Verdict::Refused,
        }
    }

    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Source(error) if !error.is_of_the_log())
    }
}

/// Verifies a log and words the result. The verified log is given back for its checkpoint to be remembered.
pub(super) fn verify(
    source: &dyn LogSource,
    options: &TilesOptions<'_>,
) -> anyhow::Result<(Outcome, Option<VerifiedTiles>)> {
    match verified(source, options) {
        Ok(log) => {
            let outcome = Outcome {
                verdict: Verdict::Verified,
                text: format!("The log verifies.\n\n{}", log.text(options.key)),
                json: log.json(options.key),
            };
            Ok((outcome, Some(log)))
        }
        Err(error) if error.is_unreadable() => Err(error).context("the log cannot be read"),
        Err(error) => Ok((refusal(source, &error), None)),
    }
}

fn refusal(source: &dyn LogSource, error: &TilesError) -> Outcome {
    let mut text = "The log does NOT verify.\n\n".to_owned();
    let mut json = json!({ "verified": false, "error": error.to_string() });
    if let TilesError::Fault(fault) = error {
        let file = source.place(&fault.path.to_string());
        for (name, value) in [
            ("record", fault.offset.to_string()),
            ("field", fault.field.to_owned()),
            ("file", file.clone()),
            ("byte", fault.position.to_string()),
            ("finding", fault.finding.to_string()),
        ] {
            text += &format!("  {name:<15} {value}\n");
        }
        json["record"] = fault.offset.get().into();
        json["field"] = fault.field.into();
        json["file"] = file.into();
        json["byte"] = fault.position.into();
        json["finding"] = fault.finding.to_string().into();
    } else {
        text += &format!("  {error}\n");
    }
    if let TilesError::RolledBack { known, found, .. } | TilesError::Forked { known, found, .. } = error {
        json["known_checkpoint"] = json::checkpoint(known);
        json["found_checkpoint"] = json::checkpoint(found);
    }
    Outcome {
        verdict: error.verdict(),
        text,
        json,
    }
}

fn verified(source: &dyn LogSource, options: &TilesOptions<'_>) -> Result<VerifiedTiles, TilesError> {
    let note = source.checkpoint().map_err(|error| match error {
        SourceError::Missing { place } => TilesError::NoCheckpoint { place },
        other => other.into(),
    })?;
    let note = Note::parse(&note).map_err(CheckpointError::from)?;
    let checkpoint = Checkpoint::open_note(&note, options.key)?;
    let cosignatures = options.witnesses.verify(&note)?;
    let mut continues = Vec::new();
    let pinned = options.pinned.iter().map(|pin| (Kind::Pinned, pin));
    for (kind, known) in pinned.chain(options.given.iter().map(|given| (Kind::Given, given))) {
        check_continues(source, &checkpoint, kind, known)?;
        continues.push(known.size);
    }
    if let Some(from) = options.from {
        check_from(source, &checkpoint, from)?;
        continues.extend((from > 0).then_some(from));
    }
    continues.sort_unstable();
    continues.dedup();
    // What is known may be newer than what is shown.
    let newest_known = continues.iter().copied().rfind(|size| *size <= checkpoint.size);
    let from = options.from.or(newest_known).unwrap_or(0);
    let entries_from = if options.entries {
        Some(check_entries(source, &checkpoint, from, options.threads)?)
    } else {
        None
    };
    Ok(VerifiedTiles {
        checkpoint,
        note: note.to_string(),
        cosignatures,
        continues,
        entries_from,
    })
}

type Fetch<'a> = Box<dyn Fn(&TilePath) -> Result<Vec<u8>, SourceError> + 'a>;

fn hashes(source: &dyn LogSource, size: u64) -> TileHashReader<Fetch<'_>> {
    TileHashReader::new(size, Box::new(|path: &TilePath| source.tile(path)))
}

fn read_error(error: TileReadError<SourceError>) -> TilesError {
    match error {
        TileReadError::Fetch { source, .. } => source.into(),
        other => TilesError::Tile(other.to_string()),
    }
}

fn proof(source: &dyn LogSource, old_size: u64, size: u64) -> Result<Vec<craton_proof::Hash>, TilesError> {
    consistency_proof(&hashes(source, size), old_size, size).map_err(|error| match error {
        ProofError::Reader(error) => read_error(error),
        other => TilesError::Tile(other.to_string()),
    })
}

/// Checks that the log continues a checkpoint that is known.
fn check_continues(
    source: &dyn LogSource,
    checkpoint: &Checkpoint,
    kind: Kind,
    known: &Checkpoint,
) -> Result<(), TilesError> {
    let (known_box, found) = (Box::new(known.clone()), Box::new(checkpoint.clone()));
    // A server may show an older checkpoint, which witnesses have cosigned, of a log that goes on.
    let (older, newer) = if known.size <= checkpoint.size {
        (known, checkpoint)
    } else {
        (checkpoint, known)
    };
    let path = match proof(source, older.size, newer.size) {
        Ok(path) => path,
        Err(TilesError::Source(SourceError::Missing { .. })) if known.size > checkpoint.size => {
            return Err(TilesError::RolledBack {
                kind,
                known: known_box,
                found,
            });
        }
        Err(error) => return Err(error),
    };
    verify_consistency(older.size, &older.root, newer.size, &newer.root, &path).map_err(|_| TilesError::Forked {
        kind,
        known: known_box,
        found,
    })
}

/// Checks that the tiles show the first `from` records as the beginning of what is signed.
fn check_from(source: &dyn LogSource, checkpoint: &Checkpoint, from: u64) -> Result<(), TilesError> {
    let size = checkpoint.size;
    if from > size {
        return Err(TilesError::Short { from, size });
    }
    let old = Frontier::from_reader(&hashes(source, size), from).map_err(read_error)?;
    let path = proof(source, from, size)?;
    verify_consistency(from, &old.root(), size, &checkpoint.root, &path)
        .map_err(|error| TilesError::Tile(format!("consistency from {from} to {size} records: {error}")))
}

type Checked = Result<BundleDigest, TilesError>;

/// Checks every entry from the bundle of record `from - 1` on, the tiles over them, and that they lead to the signed root.
/// Returns the first record that was read.
fn check_entries(
    source: &dyn LogSource,
    checkpoint: &Checkpoint,
    from: u64,
    threads: Option<NonZero<usize>>,
) -> Result<u64, TilesError> {
    let (size, width) = (checkpoint.size, u64::from(TILE_WIDTH));
    // The bundle of the record before shows the link to the first one.
    let first = from.saturating_sub(1) / width;
    let start = Frontier::from_reader(&hashes(source, size), first * width).map_err(read_error)?;
    let mut assembly = TilesAssembly::new(start);
    let mut waiting = (first..).map_while(|index| TilePath::in_tree(TileContent::Entries, index, size));
    let progress = progress(size - first * width);
    let checked: Result<(), TilesError> = thread::scope(|scope| {
        let mut running: VecDeque<ScopedJoinHandle<'_, Checked>> = VecDeque::new();
        loop {
            while running.len() < threads.unwrap_or(THREADS_DEFAULT).get()
                && let Some(path) = waiting.next()
            {
                running.push_back(scope.spawn(move || bundle(source, &path, size)));
            }
            let Some(next) = running.pop_front() else {
                return Ok(());
            };
            let bundle = next.join().expect("a verification does not panic")?;
            let complete = assembly.push(&bundle)?;
            compare(source, &complete)?;
            progress.set_position(assembly.size() - first * width);
        }
    });
    progress.finish_and_clear();
    checked?;
    compare(source, &assembly.finish(checkpoint).map_err(TilesError::Root)?)?;
    Ok(first * width)
}

fn bundle(source: &dyn LogSource, path: &TilePath, size: u64) -> Checked {
    let tile = TilePath::in_tree(TileContent::Hashes(0), path.index(), size).expect("every bundle has a tile over it");
    Ok(digest_bundle(path, &source.tile(path)?, &source.tile(&tile)?)?)
}

fn compare(source: &dyn LogSource, tiles: &[ComputedTile]) -> Result<(), TilesError> {
    for tile in tiles {
        tile.check(&source.tile(tile.path())?)?;
    }
    Ok(())
}

/// Shown on a terminal, and nowhere else.
fn progress(records: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {per_sec}, {eta} left");
    ProgressBar::new(records).with_style(style.expect("a template"))
}

impl VerifiedTiles {
    fn text(&self, key: &VerifierKey) -> String {
        let mut lines = vec![
            ("checkpoint", format!("of {} records", self.checkpoint.size)),
            ("root", self.checkpoint.root.to_string()),
            ("log", self.checkpoint.origin.to_string()),
            ("key", key.to_string()),
        ];
        lines.extend(self.cosignatures.iter().map(|by| ("witness", by.to_string())));
        for size in &self.continues {
            lines.push(("continues", format!("the first {size} records, as they were known")));
        }
        let entries = match self.entries_from {
            Some(from) => format!(
                "records {from} to {}, linked, and all of them in the tree",
                self.checkpoint.size
            ),
            None => "not read".to_owned(),
        };
        lines.push(("entries", entries));
        lines
            .iter()
            .map(|(name, value)| format!("  {name:<15} {value}\n"))
            .collect()
    }

    fn json(&self, key: &VerifierKey) -> serde_json::Value {
        json!({
            "verified": true,
            "checkpoint": json::checkpoint(&self.checkpoint),
            "key": key.to_string(),
            "cosignatures": self.cosignatures.iter().map(json::cosignature).collect::<Vec<_>>(),
            "continues": self.continues,
            "entries_from": self.entries_from,
        })
    }
}
