//! Output that goes on, and one that ends early.

use std::io::{self, Write};

use clap::Parser;

use crate::api::Fake;
use crate::cli::args::{Arguments, Verb};
use crate::cli::output::Output;
use crate::cli::{Failed, ask, show};
use crate::operations::{CounterSet, CountersView};

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
