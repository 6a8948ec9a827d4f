//! Time stamps of an authority (RFC 3161). Its answer in `fixtures/` was made once with `openssl ts -reply`, for the request
//! of [`request`], with a P-256 key and a certificate by `fixtures/root.pem`; both are judged at the time of the stamp.

use std::sync::OnceLock;

use craton_timestamp::{Authorities, NONCE_BYTES, Request, TimeStamp, verify};

use super::Parser;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "answer",
        parse: answer,
        seeds: || vec![ANSWER.to_vec()],
    },
    Parser {
        name: "token",
        parse: token,
        seeds: || vec![genuine_token().to_vec()],
    },
    Parser {
        name: "authorities",
        parse: |bytes| std::str::from_utf8(bytes).is_ok_and(|pem| Authorities::from_pem(pem).is_ok()),
        seeds: || vec![ROOT.as_bytes().to_vec()],
    },
];

const ROOT: &str = include_str!("../../fixtures/root.pem");
const ANSWER: &[u8] = include_bytes!("../../fixtures/answer.der");
const DATA: &[u8] = b"a cosigned note\n";

fn authorities() -> &'static Authorities {
    static AUTHORITIES: OnceLock<Authorities> = OnceLock::new();
    AUTHORITIES.get_or_init(|| Authorities::from_pem(ROOT).expect("a certificate"))
}

fn request() -> Request {
    Request::over(DATA, [0xff; NONCE_BYTES])
}

fn genuine_token() -> &'static [u8] {
    static TOKEN: OnceLock<Vec<u8>> = OnceLock::new();
    TOKEN.get_or_init(|| request().token(ANSWER, authorities()).expect("the authority's answer"))
}

fn genuine() -> TimeStamp {
    verify(genuine_token(), DATA, authorities()).expect("the authority's token")
}

/// Whatever is made of the answer, its token says what the authority said.
fn answer(bytes: &[u8]) -> bool {
    let taken = request().token(bytes, authorities());
    if let Ok(token) = &taken {
        assert!(self::token(token), "a token that was taken verifies");
    }
    taken.is_ok()
}

/// Whatever is made of the token, it stamps nothing else, and at no other time.
fn token(bytes: &[u8]) -> bool {
    assert!(
        verify(bytes, b"something else\n", authorities()).is_err(),
        "something else is stamped"
    );
    let verified = verify(bytes, DATA, authorities());
    if let Ok(stamp) = &verified {
        assert_eq!(*stamp, genuine(), "another time is stamped");
    }
    verified.is_ok()
}
