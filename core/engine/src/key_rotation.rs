//! Rotation of keys while the node serves, and what can be seen of the keys.

use std::sync::Arc;

use craton_crypto::MasterKeyProvider;
use craton_kernel::{NewDataKey, Operation};
use craton_types::{
    ActorId, CorrelationId, DataKeyNumber, IdempotencyId, KeyEpoch, KeysRotated, Offset, RotationReason, Timestamp,
};

use crate::clock::random_array;
use crate::craton::Request;
use crate::epoch_keys::rotations;
use crate::{Commit, Craton, EngineError, Tenant};

/// A key epoch of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEpochStatus {
    /// Its number.
    pub epoch: KeyEpoch,
    /// The stored data key that its key is derived from.
    pub data_key: DataKeyNumber,
    /// Its first record; the first record of the log for epoch 0.
    pub offset: Offset,
    /// That record's time; `None` for epoch 0, which begins with the tenant.
    pub timestamp: Option<Timestamp>,
    /// Why it began; `None` for epoch 0.
    pub reason: Option<RotationReason>,
    /// Whether new records use it.
    pub active: bool,
}

impl Tenant {
    /// Begins a key epoch with a new data key: what is written from then on shares no key with what was written
    /// before.
    ///
    /// # Errors
    /// When another rotation came first, or the command could not be committed.
    pub async fn rotate_data_key(&self, actor: ActorId) -> Result<Commit, EngineError> {
        let data_key = self.node.keyring.draw_data_key(self.tenant.id)?;
        self.begin_key_epoch(actor, RotationReason::DataKey, Some(data_key))
            .await
    }

    /// Replaces the tenant's key-encryption key: its data keys, and whatever else the old one wrapped, are wrapped by
    /// the new one, and a key epoch begins.
    ///
    /// # Errors
    /// When the keyring cannot be written, or the command could not be committed; then the key may have been replaced
    /// without a record that says so, and the call may be repeated.
    pub async fn rotate_key_encryption_key(&self, actor: ActorId) -> Result<Commit, EngineError> {
        let (keyring, tenant) = (Arc::clone(&self.node.keyring), self.tenant.id);
        blocking(move || keyring.rotate_kek(tenant)).await?;
        self.begin_key_epoch(actor, RotationReason::KeyEncryptionKey, None)
            .await
    }

    async fn begin_key_epoch(
        &self,
        actor: ActorId,
        reason: RotationReason,
        data_key: Option<NewDataKey>,
    ) -> Result<Commit, EngineError> {
        let node = &self.node;
        let request = Request {
            tenant: self.tenant.id,
            actor,
            correlation_id: CorrelationId::new(random_array(node.random.as_ref())),
            idempotency_id: IdempotencyId::NIL,
        };
        let operation = Operation::RotateKeys {
            salt: random_array(node.random.as_ref()),
            reason,
            data_key,
        };
        Commit::from_outcome(node.propose(request, operation).await?)
    }

    /// The key epochs so far, oldest first.
    ///
    /// # Errors
    /// When the view or the log cannot be read.
    pub fn key_epochs(&self) -> Result<Vec<KeyEpochStatus>, EngineError> {
        let rotations = rotations(&self.tenant.projection).map_err(|source| self.tenant.projection_error(source))?;
        let mut epochs = vec![KeyEpochStatus {
            epoch: KeyEpoch::ZERO,
            data_key: DataKeyNumber::ZERO,
            offset: Offset::ZERO,
            timestamp: None,
            reason: None,
            active: rotations.is_empty(),
        }];
        let newest = rotations.last().map(|(rotated, _)| rotated.epoch);
        for (rotated, offset) in rotations {
            let timestamp = self.header(offset)?.timestamp;
            let KeysRotated {
                epoch,
                data_key,
                reason,
                ..
            } = rotated;
            epochs.push(KeyEpochStatus {
                epoch,
                data_key,
                offset,
                timestamp: Some(timestamp),
                reason: Some(reason),
                active: Some(epoch) == newest,
            });
        }
        Ok(epochs)
    }
}

impl Craton {
    /// Puts the node's keyring under another master key, while it serves. The next opening needs the new one; the old
    /// one opens nothing that is in the data directory any more. The rotation is recorded in the system tenant's log.
    ///
    /// # Errors
    /// When the new key cannot be asked or does not open what it wrapped, or the keyring cannot be written: the old
    /// master key stays. When only the record could not be committed, the new master key is in force.
    pub async fn rotate_master_key(
        &self,
        master: Arc<dyn MasterKeyProvider>,
        actor: ActorId,
    ) -> Result<Commit, EngineError> {
        let node = &self.0.opened.node;
        let keyring = Arc::clone(&node.keyring);
        blocking(move || keyring.rotate_master(master.as_ref())).await?;
        let system = self.handle(Arc::clone(node.tenants.system()));
        system.begin_key_epoch(actor, RotationReason::MasterKey, None).await
    }

    /// Which master key the keyring is under, as people know it.
    #[must_use]
    pub fn master_key_name(&self) -> String {
        self.0.opened.node.keyring.master_name()
    }
}

/// Runs what waits for a disk or another process on a thread where waiting is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("craton-keys".to_owned())
        .spawn(move || {
            // Whoever asked may have gone; the rotation is complete all the same.
            let _ = sender.send(work());
        })
        .expect("the system gives a thread");
    receiver.await.expect("the thread sends its result before it ends")
}
