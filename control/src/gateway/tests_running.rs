//! A gateway that runs: real workers, devices in memory, the kernel of an empty network namespace.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datapath::service::{Generation, InterfaceIndex, Phase};
use datapath::{Engine, EngineConfig, Role, Slot, WorkerDevices};
use sys::{FramePool, LinkType, MemoryDevice};
use wire::MacAddr;

use super::{First, Gateway, OverlayMacs, Parts, compile};
use crate::api::tempdir::Directory;
use crate::api::view;
use crate::catalog::Catalog;
use crate::config::{self, SettingsChange};
use crate::kernel::namespace::in_namespace;
use crate::kernel::{Kernel, KernelView, Link, LocalAddress, Path};
use crate::metrics;
use crate::operations::{Edit, EditErrorKind, Health, Operations, ReloadError};

const CPUS: &[usize] = &[0, 1];

pub const CONFIG: &str = r#"
[gateway]
cpus = [0, 1]
flows = 1000

[[interface]]
name = "eth0"

[overlay]
vni = 4096
vtep = "198.18.1.1"
address = "10.0.0.3/24"

[[service]]
name = "web"
listen = "198.18.0.1:8080/tcp"
[[service.backend]]
address = "10.0.0.11:8000"
vtep = "198.18.1.11"
"#;

/// As the kernel would tell it: `eth0`, and the node behind it.
pub fn view(up: bool) -> KernelView {
    let link =
        Link { index: 2, name: "eth0".to_owned(), mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up, is_bond: false };
    let node = "198.18.1.11".parse().unwrap();
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 0x11]));
    let path = Path::Link { link: 2, next_hop: node, mac, source: Some("198.18.1.1".parse().unwrap()) };
    let vtep = LocalAddress { address: "198.18.1.1".parse().unwrap(), prefix_len: 24, link: 2 };
    KernelView { links: [(2, link)].into(), addresses: [vtep].into(), paths: [(node, path)].into() }
}

/// A gateway, the file that it reads anew, the far ends of its devices.
pub struct Running {
    pub gateway: Gateway,
    path: PathBuf,
    pub ends: Vec<MemoryDevice>,
    _directory: Directory,
}

impl Running {
    fn start(kernel: Kernel, text: &str) -> Running {
        let directory = Directory::new();
        let path = directory.path.join("gw.toml");
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path, CPUS).map_err(|problems| problems[0].to_string()).unwrap().config;
        let catalog = Catalog::from_config(&config, 2);
        let compiled = compile(&config, &catalog, &view(true), &OverlayMacs::new(), Generation(1));
        let (snapshot, first) = First::split(compiled).unwrap();
        let (mut workers, mut ends) = (Vec::new(), Vec::new());
        for _ in CPUS {
            let (device, end) = sys::memory_pair_of(64, LinkType::Ethernet);
            let slot = Slot { role: Role::Interface(InterfaceIndex(0)), device: Box::new(device) };
            workers.push(WorkerDevices { pool: FramePool::heap(128, 2048), devices: vec![slot], lending: None });
            ends.push(end);
        }
        let engine = EngineConfig {
            cpus: vec![0, 0],
            flows: 1000,
            timeouts: config.timeouts,
            plain_ports: 1024..=32_767,
            overlay_ports: 1024..=65_535,
            seed: 7,
            logs_flows: false,
        };
        let engine = Engine::start(&engine, workers, snapshot).unwrap();
        let gateway = Gateway::new(Parts {
            config,
            config_path: path.clone(),
            cpus: CPUS.to_vec(),
            catalog,
            engine,
            filter: None,
            kernel: Arc::new(kernel),
            view: view(true),
            first,
            tun_line: None,
            plain_ports: 1024..=32_767,
            flow_log: None,
        });
        Running { gateway, path, ends, _directory: directory }
    }

    pub fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    /// The generation, once all workers use it.
    pub fn live(&mut self) -> u64 {
        self.wait(|running| running.gateway.is_live());
        let status = self.gateway.status();
        assert!(status.workers.iter().all(|worker| worker.alive && worker.generation == status.generation));
        status.generation
    }

    pub fn wait(&mut self, done: impl Fn(&Running) -> bool) {
        for _ in 0..1000 {
            self.gateway.tick();
            if done(self) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it never came");
    }

    /// The services by name.
    pub fn services(&self) -> Vec<String> {
        self.gateway.catalog().services().iter().map(|service| service.name.clone()).collect()
    }
}

