//! What a node saw when it last looked.

use std::net::IpAddr;

use crate::{
    ClusterId, ContentHash, DATABASES_MAX, INSTANCES_MAX, InstanceId, MemberId, NAME_BYTES_MAX, ObservedMembership,
    VERSION_BYTES_MAX,
    desired::{LimitError, at_most},
};

/// The longest error that an agent reports, in bytes. It is shown to people, who read no more.
pub const ERROR_BYTES_MAX: usize = 1_000;
/// The longest verifier key in bytes: a name of [`NAME_BYTES_MAX`] with the tenant's id, a hash and a key.
const LOG_KEY_BYTES_MAX: usize = 512;

/// The most installed versions of the server that a node offers.
pub const SERVER_VERSIONS_MAX: usize = 32;

/// How far an instance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancePhase {
    /// The directory is made; a certificate from the platform is awaited.
    AwaitingCertificate,
    /// The other members do not know its addresses yet, so it waits before it starts.
    AwaitingMembers,
    /// The process was started and does not answer yet.
    Starting,
    /// The process answers; it has no part in its group yet, or the group has no leader.
    Joining,
    /// The process answers; databases and users are not all in place.
    Configuring,
    /// Everything that was asked for is in place.
    Running,
    /// The process ended and waits for its next start.
    Backoff,
    /// Its directory was there and is gone.
    Lost,
    /// The instance is being removed.
    Removing,
    /// It runs here but the desired state does not list it. It is left alone.
    Unlisted,
}

/// Where an instance accepts clients.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// An IP address.
    pub address: IpAddr,
    /// The TCP port of the PostgreSQL protocol.
    pub port: u16,
    /// The TCP port of the databases' logs over HTTPS (C2SP tlog-tiles).
    pub https_port: u16,
    /// The TCP port that other members of the group connect to.
    pub peer_port: u16,
}

/// A database as its server reports it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObservedDatabase {
    /// Its name.
    pub name: String,
    /// The position of its log's last record; `None` while the log is empty.
    pub position: Option<u64>,
    /// The verifier key of its log (C2SP signed-note, a *vkey*).
    pub log_key: String,
}

/// Which versions of the formats a server writes and knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObservedFormat {
    /// The one that its cluster has decided on.
    pub active: u8,
    /// The newest one that its build knows.
    pub newest: u8,
}

/// The versions of the formats that a build opens and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FormatRange {
    /// The oldest one.
    pub oldest: u8,
    /// The newest one.
    pub newest: u8,
}

impl FormatRange {
    /// Whether the build works on data of a version.
    #[must_use]
    pub fn knows(self, version: u8) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// A version of the server that is installed on the node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InstalledVersion {
    /// Its name.
    pub name: String,
    /// What its program says of itself; `None` when it says nothing.
    pub formats: Option<FormatRange>,
}

/// One instance on the node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObservedInstance {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Which of its members.
    pub member_id: MemberId,
    /// How far it has come.
    pub phase: InstancePhase,
    /// Where it listens, once a port was chosen.
    pub endpoint: Option<Endpoint>,
    /// The operating system's process number while it runs.
    pub pid: Option<u32>,
    /// How often its process ended without being asked to, since the agent started.
    pub restarts: u32,
    /// The server's version once it answers.
    pub server_version: Option<String>,
    /// The installed version that its process, or the last one, was started from; `None` before the first, or when it was
    /// the agent's own choice.
    pub runs_version: Option<String>,
    /// What it writes and knows once it answers; `None` for a server that does not say.
    pub format: Option<ObservedFormat>,
    /// When the served certificate expires, in seconds since the Unix epoch.
    pub certificate_not_after_s: Option<u64>,
    /// When the certificate for other members expires, in seconds since the Unix epoch.
    pub peer_certificate_not_after_s: Option<u64>,
    /// What it sees of its group once it answers.
    pub membership: Option<ObservedMembership>,
    /// The hash of the [`crate::DesiredInstance`] that is applied in full.
    pub applied: Option<ContentHash>,
    /// The databases, sorted by name.
    pub databases: Vec<ObservedDatabase>,
    /// What went wrong last, while it is still wrong.
    pub error: Option<String>,
}

/// All instances on the node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObservedState {
    /// The generation of the desired state that the agent worked towards; 0 before the first.
    pub generation: u64,
    /// The server's versions that are installed beside the agent's own choice, sorted by name.
    pub server_versions: Vec<InstalledVersion>,
    /// The instances, sorted by cluster and member.
    pub instances: Vec<ObservedInstance>,
}

