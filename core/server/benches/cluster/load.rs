//! What is done to a store, and how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};

use crate::MEMBERS;

/// How long a single operation may take; a failover takes less.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Clients that fill a store.
const FILLING_CLIENTS: u64 = 64;

/// A cluster that is measured.
pub(crate) trait Store {
    fn name(&self) -> &'static str;
    /// A connection to the leader, or to the member of this number.
    fn connect(&self, member: Option<usize>) -> BoxFuture<'static, Box<dyn Client>>;
    /// Which member leads.
    fn leader(&self) -> BoxFuture<'_, usize>;
    /// Kills a member as a power cut of its machine would.
    fn kill(&mut self, member: usize);
    /// Starts it again and waits until it takes part.
    fn restart(&mut self, member: usize) -> BoxFuture<'_, ()>;
}

/// One connection.
pub(crate) trait Client: Send {
    /// Writes a new key.
    fn write(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>>;
    /// Reads a key that is there.
    fn read(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>>;
}

/// How long every operation took.
#[derive(Default)]
pub(crate) struct Figures {
    elapsed: Duration,
    sorted: Vec<Duration>,
}

impl Figures {
    /// Adds those of another time.
    pub(crate) fn add(&mut self, other: Self) {
        self.elapsed += other.elapsed;
        self.sorted.extend(other.sorted);
        self.sorted.sort_unstable();
    }

    pub(crate) fn rate(&self) -> f64 {
        let operations = u32::try_from(self.sorted.len()).expect("fewer");
        f64::from(operations) / self.elapsed.as_secs_f64()
    }

    /// The time that this many of a hundred operations do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.sorted[(self.sorted.len() - 1) * percent / 100]
    }
}

/// Keys that nobody has, in no order.
struct Keys(u64);

impl Keys {
    fn new() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("random bytes");
        Self(u64::from_le_bytes(seed))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014), without the sign.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) >> 1
    }
}

/// Clients that each write one key after another.
pub(crate) async fn writes(store: &dyn Store, clients: usize, time: Duration) -> Figures {
    run(store, clients, time, |client, keys| {
        let key = keys.next();
        client.write(key)
    })
    .await
}

/// Clients that each read one key after another.
pub(crate) async fn reads(store: &dyn Store, clients: usize, keys_max: u64, time: Duration) -> Figures {
    run(store, clients, time, move |client, keys| {
        let key = keys.next() % keys_max;
        client.read(key)
    })
    .await
}

async fn run(
    store: &dyn Store,
    clients: usize,
    time: Duration,
    operation: impl for<'a> Fn(&'a mut dyn Client, &mut Keys) -> BoxFuture<'a, Result<(), String>> + Clone + Send + 'static,
) -> Figures {
    let connected = join_all((0..clients).map(|_| store.connect(None))).await;
    let started = Instant::now();
    let workers = connected.into_iter().map(|mut client| {
        let operation = operation.clone();
        tokio::spawn(async move {
            let mut keys = Keys::new();
            let mut times = Vec::new();
            while started.elapsed() < time {
                let began = Instant::now();
                operation(client.as_mut(), &mut keys).await.expect("the store works");
                times.push(began.elapsed());
            }
            times
        })
    });
    let mut sorted = Vec::new();
    for worker in join_all(workers).await {
        sorted.extend(worker.expect("no panic"));
    }
    let elapsed = started.elapsed();
    sorted.sort_unstable();
    Figures { elapsed, sorted }
}

/// Writes the keys that are read.
pub(crate) async fn fill(store: &dyn Store, keys: u64) {
    let workers = (0..FILLING_CLIENTS).map(|first| {
        let client = store.connect(None);
        async move {
            let mut client = client.await;
            for key in (first..keys).step_by(usize::try_from(FILLING_CLIENTS).expect("small")) {
                client.write(key).await.expect("the store works");
            }
        }
    });
    join_all(workers).await;
}

/// Kills the leader while each survivor writes; how long after it nobody's write was acknowledged that began later.
pub(crate) async fn failover(store: &mut dyn Store) -> Duration {
    let leader = store.leader().await;
    let killed = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for member in (0..MEMBERS).filter(|member| *member != leader) {
        let mut client = store.connect(Some(member)).await;
        let killed = Arc::clone(&killed);
        writers.push(tokio::spawn(async move {
            let mut keys = Keys::new();
            loop {
                let after = killed.load(Ordering::SeqCst);
                let written = tokio::time::timeout(OPERATION_TIMEOUT, client.write(keys.next())).await;
                if after && written.expect("a leader within this time").is_ok() {
                    return Instant::now();
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    store.kill(leader);
    killed.store(true, Ordering::SeqCst);
    let mut first = None;
    for acknowledged in join_all(writers).await {
        let acknowledged = acknowledged.expect("no panic");
        first = Some(first.map_or(acknowledged, |first: Instant| first.min(acknowledged)));
    }
    store.restart(leader).await;
    first.expect("there are survivors") - began
}
