//! What must always hold, one promise a file.
//!
//! Each checker looks at a node that is open, at any moment of a run, and knows what clients were told so far.

mod acknowledged;
mod chain;
mod erasure;
mod exactly_once;
mod linearizable;
mod log_matching;
mod merkle;
mod one_leader;
mod replay;
mod transactions;

use std::task::{Context, Poll, Waker};

use craton_engine::{ActorId, EngineError, Response, Tenant, Value};

use crate::history::History;

pub(crate) use linearizable::check_registers;
pub(crate) use log_matching::LogMatching;
pub(crate) use one_leader::OneLeader;
pub(crate) use replay::{compare_with_replay, show};

/// A tenant of an open node, and what its clients know.
pub(crate) struct View<'a> {
    pub(crate) tenant: &'a Tenant,
    /// The tenant's number.
    pub(crate) number: usize,
    pub(crate) history: &'a History,
    pub(crate) accounts: u64,
}

/// Why a checker is not content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// A promise is broken.
    Broken(String),
    /// The node says that it cannot read what it should; no promise is broken when the disk has damaged it.
    Unreadable(String),
}

/// Looks at a tenant; how many facts it compared.
pub(crate) trait Checker {
    /// The promise, as the coverage names it.
    fn name(&self) -> &'static str;

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection>;
}

/// The name of the checker that compares views with a replay of the log.
pub(crate) const REPLAY: &str = "projection-is-replay";
/// The name of the checker of histories of registers.
pub(crate) const LINEARIZABLE: &str = "linearizable";
/// The name of the checker that no term has two leaders.
pub(crate) const ONE_LEADER: &str = "one-leader-a-term";
/// The name of the checker that compares the logs of members.
pub(crate) const LOG_MATCHING: &str = "log-matching";
/// The name of the check that members show the same in the end.
pub(crate) const IDENTICAL: &str = "identical-replicas";
/// The name of the check that a healed node answers everybody.
pub(crate) const LIVENESS: &str = "liveness";

/// The checkers of clusters with so many members, by name.
#[must_use]
pub fn names(members: u64) -> Vec<&'static str> {
    let named = all().into_iter().map(|checker| checker.name());
    let named = named.chain([REPLAY, LINEARIZABLE, LIVENESS]);
    match members {
        0 | 1 => named.collect(),
        _ => named.chain([LOG_MATCHING, ONE_LEADER, IDENTICAL]).collect(),
    }
}

/// A fresh one of each.
pub(crate) fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<acknowledged::Acknowledged>::default(),
        Box::<exactly_once::ExactlyOnce>::default(),
        Box::<chain::Chain>::default(),
        Box::<merkle::Merkle>::default(),
        Box::<transactions::Transactions>::default(),
        Box::<erasure::ErasedStaysErased>::default(),
    ]
}

/// Objects unless something holds.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Objection> {
    if holds {
        Ok(())
    } else {
        Err(Objection::Broken(otherwise()))
    }
}

impl From<EngineError> for Objection {
    fn from(error: EngineError) -> Self {
        let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        Self::Unreadable(sources.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

/// The rows of a query, as the node has them. Such a read waits for nobody.
fn rows(tenant: &Tenant, sql: &str) -> Result<Vec<Vec<Value>>, Objection> {
    let mut session = tenant.session(ActorId::NIL);
    let mut query = Box::pin(async {
        for statement in session.parse("SET craton.consistency = 'eventual'")? {
            let prepared = session.prepare(&statement, &[])?;
            session.execute(&prepared, &[]).await?;
        }
        session.sql(sql, &[]).await
    });
    match query.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(Response::Rows { result, .. })) => Ok(result.rows),
        Poll::Ready(Ok(_)) => Err(Objection::Broken(format!("{sql} gives no rows"))),
        Poll::Ready(Err(error)) => Err(Objection::Unreadable(format!("{sql}: {}", error.message))),
        Poll::Pending => Err(Objection::Broken(format!("{sql} waits for somebody"))),
    }
}

/// The whole numbers of a row.
fn integers<const N: usize>(row: &[Value]) -> Result<[i64; N], Objection> {
    let integer = |value: &Value| match value {
        Value::Int(integer) => Some(*integer),
        _ => None,
    };
    let integers: Option<Vec<i64>> = row.iter().map(integer).collect();
    let integers = integers.and_then(|integers| integers.try_into().ok());
    integers.ok_or_else(|| Objection::Broken(format!("{row:?} is not {N} numbers")))
}
