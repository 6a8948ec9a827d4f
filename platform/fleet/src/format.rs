//! Which versions of the formats the members of a cluster write and know, and what follows from it for going over to a
//! newer one and for the way back. Pure.

use craton_agent_protocol::{FormatRange, MemberId, ObservedFormat, ObservedInstance};
use craton_platform_kernel::NodeId;

use crate::{aggregate::cluster::ClusterState, health::Health, link::Snapshot};

/// Why a cluster does not go over to a version of the formats, or does not move to a version of the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatRefusal {
    /// Somebody has to be heard first.
    #[error("member {0} has not said which format versions it knows")]
    NotSaid(MemberId),
    /// The builds that run are too old.
    #[error("format version {wanted} is asked for, and the build of member {member_id} knows versions up to {newest}")]
    MemberTooOld {
        member_id: MemberId,
        wanted: u8,
        newest: u8,
    },
    /// It is like this already.
    #[error("the cluster writes format version {0} already")]
    Unchanged(u8),
    /// The build that is to run would not open the data.
    #[error(
        "the cluster writes format version {active}, and version {server_version} of the server on {node_id} knows \
         versions {oldest} to {newest}"
    )]
    ServerUnfit {
        server_version: String,
        node_id: NodeId,
        active: u8,
        oldest: u8,
        newest: u8,
    },
}

/// What the wanted members say, as far as they are heard.
fn said<'a>(
    cluster: &'a ClusterState,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (MemberId, Option<ObservedFormat>)> {
    cluster.wanted().map(|(member_id, member)| {
        let instance = snapshot.instance(member.node_id, cluster.cluster_id, member_id);
        let is_heard = snapshot.health(member.node_id) == Health::Online;
        (
            member_id,
            instance.filter(|_| is_heard).and_then(|instance| instance.format),
        )
    })
}

/// What the cluster writes, and the newest version that every member knows; `None` until every member has said it.
///
/// A version is decided on by the cluster's log, so the newest one that a member writes is the cluster's: the others have
/// not come so far.
pub(crate) fn of_cluster(cluster: &ClusterState, snapshot: &Snapshot) -> Option<ObservedFormat> {
    let said: Option<Vec<ObservedFormat>> = said(cluster, snapshot).map(|(_, format)| format).collect();
    let said = said?;
    Some(ObservedFormat {
        active: said.iter().map(|format| format.active).max()?,
        newest: said.iter().map(|format| format.newest).min()?,
    })
}

/// Whether the cluster can go over to a version now.
pub(crate) fn check_final(cluster: &ClusterState, snapshot: &Snapshot, wanted: u8) -> Result<(), FormatRefusal> {
    check_known(cluster, snapshot, wanted)?;
    let silent = said(cluster, snapshot).find(|(_, format)| format.is_none());
    if let Some((member_id, _)) = silent {
        return Err(FormatRefusal::NotSaid(member_id));
    }
    match of_cluster(cluster, snapshot) {
        Some(format) if format.active >= wanted => Err(FormatRefusal::Unchanged(format.active)),
        _ => Ok(()),
    }
}

/// Whether no member that is heard is too old for a version.
pub(crate) fn check_known(cluster: &ClusterState, snapshot: &Snapshot, wanted: u8) -> Result<(), FormatRefusal> {
    let too_old = said(cluster, snapshot)
        .filter_map(|(member_id, format)| Some((member_id, format?.newest)))
        .find(|(_, newest)| *newest < wanted);
    match too_old {
        None => Ok(()),
        Some((member_id, newest)) => Err(FormatRefusal::MemberTooOld {
            member_id,
            wanted,
            newest,
        }),
    }
}

/// What is missing until every member writes a version; `None` when every one does.
pub(crate) fn missing(cluster: &ClusterState, snapshot: &Snapshot, wanted: u8) -> Option<String> {
    let (member_id, format) =
        said(cluster, snapshot).find(|(_, format)| format.is_none_or(|format| format.active < wanted))?;
    let instance = |member_id| -> Option<&ObservedInstance> {
        let member = cluster.members.get(&member_id)?;
        snapshot.instance(member.node_id, cluster.cluster_id, member_id)
    };
    // Every agent asks its server, and whoever was refused says why.
    let reason = cluster
        .wanted()
        .find_map(|(member_id, _)| instance(member_id)?.error.as_deref());
    let seen = match format {
        None => format!("member {member_id} does not say which format version it writes"),
        Some(format) => format!("member {member_id} writes format version {}", format.active),
    };
    Some(reason.map_or_else(|| seen.clone(), |reason| format!("{seen}: {reason}")))
}

/// Whether an installed version of the server works on what the cluster writes. One that does not say what it knows is tried:
/// it refuses the data itself and touches nothing.
pub(crate) fn check_server_version(
    cluster: &ClusterState,
    snapshot: &Snapshot,
    server_version: &str,
) -> Result<(), FormatRefusal> {
    let said = said(cluster, snapshot).filter_map(|(_, format)| format);
    let Some(active) = said.map(|format| format.active).max() else {
        return Ok(());
    };
    let installed =
        |node_id| -> Option<FormatRange> { snapshot.observed(node_id)?.server_version(server_version)?.formats };
    let unfit = cluster
        .wanted()
        .filter_map(|(_, member)| Some((member.node_id, installed(member.node_id)?)))
        .find(|(_, formats)| !formats.knows(active));
    match unfit {
        None => Ok(()),
        Some((node_id, FormatRange { oldest, newest })) => Err(FormatRefusal::ServerUnfit {
            server_version: server_version.to_owned(),
            node_id,
            active,
            oldest,
            newest,
        }),
    }
}

