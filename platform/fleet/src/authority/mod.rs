//! Certificate authorities: one that agents and their listener trust, and two for each cluster: one that its clients trust
//! and one that its members trust among themselves.
//!
//! A certificate's names come from here, never from the request: of a request only the public key is used. Keys are
//! ECDSA on P-256, which every driver's TLS understands.

pub(crate) mod probe_token;
pub(crate) mod vault;

use craton_agent_protocol::{MemberId, NodeId as WireNodeId};
use craton_platform_kernel::{ClusterId, Environment, NodeId};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

pub(crate) use vault::Vault;
pub use vault::VaultError;

/// Clocks of two machines may differ by this much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Ten years. An authority's key is the root of what is deployed in the field; overlap of two is its renewal.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// The listener's own certificate is made anew at each start and once a day.
const LISTENER_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How a node's name stands in its certificate (RFC 8141).
const NODE_URI_PREFIX: &str = "urn:craton:node:";

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The authority's files cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The authority's files are not there.
    #[error("there is no certificate authority {0}")]
    Missing(String),
    /// The authority's files hold something else.
    #[error("the certificate authority {name} cannot be read: {detail}")]
    Damaged {
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// The request is none, or its signature is wrong.
    #[error("the certificate request is not acceptable: {0}")]
    Request(#[source] rcgen::Error),
    /// Signing failed.
    #[error("the certificate could not be made: {0}")]
    Issue(#[source] rcgen::Error),
}

/// A signed certificate.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// The certificate, followed by the authority's own, in PEM.
    pub(crate) chain_pem: String,
    /// Its serial number, in hex.
    pub(crate) serial: String,
    /// Its end.
    pub(crate) not_after: Timestamp,
}

/// A certificate authority.
pub(crate) struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    environment: Environment,
}

/// The name of the authority of agents and their listener.
pub(crate) const AGENT_AUTHORITY: &str = "agents";

/// The name of a cluster's authority.
pub(crate) fn cluster_authority(cluster_id: ClusterId) -> String {
    cluster_id.to_string()
}

/// The name of the authority that a cluster's members trust among themselves.
pub(crate) fn peer_authority(cluster_id: ClusterId) -> String {
    format!("{cluster_id}.peers")
}

/// The domain that a cluster's members have their names in. Nobody resolves it.
pub(crate) fn peer_domain(cluster_id: ClusterId) -> String {
    format!("{cluster_id}.peer.craton.internal")
}

/// The name by which a member knows another one.
pub(crate) fn peer_name(cluster_id: ClusterId, member_id: MemberId) -> String {
    format!("node-{member_id}.{}", peer_domain(cluster_id))
}

impl Authority {
    /// Opens an authority, or makes it on the first use. `domain` limits the names that it can vouch for.
    pub(crate) fn open_or_create(
        vault: &Vault,
        name: &str,
        common_name: &str,
        domain: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, AuthorityError> {
        match Self::open(vault, name, environment) {
            Err(AuthorityError::Missing(_)) => {
                let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
                let mut params = CertificateParams::default();
                set_validity(&mut params, environment.now(), AUTHORITY_LIFETIME);
                params.serial_number = Some(serial(environment));
                params.distinguished_name = common_name_of(common_name);
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
                params.name_constraints = domain.map(|domain| NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
                    excluded_subtrees: vec![],
                });
                let certificate = params.self_signed(&key).map_err(AuthorityError::Issue)?;
                // The key comes first: a certificate on disk says that both are there.
                vault.seal(&key_file(name), key.serialize_pem().as_bytes())?;
                vault.write(&certificate_file(name), certificate.pem().as_bytes())?;
                Self::open(vault, name, environment)
            }
            result => result,
        }
    }

