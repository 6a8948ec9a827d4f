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
    /// It was written, and cut off since another leader did not have it.
    CutOff,
}

/// All entries that were proposed, in order.
#[derive(Clone, Default)]
pub(crate) struct History {
    settled: Arc<Settled>,
    /// Those after the settled ones.
    entries: Vec<(Arc<Entry>, Told)>,
}

/// Entries that were checked record by record. Later checks see by the chain of hashes that their records are the
/// same, without reading them again.
#[derive(Default)]
struct Settled {
    proposed: usize,
    present: Vec<Arc<Entry>>,
    tenants: [Chain; TENANTS],
}

/// A tenant's chain and tree up to some record.
#[derive(Clone, Default)]
struct Chain {
    last_hash: Hash,
    tree: Frontier,
}

impl History {
    /// Notes that an entry is proposed, and returns its number.
    pub(crate) fn propose(&mut self, entry: &Arc<Entry>) -> usize {
        self.entries.push((Arc::clone(entry), Told::Nothing));
        self.proposed() - 1
    }

    pub(crate) fn tell(&mut self, number: usize, told: Told) {
        self.entries[number - self.settled.proposed].1 = told;
    }

    /// How many entries were proposed.
    pub(crate) fn proposed(&self) -> usize {
        self.settled.proposed + self.entries.len()
    }

    /// How many entries that are not settled were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.count(Told::Acknowledged)
    }

    /// How many entries that are not settled were refused.
    pub(crate) fn refused(&self) -> usize {
        self.count(Told::Refused)
    }

    /// Entries that nobody was told about.
    pub(crate) fn unknown(&self) -> usize {
        self.count(Told::Nothing)
    }

    fn count(&self, wanted: Told) -> usize {
        self.entries.iter().filter(|(_, told)| *told == wanted).count()
    }

    /// Compares a node that was opened after a crash with what clients were told, and notes what became of entries
    /// that nobody was told about: from now on they count as acknowledged or refused.
    pub(crate) fn check(&mut self, node: &Node) -> Result<(), String> {
        self.compare(node).map(|_| ())
    }

    /// Checks as [`History::check`] does, but for what the write-ahead log gave when the node was opened: the node has gone
    /// on since.
    pub(crate) fn check_records(&mut self, node: &Node) -> Result<(), String> {
        self.compare_records(node).map(|_| ())
    }

    /// Checks as [`History::check`] does; what is there now counts as settled.
    pub(crate) fn settle(&mut self, node: &Node) -> Result<(), String> {
        let (present, tenants) = self.compare(node)?;
        self.settled = Arc::new(Settled {
            proposed: self.proposed(),
            present: self.settled.present.iter().cloned().chain(present).collect(),
            tenants,
        });
        self.entries.clear();
        Ok(())
    }

    fn compare(&mut self, node: &Node) -> Result<(Vec<Arc<Entry>>, [Chain; TENANTS]), String> {
        let (present, tenants) = self.compare_records(node)?;
        self.check_entries(node, &present)?;
        Ok((present, tenants))
    }

    fn compare_records(&mut self, node: &Node) -> Result<(Vec<Arc<Entry>>, [Chain; TENANTS]), String> {
        let mut records = Vec::new();
        let mut tenants = self.settled.tenants.clone();
        for (tenant, chain) in tenants.iter_mut().enumerate() {
            let read = node.records(tenant, chain.tree.size());
            let read = read.map_err(|error| format!("cannot read: {error}"))?;
            chain.extend(&read).map_err(|what| format!("tenant {tenant}: {what}"))?;
            if chain.tree.root() != node.tree(tenant).root() || chain.tree.size() != node.tree(tenant).size() {
                return Err(format!("the Merkle tree of tenant {tenant} is not that of its records"));
            }
            records.push(read);
        }
        let mut rest: Vec<&[Record]> = records.iter().map(Vec::as_slice).collect();
        let mut present = Vec::new();
        for (number, (entry, told)) in (self.settled.proposed..).zip(&mut self.entries) {
            let found = take(entry, &mut rest);
            match (found, *told) {
                (Found::All, Told::Acknowledged) | (Found::None, Told::Refused | Told::CutOff) => {}
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
        Ok((present, tenants))
    }

    /// The write-ahead log gave the last of the entries that are there, in order, and nothing else.
    fn check_entries(&self, node: &Node, present: &[Arc<Entry>]) -> Result<(), String> {
        let mut expected = self.settled.present.iter().chain(present).rev();
        for recovered in node.recovered.iter().rev() {
            if expected.next().is_none_or(|entry| entry.encode() != recovered.payload) {
                return Err(format!(
                    "entry {} of the write-ahead log was never proposed there",
                    recovered.index
                ));
            }
        }
        Ok(())
    }
}

impl Chain {
    fn extend(&mut self, records: &[Record]) -> Result<(), String> {
        for record in records {
            if record.header.previous_hash != self.last_hash {
                return Err(format!("the chain breaks at {}", record.header.offset));
            }
            self.last_hash = record_hash(&record.header.encode());
            self.tree.push(self.last_hash);
        }
        Ok(())
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
