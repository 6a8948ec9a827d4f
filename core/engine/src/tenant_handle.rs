//! A tenant: its event streams, its log and its receipts.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use craton_kernel::{Committed, ExpectedSequence, Operation, Outcome, unseal_changes};
use craton_types::{
    ActorId, Change, CorrelationId, DataClass, Hash, IdempotencyId, Offset, Record, RecordHeader, StreamId,
    StreamSequence, Timestamp, UserDefinition,
};

use crate::checkpointer::ensure_covered;
use crate::craton::{Node, Request};
use crate::proposer::Proposed;
use crate::tenant::SharedTenant;
use crate::{Craton, EngineError, Session, Subscription};

/// A tenant of an open node: a log of its own under keys of its own, read as streams of events, as tables through SQL,
/// or both. SQL clients call it a database. Cloning gives another handle.
#[derive(Clone)]
pub struct Tenant {
    pub(crate) node: Arc<Node>,
    pub(crate) tenant: Arc<SharedTenant>,
    /// A node is open for as long as a tenant of it is in use.
    pub(crate) _craton: Craton,
}

/// Where a change is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its record's offset: the position that SQL shows.
    pub offset: Offset,
    /// Its record's hash.
    pub record_hash: Hash,
    /// Its record's time.
    pub timestamp: Timestamp,
    /// Its record's position in its stream.
    pub stream_sequence: StreamSequence,
}

impl From<Committed> for Commit {
    fn from(committed: Committed) -> Self {
        let Committed {
            offset,
            record_hash,
            timestamp,
            stream_sequence,
        } = committed;
        Self {
            offset,
            record_hash,
            timestamp,
            stream_sequence,
        }
    }
}

impl Commit {
    /// The commit of a command without idempotency id.
    pub(crate) fn from_outcome(outcome: Outcome) -> Result<Self, EngineError> {
        match outcome {
            Outcome::Committed(committed) => Ok(committed.into()),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal.into()),
            Outcome::Duplicate { offset } => unreachable!("no idempotency id was given, yet {offset} has it"),
        }
    }
}

/// Events for a stream.
///
/// ```
/// use craton_engine::{Append, ExpectedSequence};
///
/// let first_admission = Append {
///     expected: ExpectedSequence::Exactly(0),
///     ..Append::new("patient-42", ["admitted", "bed 7"])
/// };
/// # let _ = first_admission;
/// ```
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream's name, 1 to 512 bytes. The first append creates the stream.
    pub stream: String,
    /// What the writer believes the stream to hold.
    pub expected: ExpectedSequence,
    /// The events; they become one record, all or nothing.
    pub events: Vec<Vec<u8>>,
    /// What kind of data they are. A stream's class is what its first append said; a later one may leave it out.
    pub data_class: Option<DataClass>,
    /// Who appends.
    pub actor: ActorId,
    /// The request that this belongs to.
    pub correlation_id: CorrelationId,
    /// A retry with the same id is applied once; nil for none.
    pub idempotency_id: IdempotencyId,
}

impl Append {
    /// Events for a stream, whatever it holds, by nobody in particular.
    pub fn new<Event: Into<Vec<u8>>>(stream: impl Into<String>, events: impl IntoIterator<Item = Event>) -> Self {
        Self {
            stream: stream.into(),
            expected: ExpectedSequence::Any,
            events: events.into_iter().map(Into::into).collect(),
            data_class: None,
            actor: ActorId::NIL,
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
        }
    }
}

/// An append that was handed over, see [`Tenant::append`]. Completes with its commit.
#[must_use = "whether the events are in the log is known when this was awaited"]
pub struct Appending {
    proposed: Proposed,
    tenant: Tenant,
}

impl Future for Appending {
    type Output = Result<Commit, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(Pin::new(&mut self.proposed).poll(context));
        Poll::Ready(outcome.and_then(|outcome| match outcome {
            Outcome::Committed(committed) => Ok(committed.into()),
            Outcome::Duplicate { offset } => self.tenant.commit_at(offset),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal.into()),
        }))
    }
}

/// A record of events as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The record's header.
    pub header: RecordHeader,
    /// The record's hash.
    pub record_hash: Hash,
    /// The stream's name.
    pub stream: Arc<str>,
    /// The events' bytes.
    pub events: Vec<Vec<u8>>,
}

