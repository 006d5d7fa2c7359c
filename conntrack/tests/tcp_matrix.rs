//! The whole matrix: what each kind of segment does in each state, from either side. The table is kept as a snapshot and
//! was read through line by line against Linux' `tcp_conntracks` and RFC 9293; where it differs from Linux is said below.
//!
//! Differences, all on purpose:
//! * `FIN_WAIT` to `LAST_ACK` takes a FIN of the *other* side; Linux also counts a repeated one.
//! * `FIN_WAIT` to `CLOSE_WAIT` and `LAST_ACK` to `TIME_WAIT` take an acknowledgment of the FINs; Linux takes any ACK.
//! * Closed states stay closed: a SYN makes the caller open a new flow.
//! * FINs out of the window are dropped; Linux marks them invalid and lets the rules decide.

mod common;

use common::*;
use conntrack::{Direction, State};
use wire::Tcp;

const CLIENT: Direction = Direction::Original;
const BACKEND: Direction = Direction::Reply;

/// How to get to each state. The client begins at 100, the backend at 300.
fn ways() -> Vec<(&'static str, State, Vec<Sent>)> {
    let syn = (CLIENT, SYN, 100, 0);
    let open = [syn, (BACKEND, SYN_ACK, 300, 101), (CLIENT, ACK, 101, 301)];
    let after = |more: &[Sent]| [&open[..], more].concat();
    let fin = (CLIENT, FIN_ACK, 101, 301);
    let backend_fin = (BACKEND, FIN_ACK, 301, 101);
    let last = (BACKEND, FIN_ACK, 301, 102);
    vec![
        ("no SYN yet", State::SynSent, vec![]),
        ("", State::SynSent, vec![syn]),
        ("", State::SynSent2, vec![syn, (BACKEND, SYN, 300, 0)]),
        ("", State::SynReceived, open[..2].to_vec()),
        ("", State::Established, open.to_vec()),
        ("client's FIN", State::FinWait, after(&[fin])),
        ("backend's FIN", State::FinWait, after(&[backend_fin])),
        ("client's FIN", State::CloseWait, after(&[fin, (BACKEND, ACK, 301, 102)])),
        ("backend's FIN", State::CloseWait, after(&[backend_fin, (CLIENT, ACK, 101, 302)])),
        ("", State::LastAck, after(&[fin, last])),
        ("", State::TimeWait, after(&[fin, last, (CLIENT, ACK, 102, 302)])),
        ("", State::Close, after(&[(CLIENT, RST, 101, 0)])),
        ("by reset()", State::Reset, open.to_vec()),
    ]
}

/// The next of each kind that an honest end would send, given what it has sent and got so far.
fn kinds(next: u32, expected: u32) -> Vec<(&'static str, Tcp)> {
    let far = 1_000_000;
    vec![
        ("SYN", segment(SYN, next + far, 0, 0)),
        ("SYN-ACK", segment(SYN_ACK, next - 1, expected, 0)),
        ("ACK", segment(ACK, next, expected, 10)),
        ("FIN", segment(FIN_ACK, next, expected, 0)),
        ("RST", segment(RST_ACK, next, expected, 0)),
        ("RST off by 9", segment(RST_ACK, next + 9, expected, 0)),
        ("far ACK", segment(ACK, next + far, expected, 10)),
        ("far FIN", segment(FIN_ACK, next + far, expected, 0)),
        ("far RST", segment(RST_ACK, next + far, expected + far, 0)),
        ("SYN+FIN", segment(0x03, next, expected, 0)),
    ]
}

fn arrive(way: &[Sent], state: State) -> Lab {
    let mut lab = Lab::new();
    for &(from, flags, seq, ack) in way {
        lab.send(from, &segment(flags, seq, ack, 0));
    }
    if state == State::Reset {
        lab.table.reset(lab.id, &Idle::default(), lab.now);
    }
    assert_eq!(lab.state(), state);
    lab
}

fn row(note: &str, state: State, way: &[Sent]) -> String {
    let end = |side: Direction, start: u32| {
        let sent = way.iter().filter(|(from, ..)| *from == side);
        sent.map(|(_, flags, seq, _)| seq + u32::from(flags & 3 != 0)).max().unwrap_or(start)
    };
    let (client, backend) = (end(CLIENT, 101), end(BACKEND, 301));
    let mut text = format!("{state} {note}\n");
    for (side, name, next, expected) in [(CLIENT, "client", client, backend), (BACKEND, "backend", backend, client)] {
        for (kind, tcp) in kinds(next, expected) {
            let mut lab = arrive(way, state);
            lab.wait(2);
            let before = lab.left();
            let track = format!("{:?}", lab.send(side, &tcp));
            let lives = if lab.left() > before { "refreshed" } else { "" };
            let line = format!("  {name:<8}{kind:<13}{track:<24}{:<12}{lives}", lab.state().as_str());
            text += line.trim_end();
            text.push('\n');
        }
    }
    text
}

#[test]
fn matrix() {
    let rows: Vec<String> = ways().iter().map(|(note, state, way)| row(note, *state, way)).collect();
    insta::assert_snapshot!(rows.join("\n"));
}
