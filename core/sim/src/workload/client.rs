//! A client: one request at a time, and the same again when there was no answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use craton_engine::Craton;
use craton_history::{Call, RegisterOperation};
use craton_types::IdempotencyId;

use super::requests::{Request, SharedHistory, ask};
use super::{REGISTER_VALUE, REGISTERS, tenant_name};
use crate::dice::Dice;
use crate::history::{AppendFact, PatientFact, RegisterFact, Told, TransferFact};
use crate::swarm::Swarm;

/// See the module. It outlives the node that it talks to.
pub(crate) struct Client {
    number: u64,
    tenant: usize,
    dice: Dice,
    history: SharedHistory,
    /// What it wants, until it has an answer.
    wanted: Option<Request>,
    /// The request on its way.
    answer: Option<Pin<Box<dyn Future<Output = Told>>>>,
}

impl Client {
    pub(crate) fn new(seed: u64, number: u64, swarm: &Swarm, history: &SharedHistory) -> Self {
        Self {
            number,
            tenant: usize::try_from(number % swarm.tenants).expect("few tenants"),
            dice: Dice::new(seed, &format!("client {number}")),
            history: Rc::clone(history),
            wanted: None,
            answer: None,
        }
    }

    /// Whether it waits for an answer, or will ask again for one.
    pub(crate) const fn is_busy(&self) -> bool {
        self.wanted.is_some()
    }

    /// What it waits for.
    pub(crate) const fn wanted(&self) -> Option<Request> {
        self.wanted
    }

    /// The node is gone, or the client has lost patience. What can be asked again will be.
    pub(crate) fn hang_up(&mut self) {
        self.answer = None;
        self.wanted = self.wanted.take().filter(|wanted| wanted.is_repeatable());
    }

    /// Asks for something new if it may, or looks whether there is an answer; what was told, if anything.
    pub(crate) fn step(&mut self, craton: &Craton, swarm: &Swarm, may_begin: bool) -> Option<(Request, Told)> {
        if self.wanted.is_none() && may_begin {
            self.wanted = self.choose(swarm);
        }
        let wanted = self.wanted?;
        if self.answer.is_none() {
            let tenant = craton.tenant(&tenant_name(self.tenant as u64))?;
            self.answer = Some(Box::pin(ask(wanted, tenant, self.tenant, Rc::clone(&self.history))));
        }
        let answer = self.answer.as_mut()?;
        let Poll::Ready(told) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            return None;
        };
        self.answer = None;
        // A refused append is asked for again, as one whose answer was lost.
        if told == Told::Done || !wanted.is_repeatable() {
            self.wanted = None;
        }
        Some((wanted, told))
    }

    fn choose(&mut self, swarm: &Swarm) -> Option<Request> {
        let total = swarm.requests.iter().sum::<u64>().max(1);
        let mut rest = self.dice.below(total);
        let kind = swarm
            .requests
            .iter()
            .position(|weight| match rest.checked_sub(*weight) {
                Some(less) => {
                    rest = less;
                    false
                }
                None => true,
            });
        match kind.unwrap_or(0) {
            1 => Some(self.transfer(swarm)),
            2 => Some(self.admit()),
            3 => self.erase(),
            4 => self.receipt(),
            5 => Some(Request::RotateKey),
            6 => Some(Request::Checkpoint),
            7 => Some(self.register()),
            _ => Some(self.append(swarm)),
        }
    }

    fn append(&mut self, swarm: &Swarm) -> Request {
        let mut history = self.history.borrow_mut();
        let fact = history.appends.len();
        let mut event = format!("event {fact} of client {} ", self.number).into_bytes();
        let length = self
            .dice
            .between(event.len() as u64, event.len() as u64 + swarm.event_bytes_max);
        event.resize(usize::try_from(length).expect("short"), b'.');
        history.appends.push(AppendFact {
            tenant: self.tenant,
            stream: format!("stream {}", self.dice.below(swarm.streams)),
            event,
            told: Told::Nothing,
            place: None,
        });
        let mut id = [0; 16];
        self.dice.fill(&mut id);
        Request::Append {
            fact,
            id: IdempotencyId::new(id),
        }
    }

    fn transfer(&mut self, swarm: &Swarm) -> Request {
        let mut history = self.history.borrow_mut();
        let fact = history.transfers.len();
        history.transfers.push(TransferFact {
            tenant: self.tenant,
            id: i64::try_from(fact).expect("few"),
            told: Told::Nothing,
        });
        let source = self.dice.below(swarm.accounts);
        let target = (source + self.dice.between(1, swarm.accounts - 1)) % swarm.accounts;
        let [source, target] = [source, target].map(|account| i64::try_from(account).expect("few"));
        Request::Transfer {
            fact,
            source,
            target,
            amount: i64::try_from(self.dice.between(1, 20)).expect("small"),
        }
    }

    fn register(&mut self) -> Request {
        let mut history = self.history.borrow_mut();
        let fact = history.registers.len();
        let new = i64::try_from(fact).expect("few");
        let register = i64::try_from(self.dice.below(REGISTERS.unsigned_abs())).expect("few");
        let operation = match self.dice.below(5) {
            0 | 1 => RegisterOperation::Read(None),
            2 | 3 => RegisterOperation::Write(new),
            _ => {
                let written = |earlier: &RegisterFact| match earlier.call.operation {
                    RegisterOperation::Write(value) if earlier.register == register => Some(value),
                    _ => None,
                };
                let expected = history.registers.iter().rev().find_map(written);
                RegisterOperation::CompareAndSet {
                    expected: expected.or(Some(REGISTER_VALUE)),
                    new,
                    was_set: None,
                }
            }
        };
        let begun = history.pass();
        history.registers.push(RegisterFact {
            tenant: self.tenant,
            register,
            call: Call {
                begun,
                ended: None,
                operation,
            },
            told: Told::Nothing,
        });
        Request::Register { fact }
    }

    fn admit(&self) -> Request {
        let mut history = self.history.borrow_mut();
        let fact = history.patients.len();
        history.patients.push(PatientFact {
            tenant: self.tenant,
            id: i64::try_from(fact).expect("few"),
            admitted: Told::Nothing,
            erased: None,
        });
        Request::Admit { fact }
    }

    /// Erases a patient that was admitted and whom nobody has erased.
    fn erase(&mut self) -> Option<Request> {
        let mut history = self.history.borrow_mut();
        let may_erase = |patient: &PatientFact| {
            patient.tenant == self.tenant && patient.admitted == Told::Done && patient.erased.is_none()
        };
        let fact = history.patients.iter().position(may_erase)?;
        history.patients[fact].erased = Some(Told::Nothing);
        Some(Request::Erase { fact })
    }

    fn receipt(&mut self) -> Option<Request> {
        let history = self.history.borrow();
        let has_place = |(_, append): &(usize, &AppendFact)| append.tenant == self.tenant && append.place.is_some();
        let facts: Vec<usize> = history
            .appends
            .iter()
            .enumerate()
            .filter(has_place)
            .map(|(fact, _)| fact)
            .collect();
        let fact = *(!facts.is_empty()).then(|| self.dice.pick(&facts))?;
        Some(Request::Receipt { fact })
    }
}
