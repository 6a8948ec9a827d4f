//! The platform as a witness of its clusters' logs (C2SP tlog-witness).
//!
//! # Invariants
//! - Only logs whose key a node of the cluster has shown, and that was pinned then, are cosigned.
//! - What is cosigned is stored first, in one step with the comparison against what was cosigned before; so two requests
//!   at the same time, or a crash in between, never lead to two histories under one signature.
//! - A checkpoint of another history is kept as evidence.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_crypto::{SecretBytes, SigningKey, VerifyingKey};
use craton_platform_kernel::{Environment, RefusedCheckpoint, StoreError, WitnessStore, WitnessedCheckpoint};
use craton_proof::{
    AddCheckpoint, AddCheckpointError, CosignError, Cosigner, KeyName, KeyNameError, Note, VerifierKey, WitnessRefusal,
    Witnessed,
};
use craton_types::Hash;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::authority::{Vault, VaultError};
use crate::view::FleetView;

const KEY_FILE: &str = "witness.key";
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

    /// Answers `add-checkpoint`: the lines with the cosignature.
    pub(crate) async fn add_checkpoint(&self, view: &FleetView, body: &[u8]) -> Result<String, WitnessError> {
        let answer = self.answer(view, body).await;
        let code = answer.as_ref().map_or_else(WitnessError::code, |_| "cosigned");
        *self.answers.lock().entry(code).or_default() += 1;
        answer
    }

    async fn answer(&self, view: &FleetView, body: &[u8]) -> Result<String, WitnessError> {
        let request = AddCheckpoint::parse(body)?;
        let origin = request.origin();
        let key = log_key(view, origin.as_str()).await?;
        let key = key.ok_or(WitnessRefusal::UnknownOrigin)?;
        for _ in 0..ATTEMPTS_MAX {
            let stored = self.store.latest(origin.as_str()).await?;
            let latest = stored.map(|stored| Witnessed {
                size: stored.size,
                root: Hash::new(stored.root),
            });
            let next = match request.judge(&key, latest.as_ref()) {
                Ok(next) => next,
                Err(refusal) => {
                    self.keep_evidence(&request, &refusal, latest.as_ref()).await?;
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
                return self.cosign(&request.checkpoint);
            }
        }
        Err(WitnessError::Contended)
    }

    fn cosign(&self, note: &Note) -> Result<String, WitnessError> {
        let seconds = u64::try_from(self.environment.now().as_second()).unwrap_or(0);
        Ok(self.cosigner.cosign(note, seconds)?.to_string())
    }

    /// Keeps a checkpoint that a log signed although it is not consistent with what was cosigned before.
    async fn keep_evidence(
        &self,
        request: &AddCheckpoint,
        refusal: &WitnessRefusal,
        latest: Option<&Witnessed>,
    ) -> Result<(), StoreError> {
        let size = request.size();
        let turned_back = latest.is_some_and(|latest| size < latest.size);
        let reason = match refusal {
            WitnessRefusal::OtherRoot { .. } | WitnessRefusal::NotConsistent(_) => refusal.code(),
            WitnessRefusal::OtherOldSize { .. } if turned_back => "turned_back",
            _ => return Ok(()),
        };
        let origin = request.origin();
        tracing::error!(%origin, reason, size, %refusal, "a log was not cosigned: it shows another history");
        let refused = RefusedCheckpoint {
            reason: reason.to_owned(),
            size,
            note: request.checkpoint.to_string(),
            refused_at: self.environment.now(),
        };
        self.store.record_refused(origin.as_str(), &refused).await
    }
}

