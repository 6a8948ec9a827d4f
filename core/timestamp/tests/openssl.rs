//! Requests and tokens against the time stamp authority of OpenSSL.

use std::path::Path;
use std::process::Command;

use craton_timestamp::{
    AUTHORITIES_BYTES_MAX, Authorities, NONCE_BYTES, Request, TOKEN_BYTES_MAX, TimeStampError, verify,
};

const NOTE: &[u8] = b"log.example\n3\nAAAA\n\n\xe2\x80\x94 log.example AAAA\n";
const NONCE: [u8; NONCE_BYTES] = [0xff; NONCE_BYTES];

/// A time stamp authority in a directory: a root, and a certificate by it for time stamps.
struct Tsa(tempfile::TempDir);

impl Tsa {
    /// `key` is what `openssl genpkey` is told.
    fn new(key: &str, digest: &str) -> Self {
        let tsa = Self(tempfile::tempdir().expect("a directory"));
        let config = format!(
            "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN=Test root\n\
             [root]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n\
             [tsa]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n\
             basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\n\
             [web]\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n\
             [ts]\ndefault_tsa=ts_config\n[ts_config]\nserial=serial\ncrypto_device=builtin\nsigner_cert=tsa.pem\n\
             certs=root.pem\nsigner_key=tsa.key\nsigner_digest={digest}\ndefault_policy=1.2.3.4.1\ndigests=sha256\n\
             accuracy=secs:1\nclock_precision_digits=3\nordering=yes\ntsa_name=yes\ness_cert_id_alg=sha256\n"
        );
        tsa.write("openssl.cnf", config.as_bytes());
        tsa.write("serial", b"01\n");
        for name in ["root", "tsa"] {
            tsa.openssl(&format!("genpkey {key} -out {name}.key"));
        }
        tsa.openssl("req -x509 -new -key root.key -out root.pem -days 2 -config openssl.cnf -extensions root");
        tsa.openssl("req -new -key tsa.key -out tsa.csr -subj /CN=Authority -config openssl.cnf");
        let sign = "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -out tsa.pem -days 2 -set_serial 7";
        tsa.openssl(&format!("{sign} -extfile openssl.cnf -extensions tsa"));
        tsa
    }

    fn rsa() -> Self {
        Self::new("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "sha256")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path().join(name), content).expect("writable");
    }

    fn openssl(&self, arguments: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {error}");
    }

    fn run(&self, arguments: &str) -> std::process::Output {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).current_dir(self.path());
        openssl.output().expect("openssl is installed")
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.write("query.tsq", request);
        self.openssl("ts -reply -queryfile query.tsq -out reply.tsr -config openssl.cnf -section ts_config");
        std::fs::read(self.path().join("reply.tsr")).expect("a reply")
    }

    fn authorities(&self) -> Authorities {
        let pem = std::fs::read_to_string(self.path().join("root.pem")).expect("a certificate");
        Authorities::from_pem(&pem).expect("usable")
    }

    fn openssl_accepts(&self, token: &[u8], data: &[u8]) -> bool {
        self.write("token.der", token);
        self.write("data", data);
        let verify = "ts -verify -data data -in token.der -token_in -CAfile root.pem";
        self.run(verify).status.success()
    }
}

#[test]
fn openssl_stamps_what_is_asked_and_accepts_the_token() {
    let tsa = Tsa::rsa();
    let request = Request::over(NOTE, NONCE);
    let answer = tsa.answer(&request.to_der());
    let token = request.token(&answer, &tsa.authorities()).expect("a token");
    assert!(tsa.openssl_accepts(&token, NOTE));
    assert!(!tsa.openssl_accepts(&token, b"another note\n"));

    let stamp = verify(&token, NOTE, &tsa.authorities()).expect("it verifies");
    assert_eq!(
        (stamp.policy.as_str(), stamp.serial_number.as_str()),
        ("1.2.3.4.1", "02")
    );
    let told = String::from_utf8(tsa.run("ts -reply -in token.der -token_in -token_out -text").stdout);
    let told = told.expect("text");
    let line = told
        .lines()
        .find(|line| line.starts_with("Time stamp:"))
        .expect("a time");
    let date = Command::new("date")
        .args(["-u", "+%s", "-d", &line["Time stamp:".len()..]])
        .output();
    let seconds = String::from_utf8(date.expect("date").stdout).expect("text");
    assert_eq!(seconds.trim(), stamp.unix_seconds.to_string(), "{line}");
}

