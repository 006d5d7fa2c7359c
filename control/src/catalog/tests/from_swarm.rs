//! What a swarm wants beside the operator.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use datapath::service::{Generation, Hop};

use super::{OneNode, config, ids, service, wanted};
use crate::catalog::Catalog;
use crate::config::OverlayConfig;
use crate::operations::Edit;

#[test]
fn tasks_are_known_by_id_and_services_by_key() {
    let mut catalog = Catalog::from_config(&config(""), 1);
    let (a, b) = (("a", "10.0.0.11:80", 1), ("b", "10.0.0.12:80", 1));
    assert!(catalog.follow(&[], &BTreeSet::new(), &[wanted("s1", "web", 80, &[a, b])]).is_empty());
    let before = catalog.clone();
    // Another task with the address of the first, a drained second one, another name.
    let (c, b) = (("c", "10.0.0.11:80", 1), ("b", "10.0.0.12:80", 0));
    catalog.follow(&[], &BTreeSet::new(), &[wanted("s1", "web-80", 80, &[b, c])]);
    let (old, new) = (before.service("web").unwrap(), catalog.service("web-80").unwrap());
    assert_eq!(old.id, new.id);
    assert_eq!((ids(&before, "web"), ids(&catalog, "web-80")), (vec![1, 2], vec![2, 3]));
    assert!(Arc::ptr_eq(&old.backends[1].stats, &new.backends[0].stats));
    assert_eq!(new.backends[0].config.weight, 0);
    assert!(catalog.follow(&[], &BTreeSet::new(), &[]).is_empty());
    assert!(catalog.services().is_empty());
}

/// A VIP may stand twice in a label; the tables take a listen once.
#[test]
fn what_the_swarm_wants_twice_it_gets_once() {
    let mut catalog = Catalog::from_config(&config(""), 1);
    let mut web = wanted("s1", "web", 80, &[]);
    web.service.listens.push(web.service.listens[0].clone());
    assert_eq!(catalog.follow(&[], &BTreeSet::new(), &[web]), [""; 0]);
    assert_eq!(catalog.service("web").unwrap().listens.len(), 1);
}

#[test]
fn the_operators_services_come_first_and_each_side_keeps_its_own() {
    let file = service("web", 1, &[1]);
    let mut catalog = Catalog::from_config(&config(&file), 1);
    let wishes = [wanted("s1", "web", 8080, &[]), wanted("s2", "thief", 80, &[("t", "10.0.0.11:80", 1)])];
    let problems = catalog.follow(&[], &BTreeSet::new(), &wishes);
    assert_eq!(problems, ["swarm service thief: 198.18.0.1:80/tcp: it is taken by service web"]);
    assert!(catalog.service("thief").is_none());
    assert!(catalog.service("web-swarm").is_some());
    // A reload of the file leaves the swarm's alone, an edit may not touch them.
    catalog.replace(&config(""));
    assert_eq!(catalog.services().len(), 1);
    let refused = catalog.apply(&Edit::RemoveService { name: "web-swarm".to_owned() }).unwrap_err();
    assert_eq!(refused.message, "service `web-swarm` is the swarm's");
    // With its port free, the other one comes too, and goes again when the file wants the port back.
    assert!(catalog.follow(&[], &BTreeSet::new(), &wishes).is_empty());
    assert_eq!(ids(&catalog, "thief").len(), 1);
    catalog.replace(&config(&file));
    assert_eq!(catalog.follow(&[], &BTreeSet::new(), &wishes).len(), 1);
    assert!(catalog.service("thief").is_none() && catalog.service("web").is_some());
}

/// The swarm may name another overlay than the file had in mind.
#[test]
fn who_has_no_place_in_the_swarms_overlay_rests() {
    let text = "[[service]]\nname = \"web\"\nlisten = [\"198.18.0.1:80\", \"198.18.1.9:4789/udp\"]\n\
                [[service.backend]]\naddress = \"10.0.0.11:80\"\nvtep = \"198.18.1.11\"\n";
    let config = config(text);
    let mut catalog = Catalog::from_config(&config, 1);
    let place = |catalog: &Catalog| {
        let backend = catalog.tables(Generation(1), &OneNode).services[0].backends[0].clone();
        (backend.weight, backend.path.hop())
    };
    assert_eq!(place(&catalog), (1, Hop::Kernel));
    let files = config.overlay.unwrap();
    let address = Ipv4Addr::new(10, 0, 1, 3);
    let swarms = OverlayConfig { address, vtep: Ipv4Addr::new(198, 18, 1, 9), snat: Vec::new(), ..files.clone() };
    let problems = catalog.follow(&[swarms], &BTreeSet::new(), &[]);
    assert_eq!(
        problems,
        [
            "service web: `198.18.1.9:4789/udp` takes the overlay's own tunnel port",
            "service web: backend 10.0.0.11:80: `10.0.0.11` is outside the overlay's subnet 10.0.1.0/24",
        ]
    );
    assert_eq!(place(&catalog), (0, Hop::Unresolved));
    assert_eq!(catalog.follow(&[files], &BTreeSet::new(), &[]), [""; 0]);
    assert_eq!(place(&catalog), (1, Hop::Kernel));
}
