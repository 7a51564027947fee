//! What a machine can check of the house rules: dependency direction, a header in every file, no global state.

use std::path::Path;

use crate::harness::files_below;

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["src", "ingest", "storage", "query", "benches", "tests"] {
        for path in files_below(&root.join(folder)) {
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            if name.ends_with(".rs") && !name.contains("/target/") {
                all.push((name, std::fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    assert!(all.len() > 30, "the sources are there: {}", all.len());
    all
}

#[test]
fn every_file_says_what_it_is_for() {
    let bare: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(bare.is_empty(), "no //! header: {bare:?}");
}

#[test]
fn crates_depend_in_one_direction() {
    let forbidden = [
        ("storage/", ["ingest::", "query::", "datafusion::", "axum::"].as_slice()),
        ("ingest/", &["query::", "datafusion::", "axum::"]),
        ("query/", &["ingest::", "axum::"]),
        ("src/", &["datafusion::"]),
    ];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (folder, paths) in forbidden {
            if !name.starts_with(folder) {
                continue;
            }
            for line in text.lines().filter(|l| l.trim_start().starts_with("use ")) {
                let used = line.trim_start().trim_start_matches("use ");
                if paths.iter().any(|p| used.starts_with(p)) {
                    broken.push(format!("{name}: {line}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_state_is_global() {
    let mut found = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !name.starts_with("tests/")) {
        for line in text.lines() {
            let line = line.trim_start();
            let is_static = line.starts_with("static ") || line.starts_with("pub static ");
            let mutable = ["Mutex", "RwLock", "Atomic", "OnceLock", "OnceCell", "static mut"];
            if is_static && mutable.iter().any(|m| line.contains(m)) {
                found.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "state comes by argument: {found:#?}");
}