/// The pinned key of a log: its origin is the cluster's host name, a slash and the tenant's id.
async fn log_key(view: &FleetView, origin: &str) -> Result<Option<VerifierKey>, StoreError> {
    let Some((host, _)) = origin.rsplit_once('/') else {
        return Ok(None);
    };
    let Some(cluster) = view.cluster_by_host(host).await? else {
        return Ok(None);
    };
    let keys = cluster
        .log_keys
        .values()
        .filter_map(|key| key.parse::<VerifierKey>().ok());
    Ok(keys.into_iter().find(|key| key.name().as_str() == origin))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use craton_platform_kernel::{CommandContext, Ledger, Principal, testing};
    use craton_platform_sqlite::ReadModel;
    use craton_proof::{
        Checkpoint, CosignerKey, NoteSignature, SignerKey, consistency_proof, merkle_tree_hash, tree::leaf_hash,
    };

    use super::*;
    use crate::{
        aggregate::cluster::{self, Cluster, Command, tests::new_cluster},
        authority::vault::tests::vault,
    };

    /// A platform with one cluster whose log key it knows, and that log.
    struct Story {
        directory: tempfile::TempDir,
        view: FleetView,
        store: Arc<testing::MemoryWitnessStore>,
        witness: LogWitness,
        log: SignerKey,
    }

    fn open(directory: &tempfile::TempDir, store: &Arc<testing::MemoryWitnessStore>) -> LogWitness {
        let (vault, environment) = (vault(directory.path(), 1), testing::environment());
        let (name, url) = (
            "platform.example/witness",
            "https://platform.example/witness".to_owned(),
        );
        LogWitness::open_or_create(&vault, &environment, store.clone(), name, url).unwrap()
    }

    impl Story {
        async fn start() -> Self {
            let environment = testing::environment();
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
            for command in [Command::Create(new), seen] {
                ledger.execute::<Cluster>(&stream, &context, command).await.unwrap();
            }
            let model = ReadModel::open(directory.path(), crate::projection()).unwrap();
            model.catch_up(&*events).await.unwrap();
            let store = Arc::new(testing::MemoryWitnessStore::default());
            Self {
                view: FleetView::new(model),
                witness: open(&directory, &store),
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
            self.witness.add_checkpoint(&self.view, request.as_bytes()).await
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
        story.witness = open(&story.directory, &story.store);
        assert_eq!(story.witness.verifier_key(), key_before);
        assert!(story.ask(&story.request(3, &all)).await.is_ok());
        assert!(story.ask(&story.request(9, &all)).await.is_ok(), "the same once more");
        assert_eq!(story.witness.answers()["cosigned"], 2);
    }

    #[tokio::test]
    async fn other_histories_are_refused_and_kept_as_evidence() {
        let story = Story::start().await;
        let all = leaves("a", 9);
        story.ask(&story.request(0, &all[..5])).await.unwrap();
        let forked: Vec<Hash> = [&all[..2], &leaves("b", 7)].concat();
        let reason = async || {
            story
                .store
                .refused(story.origin())
                .await
                .unwrap()
                .map(|refused| (refused.reason, refused.size))
        };

        assert_eq!(
            story.refused(&story.request(0, &all)).await,
            (409, Some(5)),
            "an old size out of date"
        );
        assert_eq!(reason().await, None, "which is no fork");
        assert_eq!(story.refused(&story.request(5, &forked)).await, (422, None));
        assert_eq!(reason().await, Some(("not_consistent".to_owned(), 9)));
        assert_eq!(story.refused(&story.request(5, &forked[..5])).await, (409, Some(5)));
        assert_eq!(reason().await, Some(("other_root".to_owned(), 5)));
        assert_eq!(story.refused(&story.request(3, &all[..3])).await, (409, Some(5)));
        assert_eq!(reason().await, Some(("turned_back".to_owned(), 3)));
        assert_eq!(story.refused(&story.request(7, &all[..3])).await, (400, None));
        assert_eq!(story.witnessed_size().await, Some(5));
        let evidence = story.store.refused(story.origin()).await.unwrap().unwrap();
        Checkpoint::open(evidence.note.as_bytes(), story.log.verifier())
            .expect("signed by the log: it proves something");
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
