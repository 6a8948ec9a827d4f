//! What a node shall run. The platform always sends the whole of it.

use std::{collections::BTreeSet, fmt};

use sha2::{Digest, Sha256};

use crate::{ClusterId, DesiredMembership, InstanceId, MemberId, NodeId};

/// The most instances that one node is asked to run.
pub const INSTANCES_MAX: usize = 128;
/// The most databases of one instance.
pub const DATABASES_MAX: usize = 64;
/// The most users of one instance.
pub const USERS_MAX: usize = 64;
/// The most host names of one instance.
pub const HOSTNAMES_MAX: usize = 8;
/// The longest name of a host, cluster, database or user, in bytes (a DNS name has at most 253).
pub const NAME_BYTES_MAX: usize = 253;
/// The most witnesses of one instance.
pub const WITNESSES_MAX: usize = 8;
/// The longest URL or key of a witness, in bytes.
pub const WITNESS_BYTES_MAX: usize = 2_048;
/// The longest name of an installed server version, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// The longest key, certificate chain or certificate request in PEM, in bytes.
pub const PEM_BYTES_MAX: usize = 16 * 1024;

/// Whether a text names an installed server version: 1 to 64 of letters, digits, `.`, `-`, `_` and `+`, and no full stop
/// first. It is the name of a directory.
#[must_use]
pub fn is_version_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// SHA-256 over the canonical JSON of some content, as lower-case hex in messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Hashes a value's JSON. Struct fields keep their order and every list here is sorted, so equal content has
    /// equal bytes.
    fn of(value: &impl serde::Serialize) -> Self {
        let json = serde_json::to_vec(value).expect("the content has string keys and no failing serializer");
        Self(Sha256::digest(&json).into())
    }
}

impl TryFrom<String> for ContentHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| "a content hash has 64 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hex::encode(hash.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether an instance shall exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Serve clients.
    Running,
    /// Stop the process and destroy its data and keys. Only this word removes data; an instance that is merely not
    /// listed is left alone.
    Deleted,
}

/// A database user as the server needs it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredUser {
    /// The login name.
    pub name: String,
    /// The SCRAM-SHA-256 verifier in the form of RFC 5803 as PostgreSQL writes it:
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    pub scram_verifier: String,
    /// The databases that the user may open, sorted.
    pub databases: Vec<String>,
    /// Refuses every write of this user.
    #[serde(default)]
    pub read_only: bool,
    /// Lets the user erase and hold data subjects and say how long data is kept.
    #[serde(default)]
    pub compliance: bool,
}

impl fmt::Debug for DesiredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A verifier allows guessing offline, so it stays out of logs.
        f.debug_struct("DesiredUser")
            .field("name", &self.name)
            .field("databases", &self.databases)
            .field("read_only", &self.read_only)
            .field("compliance", &self.compliance)
            .finish_non_exhaustive()
    }
}

/// Who is asked to cosign the checkpoints of an instance's logs (C2SP tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredWitness {
    /// The prefix of its API.
    pub url: String,
    /// What verifies its cosignatures (C2SP tlog-cosignature, a *vkey*).
    pub verifier_key: String,
}

/// Who stamps the time on what the witnesses of an instance's logs cosigned (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredTimeStampAuthority {
    /// Where it is asked.
    pub url: String,
    /// The certificates, in PEM, that the chain of its certificate may end in.
    pub certificates: String,
}

