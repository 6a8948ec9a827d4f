//! The platform as a witness of its clusters' logs (C2SP tlog-witness).
//!
//! # Invariants
//! - Only logs whose key a node of the cluster has shown, and that was pinned then, are cosigned.
//! - What is cosigned is stored first, in one step with the comparison against what was cosigned before; so two requests
//!   at the same time, or a crash in between, never lead to two histories under one signature.
//! - A checkpoint of another history is kept as evidence, and is an event of the cluster. Anyone may hand in a checkpoint
//!   that a log has signed at some time, for it is in its receipts; so what that alone could cause is no evidence. Two
//!   roots of one size are. A log that is shorter than it was is an alarm when its node reports it so, and a proof that
//!   does not fit when nothing better comes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use craton_crypto::{SecretBytes, SigningKey, VerifyingKey};
use craton_platform_kernel::{
    ClusterId, Environment, OrgId, RefusedCheckpoint, StoreError, WitnessStore, WitnessedCheckpoint,
};
use craton_proof::{
    AddCheckpoint, AddCheckpointError, CosignError, Cosigner, KeyName, KeyNameError, Note, VerifierKey, WitnessRefusal,
    Witnessed,
};
use craton_types::Hash;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::aggregate::cluster::{ClusterState, Command, RefusedHistory};
use crate::authority::{Vault, VaultError};
use crate::health::Health;
use crate::link::Snapshot;
use crate::view::FleetView;

const KEY_FILE: &str = "witness.key";
/// How long a log has to be refused for a proof that does not fit, before that is an alarm. A proof is not signed, so
/// anyone who holds a fresh checkpoint can hand in a wrong one; the log itself hands in a right one within seconds.
const REPEATED_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// How long after the last cosignature a log may seem shorter than what was witnessed. Nodes report the ends of their
/// logs with their heartbeats.
const SHORTER_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// How often a lost race is run again. The winner has moved the log forward, so the loser is mostly refused then.
const ATTEMPTS_MAX: usize = 4;

/// Why the witness has no key.
#[derive(Debug, thiserror::Error)]
pub enum WitnessKeyError {
    /// The secrets cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What is stored is no key.
    #[error("{KEY_FILE} in the vault is no key")]
    Damaged,
    /// The configured name cannot name a key.
    #[error(transparent)]
    Name(#[from] KeyNameError),
}

/// Cosigns checkpoints.
pub(crate) struct LogWitness {
    cosigner: Cosigner,
    url: String,
    store: Arc<dyn WitnessStore>,
    environment: Environment,
    /// Answers since the start, by a word for them.
    answers: Mutex<BTreeMap<&'static str, u64>>,
    /// Since when logs hand in proofs that do not fit to what was cosigned, by origin: the size of that, and the time.
    suspected: Mutex<HashMap<String, (u64, Timestamp)>>,
}

/// Why a request was not answered with a cosignature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error(transparent)]
    Request(#[from] AddCheckpointError),
    #[error(transparent)]
    Refused(#[from] WitnessRefusal),
    #[error("others kept changing what was cosigned")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cosign(#[from] CosignError),
}

impl WitnessError {
    fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "malformed",
            Self::Refused(refusal) => refusal.code(),
            Self::Contended | Self::Store(_) | Self::Cosign(_) => "failed",
        }
    }
}

