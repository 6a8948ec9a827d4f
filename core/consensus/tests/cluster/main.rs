//! Three members in one process: elections, entries, crashes, partitions, snapshots and changes of the membership.

#[path = "../common/mod.rs"]
mod common;
mod world;

use std::time::Duration;

use common::poll;
use craton_consensus::{Consensus, ConsensusError, MemberRole, Role};
use world::World;

#[test]
fn entries_reach_every_member_in_one_order() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    for number in 0..100 {
        world.propose(leader, number);
    }
    for id in world.ids() {
        poll("all entries are applied", || world.applied(id).len() == 100);
    }
    let expected: Vec<u64> = (0..100).collect();
    assert_eq!(world.applied(1), expected);
    assert_eq!(world.applied(2), expected);
    assert_eq!(world.applied(3), expected);
}

#[test]
fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    let follower = world.ids().into_iter().find(|id| *id != leader).expect("two follow");
    let member = world.member(follower);
    poll("the follower knows the leader", || {
        member.role()
            == Role::Follower {
                leader: Some(craton_types::NodeId::new(leader)),
            }
    });
    let refused = member.propose(vec![1], Box::new(|_| {}));
    assert!(matches!(refused, Err(ConsensusError::NotLeader { leader: Some(named) }) if named.get() == leader));
}

#[test]
fn the_others_go_on_when_the_leader_dies_and_it_catches_up_when_it_is_back() {
    let mut world = World::new(3);
    world.form();
    let first = world.leader();
    (0..20).for_each(|number| world.propose(first, number));
    world.kill(first);
    let second = world.leader();
    assert_ne!(first, second);
    (20..40).for_each(|number| world.propose(second, number));
    world.start(first);
    let expected: Vec<u64> = (0..40).collect();
    for id in world.ids() {
        poll("it has caught up", || world.applied(id) == expected);
    }
}

#[test]
fn everything_acknowledged_is_there_after_all_lose_power() {
    let mut world = World::new(3);
    world.form();
    for round in 0..4 {
        let leader = world.leader();
        (0..10).for_each(|number| world.propose(leader, round * 10 + number));
        world.ids().into_iter().for_each(|id| world.kill(id));
        world.ids().into_iter().for_each(|id| world.start(id));
    }
    let expected: Vec<u64> = (0..40).collect();
    for id in world.ids() {
        poll("everything is applied", || world.applied(id) == expected);
    }
}

#[test]
fn a_leader_without_a_majority_commits_nothing_and_its_entries_give_way() {
    let mut world = World::new(3);
    world.form();
    let cut_off = world.leader();
    (0..10).for_each(|number| world.propose(cut_off, number));
    world.isolate(cut_off, true);
    let lost = world.propose_lost(cut_off, 666);
    let second = world.leader_except(cut_off);
    (10..20).for_each(|number| world.propose(second, number));
    world.isolate(cut_off, false);
    poll("whoever proposed is told", || lost.lock().is_some());
    let expected: Vec<u64> = (0..20).collect();
    for id in world.ids() {
        poll("all agree", || world.applied(id) == expected);
    }
}

#[test]
fn reads_are_confirmed_by_a_majority_or_refused() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    (0..10).for_each(|number| world.propose(leader, number));
    for id in world.ids() {
        let member = world.member(id);
        poll("the member knows the leader", || world.read_index(id).is_ok());
        let index = world.read_index(id).expect("confirmed");
        assert!(index >= world.last_index_of(leader), "{index} on {id}");
        drop(member);
    }
    world.isolate(leader, true);
    assert!(
        world.read_index(leader).is_err(),
        "a leader that is cut off confirms nothing"
    );
}

#[test]
fn a_leader_that_starts_again_reads_what_it_acknowledged_before() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    (0..10).for_each(|number| world.propose(leader, number));
    let acknowledged = world.last_index_of(leader);
    world.kill(leader);
    world.forget_applied(leader);
    world.start(leader);
    let mut index = None;
    poll("somebody leads", || {
        index = world.read_index(leader).ok();
        index.is_some()
    });
    assert!(index >= Some(acknowledged), "{index:?} is before {acknowledged}");
}

