//! `make bench-log`: how fast the log is, each figure beside its limit and beside the disk's own speed, measured in
//! the same run. Not a test: nothing fails when a limit is missed, it is printed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use craton_engine::{Append, Appending, Craton, Offset, Tenant, Wait};
use craton_proof::{LogAssembly, LogVerifyOptions, SegmentSource, digest_segment};

/// As in craton-server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENT_BYTES: usize = 256;
const STREAMS: u64 = 64;

/// What the command line says.
struct Arguments {
    directory: PathBuf,
    records: u64,
    windows: Vec<usize>,
    /// Set in the process that is killed.
    fill: bool,
}

impl Arguments {
    fn parse() -> Self {
        let mut arguments = Self {
            directory: std::env::temp_dir(),
            records: 10_000_000,
            windows: vec![64, 128, 256, 512, 1024, 4096],
            fill: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
            match word.as_str() {
                "--directory" => arguments.directory = value().into(),
                "--records" => arguments.records = value().parse().expect("a number"),
                "--windows" => {
                    arguments.windows = value()
                        .split(',')
                        .map(|window| window.parse().expect("a number"))
                        .collect();
                }
                "--fill" => arguments.fill = true,
                // What cargo passes to every bench.
                "--bench" => {}
                other => panic!("{other} is no option: --directory DIR, --records N, --windows A,B,…"),
            }
        }
        arguments
    }
}

/// Durations, sorted when they are asked for.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The time that this many of a hundred do not exceed.
    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn figure(name: &str, value: String, limit: &str, met: bool) {
    let verdict = if met { "met" } else { "MISSED" };
    println!("{name:<52} {value:>26}   limit {limit:<22} {verdict}");
}

fn append(number: u64, event: &mut [u8]) -> Append {
    event[..8].copy_from_slice(&number.to_be_bytes());
    Append::new(format!("stream-{}", number % STREAMS), [event.to_vec()])
}

/// A file whose blocks exist, so that a sync writes data and nothing else.
struct RawFile {
    file: File,
    position: u64,
}

impl RawFile {
    fn new(directory: &Path) -> Self {
        let path = directory.join("raw");
        let file = File::create(&path).expect("a file");
        file.write_all_at(&vec![0; 16 << 20], 0).expect("written");
        file.sync_all().expect("synced");
        Self { file, position: 0 }
    }

    fn sync(&mut self, bytes: &[u8]) -> Duration {
        let started = Instant::now();
        self.file.write_all_at(bytes, self.position).expect("written");
        self.file.sync_data().expect("synced");
        self.position = (self.position + bytes.len() as u64) % (15 << 20);
        started.elapsed()
    }
}

/// One at a time, in turns with the raw disk, so that both see the same weather.
fn one_at_a_time(tenant: &Tenant, directory: &Path) -> Duration {
    let mut raw_file = RawFile::new(directory);
    let (mut raw, mut appends) = (Times::default(), Times::default());
    let mut event = [0xa5; EVENT_BYTES];
    for round in 0..40 {
        for number in 0..50 {
            raw.0.push(raw_file.sync(&[0x5a; 512]));
            let append = append(round * 50 + number, &mut event);
            let started = Instant::now();
            tenant.append(append).wait().expect("appended");
            appends.0.push(started.elapsed());
        }
    }
    let (raw_p50, raw_p99) = (raw.percentile(50), raw.percentile(99));
    println!(
        "{:<52} {:>26}",
        "raw write and fdatasync of 512 bytes, p50, p99",
        format!("{:.3} ms, {:.3} ms", millis(raw_p50), millis(raw_p99))
    );
    let (p50, p99) = (appends.percentile(50), appends.percentile(99));
    let ratio = p50.as_secs_f64() / raw_p50.as_secs_f64();
    figure(
        "one durable append at a time, p50",
        format!("{:.3} ms = {ratio:.2} x", millis(p50)),
        "1.3 x fdatasync p50",
        ratio <= 1.3,
    );
    println!(
        "{:<52} {:>26}",
        "one durable append at a time, p99",
        format!("{:.3} ms", millis(p99))
    );
    raw_p50
}

