//! What is derived from logs and kept: a tenant's state, views and the state tree.

use craton_kernel::TenantState;
use craton_projection::fuzzing::{stored_applied, stored_offsets, stored_row, stored_stream};
use craton_state::fuzzing::state_node;
use craton_types::{TenantId, Value};

use super::Parser;
use crate::stable::assert_stable;
use crate::world::{applied_state, row};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "saved state",
        parse: saved_state,
        seeds: || {
            vec![
                TenantState::new(TenantId::NIL, true).to_bytes(),
                applied_state().to_bytes(),
            ]
        },
    },
    Parser {
        name: "row of a view",
        parse: stored_row,
        seeds: || {
            let row = minicbor::to_vec(row(1, "Ada")).expect("in memory");
            vec![[&[0; 8][..], &row].concat(), vec![0; 8]]
        },
    },
    Parser {
        name: "position of a view",
        parse: stored_applied,
        seeds: || vec![vec![6; 48]],
    },
    Parser {
        name: "stream of a view",
        parse: stored_stream,
        seeds: || vec![[&2u64.to_be_bytes()[..], &6u16.to_be_bytes(), b"orders", &[5, 0x80, 2]].concat()],
    },
    Parser {
        name: "offsets of a stream",
        parse: stored_offsets,
        seeds: || vec![vec![0, 1, 0xff, 1]],
    },
    Parser {
        name: "node of the state tree",
        parse: state_node,
        seeds: || {
            let two_leaves = [&[0x80, 1, 0x80, 1][..], &[7; 2 * 76]].concat();
            let node = [&[0, 2, 0, 0][..], &[9; 40]].concat();
            vec![vec![0; 4], two_leaves, node]
        },
    },
    Parser {
        name: "catalogue row",
        parse: |bytes| craton_kernel::catalogue_table(&[Value::Bytes(bytes.to_vec())]).is_some(),
        seeds: || vec![minicbor::to_vec(crate::world::people()).expect("in memory")],
    },
];

fn saved_state(bytes: &[u8]) -> bool {
    let decoded = TenantState::from_bytes(bytes);
    if let Ok(state) = &decoded {
        assert_stable(state, TenantState::to_bytes, |bytes| {
            TenantState::from_bytes(bytes).ok()
        });
    }
    decoded.is_ok()
}
