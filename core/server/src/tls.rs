//! The server's certificate: read at start, read again on request, and bound into passwords' proofs.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The protocol's name in TLS ALPN (RFC 7301).
pub(crate) const ALPN_POSTGRESQL: &[u8] = b"postgresql";

/// Why a certificate or its key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The private key may be read by others than its owner.
    #[error("TLS key file {} has mode {mode:04o}; use 0600 or 0400", path.display())]
    Permissions {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should, in PEM.
    #[error("TLS file {} is no PEM file with a {expected}: {source}", path.display())]
    Pem {
        /// Its path.
        path: PathBuf,
        /// `certificate` or `private key`.
        expected: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file is empty.
    #[error("TLS file {} holds no certificate", path.display())]
    NoCertificate {
        /// Its path.
        path: PathBuf,
    },
    /// The key does not belong to the certificate, or its kind is not supported.
    #[error("certificate {} and its key do not work together: {source}", path.display())]
    Unusable {
        /// The certificate's path.
        path: PathBuf,
        /// TLS's own error.
        #[source]
        source: rustls::Error,
    },
}

/// The name of HTTP/1.1 in TLS ALPN (RFC 7301).
const ALPN_HTTP: &[u8] = b"http/1.1";

/// What one reading of the files gave.
struct Loaded {
    acceptor: TlsAcceptor,
    https: TlsAcceptor,
    scram: ScramServerAuth,
}

/// The certificate in use.
pub(crate) struct Certificate {
    certificate_path: PathBuf,
    key_path: PathBuf,
    loaded: ArcSwap<Loaded>,
}

impl Certificate {
    /// Reads the certificate chain and its key.
    ///
    /// # Errors
    /// When the files are not usable.
    pub(crate) fn load(certificate_path: PathBuf, key_path: PathBuf) -> Result<Self, TlsError> {
        let loaded = ArcSwap::from_pointee(read(&certificate_path, &key_path)?);
        Ok(Self {
            certificate_path,
            key_path,
            loaded,
        })
    }

    /// Reads both files again. New connections get the new certificate; on an error the old one stays.
    ///
    /// # Errors
    /// When the files are not usable.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let loaded = read(&self.certificate_path, &self.key_path)?;
        self.loaded.store(Arc::new(loaded));
        Ok(())
    }

    /// What accepts TLS connections of HTTP clients.
    pub(crate) fn https(&self) -> TlsAcceptor {
        self.loaded.load().https.clone()
    }

    /// What accepts TLS connections, and the SCRAM exchange bound to the same certificate.
    pub(crate) fn current(&self) -> (TlsAcceptor, ScramServerAuth) {
        let loaded = self.loaded.load();
        (loaded.acceptor.clone(), loaded.scram.clone())
    }
}

fn read(certificate_path: &Path, key_path: &Path) -> Result<Loaded, TlsError> {
    let certificate_pem = read_file(certificate_path)?;
    let chain = parse_chain(certificate_path, &certificate_pem)?;
    let key = read_key(key_path)?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Unusable {
            path: certificate_path.to_owned(),
            source,
        })?;
    let mut https = config.clone();
    https.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];

    let mut scram = ScramServerAuth::new();
    if let Err(error) = scram.configure_certificate(&certificate_pem) {
        // RFC 5929 defines `tls-server-end-point` by the hash of the certificate's signature, which Ed25519 has not.
        tracing::info!(%error, "channel binding is not offered: the certificate's signature names no hash");
    }
    Ok(Loaded {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        https: TlsAcceptor::from(Arc::new(https)),
        scram,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })
}

fn pem_error(path: &Path, expected: &'static str) -> impl FnOnce(rustls_pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Pem { path, expected, source }
}

fn parse_chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem_error(path, "certificate"))?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate { path: path.to_owned() }),
        false => Ok(chain),
    }
}

/// Reads a certificate chain.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_chain(path, &read_file(path)?)
}

/// Reads a private key that only its owner may read.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_private(path)?;
    PrivateKeyDer::from_pem_slice(&read_file(path)?).map_err(pem_error(path, "private key"))
}

fn check_private(path: &Path) -> Result<(), TlsError> {
    let metadata = fs::metadata(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}