/// Appends `records` records with up to `window` of them in flight, and gives each one's time.
fn pipelined(
    tenant: &Tenant,
    first: u64,
    records: u64,
    window: usize,
    mut each: impl FnMut(u64, Duration),
) -> Duration {
    let mut waiting: VecDeque<(Instant, Appending)> = VecDeque::with_capacity(window);
    let mut event = [0xa5; EVENT_BYTES];
    let started = Instant::now();
    let mut done = 0;
    for number in 0..records {
        if waiting.len() == window {
            let (since, oldest) = waiting.pop_front().expect("the window is full");
            oldest.wait().expect("appended");
            each(done, since.elapsed());
            done += 1;
        }
        let append = append(first + number, &mut event);
        waiting.push_back((Instant::now(), tenant.append(append)));
    }
    for (since, append) in waiting {
        append.wait().expect("appended");
        each(done, since.elapsed());
        done += 1;
    }
    started.elapsed()
}

fn throughput(craton: &Craton, tenant: &Tenant, windows: &[usize], raw_p50: Duration) {
    let mut best: Option<(bool, f64, Duration, usize)> = None;
    for &window in windows {
        let records = 400_000;
        let mut times = Times::default();
        let syncs_before = craton.status().log_use.entries;
        let took = pipelined(tenant, 0, records, window, |_, time| times.0.push(time));
        let rate = records as f64 / took.as_secs_f64();
        let (p50, p99) = (times.percentile(50), times.percentile(99));
        println!(
            "{:<52} {:>26}   p50 {:.3} ms, p99 {:.3} ms = {:.1} x fdatasync p50, {} records a sync",
            format!("  {window} in flight"),
            format!("{rate:.0}/s"),
            millis(p50),
            millis(p99),
            p99.as_secs_f64() / raw_p50.as_secs_f64(),
            records / (craton.status().log_use.entries - syncs_before),
        );
        let good = p99 <= raw_p50 * 5;
        if best.is_none_or(|(best_good, best_rate, ..)| (good, rate) > (best_good, best_rate)) {
            best = Some((good, rate, p99, window));
        }
    }
    let Some((good, rate, p99, window)) = best else { return };
    figure(
        &format!("durable records of {EVENT_BYTES} bytes, {window} in flight"),
        format!("{rate:.0}/s"),
        "250000/s",
        rate >= 250_000.0,
    );
    figure(
        "  p99 at that rate",
        format!("{:.3} ms", millis(p99)),
        "5 x fdatasync p50",
        good,
    );
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("pages");
    pages * 4096
}

fn open(directory: &Path) -> (Craton, Tenant) {
    let craton = Craton::open(directory.join("ledger")).expect("it opens");
    let tenant = craton.open_tenant("main").wait().expect("a tenant");
    (craton, tenant)
}

/// Appends until it is killed, telling how far it is and how much memory it takes.
fn fill(directory: &Path, records: u64) -> ! {
    let (_craton, tenant) = open(directory);
    let step = (records / 10).max(1);
    let started = Instant::now();
    pipelined(&tenant, 0, u64::MAX, 1024, |done, _| {
        if done % step == step - 1 {
            println!("{} {} {}", done + 1, resident_bytes(), started.elapsed().as_millis());
            std::io::stdout().flush().expect("the parent reads");
        }
    });
    unreachable!("it is killed before");
}

/// A process that appends all records and is killed in the middle of the next ones.
fn long_run(directory: &Path, records: u64) {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--fill", "--records", &records.to_string(), "--directory"])
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bench starts again");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut memory = Vec::new();
    for line in lines {
        let line = line.expect("text");
        let numbers: Vec<u64> = line
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        let [done, resident, took_ms] = numbers[..] else {
            panic!("{line}")
        };
        println!(
            "  {done} records, {} MiB resident, {:.0}/s",
            resident >> 20,
            done as f64 * 1e3 / took_ms as f64
        );
        memory.push(resident);
        if done >= records {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let (early, last) = (memory[memory.len() / 5], *memory.last().expect("it told"));
    figure(
        &format!("memory after {records} records"),
        format!("{} MiB, {} MiB at 20 %", last >> 20, early >> 20),
        "flat (1.2 x)",
        last as f64 <= early as f64 * 1.2,
    );
}

fn reopened(directory: &Path, records: u64) -> (Craton, Tenant) {
    let started = Instant::now();
    let (craton, tenant) = open(directory);
    let took = started.elapsed();
    assert!(tenant.end().get() >= records, "an acknowledged record is missing");
    figure(
        &format!("open after kill -9 at {} records", tenant.end().get()),
        format!("{:.2} s", took.as_secs_f64()),
        "2 s",
        took < Duration::from_secs(2),
    );
    (craton, tenant)
}

fn random_reads(tenant: &Tenant) {
    let end = tenant.end().get();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut offset = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Offset::new(state % end)
    };
    let mut times = Times::default();
    for round in 0..2 {
        for _ in 0..50_000 {
            let offset = offset();
            let started = Instant::now();
            let page = tenant.read_events(offset, 1).expect("it reads");
            if round > 0 {
                times.0.push(started.elapsed());
            }
            assert!(page.next > offset);
        }
    }
    let (p50, p99) = (times.percentile(50), times.percentile(99));
    figure(
        "random read by offset, warm, opened, p99",
        format!(
            "{:.1} us (p50 {:.1} us)",
            p99.as_secs_f64() * 1e6,
            p50.as_secs_f64() * 1e6
        ),
        "100 us",
        p99 < Duration::from_micros(100),
    );
}

fn folder_bytes(folder: &Path, include: &dyn Fn(&str) -> bool) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        if path.is_dir() {
            bytes += folder_bytes(&path, include);
        } else if include(&path.to_string_lossy()) {
            bytes += entry.metadata().expect("a size").len();
        }
    }
    bytes
}

