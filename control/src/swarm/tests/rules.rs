//! Which task gets traffic, and what labels, nodes and networks have to say in it.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use datapath::service::SchedulerKind;

use super::*;
use crate::config::Settings;
use crate::config::protection::Protection;

#[test]
fn only_what_runs_and_shall_run_gets_new_flows() {
    let states = [
        "new",
        "pending",
        "assigned",
        "preparing",
        "ready",
        "starting",
        "running",
        "complete",
        "failed",
        "shutdown",
        "rejected",
        "orphaned",
        "remove",
        "nonsense",
        "",
    ];
    for state in states {
        for desired in ["running", "ready", "shutdown", "remove", ""] {
            let mut scene = Scene::running();
            scene.tasks.truncate(1);
            scene.tasks[0].status.state = state.to_owned();
            scene.tasks[0].desired_state = desired.to_owned();
            let expected: &[u16] = match (state, desired) {
                ("running", "running") => &[1],
                ("running", _) => &[0],
                _ => &[],
            };
            assert_eq!(weights(&scene.wishes()), expected, "{state}, desired {desired}");
        }
    }
}

#[test]
fn a_node_that_is_down_loses_new_flows_at_once_and_its_tasks_later() {
    let mut scene = Scene::running();
    scene.nodes[0].status.state = "down".to_owned();
    assert_eq!(weights(&scene.wishes()), [0, 1]);
    scene.now = Duration::from_secs(14);
    assert_eq!(weights(&scene.wishes()), [0, 1]);
    scene.now = Duration::from_secs(15);
    assert_eq!(weights(&scene.wishes()), [1]);
    scene.nodes[0].status.state = "ready".to_owned();
    assert_eq!(weights(&scene.wishes()), [1, 1]);
    for up in ["unknown", "disconnected", "anything"] {
        scene.nodes[0].status.state = up.to_owned();
        assert_eq!(weights(&scene.wishes()), [1, 1], "{up}");
    }
}

#[test]
fn an_address_that_is_used_again_belongs_to_the_task_that_serves() {
    for order in [[0, 1], [1, 0]] {
        let mut scene = Scene::running();
        scene.tasks[1].networks_attachments = scene.tasks[0].networks_attachments.clone();
        scene.tasks[0].desired_state = "shutdown".to_owned();
        let serving = scene.tasks[1].id.clone();
        scene.tasks = order.map(|at| scene.tasks[at].clone()).to_vec();
        let wishes = scene.wishes();
        assert_eq!(weights(&wishes), [1]);
        assert_eq!(wishes.services[0].tasks[0].id, serving);
    }
}

#[test]
fn vteps_come_from_the_engines_where_data_has_its_own_addresses() {
    let mut scene = Scene::running();
    for task in scene.network.services.values_mut().flat_map(|service| &mut service.tasks) {
        let host = task.info.get_mut("Host IP").unwrap();
        *host = host.replace("192.168.77", "192.168.79");
    }
    let vteps = |wishes: &Wishes| backends(&wishes.services[0]).iter().map(|b| b.vtep.unwrap()).collect::<Vec<_>>();
    assert_eq!(vteps(&scene.wishes()), [Ipv4Addr::new(192, 168, 79, 13), Ipv4Addr::new(192, 168, 79, 12)]);
    // A new task on a node that is known by then.
    scene.tasks[0].id = "new".to_owned();
    assert_eq!(vteps(&scene.wishes()), [Ipv4Addr::new(192, 168, 79, 13), Ipv4Addr::new(192, 168, 79, 12)]);
    // And one on a node of which only the wrong address is known.
    scene.tasks[0].node_id = scene.nodes[1].id.clone();
    let wishes = scene.wishes();
    assert_eq!(vteps(&wishes), [Ipv4Addr::new(192, 168, 79, 12)]);
    assert_eq!(problems(&wishes), ["service my-web: the VTEP of task new is not known yet"]);
    assert!(scene.memory.wants_gossip(&scene.tasks, &scene.network.id));
    // A node's kernel chooses the source of its tunnels by its routes: it may be the other address.
    assert!(["192.168.77.13", "192.168.79.13"].iter().all(|peer| wishes.peers.contains(&peer.parse().unwrap())));
}

