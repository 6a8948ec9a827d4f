//! Small files that are replaced as a whole.

use std::io;
use std::path::Path;

use craton_log::Disk;

/// Writes a file so that a crash leaves the old bytes or the new ones.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))
}