#[test]
fn other_data_another_request_and_another_authority_are_refused() {
    let (tsa, other) = (Tsa::rsa(), Tsa::rsa());
    let request = Request::over(NOTE, NONCE);
    let answer = tsa.answer(&request.to_der());
    let authorities = tsa.authorities();
    let changed = Request::over(b"another note\n", NONCE).token(&answer, &authorities);
    assert_eq!(changed, Err(TimeStampError::OtherData));
    let replayed = Request::over(NOTE, [0; NONCE_BYTES]).token(&answer, &authorities);
    assert_eq!(replayed, Err(TimeStampError::OtherNonce));
    let untrusted = request.token(&answer, &other.authorities());
    assert!(
        matches!(untrusted, Err(TimeStampError::Certificate(_))),
        "{untrusted:?}"
    );
    let token = request.token(&answer, &authorities).expect("a token");
    assert_eq!(
        verify(&token, b"another note\n", &authorities),
        Err(TimeStampError::OtherData)
    );
}

#[test]
fn a_certificate_that_is_not_for_time_stamps_is_refused() {
    // OpenSSL refuses to sign with such a certificate, so one for time stamps is swapped for it afterwards.
    let tsa = Tsa::rsa();
    let request = Request::over(NOTE, NONCE);
    let sign = "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -out web.pem -days 2 -set_serial 7";
    tsa.openssl(&format!("{sign} -extfile openssl.cnf -extensions web"));
    let answer = tsa.answer(&request.to_der());
    let der = |name: &str| {
        tsa.openssl(&format!("x509 -in {name}.pem -outform DER -out {name}.der"));
        std::fs::read(tsa.path().join(format!("{name}.der"))).expect("a certificate")
    };
    let (own, web) = (der("tsa"), der("web"));
    let at = answer
        .windows(own.len())
        .position(|window| window == own)
        .expect("the certificate");
    let swapped = [&answer[..at], &web, &answer[at + own.len()..]].concat();
    let refused = request.token(&with_lengths(&swapped, own.len() - web.len()), &tsa.authorities());
    assert!(
        matches!(&refused, Err(TimeStampError::Certificate(reason)) if reason.contains("RequiredEku")),
        "{refused:?}"
    );
}

/// Makes the lengths around a token's certificates, which have shrunk, fit again.
fn with_lengths(answer: &[u8], shrunk: usize) -> Vec<u8> {
    let mut fixed = answer.to_vec();
    // TimeStampResp, ContentInfo, [0], SignedData and [0] of the certificates: each has a length in two bytes.
    let shrink = |bytes: &mut Vec<u8>, at: usize| {
        assert_eq!(bytes[at + 1], 0x82, "a length in two bytes at {at}");
        let length = usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]);
        let length = u16::try_from(length - shrunk).expect("a short length").to_be_bytes();
        bytes[at + 2..at + 4].copy_from_slice(&length);
    };
    let skip = |bytes: &[u8], at: usize| match bytes[at + 1] {
        0x82 => at + 4 + (usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3])),
        0x81 => at + 3 + usize::from(bytes[at + 2]),
        short => at + 2 + usize::from(short),
    };
    shrink(&mut fixed, 0);
    let content_info = skip(&fixed, 4);
    shrink(&mut fixed, content_info);
    let explicit = skip(&fixed, content_info + 4);
    shrink(&mut fixed, explicit);
    shrink(&mut fixed, explicit + 4);
    let mut at = explicit + 8;
    while fixed[at] != 0xa0 {
        at = skip(&fixed, at);
    }
    shrink(&mut fixed, at);
    fixed
}

