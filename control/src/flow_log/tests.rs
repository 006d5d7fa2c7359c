//! Lines, rotation, and the question that the log is for.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;

use conntrack::State;
use datapath::flow_log::{Ending, queue};
use wire::Protocol;

use super::*;
use crate::api::tempdir::Directory;
use crate::config::{ServiceConfig, Settings, value};
use crate::operations::Edit;

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

fn all_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those about flows.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    all_lines(path).into_iter().filter(|line| line["event"] == "open" || line["event"] == "close").collect()
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
fn start_and_stop_stand_around_the_flows() {
    let directory = Directory::new();
    for _ in 0..2 {
        let (log, events, _) = log(&directory, true);
        events.push(event(1, 1_000, None)).unwrap();
        drop(log);
    }
    let lines = all_lines(&directory.path.join("flows.jsonl"));
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["start", "open", "stop", "start", "open", "stop"]);
    let borders: Vec<_> = lines.iter().filter(|line| line["event"] == "start" || line["event"] == "stop").collect();
    assert!(borders.is_sorted_by_key(|line| line["time"].as_str().unwrap().to_owned()));
    assert!(borders.iter().all(|line| line.as_object().unwrap().len() == 2), "{borders:?}");
}

/// A crash in mid-line.
#[test]
fn a_torn_line_spoils_no_other() {
    let directory = Directory::new();
    let path = directory.path.join("flows.jsonl");
    std::fs::write(&path, "{\"time\":\"2026-11-2").unwrap();
    let (log, events, _) = log(&directory, true);
    events.push(event(1, 1_000, None)).unwrap();
    drop(log);
    let text = std::fs::read_to_string(&path).unwrap();
    let (torn, whole) = text.split_once('\n').unwrap();
    assert_eq!(torn, "{\"time\":\"2026-11-2");
    let events: Vec<serde_json::Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3, "start, open, stop");
}

#[test]
fn a_new_file_begins_with_a_line() {
    let (directory, events) = (Directory::new(), queue());
    let config = FlowLogConfig { path: directory.path.join("flows.jsonl"), opens: true, closes: true };
    let mut writer = Writer::new(&config, vec![Arc::clone(&events)]).unwrap();
    // The disk was full in the middle of a line, then the file was moved away.
    (writer.torn, writer.file) = (true, None);
    events.push(event(1, 1_000, None)).unwrap();
    writer.turn();
    let text = std::fs::read_to_string(&config.path).unwrap();
    assert!(text.starts_with('{') && text.ends_with("}\n"), "{text:?}");
}

