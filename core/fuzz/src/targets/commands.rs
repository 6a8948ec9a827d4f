//! What travels through the consensus log.

use craton_engine::fuzzing::{entry, entry_of};
use craton_kernel::Command;
use craton_proof::StateCommitment;

use super::Parser;
use crate::stable::is_stable;
use crate::world::commands;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "command",
        parse: is_stable::<Command>,
        seeds: encoded,
    },
    Parser {
        name: "entry",
        parse: entry,
        seeds: || {
            let commands = encoded();
            let alone = commands.iter().map(|command| entry_of(std::slice::from_ref(command)));
            alone.chain([entry_of(&[]), entry_of(&commands[..2])]).collect()
        },
    },
    Parser {
        name: "state commitment",
        parse: commitment,
        seeds: || vec![[&[1][..], &[5; 72]].concat()],
    },
];

fn encoded() -> Vec<Vec<u8>> {
    let commands = commands().into_iter();
    commands
        .map(|command| minicbor::to_vec(command).expect("in memory"))
        .collect()
}

fn commitment(bytes: &[u8]) -> bool {
    let decoded = StateCommitment::from_bytes(bytes);
    if let Ok(commitment) = &decoded {
        assert_eq!(commitment.to_bytes(), bytes, "a commitment has one form");
    }
    decoded.is_ok()
}
