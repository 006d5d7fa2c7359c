//! What shortcuts leave to the worker, what they tell it, and whose their places are.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::{allowed_cpus, pin_current_thread};

#[test]
fn packets_that_may_mean_more_end_loans() {
    type Change = fn(&mut Packet);
    let Some(mut lab) = Lab::open() else { return };
    let both: [(&str, Change); 7] = [
        ("TTL 1", |packet| packet.ttl = 1),
        ("TTL 0", |packet| packet.ttl = 0),
        ("more fragments", |packet| packet.fragment = 0x2000),
        ("a later fragment", |packet| packet.fragment = 1),
        ("the last fragment", |packet| packet.fragment = 0x1fff),
        ("longer than the way allows", |packet| packet.payload = vec![0; usize::from(MTU) - 28 + 1]),
        ("longer than the way allows, unfinished", |packet| {
            (packet.payload, packet.checksum) = (vec![0; usize::from(MTU) - 28 + 1], Checksum::Unfinished);
        }),
    ];
    let tcp: [(&str, Change); 3] = [
        ("a header of 16 bytes", |packet| packet.offset = 4),
        ("a header of no bytes", |packet| packet.offset = 0),
        ("a header longer than the segment", |packet| packet.offset = 7),
    ];
    let udp: [(&str, Change); 3] = [
        ("a longer datagram", |packet| packet.udp_excess = 1),
        ("a shorter datagram", |packet| packet.udp_excess = 0xffff),
        ("a datagram of no bytes", |packet| packet.udp_excess = 0u16.wrapping_sub(13)),
    ];
    for way in all_ways() {
        let own = if way.protocol == TCP { tcp } else { udp };
        for (what, change) in both.into_iter().chain(own) {
            let mut packet = way.packet();
            change(&mut packet);
            lab.ends(way, way.loan(), &way.frame(&packet), what);
        }
        if way.protocol == TCP {
            for flags in (0..=0x3f).filter(|flags| flags & 0x17 != 0x10) {
                lab.ends(way, way.loan(), &way.frame(&Packet { flags, ..way.packet() }), "flags");
            }
        }
        let padded = |frame: Vec<u8>| [&frame[..], &[0, 0]].concat();
        lab.ends(way, way.loan(), &way.frame_of(&padded(way.packet().bytes())), "padding of no wire");
        let ways_end = usize::from(MTU) - if way.protocol == TCP { 40 } else { 28 };
        let id = lab.lend(way.loan());
        lab.passes(way, &Packet { payload: vec![3; ways_end], ..way.packet() }, "as long as the way allows");
        lab.take_back(id);
    }
}

/// A good frame with these bytes at this place; `intact` if header checksums are to fit again.
fn changed(way: Way, at: usize, bytes: &[u8], intact: bool) -> Vec<u8> {
    let mut frame = way.good_frame();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    for header in [14, way.offsets()[0]].into_iter().filter(|_| intact) {
        set_header_checksum(&mut frame[header..header + 20]);
    }
    frame
}

#[test]
fn packets_that_came_otherwise_end_loans() {
    let Some(mut lab) = Lab::open() else { return };
    what_came_otherwise_ends_loans(&mut lab);
}

