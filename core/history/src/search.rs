//! The search for an order of calls that explains what they were answered.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

/// What a store does, one call after another.
pub trait Model {
    /// What it holds.
    type State: Clone + Debug + Eq + Hash;
    /// What is asked, and what was answered.
    type Operation: Debug;

    /// What it holds at first.
    fn initial(&self) -> Self::State;

    /// What it holds after an operation that it meets in `state`; `None` when it would have answered something else.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// A call, from when it began to when its answer was there, by one clock of any unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<O> {
    /// When it was sent.
    pub begun: u64,
    /// When its answer came; `None` when none came, so that it may take effect at any time, or never.
    pub ended: Option<u64>,
    /// What was asked and answered.
    pub operation: O,
}

/// Why a history is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// No order of the calls explains their answers.
    #[error(
        "not linearizable: {explained} of {answered} answered calls can be explained, which leads to {state}; none of these \
         can come next: {stuck:?}"
    )]
    NotLinearizable {
        /// How many calls the best order explains.
        explained: usize,
        /// How many calls were answered.
        answered: usize,
        /// What the store holds after them.
        state: String,
        /// The calls of which one had to come next.
        stuck: Vec<String>,
    },
    /// The search was given up.
    #[error("undecided: more than {configurations_max} configurations of {calls} calls")]
    Undecided {
        /// How many were to be tried.
        configurations_max: usize,
        /// How many calls there are.
        calls: usize,
    },
}

/// Checks the calls to each key by themselves; how many calls were answered, or the first key whose calls cannot be
/// explained.
///
/// # Errors
/// As [`check`], with the key.
pub fn check_keys<K: Clone + Ord, M: Model>(
    model: &M,
    calls: impl IntoIterator<Item = (K, Call<M::Operation>)>,
    configurations_max: usize,
) -> Result<usize, (K, HistoryError)> {
    let mut keys: BTreeMap<K, Vec<Call<M::Operation>>> = BTreeMap::new();
    for (key, call) in calls {
        keys.entry(key).or_default().push(call);
    }
    let mut answered = 0;
    for (key, calls) in keys {
        answered += check(model, &calls, configurations_max).map_err(|error| (key, error))?;
    }
    Ok(answered)
}

/// Looks for an order of calls in which a store that does one after another would have answered the same, and in which no
/// call comes before another one that had ended before it began. How many calls were answered.
///
/// # Errors
/// [`HistoryError::NotLinearizable`] when there is none; [`HistoryError::Undecided`] when none was found in
/// `configurations_max` steps.
pub fn check<M: Model>(
    model: &M,
    calls: &[Call<M::Operation>],
    configurations_max: usize,
) -> Result<usize, HistoryError> {
    let mut sorted: Vec<&Call<M::Operation>> = calls.iter().collect();
    sorted.sort_by_key(|call| call.begun);
    let (answered, open): (Vec<_>, Vec<_>) = sorted.into_iter().partition(|call| call.ended.is_some());
    Search {
        model,
        answered,
        open,
        tried: HashSet::new(),
        best: None,
    }
    .run(configurations_max)
}

/// Which calls came so far, and what they led to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Configuration<S> {
    /// All answered calls before this one came.
    first: usize,
    /// Answered calls after it that came as well, ascending.
    ahead: Vec<usize>,
    /// Calls without an answer that came, ascending.
    open: Vec<usize>,
    state: S,
    /// What the state was before the last call, if that has no answer: it came for the sake of the next one.
    without_last: Option<S>,
}

#[derive(Clone, Copy)]
enum Next {
    Answered(usize),
    Open(usize),
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// By when they began.
    answered: Vec<&'a Call<M::Operation>>,
    open: Vec<&'a Call<M::Operation>>,
    tried: HashSet<Configuration<M::State>>,
    /// The configuration with most answered calls that led no further.
    best: Option<(usize, Configuration<M::State>)>,
}