#[test]
fn a_label_chooses_among_vips_of_both_families() {
    let vips = ["198.18.0.1", "2001:db8::1"].map(|vip| vip.parse().unwrap());
    let read = |text: &str| {
        let labels = [("sluicegate.vip".to_owned(), text.to_owned())].into();
        let (labels, complaints) = crate::swarm::labels::read(&labels, &vips);
        (labels.vips, complaints)
    };
    assert_eq!(read("2001:db8:0::1"), (vec![vips[1]], Vec::new()));
    assert_eq!(read("198.18.0.1, 2001:db8::1"), (vips.to_vec(), Vec::new()));
    let (none, complaints) = read("2001:db8::2");
    assert_eq!(none, [] as [std::net::IpAddr; 0]);
    let wrong = "label sluicegate.vip: 2001:db8::2 is not in swarm.vips (known: 198.18.0.1, 2001:db8::1)";
    assert_eq!(complaints, [wrong]);
}

fn read_labels(labels: &[(&str, &str)]) -> (crate::swarm::labels::Labels, Vec<String>) {
    let labels = labels.iter().map(|(name, text)| (format!("sluicegate.{name}"), (*text).to_owned())).collect();
    crate::swarm::labels::read(&labels, &["198.18.0.1".parse().unwrap()])
}

#[test]
fn a_wrong_label_leaves_those_beside_it() {
    let (labels, complaints) =
        read_labels(&[("rate_per_source", "20/s"), ("rate_burst", "5"), ("syn_cookies", "always")]);
    assert_eq!(complaints, ["label sluicegate.rate_burst: `rate_burst` without `rate` means nothing"]);
    let protection = labels.settings.protection;
    assert_eq!((protection.rate_burst, protection.rate_per_source.map(|rate| rate.count)), (None, Some(20)));
    assert_eq!(protection.syn_cookies.show(), "always");
    let (labels, complaints) = read_labels(&[("rate", "1/h"), ("rate_burst", "1000")]);
    assert_eq!(complaints, ["label sluicegate.rate_burst: at 1/h, a burst of 1000 is earned in more than a day"]);
    assert_eq!(labels.settings.protection.rate.map(|rate| rate.count), Some(1));
    let (labels, complaints) =
        read_labels(&[("on_down", "reset"), ("drain_deadline", "5m"), ("slow_start", "30s"), ("scheduler", "wrr")]);
    assert_eq!(complaints, ["label sluicegate.on_down: `on_down` without a check means nothing"]);
    let life = labels.settings.life;
    assert_eq!((life.reset_on_down, life.drain_deadline.is_some(), life.slow_start.is_some()), (false, true, true));
}

#[test]
fn every_label_that_means_nothing_is_named() {
    let (labels, complaints) = read_labels(&[
        ("persistence_prefix", "24"),
        ("persistence_group", "x"),
        ("rate_burst", "5"),
        ("rate_per_source_burst", "5"),
        ("syn_cookies", "never"),
        ("half_open", "500"),
        ("on_down", "reset"),
        ("slow_start", "30s"),
    ]);
    assert_eq!(complaints.len(), 7, "{complaints:?}");
    let never = Protection { syn_cookies: labels.settings.protection.syn_cookies, ..Protection::default() };
    let rest = Settings { protection: never, ..Settings::default() };
    assert_eq!((labels.settings.protection.syn_cookies.show(), labels.settings), ("never", rest));
}

#[test]
fn a_vip_twice_is_one() {
    let (labels, complaints) = read_labels(&[("vip", "198.18.0.1,198.18.0.1")]);
    assert_eq!((labels.vips.len(), complaints), (1, Vec::new()));
}

