//! The program itself: exit codes, where its words go, and that it says them once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn sluicegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// A file that goes away with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("sluicegate-program-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_good_config_is_one_line_on_standard_output() {
    let file = File::new("good.toml", "[[interface]]\nname = \"eth0\"\n");
    let output = sluicegate(&["check", "--config", file.path()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("ok: 0 services, 0 backends\n", ""));
}

#[test]
fn a_wrong_config_is_2_for_check_and_for_run() {
    let file = File::new("wrong.toml", "[[interface]]\nname = \"eth0\"\n[gateway]\nflows = 0\ncpu = [0]\n");
    for verb in ["check", "run"] {
        let output = sluicegate(&[verb, "--config", file.path()]);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{verb}");
        assert!(stderr.contains(&format!("{}:4:9: error: `flows` is 0", file.path())), "{verb}: {stderr}");
        assert!(stderr.contains(":5:1: error: unknown key `cpu`"), "{verb}: {stderr}");
        assert!(stderr.contains("help: did you mean `cpus`?"), "{verb}: {stderr}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [&["servce", "list"][..], &["run"], &["service", "add"], &[]] {
        assert_eq!(sluicegate(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_0() {
    for arguments in [&["--help"][..], &["--version"], &["service", "add", "--help"]] {
        let output = sluicegate(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("sluicegate"), "{arguments:?}");
    }
}

#[test]
fn a_gateway_that_is_not_there_is_1() {
    let socket = std::env::temp_dir().join("sluicegate-nobody.sock");
    assert!(!Path::new(&socket).exists());
    let output = sluicegate(&["--socket", socket.to_str().unwrap(), "service", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: is sluicegate running? (connect "));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let file = File::new("json.toml", "[[interface]]\nname = \"eth0\"\ncolour = 1\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["check", "--json", "--config", file.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(2));
}

/// Its disk is full, or whoever read it is gone.
#[test]
fn a_standard_error_that_takes_nothing_changes_nothing() {
    let run = |file: &File| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        command.args(["run", "--config", file.path()]).stdin(Stdio::null()).stderr(full);
        command.status().unwrap().code()
    };
    let wrong = File::new("wrong-unheard.toml", "[gateway]\nflows = 0\n");
    assert_eq!(run(&wrong), Some(2));
    // A warning, then an interface that is not there.
    let warned = "[[interface]]\nname = \"sg-nowhere\"\n[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n";
    assert_eq!(run(&File::new("warned-unheard.toml", warned)), Some(1));
}

#[test]
fn an_import_that_carries_nothing_over_is_2_whoever_reads_it() {
    let file = File::new("nothing.cfg", "listen web\n    mode http\n    bind :80\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command
        .args(["import", "--vip", "198.18.0.1", file.path()])
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap());
    assert_eq!(command.stderr(writer).status().unwrap().code(), Some(2));
}

/// Whoever was told another path would ask nobody, or another gateway. The same path is what they say to all verbs.
#[test]
fn a_socket_that_is_not_the_configs_is_2_for_run() {
    let file =
        File::new("elsewhere.toml", "[gateway]\napi = \"/run/here.sock\"\n[[interface]]\nname = \"sg-nowhere\"\n");
    let run = |socket: &str| sluicegate(&["run", "--config", file.path(), "--socket", socket]);
    let output = run("/run/there.sock");
    let said =
        "error: --socket is /run/there.sock, and the config's gateway.api /run/here.sock\n  help: make them the same";
    assert_eq!((output.status.code(), text(&output.stderr).starts_with(said)), (Some(2), true), "{output:?}");
    assert_eq!(run("/run/here.sock").status.code(), Some(1), "there is no such interface");
    assert_eq!(sluicegate(&["check", "--config", file.path(), "--socket", "/run/there.sock"]).status.code(), Some(0));
}
