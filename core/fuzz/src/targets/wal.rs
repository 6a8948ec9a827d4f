//! The write-ahead log's file formats.

use craton_log::fuzzing::{
    wal_entries, wal_heads, wal_record_header, wal_segment_header, wal_superblock, wal_torn_tail, wal_vote,
};

use super::Parser;
use crate::world::{WAL_ENTRIES, wal_files};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "segment header",
        parse: wal_segment_header,
        seeds: || segments().map(|bytes| bytes[..152].to_vec()).collect(),
    },
    Parser {
        name: "record header",
        parse: wal_record_header,
        seeds: || segments().map(|bytes| bytes[152..216].to_vec()).collect(),
    },
    Parser {
        name: "entries",
        parse: wal_entries,
        seeds: entries,
    },
    Parser {
        name: "torn tail",
        parse: wal_torn_tail,
        seeds: || vec![[&[0; 31][..], &[9, 5, 1]].concat()],
    },
    Parser {
        name: "vote",
        parse: wal_vote,
        seeds: || vec![vec![1; 17]],
    },
    Parser {
        name: "superblock",
        parse: wal_superblock,
        seeds: || {
            let copies = |bytes: &'static Vec<u8>| bytes.chunks(4096).map(|slot| slot[..196].to_vec());
            named("superblock").flat_map(copies).collect()
        },
    },
    Parser {
        name: "heads",
        parse: wal_heads,
        seeds: || named("heads.a").map(|bytes| bytes[..48].to_vec()).collect(),
    },
];

fn segments() -> impl Iterator<Item = &'static Vec<u8>> {
    let files = wal_files().iter();
    files.filter(|(name, _)| name.ends_with(".wal")).map(|(_, bytes)| bytes)
}

fn entries() -> Vec<Vec<u8>> {
    let mut bytes = [1u64.to_be_bytes().as_slice(), &2u32.to_be_bytes()].concat();
    for payload in [&b"first"[..], &[0; WAL_ENTRIES]] {
        bytes.extend_from_slice(&7u64.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(payload);
    }
    vec![bytes]
}

fn named(wanted: &'static str) -> impl Iterator<Item = &'static Vec<u8>> {
    let files = wal_files().iter();
    files.filter(move |(name, _)| name == wanted).map(|(_, bytes)| bytes)
}