/// The first services of a swarm: engines tell of one task before the other.
#[test]
fn a_task_that_is_served_on_a_guess_keeps_its_flows() {
    let mut scene = Scene::running();
    let gossip = std::mem::take(&mut scene.network.services);
    let vteps = |wishes: &Wishes| backends(&wishes.services[0]).iter().map(|b| b.vtep.unwrap()).collect::<Vec<_>>();
    let guess = [Ipv4Addr::new(192, 168, 77, 13), Ipv4Addr::new(192, 168, 77, 12)];
    assert_eq!(vteps(&scene.wishes()), guess);
    scene.network.services = gossip;
    let told = scene.tasks[1].id.clone();
    for service in scene.network.services.values_mut() {
        service.tasks.retain(|endpoint| endpoint.name.ends_with(&told));
        for endpoint in &mut service.tasks {
            endpoint.info.insert("Host IP".to_owned(), "192.168.79.12".to_owned());
        }
    }
    assert_eq!(vteps(&scene.wishes()), [guess[0], Ipv4Addr::new(192, 168, 79, 12)]);
}

/// Docker lists a VNI for each IPv4 subnet of a network, in their order.
#[test]
fn a_network_of_several_subnets_is_served_where_our_address_is() {
    let mut scene = Scene::running();
    let mut config = scene.network.ipam.config[0].clone();
    let mut subnets = Vec::new();
    for subnet in ["10.9.0.0/16", "fd00::/64", "10.0.0.0/24"] {
        subnet.clone_into(&mut config.subnet);
        subnets.push(config.clone());
    }
    scene.network.ipam.config = subnets;
    let list = |scene: &mut Scene, text: &str| {
        scene.network.options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), text.to_owned());
        scene.overlay().map(|overlay| (overlay.vni.get(), overlay.prefix_bits))
    };
    assert_eq!(list(&mut scene, "4100,4101"), Ok((4101, 24)));
    assert_eq!(list(&mut scene, "4100"), Err("network ingress shows no VNI".to_owned()));
    scene.seed.address = Some((Ipv4Addr::new(10, 9, 0, 250), 16));
    assert_eq!(list(&mut scene, "4100,4101"), Ok((4100, 16)));
    scene.seed.address = Some((Ipv4Addr::new(10, 8, 0, 250), 16));
    let wrong = "overlay.address 10.8.0.250 is no host's address in network ingress (10.9.0.0/16, 10.0.0.0/24)";
    assert_eq!(list(&mut scene, "4100,4101"), Err(wrong.to_owned()));
}

#[test]
fn an_encrypted_network_is_refused_by_name() {
    let mut scene = Scene::running();
    scene.network.options.insert("encrypted".to_owned(), String::new());
    let wishes = scene.wishes();
    assert!(wishes.services.is_empty() && wishes.overlays.is_empty());
    assert!(problems(&wishes)[0].starts_with("network ingress is encrypted"), "{wishes:?}");
}

#[test]
fn the_gateways_place_must_be_possible() {
    let mut scene = Scene::running();
    scene.seed.address = Some((Ipv4Addr::new(10, 0, 1, 250), 24));
    assert_eq!(
        problems(&scene.wishes()),
        ["overlay.address 10.0.1.250 is no host's address in network ingress (10.0.0.0/24)"]
    );
    scene.seed.address = None;
    assert!(problems(&scene.wishes())[0].contains("overlay.address must be set"));
    scene.seed.address = Some((Ipv4Addr::new(10, 0, 0, 43), 24));
    let wishes = scene.wishes();
    assert!(problems(&wishes)[0].contains("has got the gateway's own overlay address 10.0.0.43"), "{wishes:?}");
    assert_eq!(wishes.services[0].tasks.len(), 1);
}

