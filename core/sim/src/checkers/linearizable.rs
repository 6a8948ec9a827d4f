//! Registers behave as if one thing was done after another, and each between its question and its answer.

use craton_history::{Call, HistoryError, Register, RegisterOperation, check_keys};

use super::{Objection, View, integers, rows};
use crate::history::{RegisterFact, Told};
use crate::workload::{REGISTER_VALUE, REGISTERS};

/// A search that takes longer is given up.
const CONFIGURATIONS_MAX: usize = 500_000;

/// Checks what clients of a tenant were answered, and what is in the registers at the end.
pub(crate) fn check_registers(view: &View<'_>) -> Result<u64, Objection> {
    let facts = view.history.registers.iter().filter(|fact| fact.tenant == view.number);
    let calls = facts
        .filter(|fact| says_something(fact))
        .map(|fact| (fact.register, fact.call.clone()));
    let first = (0..REGISTERS).map(|register| (register, answered(0, RegisterOperation::Write(REGISTER_VALUE))));
    let mut all: Vec<(i64, Call<RegisterOperation>)> = first.chain(calls).collect();
    for row in rows(view.tenant, "SELECT id, value FROM registers")? {
        let [register, value] = integers(&row)?;
        let last = answered(u64::MAX, RegisterOperation::Read(Some(value)));
        all.push((register, last));
    }
    match check_keys(&Register, all, CONFIGURATIONS_MAX) {
        Ok(checked) => Ok(checked as u64),
        // Nothing is known to be wrong.
        Err((_, HistoryError::Undecided { .. })) => Ok(0),
        Err((register, error)) => Err(Objection::Broken(format!("register {register}: {error}"))),
    }
}

fn answered(moment: u64, operation: RegisterOperation) -> Call<RegisterOperation> {
    Call {
        begun: moment,
        ended: Some(moment),
        operation,
    }
}

/// Whether a call can have had an effect, or was answered.
const fn says_something(fact: &RegisterFact) -> bool {
    match fact.told {
        Told::Done => true,
        Told::Refused => false,
        Told::Nothing => !matches!(fact.call.operation, RegisterOperation::Read(_)),
    }
}
