//! What a member gives others of its state, and takes from them.
//!
//! A tenant's log only grows, and every member applies the same entries: the log of a member that lags is the beginning
//! of another one's. So a snapshot is a list of how long the logs are, and what is fetched are the records that are
//! missing. Each is checked against the chain; the views are replayed from them. What came in stays when the rest does not.

use std::sync::Arc;

use bytes::Bytes;
use craton_consensus::{Fetch, Installing, Machine, MachineError, blocking};
use craton_crypto::{LinkedRecord, record_hash};
use craton_kernel::Command;
use craton_log::TenantLogError;
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    Format, HEADER_BYTES, LogIndex, NodeId, Offset, Record, RecordHeader, SubjectKeyId, TenantId, decode_whole,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use minicbor::bytes::ByteVec;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::instance::{Instances, Unwelcome};
use super::message::{Answer, Ask, ListedTenant, Manifest, NotTaken, decode, encode};
use super::rate::TransferRate;
use crate::EngineError;
use crate::applier::Applier;
use crate::keyring::Keyring;
use crate::proposer::Proposer;
use crate::tenant_writer::{REBUILD_FLUSH_BYTES, TenantWriter};
use crate::tenants::{SYSTEM_TENANT, Tenants};

/// Records in one answer; it may have fewer because of their size.
const RECORDS_MAX: usize = 1_024;
/// Bytes of records in one answer; at least one record is in it.
const RECORDS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Keys of data subjects in one answer.
const SUBJECT_KEYS_MAX: u64 = 4_096;

/// The engine, as the other members' engines see it.
#[derive(Clone)]
pub(crate) struct EngineMachine {
    tenants: Arc<Tenants>,
    keyring: Arc<Keyring>,
    applier: Arc<Applier>,
    proposer: Arc<Proposer>,
    /// Who the other members are.
    instances: Option<Arc<Instances>>,
    /// How fast records are sent to members that catch up.
    rate: Arc<Mutex<TransferRate>>,
}

impl Machine for EngineMachine {
    fn manifest(&self) -> Result<(LogIndex, Bytes), MachineError> {
        // Nothing is applied meanwhile, so all tenants are as of the same entry.
        let _order = self.applier.order.lock();
        let index = self.tenants.applied_index();
        let mut tenants: Vec<ListedTenant> = Vec::new();
        for writer in self.tenants.writers() {
            let writer = writer.lock();
            tenants.push(ListedTenant {
                tenant: writer.tenant.id,
                end: writer.state.end,
                last_hash: writer.state.last_hash,
            });
        }
        tenants.sort_by_key(|listed| (listed.tenant != SYSTEM_TENANT, listed.tenant));
        Ok((index, encode(&Manifest { tenants }).into()))
    }

    fn install(&self, after: LogIndex, index: LogIndex, manifest: Bytes, fetch: Fetch) -> Installing {
        let machine = self.clone();
        async move {
            let manifest: Manifest = decode(&manifest)?;
            // Entries that came before the snapshot are applied first, as they are the beginning of what it lists.
            machine
                .tenants
                .applied_watch()
                .wait_for(|applied| *applied >= after)
                .await;
            let left_out = match is_planted(Bug::SnapshotWithoutTenant) {
                true => manifest.tenants.last().map(|listed| listed.tenant),
                false => None,
            };
            for listed in manifest.tenants.iter().filter(|listed| Some(listed.tenant) != left_out) {
                machine.bring_in(listed, &fetch).await?;
            }
            let heads = blocking(|| {
                let _order = machine.applier.order.lock();
                machine.applier.follow_format()?;
                machine.tenants.skip_to(index);
                if !is_planted(Bug::SnapshotWithoutFlush) {
                    machine.applier.flusher.flush_all()?;
                }
                Ok::<_, EngineError>(machine.tenants.flushed_heads())
            })?;
            Ok(heads)
        }
        .boxed()
    }

    fn answer(&self, from: NodeId, request: Bytes) -> BoxFuture<'static, Bytes> {
        let machine = self.clone();
        async move {
            let answer = match decode(&request) {
                Ok(ask) => machine.respond(from, ask).await,
                Err(error) => Answer::Failed(error.to_string()),
            };
            encode(&answer).into()
        }
        .boxed()
    }

    fn waits_for_space(&self) -> bool {
        self.applier.health.space.work_waits()
    }
}

impl EngineMachine {
    pub(crate) fn new(
        tenants: Arc<Tenants>,
        keyring: Arc<Keyring>,
        applier: Arc<Applier>,
        proposer: Arc<Proposer>,
        instances: Option<Arc<Instances>>,
        transfer_bytes_per_second: u64,
    ) -> Self {
        Self {
            tenants,
            keyring,
            applier,
            proposer,
            instances,
            rate: Arc::new(Mutex::new(TransferRate::new(transfer_bytes_per_second))),
        }
    }