/// What `current_user` is in a session that no client opened.
const EMBEDDED_USER: &str = "embedded";
/// Names of streams that one read has met.
type StreamNames = HashMap<StreamId, Arc<str>>;

/// Bytes that one read takes from the log at most, beyond its first record.
const READ_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Tenant {
    /// The tenant's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tenant.name
    }

    /// How many records the log holds.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.tenant.head().end
    }

    /// Appends events to a stream as one record. They are handed over by this call, and in the log for good when the
    /// answer is awaited; so a program that wants throughput appends many before it waits for the first.
    ///
    /// ```
    /// # use craton_engine::{Append, Craton, Wait};
    /// # let folder = tempfile::tempdir()?;
    /// # let tenant = Craton::open(folder.path().join("ledger"))?.open_tenant("main").wait()?;
    /// let appends: Vec<_> = (0..100)
    ///     .map(|number| tenant.append(Append::new("readings", [format!("{number}")])))
    ///     .collect();
    /// for append in appends {
    ///     append.wait()?;
    /// }
    /// assert_eq!(tenant.end().get(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`craton_kernel::Refusal::StreamMoved`] when the stream does not hold what was expected,
    /// [`EngineError::Overloaded`] and [`EngineError::OverShare`] when too much is under way, and when the command could not be committed.
    pub fn append(&self, append: Append) -> Appending {
        let request = Request {
            tenant: self.tenant.id,
            actor: append.actor,
            correlation_id: append.correlation_id,
            idempotency_id: append.idempotency_id,
        };
        let events = append.events.into_iter().map(Into::into).collect();
        let operation = Operation::Append {
            stream: append.stream,
            expected: append.expected,
            events,
            data_class: append.data_class,
        };
        Appending {
            proposed: self.node.propose(request, operation),
            tenant: self.clone(),
        }
    }

    /// The event records from an offset on: those in the log, then those to come, each once.
    ///
    /// ```
    /// # use craton_engine::{Append, Craton, Offset, Wait};
    /// # let folder = tempfile::tempdir()?;
    /// # let tenant = Craton::open(folder.path().join("ledger"))?.open_tenant("main").wait()?;
    /// tenant.append(Append::new("orders", ["placed"])).wait()?;
    /// let mut orders = tenant.subscribe(Offset::ZERO);
    /// let record = orders.next().wait()?.expect("the node is open");
    /// assert_eq!((&*record.stream, &record.events[0][..]), ("orders", &b"placed"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn subscribe(&self, from: Offset) -> Subscription {
        Subscription::new(self.clone(), from)
    }

    /// A SQL session on the tenant's tables. There is no user to be restricted: whoever has the handle may do
    /// everything; `actor` is who its records name.
    ///
    /// ```
    /// # use craton_engine::{ActorId, Craton, Response, Value, Wait};
    /// # let folder = tempfile::tempdir()?;
    /// # let tenant = Craton::open(folder.path().join("ledger"))?.open_tenant("main").wait()?;
    /// let mut session = tenant.session(ActorId::NIL);
    /// session.sql("CREATE TABLE beds (id bigint PRIMARY KEY, ward text)", &[]).wait()?;
    /// session.sql("INSERT INTO beds VALUES ($1, $2)", &[Value::Int(7), Value::Text("north".into())]).wait()?;
    /// let Response::Rows { result, .. } = session.sql("SELECT ward FROM beds", &[]).wait()? else {
    ///     unreachable!("a query gives rows");
    /// };
    /// assert_eq!(result.rows, [[Value::Text("north".into())]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn session(&self, actor: ActorId) -> Session {
        let user = UserDefinition {
            name: EMBEDDED_USER.to_owned(),
            actor,
            scram_verifier: String::new(),
            databases: Vec::new(),
            read_only: false,
            compliance: true,
        };
        Session::new(self.clone(), &user)
    }

    fn commit_at(&self, offset: Offset) -> Result<Commit, EngineError> {
        let header = self.record(offset)?.header;
        Ok(Commit {
            offset,
            record_hash: craton_crypto::record_hash(&header.encode()),
            timestamp: header.timestamp,
            stream_sequence: header.stream_sequence,
        })
    }

    /// The records of one stream from a sequence on, oldest first.
    ///
    /// # Errors
    /// When the log or the view cannot be read.
    pub fn read_stream(
        &self,
        stream: &str,
        from: StreamSequence,
        records_max: usize,
    ) -> Result<Vec<EventRecord>, EngineError> {
        let snapshot = self.tenant.projection.snapshot();
        let offsets = snapshot
            .stream_offsets(stream, from, records_max)
            .map_err(|source| self.tenant.projection_error(source))?;
        let mut names = StreamNames::default();
        let mut records = Vec::with_capacity(offsets.len());
        for offset in offsets {
            records.extend(self.event_record(&self.record(offset)?, &mut names)?);
        }
        Ok(records)
    }

    /// The event records of all streams from an offset on, in log order. Records of other kinds are skipped;
    /// `next` of the answer is where to go on.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_events(&self, from: Offset, records_max: usize) -> Result<EventPage, EngineError> {
        let end = self.tenant.head().end;
        let mut page = EventPage {
            records: Vec::new(),
            next: from,
        };
        let mut names = StreamNames::default();
        while page.next < end && page.records.len() < records_max {
            let wanted = records_max - page.records.len();
            let records = self
                .tenant
                .log
                .read_range(page.next, wanted, READ_BYTES_MAX)
                .map_err(|source| self.tenant.log_error(source))?;
            let Some(last) = records.last() else { break };
            page.next = last.header.offset.next();
            for record in &records {
                page.records.extend(self.event_record(record, &mut names)?);
            }
        }
        Ok(page)
    }

    /// A record's events; `None` when it holds none.
    fn event_record(&self, record: &Record, names: &mut StreamNames) -> Result<Option<EventRecord>, EngineError> {
        let header = &record.header;
        if header.kind.first_change().is_none() || header.stream == StreamId::ZERO {
            return Ok(None);
        }
        let (_, changes) = self.unseal(record)?;
        let stream = self.stream_name(header, names)?;
        let events = changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Event(event) => Some(event),
                _ => None,
            })
            .collect();
        Ok(Some(EventRecord {
            header: header.clone(),
            record_hash: craton_crypto::record_hash(&header.encode()),
            stream,
            events,
        }))
    }

    /// The name of a record's stream, which only the stream's first record holds.
    pub(crate) fn stream_name(&self, header: &RecordHeader, names: &mut StreamNames) -> Result<Arc<str>, EngineError> {
        if let Some(name) = names.get(&header.stream) {
            return Ok(Arc::clone(name));
        }
        let name = self
            .tenant
            .projection
            .snapshot()
            .stream_name(header.stream)
            .map_err(|source| self.tenant.projection_error(source))?
            .ok_or_else(|| EngineError::StreamMissing {
                database: self.tenant.name.clone(),
                offset: header.offset.get(),
                stream: header.stream.get(),
            })?;
        names.insert(header.stream, Arc::clone(&name));
        Ok(name)
    }

    /// Opens a record under the tenant's key.
    pub(crate) fn unseal(&self, record: &Record) -> Result<(craton_types::RecordSummary, Vec<Change>), EngineError> {
        let key = |epoch| self.tenant.keys.get(epoch);
        unseal_changes(record, &key).map_err(|source| EngineError::Record {
            database: self.tenant.name.clone(),
            offset: record.header.offset.get(),
            source,
        })
    }

    /// The header at an offset.
    pub(crate) fn header(&self, offset: Offset) -> Result<RecordHeader, EngineError> {
        Ok(self.record(offset)?.header)
    }

    /// The record at an offset.
    pub(crate) fn record(&self, offset: Offset) -> Result<Record, EngineError> {
        self.tenant
            .log
            .read(offset)
            .map_err(|source| self.tenant.log_error(source))?
            .ok_or_else(|| EngineError::RecordMissing {
                offset: offset.get(),
                end: self.tenant.head().end.get(),
            })
    }

    /// Makes sure that a signed checkpoint covers everything written so far.
    ///
    /// # Errors
    /// When the checkpoint could not be committed.
    pub async fn checkpoint(&self) -> Result<(), EngineError> {
        ensure_covered(&self.node, &self.tenant, self.tenant.head().data_end).await
    }

    /// The C2SP verifier key of this tenant's log: what an auditor checks receipts against.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.node.signer(self.tenant.id).verifier().to_string()
    }
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The records, in log order.
    pub records: Vec<EventRecord>,
    /// The offset after the last record that was looked at.
    pub next: Offset,
}
