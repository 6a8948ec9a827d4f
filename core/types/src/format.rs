//! The version of everything that the nodes of a cluster write and say to each other, as one number.
//!
//! A build reads two versions: [`FormatVersion::OLDEST`] and [`FormatVersion::NEWEST`]. It writes the one that its cluster has
//! decided on, so that a node can go back to the build before for as long as the cluster has not decided on a newer one.
//! [`Form`] lists what differs; [`Format::writes`] is the only place that says whether it may be written.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use minicbor::{Decode, Encode};

/// A version of all formats together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct FormatVersion(u8);

impl FormatVersion {
    /// The version of data that says nothing about it.
    pub const FIRST: Self = Self(1);
    /// The oldest version that this build reads and writes: the newest one of the build before.
    pub const OLDEST: Self = Self(1);
    /// The newest version that this build reads and writes.
    pub const NEWEST: Self = Self(2);

    /// A version by its number, which need not be one that this build knows.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A build does not know a version: it is older than what its cluster or its data directory uses, or so much newer that it has
/// forgotten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("format version {found} is needed, and the build of {who} knows versions {oldest} to {newest}")]
pub struct FormatUnknown {
    /// Whose build it is.
    pub who: FormatUser,
    /// The version that is needed.
    pub found: FormatVersion,
    /// The oldest version that the build knows.
    pub oldest: FormatVersion,
    /// The newest version that the build knows.
    pub newest: FormatVersion,
}

/// Whose build a [`FormatUnknown`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatUser {
    /// The node that says so.
    ThisNode,
    /// Another member of the cluster.
    Member(crate::NodeId),
}

impl fmt::Display for FormatUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisNode => f.write_str("this node"),
            Self::Member(id) => write!(f, "member {id}"),
        }
    }
}

/// What is written differently since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The members of a cluster, in the write-ahead log, beside it and on the way to other members: without the address for
    /// clients, which nobody reads.
    ShortMembers,
    /// Data classes and where they may be kept: commands, records and a tenant's state that know of them.
    Placement,
}

impl Form {
    /// The first version that has it.
    #[must_use]
    pub const fn since(self) -> FormatVersion {
        match self {
            Self::ShortMembers | Self::Placement => FormatVersion(2),
        }
    }
}

/// What a node knows, and what its cluster has decided on.
#[derive(Debug)]
pub struct Format {
    newest: FormatVersion,
    active: AtomicU8,
}

impl Default for Format {
    fn default() -> Self {
        Self::new(FormatVersion::NEWEST)
    }
}

impl Format {
    /// That of a build whose newest version is `newest`; the cluster's is not known yet.
    #[must_use]
    pub const fn new(newest: FormatVersion) -> Self {
        Self {
            newest,
            active: AtomicU8::new(FormatVersion::FIRST.get()),
        }
    }

    /// The newest version that the build knows.
    #[must_use]
    pub const fn newest(&self) -> FormatVersion {
        self.newest
    }

    /// The version that the cluster has decided on, as far as this node has learnt.
    #[must_use]
    pub fn active(&self) -> FormatVersion {
        FormatVersion(self.active.load(Ordering::Acquire))
    }

    /// Whether something may be written in its new form.
    #[must_use]
    pub fn writes(&self, form: Form) -> bool {
        self.active() >= form.since()
    }

    /// Whether the build reads something in its new form.
    #[must_use]
    pub fn reads(&self, form: Form) -> bool {
        self.newest >= form.since()
    }

    /// Whether the build knows a version.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, found: FormatVersion) -> Result<(), FormatUnknown> {
        match (FormatVersion::OLDEST..=self.newest).contains(&found) {
            true => Ok(()),
            false => Err(FormatUnknown {
                who: FormatUser::ThisNode,
                found,
                oldest: FormatVersion::OLDEST,
                newest: self.newest,
            }),
        }
    }

    /// From now on the version may be written. It must be on the disk that it is, so that a build which does not know it never
    /// opens what is written. A version never becomes an older one.
    pub fn activate(&self, version: FormatVersion) {
        self.active.fetch_max(version.get(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_once_its_version_is_decided_on_and_read_by_builds_that_know_it() {
        let form = Form::ShortMembers;
        let (build, before) = (Format::default(), Format::new(FormatVersion::OLDEST));
        assert_eq!((build.reads(form), build.writes(form)), (true, false));
        assert_eq!((before.reads(form), before.writes(form)), (false, false));
        build.activate(FormatVersion::NEWEST);
        assert!(build.writes(form));
        build.activate(FormatVersion::OLDEST);
        assert_eq!(
            build.active(),
            FormatVersion::NEWEST,
            "a version never becomes an older one"
        );
    }

    #[test]
    fn a_version_that_a_build_does_not_know_is_refused_with_both() {
        let build = Format::new(FormatVersion::OLDEST);
        for (found, known) in [(0, false), (1, true), (2, false), (255, false)] {
            assert_eq!(build.check(FormatVersion::new(found)).is_ok(), known, "{found}");
        }
        let refused = build.check(FormatVersion::NEWEST).expect_err("too new");
        assert_eq!(
            refused.to_string(),
            "format version 2 is needed, and the build of this node knows versions 1 to 1"
        );
    }
}
