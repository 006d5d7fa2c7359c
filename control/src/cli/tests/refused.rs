//! What a gateway refuses, and none that answers.

use super::{run, transcript};
use crate::api::Fake;
use crate::api::tempdir::Directory;

#[test]
fn refusals() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service show my-wbe",
            "service add my-web --listen 198.18.0.9:80",
            "service add x --listen 198.18.0.1:8080",
            "service add x --listen 198.18.0.1",
            "service add a/b --listen 198.18.0.1:1",
            "service add x",
            "service set my-web",
            "service set my-web --scheduler rrr",
            "backend add my-web 10.0.0.11:8000 --vtep 198.18.1.11",
            "backend add my-web 10.0.9.9:1 --vtep 198.18.1.11",
            "backend set my-web 10.0.0.11:8000",
            "backend set my-web 10.0.0.11:8000 --weight 65536",
            "backend remove my-web 10.0.0.99",
            "flow list --service nobody",
            "flow list --limit 0",
            "flow who foo",
            "flow who 10.0.0.250",
            "flows cuont",
            "servce list",
        ]
    ));
}

#[test]
fn a_broken_file_stops_a_reload() {
    let served = Fake::new().serve();
    served.gateway.lock().unwrap().write_file("[[interface]]\nname = \"eth0\"\nmod = \"auto\"\n[gateway]\nflows = 0\n");
    assert_words!(transcript(&served.path, &["reload"]));
}

/// The file is right: that is no wrong config.
#[test]
fn a_reload_that_the_gateway_cannot_carry_out_fails_at_run_time() {
    let mut fake = Fake::new();
    fake.no_reload = Some("the XDP filter refused the new rules: no room".to_owned());
    let served = fake.serve();
    let (code, _, err) = run(&served.path, "reload");
    let wanted = "error: the config could not be applied, nothing has changed: the XDP filter refused the new rules: no room\n\
                  \x20 help: see the gateway's log and `sluicegate status`\n";
    assert_eq!((code, err.as_str()), (1, wanted));
}

#[test]
fn a_gateway_that_is_not_there() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    let (code, _, err) = run(&path, "status");
    assert_eq!(code, 1);
    let wanted = format!("error: is sluicegate running? (connect {}: No such file)\n  help: start it", path.display());
    assert!(err.starts_with(&wanted), "{err}");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (code, _, err) = run(&path, "status");
    assert_eq!((code, err.contains("nobody answers")), (1, true), "{err}");
    std::fs::write(directory.path.join("file"), "").unwrap();
    for path in [directory.path.join("file"), directory.path.clone()] {
        let (code, _, err) = run(&path, "status");
        assert_eq!((code, err.contains("it is no socket"), err.contains("died")), (1, true, false), "{err}");
    }
}
