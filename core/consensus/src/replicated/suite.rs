//! openraft's own tests of a log store and a state machine, on the real write-ahead log.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use craton_crypto::SecretBytes;
use craton_log::testing::MemoryDisk;
use craton_log::{Wal, WalOptions};
use craton_types::{LogIndex, NodeId, Term};
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft::testing::{StoreBuilder, Suite};
use parking_lot::Mutex;

use super::inbox::Inbox;
use super::log::{Log, LogStore};
use super::machine::{Applied, Fetch, Installing, Machine, MachineError, StateMachine};
use super::marks::Marks;
use super::network::{Lane, Peer, Peers, Transport, TransportError};
use super::types::{StorageError, TypeConfig, log_id, log_index};

/// A machine that is as far as it was told.
struct Told(Arc<Mutex<Applied>>);

impl Machine for Told {
    fn manifest(&self) -> Result<(LogIndex, Bytes), MachineError> {
        let last = self.0.lock().last;
        Ok((last.map_or(LogIndex::ZERO, |last| log_index(last.index)), Bytes::new()))
    }

    fn install(&self, _: LogIndex, _: LogIndex, _: Bytes, _: Fetch) -> Installing {
        std::future::ready(Ok(Vec::new())).boxed()
    }

    fn answer(&self, _: NodeId, request: Bytes) -> BoxFuture<'static, Bytes> {
        std::future::ready(request).boxed()
    }
}

struct Nobody;

impl Transport for Nobody {
    fn call(&self, peer: Peer, _: Lane, _: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let error = TransportError::Timeout { peer: peer.id };
        std::future::ready(Err(error)).boxed()
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, ()> for Builder {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let disk = Arc::new(MemoryDisk::new());
        let options = WalOptions {
            segment_bytes: 4096,
            ..WalOptions::new(NodeId::new(1), SecretBytes::new([7; 32]))
        };
        let mut salt = 0;
        let random = Box::new(move |bytes: &mut [u8]| {
            salt += 1;
            bytes.fill(salt);
        });
        let (wal, _) = Wal::open(disk.clone(), Path::new("/wal"), options, random).expect("a new log");
        let marks = Marks::open(disk, Path::new("/consensus")).expect("new marks");
        let log = Arc::new(Log::new(wal, marks));
        log.allow_forgetting(
            log_id(LogIndex::new(u64::MAX), Term::new(u64::MAX)).expect("a late entry"),
            Vec::new(),
        );
        let inbox = Arc::new(Inbox::default());
        let consumer = Arc::clone(&inbox);
        std::thread::spawn(move || while consumer.pop().is_ok() {});
        let applied = Arc::new(Mutex::new(Applied::default()));
        let state_machine = StateMachine {
            log: Arc::clone(&log),
            inbox,
            machine: Arc::new(Told(Arc::clone(&applied))),
            peers: Arc::new(Peers::new(NodeId::new(1), Arc::new(Nobody))),
            applied,
        };
        Ok(((), LogStore(log), state_machine))
    }
}

#[test]
fn the_write_ahead_log_is_a_log_store() {
    Suite::test_all(Builder).expect("openraft's suite passes");
}
