//! Who may import whom, and where unsafe code may stand: the house's borders, kept by a test.
#![expect(clippy::unwrap_used, reason = "all of this is a test; clippy's exemption sees only the #[test] functions")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each package may import of ours, itself or through others (the drawing in DESIGN.md §1).
fn allowed(package: &str) -> &'static [&'static str] {
    match package {
        "datapath" => &["conntrack", "sys", "vxlan", "wire"],
        "conntrack" | "vxlan" => &["wire"],
        // Nothing imports these, but the benches run in the tests' lab of namespaces.
        "control" | "tests" => &["conntrack", "datapath", "sys", "vxlan", "wire"],
        "benches" => &["conntrack", "datapath", "sys", "tests", "vxlan", "wire"],
        _ => &[],
    }
}

/// The packages of the house, by name, with their directories.
fn packages() -> (Value, BTreeMap<String, PathBuf>) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest];
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dirs = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            (package["name"].as_str().unwrap().to_owned(), manifest.parent().unwrap().to_owned())
        })
        .collect();
    (metadata, dirs)
}

#[test]
fn imports_follow_the_drawing() {
    let (metadata, dirs) = packages();
    let ours: BTreeSet<_> = dirs.keys().map(String::as_str).collect();
    let house = BTreeSet::from(["benches", "conntrack", "control", "datapath", "sys", "tests", "vxlan", "wire"]);
    assert_eq!(ours, house, "a package came or went: say here what it may import");
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let imported = dependency["name"].as_str().unwrap();
            let fine = !ours.contains(imported) || allowed(name).contains(&imported);
            assert!(fine, "{name} must not import {imported}");
        }
    }
}

#[test]
fn unsafe_code_stands_in_sys_only() {
    let (_, dirs) = packages();
    for (name, dir) in &dirs {
        for root in roots(dir) {
            let text = fs::read_to_string(&root).unwrap();
            let forbidden = text.contains("#![forbid(unsafe_code)]");
            assert_eq!(forbidden, name != "sys", "{}: `#![forbid(unsafe_code)]`", root.display());
        }
    }
}

/// The crate roots below `src`: a library, a program, further programs.
fn roots(dir: &Path) -> Vec<PathBuf> {
    let src = dir.join("src");
    let mut roots: Vec<_> =
        ["lib.rs", "main.rs"].map(|name| src.join(name)).into_iter().filter(|p| p.exists()).collect();
    if let Ok(bins) = fs::read_dir(src.join("bin")) {
        roots.extend(
            bins.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "rs")),
        );
    }
    assert!(!roots.is_empty(), "no crate root in {}", dir.display());
    roots
}

/// A package must not let its own modules escape the lint through an `allow` (only `deny` would permit it; `forbid` does not).
#[test]
fn lints_of_the_workspace_hold_everywhere() {
    let (_, dirs) = packages();
    for (name, dir) in &dirs {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}
