//! What goes no further: not ours, too much of it, too long under way, too big; and what just so does.

mod lab;

use datapath::query::{FlowFilter, Page};
use datapath::service::{Hop, Path};
use lab::packets::{
    Seen, Segment, Tunnel, answer_of, arp, ethernet, fragments, icmp_error, long_icmp_error, ping, see, udp,
};
use lab::{
    BACK, CLIENT, CLIENT_MAC, FRONT, Gateway, OUR_MACS, OUR_OVERLAY, SERVER, SERVER_MAC, TASKS, VIP, our_overlay_mac,
};
use sys::LinkType;
use wire::{MacAddr, Protocol};

fn dns(weights: &[u16]) -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Udp, 53, weights)])
}

fn web() -> datapath::service::Tables {
    lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1])])
}

fn from_client(ip: &[u8]) -> Vec<u8> {
    ethernet(CLIENT_MAC, OUR_MACS[0], ip)
}

fn ask(port: u16, payload: &[u8]) -> Vec<u8> {
    from_client(&udp((CLIENT, port), (VIP, 53), payload))
}

/// Puts a frame in at the front; what comes out there.
fn answers(gateway: &mut Gateway, frame: &[u8]) -> Vec<Seen> {
    gateway.inject(0, FRONT, frame);
    gateway.settle();
    gateway.collect(0, FRONT).iter().map(|frame| see(frame)).collect()
}

#[test]
fn other_addresses_are_none_of_our_business() {
    let mut gateway = Gateway::new(dns(&[1]));
    let other = "198.18.0.200".parse().unwrap();
    assert!(answers(&mut gateway, &from_client(&udp((CLIENT, 5000), (other, 53), b"?"))).is_empty());
    assert!(answers(&mut gateway, &from_client(&ping(CLIENT, other, b"?"))).is_empty());
    let mut not_ip = ask(5000, b"?");
    not_ip[12..14].copy_from_slice(&[0x88, 0xb5]);
    assert!(gateway.forward(&not_ip).is_empty());
    let mut drops = gateway.drops();
    drops.sort_unstable();
    assert_eq!(drops, [("icmp_unhandled", 1), ("not_ipv4", 1), ("not_ours", 1)]);
    gateway.assert_frames_conserved();
}

#[test]
fn what_we_make_ourselves_has_a_limit_of_its_own() {
    let silent = |port| {
        let mut stray = Segment::new((CLIENT, port), (VIP, 53), "A", 1, 1);
        stray.dst.1 = 81;
        stray.sent_by_client()
    };
    let (ping, nobody) = (from_client(&ping(CLIENT, VIP, b"x")), ask(5000, b"?"));
    for (frame, answered) in [(ping, 1000), (silent(40_000), 1000), (nobody, 1000)] {
        let mut gateway = Gateway::new(dns(&[0]));
        let sent: usize = (0..1100).map(|_| answers(&mut gateway, &frame).len()).sum();
        assert_eq!(sent, answered);
        assert!(gateway.drops().contains(&("rate_limited", 100)), "{:?}", gateway.drops());
    }
}

#[test]
fn only_a_plain_syn_opens_a_connection() {
    let mut gateway = Gateway::new(web());
    for flags in ["", "P", "A", "SA", "SF", "SR", "F"] {
        let odd = Segment::new((CLIENT, 40_000), (VIP, 8080), flags, 1000, 0);
        assert!(gateway.forward(&odd.sent_by_client()).is_empty(), "{flags:?}");
    }
    assert_eq!(gateway.totals().flows_opened, 0);
}

#[test]
fn without_a_way_no_flow_begins() {
    let mut tables = web();
    if let Path::Overlay { hop, .. } = &mut tables.services[0].backends[0].path {
        *hop = Hop::Unresolved;
    }
    let mut gateway = Gateway::new(tables);
    gateway.settle();
    let taught: u64 = gateway.drops().iter().map(|(_, n)| n).sum();
    assert!(gateway.forward(&Segment::syn(40_000).sent_by_client()).is_empty());
    assert_eq!(gateway.drops(), [("unresolved", taught + 1)]);
    assert_eq!(gateway.totals().flows_opened, 0);
}

