//! What goes wrong, by name, and how often it did.

use std::collections::BTreeMap;

use craton_log::testing::Crash;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Something that goes wrong in a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

faults! {
    /// The process dies between two steps; what it wrote stays in the page cache.
    ProcessCrash = "process-crash",
    /// The power is cut; nothing that was not synced is left.
    PowerCut = "power-cut",
    /// The power is cut; each unsynced sector is there by the toss of a coin.
    TornWrites = "torn-writes",
    /// The power is cut; each unsynced write is there by the toss of a coin.
    ReorderedWrites = "reordered-writes",
    /// The power is cut; everything up to some moment is there.
    OrderedWrites = "ordered-writes",
    /// The crash comes within a call to the disk instead of between two steps.
    CrashInCall = "crash-in-call",
    /// The crash comes while the node opens.
    CrashInOpening = "crash-in-opening",
    /// A call to the disk fails with an input or output error.
    IoError = "io-error",
    /// A write writes a part and says so.
    ShortWrite = "short-write",
    /// A call to the disk fails for want of space, once.
    NoSpace = "no-space",
    /// The disk is full, for a while.
    DiskFull = "disk-full",
    /// A call to the disk takes long.
    SlowDisk = "slow-disk",
    /// A read returns the bytes of another place.
    MisdirectedRead = "misdirected-read",
    /// A write to a tenant's files goes to another place.
    MisdirectedWrite = "misdirected-write",
    /// A bit of a file flips on the medium.
    Rot = "rot",
    /// The clock jumps ahead.
    ClockForward = "clock-forward",
    /// The clock jumps back.
    ClockBack = "clock-back",
    /// A packet between members is late.
    NetworkDelay = "network-delay",
    /// A packet between members is lost.
    NetworkDrop = "network-drop",
    /// A packet of consensus between members arrives twice.
    NetworkDuplicate = "network-duplicate",
    /// A part of a snapshot arrives with a bit flipped.
    DamagedTransfer = "damaged-transfer",
    /// A member and the others do not reach each other, for a while.
    Partition = "partition",
    /// A member is not reached, or does not reach the others, for a while.
    OneWayPartition = "one-way-partition",
    /// A member and the others reach each other now and then.
    FlappingNetwork = "flapping-network",
    /// Several machines crash at once, or all of them.
    CrashOfSeveral = "crash-of-several",
    /// A machine stands still for a while, and knows nothing of it.
    StoppedProcess = "stopped-process",
    /// A member hands leadership on, stops in good order and is started again.
    HandOver = "hand-over",
    /// Another member takes a member's place; that one may be gone for good already.
    ReplacedMember = "replaced-member",
    /// The cluster has a member more.
    AddedMember = "added-member",
    /// The cluster has a member less.
    RemovedMember = "removed-member",
    /// A member forgets the entries that it has on disk elsewhere, so that one that lags needs a snapshot.
    ForgottenEntries = "forgotten-entries",
    /// A client goes away without waiting for its answer, and asks again.
    ImpatientClient = "impatient-client",
}

impl Fault {
    /// Those that can strike a cluster with so many members.
    pub fn of(members: u64) -> impl Iterator<Item = Self> {
        let fits = move |fault: &Self| members > 1 || !(fault.is_network() || fault.is_of_cluster());
        Self::ALL.iter().copied().filter(fits)
    }

    /// A fault by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Whether it damages what was stored or read. A node that notices may refuse to open and to answer.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::MisdirectedRead | Self::MisdirectedWrite | Self::Rot)
    }

    /// Whether it strikes several members, or who is a member. A lone node does not know, either, that a write went
    /// to another place when it was the last one.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        matches!(
            self,
            Self::CrashOfSeveral
                | Self::StoppedProcess
                | Self::HandOver
                | Self::ReplacedMember
                | Self::AddedMember
                | Self::RemovedMember
                | Self::ForgottenEntries
                | Self::MisdirectedWrite
        )
    }

    /// Whether it is one of the network between members.
    #[must_use]
    pub const fn is_network(self) -> bool {
        matches!(
            self,
            Self::NetworkDelay
                | Self::NetworkDrop
                | Self::NetworkDuplicate
                | Self::DamagedTransfer
                | Self::Partition
                | Self::OneWayPartition
                | Self::FlappingNetwork
        )
    }

    /// Whether the machine goes down.
    pub(crate) const fn is_crash(self) -> bool {
        matches!(
            self,
            Self::ProcessCrash | Self::PowerCut | Self::TornWrites | Self::ReorderedWrites | Self::OrderedWrites
        )
    }

    /// What the machine's disk does then.
    pub(crate) const fn crash(self, seed: u64) -> Crash {
        match self {
            Self::PowerCut => Crash::DropUnsynced,
            Self::TornWrites => Crash::Torn { seed },
            Self::ReorderedWrites => Crash::Reordered { seed },
            Self::OrderedWrites => Crash::InOrder { seed },
            _ => Crash::Process,
        }
    }

    /// Whether it strikes within calls to the disk or the network, or at an opening, and not between two steps.
    pub(crate) const fn is_in_calls(self) -> bool {
        matches!(
            self,
            Self::CrashInCall
                | Self::CrashInOpening
                | Self::IoError
                | Self::ShortWrite
                | Self::NoSpace
                | Self::SlowDisk
                | Self::MisdirectedRead
                | Self::MisdirectedWrite
                | Self::NetworkDelay
                | Self::NetworkDrop
                | Self::NetworkDuplicate
                | Self::DamagedTransfer
        )
    }
}

/// How often things happened, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    /// How often.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
