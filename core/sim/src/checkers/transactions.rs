//! Transactions happen whole, one after another: the accounts are what the ledger's transfers make of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Objection, View, ensure, integers, rows};
use crate::workload::ACCOUNT_BALANCE;

#[derive(Default)]
pub(super) struct Transactions;

impl Checker for Transactions {
    fn name(&self) -> &'static str {
        "serializable-transactions"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let asked = view
            .history
            .transfers
            .iter()
            .filter(|transfer| transfer.tenant == view.number);
        let asked: BTreeSet<i64> = asked.map(|transfer| transfer.id).collect();
        let accounts = i64::try_from(view.accounts).expect("few");
        let mut expected: BTreeMap<i64, i64> = (0..accounts).map(|account| (account, ACCOUNT_BALANCE)).collect();
        let ledger = rows(view.tenant, "SELECT id, source, target, amount FROM ledger")?;
        for row in &ledger {
            let [id, source, target, amount] = integers(row)?;
            ensure(asked.contains(&id), || format!("nobody asked for transfer {id}"))?;
            *expected.entry(source).or_default() -= amount;
            *expected.entry(target).or_default() += amount;
        }
        let balances = rows(view.tenant, "SELECT id, balance FROM accounts")?;
        let balances = balances
            .iter()
            .map(|row| integers(row).map(|[id, balance]| (id, balance)));
        let balances: BTreeMap<i64, i64> = balances.collect::<Result<_, _>>()?;
        ensure(balances == expected, || {
            format!("the accounts hold {balances:?}, the ledger makes {expected:?}")
        })?;
        Ok(ledger.len() as u64)
    }
}
