//! The same on real links in generic mode, where packets may be joined ones: two programs share the work, and the kernel cuts what leaves.

use std::cell::Cell;

use super::*;
use crate::{AttachMode, XdpMode};

#[path = "../tests/kernel/lab.rs"]
#[expect(dead_code, reason = "the tests of real interfaces use the rest")]
mod wires;

use wires::{Wire, eventually, in_namespace, ip, tool, veth};

/// Ethertype of a frame that says that all before it were looked at (IEEE Std 802, for experiments).
const MARKER: [u8; 2] = [0x88, 0xb5];

/// Frames come in at the far end of `near`, and leave by that of `out`.
pub(super) struct Links {
    far: Wire,
    /// Sees what the kernel takes in at `near`.
    near: Wire,
    away: Wire,
    markers: Cell<u8>,
}

fn sent_on(filter: &XdpFilter) -> u64 {
    filter.counters().iter().filter(|(name, _)| *name == "shortcut").map(|(_, count)| count).sum()
}

impl Links {
    /// What was sent on arrives at the far end of `out`; all else goes to the kernel.
    pub(super) fn carry(&self, filter: &XdpFilter, frame: &[u8]) -> (u32, Vec<u8>) {
        let before = sent_on(filter);
        self.far.send(frame);
        self.pass_a_marker();
        if sent_on(filter) == before {
            return (PASS, frame.to_vec());
        }
        (REDIRECT, eventually("a frame that was sent on", || self.away.receive()))
    }

    fn pass_a_marker(&self) {
        let number = self.markers.get().wrapping_add(1);
        self.markers.set(number);
        let marker = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 7], &MARKER, &[number; 46]].concat();
        self.far.send(&marker);
        eventually("the marker", || self.near.receive().filter(|seen| *seen == marker));
    }
}

/// On two links of this MTU.
fn on_links(mtu: u16, test: impl FnOnce(&mut Lab) + Send + 'static) {
    in_namespace(move || {
        for (near, far) in [("near", "far"), ("out", "away")] {
            veth(near, far, 1);
            for end in [near, far] {
                ip(&format!("link set {end} mtu {mtu}"));
            }
        }
        let mut filter = XdpFilter::load().unwrap();
        assert_eq!(filter.attach("near", XdpMode::Generic).unwrap(), AttachMode::Generic);
        assert_eq!(filter.keeps_joined("near"), None);
        let (interface, _) = filter.output("near").unwrap();
        let (_, output) = filter.output("out").unwrap();
        let [far, near, away] = ["far", "near", "away"].map(Wire::on);
        let links = Links { far, near, away, markers: Cell::new(0) };
        test(&mut Lab::over(filter, Some(links), interface, output));
    });
}

#[test]
fn all_kinds_translate_on_links() {
    on_links(3500, all_kinds_translate);
}

#[test]
fn padding_is_cut_off_on_links() {
    on_links(3500, padding_is_cut_off);
}

#[test]
fn timestamps_are_shifted_on_links() {
    on_links(3500, |lab| timestamps_are_shifted(lab, &[Checksum::Full]));
}

#[test]
fn what_came_otherwise_ends_loans_on_links() {
    on_links(3500, refusal::what_came_otherwise_ends_loans);
}

/// Data of a segment, as its sender says: less than the way has room for.
const SEGMENT: usize = 1398;
const JOINED: usize = 42 * SEGMENT + 517;

/// A client's or a backend's joined segment outside of tunnels.
fn joined(way: Way, length: usize) -> Packet {
    let payload = (0..length).map(|at| (at * 31 + at / 253) as u8).collect();
    Packet { payload, checksum: Checksum::Unfinished, ..way.packet() }
}

/// The links cut and finish nothing: the kernel has to.
fn cut_in_front_of_out() {
    tool("ethtool", "-K out tx off tso off gso off");
}