/// One database server that the node shall run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredInstance {
    /// The cluster that the instance belongs to.
    pub cluster_id: ClusterId,
    /// Which of the cluster's members it is.
    pub member_id: MemberId,
    /// The cluster's name, for people who read logs.
    pub name: String,
    /// Whether the instance shall exist.
    pub run_state: RunState,
    /// The names that clients connect to, first the canonical one. They go into the instance's certificate.
    pub hostnames: Vec<String>,
    /// The prefix of the origin lines of the cluster's checkpoints (C2SP tlog-checkpoint).
    pub log_origin: String,
    /// Where the cluster is: databases can say in which regions data of a class may be kept.
    pub region: String,
    /// The databases that shall exist, sorted.
    pub databases: Vec<String>,
    /// The users that shall exist, sorted by name. Others are dropped.
    pub users: Vec<DesiredUser>,
    /// The Ed25519 public key (PEM, SubjectPublicKeyInfo) that verifies the platform's short login tokens.
    pub token_verification_key: String,
    /// Who cosigns the checkpoints of the databases' logs.
    pub witnesses: Vec<DesiredWitness>,
    /// Who stamps the time on checkpoints that were cosigned.
    pub time_stamp_authority: Option<DesiredTimeStampAuthority>,
    /// Whether its directory has been there. If it is gone, what the member promised is gone with it, so that it must not
    /// begin anew under its number.
    pub established: bool,
    /// Its part in the cluster's consensus group; none for a server that stands alone.
    pub membership: Option<DesiredMembership>,
    /// The installed version that it shall run; the agent's own choice when absent.
    pub server_version: Option<String>,
    /// The version of the formats that its cluster shall write at least, from which there is no way back to a build that does
    /// not know it; the cluster's own choice when absent.
    pub format_version: Option<u8>,
}

impl DesiredInstance {
    /// What tells it from every other instance.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        InstanceId {
            cluster_id: self.cluster_id.clone(),
            member_id: self.member_id,
        }
    }

    /// The hash by which an agent says which version of an instance it has applied in full.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        ContentHash::of(self)
    }

    fn check_limits(&self) -> Result<(), LimitError> {
        at_most("instances[].hostnames", self.hostnames.len(), HOSTNAMES_MAX)?;
        at_most("instances[].databases", self.databases.len(), DATABASES_MAX)?;
        at_most("instances[].users", self.users.len(), USERS_MAX)?;
        at_most("instances[].name", self.name.len(), NAME_BYTES_MAX)?;
        at_most("instances[].log_origin", self.log_origin.len(), NAME_BYTES_MAX)?;
        at_most("instances[].region", self.region.len(), NAME_BYTES_MAX)?;
        at_most(
            "instances[].token_verification_key",
            self.token_verification_key.len(),
            PEM_BYTES_MAX,
        )?;
        at_most("instances[].witnesses", self.witnesses.len(), WITNESSES_MAX)?;
        for text in self
            .witnesses
            .iter()
            .flat_map(|witness| [&witness.url, &witness.verifier_key])
        {
            at_most(
                "instances[].witnesses[].url or verifier_key",
                text.len(),
                WITNESS_BYTES_MAX,
            )?;
        }
        if let Some(authority) = &self.time_stamp_authority {
            let length = authority.url.len();
            at_most("instances[].time_stamp_authority.url", length, WITNESS_BYTES_MAX)?;
            let length = authority.certificates.len();
            at_most("instances[].time_stamp_authority.certificates", length, PEM_BYTES_MAX)?;
        }
        if let Some(membership) = &self.membership {
            membership.check_limits()?;
        }
        let version_length = self.server_version.as_ref().map_or(0, String::len);
        at_most("instances[].server_version", version_length, VERSION_BYTES_MAX)?;
        for name in self.hostnames.iter().chain(&self.databases) {
            at_most("instances[].hostnames[] or databases[]", name.len(), NAME_BYTES_MAX)?;
        }
        for user in &self.users {
            at_most("instances[].users[].name", user.name.len(), NAME_BYTES_MAX)?;
            at_most(
                "instances[].users[].scram_verifier",
                user.scram_verifier.len(),
                NAME_BYTES_MAX,
            )?;
            at_most("instances[].users[].databases", user.databases.len(), DATABASES_MAX)?;
        }
        Ok(())
    }
}

