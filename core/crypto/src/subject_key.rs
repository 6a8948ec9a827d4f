//! The keys of data subjects, and the cells sealed under them.
//!
//! ```text
//! SubjectKeysKey ── wraps ──> SubjectKey (subject) ── HKDF ──> ChangeKey (cell)
//! ```
//! A cell is sealed like a chunk: `commitment (32) ‖ ciphertext ‖ tag (16)` over the canonical CBOR of its value,
//! under a key of its own, so that disclosing one cell discloses no other. Without the subject's key nothing can be
//! derived: destroying these 32 bytes erases every cell of the subject, wherever a copy of it is.

use craton_types::{KeyEpoch, Offset, SealedCell, SubjectKeyId, TenantId, Value};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::hkdf::expand_key;
use crate::wrap::WrappingKey;
use crate::{ChangeKey, ChunkError, NONCE_BYTES, SecretBytes, WrapError};

const CELL_KEY_INFO: &[u8] = b"craton cell key v1";
const STORE_KEY_CONTEXT: &[u8] = b"craton subject store key v1";
const SUBJECT_KEY_CONTEXT: &[u8] = b"craton subject key v1";

/// Where a value is written: what, with the subject's key, makes its cell key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellPlace {
    /// The key epoch of the record.
    pub epoch: KeyEpoch,
    /// The salt that the epoch began with. Two copies of a log that go on separately reach the same epochs and offsets
    /// and draw different salts, so no cell key is ever used for two values.
    pub salt: [u8; 32],
    /// The record's offset.
    pub offset: Offset,
    /// The change's chunk in the record.
    pub chunk: u32,
    /// The cell's position in its row.
    pub column: u16,
}

impl CellPlace {
    /// Where a sealed cell was written; `salt` is that of its epoch.
    #[must_use]
    pub const fn of(cell: &SealedCell, salt: [u8; 32]) -> Self {
        Self {
            epoch: cell.epoch,
            salt,
            offset: cell.offset,
            chunk: cell.chunk,
            column: cell.column,
        }
    }
}

/// The key of one data subject of one tenant.
#[derive(Clone)]
pub struct SubjectKey {
    secret: SecretBytes,
    id: SubjectKeyId,
    tenant: TenantId,
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubjectKey({}, redacted)", self.id)
    }
}

