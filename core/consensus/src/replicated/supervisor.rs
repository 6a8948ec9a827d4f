//! Keeps a raft running: starts it, watches who leads, brings the membership to what it shall be, and starts it again
//! after a full disk or a snapshot that did not come in. A log that fails otherwise ends the node.

use std::sync::Arc;
use std::time::Duration;

use craton_log::WalError;
use openraft::{Config, ServerState, SnapshotPolicy};
use rand_08::RngCore;

use super::log::LogStore;
use super::machine::StateMachine;
use super::members::next_step;
use super::network::Network;
use super::runtime::ElectionRng;
use super::types::{Member, MemberForm, Raft};
use super::wire::Request;
use super::{Inner, Leadership, Standing};

/// How often a leader says that it leads. A request for it that takes longer is given up.
const HEARTBEAT_MS: u64 = 100;
/// How long a member waits for a leader before it stands for election: a random time between these, after the leader's
/// lease, which is as long as the latter.
const ELECTION_MS_MIN: u64 = 300;
const ELECTION_MS_MAX: u64 = 500;
/// A leader that a majority has not answered for so long may have been replaced.
pub(super) const SILENCE_MS_MAX: u64 = 2 * ELECTION_MS_MAX;
/// Entries that are kept for members that follow closely, though they could be forgotten.
const ENTRIES_KEPT: u64 = 1_000;
/// The most entries in a request; a reader's limit of bytes usually comes first.
const REQUEST_ENTRIES_MAX: u64 = 64;
/// A member that lacks more entries than this is not yet fit to vote.
const CAUGHT_UP_ENTRIES_MAX: u64 = 100;
/// How often it is looked at who is and who shall be a member, and whether there is space again.
const PERIOD: Duration = Duration::from_millis(250);
/// After so many looks without a leader, a member leaves it to chance whether it stands for election: openraft draws how long a
/// member waits only once, and members that always stand at the same moment would never elect anybody.
const TIED_LOOKS_MIN: u32 = 8;
/// How long one change of the membership may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the entries that are under way may take when the node hands leadership on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn spawn(inner: &Arc<Inner>) {
    inner.supervised.send_replace(true);
    let inner = Arc::clone(inner);
    let handle = inner.handle.clone();
    handle.spawn(async move {
        Arc::clone(&inner).supervise().await;
        inner.supervised.send_replace(false);
    });
}

fn config(may_stand: bool) -> Config {
    let config = Config {
        cluster_name: "craton".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        max_payload_entries: REQUEST_ENTRIES_MAX,
        replication_lag_threshold: ENTRIES_KEPT,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: 1,
        enable_elect: may_stand,
        ..Config::default()
    };
    config.validate().expect("the settings are in order")
}