pub(super) fn what_came_otherwise_ends_loans(lab: &mut Lab) {
    for protocol in [TCP, UDP] {
        let (request, reply) = (way(protocol, true, false), way(protocol, true, true));
        for at in 6..12 {
            lab.ends(request, request.loan(), &changed(request, at, &[0x55], true), "another neighbour");
        }
        let from_client = |arrival| {
            let mut loan = request.loan();
            loan.ways[0].arrival = arrival;
            loan
        };
        let mac = [2, 0, 0, 0, 0, 7];
        let elsewhere = from_client(Arrival::Neighbour { interface: INTERFACE + 1, mac });
        lab.ends(request, elsewhere, &request.good_frame(), "another interface");
        for (at, what) in
            [(26, "VTEP"), (29, "VTEP"), (46, "VNI"), (48, "VNI"), (49, "reserved"), (50, "MAC"), (55, "MAC")]
        {
            lab.ends(reply, reply.loan(), &changed(reply, at, &[0x55], true), what);
        }
        // RFC 6040, figure 4: whatever would change the inner field.
        for (outer, inner) in (0..16).map(|bits| (bits & 3, bits >> 2)) {
            let packet = Packet { tos: 0xb8 | inner, ..reply.packet() };
            let frame = tunnelled(&FROM_NODE, 0x44 | outer, [0; 2], &packet.bytes());
            if outer != 0 && outer != inner {
                lab.ends(reply, reply.loan(), &frame, "congestion");
                continue;
            }
            let id = lab.lend(reply.loan());
            let (verdict, seen) = lab.carry(&frame);
            assert_eq!((verdict, &seen), (REDIRECT, &reply.expected(&packet, &seen)));
            lab.take_back(id);
        }
    }
}

/// A switch that has forgotten where another gateway is sends its frames to everybody.
#[test]
fn frames_for_other_machines_leave_loans_alone() {
    let Some(mut lab) = Lab::open() else { return };
    lab.filter.set_address(INTERFACE, [2, 0, 0, 0, 0, 1]).unwrap();
    for way in all_ways() {
        for other in [[2, 0, 0, 0, 0, 2], [0xff; 6], [0, 0, 0x5e, 0, 3, 1]] {
            lab.ignores(way, &changed(way, 0, &other, false), "for another machine");
        }
        // RFC 9568, 7.3.
        for shared in [[0, 0, 0x5e, 0, 1, 7], [0, 0, 0x5e, 0, 2, 7]] {
            let id = lab.lend(way.loan());
            assert_eq!(lab.carry(&changed(way, 0, &shared, false)).0, REDIRECT, "{way:?}");
            lab.take_back(id);
        }
    }
    lab.filter.set_address(INTERFACE, [2, 0, 0, 0, 0, 5]).unwrap();
    let way = way(TCP, true, false);
    let id = lab.lend(way.loan());
    assert_eq!(lab.carry(&changed(way, 0, &[2, 0, 0, 0, 0, 5], false)).0, REDIRECT, "it has another address now");
    lab.take_back(id);
}

#[test]
fn other_tables_and_time_end_loans() {
    let Some(mut lab) = Lab::open() else { return };
    // The program's clock lags by one tick of the kernel at most.
    thread::sleep(Duration::from_millis(30));
    for way in all_ways() {
        let other = Loan { generation: GENERATION + 1, ..way.loan() };
        lab.ends(way, other, &way.good_frame(), "another generation");
        lab.ends(way, Loan { until: Duration::ZERO, ..way.loan() }, &way.good_frame(), "too late");
        let id = lab.lend(way.loan());
        lab.table.set_terms(0, None);
        lab.refuses(&way.good_frame(), "nothing is lent");
        assert!(lab.lender.is_live(id));
        lab.table.set_terms(GENERATION + 1, Some(VTEP));
        lab.refuses(&way.good_frame(), "new tables");
        assert!(!lab.lender.is_live(id));
        lab.table.set_terms(GENERATION, Some(VTEP));
        lab.take_back(id);
    }
}

