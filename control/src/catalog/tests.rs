//! Ids, counters and turns across reloads and edits; the refusals; the tables that come out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use datapath::service::{Clients, Generation, Hop, Interface, Path, SchedulerKind};
use proptest::prelude::*;
use wire::MacAddr;

use super::{Catalog, Resolve};
use crate::config::persistence::PersistenceChange;
use crate::config::{
    BackendConfig, ClientPersistence, Config, OverlayConfig, ServiceConfig, Settings, SettingsChange, parse,
};
use crate::operations::{BackendChange, Edit};
use crate::swarm::{Wanted, WantedTask};

const OVERLAY: &str = "[[interface]]\nname = \"eth0\"\n[overlay]\nvni = 4096\nvtep = \"198.18.1.1\"\n\
                       address = \"10.0.0.3/24\"\nsnat = \"10.0.0.4\"\n";

pub fn config(services: &str) -> Config {
    let text = format!("{OVERLAY}{services}");
    parse("gw.toml", text.as_bytes(), &[0]).map_err(|problems| problems[0].to_string()).unwrap().config
}

/// A service on port 80 of VIP `198.18.0.<vip>` with plain backends `192.0.2.<n>:80`.
fn service(name: &str, vip: u8, backends: &[u8]) -> String {
    let table = |n| format!("[[service.backend]]\naddress = \"192.0.2.{n}:80\"\n");
    let tables = backends.iter().map(table).collect::<Vec<_>>().concat();
    format!("[[service]]\nname = \"{name}\"\nlisten = \"198.18.0.{vip}:80\"\n{tables}")
}

fn backend(text: &str, vtep: Option<&str>) -> BackendConfig {
    BackendConfig::new(text.parse().unwrap(), vtep.map(|vtep| vtep.parse().unwrap()), 1)
}

fn ids(catalog: &Catalog, service: &str) -> Vec<u32> {
    catalog.service(service).unwrap().backends.iter().map(|backend| backend.id.0).collect()
}

#[test]
fn what_stands_keeps_id_counters_and_turn() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1, 2])), 2);
    let before = catalog.clone();
    let changes = catalog.replace(&config(&format!("{}{}", service("new", 2, &[1]), service("web", 3, &[2, 3]))));
    let (old, new) = (before.service("web").unwrap(), catalog.service("web").unwrap());
    assert_eq!(old.id, new.id);
    assert!(Arc::ptr_eq(&old.turn, &new.turn));
    assert_eq!(ids(&before, "web"), [1, 2]);
    assert_eq!(ids(&catalog, "web"), [2, 4]);
    assert!(Arc::ptr_eq(&old.backends[1].stats, &new.backends[0].stats));
    assert_eq!(changes.services_added, ["new"]);
    assert_eq!(changes.services_changed, ["web"]);
    assert_eq!(changes.backends_added, ["new 192.0.2.1:80", "web 192.0.2.3:80"]);
    assert_eq!(changes.backends_removed, ["web 192.0.2.1:80"]);
    assert!(changes.services_removed.is_empty() && changes.backends_changed.is_empty());
}

#[test]
fn what_returns_is_another() {
    let both = config(&service("web", 1, &[1, 2]));
    let mut catalog = Catalog::from_config(&both, 1);
    catalog.replace(&config(&service("web", 1, &[1])));
    catalog.replace(&both);
    assert_eq!(ids(&catalog, "web"), [1, 3]);
    let changes = catalog.replace(&config(""));
    assert_eq!(changes.services_removed, ["web"]);
    assert_eq!(changes.backends_removed, ["web 192.0.2.1:80", "web 192.0.2.2:80"]);
    catalog.replace(&both);
    assert_eq!(catalog.service("web").unwrap().id.0, 2);
    assert_eq!(ids(&catalog, "web"), [4, 5]);
}

#[test]
fn the_same_config_changes_nothing() {
    let config = config(&service("web", 1, &[1, 2]));
    let mut catalog = Catalog::from_config(&config, 1);
    assert_eq!(catalog.replace(&config), super::Changes::default());
}