#[test]
fn labels_change_the_service() {
    let mut scene = Scene::running();
    scene.label("sluicegate.weight", "7");
    scene.label("sluicegate.scheduler", "rr");
    scene.label("sluicegate.vip", "198.18.0.1");
    scene.label("sluicegate.timeout", "90s");
    scene.label("sluicegate.timeouts.tcp_syn_sent", "5s");
    scene.label("sluicegate.one_packet", "true");
    scene.label("sluicegate.passive.failures", "7");
    scene.label("sluicegate.max_connections", "500");
    scene.label("sluicegate.port", "9000:8000, 53:5353/udp");
    let words = [("", "5m"), ("_prefix", "24"), ("_clients", "2000"), ("_group", "shop")];
    for (word, value) in words {
        scene.label(&format!("sluicegate.persistence{word}"), value);
    }
    scene.label("sluicegate.deny", "198.19.0.0/16, 2001:db8::/32");
    scene.label("sluicegate.rate_per_source", "20/s");
    scene.label("sluicegate.half_open", "500");
    scene.label("com.example", "not ours");
    let wishes = scene.wishes();
    assert_eq!(problems(&wishes), [""; 0]);
    let [web, dns] = &wishes.services[..] else { panic!("{wishes:?}") };
    assert_eq!((web.service.name.as_str(), dns.service.name.as_str()), ("my-web-8080", "my-web-53"));
    assert_eq!(web.service.settings.scheduler, SchedulerKind::RoundRobin);
    assert_eq!(web.service.settings.timeout, Some(Duration::from_secs(90)));
    assert_eq!(
        web.service.settings.timeouts.show().into_iter().collect::<Vec<_>>(),
        [("tcp_syn_sent".to_owned(), "5s".to_owned())]
    );
    assert!(dns.service.settings.one_packet);
    assert_eq!(web.service.settings.passive.map(|passive| (passive.on, passive.failures)), Some((true, 7)));
    let persistence = &web.service.settings.persistence;
    assert_eq!((persistence.time, persistence.prefix()), (Some(Duration::from_mins(5)), 24));
    assert_eq!((persistence.clients(), persistence.group.as_deref()), (2000, Some("shop")));
    let protection = &web.service.settings.protection;
    assert_eq!((protection.deny.len(), protection.burst_per_source()), (2, Some(20)));
    assert_eq!(protection.half_open(), Some(500));
    assert_eq!(persistence, &dns.service.settings.persistence);
    assert_eq!(listens(web), ["198.18.0.1:8080/tcp", "198.18.0.1:8080/udp", "198.18.0.1:9000/tcp"]);
    assert_eq!(web.tasks[0].backend.max_connections, NonZeroU32::new(500));
    assert_eq!(listens(dns), ["198.18.0.1:53/udp"]);
    assert_eq!(dns.tasks[0].backend.address.to_string(), "10.0.0.43:5353");
    assert_eq!(weights(&wishes), [7, 7, 7, 7]);
    scene.label("sluicegate.enable", "false");
    assert!(scene.wishes().services.is_empty());
}

#[test]
fn two_ports_of_a_service_have_two_names() {
    let mut scene = Scene::running();
    scene.services[0].endpoint.ports.clear();
    scene.label("sluicegate.port", "53:5300,53:5353/udp,80:8000");
    let names = |scene: &mut Scene| -> Vec<String> {
        scene.wishes().services.into_iter().map(|wanted| wanted.service.name).collect()
    };
    // It is in the network by its VIP.
    assert_eq!(names(&mut scene), ["my-web-53-tcp", "my-web-53-udp", "my-web-80"]);
    scene.label("sluicegate.port", "53:5353/udp,80:8000");
    assert_eq!(names(&mut scene), ["my-web-53", "my-web-80"]);
}