/// (Sequence number, acknowledgment, bytes, scale) as distances from what was shown before: by "Real Stateful TCP Packet Filtering".
#[test]
fn shortcuts_keep_to_windows() {
    let Some(mut lab) = Lab::open() else { return };
    let window = WINDOW_BYTES.cast_signed();
    let span = ACK_SPAN.cast_signed();
    let cases = [
        ("at the right edge", window, 0, 100, SCALE, true),
        ("beyond the right edge", window + 1, 0, 0, SCALE, false),
        ("far beyond", i32::MAX, 0, 0, SCALE, false),
        ("ends at the left edge", -window - 100, 0, 100, SCALE, true),
        ("ends before the left edge", -window - 101, 0, 100, SCALE, false),
        ("keepalive", -1, 0, 0, SCALE, true),
        ("far before", i32::MIN, 0, 0, SCALE, false),
        ("acknowledges what was not sent", 0, 1, 0, SCALE, false),
        ("acknowledges little enough", 0, -span, 0, SCALE, true),
        ("acknowledges too little", 0, -span - 1, 0, SCALE, false),
        ("wide window", (500 << 14) - 1, -(500 << 14), 0, 14, true),
        ("beyond a wide window", (500 << 14) + 1, 0, 0, 14, false),
        ("acknowledges too little of a wide window", 0, -(500 << 14) - 1, 0, 14, false),
        ("unscaled", 500, -span, 0, 0, true),
        ("beyond an unscaled window", 501, 0, 0, 0, false),
    ];
    for (way, base) in all_ways().filter(|way| way.protocol == TCP).flat_map(|way| [(way, 0), (way, 0xefff_ffc0)]) {
        for (what, seq, ack, length, scale, admitted) in cases {
            let moved = |value: u32, by: i32| value.wrapping_add(base).wrapping_add_signed(by);
            let mut loan = way.loan();
            for side in &mut loan.sides {
                (side.end, side.ack, side.scale) = (moved(side.end, 0), moved(side.ack, 0), scale);
            }
            let good = way.packet();
            let (seq, ack) = (moved(good.seq, seq), moved(good.ack, ack));
            let packet = Packet { seq, ack, payload: vec![1; length], ..good.clone() };
            let first = Packet { seq: moved(good.seq, 0), ack: moved(good.ack, 0), payload: vec![], ..good };
            let id = lab.lend(loan);
            lab.passes(way, &first, "in order");
            if admitted {
                lab.passes(way, &packet, what);
                lab.take_back(id);
            } else {
                let sides = lab.gives_up(way, id, &way.frame(&packet), what);
                let [from, to] = [way.reply, !way.reply].map(|side| &sides[usize::from(side)]);
                let counted = (from.packets, from.bytes, to.packets, to.bytes, to.heard);
                assert_eq!(counted, (1, 40, 0, 0, None), "the first one only: {what}: {way:?}");
            }
        }
    }
}

/// What a side has sent before may still wait for the worker.
#[test]
fn nothing_overtakes_what_came_before_the_loan() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways().filter(|way| way.protocol == TCP) {
        let (good, side) = (way.packet(), usize::from(way.reply));
        let (other, other_side) = (way.reversed(), usize::from(!way.reply));
        let later = |packet: &Packet, by: u32| Packet { seq: packet.seq.wrapping_add(by), ..packet.clone() };
        let id = lab.lend(way.loan());
        for by in [1, 5, 1000, i32::MAX.cast_unsigned()] {
            for payload in [vec![], vec![1; 10]] {
                lab.refuses(&way.frame(&Packet { payload, ..later(&good, by) }), "a gap");
            }
        }
        lab.refuses(&way.frame(&Packet { flags: 0x11, ..later(&good, 1) }), "the last one, behind a gap");
        assert!(lab.lender.is_live(id) && !lab.lender.has_joined(id, side), "{way:?}");
        // The worker has sent a part of that on.
        let shown = LentSide { end: good.seq + 1000, ack: good.ack, window: 7, scale: SCALE, ..LentSide::default() };
        lab.lender.show(id, side, &shown);
        lab.refuses(&way.frame(&later(&good, 1)), "about to leave");
        lab.lender.sent(id, side, good.seq + 500);
        lab.refuses(&way.frame(&later(&good, 501)), "a smaller gap");
        // The other side may have heard the rest.
        let answer = Packet { ack: good.seq + 1000, ..other.packet() };
        lab.passes(other, &answer, "acknowledges what the worker has sent");
        assert!(lab.lender.has_joined(id, other_side) && !lab.lender.has_joined(id, side));
        lab.passes(way, &later(&good, 500), "in order");
        assert!(lab.lender.has_joined(id, side));
        lab.passes(way, &later(&good, 2000), "what is missing now was lost elsewhere");
        let sides = lab.take_back(id);
        assert_eq!((sides[side].end, sides[side].window, sides[side].packets), (good.seq + 2005, WINDOW, 2), "{way:?}");
        assert_eq!((sides[other_side].ack, sides[other_side].packets), (good.seq + 1000, 1), "{way:?}");
    }
}