#[test]
fn edits_do_what_they_say() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let web = "web".to_owned();
    catalog.apply(&Edit::AddBackend { service: web.clone(), backend: backend("192.0.2.2:80", None) }).unwrap();
    assert_eq!(ids(&catalog, "web"), [1, 2]);
    let address = "192.0.2.1:80".parse().unwrap();
    catalog.apply(&Edit::DrainBackend { service: web.clone(), address }).unwrap();
    assert_eq!(catalog.service("web").unwrap().backend(address).unwrap().config.weight, 0);
    let set = Edit::SetBackend {
        service: web.clone(),
        address,
        change: BackendChange { weight: Some(7), vtep: None, ..BackendChange::default() },
    };
    catalog.apply(&set).unwrap();
    assert_eq!(catalog.service("web").unwrap().backend(address).unwrap().config.weight, 7);
    assert_eq!(ids(&catalog, "web"), [1, 2]);
    catalog.apply(&Edit::RemoveBackend { service: web.clone(), address }).unwrap();
    assert_eq!(ids(&catalog, "web"), [2]);
    let set = Edit::SetService {
        name: web.clone(),
        listens: None,
        settings: SettingsChange { rewrite_timestamps: Some(false), ..SettingsChange::default() },
        check: None,
    };
    catalog.apply(&set).unwrap();
    assert!(!catalog.service("web").unwrap().settings.rewrite_timestamps);
    catalog.apply(&Edit::RemoveService { name: web }).unwrap();
    assert!(catalog.services().is_empty());
}

/// What was translated for the overlay has no way back from a backend that is routed plainly, nor the other way round.
#[test]
fn flows_end_when_the_kind_of_way_to_their_backend_changes() {
    let vtep = |vtep: Option<&str>| match vtep {
        Some(vtep) => format!("vtep = \"{vtep}\"\n"),
        None => String::new(),
    };
    let service = |direct: bool, to: Option<&str>| {
        let listen = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.1:80\"\n";
        let backend = "[[service.backend]]\naddress = \"10.0.0.11:80\"\n";
        config(&format!("{listen}direct = {direct}\n{backend}{}", vtep(to)))
    };
    for (direct, expected) in [(false, [1, 2, 2, 3, 4]), (true, [1; 5])] {
        let mut catalog = Catalog::from_config(&service(direct, None), 1);
        let mut seen = ids(&catalog, "web");
        for to in [Some("198.18.1.11"), Some("198.18.1.12"), None] {
            catalog.replace(&service(direct, to));
            seen.extend(ids(&catalog, "web"));
        }
        let vtep = Some(Some("198.18.1.11".parse().unwrap()));
        let change = BackendChange { vtep, ..BackendChange::default() };
        let address = "10.0.0.11:80".parse().unwrap();
        catalog.apply(&Edit::SetBackend { service: "web".to_owned(), address, change }).unwrap();
        seen.extend(ids(&catalog, "web"));
        assert_eq!(seen, expected, "direct: {direct}");
    }
}

#[test]
fn put_makes_or_replaces() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1, 2])), 1);
    let wanted = config(&service("web", 9, &[2, 3])).services.remove(0);
    catalog.apply(&Edit::PutService(wanted.clone())).unwrap();
    assert_eq!(catalog.service("web").unwrap().listens, wanted.listens);
    assert_eq!(ids(&catalog, "web"), [2, 3]);
    catalog.apply(&Edit::PutService(config(&service("other", 2, &[])).services.remove(0))).unwrap();
    assert_eq!(catalog.services().len(), 2);
}

