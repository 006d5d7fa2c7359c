//! Lines, rotation, and the question that the log is for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;

use conntrack::State;
use datapath::flow_log::{Ending, queue};
use wire::Protocol;

use super::*;
use crate::api::tempdir::Directory;

fn event(client: u16, at: u64, ending: Option<Ending>) -> FlowEvent {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    FlowEvent {
        at: Duration::from_millis(at),
        opened: Duration::from_secs(1),
        ending,
        state: State::TimeWait,
        protocol: Protocol::Tcp,
        client: SocketAddr::new(address("203.0.113.7:0").ip(), client),
        vip: address("198.18.0.1:8080"),
        snat: address("10.0.0.3:41312"),
        backend: address("10.0.0.11:8000"),
        service: ServiceId(1),
        packets: [5, 4],
        bytes: [500, 4_000],
    }
}

fn catalog() -> Catalog {
    let web = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:8080\"\n";
    Catalog::from_config(&crate::catalog::config_for_tests(web), 1)
}

fn log(directory: &Directory, opens: bool) -> (FlowLog, FlowEvents, PathBuf) {
    let (path, events) = (directory.path.join("flows.jsonl"), queue());
    let config = FlowLogConfig { path: path.clone(), opens, closes: true };
    let log = FlowLog::start(&config, vec![Arc::clone(&events)]).unwrap();
    log.know(&catalog());
    (log, events, path)
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn until(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("it did not come to that");
}

#[test]
fn a_line_says_it_all() {
    let directory = Directory::new();
    let (log, events, path) = log(&directory, true);
    events.push(event(5_000, 1_000, None)).unwrap();
    events.push(event(5_000, 3_250, Some(Ending::Closed))).unwrap();
    drop(log);
    let [open, close] = &lines(&path)[..] else { panic!("two lines") };
    assert_eq!((&open["event"], &open["service"], open.get("reason")), (&"open".into(), &"web".into(), None));
    assert_eq!(open["time"], close["opened"]);
    for (key, value) in [
        ("event", "close"),
        ("reason", "closed"),
        ("client", "203.0.113.7:5000"),
        ("protocol", "tcp"),
        ("snat", "10.0.0.3:41312"),
        ("vip", "198.18.0.1:8080"),
        ("backend", "10.0.0.11:8000"),
        ("state", "TIME_WAIT"),
    ] {
        assert_eq!(close[key], value);
    }
    assert_eq!((&close["duration_seconds"], &close["bytes"]["reply"]), (&2.25.into(), &4_000.into()));
}

#[test]
fn only_what_is_wanted_is_written() {
    let directory = Directory::new();
    let (log, events, path) = log(&directory, false);
    events.push(event(5_000, 1_000, None)).unwrap();
    events.push(event(5_000, 3_250, Some(Ending::Reset))).unwrap();
    drop(log);
    assert_eq!(lines(&path).len(), 1);
}

#[test]
fn a_file_that_was_moved_away_is_left_and_a_new_one_begun() {
    let directory = Directory::new();
    let (log, events, path) = log(&directory, true);
    events.push(event(1, 1_000, None)).unwrap();
    until(|| !lines(&path).is_empty());
    let old = directory.path.join("flows.jsonl.1");
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    until(|| path.exists());
    events.push(event(2, 1_000, None)).unwrap();
    drop(log);
    let client = |path: &Path| lines(path).iter().map(|line| line["client"].clone()).collect::<Vec<_>>();
    assert_eq!(client(&old), ["203.0.113.7:1"]);
    assert_eq!(client(&path), ["203.0.113.7:2"]);
}

#[test]
fn what_cannot_be_written_is_said() {
    let directory = Directory::new();
    let (log, events, path) = log(&directory, true);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    log.reopen();
    until(|| log.trouble().is_some());
    events.push(event(1, 1_000, None)).unwrap();
    until(|| log.trouble().unwrap_or_default().ends_with("1 lines were lost"));
    std::fs::remove_dir(&path).unwrap();
    until(|| log.trouble().is_none());
    events.push(event(2, 1_000, None)).unwrap();
    drop(log);
    assert_eq!(lines(&path).len(), 1, "it goes on by itself");
}

#[test]
fn a_full_disk_is_said_once_and_every_lost_line_is_counted() {
    let (directory, events) = (Directory::new(), queue());
    let config = FlowLogConfig { path: "/dev/full".into(), opens: true, closes: true };
    let mut writer = Writer::new(&config, vec![Arc::clone(&events)]).unwrap();
    let log = FlowLog { shared: Arc::clone(&writer.shared), thread: None };
    let said = directory.path.join("said");
    let ears = tracing_subscriber::fmt().with_writer(Mutex::new(File::create(&said).unwrap())).finish();
    tracing::subscriber::with_default(ears, || {
        for lost in [2, 4, 6, 8, 10] {
            events.push(event(1, 1_000, None)).unwrap();
            events.push(event(1, 3_250, Some(Ending::Closed))).unwrap();
            let trouble = format!("flow log /dev/full: No space left on device (os error 28); {lost} lines were lost");
            for _ in 0..3 {
                writer.turn();
                assert_eq!(log.trouble().as_ref(), Some(&trouble));
            }
        }
    });
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
    writer.config.path = directory.path.join("flows.jsonl");
    log.reopen();
    writer.turn();
    assert!(log.trouble().is_some(), "nothing was written yet");
    events.push(event(2, 1_000, None)).unwrap();
    writer.turn();
    assert_eq!((log.trouble(), lines(&writer.config.path).len()), (None, 1), "there is room again");
}

#[test]
fn who_it_was() {
    let directory = Directory::new();
    let path = directory.path.join("flows.jsonl");
    let line = |client: u16, time: &str, opened: Option<&str>, snat: &str| {
        let end = opened.map(|opened| {
            format!(
                ",\"opened\":\"2026-11-21T{opened}Z\",\"duration_seconds\":1,\"reason\":\"closed\",\"state\":\"CLOSE\",\
                 \"packets\":{{\"original\":1,\"reply\":1}},\"bytes\":{{\"original\":1,\"reply\":1}}"
            )
        });
        let event = if end.is_some() { "close" } else { "open" };
        format!(
            "{{\"time\":\"2026-11-21T{time}Z\",\"event\":\"{event}\",\"protocol\":\"tcp\",\"client\":\"203.0.113.7:{client}\",\
             \"vip\":\"198.18.0.1:80\",\"backend\":\"10.0.0.11:80\",\"snat\":\"{snat}\",\"service\":\"web\"{}}}\n",
            end.unwrap_or_default()
        )
    };
    let asked = "10.0.0.3:41312";
    let text = [
        line(1, "14:00:00.000", None, asked),
        line(9, "14:01:00.000", None, "10.0.0.3:4131"),
        line(1, "14:03:00.000", Some("14:00:00.000"), asked),
        "{\"time\":\"2026-11-21T14:04:00.000Z\",\"snat\":\"10.0.0.3:41312\",\"ev\n".to_owned(),
        line(2, "14:04:30.000", None, asked),
        line(3, "14:09:00.000", Some("14:08:00.000"), asked),
    ];
    std::fs::write(&path, text.concat()).unwrap();
    let who = |at: Option<&str>| {
        let at = at.map(|at| format!("2026-11-21T{at}Z"));
        let found = who::search(&path, asked.parse().unwrap(), at.as_deref()).unwrap();
        found.iter().map(|flow| flow.client.port()).collect::<Vec<_>>()
    };
    assert_eq!(who(None), [1, 2, 3]);
    assert_eq!(who(Some("14:02:00.000")), [1]);
    assert_eq!(who(Some("14:05:00.000")), [2], "its end is not in the log");
    assert_eq!(who(Some("13:59:00.000")), [0; 0]);
    assert_eq!(who(Some("14:03:30.000")), [0; 0]);
}
