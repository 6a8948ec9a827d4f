//! Writes the seeds of every target, for a fuzzer to begin with: `craton-fuzz DIRECTORY`.

use std::path::PathBuf;
use std::{env, fs};

use craton_fuzz::TARGETS;

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).expect("a directory to write to"));
    for target in TARGETS {
        let directory = directory.join(target.name);
        fs::create_dir_all(&directory)?;
        for (number, seed) in target.seeds().iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
