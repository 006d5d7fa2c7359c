//! Snapshots of tables: what is found in them, what is refused, what stays of those before.

use conntrack::State;

use super::*;
use crate::service::ServiceId;
use crate::service::testing::{plain_backend, service, tables};

#[test]
fn finds_single_ports_and_ranges() {
    let mut web = service(&[1]);
    web.listens[0].ports = 8080..=8080;
    let mut range = service(&[1]);
    range.id = ServiceId(2);
    range.backends[0].id = BackendId(77);
    range.listens[0].ports = 20_000..=40_000;
    let snapshot = Snapshot::build(tables(vec![web, range])).unwrap();
    let vip = Ipv4Addr::new(198, 18, 0, 1);
    let id = |port| snapshot.lookup(vip, port, Protocol::Tcp).map(|service| service.id);
    assert_eq!(id(8080), Some(ServiceId(1)));
    assert_eq!(id(20_000), Some(ServiceId(2)));
    assert_eq!(id(40_000), Some(ServiceId(2)));
    assert_eq!(id(40_001), None);
    assert!(snapshot.lookup(vip, 8080, Protocol::Udp).is_none());
    assert!(snapshot.lookup(Ipv4Addr::new(198, 18, 0, 2), 8080, Protocol::Tcp).is_none());
}

#[test]
fn refuses_two_services_on_one_port_whatever_their_order() {
    for (first, second) in [
        (8080..=8080, 8000..=20_000),
        (8000..=20_000, 8080..=8080),
        (80..=90, 90..=100),
        (1000..=5000, 5000..=9000),
        (5000..=9000, 1000..=5000),
    ] {
        let mut a = service(&[1]);
        a.listens[0].ports = first;
        let mut b = service(&[]);
        b.id = ServiceId(2);
        b.listens[0].ports = second;
        assert!(matches!(
            Snapshot::build(tables(vec![a, b])),
            Err(TablesError::ListenTwice(ServiceId(1), ServiceId(2), _))
        ));
    }
}

/// The same ports of another address, or of another protocol, are other ports: long ranges as well as short ones.
#[test]
fn ports_of_another_address_or_protocol_are_free() {
    for ports in [80..=90, 8000..=20_000] {
        let mut services = vec![service(&[]), service(&[]), service(&[])];
        for (service, id) in services.iter_mut().zip(1..) {
            service.id = ServiceId(id);
            service.listens[0].ports = ports.clone();
        }
        services[1].listens[0].protocol = Protocol::Udp;
        services[2].listens[0].address = Ipv4Addr::new(198, 18, 0, 9);
        let vip = services[0].listens[0].address;
        let snapshot = Snapshot::build(tables(services)).unwrap();
        let id = |address, protocol| snapshot.lookup(address, *ports.end(), protocol).map(|service| service.id);
        assert_eq!(id(vip, Protocol::Tcp), Some(ServiceId(1)));
        assert_eq!(id(vip, Protocol::Udp), Some(ServiceId(2)));
        assert_eq!(id(Ipv4Addr::new(198, 18, 0, 9), Protocol::Tcp), Some(ServiceId(3)));
    }
}

#[test]
fn long_ranges_may_lie_side_by_side() {
    let (mut low, mut high) = (service(&[]), service(&[]));
    low.listens[0].ports = 1000..=4999;
    high.id = ServiceId(2);
    high.listens[0].ports = 5000..=9000;
    let vip = low.listens[0].address;
    let snapshot = Snapshot::build(tables(vec![low, high])).unwrap();
    let id = |port| snapshot.lookup(vip, port, Protocol::Tcp).map(|service| service.id);
    assert_eq!((id(4999), id(5000)), (Some(ServiceId(1)), Some(ServiceId(2))));
}

#[test]
fn plain_backends_answer_from_their_port_or_from_any() {
    let source = vec![Ipv4Addr::new(198, 18, 1, 1)];
    let mut web = service(&[]);
    web.backends = vec![plain_backend(5, source.clone()), plain_backend(6, source)];
    let (one, any) = (web.backends[0].address, Ipv4Addr::new(198, 18, 1, 77));
    let port = web.backends[0].port.unwrap().get();
    (web.backends[1].address, web.backends[1].port) = (any, None);
    let snapshot = Snapshot::build(tables(vec![web])).unwrap();
    let answers = [(one, port), (one, port + 1), (any, 1), (any, 65_535)];
    let is_plain = answers.map(|(address, port)| snapshot.is_plain_backend(address, port));
    assert_eq!(is_plain, [true, false, true, true]);
}

