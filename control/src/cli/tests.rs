//! What each verb prints, asked of a fake gateway over a real socket.

use std::io::{self, Write};
use std::path::Path;

use clap::Parser;

use super::args::{Arguments, Verb};
use super::output::Output;
use super::{Failed, ask, check};
use crate::api::Fake;
use crate::api::tempdir::Directory;

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
        Verb::Ask(question) => ask::ask(question, socket, &mut output),
        Verb::Check { config } => check::check(config, &[0, 1], &mut output, &mut stderr),
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
            "backend drain new 10.0.0.21",
            "service set new --listen 198.18.0.9:8080-8090/udp --timestamps keep",
            "service show new",
            "backend remove new 192.0.2.1:80",
            "service remove new",
            "service show new",
            "reload",
        ]
    ));
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
        let outcome = ask::ask(question, &served.path, &mut Output::new(&mut closed, arguments.json));
        assert!(matches!(outcome, Err(Failed::BrokenPipe)), "{outcome:?}");
    }
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory as _;
    Arguments::command().debug_assert();
}