    /// Opens an authority that must be there.
    pub(crate) fn open(vault: &Vault, name: &str, environment: &Environment) -> Result<Self, AuthorityError> {
        let missing = || AuthorityError::Missing(name.to_owned());
        let damaged = |detail: String| AuthorityError::Damaged {
            name: name.to_owned(),
            detail,
        };
        let certificate_pem = certificate_pem(vault, name)?.ok_or_else(missing)?;
        let key = vault.unseal(&key_file(name))?.ok_or_else(missing)?;
        let key = std::str::from_utf8(&key).map_err(|error| damaged(error.to_string()))?;
        let key = KeyPair::from_pem(key).map_err(|error| damaged(error.to_string()))?;
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            certificate_pem,
            certificate,
            issuer,
            environment: environment.clone(),
        })
    }

    /// The authority's own certificate in PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's own certificate in DER.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a node's client certificate.
    pub(crate) fn issue_node(
        &self,
        csr_pem: &str,
        node_id: NodeId,
        lifetime: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        let uri = format!("{NODE_URI_PREFIX}{node_id}")
            .try_into()
            .map_err(AuthorityError::Issue)?;
        self.issue(
            csr_pem,
            &node_id.to_string(),
            vec![SanType::URI(uri)],
            vec![ExtendedKeyUsagePurpose::ClientAuth],
            lifetime,
        )
    }

    /// Signs a server certificate for host names.
    pub(crate) fn issue_server(
        &self,
        csr_pem: &str,
        hostnames: &[&str],
        lifetime: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        let names = subject_names(hostnames)?;
        let common_name = hostnames.first().copied().unwrap_or_default();
        self.issue(
            csr_pem,
            common_name,
            names,
            vec![ExtendedKeyUsagePurpose::ServerAuth],
            lifetime,
        )
    }

    /// Signs the certificate that a member shows to others, whichever of them connects.
    pub(crate) fn issue_peer(
        &self,
        csr_pem: &str,
        name: &str,
        lifetime: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(csr_pem, name, subject_names(&[name])?, usages, lifetime)
    }

    fn issue(
        &self,
        csr_pem: &str,
        common_name: &str,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        lifetime: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(AuthorityError::Request)?;
        let serial = serial(&self.environment);
        let (params, not_after) = self.leaf(common_name, names, usages, lifetime, &serial);
        request.params = params;
        let certificate = request.signed_by(&self.issuer).map_err(AuthorityError::Issue)?;
        Ok(Issued {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            serial: hex::encode(serial.to_bytes()),
            not_after,
        })
    }

    /// Makes key and certificate of the agents' listener.
    pub(crate) fn listener_identity(
        &self,
        hostnames: &[&str],
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
        let (params, _) = self.leaf(
            "craton agent listener",
            subject_names(hostnames)?,
            vec![ExtendedKeyUsagePurpose::ServerAuth],
            LISTENER_LIFETIME,
            &serial(&self.environment),
        );
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Issue)?;
        // The authority goes along: an enrolling agent knows only its hash.
        Ok((vec![certificate.der().clone(), self.certificate.clone()], key.into()))
    }

    fn leaf(
        &self,
        common_name: &str,
        names: Vec<SanType>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        lifetime: SignedDuration,
        serial: &SerialNumber,
    ) -> (CertificateParams, Timestamp) {
        let mut params = CertificateParams::default();
        let not_after = set_validity(&mut params, self.environment.now(), lifetime);
        params.serial_number = Some(serial.clone());
        // At most 64 characters fit (RFC 5280 appendix A, ub-common-name); checks use the alternative names anyway.
        params.distinguished_name = common_name_of(&common_name.chars().take(64).collect::<String>());
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        (params, not_after)
    }
}

/// The certificate of an authority in PEM; `None` when there is no such authority.
pub(crate) fn certificate_pem(vault: &Vault, name: &str) -> Result<Option<String>, AuthorityError> {
    let Some(bytes) = vault.read(&certificate_file(name))? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| AuthorityError::Damaged {
            name: name.to_owned(),
            detail: error.to_string(),
        })
}

/// Destroys an authority's key: it vouches for nothing any more. Its certificate stays for the record.
pub(crate) fn destroy_key(vault: &Vault, name: &str) -> Result<(), AuthorityError> {
    Ok(vault.remove(&key_file(name))?)
}

/// The node that a client certificate names. The certificate's chain has been verified by TLS.
pub(crate) fn node_of_certificate(certificate: &CertificateDer<'_>) -> Option<WireNodeId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut nodes = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => WireNodeId::parse(uri.strip_prefix(NODE_URI_PREFIX)?).ok(),
        _ => None,
    });
    // A certificate that names two nodes names none.
    nodes.next().filter(|_| nodes.next().is_none())
}

/// SHA-256 over the public key of a certificate request, by which a repeated enrolment is recognised.
pub(crate) fn request_public_key(csr_pem: &str) -> Result<Vec<u8>, AuthorityError> {
    use rcgen::PublicKeyData as _;
    let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(AuthorityError::Request)?;
    Ok(request.public_key.der_bytes().to_vec())
}

fn key_file(name: &str) -> String {
    format!("{name}.ca.key")
}

fn certificate_file(name: &str) -> String {
    format!("{name}.ca.crt")
}

fn common_name_of(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn subject_names(hostnames: &[&str]) -> Result<Vec<SanType>, AuthorityError> {
    let name = |hostname: &&str| match hostname.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => (*hostname)
            .try_into()
            .map(SanType::DnsName)
            .map_err(AuthorityError::Issue),
    };
    hostnames.iter().map(name).collect()
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: SignedDuration) -> Timestamp {
    let not_after = now + lifetime;
    let time = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.as_second()).expect("jiff's years are within the calendar's")
    };
    params.not_before = time(now - CLOCK_SKEW);
    params.not_after = time(not_after);
    not_after
}

