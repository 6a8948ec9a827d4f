//! Waiting for a future on a thread of one's own.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// For programs without an asynchronous runtime: `append(…).wait()` where others write `append(…).await`.
///
/// The futures of this crate need no runtime, so they complete on any thread. A thread that waits does the work itself
/// when nobody else is at work on the log: writing, syncing and applying cost no hand-over to another thread then. Do
/// not call it on a runtime's thread that other tasks need.
pub trait Wait: Future + Sized {
    /// Blocks until the future completes.
    fn wait(self) -> Self::Output {
        let mut future = pin!(self);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let _waiting = Waiting::begin();
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<F: Future> Wait for F {}

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Whether the future that is being polled may block the thread, because the thread waits for nothing else.
pub(crate) fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// While it lives, the thread waits for one future.
struct Waiting {
    before: bool,
}

impl Waiting {
    fn begin() -> Self {
        Self {
            before: MAY_BLOCK.replace(true),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        MAY_BLOCK.set(self.before);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
