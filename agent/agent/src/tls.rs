//! TLS towards the platform: rustls with aws-lc-rs, TLS 1.3.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    certificate::{self, CertificateError as NodeCertificateError},
    config::PlatformUrl,
    identity::Identity,
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The own certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] NodeCertificateError),
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] Error),
    /// The host is no name.
    #[error("{0} is no host name")]
    Host(String),
    /// The connection failed; a handshake failure is one of these.
    #[error("cannot connect to {url}: {source}")]
    Io {
        /// The platform.
        url: PlatformUrl,
        /// What the system or TLS said.
        #[source]
        source: std::io::Error,
    },
}

/// Connects to the platform.
pub(crate) async fn connect(url: &PlatformUrl, config: ClientConfig) -> Result<TlsStream<TcpStream>, ConnectError> {
    let name = ServerName::try_from(url.host().to_owned()).map_err(|_| ConnectError::Host(url.host().to_owned()))?;
    let io = |source| ConnectError::Io {
        url: url.clone(),
        source,
    };
    let stream = TcpStream::connect((url.host(), url.port())).await.map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(io)
}

/// Trusts the node's authorities and shows the node's certificate.
pub(crate) fn link_config(identity: &Identity) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    for authority in certificate::parse_chain(&identity.authorities_pem)? {
        roots.add(authority)?;
    }
    let chain = certificate::parse_chain(&identity.chain_pem)?;
    let key = certificate::parse_key(&identity.key_pem)?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?)
}

/// Trusts the one authority whose certificate has this SHA-256, which the server sends along.
pub(crate) fn enrol_config(authority_sha256: [u8; 32]) -> Result<ClientConfig, ConnectError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority {
            authority_sha256,
            provider: provider(),
        }))
        .with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Verifies a chain by the usual rules, with the pinned authority as the only root.
#[derive(Debug)]
struct PinnedAuthority {
    authority_sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Sha256::digest(certificate)[..] == self.authority_sha256)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Chain {
        authority: CertificateDer<'static>,
        server: CertificateDer<'static>,
    }

    fn chain(name: &str) -> Chain {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().der().clone();
        let server = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key))
            .unwrap();
        Chain {
            authority,
            server: server.der().clone(),
        }
    }

    #[test]
    fn only_a_chain_to_the_pinned_authority_for_the_right_name_is_accepted() {
        let (ours, theirs) = (chain("platform.example"), chain("platform.example"));
        let verifier = PinnedAuthority {
            authority_sha256: Sha256::digest(&ours.authority).into(),
            provider: provider(),
        };
        let accepts = |server: &CertificateDer<'static>, authority: &CertificateDer<'static>, name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            verifier
                .verify_server_cert(server, std::slice::from_ref(authority), &name, &[], UnixTime::now())
                .is_ok()
        };
        assert!(accepts(&ours.server, &ours.authority, "platform.example"));
        assert!(!accepts(&ours.server, &ours.authority, "other.example"));
        assert!(!accepts(&theirs.server, &theirs.authority, "platform.example"));
        // The right authority sent along does not vouch for a certificate that it did not sign.
        assert!(!accepts(&theirs.server, &ours.authority, "platform.example"));
    }
}
