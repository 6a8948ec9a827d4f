//! What an authority is asked, and its answer.

use cms::cert::x509::spki::AlgorithmIdentifier;
use der::asn1::{Int, OctetString};
use der::{Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion};

use crate::token::{self, SHA_256};
use crate::{Authorities, TimeStampError};

/// The length of a nonce.
pub const NONCE_BYTES: usize = 16;

/// A request for a time stamp.
#[derive(Clone, Debug)]
pub struct Request {
    digest: [u8; 32],
    /// A positive integer without superfluous bytes.
    nonce: [u8; NONCE_BYTES],
}

impl Request {
    /// A request for a time stamp over the SHA-256 of some data. The nonce is random: it ties the answer to this request.
    #[must_use]
    pub fn over(data: &[u8], mut nonce: [u8; NONCE_BYTES]) -> Self {
        nonce[0] = nonce[0] & 0x3f | 0x40;
        Self {
            digest: Sha256::digest(data).into(),
            nonce,
        }
    }

    /// The request as it is sent (`TimeStampReq`, RFC 3161 section 2.4.1). It asks for the authority's certificates.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let hash_algorithm = AlgorithmIdentifier {
            oid: SHA_256,
            parameters: None,
        };
        let request = TimeStampReq {
            version: TspVersion::V1,
            message_imprint: MessageImprint {
                hash_algorithm,
                hashed_message: OctetString::new(self.digest).expect("32 bytes have a DER length"),
            },
            req_policy: None,
            nonce: Some(self.nonce()),
            cert_req: true,
            extensions: None,
        };
        request.to_der().expect("a request of fixed length can be encoded")
    }

    /// The token in an answer (`TimeStampResp`, RFC 3161 section 2.4.2), if it is the answer to this request and an
    /// authority signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn token(&self, answer: &[u8], authorities: &Authorities) -> Result<Vec<u8>, TimeStampError> {
        let answer = TimeStampResp::from_der(answer)?;
        let status = answer.status.status as u32;
        // 0 is granted, 1 granted with modifications.
        if status > 1 {
            return Err(TimeStampError::Refused { status });
        }
        let token = answer.time_stamp_token.ok_or(TimeStampError::NoToken)?.to_der()?;
        let verified = token::verify_digest(&token, &self.digest, authorities)?;
        if verified.nonce != Some(self.nonce()) {
            return Err(TimeStampError::OtherNonce);
        }
        Ok(token)
    }

    fn nonce(&self) -> Int {
        Int::new(&self.nonce).expect("a short positive integer")
    }
}
