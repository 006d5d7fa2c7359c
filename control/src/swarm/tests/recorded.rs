//! Answers of a real swarm (Docker 20.10.24).

use std::net::Ipv4Addr;

use super::*;
use crate::swarm::model::Info;
use crate::swarm::overlay::own_place;

#[test]
fn a_published_service_becomes_one_with_its_running_tasks() {
    let wishes = Scene::recorded().wishes();
    assert_eq!(problems(&wishes), [""; 0]);
    let [web] = &wishes.services[..] else { panic!("{wishes:?}") };
    assert_eq!(web.service.name, "my-web");
    assert_eq!(listens(web), ["198.18.0.1:8080/tcp", "198.18.0.1:8080/udp"]);
    assert_eq!(
        backends(web),
        [backend("10.0.0.43:8000", Some("192.168.77.13"), 1), backend("10.0.0.44:8000", Some("192.168.77.12"), 1)]
    );
    assert_eq!(web.tasks[0].id, "gbxgi8rd4e40abj88hunea37v");
    // The history of dead tasks was in the answer.
    assert!(wishes.restless);
    assert!(!Scene::running().wishes().restless);
}

#[test]
fn the_overlay_is_found() {
    let (_, overlay) = Scene::recorded().wishes().overlays.remove(0);
    assert_eq!((overlay.vni.get(), overlay.port, overlay.mtu, overlay.prefix_bits), (4096, 4789, 1450, 24));
    assert_eq!(overlay.address, Ipv4Addr::new(10, 0, 0, 250));
    assert_eq!(overlay.mac.to_string(), "02:42:0a:00:00:fa");
    let networks: Vec<Network> = read(sample!("networks"));
    assert_eq!(overlay::choose(&networks, None).unwrap().id, "rp3zpkp4rkhej8jrp37h9jr6n");
    assert_eq!(overlay::choose(&networks, Some("ingress")).unwrap().name, "ingress");
    assert!(overlay::choose(&networks, Some("docker_gwbridge")).unwrap_err().contains("no overlay network"));
}

#[test]
fn a_member_finds_its_own_place() {
    let own = own_place(&read(sample!("network-ingress-worker-verbose"))).unwrap();
    assert_eq!(own, Own { address: Ipv4Addr::new(10, 0, 0, 3), vtep: Ipv4Addr::new(192, 168, 77, 12) });
    let info: Info = read(sample!("info-worker"));
    assert_eq!((info.swarm.local_node_state.as_str(), info.swarm.node_addr.as_str()), ("active", "192.168.77.12"));
    let mut scene = Scene::recorded();
    (scene.own, scene.seed) = (Some(own), OverlaySeed::default());
    let wishes = scene.wishes();
    let (_, overlay) = &wishes.overlays[0];
    assert_eq!((overlay.address, overlay.vtep), (own.address, own.vtep));
    // One of the two tasks runs beside the gateway: no tunnel leads there.
    assert_eq!(wishes.services[0].tasks.len(), 1);
    assert!(problems(&wishes)[0].contains("runs on the gateway's own node"), "{wishes:?}");
}

/// The file could not know the subnet, nor our own address.
#[test]
fn source_addresses_without_a_place_are_not_used() {
    let own = own_place(&read(sample!("network-ingress-worker-verbose"))).unwrap();
    let mut scene = Scene::recorded();
    let snat = ["10.0.0.3", "10.0.1.4", "10.0.0.255", "10.0.0.9"].map(|address| address.parse().unwrap()).to_vec();
    (scene.own, scene.seed) = (Some(own), OverlaySeed { snat, ..OverlaySeed::default() });
    let overlay = scene.overlay().unwrap();
    assert_eq!(overlay.snat, [Ipv4Addr::new(10, 0, 0, 9)]);
    let unused = overlay::unused_snat("ingress", &scene.seed, &overlay);
    let why =
        ["the gateway's own address anyway", "outside the overlay's subnet 10.0.0.0/24", "not a host's address in"];
    assert_eq!(unused.len(), why.len());
    for (sentence, why) in unused.iter().zip(why) {
        assert!(sentence.starts_with("network ingress: ") && sentence.contains(why), "{sentence}");
    }
}

