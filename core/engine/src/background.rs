//! Who does the work that nobody waits for.

/// Who does what no caller does itself: threads of the node's own, or a simulation, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Background {
    Threads,
    #[cfg(feature = "simulation")]
    Steps,
}

/// Ends the present step of a piece of work; the next step goes on from here.
#[cfg(feature = "simulation")]
pub(crate) async fn next_step() {
    let mut ended = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut ended, true) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}
