//! `GET /v1/explain`: why the server is not ready, does not lead, or rejects what clients send.
//!
//! Every reason has a code that stays the same, what it was concluded from, and what helps. There are never more reasons
//! than codes, and no list in one is longer than what is named beside it.

use craton_consensus::{ClusterStatus, MemberRole};
use craton_engine::{DamagedRecord, QueueUse};
use craton_types::{FormatUnknown, NodeId};
use serde::Serialize;
use serde_json::{Value, json};

use crate::member::{Membership, not_ready};
use crate::shared::Shared;

/// The most damaged records that are named.
const DAMAGED_SHOWN_MAX: usize = 16;
/// A member that has applied this many entries fewer than are committed is worth a word.
const BEHIND_ENTRIES_MIN: u64 = 256;

/// What is known when it is asked.
pub(crate) struct Facts {
    pub(crate) stop_reason: Option<String>,
    pub(crate) is_stopping: bool,
    pub(crate) read_only_reason: Option<&'static str>,
    pub(crate) cluster: Option<ClusterStatus>,
    pub(crate) outdated: Option<FormatUnknown>,
    pub(crate) applied: u64,
    pub(crate) queue: QueueUse,
    pub(crate) damaged: Vec<DamagedRecord>,
    pub(crate) wal_damage: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// Whether clients are served.
    ready: bool,
    /// Whether it orders what is written; a server alone does.
    leads: bool,
    /// Whether it takes what clients write, itself or for another member.
    takes_writes: bool,
    reasons: Vec<Reason>,
}

/// Why it is not so.
#[derive(Debug, Serialize)]
struct Reason {
    /// What it explains: `not_ready`, `not_leader` or `rejects`.
    why: &'static str,
    code: &'static str,
    detail: String,
    /// What helps.
    advice: &'static str,
    operands: Value,
}

impl Facts {
    pub(crate) fn of(shared: &Shared) -> Self {
        let scrub = shared.engine.scrub_status();
        Self {
            stop_reason: shared.engine.stop_reason(),
            is_stopping: shared.stopping.is_cancelled(),
            read_only_reason: shared.engine.read_only_reason(),
            cluster: shared.membership.as_ref().map(|membership| membership.member.status()),
            outdated: shared.membership.as_ref().and_then(Membership::outdated),
            applied: shared.engine.applied().get(),
            queue: shared.engine.queue_use(),
            damaged: scrub.damaged,
            wal_damage: scrub.wal_damage,
        }
    }

    pub(crate) fn explain(&self) -> Explanation {
        let mut reasons = self.not_ready();
        let ready = reasons.is_empty();
        reasons.extend(self.not_leader());
        let leads = !reasons.iter().any(|reason| reason.why == "not_leader");
        let rejects = self.rejects();
        let takes_writes = ready && !rejects.iter().any(|reason| stops_writes(reason.code));
        reasons.extend(rejects);
        Explanation {
            ready,
            leads,
            takes_writes,
            reasons,
        }
    }

    fn not_ready(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if let Some(reason) = &self.stop_reason {
            reasons.push(Reason {
                why: "not_ready",
                code: "engine_stopped",
                detail: reason.clone(),
                advice: "Look at the disk and the log of the server. It ends by itself; start it again.",
                operands: json!({}),
            });
        }
        if self.is_stopping {
            reasons.push(Reason {
                why: "not_ready",
                code: "stopping",
                detail: "the server was told to stop".to_owned(),
                advice: "Nothing: another member serves, or start it again.",
                operands: json!({}),
            });
        }
        let Some(cluster) = &self.cluster else {
            return reasons;
        };
        reasons.extend(
            not_ready(cluster, self.outdated.as_ref())
                .into_iter()
                .map(|reason| Reason {
                    why: "not_ready",
                    code: reason.code,
                    detail: reason.detail,
                    advice: advice(reason.code),
                    operands: self.operands(cluster),
                }),
        );
        reasons
    }

    fn not_leader(&self) -> Vec<Reason> {
        let Some(cluster) = &self.cluster else {
            return Vec::new();
        };
        if cluster.role == MemberRole::Leader && !cluster.is_draining {
            return Vec::new();
        }
        let mut causes = Vec::new();
        if let Some(leader) = cluster.leader.filter(|leader| *leader != cluster.node) {
            causes.push(("follows", format!("member {leader} leads in term {}", cluster.term)));
        }
        if cluster.is_draining {
            causes.push(("draining", "it was told to hand leadership on".to_owned()));
        }
        // What keeps it from being elected.
        causes.extend(
            not_ready(cluster, self.outdated.as_ref())
                .into_iter()
                .map(|reason| (reason.code, reason.detail)),
        );
        let reason = |(code, detail)| Reason {
            why: "not_leader",
            code,
            detail,
            advice: advice(code),
            operands: self.operands(cluster),
        };
        causes.into_iter().map(reason).collect()
    }