#[test]
fn a_global_service_and_an_automatic_port() {
    let global = Scene::kind(sample!("kind-tglob-service"), sample!("kind-tglob-tasks")).wishes();
    assert_eq!(listens(&global.services[0]), ["198.18.0.1:8192/tcp"]);
    // Those tasks are not in the recorded gossip: the nodes' addresses stand in.
    let vteps: Vec<_> = backends(&global.services[0]).iter().map(|backend| backend.vtep.unwrap().octets()[3]).collect();
    assert_eq!(vteps, [12, 11, 13]);
    let automatic = Scene::kind(sample!("kind-tauto-service"), sample!("kind-tauto-tasks")).wishes();
    assert_eq!(listens(&automatic.services[0]), ["198.18.0.1:30000/tcp"]);
}

#[test]
fn host_ports_are_routed_plainly_to_the_nodes() {
    let mut scene = Scene::kind(sample!("kind-thost-service"), sample!("kind-thost-tasks"));
    for (node, task) in scene.nodes.iter_mut().zip(&scene.tasks) {
        node.id.clone_from(&task.node_id);
    }
    let wishes = scene.wishes();
    let [host] = &wishes.services[..] else { panic!("{wishes:?}") };
    assert_eq!(listens(host), ["198.18.0.1:8191/tcp"]);
    let mut addresses: Vec<_> = backends(host).iter().map(|backend| backend.address.to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["192.168.77.11:8191", "192.168.77.12:8191", "192.168.77.13:8191"]);
    assert!(backends(host).iter().all(|backend| backend.vtep.is_none()));
    // Its UDP port is another one on each node.
    assert_eq!(problems(&wishes), ["service thost: host port for 8000 differs by task: give it a published port"]);
}

#[test]
fn nodes_of_ipv6_are_routed_to_plainly_but_have_no_tunnels() {
    let mut scene = Scene::kind(sample!("kind-thost-service"), sample!("kind-thost-tasks"));
    for (n, (node, task)) in scene.nodes.iter_mut().zip(&scene.tasks).enumerate() {
        node.id.clone_from(&task.node_id);
        node.status.addr = format!("2001:db8:1::1{n}");
        node.manager_status = None;
    }
    let wishes = scene.wishes();
    let mut addresses: Vec<_> = backends(&wishes.services[0]).iter().map(|b| b.address.to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["[2001:db8:1::10]:8191", "[2001:db8:1::11]:8191", "[2001:db8:1::12]:8191"]);

    let mut scene = Scene::running();
    scene.network.services.clear();
    for node in &mut scene.nodes {
        node.status.addr = "2001:db8:1::11".to_owned();
        node.manager_status = None;
    }
    let wishes = scene.wishes();
    assert_eq!(backends(&wishes.services[0]), []);
    let problems = problems(&wishes);
    assert!(
        problems.iter().all(|problem| problem.contains("--data-path-addr")) && !problems.is_empty(),
        "{problems:?}"
    );
}

#[test]
fn dnsrr_with_a_host_port_is_served_like_any_other() {
    let mut scene = Scene::kind(sample!("kind-tdns-service"), sample!("kind-tdns-tasks"));
    for (node, task) in scene.nodes.iter_mut().zip(&scene.tasks) {
        node.id.clone_from(&task.node_id);
    }
    let wishes = scene.wishes();
    assert_eq!(listens(&wishes.services[0]), ["198.18.0.1:8192/tcp"]);
    assert_eq!(wishes.services[0].tasks.len(), 2);
}

#[test]
fn after_a_leader_change_everything_is_as_before() {
    let mut scene = Scene::running();
    let before = scene.wishes();
    for node in &mut scene.nodes {
        node.status.state = "unknown".to_owned();
    }
    assert_eq!(scene.wishes(), before);
    let nodes: Vec<Node> = read(sample!("nodes-3managers"));
    assert!(nodes.iter().all(|node| node.manager_status.is_some()));
}
