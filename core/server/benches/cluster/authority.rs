//! Who signs the certificates of all servers and members.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, "Benchmark");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            pem: parameters.self_signed(&key).expect("signable").pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Writes `<stem>.crt` and `<stem>.key` for a name and this machine's own address, and `ca.crt` beside them.
    pub(crate) fn issue(&self, directory: &Path, stem: &str, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        parameters.subject_alt_names.push(SanType::IpAddress(own));
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signable");
        let path = |ending: &str| directory.join(format!("{stem}.{ending}"));
        fs::write(path("crt"), certificate.pem()).expect("writable");
        fs::write(path("key"), key.serialize_pem()).expect("writable");
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).expect("the owner");
        fs::write(directory.join("ca.crt"), &self.pem).expect("writable");
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("bound").port()
}
