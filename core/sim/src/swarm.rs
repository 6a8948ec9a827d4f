//! What a seed stands for: which faults strike, how often, under which load (swarm testing, Groce et al., ISSTA 2012). Each
//! run leaves most things out, so that what is left meets each other more often.

use std::collections::BTreeMap;
use std::time::Duration;

use craton_engine::SyncPolicy;

use crate::dice::Dice;
use crate::fault::Fault;
use crate::workload::Request;

/// One of so many seeds has faults that damage what is stored.
const DAMAGE_SEEDS: u64 = 6;

/// How a run is.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    /// How often in a million chances each fault strikes.
    pub(crate) rates: BTreeMap<Fault, u64>,
    pub(crate) steps: u64,
    pub(crate) tenants: u64,
    pub(crate) clients: u64,
    /// How likely each kind of request is, relative to the others; see [`crate::workload::Request`].
    pub(crate) requests: [u64; Request::KINDS],
    /// How likely each piece of the node's work is, relative to the others; see [`crate::world::Piece`].
    pub(crate) pieces: [u64; 9],
    /// How likely it is that few commands go all the way on one thread, in a million.
    pub(crate) alone: u64,
    pub(crate) streams: u64,
    pub(crate) accounts: u64,
    pub(crate) event_bytes_max: u64,
    pub(crate) sync_policy: SyncPolicy,
    pub(crate) wal_segment_bytes: u64,
    pub(crate) log_segment_bytes: u64,
}

impl Swarm {
    /// What the seed stands for with so many members, without some faults.
    pub(crate) fn of(seed: u64, members: u64, without: &[Fault], steps: Option<u64>) -> Self {
        let mut dice = Dice::new(seed, "swarm");
        let damages = dice.below(DAMAGE_SEEDS) == 0;
        let mut rates = BTreeMap::new();
        let mut late = Dice::new(seed, "late faults");
        for &fault in Fault::ALL {
            // What is drawn for a fault that came later changes nothing else of what a seed stands for.
            let dice = match fault {
                Fault::DamagedTransfer => &mut late,
                _ => &mut dice,
            };
            let fits = Fault::of(members).any(|fits| fits == fault) && (!fault.is_damage() || damages);
            let chosen = dice.below(2) == 0 && fits;
            let rate = rate(fault) * *dice.pick(&[1, 1, 2, 4]);
            if chosen && !without.contains(&fault) {
                rates.insert(fault, rate);
            }
        }
        let steps_drawn = *dice.pick(&[1_000, 2_000, 2_000, 4_000]);
        let mut weights = |least| *dice.pick(&[least, 1, 2, 5, 10]);
        let requests = std::array::from_fn(|_| weights(0));
        let pieces = std::array::from_fn(|_| weights(1));
        Self {
            rates,
            steps: steps.unwrap_or(steps_drawn),
            tenants: dice.between(1, 2),
            clients: dice.between(1, 8),
            requests,
            pieces,
            alone: *dice.pick(&[0, 200_000, 500_000, 1_000_000]),
            streams: dice.between(1, 4),
            accounts: dice.between(2, 6),
            event_bytes_max: *dice.pick(&[40, 400, 3_000]),
            sync_policy: *dice.pick(&[
                SyncPolicy::EveryBatch,
                SyncPolicy::EveryBatch,
                SyncPolicy::EveryRecord,
                SyncPolicy::Group {
                    delay_max: Duration::from_millis(5),
                },
            ]),
            wal_segment_bytes: *dice.pick(&[16 * 1024, 32 * 1024, 128 * 1024]),
            log_segment_bytes: *dice.pick(&[8 * 1024, 32 * 1024, 256 * 1024]),
        }
    }

    pub(crate) fn rate(&self, fault: Fault) -> u64 {
        self.rates.get(&fault).copied().unwrap_or_default()
    }

    /// The same without damage, for machines that are spared it.
    pub(crate) fn undamaged(&self) -> Self {
        let mut swarm = self.clone();
        swarm.rates.retain(|fault, _| !fault.is_damage());
        swarm
    }

    /// Whether something may be damaged in this run.
    pub(crate) fn damages(&self) -> bool {
        self.rates.keys().any(|fault| fault.is_damage())
    }
}

/// How often in a million a fault strikes: at a step of the run, at a call to the disk, or at a crash or opening.
const fn rate(fault: Fault) -> u64 {
    match fault {
        Fault::ProcessCrash | Fault::PowerCut | Fault::TornWrites | Fault::ReorderedWrites | Fault::OrderedWrites => {
            600
        }
        Fault::CrashInCall => 250_000,
        Fault::CrashInOpening => 150_000,
        Fault::IoError => 100,
        Fault::ShortWrite => 3_000,
        Fault::NoSpace => 700,
        Fault::DiskFull => 700,
        Fault::SlowDisk => 2_000,
        Fault::MisdirectedRead => 300,
        Fault::MisdirectedWrite => 2_000,
        Fault::Rot => 400,
        Fault::ClockForward | Fault::ClockBack => 1_000,
        Fault::NetworkDelay | Fault::NetworkDrop | Fault::NetworkDuplicate => 10_000,
        Fault::DamagedTransfer => 200_000,
        Fault::Partition | Fault::OneWayPartition | Fault::FlappingNetwork => 300,
        Fault::CrashOfSeveral | Fault::HandOver => 300,
        Fault::ReplacedMember | Fault::AddedMember | Fault::RemovedMember => 300,
        Fault::StoppedProcess => 400,
        Fault::ForgottenEntries => 2_000,
        Fault::ImpatientClient => 20_000,
    }
}