#[test]
fn a_client_stays_at_a_task_on_whatever_port_of_the_service() {
    let groups = |ports: &str, own: &str| -> Vec<Option<String>> {
        let mut scene = Scene::running();
        scene.label("sluicegate.port", ports);
        scene.label("sluicegate.persistence", "5m");
        if !own.is_empty() {
            scene.label("sluicegate.persistence_group", own);
        }
        let wanted = scene.wishes().services.into_iter();
        wanted.map(|wanted| wanted.service.settings.persistence.group).collect()
    };
    let id = Some(Scene::running().services[0].id.clone());
    assert_eq!(groups("443:8443", ""), [id.clone(), id]);
    assert_eq!(groups("443:8443", "site"), [Some("site".to_owned()), Some("site".to_owned())]);
    assert_eq!(groups("8081:8000", ""), [None], "one target port, one service");
}

/// Docker leaves the zeros at the end out.
#[test]
fn the_older_service_has_the_port_also_within_a_second() {
    for order in [[0, 1], [1, 0]] {
        let mut scene = Scene::running();
        scene.services[0].endpoint.ports.clear();
        scene.label("sluicegate.port", "80:8000");
        let mut services = [scene.services[0].clone(), scene.services[0].clone()];
        for (service, (id, at)) in services.iter_mut().zip([("b", "00.5Z"), ("a", "00.51Z")]) {
            (service.id, service.spec.name) = (id.to_owned(), id.to_owned());
            service.created_at = format!("2026-11-21T09:15:{at}");
        }
        scene.services = order.map(|at| services[at].clone()).to_vec();
        let wishes = scene.wishes();
        assert_eq!(problems(&wishes), ["service a: 198.18.0.1:80/tcp is taken by service b"]);
    }
}

#[test]
fn a_check_goes_to_the_ports_that_can_answer_it() {
    let mut scene = Scene::running();
    scene.label("sluicegate.port", "53:5353/udp");
    scene.label("sluicegate.check", "http");
    scene.label("sluicegate.check.path", "/healthz");
    let checks = |wishes: &Wishes| -> Vec<Option<&'static str>> {
        wishes.services.iter().map(|wanted| Some(wanted.service.check.as_ref()?.kind.word())).collect()
    };
    let wishes = scene.wishes();
    assert_eq!((problems(&wishes), checks(&wishes)), (vec![], vec![Some("http"), None]));
    scene.label("sluicegate.check.path", "healthz");
    let wishes = scene.wishes();
    assert_eq!(checks(&wishes), [None, None]);
    assert!(problems(&wishes)[0].contains("label sluicegate.check.path: the path `healthz` does not start with /"));
}

/// Docker puts the service's VIP, here 10.0.0.5, on the loopback of its tasks.
#[test]
fn in_a_dsr_network_tasks_are_served_directly_too() {
    let mut scene = Scene::running();
    scene.network.options.insert("dsr".to_owned(), String::new());
    let wishes = scene.wishes();
    assert_eq!(problems(&wishes), [""; 0]);
    let [web, direct] = &wishes.services[..] else { panic!("{wishes:?}") };
    assert_eq!((web.service.name.as_str(), direct.service.name.as_str()), ("my-web", "my-web-direct"));
    assert!(!web.service.settings.direct && direct.service.settings.direct);
    assert_ne!(web.key, direct.key);
    // Published as 8080, but nothing is translated.
    assert_eq!(listens(direct), ["10.0.0.5:8000/tcp", "10.0.0.5:8000/udp"]);
    assert_eq!(backends(direct), backends(web));
    scene.label("sluicegate.port", "53:5353/udp");
    scene.label("sluicegate.vip", "198.18.0.1");
    let wishes = scene.wishes();
    let names: Vec<_> = wishes.services.iter().map(|wanted| wanted.service.name.as_str()).collect();
    assert_eq!(names, ["my-web-8080", "my-web-8000-direct", "my-web-53", "my-web-5353-direct"]);
    assert_eq!(listens(&wishes.services[3]), ["10.0.0.5:5353/udp"]);
    scene.label("sluicegate.direct", "false");
    assert_eq!(scene.wishes().services.len(), 2);
}

