//! A gateway without packets, for the tests of API and CLI.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use conntrack::Direction;
use datapath::FlowFilter;
use datapath::service::{BackendId, Phase, ServiceId};
use tempdir::Directory;

use crate::catalog::{BackendEntry, Catalog};
use crate::check::{Finding, Outcome};
use crate::config::parse;
use crate::operations::{
    CounterSet, CountersView, DeviceStatus, Edit, EditError, FlowCount, FlowQuestion, FlowView, Health, Operations,
    PerDirection, ReloadError, ReloadReport, ShortcutInterface, ShortcutStatus, Status, SwarmStatus, WorkerStatus,
};

/// What the fake gateway starts from.
pub const CONFIG: &str = include_str!("fake.toml");

/// A catalog, a file to reload, and made-up numbers.
pub struct Fake {
    catalog: Catalog,
    file: String,
    /// Who cannot be reached.
    pub lost: BTreeSet<BackendId>,
    /// Why it cannot serve.
    pub faults: Vec<String>,
    /// What `status` shows of a swarm.
    pub swarm: Option<SwarmStatus>,
    /// Why there is no list of flows.
    pub no_flows: Option<String>,
    /// Why no file can be applied.
    pub no_reload: Option<String>,
    /// Where the asking for flows waits, one place after the other.
    pub flows_dawdle: Option<Arc<[Barrier; 2]>>,
}

impl Fake {
    /// With the services of [`CONFIG`].
    pub fn new() -> Fake {
        let config = parse("gw.toml", CONFIG.as_bytes(), &[0, 1]).unwrap().config;
        let mut catalog = Catalog::from_config(&config, 2);
        catalog.note(findings(&catalog), |_, _, _, _| {});
        carry(&catalog);
        Fake {
            catalog,
            file: CONFIG.to_owned(),
            lost: BTreeSet::new(),
            faults: Vec::new(),
            swarm: None,
            no_flows: None,
            no_reload: None,
            flows_dawdle: None,
        }
    }

    /// What the file shall say at the next reload.
    pub fn write_file(&mut self, text: &str) {
        text.clone_into(&mut self.file);
    }

    /// Serves it on a socket of its own until the answer is dropped.
    pub fn serve(self) -> Served {
        let directory = Directory::new();
        let path = directory.path.join("api.sock");
        let gateway = Arc::new(Mutex::new(self));
        let shared = Arc::clone(&gateway);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let at = path.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = super::bind(&at).unwrap();
                ready.send(()).unwrap();
                tokio::select! {
                    () = super::serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        });
        is_ready.recv().unwrap();
        Served { path, gateway, stop: Some(stop), thread: Some(thread), _directory: directory }
    }
}

/// Has every backend that is new count made-up numbers, which differ by its id.
fn carry(catalog: &Catalog) {
    let backends = catalog.services().iter().flat_map(|service| &service.backends);
    backends.filter(|backend| backend.stats.totals().connections == 0).for_each(count);
}

fn count(backend: &BackendEntry) {
    let (n, stats) = (backend.id.0, backend.stats.worker(0).unwrap());
    for (phase, flows) in [(Phase::Active, n), (Phase::Pending, 10 * n), (Phase::Over, 89 * n)] {
        (0..flows).for_each(|_| stats.opened(phase));
    }
    (0..89 * n).for_each(|_| stats.closed(Phase::Over));
    stats.packets(Direction::Original, 1000 * n, 64_000 * u64::from(n));
    stats.packets(Direction::Reply, 2000 * n, 1_400_000 * u64::from(n));
}

/// The first backend of the first service passed a check, the second one failed three.
fn findings(catalog: &Catalog) -> Vec<Finding> {
    let service = &catalog.services()[0];
    let finding = |backend: usize, passed, what: &str| Finding {
        backend: service.backends[backend].id,
        check: service.check.clone().unwrap(),
        outcome: Outcome { passed, what: what.to_owned(), took: Duration::from_micros(1_250) },
        // So far ahead that nobody sees it age.
        at: sys::clock::now() + Duration::from_hours(24),
    };
    let failed = || finding(1, false, "HTTP status 503");
    vec![finding(0, true, "HTTP status 200"), failed(), failed(), failed()]
}

/// A fake gateway that serves a socket.
pub struct Served {
    /// The socket.
    pub path: PathBuf,
    /// The gateway behind it.
    pub gateway: Arc<Mutex<Fake>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _directory: Directory,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path.exists(), "the socket's file was left behind");
    }
}