/// Everything of a service and of a backend that a file may say anew.
#[test]
fn a_reload_takes_over_what_differs() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let mut other = config(&service("web", 1, &[1]));
    let wanted = &mut other.services[0];
    (wanted.settings.scheduler, wanted.settings.rewrite_timestamps) = (SchedulerKind::WeightedRoundRobin, false);
    wanted.backends[0].weight = 7;
    let changes = catalog.replace(&other);
    assert_eq!(
        (changes.services_changed, changes.backends_changed),
        (vec!["web".into()], vec!["web 192.0.2.1:80".into()])
    );
    let web = catalog.service("web").unwrap();
    assert_eq!((web.settings.scheduler, web.settings.rewrite_timestamps), (SchedulerKind::WeightedRoundRobin, false));
    assert_eq!((web.backends[0].config.weight, web.backends[0].id.0), (7, 1));
}

#[test]
fn a_set_scheduler_stays_until_it_is_set_again() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let set = |scheduler, rewrite_timestamps| Edit::SetService {
        name: "web".to_owned(),
        listens: None,
        settings: SettingsChange { scheduler, rewrite_timestamps, ..SettingsChange::default() },
        check: None,
    };
    catalog.apply(&set(Some(SchedulerKind::Maglev), None)).unwrap();
    catalog.apply(&set(None, Some(false))).unwrap();
    let web = catalog.service("web").unwrap();
    assert_eq!((web.settings.scheduler, web.settings.rewrite_timestamps), (SchedulerKind::Maglev, false));
}

#[test]
fn ids_lead_to_the_names_of_services() {
    let catalog = Catalog::from_config(&config(&format!("{}{}", service("a", 1, &[1]), service("b", 2, &[2, 3]))), 1);
    let [a, b] = ["a", "b"].map(|name| catalog.service(name).unwrap().id);
    assert_eq!(catalog.names(), [(a, "a".to_owned()), (b, "b".to_owned())].into());
}

/// A whole service over the API is held to the same rules as its parts.
#[test]
fn a_put_service_is_checked_to_its_last_backend() {
    let mut catalog = Catalog::from_config(&config(&service("web", 1, &[1])), 1);
    let put = |more: BackendConfig| {
        let mut wanted = config(&service("web", 1, &[1])).services.remove(0);
        wanted.backends.push(more);
        Edit::PutService(wanted)
    };
    let twice = refusal(&mut catalog, &put(backend("192.0.2.1:80", None)));
    assert!(twice.starts_with("Invalid: backend `192.0.2.1:80` is in service `web` twice"), "{twice}");
    refusal(&mut catalog, &put(backend("192.0.2.9:80", Some("198.18.1.11"))));
    catalog.apply(&put(backend("192.0.2.9:80", None))).unwrap();
}

/// Kind, words and hint of a refusal, and proof that it changed nothing.
fn refusal(catalog: &mut Catalog, edit: &Edit) -> String {
    let before = format!("{:?}", catalog.services);
    let error = catalog.apply(edit).unwrap_err();
    assert_eq!(format!("{:?}", catalog.services), before);
    format!("{:?}: {error} ({})", error.kind, error.hint.clone().unwrap())
}

#[test]
fn refusals_change_nothing() {
    let mut catalog = Catalog::from_config(&config(&format!("{}{}", service("web", 1, &[1]), service("b", 2, &[]))), 1);
    let web = || "web".to_owned();
    let address = "192.0.2.1:80".parse().unwrap();
    let add = |backend| Edit::AddBackend { service: web(), backend };
    let named = |name: &str, vip| Edit::AddService(config(&service(name, vip, &[])).services.remove(0));
    let edits = [
        named("web", 7),
        named("c", 1),
        Edit::SetService { name: web(), listens: Some(Vec::new()), settings: SettingsChange::default(), check: None },
        Edit::RemoveService { name: "wbe".to_owned() },
        Edit::RemoveBackend { service: web(), address: "192.0.2.1:81".parse().unwrap() },
        Edit::DrainBackend { service: web(), address: "192.0.2.9".parse().unwrap() },
        add(backend("192.0.2.1:80", None)),
        add(backend("192.0.2.9:80", Some("198.18.1.11"))),
        add(backend("10.0.0.4:80", Some("198.18.1.11"))),
        add(backend("10.0.0.11:80", Some("198.18.1.1"))),
        Edit::SetBackend {
            service: web(),
            address,
            change: BackendChange { weight: Some(5), mac: Some(Some(MacAddr([2; 6]))), ..BackendChange::default() },
        },
    ];
    let words: Vec<_> = edits.iter().map(|edit| refusal(&mut catalog, edit)).collect();
    assert_words!(words.join("\n"));
}