    async fn respond(&self, from: NodeId, ask: Ask) -> Answer {
        let answer = match ask {
            Ask::Command(command) => return self.take(&command).await,
            Ask::Entry => {
                let proposed = blocking(|| self.proposer.propose_nothing());
                return match proposed {
                    true => Answer::Welcome,
                    false => Answer::NotTaken(NotTaken::NotLeader),
                };
            }
            Ask::Introduce(said) => {
                let Some(instances) = &self.instances else {
                    return Answer::Failed("this node is no member".to_owned());
                };
                return match blocking(|| instances.introduce(from, said)) {
                    Ok(()) => Answer::Welcome,
                    Err(Unwelcome::Stranger) => Answer::Stranger,
                    Err(Unwelcome::Forgot(reason)) => Answer::NotWelcome(reason),
                };
            }
            Ask::ClusterKeys => self
                .keyring
                .cluster_keys(SYSTEM_TENANT, self.format().active())
                .map(|keys| Answer::ClusterKeys {
                    keys: keys.as_bytes().to_vec().into(),
                    format: Some(keys.format()),
                })
                .map_err(EngineError::from),
            Ask::TenantKeys(tenant) => self
                .keyring
                .export_tenant(tenant)
                .map(Answer::TenantKeys)
                .map_err(EngineError::from),
            Ask::Records { tenant, from, end } => {
                let answer = blocking(|| self.records(tenant, from, end));
                if let Ok(Answer::Records(records)) = &answer {
                    self.wait_for_rate(records).await;
                }
                answer
            }
            Ask::SubjectKeys { tenant, from, end } => blocking(|| self.subject_keys(tenant, from, end)),
            Ask::FormatNewest => Ok(Answer::FormatNewest(self.format().newest())),
        };
        answer.unwrap_or_else(|error| Answer::Failed(crate::applier::chain(&error)))
    }

    fn format(&self) -> &Format {
        self.applier.format.format()
    }

