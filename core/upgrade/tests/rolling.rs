//! A cluster of real processes is moved between adjacent builds while clients write.

use std::path::{Path, PathBuf};
use std::process::Command;

use craton_upgrade::{RollOptions, roll};

/// The server of this build: the one beside the program that knows less, or else one that is built now.
fn server(previous: &Path) -> PathBuf {
    let server = previous.with_file_name("craton-server");
    if !server.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "craton-server"])
            .status();
        assert!(built.expect("cargo").success(), "craton-server is built");
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_builds_change_and_an_old_one_is_refused_once_the_version_is_final() {
    let previous = Path::new(env!("CARGO_BIN_EXE_craton-server-previous"));
    let report = roll(previous, &server(previous), RollOptions::default()).await;
    let report = report.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(report.formats, Some((1, 2)), "{report}");
    assert!(report.rows > 100, "{report}");
}