/// Runs a test in a namespace and a runtime of its own.
fn running(name: &str, test: impl FnOnce(&mut Running)) {
    running_on(name, CONFIG, test);
}

pub fn running_on(name: &str, config: &str, test: impl FnOnce(&mut Running)) {
    in_namespace(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut running = Running::start(Kernel::open().await.unwrap(), config);
            test(&mut running);
            running.gateway.stop();
        });
    });
}

#[test]
fn a_reload_applies_services_and_names_what_needs_a_restart() {
    running("gateway::tests_running::a_reload_applies_services_and_names_what_needs_a_restart", |running| {
        assert_eq!(running.live(), 1);
        let cases = [
            ("flows = 1000", "flows = 2000", "gateway.flows"),
            ("cpus = [0, 1]", "cpus = [0]", "gateway.cpus"),
            ("flows = 1000", "flows = 1000\napi = \"/run/x.sock\"", "gateway.api"),
            ("flows = 1000", "flows = 1000\nmetrics = \"127.0.0.1:9\"", "gateway.metrics"),
            ("flows = 1000", "flows = 1000\nsnat = [\"198.18.1.9\"]", "gateway.snat"),
            ("flows = 1000", "flows = 1000\nshortcuts = \"never\"", "gateway.shortcuts"),
            ("flows = 1000", "flows = 1000\n[timeouts]\nudp = 9", "timeouts"),
            ("name = \"eth0\"", "name = \"eth0\"\nmode = \"copy\"", "interface"),
            ("vni = 4096", "vni = 4097", "overlay"),
        ];
        for (old, new, key) in cases {
            running.write(&CONFIG.replacen(old, new, 1).replace(":8080", ":9090"));
            assert_eq!(running.gateway.reload().unwrap().needs_restart, [key]);
        }
        running.write(&CONFIG.replace(":8080", ":7070"));
        let report = running.gateway.reload().unwrap();
        assert_eq!((report.changes.services_changed, report.needs_restart), (vec!["web".into()], vec![]));
        let listen = &running.gateway.catalog().service("web").unwrap().listens[0];
        assert_eq!(*listen.ports.start(), 7070);
        assert_eq!(running.live(), 11, "ten reloads");
    });
}

#[test]
fn who_can_serve_is_healthy_whatever_its_backends_do() {
    running("gateway::tests_running::who_can_serve_is_healthy_whatever_its_backends_do", |running| {
        running.live();
        let mut no_way = view(true);
        let nowhere = |path: &mut Path| *path = Path::NoRoute("no route".to_owned());
        no_way.paths.values_mut().for_each(nowhere);
        running.gateway.kernel_changed(no_way);
        running.live();
        assert!(!running.gateway.lost().is_empty());
        assert_eq!(running.gateway.health(), Health::of(Vec::new()));
        running.gateway.kernel_changed(view(false));
        assert_eq!(running.gateway.health().faults, ["interface eth0 is down"]);
        running.gateway.kernel_changed(view(true));
        running.gateway.failed_workers.insert(1, "a defect".to_owned());
        assert_eq!(running.gateway.health().faults, ["worker 1 failed: a defect"]);
    });
}