#[test]
fn a_plain_backend_may_be_a_client_itself() {
    let mut service = lab::service(1, Protocol::Udp, 53, &[1]);
    service.backends.push(lab::plain_backend(9));
    let mut gateway = Gateway::new(lab::tables(vec![service]));
    let question = udp((SERVER, 80), (VIP, 53), b"?");
    assert_eq!(gateway.forward(&ethernet(SERVER_MAC, OUR_MACS[0], &question)).len(), 1);
    assert_eq!(gateway.drops(), []);
}

/// Also of a VIP from whose ports it is spoken to.
#[test]
fn a_plain_backend_may_be_a_client_of_our_snat_address() {
    let mut service = lab::service(1, Protocol::Tcp, 8080, &[]);
    let mut backend = lab::plain_backend(9);
    let Path::Plain { snat, .. } = &mut backend.path else { unreachable!() };
    *snat = vec![VIP];
    backend.port = None;
    service.backends.push(backend);
    let mut gateway = Gateway::new(lab::tables(vec![service, lab::service(2, Protocol::Udp, 53, &[1])]));
    let syn = Segment::new((SERVER, 80), (VIP, 8080), "S", 1000, 0);
    assert_eq!(gateway.forward(&ethernet(SERVER_MAC, OUR_MACS[0], &syn.ip())).len(), 1);
    assert_eq!(gateway.drops(), []);
    // A resolver asks from its own port.
    let question = udp((SERVER, 53), (VIP, 53), b"?");
    assert_eq!(gateway.forward(&ethernet(SERVER_MAC, OUR_MACS[0], &question)).len(), 1);
    assert_eq!(gateway.drops(), []);
    // A reply is none the less one.
    let stray = Segment::new((SERVER, 81), (VIP, 8080), "SA", 1000, 1);
    assert!(gateway.forward(&ethernet(SERVER_MAC, OUR_MACS[0], &stray.ip())).is_empty());
    assert_eq!(gateway.drops(), [("no_flow", 1)]);
}

/// Strangers know the overlay's addresses, and would reach every client of a task by trying ports.
#[test]
fn errors_must_come_to_who_has_sent_what_they_are_about() {
    let mut gateway = Gateway::new(dns(&[1]));
    let asked = see(&gateway.forward(&ask(5000, b"?"))[0]);
    let stranger = "203.0.113.66".parse().unwrap();
    for to in [VIP, OUR_OVERLAY] {
        let error = icmp_error(stranger, to, 3, 3, 0, &asked.bytes);
        assert!(answers(&mut gateway, &from_client(&error)).is_empty(), "to {to}");
        assert!(gateway.collect(0, BACK).is_empty());
    }
    assert_eq!(gateway.drops().iter().map(|(_, count)| count).sum::<u64>(), 2, "{:?}", gateway.drops());
    let error = icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, &asked.bytes);
    assert_eq!(gateway.backward(&Tunnel::from_node(0).wrap(&error)).len(), 1, "the task itself is believed");
}

#[test]
fn the_last_hop_but_one_is_passed() {
    let mut gateway = Gateway::new(web());
    let nearly = Segment { ttl: 2, ..Segment::syn(40_000) };
    assert_eq!(see(&gateway.forward(&nearly.sent_by_client())[0]).ip.time_to_live, 1);
}

