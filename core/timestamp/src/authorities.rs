//! Whose time stamps are trusted.

use std::fmt;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::TimeStampError;

/// The longest text with certificates, in bytes.
pub const AUTHORITIES_BYTES_MAX: usize = 16 * 1024;
/// `id-kp-timeStamping` (RFC 3161 section 2.3), as the content of its DER.
const TIME_STAMPING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];

/// Certificates that a chain of a time stamp authority may end in.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    pem: String,
    certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({} certificates)", self.certificates.len())
    }
}

impl Authorities {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// When there is none, one is malformed, or the text is too long.
    pub fn from_pem(pem: &str) -> Result<Self, TimeStampError> {
        if pem.len() > AUTHORITIES_BYTES_MAX {
            return Err(TimeStampError::AuthoritiesLength { found: pem.len() });
        }
        let unusable = |reason: String| TimeStampError::Authorities(reason);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("there is no certificate in PEM".to_owned()));
        }
        for certificate in &certificates {
            anchor_from_trusted_cert(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        Ok(Self {
            pem: pem.to_owned(),
            certificates,
        })
    }

    /// The text that they were read from.
    #[must_use]
    pub fn as_pem(&self) -> &str {
        &self.pem
    }

    /// Checks that a certificate was for time stamps at a time, and leads to one of these.
    pub(crate) fn check(
        &self,
        signer: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        time: UnixTime,
    ) -> Result<(), TimeStampError> {
        let anchors: Result<Vec<TrustAnchor<'_>>, _> = self.certificates.iter().map(anchor_from_trusted_cert).collect();
        let anchors = anchors.map_err(|error| TimeStampError::Authorities(error.to_string()))?;
        let usage = KeyUsage::required(TIME_STAMPING);
        signer
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, others, time, usage, None, None)
            .map(drop)
            .map_err(|error| TimeStampError::Certificate(error.to_string()))
    }
}