/// While there is no way to their backend, while the kernel names another source, and when their service becomes direct.
#[test]
fn connections_keep_the_source_that_they_have() {
    let (name, task) =
        ("gateway::tests_running::connections_keep_the_source_that_they_have", CONFIG.find("address = \"10.0.0.11"));
    let config = format!("{}address = \"198.18.1.11:8080\"\n", &CONFIG[..task.unwrap()]);
    let by = |last: u8| {
        let mut view = view(true);
        let Some(Path::Link { source, .. }) = view.paths.values_mut().next() else { panic!() };
        *source = Some([198, 18, 1, last].into());
        view
    };
    running_on(name, &config, |running| {
        let has = |running: &Running, last: u8| {
            running.gateway.rules.snat().any(|source| source == IpAddr::from([198, 18, 1, last]))
        };
        running.gateway.kernel_changed(by(2));
        assert_eq!([1, 2].map(|last| has(running, last)), [false, true], "nobody has the first");
        let stats = Arc::clone(&running.gateway.catalog().services()[0].backends[0].stats);
        stats.worker(0).unwrap().opened(Phase::Active);
        let mut no_way = view(true);
        no_way.paths.values_mut().for_each(|path| *path = Path::NoRoute("no route".to_owned()));
        running.gateway.kernel_changed(no_way);
        assert!(has(running, 2), "no way");
        running.gateway.kernel_changed(by(3));
        assert_eq!([2, 3].map(|last| has(running, last)), [true, true], "another source");
        let settings = SettingsChange { direct: Some(true), ..SettingsChange::default() };
        let direct = Edit::SetService { name: "web".to_owned(), listens: None, settings, check: None };
        running.gateway.edit(direct).unwrap();
        assert_eq!([2, 3].map(|last| has(running, last)), [true, true], "direct");
        stats.worker(0).unwrap().closed(Phase::Active);
        assert!(running.gateway.publish_catalog("the last connection has ended"));
        assert_eq!([2, 3].map(|last| has(running, last)), [false, false], "nobody has any");
        running.live();
    });
}

#[test]
fn a_refused_file_or_edit_changes_nothing() {
    running("gateway::tests_running::a_refused_file_or_edit_changes_nothing", |running| {
        let overlay = CONFIG.find("[overlay]").unwrap();
        running.write(&format!("{}[[service]]\nname = \"plain\"\nlisten = \"198.18.0.1:1\"\n", &CONFIG[..overlay]));
        let ReloadError::File(problems) = running.gateway.reload().unwrap_err() else { panic!("it is the file's") };
        assert_eq!(problems[0].message, "[overlay] is gone from the file: restart needed");
        assert!(problems[0].hint.as_ref().unwrap().contains("restart the gateway"));
        running.write("flows");
        assert!(running.gateway.reload().is_err());
        let gone = running.gateway.edit(Edit::RemoveService { name: "wbe".to_owned() }).unwrap_err();
        assert_eq!(gone.kind, EditErrorKind::NotFound);
        assert_eq!((running.services(), running.live()), (vec!["web".to_owned()], 1));
        running.gateway.edit(Edit::RemoveService { name: "web".to_owned() }).unwrap();
        assert_eq!((running.services(), running.live()), (vec![], 2));
    });
}

/// That many listens on port 80 of different VIPs, as a file has them.
fn vips(count: usize) -> String {
    let listens: Vec<_> = (0..count).map(|n| format!("\"198.18.{}.{}:80\"", 100 + n / 250, n % 250)).collect();
    format!(
        "[[service]]\nname = \"many\"\nlisten = [{}]\n[[service.backend]]\naddress = \"192.0.2.1\"\n",
        listens.join(", ")
    )
}

/// The XDP filter has room for 4,096 VIPs, and `web` has one.
#[test]
fn an_edit_for_which_the_filter_has_no_room_is_refused_as_the_file_is() {
    running("gateway::tests_running::an_edit_for_which_the_filter_has_no_room_is_refused_as_the_file_is", |running| {
        running.write(&format!("{CONFIG}{}", vips(4096)));
        let ReloadError::File(problems) = running.gateway.reload().unwrap_err() else { panic!("it is the file's") };
        let wanted = |count| {
            let over_tun = format!("[[interface]]\nname = \"t\"\ndriver = \"tun\"\n{}", vips(count));
            config::parse("gw.toml", over_tun.as_bytes(), CPUS).unwrap().config.services.remove(0)
        };
        let last = wanted(4096).listens.last().unwrap().address;
        let is_refused = |running: &mut Running, edit| {
            let error = running.gateway.edit(edit).unwrap_err();
            assert_eq!(error.kind, EditErrorKind::Invalid, "{error}");
            let message = format!("VIP {last}: {}", problems[0].message);
            assert_eq!((&error.message, &error.hint), (&message, &problems[0].hint));
        };
        is_refused(running, Edit::AddService(wanted(4096)));
        assert_eq!((running.services(), running.live()), (vec!["web".to_owned()], 1));
        running.gateway.edit(Edit::AddService(wanted(4095))).unwrap();
        let settings = SettingsChange::default();
        let listens = Some(wanted(4096).listens);
        is_refused(running, Edit::SetService { name: "many".to_owned(), listens, settings, check: None });
        assert_eq!(running.gateway.catalog().service("many").unwrap().listens.len(), 4095);
        assert_eq!(running.live(), 2);
    });
}

