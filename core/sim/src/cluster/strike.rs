//! What goes wrong in a cluster, and when.

use craton_log::testing::Crash;

use super::machine::StandsStill;
use super::{ClusterWorld, CutNetwork};
use crate::fault::Fault;

/// A crashed machine is started again after so many milliseconds at most.
const DOWN_MS_MAX: u64 = 2_500;
/// A cut network is mended after so many milliseconds at most.
const CUT_MS_MAX: u64 = 5_000;
/// A flapping network changes after so many milliseconds at most.
const FLAP_MS_MAX: u64 = 150;
/// A machine stands still for so many milliseconds at most.
const STILL_MS_MAX: u64 = 3_000;
/// A full disk has space again after so many milliseconds at most.
const FULL_MS_MAX: u64 = 4_000;
/// How much space a disk that fills up has left at most.
const SPACE_BYTES_MAX: u64 = 100_000;
/// A crash in a call comes within so many calls.
const CRASH_CALLS_MAX: u64 = 60;
/// How far a clock jumps at most: an hour.
const JUMP_NS_MAX: u64 = 3_600_000_000_000;

impl ClusterWorld {
    /// What the seed has go wrong in this millisecond.
    pub(super) fn go_wrong(&mut self) {
        if let Some(cut) = &self.cut {
            if self.now_ms >= cut.mended_at_ms {
                self.network.mend();
                self.cut = None;
            } else if cut.flaps && self.dice.below(FLAP_MS_MAX) == 0 {
                let is_cut = self.dice.below(2) == 0;
                for (from, to) in &cut.ways {
                    self.network.cut(*from, *to, is_cut);
                }
            }
        }
        for &fault in Fault::ALL {
            let rate = self.swarm.rate(fault);
            if rate > 0 && !fault.is_in_calls() && self.dice.strikes(rate) {
                self.strike(fault);
            }
        }
    }

    fn strike(&mut self, fault: Fault) {
        let index = self.any_machine();
        match fault {
            fault if fault.is_crash() => self.strike_down(index, fault),
            Fault::CrashOfSeveral => self.crash_several(),
            Fault::ReplacedMember | Fault::AddedMember | Fault::RemovedMember => self.change_members(fault),
            Fault::Partition | Fault::OneWayPartition | Fault::FlappingNetwork => self.cut_off(index, fault),
            Fault::ImpatientClient => self.hang_up_one(index),
            Fault::Rot => {
                let unlucky = self
                    .machines
                    .iter()
                    .find(|machine| machine.is_unlucky && !machine.is_gone);
                if let Some(machine) = unlucky {
                    machine.host.disk.rot();
                }
            }
            _ if self.machines[index].is_up() => self.strike_machine(index, fault),
            _ => {}
        }
    }

    /// What strikes a machine that is up.
    fn strike_machine(&mut self, index: usize, fault: Fault) {
        let machine = &mut self.machines[index];
        match fault {
            Fault::ClockForward => machine.host.clock.advance(self.dice.below(JUMP_NS_MAX)),
            Fault::ClockBack => machine.host.clock.set_back(self.dice.below(JUMP_NS_MAX)),
            Fault::StoppedProcess if machine.stands_still.is_none() => {
                let still_ms = self.dice.below(STILL_MS_MAX);
                self.stand_still(index, still_ms);
            }
            Fault::DiskFull => {
                machine.host.disk.fill_up(self.dice.below(SPACE_BYTES_MAX));
                machine.space_at_ms = Some(self.now_ms + self.dice.below(FULL_MS_MAX));
            }
            Fault::HandOver if machine.draining.is_none() => {
                if let (Some(member), Some(runtime)) = (machine.member(), &machine.runtime) {
                    machine.draining = Some(runtime.spawn(async move { member.drain().await }));
                }
            }
            Fault::ForgottenEntries => {
                if let (Some(node), Some(runtime)) = (machine.host.node.as_mut(), &machine.runtime) {
                    let _entered = runtime.enter();
                    node.steps.forget();
                }
            }
            _ => return,
        }
        self.trace
            .note(format_args!("{} of member {}", fault.name(), index + 1));
        self.counts.add(fault.name(), 1);
    }

