//! A time stamp token: a signature over a `TSTInfo` (RFC 3161 section 2.4.2, RFC 5652 section 5).

use std::time::Duration;

use cms::cert::CertificateChoices;
use cms::cert::x509::Certificate;
use cms::cert::x509::attr::Attribute;
use cms::cert::x509::ext::Extensions;
use cms::cert::x509::ext::pkix::SubjectKeyIdentifier;
use cms::cert::x509::ext::pkix::name::GeneralName;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Int, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, DateTime, Decode as _, Encode as _, Sequence, Tag, Tagged as _};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::EndEntityCert;
use webpki::aws_lc_rs as algorithms;
use x509_tsp::{Accuracy, MessageImprint, TspVersion};

use crate::{Authorities, TimeStampError};

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;

pub(crate) const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
/// Signature algorithms: those of RSA (RFC 8017) and ECDSA (RFC 5758).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeStamp {
    /// When the authority saw the hash, in whole seconds since 1970, UTC.
    pub unix_seconds: u64,
    /// The authority's policy, an object identifier.
    pub policy: String,
    /// The number that the authority gave the token, in hexadecimal.
    pub serial_number: String,
    pub(crate) nonce: Option<Int>,
}

/// The library's type of the same name has no room for fractions of a second.
#[derive(Sequence)]
struct TstInfo {
    version: TspVersion,
    policy: ObjectIdentifier,
    message_imprint: MessageImprint,
    serial_number: Int,
    time: Any,
    #[asn1(optional = "true")]
    accuracy: Option<Accuracy>,
    #[asn1(default = "Default::default")]
    ordering: bool,
    #[asn1(optional = "true")]
    nonce: Option<Int>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    authority: Option<GeneralName>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

/// Verifies a token over some data: its hash, its signature, and that the signer's certificate was for time stamps and
/// led to one of the authorities at the time of the stamp.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(token: &[u8], data: &[u8], authorities: &Authorities) -> Result<TimeStamp, TimeStampError> {
    verify_digest(token, &Sha256::digest(data).into(), authorities)
}

pub(crate) fn verify_digest(
    token: &[u8],
    digest: &[u8; 32],
    authorities: &Authorities,
) -> Result<TimeStamp, TimeStampError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TimeStampError::Length { found: token.len() });
    }
    let token = ContentInfo::from_der(token)?;
    if token.content_type != SIGNED_DATA {
        return Err(form("it is not signed data"));
    }
    let signed: SignedData = token.content.decode_as()?;
    let content = content(&signed)?;
    let info = TstInfo::from_der(content.as_bytes())?;
    let stamped = &info.message_imprint;
    if stamped.hash_algorithm.oid != SHA_256 || stamped.hashed_message.as_bytes() != digest {
        return Err(TimeStampError::OtherData);
    }
    let time = time_of(&info.time)?;
    check_signature(&signed, content.as_bytes(), time, authorities)?;
    Ok(TimeStamp {
        unix_seconds: time.as_secs(),
        policy: info.policy.to_string(),
        serial_number: hexadecimal(info.serial_number.as_bytes()),
        nonce: info.nonce,
    })
}

