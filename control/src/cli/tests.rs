//! What each verb prints, asked of a fake gateway over a real socket.

use std::io::{self, Write};
use std::path::Path;

use clap::Parser;

use super::args::{Arguments, Verb};
use super::output::Output;
use super::{Failed, ask, check, import, show};
use crate::api::Fake;
use crate::api::tempdir::Directory;
use crate::operations::{CounterSet, CountersView, ShortcutInterface, ShortcutStatus, Status, SwarmStatus};

/// Exit code, standard output and standard error of a command line, with the socket left out.
fn run(socket: &Path, line: &str) -> (u8, String, String) {
    let words = std::iter::once("sluicegate").chain(line.split_whitespace());
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return (u8::try_from(error.exit_code()).unwrap(), String::new(), error.to_string()),
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = Output::new(&mut stdout, arguments.json);
    let outcome = match &arguments.verb {
        Verb::Ask(question) => ask::ask(question, socket, &mut output, &mut stderr),
        Verb::Check { config } => check::check(config, &[0, 1], &mut output, &mut stderr),
        Verb::Import { file, format, vip } => import::import(file, *format, vip, &mut output, &mut stderr),
        Verb::Run { .. } => panic!("that would run"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match outcome {
        Ok(code) => (code, text(stdout), text(stderr)),
        Err(Failed::AtRunTime(message)) => (1, text(stdout), message),
        Err(Failed::Wrong(message)) => (2, text(stdout), message),
        Err(Failed::BrokenPipe) => panic!("nobody broke a pipe"),
    }
}

/// The lines, and what each of them gave.
fn transcript(socket: &Path, lines: &[&str]) -> String {
    let show = |line: &&str| {
        let (code, out, err) = run(socket, line);
        let place = socket.display().to_string();
        let directory = socket.parent().unwrap().display().to_string();
        let text = format!("{out}{err}").replace(&place, "SOCKET").replace(&directory, "DIR");
        format!("$ sluicegate {}\n{text}[{code}]\n", line.replace(&directory, "DIR"))
    };
    lines.iter().map(show).collect::<Vec<_>>().join("\n")
}

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

#[test]
fn taking_away() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "backend set my-web 10.0.0.12:8000 --mac none",
            "backend list my-web",
            "backend set my-web 10.0.0.12:8000 --mac 02:00:00:00:00:15",
            "backend set my-web 10.0.0.12:8000 --vtep none",
            "backend set my-web 10.0.0.12:8000 --vtep none --mac none",
            "backend set my-web 10.0.0.11:8000 --vtep nobody",
            "backend list my-web",
        ]
    ));
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
fn changing() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80 --listen 198.18.0.9:443/tcp --scheduler rr",
            "backend add new 192.0.2.1:80 --weight 3",
            "backend add new 10.0.0.21 --vtep 198.18.1.11 --mac 02:00:00:00:00:15",
            "backend set new 192.0.2.1:80 --weight 7",
            "backend set new 192.0.2.1:80 --max-connections 500 --sorry true",
            "backend list new",
            "backend set new 192.0.2.1:80 --max-connections none --sorry false",
            "backend set new 192.0.2.1:80 --max-connections 0",
            "backend drain new 10.0.0.21",
            "service set new --listen 198.18.0.9:8080-8090/udp --timestamps keep",
            "service show new",
            "service set new --direct true",
            "backend remove new 192.0.2.1:80",
            "service set new --direct true --timeout 5400s",
            "service show new",
            "service set new --proxy-protocol true",
            "service set new --timeout default --direct false --proxy-protocol true",
            "service set new --timeout 0s",
            "service set new --timeouts udp=3s,udp_stream=90s",
            "service set new --timeouts udp=default --timeouts tcp_close=1s",
            "service set new --timeouts upd=3s",
            "service set new --timeouts udp=3",
            "service show new",
            "service set new --timeouts udp_stream=default",
            "service set new --one-packet true --scheduler wlc",
            "service set new --one-packet true",
            "service show new",
            "service set new --one-packet false",
            "service set new --passive true",
            "service set new --listen 198.18.0.9:8080 --passive-failures 5 --passive-ejection 1m",
            "service show new",
            "service set new --passive-floor 70000",
            "service set new --passive default --listen 198.18.0.9:8080-8090/udp",
            "service set new --slow-start 30s",
            "service set new --slow-start 30s --scheduler wrr --drain-deadline 5m",
            "service set new --on-down reset",
            "service show new",
            "service set new --slow-start default --drain-deadline default --scheduler rr",
            "service set new --persistence 300s --persistence-prefix 24 --persistence-group shop",
            "service show new",
            "service add other --listen 198.18.0.9:443 --persistence 1m --persistence-group shop",
            "service add other --listen 198.18.0.9:443 --persistence 5m --persistence-prefix 24 --persistence-group shop",
            "service set other --persistence 1m",
            "service set other --persistence-prefix 33",
            "service set other --persistence-clients 2000",
            "service show new",
            "service set new --persistence default",
            "service set new --persistence-group shop",
            "service show new --json",
            "service remove other",
            "backend add new 192.0.2.1:80 --weight 3",
            "service remove new",
            "service show new",
            "reload",
        ]
    ));
}

