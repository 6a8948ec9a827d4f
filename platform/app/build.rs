//! Puts the console where `rust-embed` finds it: the built one, or a page that says how to build it.

use std::path::Path;
use std::{env, fs, io};

const PLACEHOLDER: &str = "<!doctype html><meta charset=\"utf-8\"><title>Craton</title>\
<h1>The console is not built</h1><p>Run <code>make web</code> and build the platform again. \
The API is at <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p>";

fn main() -> io::Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let source = Path::new(&manifest).join("../../web/app/dist");
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("console");
    println!("cargo::rerun-if-changed={}", source.display());
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    if source.join("index.html").exists() {
        copy(&source, &target)
    } else {
        fs::write(target.join("index.html"), PLACEHOLDER)
    }
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
