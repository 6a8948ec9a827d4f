//! The members' network: each in a network namespace of its own, joined by a bridge, cut by packet filters.
//!
//! A cut drops packets where they arrive, without a word to either side, as a broken cable does. Clients are on the
//! bridge and reach every member all the time: who is cut off from the others still has clients.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::isolation::{is_isolated, run};

const BRIDGE: &str = "members";
/// The clients' own address on the bridge.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
pub(super) const SQL_PORT: u16 = 5432;
pub(super) const HTTPS_PORT: u16 = 8008;
pub(super) const PEER_PORT: u16 = 7001;
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(10);

/// Direction in which nothing arrives: from the first member at the second one.
pub(super) type Cut = (usize, usize);

/// Namespaces, bridge and filters; the kernel removes them with the processes that hold them.
pub(super) struct Network {
    /// One process for each member that does nothing but keep its namespace.
    holders: Vec<Child>,
}

impl Network {
    /// A network for so many members, all of which reach each other.
    pub(super) fn new(members: usize) -> anyhow::Result<Self> {
        ensure!(is_isolated(), "the campaign is not in namespaces of its own");
        run(ip().args(["link", "set", "lo", "up"]))?;
        run(ip().args(["link", "add", BRIDGE, "type", "bridge"]))?;
        run(ip().args(["addr", "add", &format!("{CLIENTS}/24"), "dev", BRIDGE]))?;
        run(ip().args(["link", "set", BRIDGE, "up"]))?;
        let mut network = Self { holders: Vec::new() };
        for member in 0..members {
            network.add(member)?;
        }
        Ok(network)
    }

    fn add(&mut self, member: usize) -> anyhow::Result<()> {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sleep", "infinity"]).stdin(Stdio::null());
        let holder = holder.spawn().context("cannot run unshare (util-linux)")?;
        let process_id = holder.id().to_string();
        self.holders.push(holder);
        wait_for_namespace(&process_id)?;
        let cable = format!("member{member}");
        let far_end = ["name", "eth0", "netns", &process_id];
        run(ip().args(["link", "add", &cable, "type", "veth", "peer"]).args(far_end))?;
        run(ip().args(["link", "set", &cable, "master", BRIDGE, "up"]))?;
        for arguments in [
            vec!["link", "set", "lo", "up"],
            vec!["addr", "add", &format!("{}/24", address(member)), "dev", "eth0"],
            vec!["link", "set", "eth0", "up"],
        ] {
            let launcher = self.launcher(member);
            run(Command::new(&launcher[0])
                .args(&launcher[1..])
                .arg("ip")
                .args(arguments))?;
        }
        Ok(())
    }

    /// What starts a program in a member's namespace, in the same process.
    pub(super) fn launcher(&self, member: usize) -> Vec<String> {
        let process_id = self.holders[member].id();
        vec!["nsenter".to_owned(), format!("--net=/proc/{process_id}/ns/net")]
    }

    /// Makes exactly these cuts.
    pub(super) fn cut(&self, cuts: &BTreeSet<Cut>) -> anyhow::Result<()> {
        for member in 0..self.holders.len() {
            let sources = cuts.iter().filter(|(_, to)| *to == member);
            let rules: String = sources
                .map(|(from, _)| format!("ip saddr {} drop\n", address(*from)))
                .collect();
            // One transaction: no packet passes between the old rules and the new ones.
            let ruleset = format!(
                "flush ruleset\ntable ip cuts {{\nchain arrivals {{\ntype filter hook input priority 0\n{rules}}}\n}}\n"
            );
            let launcher = self.launcher(member);
            let mut filter = Command::new(&launcher[0]);
            filter.args(&launcher[1..]).args(["nft", "-f", "-"]);
            let mut filter = filter
                .stdin(Stdio::piped())
                .spawn()
                .context("cannot run nft (nftables)")?;
            let mut input = filter.stdin.take().context("a pipe")?;
            input.write_all(ruleset.as_bytes())?;
            drop(input);
            ensure!(filter.wait()?.success(), "nft refused the rules: {ruleset}");
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // One that has ended needs no ending.
            let _ = holder.kill();
            let _ = holder.wait();
        }
        // Another campaign of the same process makes its own.
        let _ = run(ip().args(["link", "del", BRIDGE]));
    }
}

fn ip() -> Command {
    Command::new("ip")
}

/// A member's address.
pub(super) fn address(member: usize) -> Ipv4Addr {
    let number = u8::try_from(member + 1).expect("few members");
    Ipv4Addr::new(10, 77, 0, number)
}

/// Where a member listens.
pub(super) fn socket(member: usize, port: u16) -> SocketAddr {
    (address(member), port).into()
}

/// Waits until the process has left this one's namespace.
#[expect(clippy::disallowed_methods, reason = "a deadline")]
fn wait_for_namespace(process_id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + NAMESPACE_DEADLINE;
    let namespace_of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net"));
    while namespace_of(process_id)? == namespace_of("self")? {
        ensure!(Instant::now() < deadline, "no network namespace for a member");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