#[test]
fn no_byte_of_a_token_can_be_changed_and_none_left_out() {
    let tsa = Tsa::new("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "sha256");
    let request = Request::over(NOTE, NONCE);
    let token = request
        .token(&tsa.answer(&request.to_der()), &tsa.authorities())
        .expect("a token");
    let authorities = tsa.authorities();
    let mut accepted = Vec::new();
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        if verify(&changed, NOTE, &authorities).is_ok() {
            accepted.push(at);
        }
        assert!(verify(&token[..at], NOTE, &authorities).is_err(), "{at} bytes");
    }
    // What is neither signed nor read: versions and algorithms that the signature does not depend on, and the root.
    let root = certificate_range(&tsa, &token);
    accepted.retain(|at| !root.contains(at));
    assert!(accepted.len() <= UNSIGNED_BYTES_MAX, "{accepted:?}");
    for at in accepted {
        let mut changed = token.clone();
        changed[at] ^= 1;
        let stamp = verify(&changed, NOTE, &authorities).expect("accepted above");
        assert_eq!(
            Ok(stamp),
            verify(&token, NOTE, &authorities),
            "byte {at} says something else"
        );
    }
}

/// `SignedData.version`, `SignedData.digestAlgorithms`, `SignerInfo.version`, and the parameters of algorithms.
const UNSIGNED_BYTES_MAX: usize = 32;

fn certificate_range(tsa: &Tsa, token: &[u8]) -> std::ops::Range<usize> {
    tsa.openssl("x509 -in root.pem -outform DER -out root.der");
    let root = std::fs::read(tsa.path().join("root.der")).expect("a certificate");
    let at = token.windows(root.len()).position(|window| window == root);
    at.map_or(0..0, |at| at..at + root.len())
}

#[test]
fn every_usual_key_and_hash_verifies() {
    let rsa = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let curve = |name: &str| format!("-algorithm EC -pkeyopt ec_paramgen_curve:{name}");
    for (key, digest) in [
        (rsa.to_owned(), "sha384"),
        (rsa.to_owned(), "sha512"),
        (curve("P-256"), "sha512"),
        (curve("P-384"), "sha256"),
        (curve("P-384"), "sha384"),
        (curve("P-521"), "sha512"),
    ] {
        let tsa = Tsa::new(&key, digest);
        let request = Request::over(NOTE, NONCE);
        let token = request.token(&tsa.answer(&request.to_der()), &tsa.authorities());
        assert!(token.is_ok(), "{key} {digest}: {token:?}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let tsa = Tsa::rsa();
    let authorities = tsa.authorities();
    let request = Request::over(NOTE, NONCE);
    // The authority takes SHA-256 only, so it refuses a request for another hash.
    let mut other = request.to_der();
    let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let at = other
        .windows(oid.len())
        .position(|window| window == oid)
        .expect("the hash");
    other[at + oid.len() - 1] = 0x07;
    let refused = request.token(&tsa.answer(&other), &authorities);
    assert_eq!(refused, Err(TimeStampError::Refused { status: 2 }));
    // `PKIStatusInfo` of a granted request, without a token.
    let granted = [0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00];
    assert_eq!(request.token(&granted, &authorities), Err(TimeStampError::NoToken));
    for rubbish in [&b""[..], b"<html>sorry</html>", &[0x30, 0x80], &[0xff; 64]] {
        let refused = request.token(rubbish, &authorities);
        assert!(matches!(refused, Err(TimeStampError::Form(_))), "{refused:?}");
    }
    let long = vec![0x30; TOKEN_BYTES_MAX + 1];
    assert_eq!(
        verify(&long, NOTE, &authorities),
        Err(TimeStampError::Length { found: long.len() })
    );
    assert!(matches!(
        verify(&long[1..], NOTE, &authorities),
        Err(TimeStampError::Form(_))
    ));
}

#[test]
fn authorities_are_read_whole_or_refused() {
    let tsa = Tsa::rsa();
    let root = tsa.authorities().as_pem().to_owned();
    assert!(Authorities::from_pem(&root.repeat(3)).is_ok());
    let broken = root.replacen("MII", "MIA", 1);
    for unusable in ["", "no PEM", &broken] {
        let refused = Authorities::from_pem(unusable);
        assert!(matches!(refused, Err(TimeStampError::Authorities(_))), "{refused:?}");
    }
    let longest = format!("{root}{}", " ".repeat(AUTHORITIES_BYTES_MAX - root.len()));
    assert!(Authorities::from_pem(&longest).is_ok());
    let found = AUTHORITIES_BYTES_MAX + 1;
    let refused = Authorities::from_pem(&format!("{longest} "));
    assert_eq!(refused, Err(TimeStampError::AuthoritiesLength { found }));
}