#[test]
fn errors_have_a_time_to_live_too() {
    let mut gateway = Gateway::new(dns(&[1]));
    let asked = see(&gateway.forward(&ask(5000, b"?"))[0]);
    let error = |ttl| {
        let mut error = icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, &asked.bytes);
        error[8] = ttl;
        error[10..12].fill(0);
        let sum = etherparse::Ipv4Header::from_slice(&error).unwrap().0.calc_header_checksum();
        error[10..12].copy_from_slice(&sum.to_be_bytes());
        Tunnel::from_node(0).wrap(&error)
    };
    assert_eq!(see(&gateway.backward(&error(64))[0]).ip.time_to_live, 63);
    assert_eq!(see(&gateway.backward(&error(2))[0]).ip.time_to_live, 1);
    assert!(gateway.backward(&error(1)).is_empty());
    assert_eq!(gateway.drops(), [("ttl_expired", 1)]);
}

#[test]
fn errors_of_tasks_find_their_worker_by_port() {
    let mut gateway = Gateway::with(dns(&[1]), 2, [LinkType::Ethernet; 2], 1024);
    gateway.inject(1, FRONT, &ask(5000, b"?"));
    gateway.settle();
    let asked = see(&gateway.collect(1, BACK)[0]);
    let error = |about: &[u8]| Tunnel::from_node(0).wrap(&icmp_error(TASKS[0], OUR_OVERLAY, 3, 3, 0, about));
    gateway.inject(0, BACK, &error(&asked.bytes));
    gateway.settle();
    assert_eq!(see(&gateway.collect(1, FRONT)[0]).dst(), CLIENT);
    assert_eq!((gateway.totals().handed_over, gateway.drops()), (1, vec![]));
    // About a flow that nobody has: its owner drops it, and no worker is asked twice.
    let unknown = udp((OUR_OVERLAY, asked.ports().0), (TASKS[0], 9), b"?");
    gateway.inject(0, BACK, &error(&unknown));
    gateway.inject(1, BACK, &error(&unknown));
    gateway.settle();
    assert_eq!((gateway.totals().handed_over, gateway.drops()), (2, vec![("icmp_no_flow", 2)]));
}

#[test]
fn a_packet_that_just_fits_goes_whole() {
    let mut gateway = Gateway::new(web());
    let syn = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    let sized = |len: usize| Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(&vec![1; len - 40]);
    assert_eq!(gateway.forward(&sized(1450).sent_by_client()).len(), 1);
    assert!(gateway.forward(&sized(1451).sent_by_client()).is_empty());
    assert_eq!(gateway.drops(), [("too_big", 1)]);
}

#[test]
fn a_task_learns_the_mtu_of_the_clients_link() {
    let mut tables = dns(&[1]);
    tables.interfaces[0].mtu = 1400;
    let mut gateway = Gateway::new(tables);
    let port = see(&gateway.forward(&ask(5000, b"?"))[0]).ports().0;
    let mut big = udp((TASKS[0], 8000), (OUR_OVERLAY, port), &[3; 1401 - 28]);
    big[6] |= 0x40;
    big[10..12].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&big).unwrap().0.calc_header_checksum();
    big[10..12].copy_from_slice(&sum.to_be_bytes());
    gateway.inject(0, BACK, &Tunnel::from_node(0).wrap(&big));
    gateway.settle();
    let told = see(&gateway.collect(0, BACK)[0]);
    assert_eq!((told.src(), told.dst(), &told.payload()[..2]), (OUR_OVERLAY, TASKS[0], &[3, 4][..]));
    assert_eq!(told.payload()[6..8], 1400u16.to_be_bytes());
}

