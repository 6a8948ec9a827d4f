//! `make bench-cluster`: three members on this machine beside three members of etcd, in turns in the same run. Both
//! with TLS for clients and members, every write on the disk of a majority before it is acknowledged, one connection for
//! each client. Not a test: nothing fails when etcd is faster, it is printed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

mod authority;
mod craton;
mod etcd;
mod load;
mod processes;

use std::path::Path;
use std::time::Duration;

use authority::Authority;
use load::{Figures, Store};

/// How many members each cluster has.
const MEMBERS: usize = 3;
/// What each write carries.
const VALUE_BYTES: usize = 256;
/// Between two measurements: what was written before is out of the way.
const REST: Duration = Duration::from_secs(1);
/// How many keys reads choose from.
const READ_KEYS: u64 = 10_000;

/// What the command line says.
struct Arguments {
    clients: Vec<usize>,
    seconds: u64,
    rounds: usize,
    kills: usize,
    only: Option<String>,
}

impl Arguments {
    fn parse() -> Self {
        let mut arguments = Self {
            clients: vec![1, 16, 64, 256],
            seconds: 4,
            rounds: 5,
            kills: 5,
            only: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
            match word.as_str() {
                "--clients" => {
                    arguments.clients = value()
                        .split(',')
                        .map(|clients| clients.parse().expect("a number"))
                        .collect();
                }
                "--seconds" => arguments.seconds = value().parse().expect("a number"),
                "--rounds" => arguments.rounds = value().parse().expect("a number"),
                "--kills" => arguments.kills = value().parse().expect("a number"),
                "--only" => arguments.only = Some(value()),
                // What cargo passes to every bench.
                "--bench" => {}
                other => panic!(
                    "{other} is no option: --clients A,B,…, --seconds N, --rounds N, --kills N, --only craton|etcd"
                ),
            }
        }
        arguments
    }
}

fn main() {
    let arguments = Arguments::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no other provider was installed");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    runtime.block_on(async {
        let stores = start(&arguments, directory.path(), &authority).await;
        compare(&arguments, stores).await;
    });
}

async fn start(arguments: &Arguments, directory: &Path, authority: &Authority) -> Vec<Box<dyn Store>> {
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    if wanted("etcd") {
        stores.push(Box::new(etcd::Cluster::start(&directory.join("etcd"), authority).await));
    }
    if wanted("craton") {
        stores.push(Box::new(
            craton::Cluster::start(&directory.join("craton"), authority).await,
        ));
    }
    stores
}

async fn compare(arguments: &Arguments, mut stores: Vec<Box<dyn Store>>) {
    let time = Duration::from_secs(arguments.seconds);
    let names: Vec<_> = stores.iter().map(|store| store.name()).collect();
    println!("| what | clients | {} | ratio |", names.join(" | "));
    println!("|---|---|{}---|", "---|".repeat(stores.len()));
    for &clients in &arguments.clients {
        let figures = in_turns(arguments, &stores, |store| load::writes(store, clients, time)).await;
        row("durable write of 256 bytes", clients, &figures);
    }
    for store in &stores {
        load::fill(store.as_ref(), READ_KEYS).await;
    }
    for &clients in &arguments.clients {
        let figures = in_turns(arguments, &stores, |store| load::reads(store, clients, READ_KEYS, time)).await;
        row("linearizable read", clients, &figures);
    }
    let mut gaps = Vec::new();
    for store in &mut stores {
        let mut times = Vec::new();
        for _ in 0..arguments.kills {
            times.push(load::failover(store.as_mut()).await);
        }
        times.sort_unstable();
        let shown: Vec<_> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
        gaps.push(format!("{} s", shown.join(", ")));
    }
    println!(
        "| no write after `kill -9` of the leader | 3 | {} | |",
        gaps.join(" | ")
    );
}

/// Measures one store after the other, several times, so that what else the machine does meets all of them.
async fn in_turns<'a, F>(
    arguments: &Arguments,
    stores: &'a [Box<dyn Store>],
    measure: impl Fn(&'a dyn Store) -> F,
) -> Vec<Figures>
where
    F: Future<Output = Figures>,
{
    let mut figures: Vec<_> = stores.iter().map(|_| Figures::default()).collect();
    for _ in 0..arguments.rounds {
        for (store, figures) in stores.iter().zip(&mut figures) {
            tokio::time::sleep(REST).await;
            figures.add(measure(store.as_ref()).await);
        }
    }
    figures
}

fn row(what: &str, clients: usize, figures: &[Figures]) {
    let cells: Vec<_> = figures
        .iter()
        .map(|figures| {
            let millis = |percent| figures.percentile(percent).as_secs_f64() * 1e3;
            format!("{:.0}/s, {:.2} ms, {:.2} ms", figures.rate(), millis(50), millis(99))
        })
        .collect();
    let ratio = match figures {
        [peer, own] => format!("{:.2}", own.rate() / peer.rate()),
        _ => String::new(),
    };
    println!("| {what} | {clients} | {} | {ratio} |", cells.join(" | "));
}
