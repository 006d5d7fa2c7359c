//! The PROXY header between two ends of a model TCP, over networks that lose, repeat and reorder: the backend hears the
//! header and then the client, byte by byte; the client has a plain TCP before it, which never knew of a header.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod lab;
mod model;

use std::time::Duration;

use lab::packets::{Segment, Tunnel, see};
use lab::{BACK, CLIENT, FRONT, Gateway, OUR_OVERLAY, TASKS, VIP};
use model::{End, MSS, Manners, Said};
use proptest::prelude::*;
use wire::Protocol;

const PORT: u16 = 40_000;
const TICK: Duration = Duration::from_millis(10);
/// Far beyond what any of these connections takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// By hand from section 2.2 of the specification.
const HEADER: [u8; 28] = [
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 198, 19, 0, 2, 198,
    18, 0, 1, 0x9c, 0x40, 0x1f, 0x90,
];

/// What a network does to packets, each in so many of 256 cases.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loses: u8,
    repeats: u8,
    delays: u8,
}

const CALM: Weather = Weather { loses: 0, repeats: 0, delays: 0 };

/// One way of a network.
struct Way {
    weather: Weather,
    dice: u64,
    flying: Vec<(Duration, Said)>,
}

impl Way {
    fn roll(&mut self) -> u8 {
        // xorshift64
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 32) as u8
    }

    /// (A SYN that comes when all is over opens a connection anew, header or not: not what is tried here.)
    fn send(&mut self, said: &Said, now: Duration) {
        let is_syn = said.flags == "S";
        let copies = if self.roll() < self.weather.loses {
            0
        } else {
            1 + u8::from(self.roll() < self.weather.repeats && !is_syn)
        };
        for _ in 0..copies {
            let late = if self.roll() < self.weather.delays && !is_syn { u32::from(self.roll()) % 5 } else { 0 };
            self.flying.push((now + TICK * late, said.clone()));
        }
    }

    fn arrived(&mut self, now: Duration) -> Vec<Said> {
        let (here, later) = std::mem::take(&mut self.flying).into_iter().partition(|(at, _)| *at <= now);
        self.flying = later;
        let here: Vec<(Duration, Said)> = here;
        here.into_iter().map(|(_, said)| said).collect()
    }
}

/// A connection through the gateway.
struct Scene {
    gateway: Gateway,
    client: End,
    backend: End,
    /// Client to gateway, gateway to backend, and back again.
    ways: [Way; 4],
    snat: Option<u16>,
}

fn scene(client: Manners, backend: Manners, weather: [Weather; 2], seed: u64) -> Scene {
    let mut tables = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])]);
    tables.services[0].proxy_protocol = true;
    let mut n = seed | 1;
    let ways = [weather[0], weather[1], weather[1], weather[0]].map(|weather| {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Way { weather, dice: n | 1, flying: Vec::new() }
    });
    Scene { gateway: Gateway::new(tables), client: End::new(client), backend: End::new(backend), ways, snat: None }
}

fn said(frame: &[u8]) -> (Said, (u16, u16)) {
    let seen = see(frame);
    let tcp = seen.tcp();
    let flags = match (tcp.syn, tcp.ack, tcp.fin, tcp.rst) {
        (true, false, ..) => "S",
        (true, true, ..) => "SA",
        (_, _, true, _) => "FA",
        (_, _, _, true) => "R",
        _ => "A",
    };
    let payload = seen.payload()[tcp.header_len()..].to_vec();
    let raw = &seen.payload()[20..tcp.header_len()];
    assert!(!tcp.syn || !raw.windows(2).any(|two| two == [34, 2]), "Fast Open went on");
    let options = tcp.options_iterator().map_while(Result::ok).collect();
    let (seq, ack) = (tcp.sequence_number, tcp.acknowledgment_number);
    (Said { flags, seq, ack, window: tcp.window_size, options, payload }, seen.ports())
}

fn segment(said: &Said, src: (std::net::Ipv4Addr, u16), dst: (std::net::Ipv4Addr, u16)) -> Segment {
    let new = Segment::new(src, dst, said.flags, said.seq, said.ack);
    Segment { window: said.window, options: said.options.clone(), payload: said.payload.clone(), ..new }
}