/// The recorded network under another name and number.
fn back_network(scene: &Scene) -> (Network, OverlaySeed) {
    let mut back = scene.network.clone();
    (back.id, back.name, back.ingress) = ("back-id".to_owned(), "back".to_owned(), false);
    back.options.insert("com.docker.network.driver.overlay.vxlanid_list".to_owned(), "4099".to_owned());
    back.ipam.config[0].subnet = "10.7.0.0/24".to_owned();
    let seed = OverlaySeed { address: Some((Ipv4Addr::new(10, 7, 0, 250), 24)), ..scene.seed.clone() };
    (back, seed)
}

/// Swarm itself can not publish services of the kind dnsrr; their tasks are in a network of their own.
#[test]
fn dnsrr_is_served_beside_ingress() {
    let mut scene = Scene::running();
    let mut service: Service = read(sample!("kind-tdns-service"));
    service.endpoint.ports.clear();
    service.spec.labels.insert("sluicegate.port".to_owned(), "8192:8000".to_owned());
    let tasks: Vec<Task> = read(sample!("kind-tdns-tasks"));
    for (mut task, last) in tasks.into_iter().zip(5..) {
        let mut attachment = scene.tasks[0].networks_attachments[0].clone();
        attachment.network.id = "back-id".to_owned();
        attachment.addresses = vec![format!("10.7.0.{last}/24")];
        task.networks_attachments = vec![attachment];
        task.node_id.clone_from(&scene.nodes[0].id);
        scene.tasks.push(task);
    }
    scene.services.push(service.clone());
    let nowhere = "service tdns: label sluicegate.port: it is in no network that is served: name its network in \
                   [[swarm.overlay]] to serve it";
    assert_eq!(problems(&scene.wishes()), [nowhere]);
    scene.services[1].spec.task_template.networks = read(r#"[{"Target": "back-id"}]"#);
    scene.more = vec![back_network(&scene)];
    let wishes = scene.wishes();
    assert_eq!(problems(&wishes), [""; 0]);
    let overlays: Vec<_> = wishes.overlays.iter().map(|(name, one)| (name.as_str(), one.vni.get())).collect();
    assert_eq!(overlays, [("ingress", 4096), ("back", 4099)]);
    let [web, dns] = &wishes.services[..] else { panic!("{wishes:?}") };
    assert_eq!((web.service.name.as_str(), dns.service.name.as_str()), ("my-web", "tdns"));
    assert_eq!(listens(dns), ["198.18.0.1:8192/tcp"]);
    let addresses: Vec<_> = backends(dns).iter().map(|backend| backend.address.to_string()).collect();
    assert_eq!(addresses, ["10.7.0.5:8000", "10.7.0.6:8000"]);
    // What is wrong with one network does not hurt the other.
    scene.more[0].0.options.insert("encrypted".to_owned(), String::new());
    let wishes = scene.wishes();
    assert!(problems(&wishes)[0].starts_with("network back is encrypted"), "{wishes:?}");
    assert_eq!((wishes.services.len(), wishes.services[0].service.name.as_str()), (1, "my-web"));
}

#[test]
fn wrong_labels_are_named_and_hurt_nobody() {
    let mut scene = Scene::running();
    let before = scene.wishes().services;
    let wrong = [
        ("sluicegate.weight", "heavy"),
        ("sluicegate.scheduler", "roundrobin\u{1b}[2J"),
        ("sluicegate.vip", "198.18.9.9"),
        ("sluicegate.port", "0:80"),
        ("sluicegate.timeout", "never"),
        ("sluicegate.timeouts.tcp_syn_snet", "5s"),
        ("sluicegate.one_packet", "yes"),
        ("sluicegate.passive", "maybe"),
        ("sluicegate.direct", "true"),
        ("sluicegate.proxy_protocol", "v2"),
        ("sluicegate.max_connections", "0"),
        ("sluicegate.enable", "maybe"),
        ("sluicegate.persistence", "0s"),
        ("sluicegate.persistence_clients", "many"),
        ("sluicegate.persistence_prefix", "24"),
        ("sluicegate.deny", "198.19.0.1/16"),
        ("sluicegate.half_open", "5"),
        ("sluicegate.syn_cookies", "sometimes"),
        ("sluicegate.rate_burst", "5"),
        ("sluicegate.wieght", "1"),
        ("sluicegate.pasive", "false"),
    ];
    for (key, value) in wrong {
        scene.label(key, value);
    }
    let wishes = scene.wishes();
    assert_eq!(wishes.services, before);
    assert_eq!(wishes.problems.len(), wrong.len());
    assert!(wishes.problems.iter().all(|problem| problem.starts_with("service my-web: label sluicegate.")));
    assert!(wishes.problems.iter().any(|problem| problem.contains("did you mean `weight`?")));
    assert!(wishes.problems.iter().any(|problem| problem.contains("did you mean `passive`?")));
    // They are printed and logged.
    assert!(!wishes.problems.iter().any(|problem| problem.contains(char::is_control)), "{:?}", wishes.problems);
}

#[test]
fn ports_in_labels_are_digits() {
    for wrong in ["+81:80", "81:+80"] {
        let mut scene = Scene::running();
        scene.label("sluicegate.port", wrong);
        assert_eq!(scene.wishes().problems.len(), 1, "{wrong}");
    }
}

/// A service that was meant for some is not for all because of a slip.
#[test]
fn a_list_of_the_allowed_that_cannot_be_read_allows_nobody() {
    let mut scene = Scene::running();
    scene.label("sluicegate.allow", "198.19.0.0/16, 198.20.0.0/33");
    let wishes = scene.wishes();
    assert_eq!(wishes.problems.len(), 1);
    let protection = wishes.services[0].service.settings.protection.compile(false, std::sync::Arc::default());
    assert!(!protection.lets_in([198, 19, 0, 2].into()) && !protection.allow.is_empty());
}

#[test]
fn a_removed_service_ends_with_its_last_task() {
    let mut scene = Scene::running();
    let before = scene.wishes();
    scene.services.clear();
    for task in &mut scene.tasks {
        task.desired_state = "remove".to_owned();
    }
    let leaving = scene.wishes();
    assert_eq!(leaving.services[0].service, before.services[0].service);
    assert_eq!(weights(&leaving), [0, 0]);
    // Its port may be somebody else's by now: then only its flows stay.
    let mut heir: Service = read(sample!("kind-tglob-service"));
    heir.endpoint.ports[0].published_port = 8080;
    scene.services.push(heir);
    let wishes = scene.wishes();
    assert_eq!(listens(&wishes.services[0]), ["198.18.0.1:8080/tcp"]);
    assert_eq!((wishes.services[0].service.name.as_str(), problems(&wishes).len()), ("tglob", 0));
    assert_eq!(listens(&wishes.services[1]), ["198.18.0.1:8080/udp"]);
    assert_eq!(wishes.services[1].tasks.len(), 2);
    for task in &mut scene.tasks {
        task.status.state = "shutdown".to_owned();
    }
    assert_eq!(scene.wishes().services.len(), 1);
}

#[test]
fn a_custom_network_serves_what_is_attached_to_it() {
    let mut scene = Scene::running();
    (scene.network.ingress, scene.network.name) = (false, "back".to_owned());
    scene.services[0].endpoint.virtual_ips.clear();
    assert!(scene.wishes().services.is_empty());
    scene.label("sluicegate.port", "8080:8000");
    assert!(problems(&scene.wishes())[0].contains("in no network that is served"));
    let target = scene.network.id.clone();
    scene.services[0].endpoint = crate::swarm::model::Endpoint::default();
    scene.services[0].spec.task_template.networks.push(crate::swarm::model::NetworkTarget { target });
    let wishes = scene.wishes();
    assert_eq!(problems(&wishes), [""; 0]);
    assert_eq!(listens(&wishes.services[0]), ["198.18.0.1:8080/tcp"]);
    assert_eq!(weights(&wishes), [1, 1]);
}
