//! What the swarm wants and cannot have at once: it comes when the obstacle goes.

use std::net::{IpAddr, Ipv4Addr};

use super::tests_running::{CONFIG, Running, running_on, view};
use crate::config::{BackendConfig, ServiceConfig, Settings, value};
use crate::kernel::{KernelView, LocalAddress};
use crate::operations::{Edit, Operations};
use crate::swarm::{Place, Wanted, WantedTask, Wishes};

const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const ANOTHER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 8);

/// Over TUN, where the kernel may take a VIP for itself.
fn config() -> String {
    let tun = CONFIG.replace("name = \"eth0\"", "name = \"eth0\"\ndriver = \"tun\"");
    format!("{tun}\n[swarm]\nvips = [\"{VIP}\"]\n")
}

fn service(name: &str, listen: &str) -> ServiceConfig {
    ServiceConfig {
        name: name.to_owned(),
        listens: vec![value::listen(listen).unwrap()],
        settings: Settings::default(),
        check: None,
        backends: Vec::new(),
    }
}

/// The swarm wants this service there, with one task.
fn wants(running: &mut Running, name: &str, listen: &str) {
    running.gateway.follow_swarm(wished(name, listen), Place::default());
}

fn wished(name: &str, listen: &str) -> Wishes {
    let address = "192.0.2.1:80".parse().unwrap();
    let task = WantedTask { id: format!("task-{name}"), backend: BackendConfig::new(address, None, 1) };
    let wanted = Wanted { key: name.to_owned(), service: service(name, listen), tasks: vec![task] };
    Wishes { services: vec![wanted], ..Wishes::default() }
}

/// The VIP is an address of the machine, or is not.
fn kernel_has(vip: bool) -> KernelView {
    kernel_has_these(if vip { &[VIP] } else { &[] })
}

fn kernel_has_these(vips: &[Ipv4Addr]) -> KernelView {
    let mut view = view(true);
    let own = |vip: &Ipv4Addr| LocalAddress { address: IpAddr::V4(*vip), prefix_len: 32, link: 2 };
    view.addresses.extend(vips.iter().map(own));
    view
}

fn notes(running: &Running) -> Vec<String> {
    running.gateway.status().notes.into_iter().filter(|note| note.starts_with("swarm: ")).collect()
}

/// A gateway that could not learn what to serve must not get the VIP from one that serves; one that knows something keeps it.
#[test]
fn who_has_nothing_to_serve_and_never_heard_of_the_swarm_is_not_healthy() {
    let name = "gateway::tests_swarm::who_has_nothing_to_serve_and_never_heard_of_the_swarm_is_not_healthy";
    running_on(name, &config(), |running| {
        running.gateway.kernel_changed(kernel_has(false));
        assert_eq!(running.gateway.health().faults, [""; 0], "the file's service can be served");
        running.gateway.edit(Edit::RemoveService { name: "web".to_owned() }).unwrap();
        let fault = "no manager of the swarm has answered yet, and there are no services";
        assert_eq!(running.gateway.health().faults, [fault]);
        running.gateway.follow_swarm(Wishes::default(), Place::default());
        assert_eq!(running.gateway.health().faults, [""; 0], "an empty swarm is empty for everybody");
    });
}

#[test]
fn a_port_that_the_operator_gives_up_is_the_swarms() {
    let name = "gateway::tests_swarm::a_port_that_the_operator_gives_up_is_the_swarms";
    running_on(name, &config(), |running| {
        let ours = service("ours", "198.18.0.9:80/tcp");
        running.gateway.edit(Edit::AddService(ours)).unwrap();
        wants(running, "theirs", "198.18.0.9:80/tcp");
        assert_eq!(running.services(), ["web", "ours"]);
        let refused = ["swarm: swarm service theirs: 198.18.0.9:80/tcp: it is taken by service ours"];
        assert_eq!(notes(running), refused);
        // A reload that would set the port free, but fails, takes nothing over.
        running.gateway.kernel_changed(kernel_has_these(&[ANOTHER]));
        running.write(&format!("{}[[service]]\nname = \"more\"\nlisten = \"{ANOTHER}:81\"\n", config()));
        running.gateway.reload().unwrap_err();
        assert_eq!(
            (running.services(), notes(running)),
            (vec!["web".to_owned(), "ours".to_owned()], refused.map(str::to_owned).to_vec())
        );
        running.gateway.kernel_changed(kernel_has(false));
        running.gateway.edit(Edit::RemoveService { name: "ours".to_owned() }).unwrap();
        assert_eq!((running.services(), notes(running)), (vec!["web".to_owned(), "theirs".to_owned()], vec![]));
    });
}