impl Scene {
    fn turn(&mut self) {
        let now = self.gateway.now;
        for said in self.client.speak(now) {
            self.ways[0].send(&said, now);
        }
        for said in self.backend.speak(now) {
            self.ways[2].send(&said, now);
        }
        for said in self.ways[0].arrived(now) {
            let frame = with_fast_open(&said, &segment(&said, (CLIENT, PORT), (VIP, 8080)));
            self.gateway.inject(0, FRONT, &frame);
            self.gateway.settle();
        }
        for said in self.ways[2].arrived(now) {
            let to = segment(&said, (TASKS[0], 8000), (OUR_OVERLAY, self.snat.unwrap()));
            self.gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&to.ip()));
            self.gateway.settle();
        }
        self.gateway.pass(TICK);
        for frame in self.gateway.collect(0, BACK) {
            let (said, ports) = said(&frame);
            assert!(self.snat.is_none_or(|port| port == ports.0), "one connection");
            self.snat = Some(ports.0);
            self.ways[1].send(&said, now);
        }
        for frame in self.gateway.collect(0, FRONT) {
            self.ways[3].send(&said(&frame).0, now);
        }
        for said in self.ways[1].arrived(now) {
            self.backend.hear(&said, now);
        }
        for said in self.ways[3].arrived(now) {
            self.client.hear(&said, now);
        }
    }

    fn play(&mut self) {
        let end = self.gateway.now + PATIENCE;
        while !(self.client.is_done() && self.backend.is_done()) {
            assert!(self.gateway.now < end, "stuck: {:?}", self.gateway.drops());
            self.turn();
        }
    }
}

/// etherparse writes no Fast Open: its option goes where the client has left room for it.
fn with_fast_open(said: &Said, segment: &Segment) -> Vec<u8> {
    let mut frame = segment.sent_by_client();
    if said.flags == "S" && !said.payload.is_empty() {
        let header = 14 + 20;
        let len = usize::from(frame[header + 12] >> 4) * 4;
        let tail = &mut frame[header + len - 2..header + len];
        assert_eq!(tail, [1, 1], "NOPs");
        // It asks for a cookie.
        tail.copy_from_slice(&[34, 2]);
        lab::packets::fix_tcp_checksum(&mut frame);
    }
    frame
}

fn manners(opens: bool) -> impl Strategy<Value = Manners> {
    let isn = prop_oneof![any::<u32>(), (0..200u32).prop_map(|n| 0u32.wrapping_sub(n)), Just(0)];
    let speech = prop_oneof![Just(0usize), 1..40usize, Just(MSS), (MSS - 1)..(3 * MSS), Just(20 * MSS),];
    let room = prop_oneof![Just(60u32), 100..1000u32, Just(65_535)];
    (isn, speech, room, 0..8u8, any::<bool>(), any::<bool>()).prop_map(
        move |(isn, speech, room, scale, timestamps, tfo)| {
            let scale = if room < 1000 { scale % 3 } else { scale };
            let speech = (0..speech).map(|n| (n * 7 + usize::from(opens)) as u8).collect();
            Manners { isn, opens, scale, room: room >> scale << scale, timestamps, fast_open: opens && tfo, speech }
        },
    )
}

fn weathers() -> impl Strategy<Value = [Weather; 2]> {
    let one = prop_oneof![
        1 => Just(CALM),
        3 => (0..60u8, 0..60u8, 0..120u8).prop_map(|(loses, repeats, delays)| Weather { loses, repeats, delays })
    ];
    [one.clone(), one]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_backend_hears_the_header_and_then_the_client(
        client in manners(true), backend in manners(false), weather in weathers(), seed: u64
    ) {
        let (question, answer) = (client.speech.clone(), backend.speech.clone());
        let mut scene = scene(client, backend, weather, seed);
        scene.play();
        prop_assert_eq!(&scene.backend.heard, &[&HEADER[..], &question].concat());
        prop_assert_eq!(&scene.client.heard, &answer);
        let totals = scene.gateway.totals();
        prop_assert_eq!((totals.proxy_headers, totals.flows_opened, totals.flows_reset), (1, 1, 0));
        let allowed = |drop: &(&str, u64)| ["invalid_segment", "fin_out_of_window"].contains(&drop.0);
        prop_assert!(scene.gateway.drops().iter().all(allowed), "{:?}", scene.gateway.drops());
        scene.gateway.assert_frames_conserved();
        scene.gateway.assert_gauges();
    }

    /// Where nothing is lost, nothing is said twice.
    #[test]
    fn in_calm_weather_the_header_is_sent_once(client in manners(true), backend in manners(false)) {
        let mut scene = scene(client, backend, [CALM; 2], 1);
        scene.play();
        let totals = scene.gateway.totals();
        prop_assert_eq!((totals.proxy_headers, totals.proxy_headers_repeated), (1, 0));
        prop_assert_eq!(scene.gateway.drops(), vec![]);
    }
}
