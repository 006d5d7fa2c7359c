//! The real program on packets of lent flows, made by hand (`BPF_PROG_TEST_RUN`): needs root, but touches no interface. Packets
//! come by `lo` and leave by it. What is expected is built from the RFCs with checksums computed in full, never by changes.

use std::net::Ipv4Addr;

use super::*;
use crate::XdpFilter;

const PASS: u32 = 2;
const REDIRECT: u32 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `lo`, where test runs begin.
const INTERFACE: u32 = 1;
const MTU: u16 = 3300;
const GENERATION: u32 = 7;

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 40_000);
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 80);
const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 3), 30_001);
const TASK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11), 8000);
const SNAT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 2, 1), 20_001);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 3, 8), 81);
const VTEP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 1, 1), 4789);

/// Headers of arriving packets: destination, source, type.
const FROM_CLIENT: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 8, 0];
const FROM_BACKEND: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 8, 8, 0];
/// Ethernet, IPv4 198.18.1.11 to 198.18.1.1, UDP, VXLAN network 4096, Ethernet. What a packet's header needs is filled in.
const FROM_NODE: [u8; 64] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, // Ethernet
    0x45, 0, 0, 0, 0, 0, 0, 0, 33, 17, 0, 0, 198, 18, 1, 11, 198, 18, 1, 1, // IPv4
    0xc8, 0x11, 0x12, 0xb5, 0, 0, 0, 0, // UDP
    8, 0, 0, 0, 0, 0x10, 0, 0, // VXLAN
    2, 0x42, 10, 0, 0, 3, 2, 0x42, 10, 0, 0, 11, 8, 0, // Ethernet
];
/// Headers of leaving packets.
const TO_CLIENT: [u8; 14] = [2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 1, 8, 0];
const TO_BACKEND: [u8; 14] = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 1, 8, 0];
/// With rubbish (0xee) wherever something is filled in.
const TO_NODE: [u8; 64] = [
    2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
    0x45, 0xee, 0xee, 0xee, 0xee, 0xee, 0, 0, 64, 17, 0xee, 0xee, 198, 18, 1, 1, 198, 18, 1, 11, // IPv4
    0xd4, 0x31, 0x12, 0xb5, 0xee, 0xee, 0, 0, // UDP
    8, 0, 0, 0, 0, 0x10, 0, 0, // VXLAN
    2, 0x42, 10, 0, 0, 11, 2, 0x42, 10, 0, 0, 3, 8, 0, // Ethernet
];

/// Sequence numbers after the last bytes when the flow was lent: of the client, of the backend.
const ENDS: [u32; 2] = [0x1000_0000, 0x2000_0000];
const WINDOW: u16 = 500;
const SCALE: u8 = 7;
const WINDOW_BYTES: u32 = 64_000;
/// Linux' MAXACKWINCONST.
const ACK_SPAN: u32 = 66_000;