impl Inner {
    async fn supervise(self: Arc<Self>) {
        let mut closed = self.closed.subscribe();
        loop {
            let run = self.run_once();
            tokio::select! {
                biased;
                () = run => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
            self.note_leadership(Leadership::default());
            if let Some(raft) = self.raft.swap(None) {
                // It may have stopped by itself.
                let _ = raft.shutdown().await;
            }
            if *self.closed.borrow() {
                return;
            }
            match self.log.failure() {
                Some(failure) if !matches!(*failure, WalError::NoSpace { .. }) => return self.fail(failure),
                Some(_) => self.wait_for_space().await,
                None => tokio::time::sleep(PERIOD).await,
            }
            self.log.clear_failure();
        }
    }

    /// Starts a raft and returns when it stopped.
    async fn run_once(self: &Arc<Self>) {
        let Some(machine) = self.machine.load_full() else {
            // It was closed.
            return;
        };
        let state_machine = StateMachine {
            log: Arc::clone(&self.log),
            inbox: Arc::clone(&self.inbox),
            machine: Arc::clone(&*machine),
            peers: Arc::clone(&self.peers),
            applied: Arc::clone(&self.applied),
        };
        self.log.lead_no_more();
        let may_stand = self.may_stand();
        let started = Raft::new(
            self.node,
            Arc::new(config(may_stand)),
            Network(Arc::clone(&self.peers)),
            LogStore(Arc::clone(&self.log)),
            state_machine,
        );
        let raft = match started.await {
            Ok(raft) => raft,
            Err(error) => {
                tracing::error!(%error, "consensus does not start");
                return;
            }
        };
        self.raft.store(Some(Arc::new(raft.clone())));
        // What changed while it was started was told to nobody.
        raft.runtime_config()
            .heartbeat(*self.standing.borrow() == Standing::Good);
        let mut metrics = raft.metrics();
        let mut ticks = tokio::time::interval(PERIOD);
        let mut looks_without_leader = 0;
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (leadership, running, leads) = {
                let now = metrics.borrow_and_update();
                let leadership = Leadership {
                    leader: now.current_leader,
                    term: now.current_term,
                };
                (leadership, now.running_state.clone(), now.state == ServerState::Leader)
            };
            self.note_leadership(leadership);
            if let Err(error) = running {
                tracing::warn!(%error, "consensus stopped");
                return;
            }
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    self.look_at_election(&raft, leadership, &mut looks_without_leader);
                    self.look_at_space();
                    if leads {
                        self.change_membership(&raft).await;
                    }
                    if self.is_incomplete() {
                        self.complete(&raft).await;
                    }
                }
                changed = metrics.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Whether nothing speaks against standing for election.
    pub(super) fn may_stand(&self) -> bool {
        !self.is_incomplete() && !*self.out_of_space.borrow() && !*self.draining.borrow() && self.is_in_good_standing()
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        if let Standing::Refused(reason) = &standing {
            tracing::error!(reason, "this member may not take part in the cluster");
        }
        let changed = self
            .standing
            .send_if_modified(|known| std::mem::replace(known, standing.clone()) != standing);
        if changed && let Some(raft) = self.raft() {
            raft.runtime_config().elect(self.may_stand());
            raft.runtime_config().heartbeat(standing == Standing::Good);
        }
        self.progress.notify_all();
    }

    /// Has the member stand for election as soon as there is need, if it may; in a tie only by chance.
    fn look_at_election(&self, raft: &Raft, leadership: Leadership, looks_without_leader: &mut u32) {
        *looks_without_leader = match leadership.leader {
            Some(_) => 0,
            None => looks_without_leader.saturating_add(1),
        };
        let is_tied = *looks_without_leader >= TIED_LOOKS_MIN;
        let stands = !is_tied || ElectionRng.next_u32().is_multiple_of(2);
        raft.runtime_config().elect(stands && self.may_stand());
    }

    fn note_leadership(&self, leadership: Leadership) {
        let changed = self.leadership.modify(|known| {
            let changed = *known != leadership;
            *known = leadership;
            changed
        });
        if changed {
            tracing::info!(leader = leadership.leader, term = leadership.term, "who leads");
            // Whoever waits to propose here looks again.
            self.signal_progress();
        }
    }

    /// Keeps the next segment of the log reserved. A leader that cannot, or cannot apply what it has, hands leadership on.
    fn look_at_space(self: &Arc<Self>) {
        let reserved = super::blocking(|| self.log.space.reserve());
        let machine = self.machine.load_full();
        let is_full = matches!(reserved, Err(WalError::NoSpace { .. }))
            || machine.is_some_and(|machine| machine.waits_for_space());
        let changed = self
            .out_of_space
            .send_if_modified(|known| std::mem::replace(known, is_full) != is_full);
        if !changed {
            return;
        }
        if is_full {
            tracing::warn!("the disk is full: this node does not lead");
            self.handle.spawn(Arc::clone(self).hand_over());
        } else {
            tracing::info!("the disk has space again");
            if let Some(raft) = self.raft() {
                raft.runtime_config().elect(self.may_stand());
                raft.runtime_config().heartbeat(true);
            }
        }
    }

    async fn wait_for_space(&self) {
        self.out_of_space.send_replace(true);
        loop {
            tokio::time::sleep(PERIOD).await;
            if *self.closed.borrow() {
                return;
            }
            if super::blocking(|| self.log.space.reserve()).is_ok() {
                self.out_of_space.send_replace(false);
                return;
            }
        }
    }

    /// Takes the next step towards the members that the cluster shall have.
    async fn change_membership(&self, raft: &Raft) {
        let (current, replication, last) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            (
                metrics.membership_config.membership().clone(),
                metrics.replication.clone().unwrap_or_default(),
                metrics.last_log_index.unwrap_or_default(),
            )
        };
        let desired = self.desired.borrow().clone();
        let caught_up = |id: u64| {
            let matching = replication.get(&id).copied().flatten();
            matching.is_some_and(|matching| matching.index + CAUGHT_UP_ENTRIES_MAX >= last)
        };
        let Some(step) = next_step(&desired, MemberForm::of(&self.format), &current, caught_up) else {
            return;
        };
        tracing::info!(?step, "changing the membership");
        let changed = raft.change_membership(step.change, step.retain);
        match tokio::time::timeout(CHANGE_TIMEOUT, changed).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the membership was not changed"),
            Err(_) => tracing::warn!("the membership was not changed in time"),
        }
    }

    /// Whether the log lost what it may have acknowledged, and does not have it back yet.
    pub(super) fn is_incomplete(&self) -> bool {
        self.log.with_wal(|wal| wal.is_incomplete())
    }

    /// Takes note that nothing is missing any more, once the log holds what the leader had committed.
    async fn complete(self: &Arc<Self>, raft: &Raft) {
        let Ok(needed) = self.read_index().await else {
            return;
        };
        // What is in the log and not known to be committed may be of a leader that was replaced.
        if self.log.committed() < needed {
            return;
        }
        match super::blocking(|| self.log.with_wal(|wal| wal.mark_complete())) {
            Ok(()) => {
                tracing::info!("the log has everything again that it may have acknowledged");
                raft.runtime_config().elect(self.may_stand());
            }
            Err(error) => tracing::warn!(%error, "the log could not be marked complete"),
        }
    }

    /// Takes no more entries, waits for those under way, and hands leadership on.
    pub(super) async fn drain(self: &Arc<Self>) {
        if self.successor().is_none() {
            // There is nobody to hand over to.
            return;
        }
        self.draining.send_replace(true);
        self.signal_progress();
        let deadline = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        while *self.in_flight.lock() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Arc::clone(self).hand_over().await;
    }

    /// The other voter that lacks least.
    fn successor(&self) -> Option<(u64, Member)> {
        let metrics = self.raft()?.metrics();
        let metrics = metrics.borrow();
        let members = metrics.membership_config.membership();
        let replication = metrics.replication.clone().unwrap_or_default();
        let others = members.voter_ids().filter(|id| *id != self.node);
        let best = others.max_by_key(|id| replication.get(id).copied().flatten())?;
        Some((best, members.get_node(&best)?.clone()))
    }

    /// Has the voter that lacks least stand for election, if this node leads. It is silent until the lease that the
    /// others gave it has passed, for before they would elect nobody.
    async fn hand_over(self: Arc<Self>) {
        let Some(raft) = self.raft() else {
            return;
        };
        raft.runtime_config().elect(false);
        if self.leadership().leader != Some(self.node) {
            return;
        }
        let Some((successor, member)) = self.successor() else {
            return;
        };
        raft.runtime_config().heartbeat(false);
        tokio::time::sleep(Duration::from_millis(ELECTION_MS_MAX)).await;
        let asked = self.peers.forward(successor, &member, Request::Campaign).await;
        if let Err(error) = asked {
            tracing::warn!(%error, "the successor was not reached; the others elect somebody");
        }
        let changed = self.leadership.wait_for(|now| now.leader != Some(self.node));
        // Nobody else may be there to lead.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, changed).await;
        if !*self.out_of_space.borrow() {
            raft.runtime_config().heartbeat(true);
        }
    }
}
