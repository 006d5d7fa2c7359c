//! Two whole workers, fed with steps that the input spells out: any bytes as frames, well-formed segments and datagrams
//! of a few flows, time, table changes. After each step: no frame lost, every packet counted, what leaves is well
//! formed, the gauges of the backends say what is in the flow tables, and IPv6 clients are held by as many flows as they
//! have. At the end a good packet still goes through.

use std::time::Duration;

use wire::Protocol;

use crate::lab::packets::{Segment, Tunnel, ethernet, udp};
use crate::lab::six;
use crate::lab::{self, BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, TASKS, VIP};
use crate::parse::{ipv4, mend};

/// Lowest bits of a step's first byte: what kind of step.
pub const RAW: u8 = 0;
/// A TCP segment; then a byte for the connection, one for the flags, two each for seq and ack, one for the length.
pub const SEGMENT: u8 = 1;
/// A UDP datagram; then a byte for the flow, one for the length.
pub const DATAGRAM: u8 = 2;
/// Time passes; then a byte for how long.
pub const TIME: u8 = 3;
/// Other tables; then a byte for the backends that stand.
pub const TABLES: u8 = 4;
const KIND: u8 = 7;
/// At worker 1, not 0.
pub const WORKER: u8 = 8;
/// From the tasks' side, not the clients'.
pub const BEHIND: u8 = 16;
/// IP checksums of a raw frame are made right.
pub const MEND: u8 = 32;
/// Over IPv6, from a client or from the backend with an IPv6 address. A raw frame's first byte is then the next header,
/// and the others what follows the fixed header.
pub const SIX: u8 = 64;
/// The inner packet's too.
const INNER: usize = 14 + 20 + 8 + 8 + 14;
/// A whole Ethernet frame.
const LONGEST: usize = 1514;
/// Steps of one input at most.
const STEPS: usize = 64;

/// What each flag byte stands for.
pub const FLAGS: [&str; 8] = ["S", "SA", "A", "FA", "R", "RA", "PA", "FPA"];

struct Run {
    gateway: Gateway,
    /// Where flows left us: task, SNAT port, target port.
    seen: Vec<(usize, u16, u16)>,
    /// SNAT ports towards the backend with an IPv6 address.
    seen_six: Vec<u16>,
}

/// Runs one input.
pub fn run(input: &[u8]) {
    let gateway = Gateway::with(tables(0xff), 2, [sys::LinkType::Ethernet; 2], 8);
    let mut run = Run { gateway, seen: Vec::new(), seen_six: Vec::new() };
    run.gateway.settle();
    run.drain();
    let mut rest = input;
    for _ in 0..STEPS {
        let Some(next) = run.step(rest) else { break };
        rest = next;
        run.drain();
        run.gateway.assert_frames_conserved();
        run.gateway.assert_gauges();
        run.assert_clients_are_held();
    }
    run.finish();
}

/// The backends that have their bit set; a service whose next bit but four is not set is a direct one.
fn tables(standing: u8) -> datapath::service::Tables {
    let mut services = vec![lab::service(1, Protocol::Tcp, 8080, &[1, 1]), lab::service(2, Protocol::Udp, 53, &[1, 1])];
    for (n, service) in services.iter_mut().enumerate() {
        let stands = |position: usize| standing >> (2 * n + position) & 1 == 1;
        let mut position = 0..;
        service.backends.retain(|_| position.next().is_some_and(stands));
        service.direct = standing >> (4 + n) & 1 == 0;
        if service.direct {
            service.backends.iter_mut().for_each(|backend| backend.port = None);
        } else {
            let over_six = datapath::service::Listen { address: six::VIP_FOR_SIX, ..service.listens[0].clone() };
            service.listens.push(over_six);
        }
    }
    services.push(six::service(3, Protocol::Tcp, 8081));
    services[2].backends.push(six::backend(300));
    six::tables(services)
}

