//! The members' authority and their certificates for each other.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The cluster's id, which the members' certificates name.
pub(super) const CLUSTER_ID: &str = "clu_faults";

/// Who signs the members' certificates.
pub(super) struct PeerAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl PeerAuthority {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::CommonName, "Members");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self {
            pem: parameters.self_signed(&key)?.pem(),
            issuer: Issuer::new(parameters, key),
        })
    }

    /// Writes `peer.crt`, `peer.key` and `peer.ca` of a member.
    pub(super) fn issue(&self, directory: &Path, node_id: usize) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let name = format!("node-{node_id}.{CLUSTER_ID}.peer.craton.internal");
        let mut parameters = CertificateParams::new(vec![name])?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        fs::write(directory.join("peer.crt"), certificate.pem())?;
        fs::write(directory.join("peer.ca"), &self.pem)?;
        let mut options = fs::File::options();
        options.create(true).write(true).truncate(true).mode(0o600);
        let mut file = options.open(directory.join("peer.key"))?;
        Ok(file.write_all(key.serialize_pem().as_bytes())?)
    }
}