/// What the kernel cuts out of what the programs send on is what hosts may expect: every piece translated and with checksums of its own.
#[test]
fn joined_segments_are_cut_where_they_leave() {
    on_links(1500, |lab| {
        cut_in_front_of_out();
        for way in [way(TCP, true, false), way(TCP, false, false), way(TCP, false, true)] {
            let id = lab.lend(way.loan());
            let packet = joined(way, JOINED);
            let links = lab.links.as_ref().unwrap();
            links.far.send_joined(&way.frame(&packet), SEGMENT as u16);
            for (index, data) in packet.payload.chunks(SEGMENT).enumerate() {
                let seen = eventually("a piece", || links.away.receive());
                let [_, offset] = way.offsets();
                let is_last = data.len() < SEGMENT;
                let piece = Packet {
                    payload: data.to_vec(),
                    seq: packet.seq + (index * SEGMENT) as u32,
                    flags: if is_last { packet.flags } else { packet.flags & !8 },
                    checksum: Checksum::Full,
                    ..packet.clone()
                };
                let mut expected = way.expected(&piece, &seen);
                // Each piece has an identification of its own.
                expected[offset + 4..offset + 6].copy_from_slice(&seen[offset + 4..offset + 6]);
                set_header_checksum(&mut expected[offset..offset + 20]);
                assert_eq!(seen, expected, "{way:?}: piece {index}");
            }
            let side = usize::from(way.reply);
            let sides = lab.take_back(id);
            assert_eq!((sides[side].packets, sides[side].bytes), (1, JOINED as u64 + 40));
            assert_eq!(sides[side].end, packet.seq + JOINED as u32);
        }
    });
}

fn sent_bytes(interface: &str) -> u64 {
    let shown = ip(&format!("-s -o link show dev {interface}"));
    shown.split("TX:").nth(1).unwrap().split_whitespace().find_map(|word| word.parse().ok()).unwrap()
}

/// The way in's tag is none of the way out. A bridge takes it off and keeps it beside the packet, as a card does, and `out` would put it
/// back in.
#[test]
fn what_came_with_a_vlan_tag_leaves_without() {
    on_links(1500, |lab| {
        veth("tags", "port", 1);
        ip("link add bridge type bridge");
        for port in ["port", "far"] {
            ip(&format!("link set {port} master bridge"));
        }
        ip("link set bridge up");
        tool("ethtool", "-K out txvlan off");
        let tags = Wire::on("tags");
        for way in all_ways() {
            let id = lab.lend(way.loan());
            let packet = way.packet();
            let mut frame = way.frame(&packet);
            frame.splice(12..12, [0x81, 0, 0, 10]);
            let before = sent_bytes("out");
            tags.send(&frame);
            let seen = eventually("a frame that came tagged", || lab.links.as_ref()?.away.receive());
            assert_eq!(seen, way.expected(&packet, &seen), "{way:?}");
            assert_eq!(sent_bytes("out") - before, seen.len() as u64, "{way:?}: longer by a tag");
            lab.take_back(id);
        }
    });
}

/// Only the second program knows. The sender says it again, then to the worker.
#[test]
fn what_does_not_fit_after_all_is_lost_and_ends_the_loan() {
    on_links(9000, |lab| {
        let way = way(TCP, true, false);
        let too_long = usize::from(MTU) - 40 + 1;
        for (segment, what) in [(Some(too_long), "joined of too long ones"), (None, "one that is too long")] {
            let id = lab.lend(way.loan());
            let links = lab.links.as_ref().unwrap();
            let frame = way.frame(&Packet { checksum: Checksum::Full, ..joined(way, 2 * too_long) });
            match segment {
                Some(segment) => Wire::on("far").send_joined(&frame, segment as u16),
                None => links.far.send(&frame),
            }
            links.pass_a_marker();
            eventually("the end of the loan", || (!lab.lender.is_live(id)).then_some(()));
            assert_eq!(links.away.receive(), None, "{what}");
            lab.take_back(id);
        }
    });
}
