//! Who this node is: its id, its key and its certificate, in one file that is replaced whole.

use std::path::{Path, PathBuf};

use craton_agent_protocol::NodeId;
use parking_lot::Mutex;

use crate::{
    certificate::{self, CertificateError, CertificateFacts},
    file::{self, FileError},
};

/// A node's identity as stored.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    /// The node.
    pub(crate) node_id: NodeId,
    /// The private key.
    pub(crate) key_pem: String,
    /// The certificate and its authority.
    pub(crate) chain_pem: String,
    /// The authorities that the platform's listener may be signed by.
    pub(crate) authorities_pem: String,
}

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key and the certificate in it cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The identity on disk and in memory.
pub(crate) struct IdentityStore {
    path: PathBuf,
    current: Mutex<(Identity, CertificateFacts)>,
    /// The key of a certificate request that is on its way.
    pending_key_pem: Mutex<Option<String>>,
}

impl IdentityStore {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("identity.json")
    }

    /// Loads the identity; `None` when the node has not enrolled yet.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = Self::path(data_dir);
        let Some(identity) = file::read_json::<Identity>(&path)? else {
            return Ok(None);
        };
        let facts = certificate::check_chain(&identity.chain_pem, &identity.key_pem)?;
        Ok(Some(Self {
            path,
            current: Mutex::new((identity, facts)),
            pending_key_pem: Mutex::new(None),
        }))
    }

    /// Stores the identity that an enrolment brought.
    pub(crate) fn create(data_dir: &Path, identity: Identity) -> Result<Self, IdentityError> {
        let facts = certificate::check_chain(&identity.chain_pem, &identity.key_pem)?;
        let path = Self::path(data_dir);
        file::write_json(&path, &identity)?;
        Ok(Self {
            path,
            current: Mutex::new((identity, facts)),
            pending_key_pem: Mutex::new(None),
        })
    }

    /// The identity now.
    pub(crate) fn current(&self) -> Identity {
        self.current.lock().0.clone()
    }

    /// Whether the certificate should be renewed.
    pub(crate) fn is_renewal_due(&self, now_s: u64) -> bool {
        self.current.lock().1.is_renewal_due(now_s)
    }

    /// Makes a new key and a request for it. The key in use stays until the certificate arrives.
    pub(crate) fn begin_renewal(&self) -> Result<String, IdentityError> {
        let key_pem = certificate::generate_key_pem()?;
        let request = certificate::request_pem(&key_pem, self.current().node_id.as_str())?;
        *self.pending_key_pem.lock() = Some(key_pem);
        Ok(request)
    }

    /// Takes the renewed certificate. Returns `false` when none was asked for.
    pub(crate) fn finish_renewal(&self, chain_pem: &str) -> Result<bool, IdentityError> {
        let Some(key_pem) = self.pending_key_pem.lock().take() else {
            return Ok(false);
        };
        let facts = certificate::check_chain(chain_pem, &key_pem)?;
        let identity = Identity {
            key_pem,
            chain_pem: chain_pem.to_owned(),
            ..self.current()
        };
        file::write_json(&self.path, &identity)?;
        *self.current.lock() = (identity, facts);
        Ok(true)
    }
}