/// By the windows that the worker has seen until a side joins.
#[test]
fn sides_that_have_not_joined_are_as_the_worker_says() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways().filter(|way| way.protocol == TCP) {
        let (good, other_side) = (way.packet(), usize::from(!way.reply));
        let other = way.loan().sides[other_side];
        let far = Packet { seq: good.seq + 3 * WINDOW_BYTES, ..good.clone() };
        for moved in [0, 1000, 2 * WINDOW_BYTES, 3 * WINDOW_BYTES] {
            let id = lab.lend(way.loan());
            lab.passes(way, &good, "joins");
            lab.lender.show(id, other_side, &LentSide { ack: other.ack + moved, ..other });
            if moved < 2 * WINDOW_BYTES {
                lab.gives_up(way, id, &way.frame(&far), "beyond what the other side has offered");
            } else {
                lab.passes(way, &far, "inside of it");
                lab.take_back(id);
            }
        }
    }
}

#[test]
fn loans_are_prolonged() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        let until = |millis| clock::now() + Duration::from_millis(millis);
        let id = lab.lend(Loan { until: until(200), ..way.loan() });
        lab.passes(way, &way.packet(), "lent");
        let side = lab.lender.shown(id)[usize::from(way.reply)];
        assert_eq!(side.packets, 1);
        lab.lender.prolong(id, until(60_000));
        thread::sleep(Duration::from_millis(250));
        lab.passes(way, &way.packet(), "prolonged");
        assert_eq!(lab.lender.shown(id)[usize::from(way.reply)].packets, 2);
        lab.lender.prolong(id, until(0));
        thread::sleep(Duration::from_millis(30));
        lab.gives_up(way, id, &way.good_frame(), "over");
    }
}

#[test]
fn packets_of_others_leave_loans_alone() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        let at = way.offsets()[0];
        for (place, what) in [(12, "source"), (19, "destination"), (21, "source port"), (23, "destination port")] {
            lab.ignores(way, &changed(way, at + place, &[0x55], true), what);
        }
        lab.ignores(way, &changed(way, at + 9, &[TCP + UDP - way.protocol], true), "the other protocol");
        lab.ignores(way, &changed(way, at + 9, &[47], true), "a third protocol");
        lab.ignores(way, &changed(way, at, &[0x65], true), "version 6");
        lab.ignores(way, &changed(way, at - 2, &[0x86, 0xdd], true), "not IPv4");
        lab.ignores(way, &changed(way, at + 4, &[0x55], false), "a damaged header");
        let mut options = way.packet().bytes();
        options.splice(20..20, [1; 4]);
        (options[0], options[3]) = (0x46, options[3] + 4);
        let checksum = !sum(&[&options[..10], &options[12..24]].concat());
        options[10..12].copy_from_slice(&checksum.to_be_bytes());
        lab.ignores(way, &way.frame_of(&options), "IP options");
        if way.overlay && way.reply {
            for (at, bytes, what) in [
                (4 + 14, &[0x55][..], "a damaged outer header"),
                (14 + 6, &[0x20], "an outer fragment"),
                (30, &[0x55], "another gateway's"),
                (36, &[0x55], "another tunnel port"),
                (38, &[0, 8], "an outer datagram that is shorter"),
                (42, &[0x0c], "other flags of VXLAN"),
                (42, &[0], "no network"),
            ] {
                lab.ignores(way, &changed(way, at, bytes, !what.contains("damaged")), what);
            }
            lab.ignores(way, &[&way.good_frame()[..], &[0]].concat(), "padding of the outer packet");
            lab.ignores(way, &[&FROM_BACKEND[..], &way.packet().bytes()].concat(), "not through its tunnel");
        } else {
            let through = tunnelled(&FROM_NODE, 0, [0; 2], &way.packet().bytes());
            lab.ignores(way, &through, "through a tunnel");
            // What a plain way has where others have a tunnel: no VTEP, network 0, no MAC.
            let mut from_nowhere = through;
            for none in [26..30, 46..56] {
                from_nowhere[none].fill(0);
            }
            set_header_checksum(&mut from_nowhere[14..34]);
            lab.ignores(way, &from_nowhere, "through no tunnel");
        }
    }
}

