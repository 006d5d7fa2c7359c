//! What the fuzzers found worth keeping (`fuzz/corpus`, `fuzz/regressions`), through the same code without a fuzzer.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod lab;
#[path = "../../fuzz/checks/parse.rs"]
mod parse;
#[path = "../../fuzz/checks/pipeline.rs"]
mod pipeline;
#[path = "../../fuzz/checks/translate.rs"]
mod translate;

use std::path::{Path, PathBuf};

/// Runs every file that is kept for a target; the name of a file that fails is printed.
fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut count = 0;
    for kind in ["corpus", "regressions"] {
        for path in files(&root.join(kind).join(target)) {
            let bytes = std::fs::read(&path).expect("a file of the tree");
            let name = path.display();
            std::panic::catch_unwind(|| run(&bytes)).unwrap_or_else(|_| panic!("{target} fails with {name}"));
            count += 1;
        }
    }
    assert!(count > 20, "{target}: only {count} inputs");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory of the tree");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name != ".gitkeep"));
    files.sort();
    files
}

#[test]
fn parse_corpus() {
    replay("parse", parse::run);
}

#[test]
fn pipeline_corpus() {
    replay("pipeline", pipeline::run);
}

#[test]
fn translate_corpus() {
    replay("translate", translate::run);
}
