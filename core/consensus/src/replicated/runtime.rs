//! The asynchronous runtime that consensus runs on: Tokio, with a source of randomness that a simulation can seed.

use std::cell::RefCell;
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand_08::rngs::StdRng;
use rand_08::{RngCore, SeedableRng};

thread_local! {
    static ELECTION_RNG: RefCell<StdRng> = RefCell::new(StdRng::from_entropy());
}

/// Seeds the election timeouts of everything that runs on this thread from now on, so that a run can be repeated.
pub fn seed_elections(seed: u64) {
    ELECTION_RNG.with_borrow_mut(|rng| *rng = StdRng::seed_from_u64(seed));
}

/// Tokio, with [`ElectionRng`] where openraft asks for randomness.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Runtime;

/// The thread's random numbers. They spread election timeouts and decide nothing that must stay secret.
#[derive(Debug)]
pub(crate) struct ElectionRng;

impl RngCore for ElectionRng {
    fn next_u32(&mut self) -> u32 {
        ELECTION_RNG.with_borrow_mut(RngCore::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        ELECTION_RNG.with_borrow_mut(RngCore::next_u64)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        ELECTION_RNG.with_borrow_mut(|rng| rng.fill_bytes(bytes));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_08::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = ElectionRng;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        ElectionRng
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}