impl LogWitness {
    /// Opens the key, or makes it on the first use. `name` names it, and `url` is where the witness is reached.
    pub(crate) fn open_or_create(
        vault: &Vault,
        environment: &Environment,
        store: Arc<dyn WitnessStore>,
        name: &str,
        url: String,
    ) -> Result<Self, WitnessKeyError> {
        if vault.unseal(KEY_FILE)?.is_none() {
            vault.seal(KEY_FILE, &*Zeroizing::new(environment.random_bytes::<32>()))?;
        }
        let seed = vault.unseal(KEY_FILE)?.ok_or(WitnessKeyError::Damaged)?;
        let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| WitnessKeyError::Damaged)?;
        let key = SigningKey::from_seed(&SecretBytes::new(seed));
        Ok(Self {
            cosigner: Cosigner::new(KeyName::parse(name)?, key),
            url,
            store,
            environment: environment.clone(),
            answers: Mutex::default(),
            suspected: Mutex::default(),
        })
    }

    /// Where logs send their checkpoints, without `/add-checkpoint`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What verifies the cosignatures.
    pub(crate) fn verifier_key(&self) -> String {
        self.cosigner.cosigner_key().to_string()
    }

    /// The public key alone.
    pub(crate) fn public_key(&self) -> VerifyingKey {
        *self.cosigner.cosigner_key().public_key()
    }

    /// Answers since the start, by a word for them.
    pub(crate) fn answers(&self) -> BTreeMap<&'static str, u64> {
        self.answers.lock().clone()
    }

    /// What was cosigned of a log last, and what was refused as a fork.
    pub(crate) async fn state_of(
        &self,
        origin: &str,
    ) -> Result<(Option<WitnessedCheckpoint>, Option<RefusedCheckpoint>), StoreError> {
        Ok((self.store.latest(origin).await?, self.store.refused(origin).await?))
    }

    /// Answers `add-checkpoint`: the lines with the cosignature, and what the cluster's people should know of it.
    pub(crate) async fn add_checkpoint(
        &self,
        view: &FleetView,
        snapshot: &Snapshot,
        body: &[u8],
    ) -> (Result<String, WitnessError>, Option<Noticed>) {
        let mut noticed = None;
        let answer = self.answer(view, snapshot, body, &mut noticed).await;
        let code = answer.as_ref().map_or_else(WitnessError::code, |_| "cosigned");
        *self.answers.lock().entry(code).or_default() += 1;
        (answer, noticed)
    }

    async fn answer(
        &self,
        view: &FleetView,
        snapshot: &Snapshot,
        body: &[u8],
        noticed: &mut Option<Noticed>,
    ) -> Result<String, WitnessError> {
        let request = AddCheckpoint::parse(body)?;
        let origin = request.origin();
        let log = known_log(view, origin.as_str()).await?;
        let KnownLog { cluster, database, key } = log.ok_or(WitnessRefusal::UnknownOrigin)?;
        let notice = |command| Noticed {
            org_id: cluster.org_id,
            cluster_id: cluster.cluster_id,
            command,
        };
        for _ in 0..ATTEMPTS_MAX {
            let stored = self.store.latest(origin.as_str()).await?;
            let latest = stored.map(|stored| Witnessed {
                size: stored.size,
                root: Hash::new(stored.root),
            });
            let next = match request.judge(&key, latest.as_ref()) {
                Ok(next) => next,
                Err(refusal) => {
                    let end_seen = end_seen(&cluster, &database, snapshot);
                    let refused = self.keep_evidence(&request, &refusal, stored.as_ref(), end_seen);
                    let refused = refused.await?;
                    *noticed = refused.map(|refused| notice(Command::RecordRefusedHistory { database, refused }));
                    return Err(refusal.into());
                }
            };
            let next = WitnessedCheckpoint {
                size: next.size,
                root: *next.root.as_bytes(),
                witnessed_at: self.environment.now(),
            };
            // A checkpoint that was cosigned before is cosigned again, with the time of now.
            if self.store.replace(origin.as_str(), stored.as_ref(), &next).await? {
                if cluster.refused_histories.contains_key(&database) {
                    let size = next.size;
                    *noticed = Some(notice(Command::RecordContinuedHistory { database, size }));
                }
                return self.cosign(&request.checkpoint);
            }
        }
        Err(WitnessError::Contended)
    }

    fn cosign(&self, note: &Note) -> Result<String, WitnessError> {
        let seconds = u64::try_from(self.environment.now().as_second()).unwrap_or(0);
        Ok(self.cosigner.cosign(note, seconds)?.to_string())
    }

    /// Keeps a checkpoint that a log signed although it is not consistent with what was cosigned before. Returns what
    /// people should know.
    async fn keep_evidence(
        &self,
        request: &AddCheckpoint,
        refusal: &WitnessRefusal,
        latest: Option<&WitnessedCheckpoint>,
        end_seen: Option<u64>,
    ) -> Result<Option<RefusedHistory>, StoreError> {
        let (origin, size, now) = (request.origin(), request.size(), self.environment.now());
        let Some(latest) = latest else { return Ok(None) };
        let is_confirmed = match refusal {
            WitnessRefusal::OtherRoot { .. } => true,
            WitnessRefusal::NotConsistent(_) => self.is_repeated(origin.as_str(), latest, now),
            WitnessRefusal::OtherOldSize { .. } if size < latest.size => is_shorter(latest, end_seen, now),
            _ => return Ok(None),
        };
        if !is_confirmed {
            tracing::info!(%origin, size, %refusal, "a checkpoint was not cosigned");
            return Ok(None);
        }
        let reason = match refusal {
            WitnessRefusal::OtherOldSize { .. } => "turned_back",
            _ => refusal.code(),
        };
        let refused = RefusedCheckpoint {
            reason: reason.to_owned(),
            size,
            note: request.checkpoint.to_string(),
            refused_at: now,
        };
        let before = self.store.refused(origin.as_str()).await?;
        let is_known = before.is_some_and(|before| before.reason == reason && before.refused_at >= latest.witnessed_at);
        if !is_known {
            tracing::error!(%origin, reason, size, %refusal, "a log was not cosigned: it shows another history");
            self.store.record_refused(origin.as_str(), &refused).await?;
        }
        Ok(Some(RefusedHistory {
            reason: refused.reason,
            size,
            witnessed_size: latest.size,
            at: now,
        }))
    }

    /// Whether a log is refused for a while already, and nothing of it was cosigned in between.
    fn is_repeated(&self, origin: &str, latest: &WitnessedCheckpoint, now: Timestamp) -> bool {
        let mut suspected = self.suspected.lock();
        let first = suspected.entry(origin.to_owned()).or_insert((latest.size, now));
        if first.0 != latest.size {
            *first = (latest.size, now);
        }
        now.duration_since(first.1) >= REPEATED_AFTER
    }
}

