//! Namespaces of the campaign's own: its network, mounts and processes vanish with it, whatever happens to it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Context, ensure};

/// Set where the campaign runs in namespaces of its own.
const ISOLATED: &str = "CRATON_FAULTS_ISOLATED";

/// Whether this process was started by [`run_isolated`].
#[must_use]
pub fn is_isolated() -> bool {
    std::env::var_os(ISOLATED).is_some()
}

/// Runs a program in a network, mount and process namespace of its own, and, without root, in a user namespace in which
/// it is root. It ends when this process does.
///
/// # Errors
/// When this machine does not allow that; the error says what is missing.
pub fn run_isolated<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> anyhow::Result<ExitStatus> {
    let mut probe = unshare();
    let output = probe.arg("true").output().context("cannot run unshare (util-linux)")?;
    ensure!(
        output.status.success(),
        "campaigns of clusters need root, or user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0): {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut command = unshare();
    command.arg(program).args(arguments).env(ISOLATED, "1");
    // Whoever is not root may not have the administrator's programs on the path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.status().context("cannot run unshare (util-linux)")
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Runs a program to its end; its error output when it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", error.trim());
    Ok(())
}
