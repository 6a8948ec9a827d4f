//! One function for each kind of request: asks, and says what the client was told.

use std::cell::RefCell;
use std::rc::Rc;

use craton_engine::{ActorId, Append, EngineError, Response, Session, SqlError, SqlState, Tenant, Value};
use craton_history::RegisterOperation;
use craton_types::IdempotencyId;

use crate::history::{History, Place, ReceiptFact, Told, patient_name};

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Appends an event; asked again with the same id until there is an answer.
    Append {
        fact: usize,
        id: IdempotencyId,
    },
    /// Moves money between two accounts in one transaction.
    Transfer {
        fact: usize,
        source: i64,
        target: i64,
        amount: i64,
    },
    Admit {
        fact: usize,
    },
    Erase {
        fact: usize,
    },
    /// Asks for a receipt of an append that was acknowledged.
    Receipt {
        fact: usize,
    },
    RotateKey,
    Checkpoint,
    /// Reads, writes or compares and sets a register, as its fact says.
    Register {
        fact: usize,
    },
}

impl Request {
    /// How many kinds there are.
    pub(crate) const KINDS: usize = 8;

    /// Whether a client that got no answer asks again.
    pub(crate) const fn is_repeatable(self) -> bool {
        matches!(self, Self::Append { .. })
    }
}

/// A kind of request, as the coverage names it.
pub(crate) const fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Append { .. } => "append",
        Request::Transfer { .. } => "transfer",
        Request::Admit { .. } => "admit",
        Request::Erase { .. } => "erase",
        Request::Receipt { .. } => "receipt",
        Request::RotateKey => "rotate-key",
        Request::Checkpoint => "checkpoint",
        Request::Register { .. } => "register",
    }
}

/// What requests share.
pub(crate) type SharedHistory = Rc<RefCell<History>>;

/// Asks a node, and writes down what it says.
pub(crate) async fn ask(request: Request, tenant: Tenant, number: usize, history: SharedHistory) -> Told {
    match request {
        Request::Append { fact, id } => append(&tenant, fact, id, &history).await,
        Request::Transfer {
            fact,
            source,
            target,
            amount,
        } => {
            let id = history.borrow().transfers[fact].id;
            let told = transfer(&tenant, id, [source, target], amount).await;
            history.borrow_mut().transfers[fact].told = told.clone();
            told
        }
        Request::Admit { fact } => {
            let id = history.borrow().patients[fact].id;
            let insert = "INSERT INTO patients VALUES ($1, $2)";
            let told = statement(&tenant, insert, &[Value::Int(id), Value::Text(patient_name(id))]).await;
            history.borrow_mut().patients[fact].admitted = told.clone();
            told
        }
        Request::Erase { fact } => {
            let erase = format!("ERASE SUBJECT '{}' REASON 'asked'", history.borrow().patients[fact].id);
            let told = statement(&tenant, &erase, &[]).await;
            history.borrow_mut().patients[fact].erased = Some(told.clone());
            told
        }
        Request::Receipt { fact } => receipt(&tenant, number, fact, &history).await,
        Request::RotateKey => told(tenant.rotate_data_key(ActorId::NIL).await),
        Request::Checkpoint => told(tenant.checkpoint().await),
        Request::Register { fact } => {
            let (id, operation) = {
                let history = history.borrow();
                (history.registers[fact].register, history.registers[fact].call.operation)
            };
            let result = register(&tenant, id, operation).await;
            let mut history = history.borrow_mut();
            let moment = history.pass();
            let known = &mut history.registers[fact];
            match result {
                Ok(answered) => {
                    known.call.operation = answered;
                    known.call.ended = Some(moment);
                    known.told = Told::Done;
                }
                Err(error) => known.told = told_by_sql(Err(error)),
            }
            known.told.clone()
        }
    }
}

async fn append(tenant: &Tenant, fact: usize, id: IdempotencyId, history: &SharedHistory) -> Told {
    let appending = {
        let fact = &history.borrow().appends[fact];
        tenant.append(Append {
            idempotency_id: id,
            ..Append::new(fact.stream.clone(), [fact.event.clone()])
        })
    };
    let result = appending.await;
    let mut history = history.borrow_mut();
    let fact = &mut history.appends[fact];
    match result {
        Ok(commit) => {
            fact.place = Some(Place {
                offset: commit.offset,
                hash: commit.record_hash,
                sequence: commit.stream_sequence,
            });
            fact.told = Told::Done;
        }
        // An attempt before this one may be in the log; only the first one's refusal says that nothing is.
        Err(error) => return told::<()>(Err(error)),
    }
    Told::Done
}

