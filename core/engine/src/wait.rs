//! Waiting for a future on a thread of one's own.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// For programs without an asynchronous runtime: `append(…).wait()` where others write `append(…).await`.
///
/// The futures of this crate need no runtime, so they complete on any thread. Do not call it on a runtime's thread that
/// other tasks need.
pub trait Wait: Future + Sized {
    /// Blocks until the future completes.
    fn wait(self) -> Self::Output {
        let mut future = pin!(self);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<F: Future> Wait for F {}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
