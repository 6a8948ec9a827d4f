//! The keys of a tenant's data subjects: the only thing that can be destroyed.
//!
//! They lie beside the log in two equal files, slot by slot, wrapped under a key of the files' own. That one is wrapped
//! under a key that derives from the tenant's secret in the keyring, so that destroying the tenant's keys destroys these.
//! A key comes with the command that first seals a cell under it, waits in memory, and is written before the
//! write-ahead log may forget that command.
//!
//! # How a key is destroyed
//! 1. When the erasure is applied, the key is *condemned*: a small file durably says so, and nobody who reads gets the
//!    key from then on. The slot stays, because a crash now makes the node apply earlier entries again, under that key.
//! 2. Once the logs and views are flushed past the erasure, the slots are overwritten in both files.
//! 3. Once no segment of the write-ahead log is left that held the key or what was sealed under it, the file forgets
//!    the key, and the erasure is acknowledged.
//!
//! A node that stops in between goes on when it is opened.

mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{SecretBytes, SubjectKey, SubjectKeysKey};
use craton_log::{Disk, DiskFile};
use craton_types::planted::{Bug, is_planted};
use craton_types::{Recovered, RecoveryAction, RecoveryArea, SubjectKeyId, TenantId};
use parking_lot::{Mutex, RwLock};

use crate::clock::random_array;
use crate::recoveries::Recoveries;
use crate::tenants::Resources;
use crate::{EngineError, Random};
use file::{HEADER_BYTES, SLOT_BYTES, Slot, decode_header, decode_slot, encode_header, encode_slot, slot_position};

/// The two copies.
const FILES: [&str; 2] = ["subjects.a.keys", "subjects.b.keys"];
const CONDEMNED_FILE: &str = "subjects.condemned";
/// Keys kept in memory so that they need not be read again.
const CACHED_KEYS_MAX: usize = 65_536;
/// A copy that is made whole again is read and written in pieces of this many bytes.
const COPY_BYTES: usize = 1024 * 1024;

/// The keys of a tenant's data subjects.
pub(crate) struct SubjectKeys {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    directory: PathBuf,
    database: String,
    tenant: TenantId,
    recoveries: Arc<Recoveries>,
    /// Unwraps what wraps the keys.
    store_key: SecretBytes,
    /// Held while keys are written, so that flushes take turns. Locked before `keys`, which is locked before `files`.
    flushing: Mutex<()>,
    keys: RwLock<Keys>,
    files: RwLock<Option<Files>>,
}

#[derive(Default)]
struct Keys {
    /// Created and not yet on disk.
    pending: BTreeMap<SubjectKeyId, SubjectKey>,
    /// Read from disk or just written.
    cached: HashMap<SubjectKeyId, SubjectKey>,
    /// Erased; whether the slots are overwritten.
    condemned: BTreeMap<SubjectKeyId, bool>,
}

/// The open files.
#[derive(Clone)]
struct Files {
    copies: [Arc<dyn DiskFile>; 2],
    wrapping: SubjectKeysKey,
}

/// A copy's file and the wrapped key in its header.
type OpenCopy = (Arc<dyn DiskFile>, Vec<u8>);

impl SubjectKeys {
    /// Opens a tenant's keys; the files are made with the first key.
    pub(crate) fn open(
        resources: &Resources,
        directory: &Path,
        database: &str,
        tenant: TenantId,
        store_key: SecretBytes,
    ) -> Result<Self, EngineError> {
        let keys = Self {
            disk: Arc::clone(&resources.disk),
            random: Arc::clone(&resources.random),
            recoveries: Arc::clone(&resources.recoveries),
            directory: directory.to_owned(),
            database: database.to_owned(),
            tenant,
            store_key,
            flushing: Mutex::default(),
            keys: RwLock::default(),
            files: RwLock::default(),
        };
        *keys.files.write() = keys.open_files()?;
        keys.keys.write().condemned = keys.read_condemned()?;
        Ok(keys)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn io(&self, name: &str) -> impl FnOnce(io::Error) -> EngineError + use<> {
        let path = self.path(name);
        |source| EngineError::Io { path, source }
    }

    /// Opens both copies; one that is missing or without its header is made again from the other.
    fn open_files(&self) -> Result<Option<Files>, EngineError> {
        let [first, second] = FILES.map(|name| self.open_copy(name));
        let (first, second) = (first?, second?);
        let (wrapped, files) = match (first, second) {
            (None, None) if FILES.iter().all(|name| !self.exists(name)) => return Ok(None),
            (None, None) => return Err(self.lost()),
            (Some((first, wrapped)), Some((second, other))) if wrapped == other => (wrapped, [first, second]),
            (Some(_), Some(_)) => return Err(self.lost()),
            (Some((first, wrapped)), None) => {
                let second = self.copy_file(&first, FILES[1])?;
                (wrapped, [first, second])
            }
            (None, Some((second, wrapped))) => {
                let first = self.copy_file(&second, FILES[0])?;
                (wrapped, [first, second])
            }
        };
        let store = SubjectKeysKey::new(&self.store_key, self.tenant);
        let secret = store.unwrap_store_key(&wrapped).map_err(|_| self.lost())?;
        Ok(Some(Files {
            copies: files,
            wrapping: SubjectKeysKey::new(&secret, self.tenant),
        }))
    }

    fn exists(&self, name: &str) -> bool {
        self.disk.open(&self.path(name)).is_ok()
    }

    fn lost(&self) -> EngineError {
        EngineError::SubjectKeysLost {
            database: self.database.clone(),
            directory: self.directory.clone(),
        }
    }

    /// Opens a copy and reads its header; `None` when there is none, or none that is whole.
    fn open_copy(&self, name: &str) -> Result<Option<OpenCopy>, EngineError> {
        let file = match self.disk.open(&self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(name)(error)),
        };
        let mut header = [0; HEADER_BYTES];
        let read = file.read_up_to(&mut header, 0).map_err(self.io(name))?;
        let wrapped = decode_header(&header, self.tenant).filter(|_| read == HEADER_BYTES);
        Ok(wrapped.map(|wrapped| (file, wrapped.to_vec())))
    }