#[test]
fn cut_packets_are_never_sent_on() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        let frame = way.good_frame();
        // The kernel runs nothing shorter than an Ethernet header. What has the flow's ports may end the loan.
        for length in 14..frame.len() {
            if way.offsets()[0] == 64 || length < 14 + 28 {
                lab.ignores(way, &frame[..length], "cut");
            } else {
                lab.ends(way, way.loan(), &frame[..length], "cut");
            }
        }
    }
}

#[test]
fn shortcuts_tell_what_was_shown() {
    let Some(mut lab) = Lab::open() else { return };
    assert!(pin_current_thread(allowed_cpus()[0]));
    for way in all_ways() {
        // Both numbers of the side that sends wrap around.
        let mut loan = way.loan();
        let (from, to) = (usize::from(way.reply), usize::from(!way.reply));
        loan.sides[from] =
            LentSide { end: 0xffff_fff0, ack: 0xffff_ff00, window: 10, scale: 14, ..LentSide::default() };
        loan.sides[to] = LentSide { end: 0x20, ack: 0xffff_fff0, window: 0xffff, scale: 3, ..LentSide::default() };
        let before = clock::now();
        let id = lab.lend(loan.clone());
        let mut bytes = 0;
        for (seq, ack, length) in [(0xffff_fff0, 0xffff_fff8, 100), (0x54, 0x20, 1000), (0xffff_fff0, 0x10, 100)] {
            let packet = Packet { seq, ack, payload: vec![1; length], ..way.packet() };
            lab.passes(way, &packet, "wraps");
            bytes += length as u64 + if way.protocol == TCP { 40 } else { 28 };
        }
        let after = clock::now();
        let sides = lab.take_back(id);
        let heard = sides[from].heard.unwrap();
        assert!(heard + Duration::from_millis(30) >= before && heard <= after, "{before:?} {heard:?} {after:?}");
        let (packets, heard) = (3, Some(heard));
        let shown = match way.protocol {
            TCP => LentSide { end: 0x54 + 1000, ack: 0x20, window: WINDOW, scale: 14, packets, bytes, heard },
            _ => LentSide { packets, bytes, heard, ..loan.sides[from] },
        };
        assert_eq!(sides[from], shown, "{way:?}");
        assert_eq!(sides[to], loan.sides[to], "{way:?}");
        // An identification of its own for each packet in a tunnel that one processor sends.
        let id = lab.lend(loan);
        let frames = [0, 1]
            .map(|_| lab.filter.try_frame(&way.frame(&Packet { seq: 0xffff_fff0, ack: 0, ..way.packet() })).unwrap().1);
        assert!(way.reply || !way.overlay || frames[0][18..20] != frames[1][18..20]);
        lab.take_back(id);
    }
}