#[test]
fn services_that_stand_keep_their_names() {
    let directory = Directory::new();
    let (log, _, _) = log(&directory, true);
    let mut catalog = catalog();
    let listen = value::listen("198.18.0.9:80").unwrap();
    for round in 0..OLD_NAMES + 10 {
        let name = format!("passing{round}");
        let service = ServiceConfig {
            name: name.clone(),
            listens: vec![listen.clone()],
            settings: Settings::default(),
            check: None,
            backends: Vec::new(),
        };
        catalog.apply(&Edit::AddService(service)).unwrap();
        log.know(&catalog);
        catalog.apply(&Edit::RemoveService { name }).unwrap();
    }
    log.know(&catalog);
    let names = log.shared.names.lock().unwrap();
    assert_eq!(names.get(&catalog.services()[0].id).map(String::as_str), Some("web"));
    assert_eq!((names.len(), names.values().any(|name| name == "passing0")), (OLD_NAMES + 1, false));
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

/// A line as the log has it, of that day.
fn written(client: u16, time: &str, opened: Option<&str>) -> String {
    let end = opened.map(|opened| {
        format!(
            ",\"opened\":\"2026-11-21T{opened}Z\",\"duration_seconds\":1,\"reason\":\"closed\",\"state\":\"CLOSE\",\
             \"packets\":{{\"original\":1,\"reply\":1}},\"bytes\":{{\"original\":1,\"reply\":1}}"
        )
    });
    let event = if end.is_some() { "close" } else { "open" };
    format!(
        "{{\"time\":\"2026-11-21T{time}Z\",\"event\":\"{event}\",\"protocol\":\"tcp\",\"client\":\"203.0.113.7:{client}\",\
         \"vip\":\"198.18.0.1:80\",\"backend\":\"10.0.0.11:80\",\"snat\":\"{ASKED}\",\"service\":\"web\"{}}}\n",
        end.unwrap_or_default()
    )
}

const ASKED: &str = "10.0.0.3:41312";

fn that_day(at: &str) -> who::Span {
    who::moment(&format!("2026-11-21T{at}Z")).unwrap()
}

/// The clients' ports.
fn who(text: &str, at: Option<&str>) -> Vec<u16> {
    let directory = Directory::new();
    let path = directory.path.join("flows.jsonl");
    std::fs::write(&path, text).unwrap();
    let at = at.map(that_day);
    let answer = who::search(&path, ASKED.parse().unwrap(), at.as_ref());
    assert_eq!(answer.unread, [""; 0]);
    answer.found.iter().map(|flow| flow.client.port()).collect()
}

/// As gzip packs it.
fn packed(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// The clients' ports, with the ends of their flows, and how many files could not be read.
fn who_in(files: &[(&str, Vec<u8>)], at: Option<&str>) -> (Vec<(u16, Option<String>)>, Vec<String>) {
    let directory = Directory::new();
    for (name, bytes) in files {
        std::fs::write(directory.path.join(name), bytes).unwrap();
    }
    let at = at.map(that_day);
    let answer = who::search(&directory.path.join("flows.jsonl"), ASKED.parse().unwrap(), at.as_ref());
    let place = format!("{}/", directory.path.display());
    let found =
        answer.found.into_iter().map(|flow| (flow.client.port(), flow.closed.map(|end| end[11..16].to_owned())));
    (found.collect(), answer.unread.into_iter().map(|why| why.replace(&place, "")).collect())
}

fn border(time: &str, event: &str) -> String {
    format!("{{\"time\":\"2026-11-21T{time}Z\",\"event\":\"{event}\"}}\n")
}

fn until_then(client: u16, end: &str) -> (u16, Option<String>) {
    (client, Some(end.to_owned()))
}

/// A flow stands from one file to another, and its only line may be in the oldest.
#[test]
fn rotated_files_are_read_from_the_oldest_on() {
    let (oldest, older) = (written(1, "10:00:00.000", None), written(2, "11:00:00.000", None));
    let newer = written(2, "12:00:00.000", Some("11:00:00.000")) + &written(3, "12:30:00.000", None);
    let newest = written(4, "13:00:00.000", None);
    let two_packs = [packed(&written(9, "09:00:00.000", None)), packed(&oldest)].concat();
    for names in [["flows.jsonl.3.gz", "flows.jsonl.2.gz"], ["flows.jsonl-20261119.gz", "flows.jsonl-20261120.gz"]] {
        let files = [
            ("flows.jsonl", newest.clone().into_bytes()),
            (names[0], two_packs.clone()),
            (names[1], packed(&older)),
            ("flows.jsonl.1", newer.clone().into_bytes()),
        ];
        let all =
            [until_then(9, "10:00"), until_then(1, "11:00"), until_then(2, "12:00"), until_then(3, "13:00"), (4, None)];
        assert_eq!(who_in(&files, None), (all.to_vec(), vec![]));
        assert_eq!(who_in(&files, Some("10:30:00.000")).0, [until_then(1, "11:00")], "its end is in a later file");
        assert_eq!(who_in(&files[1..], Some("13:30:00.000")).0, [(3, None)], "the log itself was just moved away");
    }
    let files = [("flows.jsonl", vec![]), ("flows.jsonl.2.gz", packed(&oldest))];
    assert_eq!(who_in(&files, Some("14:00:00.000")).0, [(1, None)], "it still stands");
}

#[test]
fn a_file_that_is_broken_is_said_and_the_others_are_read() {
    let cut = |text: &str| packed(text)[..packed(text).len() - 9].to_vec();
    let files = [
        ("flows.jsonl", written(4, "13:00:00.000", None).into_bytes()),
        ("flows.jsonl.1", vec![0xff; 9]),
        ("flows.jsonl.2.gz", cut(&(written(1, "10:00:00.000", None) + &border("10:30:00.000", "stop")))),
        ("flows.jsonl.3.gz", b"\x1f\x8bnonsense".to_vec()),
    ];
    let (found, mut unread) = who_in(&files, None);
    unread.sort();
    assert_eq!(found.last(), Some(&(4, None)));
    let said: Vec<_> = unread.iter().map(|why| why.split(": ").next().unwrap()).collect();
    let wanted = [
        "flows.jsonl.1 cannot be read",
        "flows.jsonl.2.gz cannot be read to its end",
        "flows.jsonl.3.gz cannot be read",
    ];
    assert_eq!(said, wanted);
    assert!(unread[0].ends_with("it is neither text nor packed by gzip"), "{unread:?}");
    assert_eq!(who_in(&[], None).1, ["flows.jsonl cannot be read: No such file or directory (os error 2)"]);
}

/// It would be said that they are broken.
#[test]
fn files_on_the_other_side_of_a_start_or_stop_are_not_read() {
    let half = |text: String| [text.as_bytes(), b"\xff\n"].concat();
    let files = [
        ("flows.jsonl.4", half(written(1, "09:00:00.000", None))),
        ("flows.jsonl.3", (written(2, "10:00:00.000", None) + &border("10:30:00.000", "start")).into_bytes()),
        ("flows.jsonl.2", written(3, "11:00:00.000", None).into_bytes()),
        ("flows.jsonl.1", (border("12:00:00.000", "stop") + &written(4, "12:30:00.000", None)).into_bytes()),
        ("flows.jsonl", half(written(5, "13:00:00.000", None))),
    ];
    assert_eq!(who_in(&files, Some("11:30:00.000")), (vec![until_then(3, "12:00")], vec![]));
    assert_eq!(who_in(&files, Some("10:15:00.000")).1.len(), 1, "what stood then may be in the oldest");
    assert_eq!(who_in(&files, None).1.len(), 2);
}

#[test]
fn who_it_was() {
    let text = [
        written(1, "14:00:00.000", None),
        written(9, "14:01:00.000", None).replace(ASKED, "10.0.0.3:4131"),
        written(1, "14:03:00.000", Some("14:00:00.000")),
        "{\"time\":\"2026-11-21T14:04:00.000Z\",\"snat\":\"10.0.0.3:41312\",\"ev\n".to_owned(),
        written(2, "14:04:30.000", None),
        written(3, "14:09:00.000", Some("14:08:00.000")),
    ]
    .concat();
    assert_eq!(who(&text, None), [1, 2, 3]);
    assert_eq!(who(&text, Some("14:02:00.000")), [1]);
    assert_eq!(who(&text, Some("14:05:00.000")), [2], "its end is not in the log");
    assert_eq!(who(&text, Some("13:59:00.000")), [0; 0]);
    assert_eq!(who(&text, Some("14:03:30.000")), [0; 0]);
}

/// As the logs of most tasks have it, which is no moment of a short flow.
#[test]
fn a_second_or_minute_is_all_of_it() {
    let short = |client, opened: &str, closed| written(client, opened, None) + &written(client, closed, Some(opened));
    let text = short(1, "14:05:29.990", "14:05:30.010")
        + &short(2, "14:05:30.250", "14:05:30.400")
        + &short(3, "14:05:30.900", "14:05:31.000")
        + &short(4, "14:06:00.000", "14:06:00.020");
    assert_eq!(who(&text, Some("14:05:30")), [1, 2, 3]);
    assert_eq!(who(&text, Some("14:05:31")), [3]);
    assert_eq!(who(&text, Some("14:05:30.3")), [2]);
    assert_eq!(who(&text, Some("14:05")), [1, 2, 3]);
    assert_eq!(who(&text, Some("14:07")), [0; 0]);
    let moved = [("flows.jsonl", short(4, "14:05:50.000", "14:05:51.000")), ("flows.jsonl.1", text)];
    let files = moved.map(|(name, text)| (name, text.into_bytes()));
    assert_eq!(who_in(&files, Some("14:05")).0.len(), 4, "that minute ends in a later file");
}

#[test]
fn the_next_flow_of_a_port_ends_the_one_before() {
    let text = [
        written(1, "14:00:00.000", None),
        written(2, "14:10:00.000", None),
        // Its opening was lost.
        written(3, "14:30:00.000", Some("14:20:00.000")),
        // Late, when another has the port already.
        written(4, "14:40:00.000", None),
        written(3, "14:40:00.001", Some("14:20:00.000")),
    ]
    .concat();
    assert_eq!(who(&text, Some("14:05:00.000")), [1]);
    assert_eq!(who(&text, Some("14:15:00.000")), [2]);
    assert_eq!(who(&text, Some("14:35:00.000")), [3], "the line that came late says so");
    assert_eq!(who(&text, Some("14:50:00.000")), [4]);
    let elsewhere = written(2, "14:10:00.000", None).replace("10.0.0.11", "10.0.0.12");
    assert_eq!(who(&(written(1, "14:00:00.000", None) + &elsewhere), Some("14:15:00.000")), [1, 2]);
}

/// The backend of a direct service sees the client's own address and port.
#[test]
fn a_client_may_ask_several_vips_from_one_port() {
    let direct = |vip| {
        written(1, "14:00:00.000", None).replace("203.0.113.7:1\"", "10.0.0.3:41312\"").replace("198.18.0.1", vip)
    };
    let text = direct("198.18.0.1") + &direct("198.18.0.2");
    assert_eq!(who(&text, Some("14:05:00.000")), [41312, 41312]);
}

#[test]
fn no_flow_outlives_the_gateway() {
    for border in ["start", "stop"] {
        let border = self::border("14:10:00.000", border);
        let text = written(1, "14:00:00.000", None) + &border + &written(2, "14:20:00.000", None);
        assert_eq!(who(&text, Some("14:05:00.000")), [1]);
        assert_eq!(who(&text, Some("14:15:00.000")), [0; 0]);
        assert_eq!(who(&text, Some("14:25:00.000")), [2]);
    }
}
