//! The socket in the file system: whose it is, and what is left alone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::get;
use crate::api::fake::Fake;
use crate::api::fake::tempdir::Directory;

fn in_runtime<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    work()
}

#[test]
fn the_socket_is_its_owner_s_alone_and_goes_away() {
    let directory = Directory::new();
    let path = directory.path.join("made/by/us/api.sock");
    in_runtime(|| {
        let listener = crate::api::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
    });
    assert!(!path.exists() && !path.parent().unwrap().exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    in_runtime(|| crate::api::bind(&path).map(drop)).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_gateway_that_lives_is_left_alone() {
    let served = Fake::new().serve();
    let error = in_runtime(|| crate::api::bind(&served.path)).unwrap_err();
    let wanted = format!(
        "gateway.api: another sluicegate (pid {}) serves {}\n  help: stop it, or give this gateway another gateway.api",
        std::process::id(),
        served.path.display()
    );
    assert_eq!(error.to_string(), wanted);
    assert_eq!(get(&served, "/v1/status").0, 200);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path.join("notes.txt");
    std::fs::write(&path, "keep me").unwrap();
    let error = in_runtime(|| crate::api::bind(&path)).unwrap_err();
    assert!(error.to_string().contains("is there already and is not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "keep me");
}

/// A socket that refuses us for another reason than that nobody listens is somebody's.
#[test]
fn a_socket_of_another_kind_is_left_alone() {
    let directory = Directory::new();
    let path = directory.path.join("log.sock");
    let _log = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    in_runtime(|| crate::api::bind(&path)).unwrap_err();
    assert!(path.exists());
}

#[test]
fn a_directory_that_was_there_stays() {
    let directory = Directory::new();
    let made = directory.path.join("run");
    std::fs::create_dir(&made).unwrap();
    in_runtime(|| crate::api::bind(&made.join("api.sock")).map(drop)).unwrap();
    assert!(made.exists());
}

#[test]
fn somebody_else_s_file_under_our_path_stays() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    in_runtime(|| {
        let listener = crate::api::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(listener);
    });
    assert!(path.exists());
}