    fn rejects(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut reason = |code, detail: String, operands| {
            reasons.push(Reason {
                why: "rejects",
                code,
                detail,
                advice: advice(code),
                operands,
            });
        };
        if let Some(detail) = self.read_only_reason {
            reason("read_only", detail.to_owned(), json!({}));
        }
        let QueueUse {
            commands,
            commands_max,
            bytes,
            bytes_max,
            tenants,
            tenant_commands,
            tenant_commands_max,
        } = self.queue;
        let operands = json!({
            "commands": commands, "commands_max": commands_max, "bytes": bytes, "bytes_max": bytes_max,
            "databases_waiting": tenants, "database_commands": tenant_commands,
            "database_commands_max": tenant_commands_max,
        });
        if commands >= commands_max || bytes >= bytes_max {
            reason(
                "queue_full",
                format!("{commands} commands wait, {bytes} bytes are under way"),
                operands,
            );
        } else if tenant_commands >= tenant_commands_max {
            let detail = format!("{tenant_commands} commands of one database wait, which is its share");
            reason("share_full", detail, operands);
        }
        if !self.damaged.is_empty() {
            let shown: Vec<_> = self.damaged.iter().take(DAMAGED_SHOWN_MAX).map(shown).collect();
            let count = self.damaged.len();
            let code = match self.cluster {
                Some(_) => "record_damaged",
                None => "record_lost",
            };
            let operands = json!({"count": count, "first": shown});
            reason(code, format!("{count} records of the logs are damaged"), operands);
        }
        if let Some(detail) = &self.wal_damage {
            reason("write_ahead_log_damaged", detail.clone(), json!({}));
        }
        if let Some(cluster) = &self.cluster {
            let lacks = cluster.committed.get().saturating_sub(self.applied);
            if lacks >= BEHIND_ENTRIES_MIN {
                let detail = format!("{lacks} committed entries are not applied here yet");
                reason("behind", detail, self.operands(cluster));
            }
        }
        reasons
    }

    fn operands(&self, cluster: &ClusterStatus) -> Value {
        let numbers = |ids: &[NodeId]| -> Vec<u64> { ids.iter().map(|id| id.get()).collect() };
        json!({
            "node_id": cluster.node.get(),
            "leader": cluster.leader.map(NodeId::get),
            "term": cluster.term.get(),
            "voters": numbers(&cluster.voters),
            "learners": numbers(&cluster.learners),
            "members_generation": cluster.generation,
            "last": cluster.last.get(),
            "committed": cluster.committed.get(),
            "applied": self.applied,
        })
    }
}

fn shown(record: &DamagedRecord) -> Value {
    json!({"database": record.database, "position": record.position.get(), "field": record.field})
}

/// Whether writes are refused for this reason, rather than some reads or one database.
fn stops_writes(code: &str) -> bool {
    matches!(code, "read_only" | "queue_full")
}

fn advice(code: &str) -> &'static str {
    match code {
        "starting" => "Wait.",
        "format_version" => "Start a build that knows the version.",
        "no_leader" => "Look whether a majority of the voters runs and is reachable from here.",
        "no_majority" => "Look at the other members and the network between them and this one.",
        "not_a_voter" => "Wait while it catches up; compare members_generation with the list of members.",
        "not_introduced" => "Look whether another member runs and is reachable from here.",
        "refused" => "Do not start this directory again: remove the member and add one with a new number.",
        "incomplete" => "Wait: the other members send what is missing.",
        "disk_full" | "read_only" => "Make space on the disk.",
        "follows" => "Nothing: one member leads, and this one passes on what is written.",
        "draining" => "Start it again for it to lead again.",
        "queue_full" => "Clients try again; if it lasts, the disk or a majority of the members is too slow.",
        "share_full" => "Clients of that database try again; others are served.",
        "record_damaged" => "Wait: they are fetched from other members. See craton_recoveries.",
        "record_lost" => "Replace the disk and restore from a copy; nothing else has these records.",
        "write_ahead_log_damaged" => "Wait until it is purged; do not stop the server before.",
        "behind" => "Wait; if it lasts, the disk of this member is slower than the others'.",
        _ => "Look at the log of the server.",
    }
}

#[cfg(test)]
mod tests {
    use craton_consensus::Standing;
    use craton_types::{LogIndex, Offset, Term};

    use super::*;

    fn member(role: MemberRole, leader: Option<u64>) -> ClusterStatus {
        ClusterStatus {
            node: NodeId::new(1),
            role,
            leader: leader.map(NodeId::new),
            term: Term::new(7),
            first: LogIndex::new(1),
            last: LogIndex::new(100),
            committed: LogIndex::new(100),
            voters: [1, 2, 3].map(NodeId::new).to_vec(),
            learners: Vec::new(),
            generation: 2,
            is_incomplete: false,
            lacks_majority: false,
            is_out_of_space: false,
            standing: Standing::Good,
            is_draining: false,
            lags: Vec::new(),
        }
    }