#[test]
fn what_the_kernel_stood_in_the_way_of_comes_when_it_gives_way() {
    let name = "gateway::tests_swarm::what_the_kernel_stood_in_the_way_of_comes_when_it_gives_way";
    running_on(name, &config(), |running| {
        running.gateway.kernel_changed(kernel_has(true));
        wants(running, "theirs", "198.18.0.9:80/tcp");
        let failed = "swarm: the swarm's services could not be taken over: 198.18.0.9 is an address of eth0: the kernel would \
                      take its packets";
        assert_eq!((running.services(), notes(running)), (vec!["web".to_owned()], vec![failed.to_owned()]));
        // The operator's changes do not wait for that.
        running.gateway.edit(Edit::AddService(service("ours", "198.18.0.1:81/tcp"))).unwrap();
        assert_eq!(
            (running.services(), notes(running)),
            (vec!["web".to_owned(), "ours".to_owned()], vec![failed.to_owned()])
        );
        running.gateway.kernel_changed(kernel_has(false));
        let all = ["web", "ours", "theirs"].map(str::to_owned).to_vec();
        assert_eq!((running.services(), notes(running)), (all, vec![]));
        let generation = running.live();
        running.gateway.kernel_changed(kernel_has(false));
        assert_eq!(running.live(), generation, "nothing is owed any more");
    });
}

/// As when somebody, or keepalived, puts it on `lo`.
#[test]
fn a_vip_that_the_kernel_takes_later_is_said_and_stops_nobody_else() {
    let name = "gateway::tests_swarm::a_vip_that_the_kernel_takes_later_is_said_and_stops_nobody_else";
    running_on(name, &config(), |running| {
        wants(running, "theirs", "198.18.0.9:80/tcp");
        running.gateway.kernel_changed(kernel_has(true));
        let said = "VIP 198.18.0.9 is an address of eth0: the kernel takes its packets".to_owned();
        assert!(running.gateway.status().notes.contains(&said));
        running.gateway.edit(Edit::AddService(service("ours", "198.18.0.1:81/tcp"))).unwrap();
        wants(running, "other", "198.18.0.9:80/tcp");
        assert_eq!(
            (running.services(), notes(running)),
            (["web", "ours", "other"].map(str::to_owned).to_vec(), vec![])
        );
        running.gateway.kernel_changed(kernel_has(false));
        assert!(!running.gateway.status().notes.contains(&said));
    });
}

#[test]
fn tables_are_made_only_of_what_is_served() {
    let name = "gateway::tests_swarm::tables_are_made_only_of_what_is_served";
    running_on(name, &config(), |running| {
        wants(running, "theirs", "198.18.0.9:80/tcp");
        let generation = running.live();
        let mut wishes = wished("theirs", "198.18.0.9:80/tcp");
        wishes.restless = true;
        wishes.problems.insert("service other: it starts over and over".to_owned());
        running.gateway.follow_swarm(wishes.clone(), Place::default());
        assert_eq!(running.live(), generation);
        assert_eq!(notes(running), ["swarm: service other: it starts over and over"]);
        wishes.services[0].tasks.clear();
        running.gateway.follow_swarm(wishes, Place::default());
        assert!(running.live() > generation);
    });
}

#[test]
fn status_counts_services_and_tasks_not_their_ports() {
    let name = "gateway::tests_swarm::status_counts_services_and_tasks_not_their_ports";
    running_on(name, &config(), |running| {
        let mut wishes = wished("web", "198.18.0.9:80/tcp");
        wishes.services[0].key = "id/overlay/80".to_owned();
        let mut other = wishes.services[0].clone();
        (other.key, other.service.name) = ("id/overlay/443".to_owned(), "web-443".to_owned());
        other.service.listens = vec![value::listen("198.18.0.9:443/tcp").unwrap()];
        wishes.services.push(other);
        running.gateway.follow_swarm(wishes, Place::default());
        let swarm = running.gateway.swarm.as_ref().unwrap().status();
        assert_eq!((swarm.services, swarm.tasks), (1, 1));
    });
}

#[test]
fn what_failed_is_tried_again_from_time_to_time() {
    let name = "gateway::tests_swarm::what_failed_is_tried_again_from_time_to_time";
    running_on(name, &config(), |running| {
        running.gateway.kernel_changed(kernel_has(true));
        wants(running, "theirs", "198.18.0.9:80/tcp");
        assert_eq!(running.services(), ["web"]);
        // Nobody tells that the obstacle is gone.
        running.gateway.view = kernel_has(false);
        running.wait(|running| running.services() == ["web", "theirs"]);
        assert_eq!(notes(running), [""; 0]);
    });
}