/// A file for TUN may have more VIPs, but until a restart the gateway serves them over AF_XDP.
#[test]
fn a_file_for_which_the_filter_has_no_room_is_refused() {
    running("gateway::tests_running::a_file_for_which_the_filter_has_no_room_is_refused", |running| {
        running.write(&format!("{}{}", CONFIG.replace("\"eth0\"", "\"eth0\"\ndriver = \"tun\""), vips(4096)));
        let ReloadError::File(problems) = running.gateway.reload().unwrap_err() else { panic!("it is the file's") };
        assert!(problems[0].message.contains("one more than the 4096 VIPs"), "{}", problems[0]);
        assert_eq!(problems[0].field, "service[1].listen");
        assert_eq!((running.services(), running.live()), (vec!["web".to_owned()], 1));
    });
}

/// Its backends fit the overlay that it describes, but that one does not run before a restart.
#[test]
fn a_file_with_backends_for_another_overlay_is_refused() {
    running("gateway::tests_running::a_file_with_backends_for_another_overlay_is_refused", |running| {
        running.write(&CONFIG.replace("10.0.0.", "10.1.0."));
        let ReloadError::File(problems) = running.gateway.reload().unwrap_err() else { panic!("it is the file's") };
        assert_eq!(
            problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(),
            [
                "[overlay] differs in the file: service web: backend 10.1.0.11:8000: `10.1.0.11` is outside the overlay's \
              subnet 10.0.0.0/24: restart needed"
            ]
        );
        assert!(problems[0].hint.as_ref().unwrap().contains("restart the gateway"));
        let backend = running.gateway.catalog().services()[0].backends[0].config.address.to_string();
        assert_eq!((backend.as_str(), running.live()), ("10.0.0.11:8000", 1));
    });
}

#[test]
fn only_a_change_of_ways_makes_new_tables() {
    running("gateway::tests_running::only_a_change_of_ways_makes_new_tables", |running| {
        running.gateway.kernel_changed(view(true));
        assert_eq!(running.live(), 1);
        running.gateway.kernel_changed(KernelView::default());
        assert_eq!(running.live(), 2);
        running.gateway.kernel_changed(view(true));
        assert_eq!(running.live(), 3);
    });
}

#[test]
fn status_tells_what_is_wrong() {
    running("gateway::tests_running::status_tells_what_is_wrong", |running| {
        running.wait(|running| running.gateway.status().devices.len() == 2);
        let status = running.gateway.status();
        assert_eq!((status.workers.len(), status.flows.flows, status.notes), (2, 0, vec![]));
        assert!(status.flows.capacity >= 1000 && status.build.starts_with(env!("CARGO_PKG_VERSION")));
        running.gateway.kernel_changed(view(false));
        assert!(running.gateway.status().notes.contains(&"interface eth0 is down".to_owned()));
        running.gateway.kernel_changed(KernelView::default());
        let notes = running.gateway.status().notes;
        assert!(notes.iter().any(|note| note.starts_with("interface eth0 is gone")), "{notes:?}");
    });
}

/// A task answers ARP with another MAC than Docker's: its packets go there from then on.
#[test]
fn a_learned_mac_is_used() {
    running("gateway::tests_running::a_learned_mac_is_used", |running| {
        assert_eq!(running.gateway.guessed_overlay_macs(), 1);
        let odd = [2, 9, 9, 9, 9, 9];
        let inner = arp_answer(odd);
        assert!(running.ends[0].inject(&inner));
        running.wait(|running| running.gateway.guessed_overlay_macs() == 0);
        assert_eq!(running.live(), 2);
        assert!(running.ends[0].inject(&inner));
        running.wait(|running| {
            let counters = running.gateway.counters();
            counters.total.counters["arp_heard"] == 2 && counters.workers[0].counters["rx_packets"] == 2
        });
        assert_eq!(running.live(), 2, "that is no news");
    });
}

