//! The keys of a tenant's epochs, as its readers share them.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_crypto::Dek;
use craton_kernel::{KEY_EPOCH_TABLE, TenantState, key_epoch_from_row};
use craton_projection::{Direction, KeyRange, Projection, ProjectionError};
use craton_types::{DataKeyNumber, KeyEpoch, KeysRotated, Offset, TenantId};
use parking_lot::RwLock;

use crate::keyring::{Keyring, KeyringError};

/// Every epoch's key. An epoch is added when its record is applied, before anything is encrypted under it.
pub(crate) struct EpochKeys {
    tenant: TenantId,
    keyring: Arc<Keyring>,
    keys: RwLock<BTreeMap<KeyEpoch, (Dek, [u8; 32])>>,
}

impl EpochKeys {
    /// The keys of the epochs that `state` has seen.
    pub(crate) fn open<'a>(
        tenant: TenantId,
        keyring: Arc<Keyring>,
        rotations: impl IntoIterator<Item = &'a KeysRotated>,
        state: &TenantState,
    ) -> Result<Self, KeyringError> {
        let keys = Self {
            tenant,
            keyring,
            keys: RwLock::default(),
        };
        keys.add(KeyEpoch::ZERO, DataKeyNumber::ZERO, &[0; 32])?;
        for rotated in rotations {
            keys.begin(rotated)?;
        }
        keys.add(state.key_epoch, state.data_key, &state.key_salt)?;
        Ok(keys)
    }

    /// An epoch's key.
    pub(crate) fn get(&self, epoch: KeyEpoch) -> Option<Dek> {
        self.keys.read().get(&epoch).map(|(dek, _)| dek.clone())
    }

    /// The salt that an epoch began with.
    pub(crate) fn salt(&self, epoch: KeyEpoch) -> Option<[u8; 32]> {
        self.keys.read().get(&epoch).map(|(_, salt)| *salt)
    }

    /// Adds the epoch that a record began.
    pub(crate) fn begin(&self, rotated: &KeysRotated) -> Result<(), KeyringError> {
        self.add(rotated.epoch, rotated.data_key, &rotated.salt)
    }

    fn add(&self, epoch: KeyEpoch, number: DataKeyNumber, salt: &[u8; 32]) -> Result<(), KeyringError> {
        let dek = self.keyring.dek(self.tenant, number, epoch, salt)?;
        self.keys.write().insert(epoch, (dek, *salt));
        Ok(())
    }
}

/// The epochs that a view knows, ascending, and where each begins; without epoch 0.
pub(crate) fn rotations(projection: &Projection) -> Result<Vec<(KeysRotated, Offset)>, ProjectionError> {
    let snapshot = projection.snapshot();
    let end = snapshot.end();
    let rows = snapshot.scan(KEY_EPOCH_TABLE, KeyRange::all(), Direction::Forward, end)?;
    let mut rotations = Vec::new();
    for row in rows {
        let (_, row) = row?;
        rotations.extend(key_epoch_from_row(&row.row));
    }
    Ok(rotations)
}