fn log_folder(directory: &Path) -> PathBuf {
    let tenants = fs::read_dir(directory.join("ledger/tenants")).expect("the tenants");
    let folders = tenants.map(|entry| entry.expect("an entry").path().join("log"));
    folders
        .max_by_key(|folder| folder_bytes(folder, &|_| true))
        .expect("a tenant")
}

fn bytes_on_disk(directory: &Path, records: u64) {
    let log = log_folder(directory);
    let per_record = |bytes: u64| bytes as f64 / records as f64;
    let log_bytes = per_record(folder_bytes(&log, &|_| true));
    let view_bytes = per_record(folder_bytes(log.parent().expect("a tenant"), &|path| {
        path.contains("view")
    }));
    let ratio = log_bytes / EVENT_BYTES as f64;
    figure(
        &format!("bytes on disk per record of {EVENT_BYTES} bytes"),
        format!("{log_bytes:.1} = {ratio:.2} x"),
        "2.2 x",
        ratio <= 2.2,
    );
    println!(
        "{:<52} {:>26}",
        "  besides: the view's, per record",
        format!("{view_bytes:.1}")
    );
    println!(
        "{:<52} {:>26}",
        "  besides: the write-ahead log, whatever the records",
        format!("{} MiB", folder_bytes(&directory.join("ledger/wal"), &|_| true) >> 20)
    );
}

fn verification(directory: &Path, records: u64) {
    let log = log_folder(directory);
    let mut names: Vec<_> = fs::read_dir(&log)
        .expect("the log")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.ends_with(".segment"))
        .collect();
    names.sort();
    let started = Instant::now();
    let options = LogVerifyOptions {
        allow_torn_tail: true,
        ..LogVerifyOptions::default()
    };
    let mut left = names.len();
    let mut assembly = LogAssembly::new(&options).expect("no key, no checkpoint");
    for name in names {
        let reader = File::open(log.join(&name)).expect("a segment");
        let digest = digest_segment(SegmentSource { name, reader }).expect("it reads");
        let digest = digest.expect("the segment is whole");
        left -= 1;
        assert!(assembly.push(&digest, left == 0), "the log verifies");
    }
    let verified = assembly.finish().expect("the log verifies").records;
    let rate = verified as f64 / started.elapsed().as_secs_f64();
    figure(
        &format!("verification of {verified} of {records} records, one processor"),
        format!("{rate:.0}/s"),
        "1000000/s",
        rate >= 1e6,
    );
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.fill {
        fill(&arguments.directory, arguments.records);
    }
    let folder = tempfile::Builder::new()
        .prefix("craton-bench-log-")
        .tempdir_in(&arguments.directory)
        .expect("a folder");
    let directory = folder.path();
    {
        let first = directory.join("first");
        fs::create_dir(&first).expect("a folder");
        let (craton, tenant) = open(&first);
        let raw_p50 = one_at_a_time(&tenant, directory);
        throughput(&craton, &tenant, &arguments.windows, raw_p50);
        craton.close().expect("closed");
        drop((tenant, craton));
        fs::remove_dir_all(&first).expect("removed");
    }
    if arguments.records == 0 {
        return;
    }
    long_run(directory, arguments.records);
    let (craton, tenant) = reopened(directory, arguments.records);
    random_reads(&tenant);
    let records = tenant.end().get();
    craton.close().expect("closed");
    drop((tenant, craton));
    bytes_on_disk(directory, records);
    verification(directory, records);
}
