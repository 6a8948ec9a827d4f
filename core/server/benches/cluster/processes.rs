//! The processes of a cluster that is measured.

use std::process::{Child, Command, Stdio};

use crate::MEMBERS;

/// One process for each member, while it runs. They end with this.
#[derive(Default)]
pub(crate) struct Processes([Option<Child>; MEMBERS]);

impl Processes {
    /// Starts a member, which writes what it says to a file.
    pub(crate) fn spawn(&mut self, member: usize, command: &mut Command, log: std::fs::File) {
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn();
        self.0[member] = Some(process.expect("the program is there: make setup, cargo build"));
    }

    /// The process of a member that runs.
    pub(crate) fn id(&self, member: usize) -> Option<u32> {
        self.0[member].as_ref().map(Child::id)
    }

    /// Kills a member as a power cut of its machine would.
    pub(crate) fn kill(&mut self, member: usize) {
        let mut process = self.0[member].take().expect("it runs");
        process.kill().expect("a child of this process");
        process.wait().expect("a child of this process");
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.0.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