#[test]
fn places_rest_before_they_are_used_again() {
    let Some(mut lab) = Lab::open() else { return };
    let mut lenders = lab.table.lenders(SHORTCUTS);
    let (way, now) = (way(TCP, true, false), Duration::from_secs(100));
    let mut loan = way.loan();
    loan.ways.iter_mut().for_each(|way| way.output = lab.output);
    let id = lenders[9].lend(&loan, now).unwrap();
    lab.refuses(&way.good_frame(), "what is in front of it may not have left");
    lenders[9].sent(id, 0, ENDS[0]);
    lab.passes(way, &way.packet(), "lent");
    assert!(!lenders[9].has_room(now));
    assert_eq!(lenders[9].lend(&loan, now), None, "it has no more places");
    lab.passes(way, &way.packet(), "still lent");
    lenders[9].take_back(id, now);
    assert!(!lenders[9].is_live(id));
    lab.refuses(&way.good_frame(), "taken back");
    lab.refuses(&way.reversed().good_frame(), "taken back");
    assert_eq!(entries(&lab.table), 0);
    assert_eq!(lenders[9].lend(&loan, now + Duration::from_millis(199)), None);
    assert!(lenders[9].has_room(now + REST));
    let id = lenders[9].lend(&loan, now + REST).unwrap();
    assert_eq!(entries(&lab.table), 2);
    assert_eq!(lenders[9].take_back(id, now + REST), loan.sides, "nothing is left of the last loan");
    let id = lenders[9].lend(&loan, now + 2 * REST).unwrap();
    lenders[9].sent(id, 0, ENDS[0]);
    lab.passes(way, &way.packet(), "lent again");
}

#[test]
fn places_are_of_one_worker_each() {
    let Some(lab) = Lab::open() else { return };
    for workers in [1, 3, 64, SHORTCUTS] {
        let lenders = lab.table.lenders(workers);
        let places: Vec<u32> = lenders.iter().flat_map(|lender| lender.free.clone()).collect();
        assert_eq!(places.len(), SHORTCUTS / workers * workers);
        assert_eq!(places.iter().collect::<HashSet<_>>().len(), places.len());
        assert!(places.iter().all(|place| (*place as usize) < SHORTCUTS));
    }
    assert!(lab.table.lenders(SHORTCUTS + 1).iter().all(|lender| lender.free.is_empty()));
}

#[test]
fn the_index_is_not_believed() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways() {
        let strangers = Way { overlay: !way.overlay, reply: true, ..way };
        let id = lab.lend(way.loan());
        // As if both keys had the same hash.
        assert!(lab.table.enter(&raw_way(&strangers.lent(), way.protocol), numbers(id.0)[usize::from(way.reply)]));
        lab.refuses(&strangers.good_frame(), "another's packet");
        assert!(lab.lender.is_live(id));
        lab.passes(way, &way.packet(), "its own");
        lab.take_back(id);
        lab.table.remove(&raw_way(&strangers.lent(), way.protocol), numbers(id.0)[usize::from(way.reply)]);
    }
}

/// How much stands in the index.
fn entries(table: &Shortcuts) -> usize {
    let places = (0..BUCKETS).flat_map(|bucket| &table.buckets.get(bucket).unwrap().places);
    places.filter(|place| place.load(Ordering::SeqCst) != 0).count()
}