/// Whether a log has been shorter than what was witnessed for so long that the node's report of its end is not just
/// late.
fn is_shorter(latest: &WitnessedCheckpoint, end_seen: Option<u64>, now: Timestamp) -> bool {
    now.duration_since(latest.witnessed_at) >= SHORTER_AFTER && end_seen.is_some_and(|end| end < latest.size)
}

/// What the people of a cluster should know: it becomes an event of the cluster.
#[derive(Debug)]
pub(crate) struct Noticed {
    pub(crate) org_id: OrgId,
    pub(crate) cluster_id: ClusterId,
    pub(crate) command: Command,
}

/// A log whose key was pinned.
struct KnownLog {
    cluster: ClusterState,
    database: String,
    key: VerifierKey,
}

/// Where a log ends, as the nodes that are there report it: the longest of them.
fn end_seen(cluster: &ClusterState, database: &str, snapshot: &Snapshot) -> Option<u64> {
    let ends = cluster.members.iter().filter_map(|(member_id, member)| {
        let node_id = member.node_id;
        if !snapshot.is_connected(node_id) || snapshot.health(node_id) != Health::Online {
            return None;
        }
        let instance = snapshot.instance(node_id, cluster.cluster_id, *member_id)?;
        let observed = instance.databases.iter().find(|observed| observed.name == database)?;
        Some(observed.position? + 1)
    });
    ends.max()
}