/// Reads both balances, writes both, and notes it in the ledger, in one transaction.
async fn transfer(tenant: &Tenant, id: i64, accounts: [i64; 2], amount: i64) -> Told {
    let mut session = tenant.session(ActorId::NIL);
    match prepare_transfer(&mut session, id, accounts, amount).await {
        // Nothing was committed.
        Err(_) => Told::Refused,
        Ok(()) => told_by_sql(session.sql("COMMIT", &[]).await.map(|_| ())),
    }
}

async fn prepare_transfer(session: &mut Session, id: i64, accounts: [i64; 2], amount: i64) -> Result<(), SqlError> {
    session.sql("BEGIN", &[]).await?;
    for (account, change) in accounts.into_iter().zip([-amount, amount]) {
        let select = "SELECT balance FROM accounts WHERE id = $1";
        let balance = match session.sql(select, &[Value::Int(account)]).await? {
            Response::Rows { result, .. } => match result.rows.first().and_then(|row| row.first()) {
                Some(Value::Int(balance)) => *balance,
                _ => 0,
            },
            _ => 0,
        };
        let update = "UPDATE accounts SET balance = $1 WHERE id = $2";
        session
            .sql(update, &[Value::Int(balance + change), Value::Int(account)])
            .await?;
    }
    let [source, target] = accounts;
    let note = [id, source, target, amount].map(Value::Int);
    session.sql("INSERT INTO ledger VALUES ($1, $2, $3, $4)", &note).await?;
    Ok(())
}

/// Asks a register, and says what it answered.
async fn register(tenant: &Tenant, id: i64, operation: RegisterOperation) -> Result<RegisterOperation, SqlError> {
    let mut session = tenant.session(ActorId::NIL);
    match operation {
        RegisterOperation::Read(_) => {
            let select = "SELECT value FROM registers WHERE id = $1";
            let value = match session.sql(select, &[Value::Int(id)]).await? {
                Response::Rows { result, .. } => match result.rows.first().and_then(|row| row.first()) {
                    Some(Value::Int(value)) => Some(*value),
                    _ => None,
                },
                _ => None,
            };
            Ok(RegisterOperation::Read(value))
        }
        RegisterOperation::Write(value) => {
            let update = "UPDATE registers SET value = $1 WHERE id = $2";
            session.sql(update, &[Value::Int(value), Value::Int(id)]).await?;
            Ok(operation)
        }
        RegisterOperation::CompareAndSet { expected, new, .. } => {
            let update = "UPDATE registers SET value = $1 WHERE id = $2 AND value = $3";
            let values = [new, id, expected.unwrap_or_default()].map(Value::Int);
            let was_set = match session.sql(update, &values).await? {
                Response::Command { tag, .. } => tag.ends_with(" 1"),
                _ => false,
            };
            Ok(RegisterOperation::CompareAndSet {
                expected,
                new,
                was_set: Some(was_set),
            })
        }
    }
}

async fn statement(tenant: &Tenant, sql: &str, parameters: &[Value]) -> Told {
    let mut session = tenant.session(ActorId::NIL);
    told_by_sql(session.sql(sql, parameters).await.map(|_| ()))
}

async fn receipt(tenant: &Tenant, number: usize, fact: usize, history: &SharedHistory) -> Told {
    let Some(place) = history.borrow().appends[fact].place else {
        return Told::Refused;
    };
    let result = tenant.receipt(place.offset, &|_| true).await;
    if let Ok(text) = &result {
        history.borrow_mut().receipts.push(ReceiptFact {
            tenant: number,
            offset: place.offset,
            text: text.clone(),
        });
    }
    told(result)
}

fn told<T>(result: Result<T, EngineError>) -> Told {
    match result {
        Ok(_) => Told::Done,
        Err(EngineError::Refused(_) | EngineError::Overloaded | EngineError::DiskFull) => Told::Refused,
        Err(_) => Told::Nothing,
    }
}

/// Whether an error of SQL says that nothing happened.
fn told_by_sql(result: Result<(), SqlError>) -> Told {
    let refusals = [
        SqlState::SERIALIZATION_FAILURE,
        SqlState::UNIQUE_VIOLATION,
        SqlState::DISK_FULL,
        SqlState::INSUFFICIENT_RESOURCES,
    ];
    match result {
        Ok(()) => Told::Done,
        Err(error) if refusals.contains(&error.sqlstate) => Told::Refused,
        Err(_) => Told::Nothing,
    }
}