impl<M: Model> Search<'_, M> {
    fn run(mut self, configurations_max: usize) -> Result<usize, HistoryError> {
        let start = Configuration {
            first: 0,
            ahead: Vec::new(),
            open: Vec::new(),
            state: self.model.initial(),
            without_last: None,
        };
        let candidates = self.candidates(&start);
        let mut path = vec![(start, candidates)];
        while let Some((configuration, candidates)) = path.last_mut() {
            if configuration.first == self.answered.len() {
                return Ok(self.answered.len());
            }
            let Some(next) = candidates.pop() else {
                self.note_stuck(configuration.clone());
                path.pop();
                continue;
            };
            let Some(reached) = self.reach(configuration, next) else {
                continue;
            };
            if !self.tried.insert(reached.clone()) {
                continue;
            }
            if self.tried.len() > configurations_max {
                return Err(HistoryError::Undecided {
                    configurations_max,
                    calls: self.answered.len() + self.open.len(),
                });
            }
            let candidates = self.candidates(&reached);
            path.push((reached, candidates));
        }
        Err(self.verdict())
    }

    /// Answered calls that have not come, up to the first that began after another one of them had ended.
    fn concurrent(&self, configuration: &Configuration<M::State>) -> (Vec<usize>, u64) {
        let mut ended_min = u64::MAX;
        let mut found = Vec::new();
        for (index, call) in self.answered.iter().enumerate().skip(configuration.first) {
            if call.begun > ended_min {
                break;
            }
            if configuration.ahead.binary_search(&index).is_err() {
                ended_min = ended_min.min(call.ended.unwrap_or(u64::MAX));
                found.push(index);
            }
        }
        (found, ended_min)
    }

    /// The calls that may come next; the last one is tried first.
    fn candidates(&self, configuration: &Configuration<M::State>) -> Vec<Next> {
        let (concurrent, ended_min) = self.concurrent(configuration);
        let open = (0..self.open.len())
            .rev()
            .filter(|index| self.open[*index].begun <= ended_min && configuration.open.binary_search(index).is_err());
        let mut candidates: Vec<Next> = open.map(Next::Open).collect();
        // What ended first is most likely to have come first.
        let mut concurrent = concurrent;
        concurrent.sort_by_key(|index| std::cmp::Reverse(self.answered[*index].ended));
        candidates.extend(concurrent.into_iter().map(Next::Answered));
        candidates
    }

    /// Where a call leads, if it may be the next one.
    fn reach(&self, from: &Configuration<M::State>, next: Next) -> Option<Configuration<M::State>> {
        let call = match next {
            Next::Answered(index) => self.answered[index],
            Next::Open(index) => self.open[index],
        };
        let state = self.model.step(&from.state, &call.operation)?;
        // A call without an answer that makes no difference to the next one need not have come before it.
        let without_last = from.without_last.as_ref();
        let otherwise = without_last.and_then(|before| self.model.step(before, &call.operation));
        if otherwise.as_ref() == Some(&state) {
            return None;
        }
        let mut reached = Configuration {
            state,
            without_last: None,
            ..from.clone()
        };
        match next {
            Next::Open(_) if reached.state == from.state => return None,
            Next::Open(index) => {
                reached.without_last = Some(from.state.clone());
                insert(&mut reached.open, index);
            }
            Next::Answered(index) => insert(&mut reached.ahead, index),
        }
        let passed = reached.ahead.iter().zip(reached.first..);
        let passed = passed.take_while(|(index, first)| *index == first).count();
        reached.ahead.drain(..passed);
        reached.first += passed;
        Some(reached)
    }

    fn note_stuck(&mut self, configuration: Configuration<M::State>) {
        let explained = configuration.first + configuration.ahead.len();
        if self.best.as_ref().is_none_or(|(best, _)| explained > *best) {
            self.best = Some((explained, configuration));
        }
    }

    fn verdict(self) -> HistoryError {
        let (explained, best) = self.best.as_ref().expect("the start led no further");
        let (stuck, _) = self.concurrent(best);
        HistoryError::NotLinearizable {
            explained: *explained,
            answered: self.answered.len(),
            state: format!("{:?}", best.state),
            stuck: stuck
                .iter()
                .map(|index| format!("{:?}", self.answered[*index]))
                .collect(),
        }
    }
}

fn insert(sorted: &mut Vec<usize>, index: usize) {
    if let Err(place) = sorted.binary_search(&index) {
        sorted.insert(place, index);
    }
}