/// The log of an origin, which is the cluster's host name, a slash and the tenant's id.
async fn known_log(view: &FleetView, origin: &str) -> Result<Option<KnownLog>, StoreError> {
    let Some((host, _)) = origin.rsplit_once('/') else {
        return Ok(None);
    };
    let Some(cluster) = view.cluster_by_host(host).await? else {
        return Ok(None);
    };
    let mut keys = cluster.log_keys.iter().filter_map(|(database, key)| {
        let key = key.parse::<VerifierKey>().ok()?;
        Some((database.clone(), key))
    });
    let found = keys.find(|(_, key)| key.name().as_str() == origin);
    drop(keys);
    Ok(found.map(|(database, key)| KnownLog { cluster, database, key }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use craton_agent_protocol::{MemberId, ObservedDatabase, ObservedInstance, ObservedState};
    use craton_platform_kernel::{CommandContext, Ledger, Principal, testing};
    use craton_platform_sqlite::ReadModel;
    use craton_proof::{
        Checkpoint, CosignerKey, NoteSignature, SignerKey, consistency_proof, merkle_tree_hash, tree::leaf_hash,
    };

    use super::*;
    use crate::{
        aggregate::cluster::{self, Cluster, tests::new_cluster},
        authority::vault::tests::vault,
        link::Links,
        membership::tests::observed,
    };

    /// A platform with one cluster whose log key it knows, and that log.
    struct Story {
        directory: tempfile::TempDir,
        view: FleetView,
        store: Arc<testing::MemoryWitnessStore>,
        witness: LogWitness,
        log: SignerKey,
        links: Links,
        clock: Arc<testing::ManualClock>,
        environment: Environment,
    }

    fn open(
        directory: &tempfile::TempDir,
        store: &Arc<testing::MemoryWitnessStore>,
        environment: &Environment,
    ) -> LogWitness {
        let vault = vault(directory.path(), 1);
        let (name, url) = (
            "platform.example/witness",
            "https://platform.example/witness".to_owned(),
        );
        LogWitness::open_or_create(&vault, environment, store.clone(), name, url).unwrap()
    }

    impl Story {
        async fn start() -> Self {
            let clock = Arc::new(testing::ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
            let environment = testing::environment_at(clock.clone());
            let directory = tempfile::tempdir().unwrap();
            let events = Arc::new(testing::MemoryEventStore::default());
            let ledger = Ledger::new(events.clone(), Arc::new(testing::NoViews), environment.clone());
            let context = CommandContext::new(&Principal::System, environment.new_id());
            let new = new_cluster(&environment);
            let name = KeyName::parse(&format!("{}/tenant", new.host)).unwrap();
            let log = SignerKey::new(name, SigningKey::from_seed(&SecretBytes::new([1; 32])));
            let stream = cluster::stream(new.org_id, new.cluster_id);
            let seen = Command::RecordLogKey {
                database: "main".into(),
                verifier_key: log.verifier().to_string(),
            };
            let nodes = vec![environment.new_id()];
            for command in [Command::Create(new), Command::Place { nodes }, seen] {
                ledger.execute::<Cluster>(&stream, &context, command).await.unwrap();
            }
            let model = ReadModel::open(directory.path(), crate::projection()).unwrap();
            model.catch_up(&*events).await.unwrap();
            let store = Arc::new(testing::MemoryWitnessStore::default());
            Self {
                view: FleetView::new(model),
                witness: open(&directory, &store, &environment),
                environment,
                links: Links::default(),
                clock,
                store,
                directory,
                log,
            }
        }

        fn origin(&self) -> &str {
            self.log.verifier().name().as_str()
        }

        fn request(&self, old_size: u64, leaves: &[Hash]) -> String {
            let size = leaves.len() as u64;
            let proof = consistency_proof(leaves, old_size.min(size), size).unwrap();
            signed(&self.log, self.log.verifier().name(), old_size, proof, leaves)
        }

        async fn ask(&self, request: &str) -> Result<String, WitnessError> {
            self.add_checkpoint(request).await.0
        }

        async fn add_checkpoint(&self, request: &str) -> (Result<String, WitnessError>, Option<Noticed>) {
            let snapshot = self.links.snapshot();
            self.witness
                .add_checkpoint(&self.view, &snapshot, request.as_bytes())
                .await
        }

        /// Has the cluster's node report where the log ends.
        async fn end_seen(&self, end: Option<u64>) {
            let cluster = self.view.cluster_by_host(self.host()).await.unwrap().unwrap();
            let instance = ObservedInstance {
                databases: vec![ObservedDatabase {
                    name: "main".into(),
                    position: end.map(|end| end - 1),
                    log_key: self.log.verifier().to_string(),
                }],
                ..observed(&cluster, MemberId::FIRST)
            };
            let node_id = cluster.members[&MemberId::FIRST].node_id;
            self.links.register(node_id, (0, None));
            let instances = vec![instance];
            self.links.observe(
                node_id,
                ObservedState {
                    generation: 1,
                    server_versions: vec![],
                    instances,
                },
            );
        }

        async fn evidence(&self) -> Option<(String, u64)> {
            let refused = self.store.refused(self.origin()).await.unwrap();
            refused.map(|refused| (refused.reason, refused.size))
        }

        fn host(&self) -> &str {
            self.origin().rsplit_once('/').unwrap().0
        }

        /// What the cluster's people are told of a request, as the reason of a refusal.
        async fn noticed(&self, request: &str) -> Option<String> {
            match self.add_checkpoint(request).await.1?.command {
                Command::RecordRefusedHistory { database, refused } => {
                    assert_eq!(
                        (database.as_str(), Some(refused.witnessed_size)),
                        ("main", self.witnessed_size().await)
                    );
                    Some(refused.reason)
                }
                other => panic!("{other:?}"),
            }
        }

        /// The refusal's status and size.
        async fn refused(&self, request: &str) -> (u16, Option<u64>) {
            match self.ask(request).await {
                Err(WitnessError::Refused(refusal)) => (refusal.status(), refusal.latest_size()),
                other => panic!("{other:?}"),
            }
        }

        async fn witnessed_size(&self) -> Option<u64> {
            self.store
                .latest(self.origin())
                .await
                .unwrap()
                .map(|latest| latest.size)
        }
    }

    fn signed(by: &SignerKey, origin: &KeyName, old_size: u64, proof: Vec<Hash>, leaves: &[Hash]) -> String {
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: leaves.len() as u64,
            root: merkle_tree_hash(leaves),
        };
        let note = Note::parse(checkpoint.sign(by).as_bytes()).unwrap();
        AddCheckpoint::new(old_size, proof, note).unwrap().to_string()
    }

    fn leaves(history: &str, count: usize) -> Vec<Hash> {
        (0..count)
            .map(|index| leaf_hash(format!("{history}{index}").as_bytes()))
            .collect()
    }

    #[tokio::test]
    async fn a_log_that_grows_is_cosigned_and_what_was_cosigned_survives_a_restart() {
        let mut story = Story::start().await;
        let all = leaves("a", 9);
        let lines = story.ask(&story.request(0, &all[..3])).await.unwrap();
        let key: CosignerKey = story.witness.verifier_key().parse().unwrap();
        let signature = NoteSignature::parse_lines(&lines).unwrap();
        assert_eq!(signature.len(), 1);
        assert!(signature[0].is_by(key.name(), key.id()));
        assert_eq!(story.witnessed_size().await, Some(3));

        let key_before = story.witness.verifier_key();
        story.witness = open(&story.directory, &story.store, &story.environment);
        assert_eq!(story.witness.verifier_key(), key_before);
        assert!(story.ask(&story.request(3, &all)).await.is_ok());
        assert!(story.ask(&story.request(9, &all)).await.is_ok(), "the same once more");
        assert_eq!(story.witness.answers()["cosigned"], 2);
    }

    #[tokio::test]
    async fn other_histories_are_refused_kept_as_evidence_and_people_are_told() {
        let story = Story::start().await;
        let all = leaves("a", 9);
        story.ask(&story.request(0, &all[..5])).await.unwrap();
        let forked: Vec<Hash> = [&all[..2], &leaves("b", 7)].concat();
        let refused = async |old_size, leaves: &[Hash], answer| {
            let request = story.request(old_size, leaves);
            assert_eq!(story.refused(&request).await, answer);
            story.noticed(&request).await
        };
        let wait = |seconds| story.clock.advance(SignedDuration::from_secs(seconds));

        assert_eq!(refused(0, &all, (409, Some(5))).await, None, "an old size out of date");
        assert_eq!(refused(7, &all[..3], (400, None)).await, None, "nonsense");
        // Whoever has a receipt can hand in an old checkpoint, or a new one with a wrong proof, as often as they like.
        wait(3_600);
        story.end_seen(Some(9)).await;
        assert_eq!(refused(3, &all[..3], (409, Some(5))).await, None, "the log is longer");
        story.end_seen(None).await;
        assert_eq!(
            refused(3, &all[..3], (409, Some(5))).await,
            None,
            "nobody knows how long it is"
        );
        assert_eq!(refused(5, &forked, (422, None)).await, None, "a wrong proof");
        wait(4);
        assert_eq!(
            refused(5, &forked, (422, None)).await,
            None,
            "a right one may still come"
        );
        assert_eq!(story.evidence().await, None);

        wait(1);
        let told = refused(5, &forked, (422, None)).await;
        assert_eq!(told.as_deref(), Some("not_consistent"));
        assert_eq!(story.evidence().await, Some(("not_consistent".to_owned(), 9)));
        let told = refused(5, &forked[..5], (409, Some(5))).await;
        assert_eq!(told.as_deref(), Some("other_root"));
        assert_eq!(story.evidence().await, Some(("other_root".to_owned(), 5)));
        story.end_seen(Some(3)).await;
        let told = refused(3, &all[..3], (409, Some(5))).await;
        assert_eq!(told.as_deref(), Some("turned_back"));
        assert_eq!(story.evidence().await, Some(("turned_back".to_owned(), 3)));
        assert_eq!(story.witnessed_size().await, Some(5));
        let evidence = story.store.refused(story.origin()).await.unwrap().unwrap();
        Checkpoint::open(evidence.note.as_bytes(), story.log.verifier())
            .expect("signed by the log: it proves something");
    }

    #[tokio::test]
    async fn a_log_that_is_shorter_just_after_a_cosignature_is_no_alarm_yet() {
        let story = Story::start().await;
        let all = leaves("a", 9);
        story.end_seen(Some(3)).await;
        story.ask(&story.request(0, &all)).await.unwrap();
        let (shorter, wait) = (story.request(3, &all[..3]), |seconds| {
            story.clock.advance(SignedDuration::from_secs(seconds))
        });
        assert_eq!(story.noticed(&shorter).await, None);
        wait(14);
        assert_eq!(story.noticed(&shorter).await, None, "the report may be late");
        wait(1);
        assert_eq!(story.noticed(&shorter).await.as_deref(), Some("turned_back"));
    }

    #[tokio::test]
    async fn a_right_proof_ends_the_suspicion() {
        let story = Story::start().await;
        let all = leaves("a", 12);
        let forked: Vec<Hash> = [&all[..2], &leaves("b", 12)].concat();
        story.ask(&story.request(0, &all[..5])).await.unwrap();
        assert_eq!(story.noticed(&story.request(5, &forked)).await, None);
        story.ask(&story.request(5, &all[..7])).await.unwrap();
        story.clock.advance(SignedDuration::from_secs(60));
        assert_eq!(story.noticed(&story.request(7, &forked)).await, None, "a new suspicion");
    }

    #[tokio::test]
    async fn only_known_logs_with_their_own_keys_are_cosigned() {
        let story = Story::start().await;
        let all = leaves("a", 3);
        let stranger = SignerKey::new(
            story.log.verifier().name().clone(),
            SigningKey::from_seed(&SecretBytes::new([9; 32])),
        );
        let forged = signed(&stranger, story.log.verifier().name(), 0, vec![], &all);
        assert_eq!(story.refused(&forged).await, (403, None));
        let host = story.origin().rsplit_once('/').unwrap().0.to_owned();
        for origin in [
            format!("{host}/another"),
            "unknown.example/tenant".to_owned(),
            "no-slash".to_owned(),
        ] {
            let request = signed(&story.log, &KeyName::parse(&origin).unwrap(), 0, vec![], &all);
            assert_eq!(story.refused(&request).await, (404, None), "{origin}");
        }
        assert!(matches!(story.ask("no request").await, Err(WitnessError::Request(_))));
        assert_eq!(story.witnessed_size().await, None);
    }

    /// Requests at the same time, each with a right proof from what it saw: whoever comes second is told, and nothing
    /// is ever turned back.
    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_requests_at_the_same_time_one_wins() {
        let story = Arc::new(Story::start().await);
        let all = leaves("a", 40);
        story.ask(&story.request(0, &all[..1])).await.unwrap();
        for _ in 0..10 {
            let old = story.witnessed_size().await.unwrap();
            let ask = |more: usize| {
                let size = usize::try_from(old).unwrap() + more;
                let (story, request) = (story.clone(), story.request(old, &all[..size]));
                tokio::spawn(async move { story.ask(&request).await })
            };
            let (first, second) = (ask(1), ask(2));
            let answers = [first.await.unwrap(), second.await.unwrap()];
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
            assert!(story.witnessed_size().await.unwrap() > old);
        }
    }
}