/// A list or text that is longer than the protocol allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} has {length} entries or bytes, at most {limit} are allowed")]
pub struct LimitError {
    /// The field.
    pub field: &'static str,
    /// What it has.
    pub length: usize,
    /// What it may have.
    pub limit: usize,
}

pub(crate) fn at_most(field: &'static str, length: usize, limit: usize) -> Result<(), LimitError> {
    if length > limit {
        Err(LimitError { field, length, limit })
    } else {
        Ok(())
    }
}

/// Everything a node shall run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredState {
    /// The node that this is for.
    pub node_id: NodeId,
    /// Grows with every change of the content.
    pub generation: u64,
    /// SHA-256 over the content: node and instances.
    pub content_hash: ContentHash,
    /// The instances, sorted by cluster and member.
    pub instances: Vec<DesiredInstance>,
}

/// How an incoming desired state relates to the one that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// It is the first or a newer one: store it and apply it.
    Newer,
    /// It is the one that the node already holds.
    Same,
}

/// Why an agent refuses a desired state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum DesiredRefusal {
    /// It was meant for another node.
    #[error("the desired state is for {claimed}, this is {own}")]
    WrongNode {
        /// The node that it names.
        claimed: NodeId,
        /// The node that received it.
        own: NodeId,
    },
    /// The content does not have the hash that it claims.
    #[error("the desired state of generation {generation} claims content {claimed} but has {computed}")]
    HashMismatch {
        /// Its generation.
        generation: u64,
        /// The hash that it names.
        claimed: ContentHash,
        /// The hash of what arrived.
        computed: ContentHash,
    },
    /// The node already holds a newer one.
    #[error("generation {generation} is older than generation {held}, which this node holds")]
    OlderGeneration {
        /// The generation that arrived.
        generation: u64,
        /// The generation that the node holds.
        held: u64,
    },
    /// Two different contents claim the same generation.
    #[error("generation {generation} arrived with content {claimed}, this node holds it with content {held}")]
    ContentConflict {
        /// The generation.
        generation: u64,
        /// The hash that arrived.
        claimed: ContentHash,
        /// The hash that the node holds.
        held: ContentHash,
    },
    /// A list is not sorted or names something twice, so the hash would not be canonical.
    #[error("{field} is not sorted or holds an entry twice")]
    NotCanonical {
        /// The list.
        field: String,
    },
    /// The node could not store it.
    #[error("the desired state could not be stored: {detail}")]
    NotStored {
        /// What the file system said.
        detail: String,
    },
}

impl DesiredState {
    /// Sorts the lists, drops duplicates and computes the content hash.
    #[must_use]
    pub fn new(node_id: NodeId, generation: u64, mut instances: Vec<DesiredInstance>) -> Self {
        instances.sort_by_key(DesiredInstance::id);
        instances.dedup_by_key(|instance| instance.id());
        for instance in &mut instances {
            if let Some(membership) = &mut instance.membership {
                membership.members.sort_by_key(|member| member.member_id);
                membership.members.dedup_by_key(|member| member.member_id);
            }
            instance.databases.sort();
            instance.databases.dedup();
            instance.users.sort_by(|a, b| a.name.cmp(&b.name));
            instance.users.dedup_by(|a, b| a.name == b.name);
            for user in &mut instance.users {
                user.databases.sort();
                user.databases.dedup();
            }
        }
        let content_hash = content_hash(&node_id, &instances);
        Self {
            node_id,
            generation,
            content_hash,
            instances,
        }
    }