#[test]
fn protecting() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80/udp",
            "service set new --allow 198.18.0.0/16,2001:db8::/32 --deny 198.18.7.7 --rate 600/m --rate-per-source 20/s",
            "service set new --rate-per-source-burst 50",
            "service show new",
            "service set new --allow 198.18.0.1/16",
            "service set new --rate-burst 0",
            "service set new --rate default --allow default",
            "service set new --rate-burst 10",
            "service show new",
            "service set new --rate-per-source default --deny default",
            "service set new --half-open 500",
            "service set new --listen 198.18.0.9:8080 --half-open 500",
            "service show new",
            "service set new --syn-cookies always",
            "service set new --syn-cookies always --half-open default",
            "service show new",
            "service set new --syn-cookies auto",
        ]
    ));
}

#[test]
fn changing_what_is_ipv6() {
    let served = Fake::new().serve();
    assert_words!(transcript(
        &served.path,
        &[
            "service add new --listen 198.18.0.9:80 --listen [2001:db8::9]:80 --persistence 5m",
            "backend add new [2001:db8:1::11]:8080 --weight 3",
            "backend add new 2001:db8:1::12",
            "backend add new 2001:db8:1:0::12",
            "backend add new [2001:db8:1::13]:80 --vtep 198.18.1.11",
            "backend set new [2001:db8:1::11]:8080 --weight 7",
            "backend drain new 2001:db8:1::12",
            "service show new",
            "service set new --persistence-prefix-ipv6 56",
            "service show new",
            "service set new --listen 2001:db8::9:80",
            "service set new --direct true",
            "backend remove new [2001:db8:1::11]:8080",
            "backend remove new 2001:db8:1::12",
        ]
    ));
}

#[test]
fn importing() {
    let directory = Directory::new();
    let put = |name: &str, text: &str| std::fs::write(directory.path.join(name), text).unwrap();
    put(
        "haproxy.cfg",
        "listen ingress\n  bind *:80\n  balance roundrobin\n  acl x path /\n  server a 192.0.2.9:8080 check\n",
    );
    put("saved", "-A -t 198.18.0.1:80 -s rr -p 300\n-a -t 198.18.0.1:80 -r 192.0.2.9:80 -g -w 1\n");
    put("nothing.conf", "virtual_server fwmark 1 {\n}\n");
    put("other", "server {\n}\n");
    let socket = directory.path.join("none");
    let at = |name: &str| directory.path.join(name).display().to_string();
    let lines = [
        format!("import --vip 198.18.0.1 {}", at("haproxy.cfg")),
        format!("import {}", at("saved")),
        format!("import --json {}", at("saved")),
        format!("import {}", at("nothing.conf")),
        format!("import {}", at("other")),
        format!("import --format haproxy {}", at("other")),
        format!("import {}", at("missing")),
    ];
    assert_words!(transcript(&socket, &lines.iter().map(String::as_str).collect::<Vec<_>>()));
}

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
}

#[test]
fn check_prints_problems_or_one_line() {
    let directory = Directory::new();
    let socket = directory.path.join("api.sock");
    let write = |name: &str, text: &str| {
        let path = directory.path.join(name);
        std::fs::write(&path, text).unwrap();
        format!("check --config {}", path.display())
    };
    let good = write("good.toml", include_str!("../api/fake.toml"));
    let odd =
        write("odd.toml", "[[interface]]\nname = \"eth0\"\n[[service]]\nname = \"a\"\nlisten = \"198.18.0.1:1\"\n");
    let wrong = write("wrong.toml", "[[interface]]\nname = \"eth0\"\ndriver = \"tunn\"\n[gateway]\nflows = 0\n");
    let lines = [&good, &odd, &wrong, "check --config /nonexistent/gw.toml"];
    let json: Vec<String> = [&good, &wrong].iter().map(|line| format!("{line} --json")).collect();
    let lines: Vec<&str> = lines.iter().map(|line| &**line).chain(json.iter().map(String::as_str)).collect();
    assert_words!(transcript(&socket, &lines));
}

