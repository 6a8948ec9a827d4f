//! Keys and certificate requests made here, and what a certificate that came back says.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a key, request or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// Making a key or request failed.
    #[error("a key or certificate request could not be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// The text holds no certificate.
    #[error("there is no readable certificate: {0}")]
    Pem(String),
    /// The certificate belongs to another key.
    #[error("the certificate is for another key than this node's")]
    OtherKey,
}

/// A certificate's time and the bytes that identify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// Start of validity, in seconds since the Unix epoch.
    pub(crate) not_before_s: u64,
    /// End of validity, in seconds since the Unix epoch.
    pub(crate) not_after_s: u64,
    /// SHA-256 over the DER form.
    pub(crate) sha256: [u8; 32],
}

impl CertificateFacts {
    /// Whether half of the validity is over.
    pub(crate) fn is_renewal_due(&self, now_s: u64) -> bool {
        now_s >= self.not_before_s + self.not_after_s.saturating_sub(self.not_before_s) / 2
    }
}

/// Makes a private key (ECDSA on P-256), in PEM.
pub(crate) fn generate_key_pem() -> Result<String, CertificateError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Makes a request for a key. The name in it is for people; the platform writes the names that count.
pub(crate) fn request_pem(key_pem: &str, common_name: &str) -> Result<String, CertificateError> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params.serialize_request(&key)?.pem()?)
}

/// Reads the first certificate of a chain and checks that it is for the key.
pub(crate) fn check_chain(chain_pem: &str, key_pem: &str) -> Result<CertificateFacts, CertificateError> {
    let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|e| CertificateError::Pem(e.to_string()))?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| CertificateError::Pem(e.to_string()))?;
    let key = KeyPair::from_pem(key_pem)?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
        return Err(CertificateError::OtherKey);
    }
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    Ok(CertificateFacts {
        not_before_s: seconds(certificate.validity().not_before.timestamp()),
        not_after_s: seconds(certificate.validity().not_after.timestamp()),
        sha256: Sha256::digest(&der).into(),
    })
}

/// The last certificate of a chain in PEM: the authority's own.
pub(crate) fn authority_of_chain(chain_pem: &str) -> Result<String, CertificateError> {
    let chain = parse_chain(chain_pem)?;
    if chain.len() < 2 {
        return Err(CertificateError::Pem(
            "the authority's certificate is missing".to_owned(),
        ));
    }
    let begin = chain_pem.rfind("-----BEGIN CERTIFICATE-----");
    let begin = begin.ok_or_else(|| CertificateError::Pem("there is none".to_owned()))?;
    Ok(chain_pem[begin..].to_owned())
}

/// All certificates of a PEM text.
pub(crate) fn parse_chain(chain_pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Pem(error.to_string()))
}

/// The private key of a PEM text.
pub(crate) fn parse_key(key_pem: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| CertificateError::Pem(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_half_of_the_validity() {
        let facts = CertificateFacts {
            not_before_s: 100,
            not_after_s: 200,
            sha256: [0; 32],
        };
        for (now_s, due) in [
            (0, false),
            (100, false),
            (149, false),
            (150, true),
            (200, true),
            (999, true),
        ] {
            assert_eq!(facts.is_renewal_due(now_s), due, "at {now_s}");
        }
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let (key, other) = (generate_key_pem().unwrap(), generate_key_pem().unwrap());
        let pair = KeyPair::from_pem(&key).unwrap();
        let chain = CertificateParams::new(vec!["a.example".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap()
            .pem();
        assert!(check_chain(&chain, &key).is_ok());
        assert!(matches!(check_chain(&chain, &other), Err(CertificateError::OtherKey)));
        let both = format!("{chain}{}", chain.replace("-----END", "\n-----END"));
        assert_eq!(authority_of_chain(&both).unwrap(), both[chain.len()..]);
        assert!(authority_of_chain(&chain).is_err(), "the authority is missing");
        assert!(matches!(
            check_chain("no certificate", &key),
            Err(CertificateError::Pem(_))
        ));
    }
}