/// No error answers an error that is too long for its way, so it is cut (RFC 1812 §4.3.2.3).
#[test]
fn errors_fit_the_way_that_they_go() {
    let mut tables = web();
    tables.interfaces[0].mtu = 1430;
    let mut gateway = Gateway::new(tables);
    let asked = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    let answer = see(&gateway.backward(&answer_of(0, &asked, "SA", 5000, 1001).sent_by_task(0))[0]);
    let quote = |seen: &Seen, len: usize| {
        let mut quote = seen.bytes.clone();
        quote.resize(len, 0xa5);
        quote
    };
    // The addresses of what the task has sent, as it sent it.
    let inside = [asked.dst().octets(), asked.src().octets()].concat();
    // As if something followed the quote, which says its length then (RFC 4884).
    let rest = 0x0021_0578;
    // Quoted bytes, and the length of what leaves: 28 more, or 576. An odd number is padded for the sum.
    for (quoted, to_task, to_client) in [(1402, 1430, 1430), (1403, 1431, 576), (1423, 576, 576), (1472, 576, 576)] {
        let error = long_icmp_error("203.0.113.1".parse().unwrap(), VIP, 3, 4, rest, &quote(&answer, quoted));
        let seen = see(&gateway.forward(&from_client(&error))[0]);
        assert_eq!((seen.dst(), seen.bytes.len()), (TASKS[0], to_task), "{quoted} bytes");
        assert_eq!(seen.payload()[..2], [3, 4]);
        assert_eq!((seen.payload()[6..8].to_vec(), &seen.payload()[20..28]), (vec![5, 120], &inside[..]));
        let error = long_icmp_error(TASKS[0], OUR_OVERLAY, 3, 4, rest, &quote(&asked, quoted));
        let seen = see(&gateway.backward(&Tunnel::from_node(0).wrap(&error))[0]);
        assert_eq!((seen.dst(), seen.bytes.len()), (CLIENT, to_client), "{quoted} bytes");
    }
    assert_eq!(gateway.drops(), []);
    gateway.assert_frames_conserved();
}

/// A sum that was wrong is no right one for what is left.
#[test]
fn cutting_an_error_does_not_make_it_right() {
    let mut gateway = Gateway::new(web());
    let asked = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    let answer = see(&gateway.backward(&answer_of(0, &asked, "SA", 5000, 1001).sent_by_task(0))[0]);
    let mut quote = answer.bytes;
    quote.resize(1472, 0xa5);
    let mut error = long_icmp_error("203.0.113.1".parse().unwrap(), VIP, 3, 4, 1400, &quote);
    error[1000] ^= 1;
    let out = gateway.forward(&from_client(&error));
    let message = &out[0][64 + 20..];
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(message).ones_complement();
    assert_eq!((message.len(), sum != 0), (556, true));
}

/// RFC 1122 §3.2.2: no error about a fragment that is not the first.
#[test]
fn a_later_fragment_that_dies_here_is_not_answered() {
    let mut gateway = Gateway::new(dns(&[1]));
    let mut pieces = fragments(&udp((CLIENT, 5000), (VIP, 53), &[9; 1200]), 1000);
    pieces[1][8] = 1;
    pieces[1][10..12].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&pieces[1]).unwrap().0.calc_header_checksum();
    pieces[1][10..12].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gateway.forward(&from_client(&pieces[0])).len(), 1);
    assert!(answers(&mut gateway, &from_client(&pieces[1])).is_empty());
    assert!(gateway.drops().contains(&("ttl_expired", 1)));
}

/// Whatever else is the matter with it.
#[test]
fn what_is_dropped_counts_once() {
    let counted = |tables: datapath::service::Tables, frames: &[Vec<u8>]| {
        let mut gateway = Gateway::new(tables);
        let syn = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
        gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
        for frame in frames {
            answers(&mut gateway, frame);
        }
        gateway.assert_frames_conserved();
        gateway.drops()
    };
    let data = |len: usize| Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(&vec![1; len]);
    let dying = Segment { ttl: 1, ..data(9) }.sent_by_client();
    assert_eq!(counted(web(), &[data(1411).sent_by_client()]), [("too_big", 1)]);
    // No errors about later fragments, nor more than so many at a time.
    let mut long = fragments(&udp((CLIENT, 5000), (VIP, 53), &[9; 1480]), 8);
    long[1] = fragments(&udp((CLIENT, 5000), (VIP, 53), &[9; 3000]), 1440).remove(1);
    long[1][6] |= 0x40;
    long[1][10..12].fill(0);
    let sum = etherparse::Ipv4Header::from_slice(&long[1]).unwrap().0.calc_header_checksum();
    long[1][10..12].copy_from_slice(&sum.to_be_bytes());
    let both = lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[1]), lab::service(2, Protocol::Udp, 53, &[1])]);
    assert_eq!(counted(both, &[from_client(&long[0]), from_client(&long[1])]), [("too_big", 1)]);
    let drops = counted(web(), &vec![dying; 1100]);
    assert_eq!(drops, [("ttl_expired", 1000), ("rate_limited", 100)]);
}

