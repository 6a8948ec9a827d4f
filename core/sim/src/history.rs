//! What clients asked for and what they were told.

use craton_history::{Call, RegisterOperation};
use craton_types::{Hash, Offset, StreamSequence};

/// What a client was told about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing, or nothing that says what became of it.
    Nothing,
    /// It is done.
    Done,
    /// It was refused: nothing of it happened, or ever will.
    Refused,
}

/// Where an append is, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: Offset,
    pub(crate) hash: Hash,
    pub(crate) sequence: StreamSequence,
}

/// An append of one event that no other request appends.
#[derive(Clone, Debug)]
pub(crate) struct AppendFact {
    pub(crate) tenant: usize,
    pub(crate) stream: String,
    pub(crate) event: Vec<u8>,
    pub(crate) told: Told,
    pub(crate) place: Option<Place>,
}

/// A transfer between two accounts, with a row of its own in the ledger.
#[derive(Clone, Debug)]
pub(crate) struct TransferFact {
    pub(crate) tenant: usize,
    pub(crate) id: i64,
    pub(crate) told: Told,
}

/// A patient, whose name can be erased.
#[derive(Clone, Debug)]
pub(crate) struct PatientFact {
    pub(crate) tenant: usize,
    pub(crate) id: i64,
    pub(crate) admitted: Told,
    /// `None` before anybody asked for it.
    pub(crate) erased: Option<Told>,
}

/// A call to a register. Its answer is in it once there is one.
#[derive(Clone, Debug)]
pub(crate) struct RegisterFact {
    pub(crate) tenant: usize,
    pub(crate) register: i64,
    pub(crate) call: Call<RegisterOperation>,
    pub(crate) told: Told,
}

/// A receipt that a client was given.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptFact {
    pub(crate) tenant: usize,
    pub(crate) offset: Offset,
    pub(crate) text: String,
}

/// Everything that clients know. Requests are known by their place in these lists.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) appends: Vec<AppendFact>,
    pub(crate) transfers: Vec<TransferFact>,
    pub(crate) patients: Vec<PatientFact>,
    pub(crate) receipts: Vec<ReceiptFact>,
    pub(crate) registers: Vec<RegisterFact>,
    /// Counts what clients do, one after another.
    pub(crate) moment: u64,
}

impl History {
    /// The next moment.
    pub(crate) const fn pass(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

/// The name of a patient, which nobody else has.
pub(crate) fn patient_name(id: i64) -> String {
    format!("patient {id} of the ward")
}
