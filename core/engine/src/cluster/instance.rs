//! Which opening of which directory a member is, and whether the others let it take part.
//!
//! Raft is safe as long as a member keeps what it promised. One whose directory was put back from an older copy, or is a second one under
//! the same number, has forgotten promises; one whose directory is another cluster's never made any. So a
//! member takes part only after it has told another one how often its directory was opened and how far its log goes, and none has said
//! that it knows of something newer. Members remember what they were told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use craton_consensus::{Replicated, Standing};
use craton_log::Disk;
use craton_types::{Hash, LogIndex, NodeId, decode_whole};
use futures::future::join_all;
use minicbor::{Decode, Encode};
use parking_lot::Mutex;

use super::message::{self, Answer, Ask};
use crate::EngineError;
use crate::durable_file::replace;

/// How often a member says who it is while nobody has answered yet.
const UNKNOWN_PERIOD: Duration = Duration::from_millis(100);
/// How often it says so afterwards, so that the others know how far its log goes.
const PERIOD: Duration = Duration::from_secs(1);
/// How long one member is waited for.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The most members that are remembered.
const KNOWN_MAX: usize = 256;
const FILE_NAME: &str = "instances";
const MAGIC: &[u8; 8] = b"CRTINS\x00\x01";
/// No file of [`KNOWN_MAX`] members is longer.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Instance {
    /// The hash of the key that the cluster's logs are signed under.
    #[n(0)]
    pub(crate) cluster: Hash,
    /// How often its directory was opened, this time included.
    #[n(1)]
    pub(crate) opened: u64,
    /// Random, drawn when it was opened.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) drawn: [u8; 16],
    /// The last entry that its log had when it was opened; none for a log that is known to have lost entries.
    #[n(3)]
    pub(crate) last: Option<LogIndex>,
    /// The last entry that it knows to be committed now.
    #[n(4)]
    pub(crate) committed: LogIndex,
}

/// What the members said of themselves, by their numbers.
pub(crate) struct Instances {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cluster: Hash,
    known: Mutex<BTreeMap<u64, Instance>>,
}

impl Instances {
    /// Reads what is remembered. A file that is damaged is as good as none: what is lost is a check on others.
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path, cluster: Hash) -> Result<Self, EngineError> {
        let path = directory.join(FILE_NAME);
        let known = match read(disk.as_ref(), &path) {
            Ok(bytes) => decode(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(EngineError::Io { path, source }),
        };
        Ok(Self {
            disk,
            path,
            cluster,
            known: Mutex::new(known),
        })
    }

    /// Takes note of what a member says of itself. On error, why it may not take part.
    pub(super) fn introduce(&self, member: NodeId, said: Instance) -> Result<(), Unwelcome> {
        let mut known = self.known.lock();
        let before = known.get(&member.get());
        if let Some(reason) = refusal(self.cluster, before, &said) {
            tracing::error!(%member, %reason, "a member may not take part");
            return Err(reason);
        }
        let is_new = before.is_none_or(|before| before.drawn != said.drawn);
        if known.len() >= KNOWN_MAX && !known.contains_key(&member.get()) {
            return Err(Unwelcome::Forgot(format!("more than {KNOWN_MAX} members were seen")));
        }
        known.insert(member.get(), said);
        if is_new && let Err(error) = replace(self.disk.as_ref(), &self.path, &encode(&known)) {
            // It is remembered until this member stops.
            tracing::warn!(%error, path = %self.path.display(), "what a member said of itself was not stored");
        }
        Ok(())
    }
}

/// Why a member may not take part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwelcome {
    /// Of the two that compare, one has the directory of another cluster. Which one, most of the others say.
    #[error("its directory is of another cluster")]
    Stranger,
    /// It forgot something. Whoever remembers that is right, also alone.
    #[error("{0}")]
    Forgot(String),
}