#[cfg(test)]
mod tests {
    use craton_agent_protocol::{InstalledVersion, ObservedState};
    use craton_platform_kernel::testing;

    use super::*;
    use crate::{
        aggregate::{
            cluster::{
                Cluster,
                tests::{member, ready_on},
            },
            story::state,
        },
        link::Links,
        membership::tests::observed,
    };

    /// Three members, what each says of itself, and what the program `0.1.0` says on their nodes.
    struct Story {
        cluster: ClusterState,
        nodes: Vec<NodeId>,
        said: [Option<(u8, u8)>; 3],
        installed: [Option<(u8, u8)>; 3],
        error: Option<&'static str>,
    }

    impl Story {
        fn new(said: [Option<(u8, u8)>; 3]) -> Self {
            let environment = testing::environment();
            let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
            Self {
                cluster: state::<Cluster>(&ready_on(&environment, &nodes)).unwrap(),
                nodes,
                said,
                installed: [None; 3],
                error: None,
            }
        }

        fn snapshot(&self) -> Snapshot {
            let links = Links::default();
            for (place, node_id) in self.nodes.iter().enumerate() {
                let formats = self.installed[place].map(|(oldest, newest)| FormatRange { oldest, newest });
                let instance = ObservedInstance {
                    format: self.said[place].map(|(active, newest)| ObservedFormat { active, newest }),
                    error: self.error.filter(|_| place == 2).map(str::to_owned),
                    ..observed(&self.cluster, member(place as u64 + 1))
                };
                links.register(*node_id, (0, None));
                let name = "0.1.0".to_owned();
                links.observe(
                    *node_id,
                    ObservedState {
                        generation: 1,
                        server_versions: vec![InstalledVersion { name, formats }],
                        instances: vec![instance],
                    },
                );
            }
            links.snapshot()
        }

        fn check_final(&self, wanted: u8) -> Result<(), String> {
            check_final(&self.cluster, &self.snapshot(), wanted).map_err(|refusal| refusal.to_string())
        }
    }

    #[test]
    fn a_cluster_goes_over_to_what_every_member_knows_and_says() {
        let said = |first, second, third| [Some(first), Some(second), Some(third)];
        for (said, wanted, refusal) in [
            (said((1, 2), (1, 2), (1, 2)), 2, None),
            (said((1, 3), (1, 2), (1, 3)), 2, None),
            (
                said((1, 2), (1, 1), (1, 2)),
                2,
                Some("format version 2 is asked for, and the build of member 2 knows versions up to 1"),
            ),
            (
                said((1, 2), (1, 2), (1, 2)),
                3,
                Some("format version 3 is asked for, and the build of member 1 knows versions up to 2"),
            ),
            (
                said((1, 2), (2, 2), (1, 2)),
                2,
                Some("the cluster writes format version 2 already"),
            ),
            (
                [Some((1, 2)), Some((1, 2)), None],
                2,
                Some("member 3 has not said which format versions it knows"),
            ),
            (
                [None, Some((1, 1)), None],
                2,
                Some("format version 2 is asked for, and the build of member 2 knows versions up to 1"),
            ),
        ] {
            let checked = Story::new(said).check_final(wanted);
            assert_eq!(checked.err().as_deref(), refusal, "{said:?}");
        }
    }

    #[test]
    fn what_a_cluster_writes_and_knows_is_shown_when_every_member_has_said_it() {
        let seen = |said| {
            let story = Story::new(said);
            of_cluster(&story.cluster, &story.snapshot()).map(|format| (format.active, format.newest))
        };
        assert_eq!(seen([Some((1, 2)), Some((2, 2)), Some((1, 3))]), Some((2, 2)));
        assert_eq!(seen([Some((1, 2)), None, Some((1, 2))]), None);
    }

    #[test]
    fn who_does_not_write_the_version_yet_is_named_with_what_its_agent_was_told() {
        let mut story = Story::new([Some((2, 2)), Some((1, 2)), Some((2, 2))]);
        let missing = |story: &Story| missing(&story.cluster, &story.snapshot(), 2);
        assert_eq!(missing(&story).as_deref(), Some("member 2 writes format version 1"));
        story.error = Some("no quorum");
        assert_eq!(
            missing(&story).as_deref(),
            Some("member 2 writes format version 1: no quorum")
        );
        story.said[1] = None;
        assert_eq!(
            missing(&story).as_deref(),
            Some("member 2 does not say which format version it writes: no quorum")
        );
        story.said[1] = Some((2, 2));
        assert_eq!(missing(&story), None);
    }

    #[test]
    fn a_server_that_does_not_know_what_is_written_is_refused_before_it_is_tried() {
        let check = |active, installed: [Option<(u8, u8)>; 3]| {
            let mut story = Story::new([Some((active, 2)); 3]);
            story.installed = installed;
            check_server_version(&story.cluster, &story.snapshot(), "0.1.0").is_ok()
        };
        for (active, installed, is_fit) in [
            (1, [Some((1, 1)); 3], true),
            (2, [Some((1, 2)); 3], true),
            (2, [Some((1, 1)); 3], false),
            (1, [Some((2, 3)); 3], false),
            (2, [Some((1, 2)), Some((1, 1)), None], false),
            // Who says nothing is tried.
            (2, [None; 3], true),
        ] {
            assert_eq!(check(active, installed), is_fit, "{active} {installed:?}");
        }
    }
}