/// Whoever is on a task's node can send ARP for it. That makes new tables once in a while, not with every packet.
#[test]
fn a_mac_that_changes_with_every_packet_is_not_followed() {
    running("gateway::tests_running::a_mac_that_changes_with_every_packet_is_not_followed", |running| {
        for n in 0..8 {
            assert!(running.ends[0].inject(&arp_answer([2, 9, 9, 9, 9, n])));
            running.wait(|running| running.gateway.counters().total.counters["arp_heard"] == u64::from(n) + 1);
            running.gateway.tick();
        }
        assert_eq!(running.live(), 2);
    });
}

/// The task that has the address next is another.
#[test]
fn a_learned_mac_is_forgotten_with_its_last_backend() {
    running("gateway::tests_running::a_learned_mac_is_forgotten_with_its_last_backend", |running| {
        assert!(running.ends[0].inject(&arp_answer([2, 9, 9, 9, 9, 9])));
        running.wait(|running| running.gateway.guessed_overlay_macs() == 0);
        running.gateway.reload().unwrap();
        assert_eq!(running.gateway.guessed_overlay_macs(), 0, "it is still there");
        running.gateway.edit(Edit::RemoveService { name: "web".to_owned() }).unwrap();
        running.gateway.reload().unwrap();
        assert_eq!((running.services(), running.gateway.guessed_overlay_macs()), (vec!["web".to_owned()], 1));
    });
}

/// An operator has written the MAC down.
#[test]
fn a_mac_in_the_config_is_not_learned() {
    let name = "gateway::tests_running::a_mac_in_the_config_is_not_learned";
    running_on(name, &format!("{CONFIG}mac = \"02:42:0a:00:00:0b\"\n"), |running| {
        assert!(running.ends[0].inject(&arp_answer([2, 9, 9, 9, 9, 9])));
        running.wait(|running| running.gateway.counters().total.counters["arp_heard"] == 1);
        running.gateway.tick();
        assert!(running.gateway.learned.macs().is_empty());
        assert_eq!(running.live(), 1);
    });
}

/// Ethernet, IP, UDP, VXLAN, Ethernet, ARP: 10.0.0.11 is at `mac`, from the node 198.18.1.11. RFC 7348, RFC 826.
fn arp_answer(mac: [u8; 6]) -> Vec<u8> {
    let ours = [2, 0x42, 10, 0, 0, 3];
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac, &[10, 0, 0, 11], &ours, &[10, 0, 0, 3]].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0x10, 0, 0][..], &ours, &mac, &[8, 6], &arp].concat();
    let udp_len = (vxlan.len() + 8) as u16;
    let udp = [&[0xc0, 0, 0x12, 0xb5][..], &udp_len.to_be_bytes(), &[0, 0], &vxlan].concat();
    let ip_len = (udp.len() + 20) as u16;
    let mut ip =
        [&[0x45, 0][..], &ip_len.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0], &[198, 18, 1, 11, 198, 18, 1, 1]].concat();
    let words: u32 = ip.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !((words & 0xffff) + (words >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x11, 8, 0][..], &ip, &udp].concat()
}

/// So many services of ten backends each, a thousand on each address.
fn many_services(count: usize) -> String {
    let backend = |n| format!("[[service.backend]]\naddress = \"10.0.0.{n}:8000\"\nvtep = \"198.18.1.11\"\n");
    let backends: String = (11..21).map(backend).collect();
    let service = |id: usize| {
        let (address, port) = (id / 1_000 + 1, 1_000 + id % 1_000);
        format!("[[service]]\nname = \"s{id}\"\nlisten = \"198.18.0.{address}:{port}/tcp\"\n{backends}")
    };
    let services: String = (0..count).map(service).collect();
    CONFIG[..CONFIG.find("[[service]]").unwrap()].to_owned() + &services
}