/// Why a member may not take part, if so.
fn refusal(cluster: Hash, known: Option<&Instance>, said: &Instance) -> Option<Unwelcome> {
    if said.cluster != cluster {
        return Some(Unwelcome::Stranger);
    }
    let known = known?;
    if said.drawn == known.drawn {
        return None;
    }
    if said.opened <= known.opened {
        return Some(Unwelcome::Forgot(format!(
            "its directory was opened {} times, another one with its number {} times: it is an older copy, or a second one",
            said.opened, known.opened
        )));
    }
    let last = said.last?;
    (last < known.committed).then(|| {
        Unwelcome::Forgot(format!(
            "its log ended with entry {last} and once had entry {}: it is an older copy",
            known.committed
        ))
    })
}

/// Tells the others who this member is as long as it runs, and consensus whether it may take part.
pub(crate) fn introduce(replicated: &Arc<Replicated>, said: Instance) {
    replicated.set_standing(Standing::Unknown);
    let weak = Arc::downgrade(replicated);
    replicated.runtime().spawn(async move {
        let mut is_known = false;
        while let Some(asked) = begin(&weak, &said) {
            let answers = join_all(asked).await;
            let Some(replicated) = weak.upgrade() else { return };
            let answers: Vec<_> = answers.into_iter().flatten().collect();
            let needs_nobody = replicated.is_only_voter();
            if let Some(reason) = refused(&answers, is_known) {
                replicated.set_standing(Standing::Refused(reason));
                return;
            }
            if !is_known && (!answers.is_empty() || needs_nobody) {
                is_known = true;
                replicated.set_standing(Standing::Good);
            }
            drop(replicated);
            tokio::time::sleep(if is_known { PERIOD } else { UNKNOWN_PERIOD }).await;
        }
    });
}

/// What a member answered to an introduction.
type Answered = (NodeId, Result<(), Unwelcome>);
/// An answer, or none.
type Asked = futures::future::BoxFuture<'static, Option<Answered>>;

/// Why the answers keep a member from taking part, if they do. One that takes part already is the stranger only when more say
/// so than not: a directory of another cluster under one number must not stop those with the others.
fn refused(answers: &[Answered], takes_part: bool) -> Option<String> {
    let says = |(member, reason): (NodeId, &Unwelcome)| format!("member {member} says: {reason}");
    let unwelcome = || {
        let refusals = answers.iter();
        refusals.filter_map(|(member, answer)| Some((*member, answer.as_ref().err()?)))
    };
    if let Some(forgot) = unwelcome().find(|(_, reason)| **reason != Unwelcome::Stranger) {
        return Some(says(forgot));
    }
    let strangers = unwelcome().count();
    let welcomes = answers.len() - strangers;
    let is_stranger = strangers > welcomes || (strangers == welcomes && !takes_part);
    unwelcome().next().filter(|_| is_stranger).map(says)
}

