//! What earlier format versions wrote is opened, read and written to by this build.

use std::path::{Path, PathBuf};
use std::process::Command;

use craton_types::FormatVersion;
use craton_upgrade::golden;

/// A golden directory, unpacked.
fn unpack(version: FormatVersion) -> tempfile::TempDir {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/version-{version}.tar.xz"));
    let directory = tempfile::tempdir().expect("a directory");
    let unpacked = Command::new("tar")
        .args(["--extract", "--xz", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(directory.path())
        .status();
    assert!(unpacked.expect("tar").success(), "{} unpacks", archive.display());
    directory
}

async fn opens_and_goes_on(version: FormatVersion) {
    let directory = unpack(version);
    let checked = golden::check(directory.path()).await;
    assert_eq!(checked.unwrap_or_else(|error| panic!("{error:#}")), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_1_opens() {
    opens_and_goes_on(FormatVersion::new(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_opens() {
    opens_and_goes_on(FormatVersion::new(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_opens_the_versions_it_knows_and_touches_nothing_of_later_ones() {
    let previous = FormatVersion::OLDEST;
    let directory = unpack(previous);
    let node = golden::open(directory.path(), previous)
        .await
        .expect("it knows the version");
    golden::close(node).await.expect("closed");
    let directory = unpack(FormatVersion::NEWEST);
    let before = files(directory.path());
    let refused = golden::open(directory.path(), previous)
        .await
        .map(|_| ())
        .expect_err("it is too old");
    assert_eq!(
        refused.to_string(),
        "format version 2 is needed, and the build of this node knows versions 1 to 1"
    );
    assert_eq!(files(directory.path()), before);
}

/// Every file and its length.
fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            // The lock shows who has the directory open.
            false if path.ends_with("LOCK") => {}
            false => found.push((path.clone(), path.metadata().expect("a file").len())),
        }
    }
    found.sort();
    found
}