/// RFC 1071: the ones' complement sum of 16-bit words.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut sum = bytes.chunks(2).map(word).sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// RFC 793, RFC 768.
fn pseudo_header(ends: &Ends, protocol: u8, length: usize) -> Vec<u8> {
    let length = (length as u16).to_be_bytes();
    [&ends.src.ip().octets()[..], &ends.dst.ip().octets(), &[0, protocol], &length].concat()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Checksum {
    Full,
    /// The pseudo header's sum, as Linux leaves it for a card.
    Unfinished,
    None,
}

#[derive(Clone, Debug)]
struct Packet {
    ends: Ends,
    protocol: u8,
    tos: u8,
    fragment: u16,
    ttl: u8,
    seq: u32,
    ack: u32,
    offset: u8,
    flags: u8,
    udp_excess: u16,
    payload: Vec<u8>,
    checksum: Checksum,
}

impl Packet {
    fn transport(&self) -> Vec<u8> {
        let mut bytes = [self.ends.src.port().to_be_bytes(), self.ends.dst.port().to_be_bytes()].concat();
        let at = if self.protocol == TCP {
            bytes.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
            bytes.extend([self.offset << 4, self.flags]);
            bytes.extend([WINDOW.to_be_bytes(), [0; 2], [0; 2]].concat());
            16
        } else {
            bytes.extend((8 + self.payload.len() as u16).wrapping_add(self.udp_excess).to_be_bytes());
            bytes.extend([0; 2]);
            6
        };
        bytes.extend(&self.payload);
        let pseudo = pseudo_header(&self.ends, self.protocol, bytes.len());
        let checksum = match self.checksum {
            Checksum::None => 0,
            Checksum::Unfinished => sum(&pseudo),
            Checksum::Full => match !sum(&[&pseudo[..], &bytes].concat()) {
                0 if self.protocol == UDP => 0xffff,
                checksum => checksum,
            },
        };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The IPv4 packet (RFC 791).
    fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = vec![0x45, self.tos];
        bytes.extend((20 + transport.len() as u16).to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend([self.ends.src.ip().octets(), self.ends.dst.ip().octets()].concat());
        set_header_checksum(&mut bytes);
        bytes.extend(transport);
        bytes
    }
}

fn set_header_checksum(ip: &mut [u8]) {
    ip[10..12].fill(0);
    let checksum = !sum(&ip[..20]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 7348, figure 1: without a checksum of UDP.
fn tunnelled(header: &[u8; 64], tos: u8, id: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let total = 20 + 8 + 8 + 14 + packet.len() as u16;
    let mut frame = header.to_vec();
    frame[15] = tos;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[18..20].copy_from_slice(&id);
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    set_header_checksum(&mut frame[14..34]);
    frame.extend(packet);
    frame
}

/// A direction of a flow: `reply` comes from the backend, `overlay` says where that is.
#[derive(Clone, Copy, Debug)]
struct Way {
    protocol: u8,
    overlay: bool,
    reply: bool,
}

fn way(protocol: u8, overlay: bool, reply: bool) -> Way {
    Way { protocol, overlay, reply }
}

fn all_ways() -> impl Iterator<Item = Way> {
    (0..8).map(|bits| way(if bits & 1 == 0 { TCP } else { UDP }, bits & 2 == 0, bits & 4 != 0))
}

impl Way {
    fn ends(self) -> [Ends; 2] {
        let (gateway, backend) = if self.overlay { (GATEWAY, TASK) } else { (SNAT, BACKEND) };
        let ends = |src, dst| Ends { src, dst };
        if self.reply {
            [ends(backend, gateway), ends(VIP, CLIENT)]
        } else {
            [ends(CLIENT, VIP), ends(gateway, backend)]
        }
    }

    fn reversed(self) -> Way {
        Way { reply: !self.reply, ..self }
    }

    fn lent(self) -> LentWay {
        let [from, to] = self.ends();
        let arrival = match (self.reply, self.overlay) {
            (false, _) => Arrival::Neighbour { interface: INTERFACE, mac: [2, 0, 0, 0, 0, 7] },
            (true, false) => Arrival::Anywhere,
            (true, true) => {
                Arrival::Tunnel { vtep: Ipv4Addr::new(198, 18, 1, 11), vni: 4096, mac: [2, 0x42, 10, 0, 0, 3] }
            }
        };
        let headers = match (self.reply, self.overlay) {
            (true, _) => LentHeaders::Link(TO_CLIENT),
            (false, false) => LentHeaders::Link(TO_BACKEND),
            (false, true) => LentHeaders::Tunnel(TO_NODE),
        };
        LentWay { from, to, arrival, mtu: MTU, headers, output: 0 }
    }

    fn loan(self) -> Loan {
        let request = Way { reply: false, ..self };
        let side = |end, ack| LentSide { end, ack, window: WINDOW, scale: SCALE, ..LentSide::default() };
        Loan {
            protocol: self.protocol,
            generation: GENERATION,
            until: clock::now() + Duration::from_mins(1),
            stamp_delta: 0,
            sides: [side(ENDS[0], ENDS[1]), side(ENDS[1], ENDS[0])],
            ways: [request.lent(), request.reversed().lent()],
        }
    }

    /// The next packet, as it should be.
    fn packet(self) -> Packet {
        let (seq, ack) = if self.reply { (ENDS[1], ENDS[0]) } else { (ENDS[0], ENDS[1]) };
        Packet {
            ends: self.ends()[0],
            protocol: self.protocol,
            tos: 0x2a,
            fragment: 0x4000,
            ttl: 64,
            seq,
            ack,
            offset: 5,
            flags: 0x18,
            udp_excess: 0,
            payload: b"GET /".to_vec(),
            checksum: Checksum::Full,
        }
    }

    /// How the packet arrives.
    fn frame(self, packet: &Packet) -> Vec<u8> {
        self.frame_of(&packet.bytes())
    }

    fn frame_of(self, ip: &[u8]) -> Vec<u8> {
        match (self.reply, self.overlay) {
            (false, _) => [&FROM_CLIENT, ip].concat(),
            (true, false) => [&FROM_BACKEND, ip].concat(),
            (true, true) => tunnelled(&FROM_NODE, 0, [0x77, 0x77], ip),
        }
    }

    /// Where the IP packet begins in the arriving, and in the leaving frame.
    fn offsets(self) -> [usize; 2] {
        match (self.reply, self.overlay) {
            (_, false) => [14, 14],
            (false, true) => [14, 64],
            (true, true) => [64, 14],
        }
    }

    fn good_frame(self) -> Vec<u8> {
        self.frame(&self.packet())
    }

    /// How the packet should leave; `seen` has the outer header's identification.
    fn expected(self, packet: &Packet, seen: &[u8]) -> Vec<u8> {
        let checksum = if packet.checksum == Checksum::None { Checksum::None } else { Checksum::Full };
        let packet = Packet { ends: self.ends()[1], ttl: packet.ttl - 1, checksum, ..packet.clone() };
        match (self.reply, self.overlay) {
            (true, _) => [&TO_CLIENT, &packet.bytes()[..]].concat(),
            (false, false) => [&TO_BACKEND, &packet.bytes()[..]].concat(),
            (false, true) => tunnelled(&TO_NODE, packet.tos, [seen[18], seen[19]], &packet.bytes()),
        }
    }
}

/// The program, and one worker that lends to it.
struct Lab {
    filter: XdpFilter,
    /// Frames really arrive and leave, in generic mode. None: they only seem to come by `lo`.
    links: Option<joined::Links>,
    interface: u32,
    table: Arc<Shortcuts>,
    lender: Lender,
    output: u32,
    /// Moves on by a second with every loan that is taken back.
    now: Duration,
}

impl Lab {
    /// None, loudly, without root.
    fn open() -> Option<Lab> {
        // SAFETY: asks for a number.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("SKIPPED: the tests of shortcuts need root");
            return None;
        }
        let mut filter = XdpFilter::load().unwrap();
        let (interface, output) = filter.output("lo").unwrap();
        assert_eq!(interface, INTERFACE);
        Some(Lab::over(filter, None, interface, output))
    }

    fn over(mut filter: XdpFilter, links: Option<joined::Links>, interface: u32, output: u32) -> Lab {
        let table = Arc::new(filter.shortcuts(0x0123_4567_89ab_cdef).unwrap());
        table.set_terms(GENERATION, Some(VTEP));
        let lender = table.lenders(1).remove(0);
        Lab { filter, links, interface, table, lender, output, now: Duration::ZERO }
    }

    /// What becomes of a frame, and the frame afterwards.
    fn carry(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        match &self.links {
            None => self.filter.try_frame(frame).unwrap(),
            Some(links) => links.carry(&self.filter, frame),
        }
    }

    fn lend(&mut self, mut loan: Loan) -> LentId {
        for way in &mut loan.ways {
            way.output = self.output;
            if let Arrival::Neighbour { interface, .. } = &mut way.arrival {
                *interface = *interface - INTERFACE + self.interface;
            }
        }
        let id = self.lender.lend(&loan, self.now).unwrap();
        (0..2).for_each(|side| self.lender.sent(id, side, loan.sides[side].end));
        id
    }

    fn take_back(&mut self, id: LentId) -> [LentSide; 2] {
        self.now += REST;
        self.lender.take_back(id, self.now)
    }

    /// It is sent on, translated.
    fn passes(&mut self, way: Way, packet: &Packet, what: &str) {
        self.passes_as(way, packet, packet, what);
    }

    fn passes_as(&mut self, way: Way, packet: &Packet, translated: &Packet, what: &str) {
        let (verdict, seen) = self.carry(&way.frame(packet));
        assert_eq!(verdict, REDIRECT, "{what}: {way:?} {packet:?}");
        assert_eq!(seen, way.expected(translated, &seen), "{what}: {way:?} {packet:?}");
    }

    /// It goes to the worker, untouched.
    fn refuses(&mut self, frame: &[u8], what: &str) {
        let (verdict, seen) = self.carry(frame);
        assert_eq!((verdict, &seen[..]), (PASS, frame), "{what}");
    }

    /// After this frame nothing of the flow is sent on.
    fn ends(&mut self, way: Way, loan: Loan, frame: &[u8], what: &str) {
        let id = self.lend(loan);
        let sides = self.gives_up(way, id, frame, what);
        assert_eq!(sides.map(|side| (side.packets, side.bytes, side.heard)), [(0, 0, None); 2], "{what}: {way:?}");
    }

    /// As [`Lab::ends`], of a flow that was lent before. Gives what it had shown by then.
    fn gives_up(&mut self, way: Way, id: LentId, frame: &[u8], what: &str) -> [LentSide; 2] {
        self.refuses(frame, what);
        assert!(!self.lender.is_live(id), "{what}: {way:?}");
        self.refuses(&way.good_frame(), what);
        self.refuses(&way.reversed().good_frame(), what);
        let sides = self.take_back(id);
        // And after it has come back, the flow can be lent again.
        let id = self.lend(way.loan());
        self.passes(way, &way.packet(), what);
        self.take_back(id);
        sides
    }

    /// The flow goes on after this frame.
    fn ignores(&mut self, way: Way, frame: &[u8], what: &str) {
        let id = self.lend(way.loan());
        self.refuses(frame, what);
        assert!(self.lender.is_live(id), "{what}: {way:?}");
        self.passes(way, &way.packet(), what);
        self.take_back(id);
    }
}

#[test]
fn shortcuts_are_as_written_down() {
    let Some(mut lab) = Lab::open() else { return };
    let hex =
        |text: &str| -> Vec<u8> { text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect() };
    let plain = hex("02 00 00 00 00 01 02 00 00 00 00 07 08 00
         45 2a 00 2d 12 34 40 00 40 06 a0 52 c0 00 02 07 c6 12 00 01
         9c 40 00 50 10 00 00 00 20 00 00 00 50 18 01 f4 8e c2 00 00 47 45 54 20 2f");
    let tunnel = hex("02 00 00 00 00 09 02 00 00 00 00 01 08 00
         45 2a 00 5f 00 00 00 00 40 11 ec 33 c6 12 01 01 c6 12 01 0b
         d4 31 12 b5 00 4b 00 00 08 00 00 00 00 10 00 00
         02 42 0a 00 00 0b 02 42 0a 00 00 03 08 00
         45 2a 00 2d 12 34 40 00 3f 06 15 60 0a 00 00 03 0a 00 00 0b
         75 31 1f 40 10 00 00 00 20 00 00 00 50 18 01 f4 0a ef 00 00 47 45 54 20 2f");
    lab.lend(way(TCP, true, false).loan());
    // The first packet on its processor: the identification is 0.
    assert_eq!(lab.filter.try_frame(&plain).unwrap(), (REDIRECT, tunnel));
    assert!(lab.filter.counters().contains(&("shortcut", 1)));
}

#[test]
fn shortcuts_of_all_kinds_translate() {
    let Some(mut lab) = Lab::open() else { return };
    all_kinds_translate(&mut lab);
}

fn all_kinds_translate(lab: &mut Lab) {
    for way in all_ways() {
        let id = lab.lend(way.loan());
        for (tos, ttl, fragment) in [(0, 2, 0), (0xff, 255, 0x4000), (0x02, 64, 0x8000), (0xb9, 128, 0xc000)] {
            lab.passes(way, &Packet { tos, fragment, ttl, ..way.packet() }, "IP fields");
        }
        for flags in (0..=0xff).filter(|flags| flags & 0x17 == 0x10) {
            lab.passes(way, &Packet { flags, ..way.packet() }, "flags");
        }
        let options = Packet { offset: 8, payload: vec![1; 12], ..way.packet() };
        lab.passes(way, &options, "TCP options, nothing behind them");
        if way.protocol == UDP {
            lab.passes(way, &Packet { checksum: Checksum::None, ..way.packet() }, "no checksum");
        }
        assert!(lab.lender.is_live(id));
        lab.take_back(id);
    }
}

/// RFC 7323, appendix A; 5 bytes of data follow.
fn stamped(way: Way, value: u32, echo: u32, checksum: Checksum) -> Packet {
    let payload = [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes(), b"GET /"].concat();
    Packet { offset: 8, payload, checksum, ..way.packet() }
}

/// IEEE 802.3: no frame on a wire is shorter than 60 bytes without its checksum.
#[test]
fn the_padding_of_wires_is_cut_off() {
    let Some(mut lab) = Lab::open() else { return };
    padding_is_cut_off(&mut lab);
}

fn padding_is_cut_off(lab: &mut Lab) {
    for way in all_ways().filter(|way| !(way.overlay && way.reply)) {
        for payload in 0..=8 {
            let packet = Packet { payload: vec![5; payload], ..way.packet() };
            let mut frame = way.frame(&packet);
            if frame.len() >= 60 {
                continue;
            }
            frame.resize(60, 0xff);
            let id = lab.lend(way.loan());
            let (verdict, seen) = lab.carry(&frame);
            assert_eq!(verdict, REDIRECT, "{way:?} {payload}");
            assert_eq!(seen, way.expected(&packet, &seen), "{way:?} {payload}");
            lab.take_back(id);
        }
    }
}

#[test]
fn shortcuts_shift_timestamps() {
    let Some(mut lab) = Lab::open() else { return };
    timestamps_are_shifted(&mut lab, &[Checksum::Full, Checksum::Unfinished]);
}

fn timestamps_are_shifted(lab: &mut Lab, checksums: &[Checksum]) {
    for way in all_ways().filter(|way| way.protocol == TCP) {
        for delta in [1, 0x1234_5678, 0xffff_0001, u32::MAX, 0] {
            let loan = || Loan { stamp_delta: delta, ..way.loan() };
            let id = lab.lend(loan());
            for (value, echo) in [(0, 0), (u32::MAX, u32::MAX), (0x89ab_cdef, 0x0123_4567), (!delta, delta)] {
                let (value_after, echo_after) =
                    if way.reply { (value, echo.wrapping_sub(delta)) } else { (value.wrapping_add(delta), echo) };
                for checksum in checksums.iter().copied() {
                    let after = stamped(way, value_after, echo_after, checksum);
                    lab.passes_as(way, &stamped(way, value, echo, checksum), &after, "timestamps");
                }
            }
            lab.passes(way, &way.packet(), "no options");
            lab.take_back(id);
            let good = stamped(way, 1, 2, Checksum::Full);
            let mut other_place = Packet { offset: 9, ..good.clone() };
            other_place.payload.splice(0..0, [1; 4]);
            let short = Packet { offset: 7, ..good };
            for (packet, what) in [(other_place, "timestamps elsewhere"), (short, "other options")] {
                if delta == 0 {
                    let id = lab.lend(loan());
                    lab.passes(way, &packet, what);
                    lab.take_back(id);
                } else {
                    lab.ends(way, loan(), &way.frame(&packet), what);
                }
            }
        }
    }
}

#[test]
fn shortcuts_finish_checksums() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        for length in (0..=70).chain(1400..=1440).chain([2999, 3259, 3260]) {
            let id = lab.lend(way.loan());
            let payload = (0..length).map(|at| ((at * 7 + length) % 251).try_into().unwrap()).collect();
            let packet = Packet { payload, checksum: Checksum::Unfinished, ..way.packet() };
            lab.passes(way, &packet, "unfinished");
            lab.passes(way, &Packet { checksum: Checksum::Full, ..packet }, "finished");
            lab.take_back(id);
        }
    }
}

/// A packet whose words sum up, with its pseudo header, to this checksum, as if these were its ends.
fn with_checksum(packet: &Packet, ends: Ends, wanted: u16) -> Packet {
    let mut packet = Packet { payload: vec![0; 6], checksum: Checksum::None, ..packet.clone() };
    let as_if = Packet { ends, ..packet.clone() }.transport();
    let pseudo = pseudo_header(&ends, packet.protocol, as_if.len());
    let missing = !sum(&[&pseudo[..], &as_if, &wanted.to_be_bytes()].concat());
    packet.payload[2..4].copy_from_slice(&missing.to_be_bytes());
    packet.checksum = Checksum::Full;
    packet
}

#[test]
fn shortcuts_know_special_checksums() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        let at = if way.protocol == TCP { 16 } else { 6 };
        let [from, to] = way.ends();
        let id = lab.lend(way.loan());
        let pseudo = sum(&pseudo_header(&from, way.protocol, at + if way.protocol == TCP { 10 } else { 8 }));
        let by_chance = with_checksum(&way.packet(), from, pseudo);
        assert_eq!(by_chance.transport()[at..at + 2], pseudo.to_be_bytes());
        lab.passes(way, &by_chance, "finished, and the pseudo header's sum by chance");
        let zero = if way.protocol == UDP { [0xff; 2] } else { [0; 2] };
        for (ends, what) in [(from, "arrives as zero"), (to, "leaves as zero")] {
            let packet = with_checksum(&way.packet(), ends, 0);
            assert_eq!(Packet { ends, ..packet.clone() }.transport()[at..at + 2], zero);
            lab.passes(way, &packet, what);
            lab.passes(way, &Packet { checksum: Checksum::Unfinished, ..packet }, what);
        }
        lab.take_back(id);
    }
}

#[path = "shortcuts_joined_tests.rs"]
mod joined;
#[path = "shortcuts_refusal_tests.rs"]
mod refusal;
