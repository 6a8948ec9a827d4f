//! Every byte of a log flipped: verification fails and names the record, and for a header's byte the field.

use proptest::prelude::*;

use craton_proof::{Finding, LogFault, LogPart, LogVerifyError, LogVerifyOptions};
use craton_types::{HEADER_BYTES, HEADER_FIELDS};

use crate::support::{FRAMED_HEADER_BYTES, Log, Place, places, verify};

fn header_field(index: usize) -> &'static str {
    let field = HEADER_FIELDS
        .iter()
        .find(|field| (field.start..field.end).contains(&index));
    field.map_or("header_crc", |field| field.name)
}

fn segment_header_field(position: usize) -> &'static str {
    match position {
        0..8 => "segment_magic",
        8..24 => "tenant",
        24..32 => "first_offset",
        32..64 => "previous_hash",
        _ => "segment_header_crc",
    }
}

fn footer_field(index: usize) -> &'static str {
    match index {
        0..4 => "footer_magic",
        4..12 => "record_count",
        12..44 => "records_root",
        44..76 => "last_hash",
        _ => "footer_crc",
    }
}

/// Flips every byte whose place is `chosen` by `difference(position)` and checks what the verifier says.
fn flip_every_byte(chosen: impl Fn(&Place) -> bool, difference: impl Fn(usize) -> u8) {
    let log = Log::new();
    let options = log.options();
    let intact = log.segments();
    let places = places(&log, &intact);
    let mut flipped = 0;
    for (number, segment) in intact.iter().enumerate() {
        for (position, place) in places[number].iter().enumerate().filter(|(_, place)| chosen(place)) {
            let mut segments = intact.clone();
            segments[number].bytes[position] ^= difference(position);
            let error = verify(&segments, &options).expect_err("damaged");
            let LogVerifyError::Fault(fault) = error else {
                panic!("{place:?}: {error}");
            };
            let changed = Finding::ChangedByte {
                expected: segment.bytes[position],
                found: segments[number].bytes[position],
            };
            let context = format!("byte {position} of {}, {place:?}: {fault}", segment.name);
            let LogFault {
                offset,
                part,
                field,
                ref file,
                position: named,
                ref finding,
            } = *fault;
            assert_eq!(file, &segment.name, "{context}");
            match *place {
                Place::SegmentHeader { first_offset } => {
                    assert_eq!(
                        (offset.get(), part),
                        (first_offset, LogPart::SegmentHeader),
                        "{context}"
                    );
                    assert_eq!(field, segment_header_field(position), "{context}");
                    assert_eq!((named, finding), (position as u64, &changed), "{context}");
                }
                Place::RecordHeader { offset: record, index } => {
                    assert_eq!((offset.get(), part), (record, LogPart::Record), "{context}");
                    assert_eq!(field, header_field(index), "{context}");
                    assert_eq!((named, finding), (position as u64, &changed), "{context}");
                }
                Place::RecordBody { offset: record } => {
                    assert_eq!((offset.get(), part), (record, LogPart::Record), "{context}");
                    assert_eq!(field, "payload", "{context}");
                }
                Place::Footer { next_offset } => {
                    let start = places[number].len() - 80;
                    assert_eq!((offset.get(), part), (next_offset, LogPart::SegmentFooter), "{context}");
                    assert_eq!(field, footer_field(position - start), "{context}");
                    assert_eq!((named, finding), (position as u64, &changed), "{context}");
                }
            }
            flipped += 1;
        }
    }
    assert!(flipped > 0);
}

#[test]
fn segment_headers_and_footers() {
    for difference in [0x01, 0x14, 0x80, 0xff] {
        let chosen = |place: &Place| matches!(place, Place::SegmentHeader { .. } | Place::Footer { .. });
        flip_every_byte(chosen, |_| difference);
    }
}

#[test]
fn record_headers_of_the_first_half() {
    flip_every_byte(
        |place| matches!(place, Place::RecordHeader { offset, .. } if *offset < 11),
        |position| 1 << (position % 8),
    );
}

#[test]
fn record_headers_of_the_second_half() {
    flip_every_byte(
        |place| matches!(place, Place::RecordHeader { offset, .. } if *offset >= 11),
        |position| 1 << (position % 8),
    );
}

#[test]
fn one_record_header_in_every_way() {
    for difference in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x14, 0x5a] {
        flip_every_byte(
            |place| matches!(place, Place::RecordHeader { offset: 9, .. }),
            |_| difference,
        );
    }
}

#[test]
fn record_bodies() {
    flip_every_byte(
        |place| matches!(place, Place::RecordBody { .. }),
        |position| 1 << (position % 8),
    );
}

/// A header overwritten in several places is still refused, at the right record.
#[test]
fn several_damaged_bytes() {
    let log = Log::new();
    let intact = log.segments();
    let places = places(&log, &intact);
    for offset in [0, 9, 21] {
        let (number, start) = (0..3)
            .find_map(|number| {
                let first = Place::RecordHeader { offset, index: 0 };
                Some((number, places[number].iter().position(|place| *place == first)?))
            })
            .expect("a record");
        for field in HEADER_FIELDS {
            let mut segments = intact.clone();
            let bytes = &mut segments[number].bytes[start..start + FRAMED_HEADER_BYTES];
            bytes[field.start] ^= 0xff;
            bytes[HEADER_BYTES] ^= 0xff;
            bytes[HEADER_BYTES + 1] ^= 0xff;
            let error = verify(&segments, &log.options()).expect_err("damaged");
            let LogVerifyError::Fault(fault) = error else {
                panic!("{error}");
            };
            assert_eq!((fault.offset.get(), fault.part), (offset, LogPart::Record), "{fault}");
        }
    }
}

/// One change of a file's bytes.
#[derive(Clone, Debug)]
enum Damage {
    Overwrite(Vec<u8>),
    Insert(Vec<u8>),
    Remove(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        bytes().prop_map(Damage::Overwrite),
        bytes().prop_map(Damage::Insert),
        (1..300_usize).prop_map(Damage::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to the closed segments, the verifier neither panics nor accepts it.
    #[test]
    fn arbitrary_damage_is_refused(
        number in 0..2_usize,
        position in any::<prop::sample::Index>(),
        damage in damage(),
        allow_torn_tail in any::<bool>(),
    ) {
        let log = Log::new();
        let intact = log.segments();
        let mut segments = intact.clone();
        let bytes = &mut segments[number].bytes;
        let start = position.index(bytes.len());
        match damage {
            Damage::Overwrite(new) => {
                let end = bytes.len().min(start + new.len());
                bytes.splice(start..end, new);
            }
            Damage::Insert(new) => drop(bytes.splice(start..start, new)),
            Damage::Remove(length) => drop(bytes.drain(start..bytes.len().min(start + length))),
        }
        prop_assume!(segments != intact);
        let options = LogVerifyOptions { allow_torn_tail, ..LogVerifyOptions::default() };
        let error = verify(&segments, &options).expect_err("damaged");
        let LogVerifyError::Fault(fault) = error else {
            panic!("{error}");
        };
        prop_assert_eq!(&fault.file, &intact[number].name);
        prop_assert!(fault.position <= intact[number].bytes.len() as u64 + 40);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut segment = Log::new().segments().swap_remove(0);
        segment.bytes.truncate(68);
        segment.bytes.extend(bytes);
        let _ = verify(&[segment], &LogVerifyOptions { allow_torn_tail: true, ..LogVerifyOptions::default() });
    }
}