    /// Decides whether this state may take the place of what a node holds.
    ///
    /// # Errors
    /// When it is for another node, damaged, older than what is held, or contradicts it.
    pub fn check_successor(&self, own: &NodeId, held: Option<&DesiredState>) -> Result<Successor, DesiredRefusal> {
        if self.node_id != *own {
            return Err(DesiredRefusal::WrongNode {
                claimed: self.node_id.clone(),
                own: own.clone(),
            });
        }
        self.check_canonical()?;
        let computed = content_hash(&self.node_id, &self.instances);
        if computed != self.content_hash {
            return Err(DesiredRefusal::HashMismatch {
                generation: self.generation,
                claimed: self.content_hash,
                computed,
            });
        }
        match held {
            Some(held) if self.generation < held.generation => Err(DesiredRefusal::OlderGeneration {
                generation: self.generation,
                held: held.generation,
            }),
            Some(held) if self.generation == held.generation && self.content_hash != held.content_hash => {
                Err(DesiredRefusal::ContentConflict {
                    generation: self.generation,
                    claimed: self.content_hash,
                    held: held.content_hash,
                })
            }
            Some(held) if self.generation == held.generation => Ok(Successor::Same),
            _ => Ok(Successor::Newer),
        }
    }

    fn check_canonical(&self) -> Result<(), DesiredRefusal> {
        let canonical = |field: &str, strictly_rising: bool| {
            if strictly_rising {
                Ok(())
            } else {
                Err(DesiredRefusal::NotCanonical {
                    field: field.to_owned(),
                })
            }
        };
        canonical("instances", self.instances.is_sorted_by(|a, b| a.id() < b.id()))?;
        for instance in &self.instances {
            canonical(
                "instances[].membership.members",
                instance.membership.as_ref().is_none_or(DesiredMembership::is_canonical),
            )?;
            canonical("instances[].databases", instance.databases.is_sorted_by(|a, b| a < b))?;
            canonical("instances[].users", instance.users.is_sorted_by(|a, b| a.name < b.name))?;
            for user in &instance.users {
                canonical(
                    "instances[].users[].databases",
                    user.databases.is_sorted_by(|a, b| a < b),
                )?;
                let known: BTreeSet<&String> = instance.databases.iter().collect();
                canonical(
                    "instances[].users[].databases",
                    user.databases.iter().all(|name| known.contains(name)),
                )?;
            }
        }
        Ok(())
    }

    pub(crate) fn check_limits(&self) -> Result<(), LimitError> {
        at_most("instances", self.instances.len(), INSTANCES_MAX)?;
        self.instances.iter().try_for_each(DesiredInstance::check_limits)
    }
}