/// A RST wants no answer.
#[test]
fn a_reset_of_what_was_reset_counts_once() {
    let mut gateway = Gateway::new(web());
    let syn = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    gateway.inject(0, FRONT, &Segment::new((CLIENT, 40_000), (VIP, 8080), "R", 1001, 0).sent_by_client());
    gateway.publish(lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[])]));
    assert_eq!((gateway.totals().flows_reset, gateway.drops()), (1, vec![("flow_reset", 1)]));
}

#[test]
fn what_is_refused_is_not_counted_as_sent_on() {
    let tables = web();
    let stats = std::sync::Arc::clone(&tables.services[0].backends[0].stats);
    let mut gateway = Gateway::new(tables);
    let syn = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    let sized = |len: usize| Segment::new((CLIENT, 40_000), (VIP, 8080), "A", 1001, 5001).with(&vec![1; len - 40]);
    for (len, packets) in [(1450, 2), (1451, 2)] {
        gateway.forward(&sized(len).sent_by_client());
        assert_eq!((gateway.flows()[0].packets[0], stats.totals().packets_in), (packets, packets), "{len} bytes");
    }
}

#[test]
fn padding_stays_on_the_wire() {
    let mut gateway = Gateway::new(dns(&[1]));
    let mut short = ask(5000, b"?");
    short.resize(60, 0);
    // `see` refuses bytes behind the packet.
    assert_eq!(see(&gateway.forward(&short)[0]).payload().len(), 9);
}

#[test]
fn arp_that_does_not_concern_us_changes_nothing() {
    let mut gateway = Gateway::new(dns(&[1]));
    gateway.settle();
    gateway.collect_all(0, BACK);
    let (task, group) = (MacAddr::docker(TASKS[0]), MacAddr([1, 0, 0x5e, 0, 0, 1]));
    let other = "10.0.0.99".parse().unwrap();
    let tunnel = Tunnel { inner_dst: MacAddr::BROADCAST, inner_type: 0x0806, ..Tunnel::from_node(0) };
    gateway.inject(0, BACK, &tunnel.wrap(&arp(1, task, TASKS[0], MacAddr::default(), other)));
    gateway.inject(0, BACK, &tunnel.wrap(&arp(1, group, TASKS[0], MacAddr::default(), OUR_OVERLAY)));
    gateway.settle();
    assert_eq!(gateway.drops(), [("arp_ignored", 2)]);
    // An answer is heard, and not answered.
    gateway.inject(0, BACK, &tunnel.wrap(&arp(2, task, TASKS[0], our_overlay_mac(), OUR_OVERLAY)));
    gateway.settle();
    assert_eq!(gateway.totals().arp_heard, 1);
    assert!(gateway.collect_all(0, BACK).is_empty());
    assert!(gateway.shared[0].events.pop().is_none());
}

#[test]
fn a_flow_is_listed_with_what_went_through_it() {
    let mut gateway = Gateway::new(dns(&[1]));
    let port = see(&gateway.forward(&ask(5000, b"question"))[0]).ports().0;
    gateway.forward(&ask(5000, b"again"));
    gateway.backward(&Tunnel::from_node(0).wrap(&udp((TASKS[0], 8000), (OUR_OVERLAY, port), b"answer")));
    let before = gateway.flows()[0].expires_in;
    gateway.pass(std::time::Duration::from_secs(10));
    let flow = gateway.flows().remove(0);
    assert_eq!((flow.packets, flow.bytes), ([2, 1], [28 + 8 + 28 + 5, 28 + 6]));
    assert_eq!(before, flow.expires_in + std::time::Duration::from_secs(10));
}

