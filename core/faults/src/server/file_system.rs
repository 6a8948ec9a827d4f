//! An ext4 file system in a file, that can be cut off from its device in the middle of writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Room for a segment of the write-ahead log from each cycle, and for logs and views. The file is sparse.
const IMAGE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// `EXT4_IOC_SHUTDOWN` (Linux, `fs/ext4/ext4.h`), called from Python because the workspace forbids unsafe code. Its
/// argument is 0: everything is written first; 1: the journal is; 2: nothing is.
const SHUTDOWN: &str = "
import fcntl, os, struct, sys
directory = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(directory, 0x8004587D, struct.pack('I', int(sys.argv[2])))
";

/// A mounted file system; unmounted when dropped.
pub(super) struct FileSystem {
    image: PathBuf,
    pub(super) mount_point: PathBuf,
    mounted: bool,
}

/// Why file systems cannot be made and mounted here; `None` when they can.
#[must_use]
pub fn missing_privilege() -> Option<String> {
    let attempt = || -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut file_system = FileSystem::create(directory.path(), 16 * 1024 * 1024)?;
        file_system.shut_down(2)?;
        file_system.unmount()
    };
    attempt().err().map(|error| format!("{error:#}"))
}

impl FileSystem {
    pub(super) fn create_default(directory: &Path) -> anyhow::Result<Self> {
        Self::create(directory, IMAGE_BYTES)
    }

    fn create(directory: &Path, bytes: u64) -> anyhow::Result<Self> {
        let image = directory.join("ext4.image");
        let mount_point = directory.join("mounted");
        std::fs::File::create(&image)?.set_len(bytes)?;
        std::fs::create_dir_all(&mount_point)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let mut file_system = Self {
            image,
            mount_point,
            mounted: false,
        };
        file_system.mount()?;
        Ok(file_system)
    }

    pub(super) fn mount(&mut self) -> anyhow::Result<()> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount_point))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the file system off from its device.
    pub(super) fn shut_down(&self, flag: u64) -> anyhow::Result<()> {
        let mut command = Command::new("python3");
        run(command
            .arg("-c")
            .arg(SHUTDOWN)
            .arg(&self.mount_point)
            .arg(flag.to_string()))
    }

    pub(super) fn unmount(&mut self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.mount_point))?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if self.mounted {
            // Nothing more can be done about it here.
            let _ = self.unmount();
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", error.trim());
    Ok(())
}