fn form(reason: &str) -> TimeStampError {
    TimeStampError::Form(reason.to_owned())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The DER of the `TSTInfo`.
fn content(signed: &SignedData) -> Result<OctetString, TimeStampError> {
    if signed.encap_content_info.econtent_type != TST_INFO {
        return Err(form("its content is no TSTInfo"));
    }
    let content = signed.encap_content_info.econtent.as_ref();
    Ok(content.ok_or_else(|| form("it has no content"))?.decode_as()?)
}

/// Reads a `GeneralizedTime`, which here may have fractions of a second: `YYYYMMDDhhmmss[.f…]Z`. They are left out.
fn time_of(time: &Any) -> Result<Duration, TimeStampError> {
    let malformed = || form("its time is malformed");
    let text = std::str::from_utf8(time.value()).map_err(|_| malformed())?;
    let (seconds, fraction) = text.split_at_checked(14).ok_or_else(malformed)?;
    let is_fraction = |text: &str| {
        let digits = text.strip_prefix('.').and_then(|text| text.strip_suffix('Z'));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if time.tag() != Tag::GeneralizedTime || !(fraction == "Z" || is_fraction(fraction)) {
        return Err(malformed());
    }
    if !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let number = |range: std::ops::Range<usize>| seconds[range].parse::<u16>().unwrap_or(u16::MAX);
    let small = |start: usize| u8::try_from(number(start..start + 2)).unwrap_or(u8::MAX);
    let date = DateTime::new(number(0..4), small(4), small(6), small(8), small(10), small(12));
    Ok(date.map_err(|_| malformed())?.unix_duration())
}

/// Checks that exactly one signer signed the content, with a certificate in the token that is trusted.
fn check_signature(
    signed: &SignedData,
    content: &[u8],
    time: Duration,
    authorities: &Authorities,
) -> Result<(), TimeStampError> {
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err(form("it has not exactly one signer"));
    };
    // A time stamp always has signed attributes: its content is no plain data (RFC 5652 section 5.3).
    let attributes = signer.signed_attrs.as_ref();
    let attributes = attributes.ok_or_else(|| form("it has no signed attributes"))?;
    check_attributes(attributes, &digest(&signer.digest_alg.oid, content)?)?;

    let certificates = certificates(signed)?;
    let own = certificates
        .iter()
        .position(|(certificate, _)| is_of(certificate, &signer.sid));
    let own = own.ok_or_else(|| TimeStampError::Certificate("the token does not hold it".to_owned()))?;
    let encoded: Vec<_> = certificates.into_iter().map(|(_, der)| der).collect();
    let untrusted = |error: webpki::Error| TimeStampError::Certificate(error.to_string());
    let certificate = EndEntityCert::try_from(&encoded[own]).map_err(untrusted)?;
    let message = attributes.to_der()?;
    let is_signed = candidates(signer)?.iter().any(|algorithm| {
        certificate
            .verify_signature(*algorithm, &message, signer.signature.as_bytes())
            .is_ok()
    });
    if !is_signed {
        return Err(TimeStampError::Signature);
    }
    authorities.check(&certificate, &encoded, UnixTime::since_unix_epoch(time))
}

/// Checks what the signed attributes say of the content (RFC 5652 section 11).
fn check_attributes(attributes: &SetOfVec<Attribute>, digest: &[u8]) -> Result<(), TimeStampError> {
    let value = |oid: ObjectIdentifier| {
        let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
        match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
            (Some([value]), None) => Ok(value),
            _ => Err(form("a signed attribute is missing, or there twice")),
        }
    };
    if value(CONTENT_TYPE)?.decode_as::<ObjectIdentifier>()? != TST_INFO {
        return Err(form("it was signed as something else"));
    }
    if value(MESSAGE_DIGEST)?.decode_as::<OctetString>()?.as_bytes() != digest {
        return Err(TimeStampError::Signature);
    }
    Ok(())
}

fn digest(algorithm: &ObjectIdentifier, content: &[u8]) -> Result<Vec<u8>, TimeStampError> {
    match *algorithm {
        SHA_256 => Ok(Sha256::digest(content).to_vec()),
        SHA_384 => Ok(Sha384::digest(content).to_vec()),
        SHA_512 => Ok(Sha512::digest(content).to_vec()),
        other => Err(TimeStampError::Unsupported(format!("hash {other}"))),
    }
}

/// The certificates in the token, parsed and as they are.
fn certificates(signed: &SignedData) -> Result<Vec<(Certificate, CertificateDer<'static>)>, TimeStampError> {
    let mut certificates = Vec::new();
    for choice in signed.certificates.iter().flat_map(|set| set.0.iter()) {
        if let CertificateChoices::Certificate(certificate) = choice {
            let der = CertificateDer::from(certificate.to_der()?);
            certificates.push((certificate.clone(), der));
        }
    }
    Ok(certificates)
}

fn is_of(certificate: &Certificate, signer: &SignerIdentifier) -> bool {
    let certificate = &certificate.tbs_certificate;
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            certificate.issuer == named.issuer && certificate.serial_number == named.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            matches!(certificate.get::<SubjectKeyIdentifier>(), Ok(Some((_, own))) if own == *named)
        }
    }
}

/// The algorithms that the signature may be of: which curve it is, only the key tells.
fn candidates(signer: &SignerInfo) -> Result<Vec<&'static dyn SignatureVerificationAlgorithm>, TimeStampError> {
    let (signature, digest) = (signer.signature_algorithm.oid, signer.digest_alg.oid);
    Ok(match (signature, digest) {
        (RSA | RSA_SHA_256, SHA_256) => vec![algorithms::RSA_PKCS1_2048_8192_SHA256],
        (RSA | RSA_SHA_384, SHA_384) => vec![algorithms::RSA_PKCS1_2048_8192_SHA384],
        (RSA | RSA_SHA_512, SHA_512) => vec![algorithms::RSA_PKCS1_2048_8192_SHA512],
        (RSA_PSS, SHA_256) => vec![algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        (RSA_PSS, SHA_384) => vec![algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        (RSA_PSS, SHA_512) => vec![algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        (ECDSA_SHA_256, SHA_256) => vec![
            algorithms::ECDSA_P256_SHA256,
            algorithms::ECDSA_P384_SHA256,
            algorithms::ECDSA_P521_SHA256,
        ],
        (ECDSA_SHA_384, SHA_384) => vec![
            algorithms::ECDSA_P256_SHA384,
            algorithms::ECDSA_P384_SHA384,
            algorithms::ECDSA_P521_SHA384,
        ],
        (ECDSA_SHA_512, SHA_512) => vec![
            algorithms::ECDSA_P256_SHA512,
            algorithms::ECDSA_P384_SHA512,
            algorithms::ECDSA_P521_SHA512,
        ],
        _ => {
            let what = format!("signature algorithm {signature} with hash {digest}");
            return Err(TimeStampError::Unsupported(what));
        }
    })
}