impl Run {
    /// One step; what is left of the input, or nothing if there was no whole step.
    fn step<'a>(&mut self, input: &'a [u8]) -> Option<&'a [u8]> {
        let (&first, rest) = input.split_first()?;
        match (first & KIND, rest) {
            (SEGMENT, &[flow, flags, s0, s1, a0, a1, len, ref rest @ ..]) => {
                let (seq, ack) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([a0, a1]));
                let flags = FLAGS[usize::from(flags) % FLAGS.len()];
                self.segment(first, flow, flags, u32::from(seq), u32::from(ack), usize::from(len));
                Some(rest)
            }
            (DATAGRAM, &[flow, len, ref rest @ ..]) => {
                self.datagram(first, flow, (usize::from(len) * 8).min(LONGEST - 42));
                Some(rest)
            }
            (TIME, &[long, ref rest @ ..]) => {
                self.gateway.pass(Duration::from_millis(1 << (long % 24)));
                Some(rest)
            }
            (TABLES, &[standing, ref rest @ ..]) => {
                self.gateway.publish_same(tables(standing));
                Some(rest)
            }
            (RAW, &[high, low, ref tail @ ..]) => {
                let len = usize::from(u16::from_be_bytes([high & 7, low])).min(LONGEST).min(tail.len());
                let (frame, rest) = tail.split_at(len);
                self.raw(first, frame);
                Some(rest)
            }
            _ => None,
        }
    }

    fn raw(&mut self, first: u8, bytes: &[u8]) {
        if first & SIX != 0 {
            let (next, payload) = bytes.split_first().unwrap_or((&58, &[]));
            let (src, dst) = ends_six(first, 0);
            let payload = payload.get(..LONGEST - 54).unwrap_or(payload);
            return self.packet(first, &frame_six(first, &six::header(src, dst, *next, payload)));
        }
        let mut frame = bytes.to_vec();
        if first & MEND != 0 {
            for offset in [14, INNER] {
                frame.get_mut(offset..).map(mend);
            }
        }
        self.packet(first, &frame);
    }

    fn segment(&mut self, first: u8, flow: u8, flags: &'static str, seq: u32, ack: u32, len: usize) {
        let payload = vec![flow; len];
        if first & SIX != 0 {
            let (src, dst) = ends_six(first, flow);
            let (client, snat) = (40_000 + u16::from(flow), self.pick_six(flow));
            let (from, to) = if first & BEHIND == 0 { (client, 8080 + u16::from(flow & 1)) } else { (80, snat) };
            let packet = six::tcp6((src, from), (dst, to), flags, seq, ack, &payload);
            return self.packet(first, &frame_six(first, &packet));
        }
        if first & BEHIND == 0 {
            let port = 40_000 + u16::from(flow);
            let options = if flags == "S" { Segment::syn(port).options } else { vec![] };
            let segment = Segment::new((CLIENT, port), (VIP, 8080), flags, 1000 + seq, ack);
            self.packet(first, &Segment { options, ..segment }.with(&payload).sent_by_client());
        } else if let Some((task, snat, port)) = self.pick(flow) {
            let segment = Segment::new((TASKS[task], port), (OUR_OVERLAY, snat), flags, seq, 1000 + ack);
            self.packet(first, &segment.with(&payload).sent_by_task(task));
        }
    }

    fn datagram(&mut self, first: u8, flow: u8, len: usize) {
        let payload = vec![flow; len];
        if first & SIX != 0 {
            let (src, dst) = ends_six(first, flow);
            let payload = payload.get(..LONGEST - 62).unwrap_or(&payload);
            let packet = six::udp6((src, 50_000 + u16::from(flow)), (dst, 53), payload);
            return self.packet(first, &frame_six(first, &packet));
        }
        if first & BEHIND == 0 {
            let packet = udp((CLIENT, 50_000 + u16::from(flow)), (VIP, 53), &payload);
            self.packet(first, &ethernet(CLIENT_MAC, OUR_MACS[0], &packet));
        } else if let Some((task, snat, port)) = self.pick(flow) {
            let packet = udp((TASKS[task], port), (OUR_OVERLAY, snat), &payload[..len.min(1200)]);
            self.packet(first, &Tunnel::from_node(task).wrap(&packet));
        }
    }

    fn pick(&self, flow: u8) -> Option<(usize, u16, u16)> {
        self.seen.get(usize::from(flow) % self.seen.len().max(1)).copied()
    }

    fn pick_six(&self, flow: u8) -> u16 {
        self.seen_six.get(usize::from(flow) % self.seen_six.len().max(1)).copied().unwrap_or(1024)
    }

    fn assert_clients_are_held(&mut self) {
        let of_six = self.gateway.flows().iter().filter(|flow| flow.client.is_ipv6()).count();
        assert_eq!(self.gateway.surrogates.count().1, of_six as u64, "flows of IPv6 clients");
    }

    /// A frame goes in; it must show up in some counter.
    fn packet(&mut self, first: u8, frame: &[u8]) {
        let slot = if first & BEHIND == 0 { FRONT } else { BACK };
        let before = self.accounted();
        self.gateway.inject(usize::from(first & WORKER != 0), slot, frame);
        self.gateway.settle();
        let after = self.accounted();
        assert_eq!(after.0, before.0 + 1, "received");
        assert!(after.1 > before.1, "a packet ended nowhere: {:?}", self.gateway.drops());
    }

    /// Packets received; packets that were sent, dropped, heard or are held, less what we sent of our own accord.
    fn accounted(&self) -> (u64, u64) {
        let totals = self.gateway.totals();
        let dropped: u64 = totals.drops.iter().map(|(_, n)| n).sum();
        let held: usize = self.gateway.workers.iter().map(|worker| worker.core().frames().1).sum();
        (totals.rx_packets, totals.tx_packets + dropped + totals.arp_heard + held as u64 - totals.arp_taught)
    }

    /// Takes away what came out and looks at it.
    fn drain(&mut self) {
        for worker in 0..2 {
            for slot in [FRONT, BACK] {
                for frame in self.gateway.collect_all(worker, slot) {
                    self.look(&frame);
                }
            }
        }
    }

    fn look(&mut self, frame: &[u8]) {
        if frame.get(12..14) == Some(&[0x86, 0xdd]) {
            return self.look_six(frame.get(14..).unwrap_or_default());
        }
        let (ip, payload) = ip_at(frame, 14);
        let tunnelled = ip.source == lab::OUR_VTEP.octets() && payload.get(28..30) == Some(&[8, 0]);
        if !tunnelled {
            return;
        }
        let (inner, l4) = ip_at(frame, INNER);
        let task = TASKS.iter().position(|task| task.octets() == inner.destination);
        if let (Some(task), [s0, s1, d0, d1, ..], 0) = (task, l4, inner.fragment_offset.value()) {
            let entry = (task, u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
            if !self.seen.contains(&entry) {
                self.seen.push(entry);
            }
        }
    }

    /// What left over IPv6: from an address of ours, as long as it says, and of a kind that we send.
    fn look_six(&mut self, packet: &[u8]) {
        let (ip, payload) = etherparse::Ipv6Header::from_slice(packet).expect("an IPv6 header");
        assert_eq!(usize::from(ip.payload_length), payload.len(), "the length says what was sent");
        assert!([6, 17, 44, 58].contains(&ip.next_header.0), "next header {}", ip.next_header.0);
        assert!(packet.len() <= 1500, "{} bytes do not fit", packet.len());
        let to_backend = ip.destination == six::SERVER6.octets();
        let ours = if to_backend { six::SNAT6 } else { six::VIP6 };
        assert_eq!(ip.source, ours.octets(), "the source is ours");
        if let (true, 6, [s0, s1, ..]) = (to_backend, ip.next_header.0, payload) {
            let port = u16::from_be_bytes([*s0, *s1]);
            if !self.seen_six.contains(&port) {
                self.seen_six.push(port);
            }
        }
    }

    fn finish(mut self) {
        // Whatever the flows were, their time is over: room for a new one.
        self.gateway.pass(Duration::from_hours(24));
        self.gateway.publish_same(tables(0xff));
        self.drain();
        assert_eq!(self.gateway.surrogates.count().1, 0, "flows are over, clients are held");
        self.gateway.inject(0, FRONT, &Segment::syn(61_000).sent_by_client());
        self.gateway.settle();
        assert_eq!(self.gateway.collect(0, BACK).len(), 1, "{:?}", self.gateway.drops());
        self.drain();
        self.gateway.assert_frames_conserved();
    }
}

/// Source and destination of what comes over IPv6: there are eight clients.
fn ends_six(first: u8, flow: u8) -> (std::net::Ipv6Addr, std::net::Ipv6Addr) {
    if first & BEHIND == 0 { (six::client6(u16::from(flow >> 5)), six::VIP6) } else { (six::SERVER6, six::SNAT6) }
}

fn frame_six(first: u8, packet: &[u8]) -> Vec<u8> {
    if first & BEHIND == 0 { six::by_client(packet) } else { six::by_server(packet) }
}

/// The IPv4 packet that reaches from there to the end of what we sent.
fn ip_at(frame: &[u8], offset: usize) -> (etherparse::Ipv4Header, &[u8]) {
    let packet = frame.get(offset..).unwrap_or_default();
    let (ip, payload) = ipv4(packet);
    assert_eq!(usize::from(ip.total_len), packet.len(), "the length says what was sent");
    (ip, payload)
}