/// A kernel that knows one node.
struct OneNode;

impl Resolve for OneNode {
    fn hop(&self, address: IpAddr) -> Hop {
        if address == IpAddr::from([198, 18, 1, 11]) { Hop::Kernel } else { Hop::Unresolved }
    }
    fn direct_hop(&self, address: IpAddr) -> Hop {
        self.hop(address)
    }
    fn plain_snat(&self, backend: IpAddr, vip: IpAddr) -> Vec<IpAddr> {
        let own = [IpAddr::from([198, 18, 1, 1]), IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]), vip];
        own.into_iter().filter(|source| source.is_ipv4() == backend.is_ipv4()).collect()
    }
    fn overlay_mac(&self, address: Ipv4Addr) -> MacAddr {
        MacAddr::docker(address)
    }
    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "eth0".to_owned(), mac: MacAddr([2; 6]), mtu: 1500, up: true }]
    }
}

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

proptest! {
    /// However often configs follow each other, no id ever means two things.
    #[test]
    fn ids_are_never_used_again(rounds in prop::collection::vec(prop::collection::btree_set(1_u8..6, 0..5), 1..12)) {
        let mut catalog = Catalog::from_config(&config(""), 1);
        let mut meaning = std::collections::BTreeMap::new();
        let mut gone = std::collections::BTreeSet::new();
        for backends in rounds {
            let backends: Vec<u8> = backends.into_iter().collect();
            catalog.replace(&config(&service("web", 1, &backends)));
            let now = &catalog.service("web").unwrap().backends;
            for entry in now {
                prop_assert!(!gone.contains(&entry.id.0));
                prop_assert_eq!(*meaning.entry(entry.id.0).or_insert(entry.config.address), entry.config.address);
            }
            gone.extend(meaning.keys().filter(|id| !now.iter().any(|entry| entry.id.0 == **id)).copied());
            let present: Vec<_> = now.iter().map(|entry| entry.config.address.ip).collect();
            let wanted: Vec<_> = backends.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
            prop_assert_eq!(present, wanted);
        }
    }
}

fn wanted(key: &str, name: &str, port: u16, tasks: &[(&str, &str, u16)]) -> Wanted {
    let listen = crate::config::value::listen(&format!("198.18.0.1:{port}/tcp")).unwrap();
    let service = ServiceConfig {
        name: name.to_owned(),
        listens: vec![listen],
        settings: Settings::default(),
        check: None,
        backends: Vec::new(),
    };
    let task = |(id, address, weight): &(&str, &str, u16)| WantedTask {
        id: (*id).to_owned(),
        backend: BackendConfig { weight: *weight, ..backend(address, Some("198.18.1.11")) },
    };
    Wanted { key: key.to_owned(), service, tasks: tasks.iter().map(task).collect() }
}

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

/// A service that remembers its clients, with these further lines.
fn lasting(name: &str, vip: u8, lines: &str) -> String {
    service(name, vip, &[1])
        .replace("[[service.backend]]", &format!("persistence = \"5m\"\n{lines}\n[[service.backend]]"))
}

fn clients(catalog: &Catalog, service: &str) -> Option<Arc<Clients>> {
    Some(catalog.persistence(catalog.service(service)?)?.clients)
}