/// More flows than one turn looks at.
#[test]
fn a_long_list_ends_at_its_limit() {
    let mut gateway = Gateway::with(dns(&[1]), 1, [LinkType::Ethernet; 2], 6000);
    (1..=6000).for_each(|port| assert_eq!(gateway.forward(&ask(port, b"?")).len(), 1));
    for limit in [1, 5000, 6000, 7000] {
        let filter = FlowFilter { service: None, limit };
        let mut page = Page { question: 0, filter, next: Some(0), found: Vec::new() };
        while page.next.is_some() {
            gateway.shared[0].queries.ask(page).unwrap();
            gateway.settle();
            page = gateway.shared[0].queries.take_answer(0).unwrap();
        }
        assert_eq!(page.found.len(), limit.min(6000));
    }
}

#[test]
fn a_tunnel_packet_in_fragments_is_dropped() {
    let mut gateway = Gateway::new(dns(&[1]));
    let port = see(&gateway.forward(&ask(5000, b"?"))[0]).ports().0;
    let answer = udp((TASKS[0], 8000), (OUR_OVERLAY, port), &[7; 600]);
    let outer = Tunnel { ethernet: None, ..Tunnel::from_node(0) }.wrap(&answer);
    let first = &fragments(&outer, 400)[0];
    assert!(gateway.backward(&ethernet(lab::NODE_MACS[0], OUR_MACS[1], first)).is_empty());
    assert_eq!(gateway.drops(), [("outer_fragment", 1)]);
}

/// What is still under way when its backend goes: the client is refused by the packet itself, before the sweep.
#[test]
fn a_segment_that_meets_new_tables_is_refused() {
    let mut gateway = Gateway::new(web());
    let syn = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    gateway.backward(&answer_of(0, &syn, "SA", 5000, 1001).sent_by_task(0));
    let data = Segment::new((CLIENT, 40_000), (VIP, 8080), "PA", 1001, 5001).with(b"more");
    gateway.inject(0, FRONT, &data.sent_by_client());
    gateway.publish(lab::tables(vec![lab::service(1, Protocol::Tcp, 8080, &[])]));
    assert!(gateway.collect(0, FRONT).iter().all(|frame| see(frame).tcp().rst));
    assert_eq!((gateway.totals().flows_reset, gateway.drops()), (1, vec![("flow_reset", 1)]));
    assert!(gateway.collect(0, BACK).iter().all(|frame| see(frame).tcp().rst), "nothing is forwarded");
}

/// Where the next hop is, and how fast to send, nobody beyond the gateway has to say to a task or a client.
#[test]
fn redirects_and_source_quenches_end_here() {
    let mut gateway = Gateway::new(web());
    let asked = see(&gateway.forward(&Segment::syn(40_000).sent_by_client())[0]);
    let answer = see(&gateway.backward(&answer_of(0, &asked, "SA", 5000, 1001).sent_by_task(0))[0]);
    let elsewhere = CLIENT.to_bits();
    for (kind, code) in [(4, 0), (5, 0), (5, 1)] {
        let to_task = icmp_error(CLIENT, VIP, kind, code, elsewhere, &answer.bytes);
        assert!(gateway.forward(&from_client(&to_task)).is_empty());
        let to_client = icmp_error(TASKS[0], OUR_OVERLAY, kind, code, elsewhere, &asked.bytes);
        assert!(gateway.backward(&Tunnel::from_node(0).wrap(&to_client)).is_empty());
    }
    assert_eq!(gateway.drops(), [("icmp_unhandled", 6)]);
    gateway.assert_frames_conserved();
}
