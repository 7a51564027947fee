//! Runs the scripts of `tests/promql/`, one topic a file.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use query::promql::testing;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let (mut passed, mut failed) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for report in testing::run(&fs::read_to_string(&path).unwrap()).unwrap() {
            match report.result {
                Ok(()) => passed += 1,
                Err(why) => failed.push(format!("{name}:{} {}\n    {why}", report.line, report.expr)),
            }
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), passed + failed.len(), failed.join("\n"));
    assert!(passed > 50);
}