    /// Makes a copy of a whole file, under a temporary name until it is durable.
    fn copy_file(&self, from: &Arc<dyn DiskFile>, name: &str) -> Result<Arc<dyn DiskFile>, EngineError> {
        let reason = "it was missing or without its header".to_owned();
        self.recoveries
            .note_rewritten(self.tenant, RecoveryArea::SubjectKeys, name, reason);
        self.make_file(name, |file| {
            let mut buffer = vec![0; COPY_BYTES];
            let mut position = 0;
            loop {
                let read = from.read_up_to(&mut buffer, position)?;
                if read == 0 {
                    break;
                }
                file.write_all_at(&buffer[..read], position)?;
                position += read as u64;
            }
            Ok(())
        })
    }

    /// Makes a file that is either wholly there or not at all after a crash.
    fn make_file(
        &self,
        name: &str,
        write: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
    ) -> Result<Arc<dyn DiskFile>, EngineError> {
        let make = || {
            let temporary = self.path(name).with_extension("tmp");
            let file = self.disk.create(&temporary)?;
            write(file.as_ref())?;
            file.sync_all()?;
            self.disk.rename(&temporary, &self.path(name))?;
            self.disk.sync_dir(&self.directory)?;
            Ok(file)
        };
        make().map_err(self.io(name))
    }

    /// Makes both files, with a fresh wrapping key.
    fn create_files(&self) -> Result<Files, EngineError> {
        let secret = SecretBytes::new(random_array(self.random.as_ref()));
        let store = SubjectKeysKey::new(&self.store_key, self.tenant);
        let wrapped = store.wrap_store_key(&secret, random_array(self.random.as_ref()));
        let header = encode_header(self.tenant, &wrapped);
        let [first, second] = FILES.map(|name| self.make_file(name, |file| file.write_all_at(&header, 0)));
        Ok(Files {
            copies: [first?, second?],
            wrapping: SubjectKeysKey::new(&secret, self.tenant),
        })
    }

    /// Checks that the keys up to `next` can be there: to be called once the view says how many there are.
    pub(crate) fn check_count(&self, next: u64) -> Result<(), EngineError> {
        if next == 0 {
            return Ok(());
        }
        let files = self.files.read().clone().ok_or_else(|| self.lost())?;
        for copy in &files.copies {
            if copy.len().map_err(self.io(FILES[0]))? >= slot_position(SubjectKeyId::new(next)) {
                return Ok(());
            }
        }
        Err(self.lost())
    }

    /// The key for a reader; `None` when it is erased.
    pub(crate) fn get(&self, id: SubjectKeyId) -> Result<Option<SubjectKey>, EngineError> {
        {
            let keys = self.keys.read();
            if keys.condemned.contains_key(&id) {
                return Ok(None);
            }
            if let Some(key) = keys.pending.get(&id).or_else(|| keys.cached.get(&id)) {
                return Ok(Some(key.clone()));
            }
        }
        // The lock is held while the key is read, so that a key that is condemned meanwhile does not stay.
        let mut keys = self.keys.write();
        if keys.condemned.contains_key(&id) {
            return Ok(None);
        }
        let read = self.read(id)?;
        if let Some(key) = &read {
            keys.cache(key.clone());
        }
        Ok(read)
    }

