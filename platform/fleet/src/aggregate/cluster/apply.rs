//! What an event makes of a cluster.

use std::collections::BTreeMap;

use super::{ClusterState, Event, Lifecycle, NewCluster, User};
use crate::aggregate::member::{Change, Members, Standing};

impl ClusterState {
    pub(super) fn new(new: NewCluster) -> Self {
        let user = User {
            scram_verifier: new.scram_verifier,
            databases: new.user_databases,
            created_at: new.created_at,
            password_rotated_at: None,
        };
        Self {
            cluster_id: new.cluster_id,
            org_id: new.org_id,
            name: new.name,
            region: new.region,
            node_count: new.node_count,
            host: new.host,
            databases: new.databases,
            users: BTreeMap::from([(new.user, user)]),
            members: Members::new(),
            last_member_id: 0,
            members_generation: 0,
            change: None,
            format_version: None,
            lifecycle: Lifecycle::Provisioning,
            operation_id: new.operation_id,
            log_keys: BTreeMap::new(),
            witnesses: vec![],
            time_stamp_authority: None,
            refused_histories: BTreeMap::new(),
            created_at: new.created_at,
            ready_at: None,
            last_error: None,
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Created(_) | Event::CertificateIssued { .. } => {}
            Event::Placed { members } => self.place(members),
            Event::EndpointSeen { member_id, endpoint } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.endpoint = Some(endpoint);
                    self.members_generation += 1;
                }
            }
            Event::MembersLeaving { member_ids } => {
                self.stand(&member_ids, Standing::Leaving);
                self.members_generation += 1;
            }
            Event::RemovalBegun { member_id } => self.stand(&[member_id], Standing::Removing),
            Event::MemberRemoved { member_id } => {
                self.members.remove(&member_id);
            }
            Event::VersionSet { member_id, version } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.server_version = Some(version);
                }
            }
            Event::ChangeRequested(pending) => {
                if let Change::Scale { node_count } = pending.change {
                    self.node_count = node_count;
                }
                self.change = Some(pending);
            }
            Event::ChangeFinished { .. } => self.change = None,
            Event::FormatVersionSet { format_version } => self.format_version = Some(format_version),
            Event::FormatVersionWithdrawn => self.format_version = None,
            Event::LogKeySeen { database, verifier_key } => {
                self.log_keys.insert(database, verifier_key);
            }
            Event::Ready { at } => {
                self.lifecycle = Lifecycle::Ready;
                self.ready_at = Some(at);
                self.last_error = None;
            }
            Event::Failed { error } => {
                self.lifecycle = Lifecycle::Failed;
                self.last_error = Some(error);
            }
            Event::Retried => {
                self.lifecycle = Lifecycle::Provisioning;
                self.last_error = None;
            }
            Event::PasswordRotated {
                user,
                scram_verifier,
                at,
            } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.scram_verifier = scram_verifier;
                    user.password_rotated_at = Some(at);
                }
            }
            Event::WitnessesSet {
                witnesses,
                time_stamp_authority,
            } => {
                self.witnesses = witnesses;
                self.time_stamp_authority = time_stamp_authority;
            }
            Event::HistoryRefused { database, refused } => {
                self.refused_histories.insert(database, refused);
            }
            Event::HistoryContinued { database, .. } => {
                self.refused_histories.remove(&database);
            }
            Event::DeletionRequested { operation_id } => {
                self.lifecycle = Lifecycle::Deleting;
                self.operation_id = operation_id;
            }
            Event::Deleted => self.lifecycle = Lifecycle::Deleted,
        }
    }
}
