//! What the tests of this crate share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use craton_log::RandomFill;

/// How long anything is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
        let now = Instant::now();
        assert!(now < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Different bytes for each call in this process.
pub(crate) fn random() -> RandomFill {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Box::new(|bytes| {
        for chunk in bytes.chunks_mut(32) {
            let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let digest = craton_crypto::sha256(&[&number]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    })
}