#[test]
fn a_member_that_lags_behind_what_is_kept_gets_a_snapshot() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    let lagging = world.ids().into_iter().find(|id| *id != leader).expect("two follow");
    (0..10).for_each(|number| world.propose(leader, number));
    world.kill(lagging);
    (10..2_500).for_each(|number| world.propose(leader, number));
    world.forget_all(leader);
    world.start(lagging);
    let expected: Vec<u64> = (0..2_500).collect();
    poll("the snapshot came in", || world.applied(lagging) == expected);
    assert!(world.installs(lagging) > 0, "entries alone cannot have sufficed");
    world.kill(lagging);
    world.start(lagging);
    world.propose(leader, 2_500);
    poll("it follows again", || world.applied(lagging).len() == 2_501);
}

/// Consensus takes a while to start. Whatever is said meanwhile counts afterwards.
#[test]
fn a_member_that_is_accepted_while_it_starts_stands_for_election() {
    let mut world = World::new(3);
    world.form();
    for (number, microseconds) in (0..).zip([0, 1, 20, 50, 80, 120, 160, 200]) {
        let leader = world.leader();
        let mut others = world.ids().into_iter().filter(|id| *id != leader);
        let (late, without) = (others.next().expect("two follow"), others.next().expect("two follow"));
        world.kill(late);
        world.accepted_after = Some(Duration::from_micros(microseconds));
        world.start(late);
        world.accepted_after = None;
        world.kill(without);
        world.propose(leader, number);
        poll("it follows", || world.applied(late).last() == Some(&number));
        // Nobody else has everything.
        world.kill(leader);
        world.start(without);
        assert_eq!(world.leader(), late);
        world.start(leader);
    }
}

/// However few entries they hold: a member that is away must not fill the disks of the others.
#[test]
fn no_more_files_are_kept_for_a_member_that_lags_than_may_be() {
    // Two entries fill a file.
    const TIMES: usize = 4_000;
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    let lagging = world.ids().into_iter().find(|id| *id != leader).expect("two follow");
    world.kill(lagging);
    for number in 0..100 {
        world.propose_times(leader, number, TIMES);
        world.forget(leader);
    }
    assert!(world.files(leader) > 30, "some are kept");
    poll("the others were removed", || {
        world.forget(leader);
        world.files(leader) <= 34
    });
    world.start(lagging);
    poll("the snapshot came in", || world.applied(lagging).len() == 100 * TIMES);
    assert!(world.installs(lagging) > 0, "entries alone cannot have sufficed");
}

#[test]
fn members_are_added_and_replaced() {
    let mut world = World::new(1);
    world.form();
    (0..5).for_each(|number| world.propose(1, number));
    for id in [2, 3, 4] {
        world.add_host(id);
    }
    world.set_members(2, &[1, 2, 3]);
    poll("three vote", || world.voters() == [1, 2, 3]);
    (5..10).for_each(|number| world.propose(1, number));
    world.set_members(3, &[1, 2, 4]);
    poll("the new one votes instead", || world.voters() == [1, 2, 4]);
    let expected: Vec<u64> = (0..10).collect();
    poll("the new one has everything", || world.applied(4) == expected);
}

#[test]
fn a_member_whose_log_is_damaged_gets_it_back_from_the_others() {
    let mut world = World::new(3);
    world.form();
    let leader = world.leader();
    let damaged = world.ids().into_iter().find(|id| *id != leader).expect("two follow");
    (0..50).for_each(|number| world.propose(leader, number));
    poll("it has everything", || world.applied(damaged).len() == 50);
    world.kill(damaged);
    world.damage_log(damaged);
    world.start(damaged);
    poll("it knows that something was missing, and has it back", || {
        !world.member(damaged).status().is_incomplete
    });
    world.propose(leader, 50);
    poll("it follows", || world.applied(damaged).len() == 51);
}

#[test]
fn a_leader_that_is_drained_hands_over() {
    let mut world = World::new(3);
    world.form();
    let first = world.leader();
    world.propose(first, 0);
    world.drain(first);
    assert!(matches!(world.member(first).role(), Role::Follower { .. }));
    let second = world.leader_except(first);
    world.propose(second, 1);
    assert_eq!(world.member(second).status().role, MemberRole::Leader);
    poll("all follow", || world.applied(first) == [0, 1]);
}
