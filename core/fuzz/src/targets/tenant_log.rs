//! The file formats of a tenant's log.

use craton_log::fuzzing::{tenant_index, tenant_mark, tenant_record, tenant_segment_footer, tenant_segment_header};
use craton_types::Record;

use super::Parser;
use crate::world::{tenant_files, world};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "segment header",
        parse: tenant_segment_header,
        seeds: || ending(".segment").map(|bytes| bytes[..64].to_vec()).collect(),
    },
    Parser {
        name: "segment footer",
        parse: tenant_segment_footer,
        seeds: || {
            let closed = ending(".segment").filter(|bytes| bytes[bytes.len() - 80..].starts_with(b"CRTF"));
            closed
                .map(|bytes| bytes[bytes.len() - 80..bytes.len() - 4].to_vec())
                .collect()
        },
    },
    Parser {
        name: "record",
        parse: tenant_record,
        seeds: || world().records.iter().take(4).map(stored).collect(),
    },
    Parser {
        name: "sparse index",
        parse: tenant_index,
        seeds: || {
            ending(".index")
                .map(|bytes| bytes[..bytes.len() - 4].to_vec())
                .collect()
        },
    },
    Parser {
        name: "synced mark",
        parse: tenant_mark,
        seeds: || ending("synced").map(|bytes| bytes[..16].to_vec()).collect(),
    },
];

fn ending(suffix: &'static str) -> impl Iterator<Item = &'static Vec<u8>> {
    let files = tenant_files().iter();
    files
        .filter(move |(name, _)| name.ends_with(suffix))
        .map(|(_, bytes)| bytes)
}

fn stored(record: &Record) -> Vec<u8> {
    let mut bytes = record.header.encode().to_vec();
    record.encode_body(&mut bytes);
    bytes
}