impl ObservedState {
    /// One instance.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&ObservedInstance> {
        self.instances.iter().find(|instance| instance.id() == *id)
    }

    /// An installed version.
    #[must_use]
    pub fn server_version(&self, name: &str) -> Option<&InstalledVersion> {
        self.server_versions.iter().find(|version| version.name == name)
    }

    /// Whether the two differ in more than log positions, which move all the time and are no reason to speak up.
    #[must_use]
    pub fn differs_materially(&self, other: &ObservedState) -> bool {
        self.generation != other.generation
            || self.server_versions != other.server_versions
            || self.instances.len() != other.instances.len()
            || self
                .instances
                .iter()
                .zip(&other.instances)
                .any(|(a, b)| a.without_positions() != b.without_positions())
    }

    pub(crate) fn check_limits(&self) -> Result<(), LimitError> {
        at_most("server_versions", self.server_versions.len(), SERVER_VERSIONS_MAX)?;
        for version in &self.server_versions {
            at_most("server_versions[].name", version.name.len(), VERSION_BYTES_MAX)?;
        }
        at_most("instances", self.instances.len(), INSTANCES_MAX)?;
        self.instances.iter().try_for_each(ObservedInstance::check_limits)
    }
}

impl ObservedInstance {
    /// What tells it from every other instance.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        InstanceId {
            cluster_id: self.cluster_id.clone(),
            member_id: self.member_id,
        }
    }

    fn check_limits(&self) -> Result<(), LimitError> {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        at_most("instances[].error", length(&self.error), ERROR_BYTES_MAX)?;
        at_most(
            "instances[].server_version",
            length(&self.server_version),
            NAME_BYTES_MAX,
        )?;
        let length_of_version = length(&self.runs_version);
        at_most("instances[].runs_version", length_of_version, VERSION_BYTES_MAX)?;
        if let Some(membership) = &self.membership {
            membership.check_limits()?;
        }
        at_most("instances[].databases", self.databases.len(), DATABASES_MAX)?;
        self.databases.iter().try_for_each(|database| {
            at_most("instances[].databases[].name", database.name.len(), NAME_BYTES_MAX)?;
            at_most(
                "instances[].databases[].log_key",
                database.log_key.len(),
                LOG_KEY_BYTES_MAX,
            )
        })
    }

    fn without_positions(&self) -> ObservedInstance {
        let mut instance = self.clone();
        instance.membership = instance.membership.map(ObservedMembership::without_positions);
        instance
            .databases
            .iter_mut()
            .for_each(|database| database.position = None);
        instance
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{NotReady, Role, membership::tests::member};

    pub(crate) fn observed(position: u64) -> ObservedState {
        ObservedState {
            generation: 5,
            server_versions: vec![InstalledVersion {
                name: "0.2.0".into(),
                formats: Some(FormatRange { oldest: 1, newest: 2 }),
            }],
            instances: vec![ObservedInstance {
                cluster_id: ClusterId::parse("clu_01h455vb4pex5vsknk084sn02q").unwrap(),
                member_id: member(1),
                phase: InstancePhase::Running,
                endpoint: Some(Endpoint {
                    address: [127, 0, 0, 1].into(),
                    port: 20_001,
                    https_port: 20_002,
                    peer_port: 20_003,
                }),
                pid: Some(4711),
                restarts: 0,
                server_version: Some("0.1.0".into()),
                runs_version: Some("0.2.0".into()),
                format: Some(ObservedFormat { active: 1, newest: 2 }),
                certificate_not_after_s: Some(1_800_000_000),
                peer_certificate_not_after_s: Some(1_800_000_001),
                membership: Some(ObservedMembership {
                    role: Role::Leader,
                    leader: Some(member(1)),
                    term: 4,
                    committed: Some(position),
                    applied: Some(position),
                    voters: [member(1), member(2)].into(),
                    learners: [member(3)].into(),
                    members_generation: 3,
                    not_ready: vec![NotReady {
                        code: "catching_up".into(),
                        detail: "17 entries are missing".into(),
                    }],
                }),
                applied: None,
                databases: vec![ObservedDatabase {
                    name: "main".into(),
                    position: Some(position),
                    log_key: "o+0+k".into(),
                }],
                error: None,
            }],
        }
    }

    #[test]
    fn a_build_knows_what_is_between_its_oldest_and_its_newest_version() {
        let range = FormatRange { oldest: 2, newest: 3 };
        for (version, is_known) in [(1, false), (2, true), (3, true), (4, false)] {
            assert_eq!(range.knows(version), is_known, "{version}");
        }
    }

    #[test]
    fn positions_alone_are_no_material_difference() {
        assert!(!observed(1).differs_materially(&observed(2)));
        let mut failed = observed(1);
        failed.instances[0].phase = InstancePhase::Backoff;
        assert!(failed.differs_materially(&observed(1)));
        let mut other_generation = observed(1);
        other_generation.generation = 6;
        assert!(other_generation.differs_materially(&observed(1)));
    }
}
