//! What records say, and the sealed chunks and cells that say it.

use craton_crypto::open_cell;
use craton_types::{Change, PrimaryKey, RecordSummary, Row, SealedCell, Value, decode_whole};

use super::Parser;
use crate::stable::{assert_stable, is_stable};
use crate::world::{EPOCH_SALT, change_key, changes, row, sealed_cell, subject_key, summary};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "change",
        parse: change,
        seeds: || changes().iter().map(Change::to_bytes).collect(),
    },
    Parser {
        name: "summary",
        parse: record_summary,
        seeds: || vec![summary().to_bytes(), RecordSummary::default().to_bytes()],
    },
    Parser {
        name: "row",
        parse: a_row,
        seeds: || vec![minicbor::to_vec(row(1, "Ada")).expect("in memory")],
    },
    Parser {
        name: "sealed chunk",
        parse: sealed_chunk,
        seeds: || vec![change_key(3, 1).seal(PLAINTEXT)],
    },
    Parser {
        name: "sealed cell",
        parse: a_sealed_cell,
        seeds: || vec![minicbor::to_vec(sealed_cell()).expect("in memory")],
    },
    Parser {
        name: "content of a sealed cell",
        parse: cell_content,
        seeds: || vec![minicbor::to_vec(Value::Text("secret".into())).expect("in memory")],
    },
];

const PLAINTEXT: &[u8] = b"plaintext";

fn change(bytes: &[u8]) -> bool {
    let decoded = Change::from_bytes(bytes);
    if let Ok(change) = &decoded {
        assert_stable(change, Change::to_bytes, |bytes| Change::from_bytes(bytes).ok());
        if let Change::Event(event) = change {
            assert_eq!(Change::event_bytes(event), change.to_bytes());
        }
    }
    decoded.is_ok()
}

fn record_summary(bytes: &[u8]) -> bool {
    let decoded = RecordSummary::from_bytes(bytes);
    if let Ok(summary) = &decoded {
        assert_stable(summary, RecordSummary::to_bytes, |bytes| {
            RecordSummary::from_bytes(bytes).ok()
        });
    }
    decoded.is_ok()
}

fn a_row(bytes: &[u8]) -> bool {
    if let Ok(row) = decode_whole::<Row>(bytes) {
        for value in &row {
            let _ = PrimaryKey::encode([value]);
            let shown = craton_proof::value_text(value);
            assert_eq!(craton_proof::printable(&shown), shown, "what is shown is printable");
        }
    }
    is_stable::<Row>(bytes)
}

/// Only the chunk that was sealed opens, whatever is made of it.
fn sealed_chunk(bytes: &[u8]) -> bool {
    let opened = change_key(3, 1).open(bytes);
    if let Ok(plaintext) = &opened {
        assert_eq!(change_key(3, 1).seal(plaintext), bytes, "a chunk has one form");
        assert_eq!(plaintext, PLAINTEXT, "another chunk opens");
    }
    assert!(
        change_key(3, 2).open(bytes).is_err(),
        "a chunk opens where it was sealed"
    );
    opened.is_ok()
}

/// Only the cell that was sealed opens, whatever is made of it.
fn a_sealed_cell(bytes: &[u8]) -> bool {
    let Ok(cell) = decode_whole::<SealedCell>(bytes) else {
        return false;
    };
    assert!(is_stable::<SealedCell>(bytes));
    let opened = subject_key().open(&cell, EPOCH_SALT);
    if let Ok(value) = &opened {
        assert_eq!(*value, Value::Text("secret".into()), "another cell opens");
    }
    opened.is_ok()
}

/// What a subject's key has sealed is a value, even when it was not sealed by this code.
fn cell_content(bytes: &[u8]) -> bool {
    let place = craton_crypto::CellPlace::of(&sealed_cell(), EPOCH_SALT);
    let key = subject_key().cell_key(place);
    let cell = SealedCell {
        sealed: key.seal(bytes),
        ..sealed_cell()
    };
    let opened = open_cell(&key, &cell);
    if let Ok(value) = &opened {
        assert!(!matches!(value, Value::Sealed(_)), "a sealed cell holds a value");
        assert!(is_stable::<Value>(bytes));
    }
    opened.is_ok()
}