fn serial(environment: &Environment) -> SerialNumber {
    let mut bytes = environment.random_bytes::<16>();
    // Positive and of full length (RFC 5280 section 4.1.2.2).
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::{vault::tests::vault, *};

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn request() -> String {
        let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.distinguished_name = common_name_of("evil");
        params
            .serialize_request(&KeyPair::generate().unwrap())
            .unwrap()
            .pem()
            .unwrap()
    }

    #[test]
    fn an_authority_survives_a_restart_and_is_never_made_twice() {
        let directory = tempfile::tempdir().unwrap();
        let environment = testing::environment();
        let make = || {
            Authority::open_or_create(&vault(directory.path(), 1), "a", "A", None, &environment)
                .unwrap()
                .certificate_pem()
                .to_owned()
        };
        assert_eq!(make(), make());
        let vault = vault(directory.path(), 1);
        assert!(matches!(
            Authority::open(&vault, "b", &environment),
            Err(AuthorityError::Missing(_))
        ));
        destroy_key(&vault, "a").unwrap();
        assert!(matches!(
            Authority::open(&vault, "a", &environment),
            Err(AuthorityError::Missing(_))
        ));
        assert!(
            certificate_pem(&vault, "a").unwrap().is_some(),
            "the certificate stays for the record"
        );
    }

    #[test]
    fn names_come_from_here_and_not_from_the_request() {
        let directory = tempfile::tempdir().unwrap();
        let environment = testing::environment();
        let authority = Authority::open_or_create(&vault(directory.path(), 1), "a", "A", None, &environment).unwrap();
        let node_id: NodeId = environment.new_id();
        let issued = authority.issue_node(&request(), node_id, HOUR).unwrap();
        let der = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
        assert_eq!(node_of_certificate(&der).unwrap().as_str(), node_id.to_string());
        assert!(!String::from_utf8_lossy(&der).contains("evil"));

        let server = authority
            .issue_server(&request(), &["db.example", "127.0.0.1"], HOUR)
            .unwrap();
        let der = CertificateDer::from_pem_slice(server.chain_pem.as_bytes()).unwrap();
        assert_eq!(node_of_certificate(&der), None, "a server is no node");
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(parsed.validity().not_after.timestamp(), server.not_after.as_second());
        assert!(!parsed.is_ca());
        assert_ne!(issued.serial, server.serial);
    }

    #[test]
    fn members_of_a_cluster_trust_each_other_by_name_and_nobody_else() {
        use rustls::{
            RootCertStore,
            client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
            crypto::aws_lc_rs,
            pki_types::{ServerName, UnixTime},
            server::WebPkiClientVerifier,
        };
        let directory = tempfile::tempdir().unwrap();
        let environment = testing::environment();
        let vault = vault(directory.path(), 1);
        let [ours, theirs]: [ClusterId; 2] = [environment.new_id(), environment.new_id()];
        let authority = |cluster_id| {
            let (name, domain) = (peer_authority(cluster_id), peer_domain(cluster_id));
            Authority::open_or_create(&vault, &name, "peers", Some(&domain), &environment).unwrap()
        };
        let member = |number| MemberId::new(number).unwrap();
        let issue = |name: &str| {
            let issued = authority(ours).issue_peer(&request(), name, HOUR).unwrap();
            CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap()
        };
        let roots = |cluster_id| {
            let mut roots = RootCertStore::empty();
            roots.add(authority(cluster_id).certificate().clone()).unwrap();
            std::sync::Arc::new(roots)
        };
        let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            environment.now().as_second().try_into().unwrap(),
        ));
        let trusts = |cluster_id, certificate: &CertificateDer<'_>, name: String| {
            let builder = WebPkiServerVerifier::builder_with_provider(roots(cluster_id), provider.clone());
            let name = ServerName::try_from(name).unwrap();
            let verified = builder
                .build()
                .unwrap()
                .verify_server_cert(certificate, &[], &name, &[], now);
            verified.is_ok()
        };
        let second = issue(&peer_name(ours, member(2)));
        assert!(trusts(ours, &second, peer_name(ours, member(2))));
        assert!(!trusts(ours, &second, peer_name(ours, member(3))), "another member");
        assert!(
            !trusts(theirs, &second, peer_name(ours, member(2))),
            "another cluster's authority"
        );
        let strange = issue(&peer_name(theirs, member(2)));
        assert!(
            !trusts(ours, &strange, peer_name(theirs, member(2))),
            "a name that it may not vouch for"
        );
        let clients = WebPkiClientVerifier::builder_with_provider(roots(ours), provider.clone());
        let clients = clients.build().unwrap();
        assert!(
            clients.verify_client_cert(&second, &[], now).is_ok(),
            "it may also connect"
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let environment = testing::environment();
        let authority = Authority::open_or_create(&vault(directory.path(), 1), "a", "A", None, &environment).unwrap();
        for text in [
            "",
            "x",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(matches!(
                authority.issue_node(text, environment.new_id(), HOUR),
                Err(AuthorityError::Request(_))
            ));
        }
        // One flipped bit in the signature.
        let pem = request();
        let mut lines: Vec<String> = pem.lines().map(str::to_owned).collect();
        let last = lines.len() - 2;
        let flipped = if lines[last].starts_with('A') { "B" } else { "A" };
        lines[last].replace_range(0..1, flipped);
        assert!(
            authority
                .issue_node(&lines.join("\n"), environment.new_id(), HOUR)
                .is_err()
        );
    }
}