/// Why a sealed cell does not give its value.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The cell does not open under the key.
    #[error(transparent)]
    Sealed(#[from] ChunkError),
    /// The cell opens to something that is no value.
    #[error("the cell holds no value")]
    Value(#[from] minicbor::decode::Error),
    /// The cell says that it was sealed in an epoch that never began.
    #[error("the cell was sealed in epoch {epoch}, which never began")]
    EpochUnknown {
        /// The epoch.
        epoch: KeyEpoch,
    },
    /// The cell opens to another sealed cell, or bytes follow its value.
    #[error("the cell holds something else than one value")]
    Content,
}

impl SubjectKey {
    /// Takes 32 random or unwrapped bytes.
    #[must_use]
    pub const fn new(secret: SecretBytes, id: SubjectKeyId, tenant: TenantId) -> Self {
        Self { secret, id, tenant }
    }

    /// The key's number.
    #[must_use]
    pub const fn id(&self) -> SubjectKeyId {
        self.id
    }

    /// The key of one cell:
    /// `HKDF-SHA256(subject key, salt of the epoch, "craton cell key v1" ‖ tenant ‖ key id ‖ epoch ‖ offset ‖ chunk ‖ column)`.
    #[must_use]
    pub fn cell_key(&self, place: CellPlace) -> ChangeKey {
        let info = [
            CELL_KEY_INFO,
            self.tenant.as_bytes(),
            &self.id.get().to_be_bytes(),
            &place.epoch.get().to_be_bytes(),
            &place.offset.get().to_be_bytes(),
            &place.chunk.to_be_bytes(),
            &place.column.to_be_bytes(),
        ];
        let secret = expand_key(&Hkdf::<Sha256>::new(Some(&place.salt), self.secret.expose()), &info);
        ChangeKey::from_bytes(*secret.expose(), place.offset, place.chunk)
    }

    /// Seals a value. Deterministic: replicas seal the same value to the same cell.
    #[must_use]
    pub fn seal(&self, place: CellPlace, value: &Value) -> SealedCell {
        let mut plaintext = zeroize::Zeroizing::new(Vec::new());
        minicbor::encode(value, &mut *plaintext).expect("writing to memory does not fail");
        SealedCell {
            key: self.id,
            epoch: place.epoch,
            offset: place.offset,
            chunk: place.chunk,
            column: place.column,
            sealed: self.cell_key(place).seal(&plaintext),
        }
    }

    /// Opens a cell that was sealed under this key; `salt` is that of the cell's epoch.
    ///
    /// # Errors
    /// When the cell was sealed under another key or for another place, or is damaged.
    pub fn open(&self, cell: &SealedCell, salt: [u8; 32]) -> Result<Value, CellError> {
        open_cell(&self.cell_key(CellPlace::of(cell, salt)), cell)
    }
}

/// Opens a cell with its own key, as a receipt discloses it.
///
/// # Errors
/// When the key is another cell's, or the cell is damaged.
pub fn open_cell(key: &ChangeKey, cell: &SealedCell) -> Result<Value, CellError> {
    let plaintext = zeroize::Zeroizing::new(key.open(&cell.sealed)?);
    let mut decoder = minicbor::Decoder::new(&plaintext);
    let value = decoder.decode()?;
    if decoder.position() != plaintext.len() || matches!(value, Value::Sealed(_)) {
        return Err(CellError::Content);
    }
    Ok(value)
}

/// What wraps a tenant's subject keys at rest, or the key that does.
#[derive(Clone)]
pub struct SubjectKeysKey {
    wrapping: WrappingKey,
    tenant: TenantId,
}

impl SubjectKeysKey {
    /// Takes a key of the tenant for this use, or the store's own key that it wraps.
    #[must_use]
    pub fn new(secret: &SecretBytes, tenant: TenantId) -> Self {
        Self {
            wrapping: WrappingKey::new(secret),
            tenant,
        }
    }

    fn store_context(&self) -> Vec<u8> {
        [STORE_KEY_CONTEXT, self.tenant.as_bytes()].concat()
    }

    /// Wraps the store's own key; `nonce` is random and never used twice with this key.
    #[must_use]
    pub fn wrap_store_key(&self, key: &SecretBytes, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        self.wrapping.wrap(key, &self.store_context(), nonce)
    }

    /// Unwraps what [`Self::wrap_store_key`] wrapped for the same tenant.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to another key or tenant.
    pub fn unwrap_store_key(&self, wrapped: &[u8]) -> Result<SecretBytes, WrapError> {
        self.wrapping.unwrap(wrapped, &self.store_context())
    }

    fn context(&self, id: SubjectKeyId) -> Vec<u8> {
        [SUBJECT_KEY_CONTEXT, self.tenant.as_bytes(), &id.get().to_be_bytes()].concat()
    }

    /// Wraps a subject's key; `nonce` is random and never used twice with this key.
    #[must_use]
    pub fn wrap(&self, key: &SubjectKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        self.wrapping.wrap(&key.secret, &self.context(key.id), nonce)
    }

    /// Unwraps what [`Self::wrap`] wrapped for the same tenant and number.
    ///
    /// # Errors
    /// When the bytes are damaged or belong to another key, tenant or number.
    pub fn unwrap(&self, wrapped: &[u8], id: SubjectKeyId) -> Result<SubjectKey, WrapError> {
        let secret = self.wrapping.unwrap(wrapped, &self.context(id))?;
        Ok(SubjectKey::new(secret, id, self.tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::new([7; 16]);
    const SALT: [u8; 32] = [0; 32];
    const PLACE: CellPlace = CellPlace {
        epoch: KeyEpoch::new(1),
        salt: SALT,
        offset: Offset::new(258),
        chunk: 3,
        column: 4,
    };

    fn key(byte: u8, id: u64) -> SubjectKey {
        SubjectKey::new(SecretBytes::new([byte; 32]), SubjectKeyId::new(id), TENANT)
    }

    #[test]
    fn cells_open_with_their_subject_and_place_only() {
        let value = Value::Text("Ada".into());
        let cell = key(5, 0).seal(PLACE, &value);
        assert_eq!(cell, key(5, 0).seal(PLACE, &value), "replicas seal to identical bytes");
        assert_eq!(key(5, 0).open(&cell, SALT).ok(), Some(value.clone()));
        assert_eq!(open_cell(&key(5, 0).cell_key(PLACE), &cell).ok(), Some(value));
        for other in [key(6, 0), key(5, 1)] {
            assert!(matches!(
                other.open(&cell, SALT),
                Err(CellError::Sealed(ChunkError::Commitment))
            ));
        }
        let mut moved = vec![cell.clone(); 4];
        moved[0].epoch = KeyEpoch::ZERO;
        moved[1].offset = Offset::ZERO;
        moved[2].chunk = 0;
        moved[3].column = 0;
        for cell in moved {
            assert!(matches!(
                key(5, 0).open(&cell, SALT),
                Err(CellError::Sealed(ChunkError::Commitment))
            ));
        }
    }

    /// Two copies of a log that go on separately write other values at the same place of the same epoch.
    #[test]
    fn no_two_salts_give_the_same_cell_key() {
        let other = CellPlace { salt: [7; 32], ..PLACE };
        let cells = [PLACE, other].map(|place| key(5, 0).seal(place, &Value::Int(1)).sealed);
        assert_ne!(cells[0], cells[1]);
        assert!(key(5, 0).open(&key(5, 0).seal(other, &Value::Int(1)), SALT).is_err());
    }

    #[test]
    fn a_cell_holds_one_value_that_is_not_sealed_itself() {
        let cell = key(5, 0).seal(PLACE, &Value::Null);
        let nested = key(5, 0).seal(PLACE, &Value::Sealed(Box::new(cell.clone())));
        assert!(matches!(key(5, 0).open(&nested, SALT), Err(CellError::Content)));
        for (content, expected) in [(&[0xf6, 0xf6][..], true), (&[][..], false), (&[0xff][..], false)] {
            let sealed = key(5, 0).cell_key(PLACE).seal(content);
            let odd = SealedCell { sealed, ..cell.clone() };
            let error = key(5, 0).open(&odd, SALT).expect_err("no value");
            assert_eq!(matches!(error, CellError::Content), expected, "{error}");
        }
    }

    /// The derivation is part of the receipt format: these bytes may never change.
    #[test]
    fn golden_cell() {
        let cell = key(5, 9).seal(PLACE, &Value::Int(7));
        assert_eq!(crate::sha256(&[&cell.sealed]).to_string(), GOLDEN_CELL_DIGEST);
    }

    const GOLDEN_CELL_DIGEST: &str = "cf371d48a806d2d354792c8f82e230eee54bae880f6b30c158a3e3fac66265fd";

    #[test]
    fn subject_keys_unwrap_for_their_tenant_and_number_only() {
        let wrapping = SubjectKeysKey::new(&SecretBytes::new([1; 32]), TENANT);
        let wrapped = wrapping.wrap(&key(5, 3), [2; NONCE_BYTES]);
        let unwrapped = wrapping.unwrap(&wrapped, SubjectKeyId::new(3)).expect("its own");
        assert_eq!(unwrapped.secret, key(5, 3).secret);
        assert!(wrapping.unwrap(&wrapped, SubjectKeyId::new(4)).is_err());
        let store = SecretBytes::new([9; 32]);
        let wrapped_store = wrapping.wrap_store_key(&store, [3; NONCE_BYTES]);
        assert_eq!(wrapping.unwrap_store_key(&wrapped_store).ok(), Some(store));
        assert!(wrapping.unwrap_store_key(&wrapped).is_err());
        let other_tenant = SubjectKeysKey::new(&SecretBytes::new([1; 32]), TenantId::NIL);
        assert!(other_tenant.unwrap(&wrapped, SubjectKeyId::new(3)).is_err());
        assert_eq!(format!("{:?}", key(5, 3)), "SubjectKey(3, redacted)");
    }
}
