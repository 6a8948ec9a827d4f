//! Hashes, keys and signatures of the engine: one thin, typed layer over the RustCrypto primitives.
//!
//! # Invariants
//! - Secrets are wiped when dropped, and their `Debug` output never shows them.
//! - Randomness is an argument. The same arguments give the same bytes on every replica.
//! - Every use of a key is separated from every other by an info string of its own, in HKDF (RFC 5869, section 3.2) and in the
//!   one-step derivation of a chunk's keys (NIST SP 800-56C, section 4).
//! - A change key is derived for one chunk of one record, so no (key, nonce) pair meets two plaintexts
//!   unless an offset is written twice under one key epoch; the log refuses that.
//! - Secrets are compared in constant time.
//! - No IO, with one exception: [`FileMasterKey`] reads and creates the file that holds the root of all keys. It needs the
//!   permissions of Unix files, so it is absent where the verifier runs in a browser.
//!
//! # Deliberately absent
//! TLS and certificates (rustls with aws-lc-rs at the edges), page encryption of the views
//! (`craton-projection`), Merkle trees and signed notes (`craton-proof`), key storage (`craton-engine`), master keys
//! that live in another process (`craton-vault`).

mod constant_time;
mod hash;
mod hkdf;
mod keys;
mod linked_record;
#[cfg(unix)]
mod master_key;
mod scram;
mod secret;
mod signing;
mod state_key;
mod subject_key;
mod wrap;

pub use constant_time::constant_time_equal;
pub use hash::{Sha256Writer, chunk_hash, node_hash, record_hash, sha256};
pub use hkdf::derive;
pub use keys::{CHUNK_COMMITMENT_BYTES, CHUNK_OVERHEAD_BYTES, ChangeKey, ChunkError, ChunkSealer, DataKey, Dek};
pub use linked_record::LinkedRecord;
#[cfg(unix)]
pub use master_key::{EnvironmentMasterKey, FileMasterKey, MasterKeyError, MasterKeyProvider};
pub use scram::{
    SCRAM_ITERATIONS_DEFAULT, SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, ScramParseError, ScramPasswordError,
    ScramVerifier,
};
pub use secret::SecretBytes;
pub use signing::{SIGNATURE_BYTES, SignatureError, SigningKey, VerifyingKey, VerifyingKeyError};
pub use state_key::{StateBlindingKey, StateKey};
pub use subject_key::{CellError, CellPlace, SubjectKey, SubjectKeysKey, open_cell};
pub use wrap::{KeyId, NONCE_BYTES, WRAPPED_KEY_BYTES, WrapError, WrappingKey};