    fn facts(cluster: Option<ClusterStatus>) -> Facts {
        Facts {
            stop_reason: None,
            is_stopping: false,
            read_only_reason: None,
            cluster,
            outdated: None,
            applied: 100,
            queue: QueueUse {
                commands_max: 10,
                bytes_max: 10,
                tenant_commands_max: 5,
                ..QueueUse::default()
            },
            damaged: Vec::new(),
            wal_damage: None,
        }
    }

    /// Ready, leads, takes writes.
    type Flags = (bool, bool, bool);
    /// What is explained, and the code.
    type Codes = Vec<(&'static str, &'static str)>;

    fn check(facts: &Facts) -> (Flags, Codes) {
        let explanation = facts.explain();
        let reasons = explanation.reasons.iter().map(|reason| (reason.why, reason.code));
        let flags = (explanation.ready, explanation.leads, explanation.takes_writes);
        (flags, reasons.collect())
    }

    #[test]
    fn a_server_that_is_well_has_nothing_to_explain() {
        assert_eq!(check(&facts(None)), ((true, true, true), vec![]));
        let leader = member(MemberRole::Leader, Some(1));
        assert_eq!(check(&facts(Some(leader))), ((true, true, true), vec![]));
    }

    #[test]
    fn every_state_has_its_reasons() {
        let follower = || member(MemberRole::Follower, Some(2));
        let follows = ("not_leader", "follows");
        let table: Vec<(Facts, Flags, Codes)> = vec![
            (facts(Some(follower())), (true, false, true), vec![follows]),
            (
                facts(Some(member(MemberRole::Candidate, None))),
                (false, false, false),
                vec![("not_ready", "no_leader"), ("not_leader", "no_leader")],
            ),
            (
                facts(Some(ClusterStatus {
                    lacks_majority: true,
                    ..member(MemberRole::Leader, Some(1))
                })),
                (false, true, false),
                vec![("not_ready", "no_majority")],
            ),
            (
                facts(Some(ClusterStatus {
                    is_incomplete: true,
                    ..follower()
                })),
                (false, false, false),
                vec![("not_ready", "incomplete"), follows, ("not_leader", "incomplete")],
            ),
            (
                facts(Some(ClusterStatus {
                    standing: Standing::Refused("member 2 says: it is an older copy".to_owned()),
                    ..member(MemberRole::Follower, None)
                })),
                (false, false, false),
                vec![
                    ("not_ready", "no_leader"),
                    ("not_ready", "refused"),
                    ("not_leader", "no_leader"),
                    ("not_leader", "refused"),
                ],
            ),
            (
                facts(Some(ClusterStatus {
                    is_draining: true,
                    ..member(MemberRole::Leader, Some(1))
                })),
                (true, false, true),
                vec![("not_leader", "draining")],
            ),
            (
                Facts {
                    applied: 100 - BEHIND_ENTRIES_MIN.min(100),
                    ..facts(Some(ClusterStatus {
                        committed: LogIndex::new(BEHIND_ENTRIES_MIN),
                        ..follower()
                    }))
                },
                (true, false, true),
                vec![follows, ("rejects", "behind")],
            ),
            (
                Facts {
                    is_stopping: true,
                    stop_reason: Some("the disk failed".to_owned()),
                    ..facts(None)
                },
                (false, true, false),
                vec![("not_ready", "engine_stopped"), ("not_ready", "stopping")],
            ),
            (
                Facts {
                    read_only_reason: Some("the disk is full"),
                    wal_damage: Some("segment 3".to_owned()),
                    ..facts(None)
                },
                (true, true, false),
                vec![("rejects", "read_only"), ("rejects", "write_ahead_log_damaged")],
            ),
        ];
        for (facts, flags, reasons) in table {
            assert_eq!(check(&facts), (flags, reasons));
        }
    }

    #[test]
    fn a_full_queue_and_a_full_share_are_told_apart_at_the_edge() {
        let with = |commands, tenant_commands| {
            let mut facts = facts(None);
            facts.queue.commands = commands;
            facts.queue.tenant_commands = tenant_commands;
            check(&facts)
        };
        assert_eq!(with(9, 4), ((true, true, true), vec![]));
        assert_eq!(with(9, 5), ((true, true, true), vec![("rejects", "share_full")]));
        assert_eq!(with(10, 5), ((true, true, false), vec![("rejects", "queue_full")]));
    }

    #[test]
    fn damage_is_counted_and_a_bounded_part_of_it_named() {
        let mut facts = facts(None);
        facts.damaged = (0..100)
            .map(|position| DamagedRecord {
                database: "main".to_owned(),
                position: Offset::new(position),
                field: "payload_hash",
            })
            .collect();
        let explanation = facts.explain();
        let [reason] = &explanation.reasons[..] else {
            panic!("{explanation:?}");
        };
        assert_eq!(reason.code, "record_lost");
        assert_eq!(reason.operands["count"], 100);
        assert_eq!(
            reason.operands["first"].as_array().map(Vec::len),
            Some(DAMAGED_SHOWN_MAX)
        );
        facts.cluster = Some(member(MemberRole::Leader, Some(1)));
        assert_eq!(facts.explain().reasons[0].code, "record_damaged");
    }
}
