//! What is asked of a gateway.

use super::{run, transcript};
use crate::api::Fake;
use crate::api::tempdir::Directory;
use crate::cli::show;
use crate::operations::{ShortcutInterface, ShortcutStatus, Status, SwarmStatus};

#[test]
fn looking() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service list",
            "service show my-web",
            "backend list",
            "backend list games",
            "flow list",
            "flow list --service games --limit 1",
            "flow count",
            "counters",
            "status",
        ]
    ));
}

#[test]
fn json() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service show games --json",
            "--json flow count",
            "flow --json list --limit 1",
            "backend drain my-web 10.0.0.11:8000 --json",
            "service remove games --json",
            "reload --json",
        ]
    ));
    for line in ["service list", "backend list", "status", "counters", "flow list"] {
        let (code, out, _) = run(&served.path, &format!("{line} --json"));
        assert_eq!(code, 0);
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}

/// Without a gateway, from a file that is named.
#[test]
fn who_it_was() {
    let directory = Directory::new();
    let path = |name: &str| directory.path.join(name);
    let line = |client: u16| {
        format!(
            "{{\"time\":\"2026-11-21T14:0{client}:00.000Z\",\"event\":\"open\",\"protocol\":\"tcp\",\"client\":\"203.0.113.7:{client}\",\
             \"vip\":\"198.18.0.1:80\",\"backend\":\"10.0.0.11:{client}\",\"snat\":\"10.0.0.3:41312\",\"service\":\"web\"}}\n"
        )
    };
    std::fs::write(path("flows.jsonl"), line(2)).unwrap();
    std::fs::write(path("flows.jsonl.1"), line(1)).unwrap();
    std::fs::write(path("broken.jsonl"), [line(3).as_bytes(), b"\xff\n"].concat()).unwrap();
    std::fs::write(path("noise.jsonl"), b"\xff\n").unwrap();
    let place = directory.path.display();
    let ask = |rest: &str| format!("flow who 10.0.0.3:41312 --file {place}/{rest}");
    let lines = [
        ask("flows.jsonl"),
        ask("flows.jsonl.1 --json"),
        ask("flows.jsonl --at 2026-11-21T13:00"),
        ask("broken.jsonl"),
        ask("noise.jsonl --json"),
        ask("nothing.jsonl"),
        ask("nowhere/flows.jsonl"),
    ];
    assert_words!(transcript(&path("api.sock"), &lines.each_ref().map(String::as_str)));
}

/// Where a list may lack some, that is said beside it: programs read the list.
#[test]
fn a_list_that_was_cut_off_stays_a_list() {
    let served = Fake::new().serve();
    for (limit, said) in
        [(2, "… at most 2 are shown, see --limit\n"), (3, "… at most 3 are shown, see --limit\n"), (4, "")]
    {
        let (code, out, err) = run(&served.path, &format!("flow list --limit {limit} --json"));
        let flows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        assert_eq!((code, flows.len(), err.as_str()), (0, limit.min(3), said));
        let (code, out, err) = run(&served.path, &format!("flow list --limit {limit}"));
        assert_eq!((code, out.ends_with("see --limit\n"), err.as_str()), (0, !said.is_empty(), ""));
    }
}

#[test]
fn health_is_told_by_the_exit_code() {
    let healthy = Fake::new().serve();
    assert_eq!(run(&healthy.path, "health"), (0, "healthy\n".to_owned(), String::new()));
    let mut fake = Fake::new();
    fake.faults = ["interface eth0 is down", "worker 1 failed: ended"].map(str::to_owned).into();
    let ill = fake.serve();
    let lines = "interface eth0 is down\nworker 1 failed: ended\n";
    assert_eq!(run(&ill.path, "health"), (1, lines.to_owned(), String::new()));
    let (code, out, _) = run(&ill.path, "health --json");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["healthy"], json["faults"].as_array().unwrap().len()), (1, &false.into(), 2));
}

/// Supervisors kill a script that takes too long.
#[test]
fn who_does_not_answer_is_not_healthy_and_soon_called_so() {
    let directory = Directory::new();
    let path = directory.path.join("api.sock");
    let (code, out, _) = run(&path, "health");
    assert!(code == 1 && out.starts_with("is sluicegate running?") && out.lines().count() == 1, "{code} {out}");
    // Connections are made, and nobody takes them.
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let start = sys::clock::now();
    let (code, out, _) = run(&path, "health");
    assert!(sys::clock::now().saturating_sub(start) < std::time::Duration::from_secs(2));
    assert!(code == 1 && out.ends_with("has not answered for 1.5 s\n"), "{code} {out}");
    let (_, out, _) = run(&path, "health --json");
    assert!(out.contains("\"healthy\": false"), "{out}");
}

#[test]
fn shortcuts_are_on_or_off_with_the_reasons() {
    let interface = |name: &str, reason: Option<&str>| ShortcutInterface {
        name: name.to_owned(),
        reason: reason.map(str::to_owned),
    };
    let shown = |shortcuts| {
        let text = show::status(&Status { shortcuts, ..Status::default() });
        let (_, behind) = text.split_once("Flows:      0 of 0\n").unwrap();
        behind.split_once("\nWorker").unwrap().0.to_owned()
    };
    let said =
        |on, interfaces: &[ShortcutInterface]| shown(Some(ShortcutStatus { on, interfaces: interfaces.to_vec() }));
    let (eth0, eth1) = (interface("eth0", None), interface("eth1", None));
    assert_eq!(shown(None), "", "no XDP");
    assert_eq!(said(true, &[eth0.clone(), eth1]), "Shortcuts:  on (eth0, eth1)\n");
    assert_eq!(
        said(false, &[eth0, interface("eth1", Some("it is down"))]),
        "Shortcuts:  off\n            not over eth1: it is down\n"
    );
    assert_eq!(said(false, &[]), "Shortcuts:  off, as configured\n");
}

#[test]
fn a_status_holds_nothing_that_terminals_obey() {
    let odd = || "a\u{1b}[2J\nb".to_owned();
    for age_seconds in [None, Some(1.0)] {
        let swarm = SwarmStatus { age_seconds, last_error: Some(odd()), network: odd(), ..SwarmStatus::default() };
        let text = show::status(&Status { notes: vec![odd()], swarm: Some(swarm), ..Status::default() });
        assert!(text.matches("a\u{fffd}[2J\u{fffd}b").count() >= 2 && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn one_problem_is_said_once() {
    let served = Fake::new().serve();
    let (_, _, err) = run(&served.path, "service set my-web --scheduler rrr");
    assert_eq!(err.matches("scheduler").count(), err.lines().next().unwrap().matches("scheduler").count(), "{err}");
}