/// Only what is said on the command line changes.
#[test]
fn what_is_left_out_stays() {
    let served = Fake::new().serve();
    let set = |line: &str| assert_eq!(run(&served.path, line).0, 0, "{line}");
    set("service set my-web --scheduler wrr");
    set("service set my-web --timestamps keep");
    set("service set my-web --listen 198.18.0.1:9090");
    let (_, shown, _) = run(&served.path, "service show my-web --json");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["scheduler"], &shown["timestamps"]), (&"wrr".into(), &"keep".into()));
    assert_eq!(shown["listen"], serde_json::json!(["198.18.0.1:9090/tcp"]));
}

#[test]
fn names_reach_the_gateway_whatever_is_in_them() {
    let served = Fake::new().serve();
    for name in ["a/b", "a%2fb", "a?b", "ä"] {
        let (code, _, err) = run(&served.path, &format!("service show {name}"));
        assert_eq!((code, err.contains(&format!("there is no service `{name}`"))), (1, true), "{err}");
    }
}

/// Hangs up at the so-many-th flush.
struct Listener {
    heard: Vec<u8>,
    flushes: usize,
}

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.flushes -= 1;
        if self.flushes == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

fn watched(line: &str, flushes: usize) -> String {
    let served = Fake::new().serve();
    let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
    let Verb::Ask(question) = &arguments.verb else { panic!() };
    let mut listener = Listener { heard: Vec::new(), flushes };
    let outcome = ask::ask(question, &served.path, &mut Output::new(&mut listener, arguments.json), &mut io::sink());
    assert!(matches!(outcome, Err(Failed::BrokenPipe)), "{outcome:?}");
    String::from_utf8(listener.heard).unwrap()
}

#[test]
fn watching_shows_the_counters_and_then_their_rates() {
    let json = watched("sluicegate counters --watch --json", 1);
    let line: serde_json::Value = serde_json::from_str(json.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!((line["total"]["counters"]["rx_packets"].as_u64(), json.lines().count()), (Some(1_000_300), 1));
    let text = watched("sluicegate counters --watch", 3);
    let (first, second) = text.split_once("\n\nCounter").unwrap();
    assert!(first.contains("1000300") && !first.contains("PerSecond"), "{first}");
    assert!(second.contains("PerSecond"), "{second}");
}

#[test]
fn rates_are_what_came_since() {
    let view = |rx| CountersView {
        total: CounterSet { counters: [("rx_packets".to_owned(), rx)].into(), drops: [].into() },
        workers: vec![],
    };
    let shown = show::counters(&view(1_000), Some(&view(400)));
    let row = shown.lines().find(|line| line.starts_with("rx_packets")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["rx_packets", "1000", "600"]);
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

/// `… | head`
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_is_quiet() {
    let served = Fake::new().serve();
    for line in ["service list", "service list --json", "counters --watch", "counters --watch --json"] {
        let words = std::iter::once("sluicegate").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).unwrap();
        let Verb::Ask(question) = &arguments.verb else { panic!() };
        let mut closed = Closed;
        let outcome = ask::ask(question, &served.path, &mut Output::new(&mut closed, arguments.json), &mut io::sink());
        assert!(matches!(outcome, Err(Failed::BrokenPipe)), "{outcome:?}");
    }
}

#[test]
fn the_socket_is_the_usual_one_unless_it_is_said() {
    let parsed = |line: &str| Arguments::try_parse_from(format!("sluicegate {line}").split(' ')).unwrap();
    assert_eq!(parsed("status --socket /x").socket(), Path::new("/x"));
    assert_eq!(parsed("status").socket(), Path::new(crate::config::DEFAULT_API));
    assert_eq!((parsed("run -c g --socket /x").socket, parsed("run -c g").socket), (Some("/x".into()), None));
}

#[test]
fn the_help_says_what_it_is() {
    use clap::CommandFactory as _;
    let help = Arguments::command().render_help().to_string();
    assert!(help.starts_with("A userspace L4 ingress gateway\n"), "{help}");
    assert!(help.contains(&format!("API socket [default: {}]", crate::config::DEFAULT_API)), "{help}");
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
}
