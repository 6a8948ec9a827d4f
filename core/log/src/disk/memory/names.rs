//! Directory entries: created, renamed and removed at once, durable when the directory is synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which file has which name.
pub(super) type Names = BTreeMap<PathBuf, usize>;

/// A change of names that was not synced, and its place among all changes of the disk.
#[derive(Clone)]
pub(super) struct PendingName {
    pub(super) order: u64,
    pub(super) change: NameChange,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Link { path: PathBuf, inode: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    pub(super) fn dir(&self) -> Option<&Path> {
        match self {
            Self::Link { path, .. } | Self::Remove { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}