#[test]
fn full_buckets_leave_nothing_behind() {
    let Some(mut lab) = Lab::open() else { return };
    let loan_of = |n: u32| {
        let mut loan = way(TCP, true, false).loan();
        loan.ways[0].from.src = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + n / 50_000), (n % 50_000) as u16);
        loan.ways[1].from.dst = SocketAddrV4::new(Ipv4Addr::from(0x0b00_0000 + n / 50_000), (n % 50_000) as u16);
        loan
    };
    let bucket = |loan: &Loan, way: usize| lab.table.hash(&raw_way(&loan.ways[way], TCP)).0;
    let full = 77;
    let near: Vec<Loan> =
        (0..200_000).map(loan_of).filter(|loan| bucket(loan, 0) == full && bucket(loan, 1) != full).take(9).collect();
    let reply_near = (0..200_000).map(loan_of).find(|loan| bucket(loan, 1) == full && bucket(loan, 0) != full).unwrap();
    assert_eq!(near.len(), 9);
    let mut ids: Vec<LentId> = near[..8].iter().map(|loan| lab.lend(loan.clone())).collect();
    assert_eq!(entries(&lab.table), 16);
    let unused = |lender: &Lender| lender.free.len() + lender.resting.len();
    let places = unused(&lab.lender);
    for loan in [&reply_near, &near[8]] {
        assert_eq!(lab.lender.lend(loan, lab.now), None);
        assert_eq!((entries(&lab.table), unused(&lab.lender)), (16, places));
    }
    let live = (0..SHORTCUTS as u32).filter(|place| lab.lender.is_live(LentId(*place))).count();
    assert_eq!(live, 8);
    lab.take_back(ids.remove(3));
    lab.lend(reply_near);
    assert_eq!(entries(&lab.table), 16);
}

#[test]
fn lent_packets_are_never_longer_than_what_the_program_sums_up() {
    let long = LentWay { mtu: 9000, ..way(TCP, true, false).lent() };
    assert_eq!(usize::from(raw_way(&long, TCP).mtu), 4096);
}

/// Whether the frame is one that its way may send on, judged byte by byte against a good one.
fn is_admissible(way: Way, frame: &[u8]) -> bool {
    let (good, at) = (way.good_frame(), way.offsets()[0]);
    let whole = [0, 0x40, 0x80, 0xc0];
    let same = |range: Range<usize>| good[range.clone()] == frame[range];
    let outside = match (way.reply, way.overlay) {
        (false, _) => same(6..14),
        (true, false) => same(12..14),
        (true, true) => {
            let ecn = (frame[15] & 3, frame[at + 1] & 3);
            [12..15, 16..18, 23..24, 26..34, 36..40, 42..43, 46..56, 62..64].into_iter().all(same)
                && whole.contains(&frame[20])
                && frame[21] == 0
                && sum(&frame[14..34]) == 0xffff
                && (ecn.0 == 0 || ecn.0 == ecn.1)
        }
    };
    let ip = &frame[at..];
    let inside =
        same(at..at + 1) && [2..4, 9..10, 12..24].into_iter().all(|range| same(at + range.start..at + range.end));
    let header = whole.contains(&ip[6]) && ip[7] == 0 && ip[8] > 1 && sum(&ip[..20]) == 0xffff;
    let number = |at: usize| u32::from_be_bytes(ip[at..at + 4].try_into().unwrap());
    let (sent, other) = if way.reply { (ENDS[1], ENDS[0]) } else { (ENDS[0], ENDS[1]) };
    let transport = way.protocol == UDP && same(at + 24..at + 26)
        || way.protocol == TCP && {
            let data = i64::from(u16::from_be_bytes([ip[2], ip[3]])) - 20 - 4 * i64::from(ip[32] >> 4);
            let ahead = i64::from(number(24).wrapping_sub(sent).cast_signed());
            let acknowledged = i64::from(number(28).wrapping_sub(other).cast_signed());
            let window = i64::from(WINDOW_BYTES);
            (ip[32] >> 4 >= 5 && data >= 0 && ip[33] & 0x17 == 0x10)
                // The first of its side: nothing is missing in front of it.
                && (ahead <= 0 && ahead + data >= -window)
                && (-i64::from(ACK_SPAN)..=0).contains(&acknowledged)
        };
    outside && inside && header && transport
}

/// By how much the transport checksum is wrong: 0xffff says not at all.
fn defect(ends: Ends, ip: &[u8]) -> u16 {
    sum(&[&pseudo_header(&ends, ip[9], ip.len() - 20)[..], &ip[20..]].concat())
}

