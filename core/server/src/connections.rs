//! Who is connected: for cancel requests, and for ending the sessions of a user whose rights changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A request to cancel the statement that a session runs now.
///
/// A session polls [`Cancellation::is_requested`] between steps and awaits [`Cancellation::requested`] where it waits
/// for the client. A commit that was proposed is never cancelled: its outcome is decided by then.
#[derive(Debug, Default)]
pub(crate) struct Cancellation {
    requested: AtomicBool,
    notify: Notify,
}

impl Cancellation {
    /// Forgets requests that came before the statement that begins now.
    pub(crate) fn begin_statement(&self) {
        self.requested.store(false, Ordering::Release);
    }

    /// Whether the current statement is to end.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Completes when the current statement is to end.
    pub(crate) async fn requested(&self) {
        loop {
            let notified = self.notify.notified();
            if self.is_requested() {
                return;
            }
            notified.await;
        }
    }

    fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
}

struct Connection {
    secret: Bytes,
    user: String,
    cancellation: Arc<Cancellation>,
    end: CancellationToken,
}

/// All sessions of the server.
#[derive(Default)]
pub(crate) struct Connections {
    sessions: Mutex<HashMap<i32, Connection>>,
}

/// A session's entry, removed when dropped.
pub(crate) struct Registration {
    connections: Arc<Connections>,
    /// What the client calls the session in a cancel request.
    pub(crate) process_id: i32,
    /// What proves that a cancel request is the client's.
    pub(crate) secret: Bytes,
    /// Requests to cancel the running statement.
    pub(crate) cancellation: Arc<Cancellation>,
    /// Cancelled when the session must end because its user's rights changed.
    pub(crate) end: CancellationToken,
}

impl Connections {
    /// Enters a session of `user` under a process id that no other session has. `random` gives the ids to try.
    pub(crate) fn register(
        self: &Arc<Self>,
        user: &str,
        secret: Bytes,
        mut random: impl FnMut() -> u32,
    ) -> Registration {
        let cancellation = Arc::new(Cancellation::default());
        let end = CancellationToken::new();
        let mut sessions = self.sessions.lock();
        let process_id = loop {
            // Process ids are positive by custom. There are far fewer sessions than ids.
            let candidate = (random() & 0x7fff_ffff).cast_signed();
            if candidate != 0 && !sessions.contains_key(&candidate) {
                break candidate;
            }
        };
        let connection = Connection {
            secret: secret.clone(),
            user: user.to_owned(),
            cancellation: cancellation.clone(),
            end: end.clone(),
        };
        sessions.insert(process_id, connection);
        Registration {
            connections: self.clone(),
            process_id,
            secret,
            cancellation,
            end,
        }
    }

    /// Cancels the statement of a session, if the sender knows its secret. Says nothing either way.
    pub(crate) fn cancel(&self, process_id: i32, secret: &[u8]) {
        let sessions = self.sessions.lock();
        if let Some(connection) = sessions.get(&process_id)
            && craton_crypto::constant_time_equal(&connection.secret, secret)
        {
            connection.cancellation.request();
        }
    }

    /// Ends every session of `user`, and says how many there were.
    pub(crate) fn end_sessions(&self, user: &str) -> usize {
        let sessions = self.sessions.lock();
        let ended = sessions.values().filter(|connection| connection.user == user);
        ended.map(|connection| connection.end.cancel()).count()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.sessions.lock().remove(&self.process_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_cancels_and_only_the_running_statement() {
        let connections = Arc::new(Connections::default());
        let session = connections.register("app", Bytes::from_static(b"1234"), || 5);
        connections.cancel(session.process_id, b"1235");
        connections.cancel(session.process_id, b"123");
        connections.cancel(session.process_id + 1, b"1234");
        assert!(!session.cancellation.is_requested());
        connections.cancel(session.process_id, b"1234");
        assert!(session.cancellation.is_requested());
        session.cancellation.begin_statement();
        assert!(!session.cancellation.is_requested());
    }

    #[test]
    fn process_ids_are_unique_and_come_free_again() {
        let connections = Arc::new(Connections::default());
        let mut ids = [5, 5, 0, 6].into_iter();
        let mut next = || ids.next().expect("enough");
        let first = connections.register("a", Bytes::new(), &mut next);
        let second = connections.register("a", Bytes::new(), &mut next);
        assert_eq!((first.process_id, second.process_id), (5, 6));
        drop(first);
        assert_eq!(connections.register("a", Bytes::new(), || 5).process_id, 5);
    }

    #[test]
    fn a_users_sessions_end_and_no_others() {
        let connections = Arc::new(Connections::default());
        let mut id = 0;
        let mut next = || {
            id += 1;
            id
        };
        let mine = connections.register("a", Bytes::new(), &mut next);
        let other = connections.register("b", Bytes::new(), &mut next);
        assert_eq!(connections.end_sessions("a"), 1);
        assert!(mine.end.is_cancelled());
        assert!(!other.end.is_cancelled());
    }
}