impl Operations for Fake {
    fn status(&self) -> Status {
        let device = |queue: u32, up, error: Option<&str>| DeviceStatus {
            name: "eth0".to_owned(),
            queue,
            worker: queue as usize,
            driver: "af_xdp".to_owned(),
            mode: "copy".to_owned(),
            up,
            rx_dropped: 7 * u64::from(queue),
            error: error.map(str::to_owned),
        };
        let interface = |name: &str, reason: Option<&str>| ShortcutInterface {
            name: name.to_owned(),
            reason: reason.map(str::to_owned),
        };
        let eth1 = interface("eth1", Some("it runs generic XDP"));
        Status {
            build: "sluicegate 0.1.0 (abcdef123456)".to_owned(),
            pid: 4242,
            uptime_seconds: 93_784,
            config: "/etc/gw.toml".to_owned(),
            generation: 12,
            workers: vec![
                WorkerStatus { worker: 0, cpu: 0, generation: 12, alive: true },
                WorkerStatus { worker: 1, cpu: 3, generation: 11, alive: true },
            ],
            devices: vec![device(0, true, None), device(1, false, Some("queue busy"))],
            flows: self.flow_count(),
            notes: vec!["no neighbour for 198.18.1.12".to_owned()],
            shortcuts: Some(ShortcutStatus { on: true, interfaces: vec![interface("eth0", None), eth1] }),
            flow_log: None,
            swarm: self.swarm.clone(),
        }
    }

    fn health(&mut self) -> Health {
        Health::of(self.faults.clone())
    }

    fn counters(&self) -> CountersView {
        let set = |rx: u64, full: u64| CounterSet {
            counters: [("rx_packets".to_owned(), rx), ("tx_packets".to_owned(), rx - full)].into(),
            drops: [("table_full".to_owned(), full), ("malformed".to_owned(), 0)].into(),
        };
        CountersView { total: set(1_000_300, 25), workers: vec![set(1_000_000, 20), set(300, 5)] }
    }

    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn lost(&self) -> &BTreeSet<BackendId> {
        &self.lost
    }

    fn edit(&mut self, edit: Edit) -> Result<(), EditError> {
        self.catalog.apply(&edit)?;
        carry(&self.catalog);
        Ok(())
    }

    fn reload(&mut self) -> Result<ReloadReport, ReloadError> {
        if let Some(why) = &self.no_reload {
            return Err(ReloadError::Failed(why.clone()));
        }
        let loaded = parse("/etc/gw.toml", self.file.as_bytes(), &[0, 1])?;
        let changes = self.catalog.replace(&loaded.config);
        carry(&self.catalog);
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(ReloadReport { changes, needs_restart: vec!["gateway.flows".to_owned()], warnings })
    }

    fn flows(&self, filter: FlowFilter) -> FlowQuestion {
        let named = |id: ServiceId| self.catalog.services().iter().find(|service| service.id == id);
        let service = filter.service.map(|id| named(id).unwrap().name.clone());
        let (why, dawdles) = (self.no_flows.clone(), self.flows_dawdle.clone());
        let flow = |n: u16, service: &str, state: &str| FlowView {
            worker: usize::from(n % 2),
            protocol: "tcp".to_owned(),
            client: format!("203.0.113.7:{}", 40_000 + n).parse().unwrap(),
            vip: "198.18.0.1:8080".parse().unwrap(),
            snat: format!("10.0.0.3:{}", 1024 + n).parse().unwrap(),
            backend: "10.0.0.11:8000".parse().unwrap(),
            service: service.to_owned(),
            state: state.to_owned(),
            expires_in_seconds: 7_100,
            packets: PerDirection { original: 10, reply: 12 },
            bytes: PerDirection { original: 840, reply: 15_000 },
        };
        let all = [flow(0, "my-web", "ESTABLISHED"), flow(1, "my-web", "TIME_WAIT"), flow(2, "games", "ESTABLISHED")];
        let wanted = move |flow: &FlowView| service.as_ref().is_none_or(|name| flow.service == *name);
        Box::new(move |visit| {
            for place in dawdles.iter().flat_map(|places| places.iter()) {
                place.wait();
            }
            if let Some(why) = why {
                return Err(why);
            }
            all.into_iter().filter(wanted).take(filter.limit).for_each(|flow| visit(&flow));
            Ok(())
        })
    }

    fn flow_count(&self) -> FlowCount {
        FlowCount { flows: 3, capacity: 1_000_000 }
    }
}

/// Directories that go away.
pub mod tempdir {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Goes away when dropped.
    pub struct Directory {
        /// Where it is.
        pub path: PathBuf,
    }

    impl Directory {
        /// One that nobody else has.
        pub fn new() -> Directory {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("sluicegate-test-{}-{count}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Directory { path }
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
