//! The tables that come out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use datapath::service::{Generation, Hop, Path};
use wire::MacAddr;

use super::{OneNode, config};
use crate::catalog::Catalog;

/// A dead host's ARP entry is gone long before anybody says that it is down.
#[test]
fn who_cannot_be_reached_rests_while_another_can() {
    let weights = |addresses: &[&str]| {
        let backend = |address: &&str| format!("[[service.backend]]\naddress = \"{address}:80\"\n");
        let backends = addresses.iter().map(backend).collect::<Vec<_>>().concat();
        let text = format!("[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n{backends}");
        let tables = Catalog::from_config(&config(&text), 1).tables(Generation(1), &OneNode);
        tables.services[0].backends.iter().map(|backend| backend.weight).collect::<Vec<_>>()
    };
    assert_eq!(weights(&["198.18.1.12", "198.18.1.11", "198.18.1.13"]), [0, 1, 0]);
    assert_eq!(weights(&["198.18.1.12", "198.18.1.13"]), [1, 1], "clients that are not answered come again");
    let sorry = |address: &str| format!("{address}:80\"\nsorry = true #");
    assert_eq!(weights(&["198.18.1.12", &sorry("198.18.1.11")]), [0, 1], "better sorry than silent");
    assert_eq!(weights(&["198.18.1.12", &sorry("198.18.1.13")]), [1, 1]);
    assert_eq!(weights(&["198.18.1.11", &sorry("198.18.1.13")]), [1, 0]);
}

#[test]
fn tables_say_where_packets_go() {
    let text = "[[service]]\nname = \"web\"\nlisten = [\"198.18.0.1:80\", \"198.18.0.2:80\"]\n\
                [[service.backend]]\naddress = \"10.0.0.11:8000\"\nvtep = \"198.18.1.11\"\n\
                [[service.backend]]\naddress = \"10.0.0.12:8000\"\nvtep = \"198.18.1.12\"\nmac = \"02:00:00:00:00:07\"\n\
                [[service.backend]]\naddress = \"192.0.2.1\"\nweight = 0\n";
    let catalog = Catalog::from_config(&config(text), 1);
    let tables = catalog.tables(Generation(7), &OneNode);
    assert_eq!((tables.generation, tables.interfaces.len()), (Generation(7), 1));
    let overlay = &tables.overlays[0];
    assert_eq!(overlay.addresses, [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)]);
    let node = |last| Ipv4Addr::new(198, 18, 1, last);
    let backends = &tables.services[0].backends;
    let docker = MacAddr([0x02, 0x42, 10, 0, 0, 11]);
    let vni = overlay.vni;
    assert_eq!(backends[0].path, Path::Overlay { vni, vtep: node(11), mac: docker, hop: Hop::Kernel });
    let own = MacAddr([2, 0, 0, 0, 0, 7]);
    assert_eq!(backends[1].path, Path::Overlay { vni, vtep: node(12), mac: own, hop: Hop::Unresolved });
    let snat = vec![node(1), Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
    assert_eq!(backends[2].path, Path::Plain { snat, hop: Hop::Unresolved });
    assert_eq!((backends[2].port, backends[2].weight), (None, 0));
    let service = catalog.service("web").unwrap();
    assert!(Arc::ptr_eq(&tables.services[0].turn, &service.turn));
    assert!(Arc::ptr_eq(&backends[0].stats, &service.backends[0].stats));
}

/// The IPv6 addresses of the tables, in the order of their surrogates.
fn six(catalog: &Catalog) -> Vec<(String, Ipv4Addr)> {
    let six = catalog.tables(Generation(1), &OneNode).six;
    six.into_iter().map(|(real, surrogate)| (real.to_string(), surrogate)).collect()
}

#[test]
fn a_surrogate_stays_with_its_address() {
    let service = |vip: &str, backend: &str| {
        config(&format!(
            "[[service]]\nname = \"web\"\nlisten = \"[2001:db8::{vip}]:80\"\n\
             [[service.backend]]\naddress = \"2001:db8:1::{backend}\"\n"
        ))
    };
    let last = |n| Ipv4Addr::new(240, 0, 0, n);
    let mut catalog = Catalog::from_config(&service("a", "b"), 1);
    let of = |vip: (&str, u8), own: u8, backend: (&str, u8)| {
        let mut all = vec![
            (format!("2001:db8::{}", vip.0), last(vip.1)),
            ("2001:db8:1::1".to_owned(), last(own)),
            (format!("2001:db8:1::{}", backend.0), last(backend.1)),
        ];
        all.sort_by_key(|(_, surrogate)| *surrogate);
        all
    };
    assert_eq!(six(&catalog), of(("a", 1), 2, ("b", 3)));
    catalog.replace(&service("c", "b"));
    // Only what is in use, and what is new gets a new one.
    assert_eq!(six(&catalog), of(("c", 4), 2, ("b", 3)));
    catalog.replace(&service("a", "d"));
    assert_eq!(six(&catalog), of(("a", 1), 2, ("d", 5)));
    // A draft that is thrown away gives nothing away twice.
    let mut draft = catalog.clone();
    draft.replace(&service("e", "b"));
    six(&draft);
    catalog.replace(&service("f", "b"));
    assert_eq!(six(&catalog), of(("f", 7), 2, ("b", 3)));
    catalog.replace(&config(""));
    assert_eq!(six(&catalog), []);
}