/// Not a test but a measurement, of what only control's own code can do: `make bench` asks for it by naming the file that it
/// writes, in the format of the other benches. The XDP filter is not in it: what it is to take is worked out, but not loaded.
#[test]
fn publishing_ten_thousand_services_is_timed_when_asked_for() {
    let Some(file) = std::env::var_os("SLUICEGATE_FIGURES") else { return };
    let name = "gateway::tests_running::publishing_ten_thousand_services_is_timed_when_asked_for";
    running_on(name, &many_services(10_000), |running| {
        assert_eq!(running.live(), 1);
        let (mut compiling, mut publishing) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let start = sys::clock::now();
            drop(running.gateway.compile(&running.gateway.catalog));
            let compiled = sys::clock::now();
            assert!(running.gateway.publish_catalog("measured"));
            let published = sys::clock::now();
            compiling.push(compiled.saturating_sub(start).as_secs_f64() * 1e3);
            publishing.push(published.saturating_sub(compiled).as_secs_f64() * 1e3);
            running.live();
        }
        let figure = |name: &str, mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let [low, median, high] = [0, values.len() / 2, values.len() - 1].map(|at| values[at]);
            serde_json::json!({ "name": name, "unit": "ms", "median": median, "low": low, "high": high })
        };
        let figures = [figure("publish", publishing), figure("publish_of_which_compile", compiling)];
        std::fs::write(&file, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    });
}

/// Nobody waits for what backends do by themselves: what failed must not wait for other news.
#[test]
fn tables_that_failed_are_tried_again() {
    let name = "gateway::tests_running::tables_that_failed_are_tried_again";
    running_on(name, CONFIG, |running| {
        let before = running.live();
        let right = running.gateway.config.clone();
        let mut wrong = right.clone();
        let listen = wrong.services[0].listens[0].clone();
        wrong.services[0].listens.push(listen);
        running.gateway.catalog.replace(&wrong);
        assert!(!running.gateway.publish_catalog("a listen stands there twice"));
        let note = running.gateway.unpublished.as_ref().unwrap().to_string();
        assert!(note.starts_with("a listen stands there twice, but"), "{note}");
        let first = running.gateway.unpublished.as_ref().unwrap().tried;
        running.wait(|running| running.gateway.unpublished.as_ref().unwrap().tried > first);
        assert!(running.gateway.status().notes.contains(&note), "as it was, when it is tried again");
        running.gateway.catalog.replace(&right);
        running.wait(|running| running.gateway.generation.0 > before);
        assert!(running.gateway.unpublished.is_none());
        let generation = running.live();
        running.gateway.tick();
        assert_eq!(running.live(), generation, "once");
    });
}

/// What this thread has computed, whatever else the machine does meanwhile.
fn computed() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
}

/// What it takes to show so many services, of ten backends each.
fn showing(gateway: &Gateway, count: usize) -> Duration {
    let start = computed();
    let page = metrics::page(gateway).text().unwrap();
    let services = gateway.catalog().services().iter();
    let backends: Vec<_> = services.flat_map(|service| view::backends(gateway, service)).collect();
    let took = computed().saturating_sub(start);
    assert_eq!(page.matches("\nsluicegate_backend_weight{").count(), 10 * count);
    assert_eq!(backends.len(), 10 * count);
    took
}

/// Each is in reach of whoever shows it: to show ten times as many takes two to two and a half times as long as to show the few
/// ten times, for caches and pages. Looking up each service for all that is shown of it took 17 times as long as that: 44 s.
#[test]
fn showing_ten_thousand_services_looks_nothing_up() {
    let name = "gateway::tests_running::showing_ten_thousand_services_looks_nothing_up";
    running_on(name, &many_services(1_000), |running| {
        let few: Duration = (0..10).map(|_| showing(&running.gateway, 1_000)).sum();
        running.write(&many_services(10_000));
        running.gateway.reload().unwrap();
        let many = showing(&running.gateway, 10_000);
        assert!(many < 6 * few, "{many:?}, a tenth of them ten times {few:?}");
    });
}