#[test]
fn refuses_contradictions() {
    let mut twice = service(&[1, 1]);
    twice.backends[1].id = twice.backends[0].id;
    assert!(matches!(Snapshot::build(tables(vec![twice])), Err(TablesError::BackendTwice(_))));

    let mut no_source = service(&[1]);
    no_source.backends[0] = plain_backend(5, vec![]);
    assert!(matches!(Snapshot::build(tables(vec![no_source])), Err(TablesError::NoSource(_))));

    let mut no_overlay = tables(vec![service(&[1])]);
    no_overlay.overlays.clear();
    assert!(matches!(Snapshot::build(no_overlay), Err(TablesError::NoOverlay(_))));

    let second = |change: fn(&mut Overlay)| {
        let mut two = tables(vec![service(&[1])]);
        let mut other = two.overlays[0].clone();
        (other.vni, other.addresses) = (Vni::try_from(99).unwrap(), vec![Ipv4Addr::new(10, 9, 0, 3)]);
        change(&mut other);
        two.overlays.push(other);
        Snapshot::build(two).map(|_| ())
    };
    assert_eq!(second(|_| {}), Ok(()));
    let wrong: [fn(&mut Overlay); 4] = [
        |overlay| overlay.vni = Vni::try_from(4096).unwrap(),
        |overlay| overlay.port = 8472,
        |overlay| overlay.vtep = Ipv4Addr::new(198, 18, 1, 2),
        |overlay| overlay.addresses.push(Ipv4Addr::new(10, 0, 0, 3)),
    ];
    for change in wrong {
        assert!(matches!(second(change), Err(TablesError::OverlaysMeet(..))));
    }
}

/// A node is cut off, its tasks are taken out, and it comes back.
#[test]
fn the_way_to_a_removed_backend_follows_its_node() {
    let with_hop = |hop: super::super::Hop, weights: &[u16]| {
        let mut tables = tables(vec![service(weights)]);
        for backend in &mut tables.services[0].backends {
            if let Path::Overlay { vtep, hop: now, .. } = &mut backend.path {
                (*vtep, *now) = (Ipv4Addr::new(198, 18, 1, 11), hop);
            }
        }
        Snapshot::build(tables).unwrap()
    };
    let second = Duration::from_secs(1);
    let cut = with_hop(super::super::Hop::Unresolved, &[1, 1]);
    let gone = cut.backends().nth(1).unwrap().backend.id;
    let mut fewer = with_hop(super::super::Hop::Unresolved, &[1]);
    fewer.inherit(&cut, Duration::ZERO, 10 * second);
    assert_eq!(fewer.backend_or_retired(gone).unwrap().adjacency.hop, crate::adjacency::PreparedHop::Unresolved);
    let mut back = with_hop(super::super::Hop::Kernel, &[1]);
    back.inherit(&fewer, second, 10 * second);
    assert_eq!(back.backend_or_retired(gone).unwrap().adjacency.hop, crate::adjacency::PreparedHop::Kernel);
}

#[test]
fn a_removed_backend_is_remembered_for_a_while() {
    let second = Duration::from_secs(1);
    let full = Snapshot::build(tables(vec![service(&[1, 1])])).unwrap();
    let id = full.backends().nth(1).unwrap().backend.id;
    let mut fewer = Snapshot::build(tables(vec![service(&[1])])).unwrap();
    fewer.inherit(&full, Duration::ZERO, 10 * second);
    assert!(fewer.backend(id).is_none());
    assert!(fewer.backend_or_retired(id).is_some());
    assert!(!fewer.keeps_all_of(&full));

    let mut soon = Snapshot::build(tables(vec![service(&[1])])).unwrap();
    soon.inherit(&fewer, 24 * second, 10 * second);
    assert!(soon.keeps_all_of(&fewer), "what went earlier is no news");
    assert!(soon.backend_or_retired(id).is_some());
    let mut late = Snapshot::build(tables(vec![service(&[1])])).unwrap();
    late.inherit(&soon, 25 * second, 10 * second);
    assert!(late.backend_or_retired(id).is_none());
}

/// Its service may have a time of its own for flows that were reset.
#[test]
fn a_removed_backend_is_remembered_as_long_as_its_service_remembers_flows() {
    let second = Duration::from_secs(1);
    let with_time = |weights: &[u16]| {
        let mut web = service(weights);
        web.idle = conntrack::Idle::by_state(|state| (state == State::Reset).then_some(60 * second));
        Snapshot::build(tables(vec![web])).unwrap()
    };
    let full = with_time(&[1, 1]);
    let id = full.backends().nth(1).unwrap().backend.id;
    let mut fewer = with_time(&[1]);
    fewer.inherit(&full, Duration::ZERO, 10 * second);
    let mut soon = with_time(&[1]);
    soon.inherit(&fewer, 74 * second, 10 * second);
    assert!(soon.backend_or_retired(id).is_some());
    let mut late = with_time(&[1]);
    late.inherit(&soon, 75 * second, 10 * second);
    assert!(late.backend_or_retired(id).is_none());
}
