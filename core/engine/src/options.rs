//! How a data directory is opened.

use std::path::PathBuf;
use std::sync::Arc;

use craton_crypto::MasterKeyProvider;
use craton_log::{Disk, RealDisk, TenantLogOptions, WAL_SEGMENT_BYTES_DEFAULT};
use craton_types::{Format, Region};

use crate::{Clock, ClusterOptions, Craton, EngineError, Random, ScrubOptions, SyncPolicy, SystemClock, SystemRandom};

/// What the logs' checkpoints begin with unless another origin is set.
const ORIGIN_DEFAULT: &str = "craton.localhost";

/// How a data directory is opened, see [`Craton::options`].
///
/// ```
/// use std::sync::Arc;
/// use craton_crypto::{FileMasterKey, SecretBytes};
/// use craton_engine::Craton;
///
/// # let folder = tempfile::tempdir()?;
/// # let key_file = folder.path().join("master.key");
/// # FileMasterKey::generate(&key_file, SecretBytes::new([42; 32]))?;
/// let craton = Craton::options()
///     .origin("ledger.clinic.example")
///     .master_key(Arc::new(FileMasterKey::open(&key_file)?))
///     .open(folder.path().join("ledger"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Options {
    pub(crate) origin: String,
    pub(crate) master_key: Option<Arc<dyn MasterKeyProvider>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) sync_policy: SyncPolicy,
    pub(crate) scrub: ScrubOptions,
    pub(crate) cluster: Option<ClusterOptions>,
    pub(crate) transfer_bytes_per_second: u64,
    pub(crate) format: Arc<Format>,
    pub(crate) region: Option<Region>,
    pub(crate) wal_segment_bytes: u64,
    pub(crate) log_options: TenantLogOptions,
    #[cfg(feature = "simulation")]
    pub(crate) full_disk: Option<crate::disk_space::SpaceWait>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            origin: ORIGIN_DEFAULT.to_owned(),
            master_key: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            disk: Arc::new(RealDisk),
            sync_policy: SyncPolicy::default(),
            scrub: ScrubOptions::default(),
            cluster: None,
            transfer_bytes_per_second: crate::cluster::TRANSFER_BYTES_PER_SECOND_DEFAULT,
            format: Arc::default(),
            region: None,
            wal_segment_bytes: WAL_SEGMENT_BYTES_DEFAULT,
            log_options: TenantLogOptions::default(),
            #[cfg(feature = "simulation")]
            full_disk: None,
        }
    }
}

impl Options {
    /// Where the node is. A tenant's placement rules say in which regions data of a class may be kept; a directory with
    /// rules that were set in one region does not open in another.
    #[must_use]
    pub fn region(mut self, region: impl Into<Option<Region>>) -> Self {
        self.region = region.into();
        self
    }

    /// What the logs' checkpoints begin with: a name that no other node has, such as a host name of yours. Each
    /// tenant's origin is this, a slash and the tenant's id.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = origin.into();
        self
    }

    /// Unwraps the node's keys. Without one, the key is in the file `<directory>.master.key`, mode 0600, which is made
    /// for a new directory. Whoever has that file and the directory can read everything, so keep them apart.
    #[must_use]
    pub fn master_key(mut self, master_key: Arc<dyn MasterKeyProvider>) -> Self {
        self.master_key = Some(master_key);
        self
    }

    /// The time, instead of the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Randomness for keys and ids, instead of the operating system's.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Where the data directory is. A master key beside it is the file system's in any case.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// How many commands share one `fdatasync`.
    #[must_use]
    pub fn sync_policy(mut self, sync_policy: SyncPolicy) -> Self {
        self.sync_policy = sync_policy;
        self
    }

    /// How fast and how often the logs are read through in the background to find damage.
    #[must_use]
    pub fn scrub(mut self, scrub: ScrubOptions) -> Self {
        self.scrub = scrub;
        self
    }

    /// Which versions of its formats the build knows, shared with those who must know which one is used. A build that
    /// knows fewer than this one takes part as an older one would.
    #[must_use]
    pub fn format(mut self, format: Arc<Format>) -> Self {
        self.format = format;
        self
    }

    /// Opens the data directory, creating it when it is new, and applies what was acknowledged before the last stop.
    /// One process at a time has it open. Blocks.
    ///
    /// # Errors
    /// When the directory is in use, the keys do not open, or a log or view is damaged beyond repair.
    pub fn open(self, directory: impl Into<PathBuf>) -> Result<Craton, EngineError> {
        Craton::open_with(directory.into(), self)
    }
}

/// What a simulation sets.
#[cfg(feature = "simulation")]
impl Options {
    /// The sizes of the write-ahead log's segments and of the tenants' logs', so that short runs meet their ends.
    #[must_use]
    pub fn segments(mut self, wal_segment_bytes: u64, log_options: TenantLogOptions) -> Self {
        self.wal_segment_bytes = wal_segment_bytes;
        self.log_options = log_options;
        self
    }

    /// What to do whenever committed work would wait for space on a full disk. It is asked again and again until there
    /// is space.
    #[must_use]
    pub fn on_full_disk(mut self, wait: impl Fn() + Send + Sync + 'static) -> Self {
        self.full_disk = Some(Arc::new(wait));
        self
    }

    /// As [`Options::open`], but starts no thread: the node does what it does when it is told, see [`crate::Steps`].
    /// When the [`crate::Steps`] and everything of the [`Craton`] are dropped, the node is gone as after a crash.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_stepped(self, directory: impl Into<PathBuf>) -> Result<(Craton, crate::Steps), EngineError> {
        crate::Steps::open(directory.into(), self)
    }
}
