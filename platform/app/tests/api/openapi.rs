//! The committed OpenAPI document is the one that the routes make.

use std::path::Path;

#[test]
fn the_committed_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let current = craton_platform_app::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, current).expect("docs/ is writable");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let line = committed.lines().zip(current.lines()).position(|(a, b)| a != b);
    assert!(
        committed == current,
        "docs/openapi.json is stale from line {} on; run UPDATE=1 cargo nextest run -p craton-platform-app openapi",
        line.map_or(0, |line| line + 1)
    );
}