    /// The key for applying a command: also one that is erased by a later command, which is not applied again yet.
    pub(crate) fn get_to_apply(&self, id: SubjectKeyId) -> Result<SubjectKey, EngineError> {
        if let Some(key) = self.get(id)? {
            return Ok(key);
        }
        let _unchanged = self.keys.write();
        self.read(id)?.ok_or_else(|| self.damaged(id))
    }

    fn damaged(&self, id: SubjectKeyId) -> EngineError {
        EngineError::SubjectKeyDamaged {
            database: self.database.clone(),
            key: id.get(),
        }
    }

    /// Reads a slot; a damaged copy of it is mended from the other. `keys` is locked for writing meanwhile, so that
    /// the slot is not overwritten in between.
    fn read(&self, id: SubjectKeyId) -> Result<Option<SubjectKey>, EngineError> {
        let files = self.files.read().clone().ok_or_else(|| self.damaged(id))?;
        let mut found = None;
        let mut broken = Vec::new();
        for (copy, name) in files.copies.iter().zip(FILES) {
            let mut bytes = [0; SLOT_BYTES];
            let read = copy.read_up_to(&mut bytes, slot_position(id)).map_err(self.io(name))?;
            match decode_slot(&bytes, id).filter(|_| read == SLOT_BYTES) {
                // A destroyed key stays destroyed, whatever the other copy says.
                Some(slot) if found.is_none() || slot == Slot::Destroyed => found = Some(slot),
                Some(_) => {}
                None => broken.push((copy, name)),
            }
        }
        let slot = found.ok_or_else(|| self.damaged(id))?;
        for (copy, name) in broken {
            self.recoveries.note(
                self.tenant,
                Recovered {
                    generation: 0,
                    area: RecoveryArea::SubjectKeys,
                    file: name.to_owned(),
                    start: slot_position(id),
                    end: slot_position(id) + SLOT_BYTES as u64,
                    reason: format!("the copy of key {id} was damaged"),
                    action: RecoveryAction::Rewritten,
                    node: None,
                },
            );
            copy.write_all_at(&encode_slot(id, &slot), slot_position(id))
                .map_err(self.io(name))?;
        }
        match slot {
            Slot::Destroyed => Ok(None),
            Slot::Key(wrapped) => match files.wrapping.unwrap(&wrapped, id) {
                Ok(key) => Ok(Some(key)),
                Err(_) => Err(self.damaged(id)),
            },
        }
    }

    /// Takes a key that was just created.
    pub(crate) fn insert(&self, key: SubjectKey) {
        self.keys.write().pending.insert(key.id(), key);
    }

    /// How many keys there are, destroyed ones included.
    pub(crate) fn count(&self) -> Result<u64, EngineError> {
        if let Some((last, _)) = self.keys.read().pending.last_key_value() {
            return Ok(last.get() + 1);
        }
        let Some(files) = self.files.read().clone() else {
            return Ok(0);
        };
        let bytes = files.copies[0].len().map_err(self.io(FILES[0]))?;
        let slots = bytes.saturating_sub(slot_position(SubjectKeyId::new(0)));
        Ok(slots / SLOT_BYTES as u64)
    }

    /// Takes the next key from another member; none when its subject was erased.
    pub(crate) fn bring_in(&self, id: SubjectKeyId, key: Option<SubjectKey>) -> Result<(), EngineError> {
        match key {
            Some(key) => self.insert(key),
            None => {
                // Numbers have no gaps; nothing was ever sealed under this one.
                let nothing = SecretBytes::new(random_array(self.random.as_ref()));
                self.insert(SubjectKey::new(nothing, id, self.tenant));
                self.condemn(id)?;
            }
        }
        Ok(())
    }

    /// Condemns a key: durably noted before anybody may see the erasure.
    pub(crate) fn condemn(&self, id: SubjectKeyId) -> Result<(), EngineError> {
        let mut keys = self.keys.write();
        keys.cached.remove(&id);
        keys.condemned.insert(id, false);
        self.write_condemned(&keys.condemned)
    }

    /// The condemned keys.
    pub(crate) fn condemned(&self) -> Vec<SubjectKeyId> {
        self.keys.read().condemned.keys().copied().collect()
    }