#[test]
fn clients_are_remembered_as_long_as_somebody_asks_for_it() {
    let shop = "persistence_group = \"shop\"";
    let both = format!("{}{}", lasting("http", 1, shop), lasting("https", 2, shop));
    let mut catalog = Catalog::from_config(&config(&format!("{both}{}", lasting("own", 3, ""))), 1);
    let (http, own) = (clients(&catalog, "http").unwrap(), clients(&catalog, "own").unwrap());
    assert!(Arc::ptr_eq(&http, &clients(&catalog, "https").unwrap()));
    assert!(!Arc::ptr_eq(&http, &own));
    // A reload that changes time and prefix, and takes one of the group away.
    let changed =
        lasting("https", 2, shop).replace("5m", "9m").replace(shop, &format!("{shop}\npersistence_prefix = 24"));
    catalog.replace(&config(&format!("{changed}{}", lasting("own", 3, ""))));
    let now = catalog.persistence(catalog.service("https").unwrap()).unwrap();
    assert!(Arc::ptr_eq(&http, &now.clients) && Arc::ptr_eq(&own, &clients(&catalog, "own").unwrap()));
    assert_eq!((now.time, now.prefix, now.grouped), (Duration::from_mins(9), 24, true));
    // The last one goes, and with it what it remembered.
    let freed = Arc::downgrade(&http);
    drop((http, now));
    catalog.apply(&Edit::RemoveService { name: "https".to_owned() }).unwrap();
    assert!(freed.upgrade().is_none());
    catalog.replace(&config(&both));
    assert_eq!(clients(&catalog, "http").unwrap().capacity(), 65_536);
    catalog.replace(&config(&lasting("own", 3, "persistence_clients = 2000")));
    assert_eq!(clients(&catalog, "own").unwrap().capacity(), 2048);
    catalog.replace(&config(&service("own", 3, &[1])));
    assert!(clients(&catalog, "own").is_none());
}

#[test]
fn a_group_changes_together() {
    let shop = "persistence_group = \"shop\"";
    let both = format!("{}{}", lasting("http", 1, shop), lasting("https", 2, shop));
    let mut catalog = Catalog::from_config(&config(&both), 1);
    let set = |change: PersistenceChange| Edit::SetService {
        name: "http".to_owned(),
        listens: None,
        settings: SettingsChange { persistence: change, ..SettingsChange::default() },
        check: None,
    };
    let time = Some(Some(Duration::from_mins(1)));
    catalog.apply(&set(PersistenceChange { time, ..PersistenceChange::default() })).unwrap();
    let other = &catalog.service("https").unwrap().settings.persistence;
    assert_eq!(other.time, Some(Duration::from_mins(1)));
    // Leaving the group is nobody else's business, and coming back with another time is refused.
    let alone = PersistenceChange { group: Some(None), time: Some(Some(Duration::from_mins(7))), ..Default::default() };
    catalog.apply(&set(alone)).unwrap();
    assert_eq!(catalog.service("https").unwrap().settings.persistence.time, Some(Duration::from_mins(1)));
    let back = PersistenceChange { group: Some(Some("shop".to_owned())), ..PersistenceChange::default() };
    let refused = catalog.apply(&set(back)).unwrap_err();
    assert!(refused.message.starts_with("service `https` of the same group `shop` says otherwise"), "{refused:?}");
    assert!(clients(&catalog, "http").is_some());
}

#[test]
fn a_task_s_labels_do_not_disturb_a_group() {
    let shop = "persistence_group = \"shop\"";
    let mut catalog = Catalog::from_config(&config(&lasting("http", 1, shop)), 1);
    let task = ("t", "10.0.0.11:80", 1);
    let (mut same, mut other) = (wanted("s1", "same", 8080, &[task]), wanted("s2", "other", 8081, &[task]));
    same.service.settings.persistence = catalog.service("http").unwrap().settings.persistence.clone();
    other.service.settings.persistence =
        ClientPersistence { time: Some(Duration::from_secs(7)), ..same.service.settings.persistence.clone() };
    let problems = catalog.follow(&[], &BTreeSet::new(), &[same, other]);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.starts_with("swarm service other: service `http` of the same group"), "{problem}");
    let http = clients(&catalog, "http").unwrap();
    assert!(Arc::ptr_eq(&http, &clients(&catalog, "same").unwrap()));
    assert!(!Arc::ptr_eq(&http, &clients(&catalog, "other").unwrap()));
}