    /// Orders and applies a command of another member's client.
    async fn take(&self, command: &[u8]) -> Answer {
        let command: Command = match decode_whole(command) {
            Ok(command) => command,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        match self.proposer.propose_here(Arc::new(command)).await {
            Ok(outcome) => Answer::Outcome {
                outcome,
                applied: self.tenants.applied_index(),
            },
            Err(EngineError::NotLeader) => Answer::NotTaken(NotTaken::NotLeader),
            Err(EngineError::Overloaded | EngineError::OverShare { .. }) => Answer::NotTaken(NotTaken::Overloaded),
            Err(EngineError::DiskFull) => Answer::NotTaken(NotTaken::DiskFull),
            Err(EngineError::OutcomeUnknown) => Answer::OutcomeUnknown,
            Err(error) => Answer::Failed(crate::applier::chain(&error)),
        }
    }

    /// Waits until as much may be sent. Other requests of the member are answered meanwhile.
    async fn wait_for_rate(&self, records: &[ByteVec]) {
        let bytes: usize = records.iter().map(|record| record.len()).sum();
        let wait = self.rate.lock().take(bytes as u64, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn records(&self, tenant: TenantId, from: Offset, end: Offset) -> Result<Answer, EngineError> {
        let writer = self.tenants.writer(tenant).ok_or_else(|| missing(tenant))?;
        let shared = Arc::clone(&writer.lock().tenant);
        let wanted = usize::try_from(end.get().saturating_sub(from.get())).unwrap_or(usize::MAX);
        let bytes_max = self.rate.lock().answer_bytes_max(RECORDS_BYTES_MAX);
        let read = |records_max| shared.log.read_range(from, records_max, bytes_max);
        let records = match read(wanted.min(RECORDS_MAX)) {
            // Those before a damaged one are of use, and it is repaired meanwhile.
            Err(source @ TenantLogError::Corrupt { offset, .. }) if offset > from => {
                let _ = shared.log_error(source);
                read(usize::try_from(offset.get() - from.get()).unwrap_or(RECORDS_MAX))
            }
            read => read,
        };
        let records = records.map_err(|source| shared.log_error(source))?;
        let encoded = records.into_iter().map(|record| {
            let mut bytes = record.header.encode().to_vec();
            record.encode_body(&mut bytes);
            ByteVec::from(bytes)
        });
        Ok(Answer::Records(encoded.collect()))
    }

    fn subject_keys(&self, tenant: TenantId, from: u64, end: u64) -> Result<Answer, EngineError> {
        let writer = self.tenants.writer(tenant).ok_or_else(|| missing(tenant))?;
        let shared = Arc::clone(&writer.lock().tenant);
        let keys = (from..end.min(from.saturating_add(SUBJECT_KEYS_MAX))).map(|id| {
            let key = shared.subject_keys.get(SubjectKeyId::new(id))?;
            Ok(key.map(|key| self.keyring.wrap_subject_key(tenant, &key).into()))
        });
        keys.collect::<Result<_, EngineError>>().map(Answer::SubjectKeys)
    }

    /// Brings in what is missing of a tenant.
    async fn bring_in(&self, listed: &ListedTenant, fetch: &Fetch) -> Result<(), MachineError> {
        let tenant = listed.tenant;
        let Answer::TenantKeys(keys) = ask(fetch, &Ask::TenantKeys(tenant)).await? else {
            return Err("the keys of a tenant were asked for".into());
        };
        blocking(|| {
            self.keyring.import_tenant(tenant, &keys)?;
            self.tenants.open_listed(tenant)
        })
        .map_err(|error: EngineError| error)?;
        let writer = self.tenants.writer(tenant).ok_or_else(|| missing(tenant))?;
        loop {
            // Nobody sees a row before the key of its data subject is there.
            self.bring_in_subject_keys(&writer, fetch).await?;
            blocking(|| self.show(&writer))?;
            let from = writer.lock().state.end;
            if from >= listed.end {
                break;
            }
            let end = listed.end;
            let Answer::Records(records) = ask(fetch, &Ask::Records { tenant, from, end }).await? else {
                return Err("records were asked for".into());
            };
            if records.is_empty() {
                return Err(format!("no record of tenant {tenant} came from {from} on").into());
            }
            blocking(|| self.append(&writer, &records))?;
        }
        let found = writer.lock().state.last_hash;
        if found != listed.last_hash {
            let expected = listed.last_hash;
            return Err(format!("the log of tenant {tenant} ends with {found}, the leader's with {expected}").into());
        }
        Ok(())
    }

    /// Appends records after checking that they are what the chain says, and replays them.
    fn append(&self, writer: &Mutex<TenantWriter>, records: &[ByteVec]) -> Result<(), MachineError> {
        let _order = self.applier.order.lock();
        let mut writer = writer.lock();
        for bytes in records {
            let record = decode_record(bytes)?;
            let state = &writer.state;
            if record.header.tenant != state.tenant
                || record.header.offset != state.end
                || record.header.previous_hash != state.last_hash
            {
                return Err(format!("record {} does not follow the log", record.header.offset).into());
            }
            writer.take_record(&LinkedRecord::new(record))?;
        }
        if !writer.waits_for_subject_keys()? {
            writer.publish()?;
        }
        Ok(())
    }

    /// Lets readers see what was appended, and makes room for more.
    fn show(&self, writer: &Mutex<TenantWriter>) -> Result<(), MachineError> {
        let _order = self.applier.order.lock();
        let mut writer = writer.lock();
        writer.publish()?;
        if writer.tenant.projection.memory_bytes() > REBUILD_FLUSH_BYTES {
            drop(writer);
            self.applier.flusher.flush_all()?;
        }
        Ok(())
    }

    async fn bring_in_subject_keys(&self, writer: &Mutex<TenantWriter>, fetch: &Fetch) -> Result<(), MachineError> {
        let (shared, end) = {
            let writer = writer.lock();
            (Arc::clone(&writer.tenant), writer.state.next_subject_key)
        };
        let tenant = shared.id;
        let mut from = shared.subject_keys.count()?;
        while from < end {
            let Answer::SubjectKeys(keys) = ask(fetch, &Ask::SubjectKeys { tenant, from, end }).await? else {
                return Err("the keys of data subjects were asked for".into());
            };
            if keys.is_empty() {
                return Err(format!("no key of a data subject of tenant {tenant} came from {from} on").into());
            }
            for wrapped in keys {
                let id = SubjectKeyId::new(from);
                let key = match wrapped {
                    Some(wrapped) => Some(self.keyring.unwrap_subject_key(tenant, id, &wrapped)?),
                    None => None,
                };
                shared.subject_keys.bring_in(id, key)?;
                from += 1;
            }
        }
        Ok(())
    }
}

fn missing(tenant: TenantId) -> EngineError {
    EngineError::TenantMissing {
        tenant,
        end: Offset::ZERO,
    }
}

async fn ask(fetch: &Fetch, ask: &Ask) -> Result<Answer, MachineError> {
    let answer = fetch(encode(ask).into()).await?;
    match decode(&answer)? {
        Answer::Failed(reason) => Err(reason.into()),
        answer => Ok(answer),
    }
}

/// A record whose body is what its header says.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, MachineError> {
    let (header, body) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or("a record is shorter than its header")?;
    let header = RecordHeader::decode(header)?;
    if is_planted(Bug::SnapshotUnverified) {
        let chunks = Record::decode_body(&header, body)?;
        return Ok(Record { header, chunks });
    }
    let chunks = craton_log::check_body(&header, body)
        .map_err(|field| format!("record {}: field {field}", record_hash(&header.encode())))?;
    Ok(Record { header, chunks })
}
