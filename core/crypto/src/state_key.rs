//! The keys of a tenant's state tree: where a row's leaf is, and what hides the leaf's content.
//!
//! Both are derived from a secret of the tenant that rotations leave as it is: another key would move every leaf.

use craton_types::{Hash, Offset, TableId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{SecretBytes, sha256};

const COMMITMENT_PREFIX: &[u8] = b"craton state key commitment v1";

/// Says where in the state tree a row is. Whoever has it can check that a proof is about the row that it claims
/// to be about, and can test guesses of keys against the leaf keys of other rows; it opens nothing.
#[derive(Clone)]
pub struct StateKey {
    secret: SecretBytes,
    /// Keyed once instead of for each row.
    mac: Hmac<Sha256>,
}

impl StateKey {
    /// Takes 32 derived or disclosed bytes.
    #[must_use]
    pub fn new(secret: SecretBytes) -> Self {
        let mac = keyed(&secret);
        Self { secret, mac }
    }

    /// The key's bytes, for disclosure in a state proof.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// What checkpoint records say about the key: `SHA-256("craton state key commitment v1" ‖ key)`.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        sha256(&[COMMITMENT_PREFIX, self.as_bytes()])
    }

    /// The leaf key of a row: `HMAC-SHA-256(key, table (4) ‖ encoded primary key)`.
    #[must_use]
    pub fn row_key(&self, table: TableId, primary_key: &[u8]) -> Hash {
        digest(&self.mac, &[&table.get().to_be_bytes(), primary_key])
    }
}

/// Hides what a leaf holds from those who see only its hash, as a sibling in the proof of another row.
#[derive(Clone)]
pub struct StateBlindingKey(Hmac<Sha256>);

impl StateBlindingKey {
    /// Takes 32 derived bytes.
    #[must_use]
    pub fn new(secret: &SecretBytes) -> Self {
        Self(keyed(secret))
    }

    /// The blind of a leaf: `HMAC-SHA-256(key, leaf key ‖ offset (8) ‖ chunk index (4))`.
    #[must_use]
    pub fn blind(&self, row_key: &Hash, offset: Offset, chunk_index: u32) -> [u8; 32] {
        let parts: [&[u8]; 3] = [
            row_key.as_bytes(),
            &offset.get().to_be_bytes(),
            &chunk_index.to_be_bytes(),
        ];
        *digest(&self.0, &parts).as_bytes()
    }
}

fn keyed(secret: &SecretBytes) -> Hmac<Sha256> {
    KeyInit::new_from_slice(secret.expose()).expect("HMAC takes keys of any length")
}

fn digest(mac: &Hmac<Sha256>, parts: &[&[u8]]) -> Hash {
    let mut mac = mac.clone();
    parts.iter().for_each(|part| mac.update(part));
    Hash::new(mac.finalize().into_bytes().into())
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateKey(redacted)")
    }
}

impl std::fmt::Debug for StateBlindingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateBlindingKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_key(byte: u8) -> StateKey {
        StateKey::new(SecretBytes::new([byte; 32]))
    }

    /// HMAC (RFC 2104) by hand.
    #[test]
    fn leaf_keys_and_commitments_are_as_documented() {
        let key = state_key(1);
        let table = TableId::new(0x0102_0304);
        let by_hand = {
            let inner: Vec<u8> = (0..64).map(|index| if index < 32 { 1 ^ 0x36 } else { 0x36 }).collect();
            let outer: Vec<u8> = (0..64).map(|index| if index < 32 { 1 ^ 0x5c } else { 0x5c }).collect();
            let digest = sha256(&[&inner, &[1, 2, 3, 4], b"key"]);
            sha256(&[&outer, digest.as_bytes()])
        };
        assert_eq!(key.row_key(table, b"key"), by_hand);
        assert_eq!(key.commitment(), sha256(&[b"craton state key commitment v1", &[1; 32]]));
    }

    #[test]
    fn every_input_counts() {
        let key = state_key(1);
        let row = key.row_key(TableId::new(1), b"a");
        for other in [
            key.row_key(TableId::new(2), b"a"),
            key.row_key(TableId::new(1), b"b"),
            state_key(2).row_key(TableId::new(1), b"a"),
        ] {
            assert_ne!(row, other);
        }
        assert_ne!(key.commitment(), state_key(2).commitment());
        let blinding = StateBlindingKey::new(&SecretBytes::new([3; 32]));
        let blind = blinding.blind(&row, Offset::new(1), 2);
        for other in [
            blinding.blind(&row, Offset::new(2), 2),
            blinding.blind(&row, Offset::new(1), 1),
            blinding.blind(&Hash::ZERO, Offset::new(1), 2),
            StateBlindingKey::new(&SecretBytes::new([4; 32])).blind(&row, Offset::new(1), 2),
        ] {
            assert_ne!(blind, other);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!(
            "{:?} {:?}",
            state_key(1),
            StateBlindingKey::new(&SecretBytes::new([1; 32]))
        );
        assert_eq!(shown, "StateKey(redacted) StateBlindingKey(redacted)");
    }
}
