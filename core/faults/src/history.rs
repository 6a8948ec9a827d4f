//! What clients were told, and whether a node keeps to it.

use std::sync::Arc;

use craton_crypto::record_hash;
use craton_proof::Frontier;
use craton_types::{Hash, Record};

use crate::node::Node;
use crate::workload::{Entry, TENANTS};

/// What a client knows about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet, or an error that says nothing about it.
    Nothing,
    /// It is durable.
    Acknowledged,
    /// It was not written and never will be.
    Refused,
}

/// All entries that were proposed, in order.
#[derive(Clone, Default)]
pub(crate) struct History {
    entries: Vec<(Arc<Entry>, Told)>,
}

impl History {
    /// Notes that an entry is proposed, and returns its number.
    pub(crate) fn propose(&mut self, entry: &Arc<Entry>) -> usize {
        self.entries.push((Arc::clone(entry), Told::Nothing));
        self.entries.len() - 1
    }

    pub(crate) fn tell(&mut self, number: usize, told: Told) {
        self.entries[number].1 = told;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.entries
            .iter()
            .filter(|(_, told)| *told == Told::Acknowledged)
            .count()
    }

    /// Entries that nobody was told about.
    pub(crate) fn unknown(&self) -> usize {
        self.entries.iter().filter(|(_, told)| *told == Told::Nothing).count()
    }

    /// Compares a node that was opened after a crash with what clients were told, and notes what became of entries
    /// that nobody was told about: from now on they count as acknowledged or refused.
    pub(crate) fn check(&mut self, node: &Node) -> Result<(), String> {
        let mut records = Vec::new();
        for tenant in 0..TENANTS {
            let read = node.records(tenant).map_err(|error| format!("cannot read: {error}"))?;
            check_tree(node, tenant, &read)?;
            records.push(read);
        }
        let mut rest: Vec<&[Record]> = records.iter().map(Vec::as_slice).collect();
        let mut present = Vec::new();
        for (number, (entry, told)) in self.entries.iter_mut().enumerate() {
            let found = take(entry, &mut rest);
            match (found, *told) {
                (Found::All, Told::Acknowledged) | (Found::None, Told::Refused) => {}
                (Found::All, Told::Nothing) => *told = Told::Acknowledged,
                (Found::None, Told::Nothing) => *told = Told::Refused,
                (found, told) => return Err(format!("entry {number} was told {told:?} and is there: {found:?}")),
            }
            if found == Found::All {
                present.push(Arc::clone(entry));
            }
        }
        if let Some(tenant) = rest.iter().position(|rest| !rest.is_empty()) {
            let offset = rest[tenant][0].header.offset;
            return Err(format!(
                "tenant {tenant} has a record at {offset} that was never proposed, or is there twice"
            ));
        }
        check_entries(node, &present)
    }
}

/// How much of an entry is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    All,
    Some,
    None,
}

/// Takes an entry's records from the front of what is left.
fn take(entry: &Entry, rest: &mut [&[Record]]) -> Found {
    let mut taken = 0;
    for command in &entry.commands {
        let records = &mut rest[command.tenant];
        if let Some((first, others)) = records.split_first()
            && first.chunks.len() == 1
            && first.chunks[0] == command.bytes
        {
            *records = others;
            taken += 1;
        }
    }
    match taken {
        0 => Found::None,
        taken if taken == entry.commands.len() => Found::All,
        _ => Found::Some,
    }
}

/// The chain and the Merkle tree, computed again from the records.
fn check_tree(node: &Node, tenant: usize, records: &[Record]) -> Result<(), String> {
    let mut tree = Frontier::new();
    let mut previous = Hash::default();
    for record in records {
        if record.header.previous_hash != previous {
            return Err(format!(
                "the chain of tenant {tenant} breaks at {}",
                record.header.offset
            ));
        }
        previous = record_hash(&record.header.encode());
        tree.push(previous);
    }
    if tree.root() != node.root(tenant) {
        return Err(format!("the Merkle tree of tenant {tenant} is not that of its records"));
    }
    Ok(())
}

/// The write-ahead log gave the last of the entries that are there, in order, and nothing else.
fn check_entries(node: &Node, present: &[Arc<Entry>]) -> Result<(), String> {
    let Some(skipped) = present.len().checked_sub(node.recovered.len()) else {
        return Err("the write-ahead log has more entries than were proposed".to_owned());
    };
    for (entry, recovered) in present[skipped..].iter().zip(&node.recovered) {
        if entry.encode() != recovered.payload {
            return Err(format!(
                "entry {} of the write-ahead log is another one",
                recovered.index
            ));
        }
    }
    Ok(())
}
