//! What happened, in order, as one hash: equal hashes mean equal runs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dice::{fnv, fnv_empty};

/// How many of the last events are kept for people.
const RECENT_MAX: usize = 60;

/// A trace that several parts of a run write to.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<State>>);

struct State {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
    print: bool,
}

impl Trace {
    /// An empty trace; with `print`, every event goes to standard error.
    pub(crate) fn new(print: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            hash: fnv_empty(),
            events: 0,
            recent: VecDeque::new(),
            print,
        })))
    }

    /// Notes an event.
    pub(crate) fn note(&self, event: impl fmt::Display) {
        let mut state = self.0.lock();
        let text = event.to_string();
        state.hash = fnv(state.hash, text.as_bytes());
        state.hash = fnv(state.hash, &[0xff]);
        state.events += 1;
        if state.print {
            tell(&text);
        }
        if state.recent.len() == RECENT_MAX {
            state.recent.pop_front();
        }
        state.recent.push_back(text);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.0.lock().events
    }

    /// The last events.
    pub(crate) fn recent(&self) -> Vec<String> {
        self.0.lock().recent.iter().cloned().collect()
    }
}

fn tell(text: &str) {
    use std::io::Write as _;
    // Whoever asked for the trace may have closed the pipe.
    let _ = writeln!(std::io::stderr(), "{text}");
}