/// Asks all others; `None` when the member is closed.
fn begin(replicated: &Weak<Replicated>, said: &Instance) -> Option<Vec<Asked>> {
    let replicated = replicated.upgrade().filter(|replicated| !replicated.is_closed())?;
    let said = Instance {
        committed: replicated.status().committed,
        ..said.clone()
    };
    let others = replicated.others().into_iter();
    let asked = others.map(|member| {
        let request = message::encode(&Ask::Introduce(said.clone()));
        let asked = replicated.ask(member, request.into());
        let asked: Asked = Box::pin(async move {
            let answer = tokio::time::timeout(TIMEOUT, asked).await.ok()?.ok()?;
            match message::decode(&answer) {
                Ok(Answer::Welcome) => Some((member, Ok(()))),
                Ok(Answer::Stranger) => Some((member, Err(Unwelcome::Stranger))),
                Ok(Answer::NotWelcome(reason)) => Some((member, Err(Unwelcome::Forgot(reason)))),
                // It is being started, or does not know the question.
                Ok(_) | Err(_) => None,
            }
        });
        asked
    });
    Some(asked.collect())
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let length = file.read_up_to(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Magic, CBOR, CRC32C (big-endian).
fn encode(known: &BTreeMap<u64, Instance>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    minicbor::encode(known, &mut bytes).expect("writing to memory does not fail");
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<u64, Instance>> {
    let (covered, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(covered).to_be_bytes() != *checksum {
        return None;
    }
    decode_whole(covered.strip_prefix(MAGIC)?).ok()
}

#[cfg(test)]
mod tests {
    use craton_log::testing::MemoryDisk;

    use super::*;

    const CLUSTER: Hash = Hash::new([1; 32]);
    const MEMBER: NodeId = NodeId::new(2);

    fn instance(opened: u64, drawn: u8, last: u64, committed: u64) -> Instance {
        Instance {
            cluster: CLUSTER,
            opened,
            drawn: [drawn; 16],
            last: Some(LogIndex::new(last)),
            committed: LogIndex::new(committed),
        }
    }

    fn open(disk: &MemoryDisk) -> Instances {
        Instances::open(Arc::new(disk.clone()), Path::new("/consensus"), CLUSTER).expect("readable")
    }

    #[test]
    fn older_copies_second_ones_and_strangers_may_not_take_part() {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("/consensus")).expect("made");
        let known = instance(5, 1, 10, 90);
        open(&disk).introduce(MEMBER, known.clone()).expect("new");
        let check = |said| open(&disk).introduce(MEMBER, said);
        assert_eq!(check(known), Ok(()), "the same once more");
        for (what, said, expected) in [
            (
                "a copy from before the last opening",
                instance(4, 2, 100, 100),
                "an older copy",
            ),
            ("a second directory", instance(5, 2, 100, 100), "a second one"),
            ("a new directory", instance(1, 2, 0, 0), "a second one"),
            (
                "a copy of the last opening's beginning",
                instance(6, 2, 89, 89),
                "once had entry 90",
            ),
        ] {
            let refused = check(said).expect_err(what).to_string();
            assert!(refused.contains(expected), "{what}: {refused}");
        }
        let mut stranger = instance(6, 2, 100, 100);
        stranger.cluster = Hash::new([9; 32]);
        assert_eq!(check(stranger), Err(Unwelcome::Stranger));
        let mut damaged = instance(6, 3, 0, 0);
        damaged.last = None;
        assert_eq!(
            check(damaged),
            Ok(()),
            "one that knows what it lost votes when it has it back"
        );
        assert_eq!(check(instance(7, 4, 90, 90)), Ok(()));
        assert!(check(instance(6, 5, 100, 100)).is_err(), "what was told last counts");
        assert_eq!(
            open(&disk).introduce(NodeId::new(3), instance(1, 6, 0, 0)),
            Ok(()),
            "another member"
        );
    }

    #[test]
    fn one_strange_directory_stops_no_other_member() {
        let said = |answers: &[Result<(), Unwelcome>]| -> Vec<Answered> {
            (2..).map(NodeId::new).zip(answers.iter().cloned()).collect()
        };
        let (yes, strange) = (Ok(()), Err(Unwelcome::Stranger));
        let forgot = Err(Unwelcome::Forgot("an older copy".to_owned()));
        for (answers, takes_part, is_refused) in [
            (said(&[]), false, false),
            (said(&[yes.clone(), yes.clone()]), false, false),
            (said(&[yes.clone(), strange.clone()]), true, false),
            (said(&[yes.clone(), strange.clone()]), false, true),
            (said(&[strange.clone(), strange.clone()]), true, true),
            (said(&[strange]), false, true),
            (
                said(&[yes.clone(), yes.clone(), yes.clone(), forgot.clone()]),
                true,
                true,
            ),
        ] {
            assert_eq!(
                refused(&answers, takes_part).is_some(),
                is_refused,
                "{answers:?} {takes_part}"
            );
        }
        let reason = refused(&said(&[yes, forgot]), false).expect("refused");
        assert_eq!(reason, "member 3 says: an older copy");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("/consensus")).expect("made");
        open(&disk).introduce(MEMBER, instance(5, 1, 10, 10)).expect("new");
        disk.tamper(&Path::new("/consensus").join(FILE_NAME), |bytes| bytes[12] ^= 1);
        assert_eq!(open(&disk).introduce(MEMBER, instance(1, 2, 0, 0)), Ok(()));
    }
}