fn mutated() -> impl Strategy<Value = (Way, Vec<u8>)> {
    let changes =
        prop::collection::vec((0..110_usize, prop_oneof![any::<u8>(), (0..8_u8).prop_map(|bit| 1_u8 << bit)]), 1..4);
    (0..8_usize, changes, any::<bool>()).prop_map(|(number, changes, intact)| {
        let way = all_ways().nth(number).unwrap();
        let mut frame = way.good_frame();
        for (at, flipped) in changes {
            let at = at % frame.len();
            frame[at] ^= flipped;
        }
        for header in [14, way.offsets()[0]].into_iter().filter(|_| intact) {
            set_header_checksum(&mut frame[header..header + 20]);
        }
        (way, frame)
    })
}

#[test]
fn changed_packets_are_sent_on_only_if_they_may_be() {
    let Some(lab) = Lab::open() else { return };
    let lab = RefCell::new(lab);
    let judge = |(way, frame): (Way, Vec<u8>)| {
        let mut lab = lab.borrow_mut();
        let id = lab.lend(way.loan());
        let (verdict, seen) = lab.carry(&frame);
        lab.take_back(id);
        prop_assert_eq!(verdict, if is_admissible(way, &frame) { REDIRECT } else { PASS });
        if verdict == PASS {
            prop_assert_eq!(seen, frame);
            return Ok(());
        }
        let ([from, to], [before, after]) = (way.ends(), way.offsets());
        let (ip, sent) = (&frame[before..], &seen[after..]);
        prop_assert_eq!(sum(&sent[..20]), 0xffff);
        // A wrong checksum stays wrong by as much. None is none, and the pseudo header's sum asks for a right one.
        let field = if way.protocol == TCP { 36..38 } else { 26..28 };
        let pseudo = sum(&pseudo_header(&from, way.protocol, ip.len() - 20));
        if ip[field.clone()] == pseudo.to_be_bytes() {
            prop_assert_eq!(defect(to, sent), 0xffff);
        } else if way.protocol == TCP || ip[field.clone()] != [0; 2] {
            prop_assert_eq!(defect(to, sent), defect(from, ip));
        } else {
            prop_assert_eq!(&sent[field.clone()], &[0; 2]);
        }
        let mut wanted = ip.to_vec();
        wanted[8] -= 1;
        wanted[12..20].copy_from_slice(&[to.src.ip().octets(), to.dst.ip().octets()].concat());
        wanted[20..24].copy_from_slice(&[to.src.port().to_be_bytes(), to.dst.port().to_be_bytes()].concat());
        wanted[10..12].copy_from_slice(&sent[10..12]);
        wanted[field.clone()].copy_from_slice(&sent[field]);
        prop_assert_eq!(sent, &wanted[..]);
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(5000)).run(&mutated(), judge).unwrap();
}

#[test]
fn any_bytes_are_no_lent_packet() {
    let Some(mut lab) = Lab::open() else { return };
    for way in all_ways().filter(|way| !way.reply) {
        lab.lend(way.loan());
    }
    let lab = RefCell::new(lab);
    let judge = |frame: Vec<u8>| {
        let (verdict, seen) = lab.borrow_mut().filter.try_frame(&frame).unwrap();
        prop_assert_eq!(verdict, PASS);
        // The padding of a frame of the shortest kind may be gone.
        let end =
            if frame.len() == 60 { 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]])) } else { frame.len() };
        prop_assert!(seen == frame || seen == frame[..end.min(frame.len())]);
        Ok(())
    };
    // Random bytes, alone, behind the beginning of a good packet, or as the flow's TCP or UDP with rubbish in it.
    let bytes = || prop::collection::vec(any::<u8>(), 14..200);
    let begun = (0..8_usize, 14..80_usize, bytes()).prop_map(|(number, length, bytes)| {
        let frame = all_ways().nth(number).unwrap().good_frame();
        [&frame[..length.min(frame.len())], &bytes].concat()
    });
    TestRunner::default().run(&prop_oneof![bytes(), begun], judge).unwrap();
}