    /// Writes the keys that wait, and makes them durable. To be called after they were set aside for a flush and
    /// before the write-ahead log may forget them.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        let _turn = self.flushing.lock();
        let pending = self.keys.read().pending.clone();
        let Some((&first, _)) = pending.first_key_value() else {
            return Ok(());
        };
        let existing = self.files.read().clone();
        let files = match existing {
            Some(files) => files,
            None => {
                let files = self.create_files()?;
                *self.files.write() = Some(files.clone());
                files
            }
        };
        let mut buffer = Vec::with_capacity(pending.len() * SLOT_BYTES);
        let mut ids = first.get()..;
        for (id, key) in &pending {
            assert_eq!(Some(id.get()), ids.next(), "keys are numbered without a gap");
            let wrapped = files.wrapping.wrap(key, random_array(self.random.as_ref()));
            buffer.extend_from_slice(&encode_slot(*id, &Slot::Key(wrapped)));
        }
        for (copy, name) in files.copies.iter().zip(FILES) {
            copy.write_all_at(&buffer, slot_position(first))
                .map_err(self.io(name))?;
            copy.sync_data().map_err(self.io(name))?;
        }
        let mut keys = self.keys.write();
        for (id, key) in pending {
            keys.pending.remove(&id);
            if !keys.condemned.contains_key(&id) {
                keys.cache(key);
            }
        }
        Ok(())
    }

    /// Overwrites the slots of condemned keys. Their erasures must be flushed.
    pub(crate) fn destroy(&self, ids: &[SubjectKeyId]) -> Result<(), EngineError> {
        if ids.is_empty() {
            return Ok(());
        }
        let _turn = self.flushing.lock();
        let mut keys = self.keys.write();
        let files = self.files.read().clone();
        if let Some(files) = files.filter(|_| !is_planted(Bug::KeepErasedKey)) {
            for (copy, name) in files.copies.iter().zip(FILES) {
                for id in ids {
                    copy.write_all_at(&encode_slot(*id, &Slot::Destroyed), slot_position(*id))
                        .map_err(self.io(name))?;
                }
                copy.sync_data().map_err(self.io(name))?;
            }
        }
        for id in ids {
            if let Some(destroyed) = keys.condemned.get_mut(id) {
                *destroyed = true;
            }
        }
        Ok(())
    }

    /// Forgets condemned keys that nothing on disk holds any longer.
    ///
    /// # Panics
    /// When the slot of one of them was not overwritten.
    pub(crate) fn finish(&self, ids: &[SubjectKeyId]) -> Result<(), EngineError> {
        let mut keys = self.keys.write();
        let mut left = keys.condemned.clone();
        for id in ids {
            let destroyed = left.remove(id);
            assert_ne!(destroyed, Some(false), "a key is forgotten only after it was destroyed");
        }
        if left.len() == keys.condemned.len() {
            return Ok(());
        }
        self.write_condemned(&left)?;
        keys.condemned = left;
        Ok(())
    }

    /// The numbers of the condemned keys and the CRC32C of them, big-endian; no file when there are none.
    fn write_condemned(&self, condemned: &BTreeMap<SubjectKeyId, bool>) -> Result<(), EngineError> {
        if condemned.is_empty() {
            let removed = self.disk.remove(&self.path(CONDEMNED_FILE));
            let removed = removed.and_then(|()| self.disk.sync_dir(&self.directory));
            return removed.map_err(self.io(CONDEMNED_FILE));
        }
        let mut bytes: Vec<u8> = condemned.keys().flat_map(|id| id.get().to_be_bytes()).collect();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        self.make_file(CONDEMNED_FILE, |file| file.write_all_at(&bytes, 0))
            .map(drop)
    }

    fn read_condemned(&self) -> Result<BTreeMap<SubjectKeyId, bool>, EngineError> {
        let file = match self.disk.open(&self.path(CONDEMNED_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.io(CONDEMNED_FILE)(error)),
        };
        let length = usize::try_from(file.len().map_err(self.io(CONDEMNED_FILE))?).unwrap_or(usize::MAX);
        // Each number is of an erasure that was not finished: there are never many.
        const BYTES_MAX: usize = 64 * 1024 * 1024;
        let mut bytes = vec![0; length.min(BYTES_MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(self.io(CONDEMNED_FILE))?;
        let ids = bytes
            .split_last_chunk::<4>()
            .filter(|(ids, crc)| ids.len() % 8 == 0 && crc32c::crc32c(ids) == u32::from_be_bytes(**crc));
        let (ids, _) = ids.ok_or_else(|| self.lost())?;
        Ok(ids
            .chunks_exact(8)
            .map(|id| {
                (
                    SubjectKeyId::new(u64::from_be_bytes(id.try_into().expect("eight bytes"))),
                    false,
                )
            })
            .collect())
    }
}

impl Keys {
    fn cache(&mut self, key: SubjectKey) {
        if self.cached.len() >= CACHED_KEYS_MAX {
            self.cached.clear();
        }
        self.cached.insert(key.id(), key);
    }
}
