//! `craton-faults`: runs one fault campaign and says what it came to.
//!
//! Exit code 0: no promise was broken; 1: some were, each with the command that repeats it; 2: bad usage.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use craton_faults::bad_disk::{self, BadDiskOptions};
use craton_faults::cluster::{self, ClusterOptions, SoakOptions};
use craton_faults::crash_points::{self, CrashPointOptions};
use craton_faults::files::{self, FileOptions};
use craton_faults::flips::{self, FlipOptions};
use craton_faults::io_errors::{self, IoErrorOptions};
use craton_faults::server::{self, ServerOptions};
use craton_faults::{Campaign, Defect, Summary};

/// How many cases pass between two lines of progress.
const PROGRESS_EVERY: u64 = 5_000;
/// The same for cases that take microseconds.
const SHORT_CASES_PROGRESS_EVERY: u64 = 200_000;

/// The same for cases that take a second.
const CYCLES_PROGRESS_EVERY: u64 = 10;

#[derive(Parser)]
#[command(about = "Fault campaigns against Craton's logs and server")]
struct Cli {
    #[command(subcommand)]
    campaign: Command,
    /// The result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Crashes between any two calls to the disk: torn, reordered, in order, everything unsynced lost
    CrashPoints {
        /// How many crashes
        #[arg(long, default_value_t = 50_000)]
        count: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Every changing call to the disk fails: EIO, ENOSPC, short write; once or from then on
    IoErrors {
        /// How many operations the run has whose calls fail
        #[arg(long, default_value_t = 1_000)]
        operations: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Writes that are lost, writes and reads that go astray, rot, a disk that fills up
    BadDisk {
        /// How many operations the run has whose calls go wrong
        #[arg(long, default_value_t = 300)]
        operations: u64,
        /// How often bits rot
        #[arg(long, default_value_t = 10_000)]
        rots: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Every byte of a write-ahead log and of a tenant log flipped, and every bit of their headers
    Flips {
        /// How many bytes of payload each of the logs has
        #[arg(long, default_value_t = 1_048_576)]
        log_bytes: u64,
        /// Flips one of so many bytes
        #[arg(long, default_value_t = 1)]
        every: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Real servers under load from a real driver, killed with SIGKILL
    KillNine {
        /// How many kills
        #[arg(long, default_value_t = 300)]
        cycles: u64,
        #[command(flatten)]
        server: ServerBinary,
        #[command(flatten)]
        common: Common,
    },
    /// Real servers under load on an ext4 file system that is cut off from its device; needs root and loop devices
    PowerCut {
        /// How many cuts
        #[arg(long, default_value_t = 50)]
        cycles: u64,
        #[command(flatten)]
        server: ServerBinary,
        #[command(flatten)]
        common: Common,
    },
    /// Missing, emptied, cut, stale and swapped files and directories
    Files {
        #[command(flatten)]
        common: Common,
    },
    /// A cluster under load whose leader is killed with SIGKILL
    LeaderKills {
        /// How many kills
        #[arg(long, default_value_t = 100)]
        rounds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// A cluster under load whose members are cut off from each other: symmetric, one-way, partial, flapping
    Partitions {
        /// How many partitions
        #[arg(long, default_value_t = 50)]
        rounds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// A cluster under load whose members are stopped and continued: the leader, any one, most of them
    Pauses {
        /// How many pauses
        #[arg(long, default_value_t = 50)]
        rounds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// A cluster under load whose members' clocks jump; needs libfaketime
    ClockJumps {
        /// How many jumps
        #[arg(long, default_value_t = 50)]
        rounds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// A cluster under load whose members' disks fill up: the leader's, a follower's, those of most of them
    FullDisks {
        /// How often disks are full
        #[arg(long, default_value_t = 15)]
        rounds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
    /// A cluster under a steady load for a long time, while followers are killed and take in snapshots
    Soak {
        /// How long, in seconds
        #[arg(long, default_value_t = 1_800)]
        seconds: u64,
        /// How many rows are written in a second
        #[arg(long, default_value_t = 16_000)]
        rows_per_second: u64,
        /// How many bytes of text a row has
        #[arg(long, default_value_t = 1_024)]
        row_bytes: usize,
        /// How many rows are copied in at once, as one record of the log
        #[arg(long, default_value_t = 256)]
        rows_per_copy: u32,
        /// The most memory that a member may take, in MiB
        #[arg(long, default_value_t = 1_536)]
        memory_mebibytes_max: u64,
        /// How often a follower is killed and comes back
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        /// How long it stays away, in seconds
        #[arg(long, default_value_t = 60)]
        absence_seconds: u64,
        #[command(flatten)]
        cluster: ClusterArguments,
    },
}

impl Command {
    /// Whether it needs a network and mounts of its own.
    const fn is_isolated(&self) -> bool {
        matches!(
            self,
            Self::LeaderKills { .. }
                | Self::Partitions { .. }
                | Self::Pauses { .. }
                | Self::ClockJumps { .. }
                | Self::FullDisks { .. }
                | Self::Soak { .. }
        )
    }
}

/// What the campaigns with clusters share.
#[derive(Args)]
struct ClusterArguments {
    /// How many members the cluster has
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// How many sessions work at the same time
    #[arg(long, default_value_t = 96)]
    sessions: usize,
    /// Where the members' files are made, and stay; a temporary folder by default
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    server: ServerBinary,
    #[command(flatten)]
    common: Common,
}

impl ClusterArguments {
    /// Runs a campaign.
    fn run(
        self,
        name: &'static str,
        rounds: u64,
        run: fn(&Campaign, &ClusterOptions) -> anyhow::Result<()>,
    ) -> anyhow::Result<Campaign> {
        let arguments = format!(" --rounds {rounds} --members {}", self.members);
        let campaign = self.common.campaign(name, &arguments, CYCLES_PROGRESS_EVERY);
        run(&campaign, &self.options(rounds)?)?;
        Ok(campaign)
    }

    fn options(self, rounds: u64) -> anyhow::Result<ClusterOptions> {
        Ok(ClusterOptions {
            rounds,
            members: self.members,
            sessions: self.sessions,
            seed: self.common.seed,
            server: self.server.path()?,
            directory: self.directory,
            defect: self.common.defect,
        })
    }
}

#[derive(Args)]
struct ServerBinary {
    /// The craton-server to run; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

impl ServerBinary {
    fn path(self) -> anyhow::Result<PathBuf> {
        match self.server {
            Some(path) => Ok(path),
            None => Ok(std::env::current_exe()?.with_file_name("craton-server")),
        }
    }
}

#[derive(Args)]
struct Common {
    /// Decides what is written and what goes wrong
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many threads work
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Plants a defect, to see that the campaign finds it
    #[arg(long)]
    defect: Option<Defect>,
    /// Runs one case only, as a violation names it
    #[arg(long)]
    case: Option<String>,
}

impl Common {
    fn campaign(&self, name: &'static str, arguments: &str, progress_every: u64) -> Campaign {
        let mut replay = format!("{arguments} --seed {}", self.seed);
        if let Some(defect) = self.defect {
            let defect = clap::ValueEnum::to_possible_value(&defect).expect("no value is hidden");
            replay.push_str(&format!(" --defect {}", defect.get_name()));
        }
        let progress = move |cases| {
            // Whoever does not read the progress still gets the result.
            let _ = writeln!(std::io::stderr(), "{name}: {cases} cases");
        };
        Campaign::new(name, replay)
            .only(self.case.clone())
            .report_every(progress_every, Box::new(progress))
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration is told to a person")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.campaign.is_isolated() && !cluster::is_isolated() {
        return run_isolated();
    }
    let started = Instant::now();
    let told = run(cli.campaign).and_then(|ended| match ended {
        Ended::Skipped(why) => {
            writeln!(std::io::stdout(), "skipped: {why}")?;
            Ok(0)
        }
        Ended::Ran(summary) => {
            tell(&summary, started.elapsed().as_secs_f64(), cli.json)?;
            Ok(summary.violation_count)
        }
    });
    match told {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Without an error stream there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "craton-faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs this program again, in namespaces of its own.
fn run_isolated() -> ExitCode {
    let again = std::env::current_exe().map_err(anyhow::Error::from);
    let ended = again.and_then(|program| cluster::run_isolated(&program, std::env::args_os().skip(1)));
    match ended {
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::from(2), ExitCode::from),
        Err(error) => {
            // Without an error stream there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "craton-faults: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// How a campaign ended.
enum Ended {
    Ran(Summary),
    /// This machine cannot run it.
    Skipped(String),
}

fn run(command: Command) -> anyhow::Result<Ended> {
    let campaign = match command {
        Command::CrashPoints { count, common } => {
            let campaign = common.campaign("crash-points", "", PROGRESS_EVERY);
            let options = CrashPointOptions {
                count,
                seed: common.seed,
                threads: common.threads,
                defect: common.defect,
            };
            crash_points::run(&campaign, options);
            campaign
        }
        Command::IoErrors { operations, common } => {
            let campaign = common.campaign("io-errors", &format!(" --operations {operations}"), PROGRESS_EVERY);
            let options = IoErrorOptions {
                operations,
                seed: common.seed,
                threads: common.threads,
                defect: common.defect,
            };
            io_errors::run(&campaign, options);
            campaign
        }
        Command::BadDisk {
            operations,
            rots,
            common,
        } => {
            let arguments = format!(" --operations {operations} --rots {rots}");
            let campaign = common.campaign("bad-disk", &arguments, PROGRESS_EVERY);
            let options = BadDiskOptions {
                operations,
                rots,
                seed: common.seed,
                threads: common.threads,
                defect: common.defect,
            };
            bad_disk::run(&campaign, options);
            campaign
        }
        Command::Flips {
            log_bytes,
            every,
            common,
        } => {
            let arguments = format!(" --log-bytes {log_bytes} --every {every}");
            let campaign = common.campaign("flips", &arguments, SHORT_CASES_PROGRESS_EVERY);
            let options = FlipOptions {
                log_bytes,
                every,
                seed: common.seed,
                threads: common.threads,
                defect: common.defect,
            };
            flips::run(&campaign, options);
            campaign
        }
        Command::KillNine { cycles, server, common } => {
            let campaign = common.campaign("kill-nine", "", CYCLES_PROGRESS_EVERY);
            server::kill_nine(&campaign, &server_options(cycles, server, &common)?)?;
            campaign
        }
        Command::PowerCut { cycles, server, common } => {
            if let Some(why) = server::missing_privilege() {
                return Ok(Ended::Skipped(why));
            }
            let campaign = common.campaign("power-cut", "", CYCLES_PROGRESS_EVERY);
            server::power_cut(&campaign, &server_options(cycles, server, &common)?)?;
            campaign
        }
        Command::Files { common } => {
            let campaign = common.campaign("files", "", PROGRESS_EVERY);
            let options = FileOptions {
                seed: common.seed,
                threads: common.threads,
                defect: common.defect,
            };
            files::run(&campaign, options);
            campaign
        }
        Command::LeaderKills { rounds, cluster } => cluster.run("leader-kills", rounds, cluster::leader_kills)?,
        Command::Partitions { rounds, cluster } => cluster.run("partitions", rounds, cluster::partitions)?,
        Command::Pauses { rounds, cluster } => cluster.run("pauses", rounds, cluster::pauses)?,
        Command::ClockJumps { rounds, cluster } => cluster.run("clock-jumps", rounds, cluster::clock_jumps)?,
        Command::FullDisks { rounds, cluster } => cluster.run("full-disks", rounds, cluster::full_disks)?,
        Command::Soak {
            seconds,
            rows_per_second,
            row_bytes,
            rows_per_copy,
            memory_mebibytes_max,
            rounds,
            absence_seconds,
            cluster,
        } => {
            let arguments = format!(" --seconds {seconds} --rows-per-second {rows_per_second}");
            let campaign = cluster.common.campaign("soak", &arguments, CYCLES_PROGRESS_EVERY);
            let options = SoakOptions {
                cluster: cluster.options(rounds)?,
                seconds,
                rows_per_second,
                row_bytes,
                rows_per_copy,
                absence_seconds,
                memory_bytes_max: memory_mebibytes_max << 20,
            };
            cluster::soak(&campaign, &options)?;
            campaign
        }
    };
    Ok(Ended::Ran(campaign.finish()))
}

fn server_options(cycles: u64, server: ServerBinary, common: &Common) -> anyhow::Result<ServerOptions> {
    Ok(ServerOptions {
        cycles,
        seed: common.seed,
        server: server.path()?,
        defect: common.defect,
    })
}

fn tell(summary: &Summary, seconds: f64, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let mut value = serde_json::to_value(summary)?;
        value["seconds"] = seconds.into();
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let Summary { campaign, cases, .. } = summary;
    writeln!(
        out,
        "{campaign}: {cases} cases, {} violations, {seconds:.1} s",
        summary.violation_count
    )?;
    for (outcome, count) in &summary.outcomes {
        writeln!(out, "  {count:>9}  {outcome}")?;
    }
    for (figure, value) in &summary.figures {
        writeln!(out, "  {value:>9}  {figure}")?;
    }
    for violation in &summary.violations {
        writeln!(out, "violation in {}: {}", violation.case, violation.what)?;
        writeln!(out, "  repeat with: {}", violation.replay)?;
    }
    Ok(())
}
