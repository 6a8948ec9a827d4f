//! Transparency log proofs (c2sp.org/tlog-proof@v1): that an entry is in a log, as one text.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                  optional: opaque, not authenticated by this format
//! index <decimal>
//! <base64 hash>                   the inclusion path, from the leaf's sibling upwards; may be empty
//!
//! <checkpoint, verbatim to the end>
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_types::{BODY_BYTES_MAX, Hash};

use crate::checkpoint::{parse_decimal, parse_hash};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// The longest inclusion path: the height of the largest tree with 64-bit sizes.
pub const PATH_HASHES_MAX: usize = 64;
/// The longest proof in bytes: one record's body in base64 and room for everything else.
pub const PROOF_BYTES_MAX: usize = (BODY_BYTES_MAX as usize / 3 + 1) * 4 + 4 * 1024 * 1024;

/// A proof, parsed but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What an application needs besides; never empty.
    pub extra: Option<Vec<u8>>,
    /// The entry's position in the log.
    pub index: u64,
    /// The inclusion path, from the leaf's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

/// Why a text is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// It is longer than any proof.
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// It is not UTF-8.
    #[error("the proof is not UTF-8 text")]
    Text,
    /// The first line is another.
    #[error("line 1 is not {FIRST_LINE:?}")]
    FirstLine,
    /// A line is not what the format asks for in its place.
    #[error("line {line} is not {expected}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// The inclusion path is longer than any tree is high.
    #[error("an inclusion path has at most {PATH_HASHES_MAX} hashes")]
    Path,
}

impl TlogProof {
    /// Parses a proof.
    ///
    /// # Errors
    /// Names the first line that is not as the format asks.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(TlogProofError::Length { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| TlogProofError::Text)?;
        let mut lines = Lines { rest: text, number: 0 };
        if lines.next() != Some(FIRST_LINE) {
            return Err(TlogProofError::FirstLine);
        }
        let mut line = lines.next().unwrap_or_default();
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            let decoded = BASE64.decode(encoded).ok().filter(|decoded| !decoded.is_empty());
            extra = Some(decoded.ok_or(lines.malformed("\"extra\" and base64"))?);
            line = lines.next().unwrap_or_default();
        }
        let index = line.strip_prefix("index ").and_then(parse_decimal);
        let index = index.ok_or(lines.malformed("\"index\" and a decimal number"))?;
        let mut path = Vec::new();
        loop {
            let missing = lines.malformed("followed by an empty line and a checkpoint");
            let line = lines.next().ok_or(missing)?;
            if line.is_empty() {
                break;
            }
            if path.len() == PATH_HASHES_MAX {
                return Err(TlogProofError::Path);
            }
            path.push(parse_hash(line).ok_or(lines.malformed("a 32-byte hash in base64"))?);
        }
        Ok(Self {
            extra,
            index,
            path,
            checkpoint: lines.rest.to_owned(),
        })
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Lines that end in a newline, and whatever follows the ones taken.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        self.number += 1;
        Some(line)
    }

    const fn malformed(&self, expected: &'static str) -> TlogProofError {
        TlogProofError::Line {
            line: self.number,
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The shape of the specification's example.
    const EXAMPLE: &str = "c2sp.org/tlog-proof@v1\n\
        extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6\n\
        index 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
        B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
        \n\
        example.com/fancylog\n\
        109482\n\
        sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\
        \n\
        \u{2014} example.com/fancylog hI2DJwAA\n";

    #[test]
    fn the_specification_s_example() {
        let proof = TlogProof::parse(EXAMPLE.as_bytes()).expect("a proof");
        assert_eq!(proof.extra.as_deref(), Some(&b"age-v1.2.1-darwin-arm64.tar.gz"[..]));
        assert_eq!(proof.index, 73_894);
        assert_eq!(proof.path.len(), 2);
        assert!(proof.checkpoint.starts_with("example.com/fancylog\n109482\n"));
        assert!(proof.checkpoint.ends_with("hI2DJwAA\n"));
        assert_eq!(proof.to_string(), EXAMPLE);
    }

    #[test]
    fn extra_and_path_may_be_absent() {
        let text = "c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint";
        let proof = TlogProof::parse(text.as_bytes()).expect("a proof");
        assert_eq!(proof.extra, None);
        assert_eq!(proof.path, vec![]);
        assert_eq!(proof.checkpoint, "checkpoint");
        assert_eq!(proof.to_string(), text);
    }

    #[test]
    fn malformed_lines_are_named() {
        let line =
            |number| move |error: TlogProofError| matches!(error, TlogProofError::Line { line, .. } if line == number);
        type Check = Box<dyn Fn(TlogProofError) -> bool>;
        let cases: Vec<(String, Check)> = vec![
            (String::new(), Box::new(|error| error == TlogProofError::FirstLine)),
            (
                EXAMPLE.replace("@v1", "@v2"),
                Box::new(|error| error == TlogProofError::FirstLine),
            ),
            (EXAMPLE.replace("extra ", "extra  "), Box::new(line(2))),
            (EXAMPLE.replace("Lmd6", "Lmd"), Box::new(line(2))),
            ("c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n".into(), Box::new(line(2))),
            (EXAMPLE.replace("index 73894", "index 073894"), Box::new(line(3))),
            (EXAMPLE.replace("index 73894", "index -1"), Box::new(line(3))),
            (EXAMPLE.replace("index 73894\n", ""), Box::new(line(3))),
            (EXAMPLE.replace("cXmA=", "cXmA"), Box::new(line(5))),
            ("c2sp.org/tlog-proof@v1\nindex 0\n".into(), Box::new(line(2))),
        ];
        for (text, expected) in cases {
            let error = TlogProof::parse(text.as_bytes()).expect_err(&text);
            assert!(expected(error.clone()), "{text}: {error}");
        }
    }

    #[test]
    fn limits_are_refused_one_past_the_edge() {
        let hash = BASE64.encode([0; 32]) + "\n";
        let proof = |count| format!("c2sp.org/tlog-proof@v1\nindex 0\n{}\n", hash.repeat(count));
        assert!(TlogProof::parse(proof(PATH_HASHES_MAX).as_bytes()).is_ok());
        assert_eq!(
            TlogProof::parse(proof(PATH_HASHES_MAX + 1).as_bytes()),
            Err(TlogProofError::Path)
        );
        assert_eq!(
            TlogProof::parse(&vec![b'\n'; PROOF_BYTES_MAX + 1]),
            Err(TlogProofError::Length {
                found: PROOF_BYTES_MAX + 1
            })
        );
    }

    proptest! {
        #[test]
        fn proofs_survive_a_round_trip(
            extra in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..50)),
            index in any::<u64>(),
            path in proptest::collection::vec(any::<[u8; 32]>().prop_map(Hash::new), 0..5),
            checkpoint in "[a-z\\n]{0,30}",
        ) {
            let proof = TlogProof { extra, index, path, checkpoint };
            prop_assert_eq!(TlogProof::parse(proof.to_string().as_bytes()), Ok(proof));
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "(c2sp.org/tlog-proof@v1\n)?[a-z0-9 \n=]{0,80}") {
            let _ = TlogProof::parse(text.as_bytes());
        }
    }
}
