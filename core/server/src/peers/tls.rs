//! Who a member is, and the TLS that shows it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use craton_types::{Format, FormatUnknown, NodeId, Region};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::{TlsError, read_chain, read_key};

/// The name of the protocol in TLS ALPN (RFC 7301).
const ALPN_PEER: &[u8] = b"craton-peer/1";

/// Why members cannot show each other who they are.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// A file is not usable.
    #[error(transparent)]
    File(#[from] TlsError),
    /// The authority's certificates are not usable.
    #[error("the members' authority in {}: {reason}", path.display())]
    Authority {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is another member's, or of another cluster.
    #[error("the certificate {} is not that of {expected}", path.display())]
    WrongName {
        /// Its path.
        path: PathBuf,
        /// The name that it must have.
        expected: String,
    },
    /// The cluster's id cannot be part of a name.
    #[error("the cluster id {cluster_id:?} cannot be part of a host name")]
    ClusterId {
        /// The id.
        cluster_id: String,
    },
}

/// The name that a member's certificate has.
fn peer_name(node: NodeId, cluster_id: &str) -> Result<ServerName<'static>, PeerTlsError> {
    let name = format!("node-{node}.{}.peer.craton.internal", cluster_id.to_ascii_lowercase());
    ServerName::try_from(name).map_err(|_| PeerTlsError::ClusterId {
        cluster_id: cluster_id.to_owned(),
    })
}

/// Whether a certificate, whose chain was verified, is a member's.
fn is_of(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    parsed.is_ok_and(|parsed| parsed.verify_is_valid_for_subject_name(name).is_ok())
}

/// A member's number, cluster, region and certificate.
pub(crate) struct PeerIdentity {
    pub(crate) node: NodeId,
    pub(crate) cluster_id: String,
    pub(crate) region: Option<Region>,
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
    loaded: ArcSwap<Loaded>,
    /// Which versions of the formats this node's build knows, and which one is used.
    pub(crate) format: Arc<Format>,
    /// Set when the cluster uses a version that the build does not know.
    pub(crate) outdated: OnceLock<FormatUnknown>,
}

struct Loaded {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl PeerIdentity {
    /// Reads the certificate, its key and the authority of the members' certificates.
    ///
    /// # Errors
    /// When a file is not usable, or the certificate is not this member's.
    pub(crate) fn load(
        node: NodeId,
        (cluster_id, region): (String, Option<Region>),
        certificate: PathBuf,
        key: PathBuf,
        authority: PathBuf,
        format: Arc<Format>,
    ) -> Result<Self, PeerTlsError> {
        let name = peer_name(node, &cluster_id)?;
        let loaded = ArcSwap::from_pointee(read(&name, &certificate, &key, &authority)?);
        Ok(Self {
            node,
            cluster_id,
            region,
            certificate,
            key,
            authority,
            loaded,
            format,
            outdated: OnceLock::new(),
        })
    }

    /// Reads the files again. New connections use them; on an error the old ones stay.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn reload(&self) -> Result<(), PeerTlsError> {
        let name = peer_name(self.node, &self.cluster_id)?;
        let loaded = read(&name, &self.certificate, &self.key, &self.authority)?;
        self.loaded.store(Arc::new(loaded));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.loaded.load().acceptor.clone()
    }

    pub(super) fn connector(&self) -> TlsConnector {
        self.loaded.load().connector.clone()
    }

    /// The name that the certificate of another member of the cluster has.
    pub(super) fn name_of(&self, node: NodeId) -> Result<ServerName<'static>, PeerTlsError> {
        peer_name(node, &self.cluster_id)
    }

    /// Whether a verified certificate is that member's.
    pub(super) fn is_member(&self, certificate: &CertificateDer<'_>, node: NodeId) -> bool {
        self.name_of(node).is_ok_and(|name| is_of(certificate, &name))
    }
}

fn read(name: &ServerName<'_>, certificate: &Path, key: &Path, authority: &Path) -> Result<Loaded, PeerTlsError> {
    let chain = read_chain(certificate)?;
    if !chain.first().is_some_and(|own| is_of(own, name)) {
        return Err(PeerTlsError::WrongName {
            path: certificate.to_owned(),
            expected: name.to_str().into_owned(),
        });
    }
    let private_key = read_key(key)?;
    let roots = Arc::new(read_authority(authority)?);
    let unusable = |source| TlsError::Unusable {
        path: certificate.to_owned(),
        source,
    };
    let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots))
        .build()
        .map_err(|error| PeerTlsError::Authority {
            path: authority.to_owned(),
            reason: error.to_string(),
        })?;
    let mut server = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), private_key.clone_key())
        .map_err(unusable)?;
    server.alpn_protocols = vec![ALPN_PEER.to_vec()];
    let mut client = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private_key)
        .map_err(unusable)?;
    client.alpn_protocols = vec![ALPN_PEER.to_vec()];
    Ok(Loaded {
        acceptor: TlsAcceptor::from(Arc::new(server)),
        connector: TlsConnector::from(Arc::new(client)),
    })
}

fn read_authority(path: &Path) -> Result<RootCertStore, PeerTlsError> {
    let failed = |reason: String| PeerTlsError::Authority {
        path: path.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(failed("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}