    /// A machine stands still.
    pub(super) fn stand_still(&mut self, index: usize, still_ms: u64) {
        self.machines[index].stands_still = Some(StandsStill {
            since_ms: self.now_ms,
            until_ms: self.now_ms + still_ms,
            arrived: Vec::new(),
        });
    }

    fn strike_down(&mut self, index: usize, fault: Fault) {
        if !self.machines[index].is_up() {
            return;
        }
        let in_call = self.swarm.rate(Fault::CrashInCall);
        if in_call > 0 && self.dice.strikes(in_call) {
            let calls = self.dice.below(CRASH_CALLS_MAX);
            self.machines[index].host.disk.die_in(calls);
            return;
        }
        let crash = self.crash_of(fault);
        self.crash(index, crash);
    }

    /// Crashes two machines or more in the same moment.
    fn crash_several(&mut self) {
        self.counts.add(Fault::CrashOfSeveral.name(), 1);
        let spared = match self.dice.below(2) {
            0 => None,
            _ => Some(self.any_machine()),
        };
        for index in 0..self.machines.len() {
            if Some(index) != spared && self.machines[index].is_up() {
                let crash = self.any_crash();
                self.crash(index, crash);
            }
        }
    }

    fn cut_off(&mut self, index: usize, fault: Fault) {
        if self.cut.is_some() {
            return;
        }
        self.counts.add(fault.name(), 1);
        let alone = self.machines[index].id;
        let others = self
            .machines
            .iter()
            .filter(|machine| !machine.is_gone && machine.id != alone);
        let others: Vec<u64> = others.map(|machine| machine.id).collect();
        let away = others.iter().map(|other| (alone, *other));
        let towards = others.iter().map(|other| (*other, alone));
        let ways: Vec<(u64, u64)> = match fault {
            Fault::OneWayPartition if self.dice.below(2) == 0 => away.collect(),
            Fault::OneWayPartition => towards.collect(),
            _ => away.chain(towards).collect(),
        };
        for (from, to) in &ways {
            self.network.cut(*from, *to, true);
        }
        self.trace.note(format_args!("cut {ways:?}"));
        self.cut = Some(CutNetwork {
            mended_at_ms: self.now_ms + self.dice.below(CUT_MS_MAX),
            ways,
            flaps: fault == Fault::FlappingNetwork,
        });
    }

    fn hang_up_one(&mut self, index: usize) {
        let number = usize::try_from(self.dice.below(self.swarm.clients)).expect("few clients");
        let (client, at) = &mut self.clients[number];
        if client.is_busy() {
            self.counts.add(Fault::ImpatientClient.name(), 1);
            client.hang_up();
            *at = index;
        }
    }

    /// One of the crashes that the seed has.
    pub(super) fn any_crash(&mut self) -> Crash {
        let crashes = Fault::ALL.iter().copied().filter(|fault| fault.is_crash());
        let chosen: Vec<Fault> = crashes.filter(|fault| self.swarm.rate(*fault) > 0).collect();
        if chosen.is_empty() {
            return Crash::Process;
        }
        let fault = *self.dice.pick(&chosen);
        self.crash_of(fault)
    }

    fn crash_of(&mut self, fault: Fault) -> Crash {
        self.counts.add(fault.name(), 1);
        fault.crash(self.dice.next())
    }

    pub(super) fn crash(&mut self, index: usize, crash: Crash) {
        self.leave_clients(index);
        let down_ms = self.dice.below(DOWN_MS_MAX);
        let machine = &mut self.machines[index];
        machine.stop(crash);
        machine.starts_at_ms = self.now_ms + down_ms;
    }

    /// Clients of a machine go to others.
    pub(super) fn leave_clients(&mut self, index: usize) {
        for number in 0..self.clients.len() {
            if self.clients[number].1 == index {
                self.clients[number].0.hang_up();
                self.clients[number].1 = self.any_machine();
            }
        }
    }

    /// A machine that is not gone.
    fn any_machine(&mut self) -> usize {
        let here = self.machines.iter().enumerate().filter(|(_, machine)| !machine.is_gone);
        let here: Vec<usize> = here.map(|(index, _)| index).collect();
        *self.dice.pick(&here)
    }
}