fn content_hash(node_id: &NodeId, instances: &[DesiredInstance]) -> ContentHash {
    ContentHash::of(&(node_id, instances))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{DesiredMember, membership::tests::member};

    fn member_at(number: u16) -> DesiredMember {
        DesiredMember {
            member_id: member(number.into()),
            peer_address: ([127, 0, 0, 1], 20_000 + number).into(),
        }
    }

    pub(crate) fn node(digit: char) -> NodeId {
        NodeId::parse(&format!("node_01h455vb4pex5vsknk084sn02{digit}")).unwrap()
    }

    pub(crate) fn instance(digit: char) -> DesiredInstance {
        DesiredInstance {
            cluster_id: ClusterId::parse(&format!("clu_01h455vb4pex5vsknk084sn02{digit}")).unwrap(),
            member_id: member(1),
            name: "clinic".into(),
            run_state: RunState::Running,
            hostnames: vec!["clinic-84sn02q.local.craton.localhost".into()],
            log_origin: "clinic-84sn02q.local.craton.localhost".into(),
            region: "local".into(),
            databases: vec!["main".into(), "probe".into()],
            users: vec![DesiredUser {
                name: "app".into(),
                scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".into(),
                databases: vec!["main".into()],
                read_only: false,
                compliance: false,
            }],
            token_verification_key: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n".into(),
            witnesses: vec![DesiredWitness {
                url: "https://platform.example/witness".into(),
                verifier_key: "platform.example/witness+00000000+key".into(),
            }],
            time_stamp_authority: Some(DesiredTimeStampAuthority {
                url: "https://tsa.example".into(),
                certificates: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into(),
            }),
            established: true,
            membership: Some(DesiredMembership {
                bootstrap: true,
                generation: 3,
                members: [1, 2].map(member_at).to_vec(),
            }),
            server_version: Some("0.2.0".into()),
            format_version: Some(2),
        }
    }

    #[test]
    fn a_state_replaces_only_an_older_one_for_the_same_node() {
        let held = DesiredState::new(node('q'), 5, vec![instance('q')]);
        let with = |generation, instances| DesiredState::new(node('q'), generation, instances);
        let refusal = |state: &DesiredState| state.check_successor(&node('q'), Some(&held)).unwrap_err();

        assert_eq!(held.check_successor(&node('q'), None), Ok(Successor::Newer));
        assert_eq!(held.check_successor(&node('q'), Some(&held)), Ok(Successor::Same));
        assert_eq!(
            with(6, vec![]).check_successor(&node('q'), Some(&held)),
            Ok(Successor::Newer)
        );
        assert_eq!(
            refusal(&with(4, vec![instance('q')])),
            DesiredRefusal::OlderGeneration { generation: 4, held: 5 }
        );
        assert!(matches!(
            refusal(&with(5, vec![])),
            DesiredRefusal::ContentConflict { generation: 5, .. }
        ));
        assert!(matches!(
            refusal(&DesiredState::new(node('r'), 6, vec![])),
            DesiredRefusal::WrongNode { .. }
        ));
        let mut damaged = with(6, vec![instance('q')]);
        damaged.instances[0].run_state = RunState::Deleted;
        assert!(matches!(
            refusal(&damaged),
            DesiredRefusal::HashMismatch { generation: 6, .. }
        ));
    }

    #[test]
    fn lists_that_are_not_canonical_are_refused() {
        let mut unsorted = DesiredState::new(node('q'), 1, vec![instance('q'), instance('r')]);
        unsorted.instances.reverse();
        let mut twice = DesiredState::new(node('q'), 1, vec![instance('q')]);
        twice.instances[0].databases.push("probe".into());
        let mut unknown_database = DesiredState::new(node('q'), 1, vec![instance('q')]);
        unknown_database.instances[0].users[0].databases = vec!["other".into()];
        let mut unsorted_members = DesiredState::new(node('q'), 1, vec![instance('q')]);
        unsorted_members.instances[0]
            .membership
            .as_mut()
            .unwrap()
            .members
            .reverse();
        for state in [unsorted, twice, unknown_database, unsorted_members] {
            assert!(matches!(
                state.check_successor(&node('q'), None),
                Err(DesiredRefusal::NotCanonical { .. })
            ));
        }
    }

    #[test]
    fn order_of_the_input_does_not_change_the_hash() {
        let forward = DesiredState::new(node('q'), 1, vec![instance('q'), instance('r')]);
        let backward = DesiredState::new(node('q'), 1, vec![instance('r'), instance('q')]);
        assert_eq!(forward, backward);
    }

    #[test]
    fn two_members_of_a_cluster_may_be_on_one_node() {
        let second = DesiredInstance {
            member_id: member(2),
            ..instance('q')
        };
        let state = DesiredState::new(node('q'), 1, vec![second, instance('q'), instance('q')]);
        let members: Vec<u64> = state.instances.iter().map(|i| i.member_id.get()).collect();
        assert_eq!(members, [1, 2]);
        assert_eq!(state.check_successor(&node('q'), None), Ok(Successor::Newer));
    }

    #[test]
    fn a_version_is_the_name_of_a_directory() {
        for (text, accepted) in [
            ("0.2.0", true),
            ("2026-01-02_a+b", true),
            (&*"a".repeat(64), true),
            (&*"a".repeat(65), false),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(is_version_name(text), accepted, "{text:?}");
        }
    }

    #[test]
    fn a_verifier_is_not_shown_by_debug() {
        assert!(!format!("{:?}", instance('q')).contains("SCRAM"));
    }
}
