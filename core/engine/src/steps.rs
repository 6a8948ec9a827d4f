//! A node without threads: whoever opened it calls its pieces of work one by one.
//!
//! It is for simulations, which must be the same at every run. Each call does one piece of what a thread of the node
//! would do, on the thread of the caller, and waits for nothing but the disk. Commands of clients are futures; they
//! complete when the steps that they need were made.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use craton_consensus::{Replicated, SingleNode, Stepped};

use crate::background::Background;
use crate::checkpointer::{Checkpointer, records_min};
use crate::craton::{Craton, Opened};
use crate::scrub::Scrubber;
use crate::{EngineError, Options};

/// The pieces of work of a node that was opened with [`Options::open_stepped`]. Each call says whether it did something.
/// Once the node has stopped, none does.
pub struct Steps {
    opened: Opened,
    consensus: Arc<dyn Stepped>,
    flush_periods: u32,
    checkpointer: Arc<Checkpointer>,
    checkpoint_periods: u32,
    checkpoint: Option<Work>,
    scrub: Option<Work>,
    /// What was left of erasures when the node stopped.
    erasures: Option<Work>,
}

/// A piece of work that waits for others in between.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Steps {
    pub(crate) fn open(directory: PathBuf, options: Options) -> Result<(Craton, Self), EngineError> {
        let mut stepped: Option<Arc<dyn Stepped>> = None;
        let opened = Opened::open(directory, options, Background::Steps, &mut |wal, applied| {
            let consensus = Arc::new(SingleNode::stepped(wal, applied)?);
            stepped = Some(Arc::<SingleNode>::clone(&consensus));
            Ok(consensus)
        })?;
        let member = opened.node.cluster.as_ref();
        let member = member.map(|cluster| -> Arc<dyn Stepped> { Arc::<Replicated>::clone(&cluster.replicated) });
        let consensus = stepped.or(member).expect("an open node has a consensus");
        let craton = opened.craton(Vec::new());
        let scrubber = Arc::new(opened.scrubber());
        let erasures = craton.clone();
        let steps = Self {
            checkpointer: Arc::new(opened.checkpointer()),
            opened,
            consensus,
            flush_periods: 0,
            checkpoint_periods: 0,
            checkpoint: None,
            scrub: Some(Box::pin(scrub(scrubber))),
            erasures: Some(Box::pin(finish_erasures(erasures))),
        };
        Ok((craton, steps))
    }

    /// Puts waiting commands into an entry of the log. With `alone`, a few commands that meet an idle log go all the
    /// way, as they do on the thread of a lone client.
    pub fn propose(&mut self, alone: bool) -> bool {
        self.consensus.is_ready() && self.opened.proposer.step(alone)
    }

    /// Writes and syncs the entry that waits for the disk.
    pub fn write(&mut self) -> bool {
        self.consensus.write()
    }

    /// Reserves the space of the write-ahead log's next segment.
    pub fn reserve(&mut self) -> bool {
        self.consensus.reserve()
    }

    /// Applies the next committed entry and answers its clients.
    pub fn apply(&mut self) -> bool {
        self.is_running() && self.opened.applier.step(self.consensus.as_ref())
    }

    /// Brings a part of a tenant's log to the disk.
    pub fn write_back(&mut self) -> bool {
        self.is_running() && self.opened.writebacks.step()
    }

    /// Flushes what is due. It is called twice in a second of the node's time.
    pub fn flush(&mut self) -> bool {
        self.is_running() && self.opened.flusher.look(&mut self.flush_periods)
    }

    /// Looks for logs that are worth a checkpoint. It is called once in a second of the node's time, and as long as it
    /// does something: a checkpoint waits for steps of the others in between.
    pub fn checkpoint(&mut self) -> bool {
        if !self.is_running() {
            return false;
        }
        let checkpointer = Arc::clone(&self.checkpointer);
        let records_min = match self.checkpoint {
            None => records_min(&mut self.checkpoint_periods),
            Some(_) => 0,
        };
        let look = || -> Work { Box::pin(async move { checkpointer.look(records_min).await }) };
        self.checkpoint.get_or_insert_with(look);
        go_on(&mut self.checkpoint);
        self.checkpoint.is_some()
    }

    /// Reads a part of the logs through, and records what the node has mended.
    pub fn scrub(&mut self) -> bool {
        self.is_running() && go_on(&mut self.scrub)
    }

    /// Goes on with erasures that a crash has interrupted; whether some are left.
    pub fn erase(&mut self) -> bool {
        self.is_running() && go_on(&mut self.erasures) && self.erasures.is_some()
    }

    /// Has the write-ahead log of a member forget all that is on disk elsewhere, though others may need it: they are given a
    /// snapshot.
    pub fn forget(&mut self) -> bool {
        let cluster = self.opened.node.cluster.as_ref().filter(|_| self.is_running());
        if let Some(cluster) = cluster {
            cluster.replicated.forget(cluster.replicated.status().last);
        }
        cluster.is_some()
    }

    /// Closes the node in good order: what was handed over is committed, applied and flushed.
    ///
    /// # Errors
    /// When the last flush fails. Nothing acknowledged is lost even then.
    pub fn close(mut self) -> Result<(), EngineError> {
        self.opened.begin_closing();
        self.opened.proposer.queue.close();
        while self.propose(true) || self.write() || self.apply() {}
        self.consensus.close();
        while self.write() || self.apply() {}
        self.opened.finish_closing()
    }

    fn is_running(&self) -> bool {
        self.opened.node.health.check().is_ok()
    }
}

/// Lets a piece of work go on; whether there was one.
fn go_on(work: &mut Option<Work>) -> bool {
    let Some(future) = work else { return false };
    if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        *work = None;
    }
    true
}

async fn scrub(scrubber: Arc<Scrubber>) {
    // It ends when the node closes.
    let _ = scrubber.work().await;
}

async fn finish_erasures(craton: Craton) {
    if let Err(error) = craton.finish_erasures().await {
        tracing::warn!(%error, "an interrupted erasure was not finished");
    }
}
