//! `craton export`: a live database's log as files, for auditors to check without the server.
//!
//! The files are those of c2sp.org/tlog-tiles at the paths that they have on a server. Every file is written whole or not at
//! all, and the checkpoint last: an export that was interrupted goes on where it ended, and one that is there already
//! grows.

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, bail};
use clap::Args;
use craton_proof::{
    Checkpoint, NOTE_BYTES_MAX, Note, TILE_LEVEL_MAX, TileContent, TilePath, VerifierKey, decode_entry_bundle,
    decode_tile,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::log_source::{AccessArguments, CHECKPOINT_FILE, LogSource, SourceError, VERIFIER_KEY_FILE};
use crate::verify::{log_key, read_bounded};

/// How many files are fetched at the same time, unless it is said.
const THREADS_DEFAULT: NonZero<usize> = NonZero::new(8).expect("eight");

/// Write a live database's log to a folder, for craton verify export
#[derive(Args)]
#[command(after_help = "\
Examples:
  craton export https://clinic.example:8443/logs/main ./export --key log.key --ca-file ca.pem
  craton verify export ./export --key log.key

The export holds the checkpoint, the hashes of the tree and the headers of the records, but not what they hold. Run it
again after an interruption, or later for what was added.

Exit status: 0 done, 2 misuse, or the server or a file cannot be read or written.")]
pub(crate) struct ExportArguments {
    /// The log: `https://<host>:<port>/logs/<database>`
    url: String,
    /// The folder, which is made if it is not there
    folder: PathBuf,
    /// The log's verifier key, or a file that holds it: the checkpoint must be signed by it, and it is put beside it
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
    #[command(flatten)]
    access: AccessArguments,
    /// How many files are fetched at the same time [default: 8]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &ExportArguments) -> anyhow::Result<ExitCode> {
    let key = arguments.key.as_deref().map(log_key).transpose()?;
    let source = arguments.access.open(&arguments.url)?;
    let export = Export {
        source: &source,
        folder: &arguments.folder,
        threads: arguments.threads.unwrap_or(THREADS_DEFAULT),
    };
    let done = export.run(key.as_ref())?;
    let mut stdout = io::stdout().lock();
    if arguments.json {
        let result = json!({
            "origin": done.checkpoint.origin.as_str(),
            "size": done.checkpoint.size,
            "root": done.checkpoint.root.to_string(),
            "files": done.files,
            "files_fetched": done.files_fetched,
        });
        writeln!(stdout, "{result:#}")?;
    } else {
        writeln!(
            stdout,
            "Exported {} records of {} in {} files, {} of them fetched now.",
            done.checkpoint.size, done.checkpoint.origin, done.files, done.files_fetched
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Export<'a> {
    source: &'a dyn LogSource,
    folder: &'a Path,
    threads: NonZero<usize>,
}

/// What an export came to.
struct Exported {
    checkpoint: Checkpoint,
    /// The tiles and bundles under the checkpoint.
    files: u64,
    files_fetched: u64,
}

impl Export<'_> {
    fn run(&self, key: Option<&VerifierKey>) -> anyhow::Result<Exported> {
        let bytes = self.source.checkpoint()?;
        let note = Note::parse(&bytes).context("the checkpoint is no signed note")?;
        let checkpoint = match key {
            Some(key) => Checkpoint::open_note(&note, key),
            None => Checkpoint::parse_unverified_note(&note),
        };
        let checkpoint = checkpoint.context("the checkpoint is not to be believed")?;
        self.check_grows(&checkpoint)?;
        let files = tiles(checkpoint.size).count() as u64;
        let files_fetched = self.fetch(checkpoint.size, files)?;
        if let Some(key) = key {
            self.store(VERIFIER_KEY_FILE, format!("{key}\n").as_bytes())?;
        }
        self.store(CHECKPOINT_FILE, &bytes)?;
        self.remove_partial(&self.folder.join("tile"), checkpoint.size)?;
        Ok(Exported {
            checkpoint,
            files,
            files_fetched,
        })
    }

    /// Refuses to replace an export of more records, or of another log.
    fn check_grows(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let file = self.folder.join(CHECKPOINT_FILE);
        if !file.exists() {
            return Ok(());
        }
        let before = Checkpoint::parse_unverified(&read_bounded(&file, NOTE_BYTES_MAX)?);
        let before = before.with_context(|| format!("{} is no checkpoint", file.display()))?;
        if before.origin != checkpoint.origin {
            bail!("{} holds an export of {}", self.folder.display(), before.origin);
        }
        if before.size > checkpoint.size {
            bail!(
                "{} covers {} records, and the server now shows {}: verify the export before you trust the server",
                self.folder.display(),
                before.size,
                checkpoint.size
            );
        }
        Ok(())
    }

    /// Fetches the files that are not there yet, several at the same time, and says how many.
    fn fetch(&self, size: u64, files: u64) -> anyhow::Result<u64> {
        let waiting = Mutex::new(tiles(size));
        let progress = progress(files);
        let work = || -> anyhow::Result<u64> {
            let mut fetched = 0;
            loop {
                // Nothing panics while it holds the lock.
                let next = waiting.lock().expect("not poisoned").next();
                let Some(path) = next else { return Ok(fetched) };
                if !self.has(&path) {
                    self.fetch_one(&path)?;
                    fetched += 1;
                }
                progress.inc(1);
            }
        };
        let fetched = thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.get()).map(|_| scope.spawn(work)).collect();
            let results = workers
                .into_iter()
                .map(|worker| worker.join().expect("an export does not panic"));
            results.sum()
        });
        progress.finish_and_clear();
        fetched
    }

    fn fetch_one(&self, path: &TilePath) -> anyhow::Result<()> {
        let bytes = self.source.tile(path)?;
        if !is_whole(path, &bytes) {
            let place = self.source.place(&path.to_string());
            bail!(SourceError::Refused {
                place,
                status: 200,
                detail: "the answer is not as long as the file must be".to_owned(),
            });
        }
        self.store(&path.to_string(), &bytes)
    }

    /// Whether a file is there from an earlier run.
    fn has(&self, path: &TilePath) -> bool {
        fs::read(self.folder.join(path.to_string())).is_ok_and(|bytes| is_whole(path, &bytes))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let file = self.folder.join(name);
        let write = || {
            let folder = file.parent().unwrap_or(self.folder);
            fs::create_dir_all(folder)?;
            let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
            temporary.write_all(bytes)?;
            temporary.persist(&file).map_err(|error| error.error)?;
            Ok::<_, io::Error>(())
        };
        write().with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Removes the partial tiles of smaller trees below a folder. What is no tile stays.
    fn remove_partial(&self, folder: &Path, size: u64) -> anyhow::Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        let unreadable = || format!("{} cannot be cleared", folder.display());
        for entry in fs::read_dir(folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.is_dir() {
                self.remove_partial(&path, size)?;
                // Only an empty one can be removed.
                let _ = fs::remove_dir(&path);
                continue;
            }
            let name = path.strip_prefix(self.folder).ok().and_then(Path::to_str);
            let tile: Option<TilePath> = name.and_then(|name| name.parse().ok());
            let is_stale = |tile: &TilePath| {
                tile.is_partial() && TilePath::in_tree(tile.content(), tile.index(), size) != Some(*tile)
            };
            if tile.is_some_and(|tile| is_stale(&tile)) {
                fs::remove_file(&path).with_context(unreadable)?;
            }
        }
        Ok(())
    }
}

/// All tiles and bundles of a tree.
fn tiles(size: u64) -> impl Iterator<Item = TilePath> {
    let contents = (0..=TILE_LEVEL_MAX)
        .map(TileContent::Hashes)
        .chain([TileContent::Entries]);
    contents.flat_map(move |content| (0..).map_while(move |index| TilePath::in_tree(content, index, size)))
}

fn is_whole(path: &TilePath, bytes: &[u8]) -> bool {
    match path.content() {
        TileContent::Hashes(_) => decode_tile(path, bytes).is_ok(),
        TileContent::Entries => decode_entry_bundle(path, bytes).is_ok(),
    }
}

/// Shown on a terminal, and nowhere else.
fn progress(files: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {per_sec}, {eta} left");
    ProgressBar::new(files).with_style(style.expect("a template"))
}
