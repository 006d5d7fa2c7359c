//! The start: everything is opened, or nothing is left behind.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datapath::service::Generation;
use datapath::{Engine, EngineConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::catalog::Catalog;
use crate::config::{Config, Driver};
use crate::devices::{self, Devices, Filter, TUN_MTU};
use crate::flow_log::FlowLog;
use crate::gateway::{
    DEFECT, First, Gateway, OverlayMacs, Parts, StartError, TunFollower, TunLine, TunRoutes, TunWants, compile,
    has_tun, plain_ports, taken_by_kernel,
};
use crate::kernel::{self, Kernel, KernelError, KernelView};
use crate::metrics::{self, MetricsServer};
use crate::swarm::Provider;

/// How long to wait for the kernel's ARP on the underlay.
const UNDERLAY_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for ARP answers of tasks. Docker's nodes never give one.
const OVERLAY_PATIENCE: Duration = Duration::from_millis(300);
/// How long the workers may take to pick up the first table.
const TABLE_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait for the swarm's services.
const SWARM_PATIENCE: Duration = Duration::from_secs(3);
/// SNAT ports of overlay backends: the overlay address is ours alone.
const OVERLAY_PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;

/// A gateway that runs.
pub struct Running {
    /// The gateway itself.
    pub gateway: Arc<Mutex<Gateway>>,
    /// News of the kernel.
    pub view: watch::Receiver<KernelView>,
    /// API and metrics; they end when dropped.
    pub servers: JoinSet<()>,
    /// Keeps routes and rules for TUN.
    pub tun: Option<TunFollower>,
}

/// Opens everything that the config names. On error nothing is left behind.
pub async fn start(config: Config, config_path: &Path, cpus: Vec<usize>) -> Result<Running, StartError> {
    // Sockets first: a second gateway on the same config ends here, before it has touched a device.
    let api = crate::api::bind(&config.gateway.api)?;
    let metrics = match config.gateway.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let provider = config.swarm.as_ref().map(Provider::new).transpose()?;
    let kernel = Arc::new(Kernel::open().await.map_err(kernel_error)?);
    let mut view = kernel.view();
    let (parts, tun) = open(config, config_path, cpus, Arc::clone(&kernel), &mut view).await?;
    let gateway = Arc::new(Mutex::new(Gateway::new(parts)));
    if let Err(error) = settle(&gateway).await {
        // Nobody else has it yet.
        if let Some(gateway) = Arc::into_inner(gateway) {
            gateway.into_inner().unwrap_or_else(PoisonError::into_inner).stop();
        }
        if let Some(tun) = tun {
            tun.end().await;
        }
        return Err(error);
    }
    let mut servers = JoinSet::new();
    if let Some(provider) = provider {
        let mut synced = provider.synced();
        servers.spawn(provider.run(Arc::clone(&gateway)));
        // Later will do: an API that is down is no reason not to serve what the file says.
        let _ = tokio::time::timeout(SWARM_PATIENCE, synced.wait_for(|synced| *synced)).await;
    }
    servers.spawn(crate::api::serve(api, Arc::clone(&gateway)));
    if let Some(metrics) = metrics {
        let gateway = Arc::clone(&gateway);
        let render = move || {
            // The gateway is free again while the text is written.
            let page = metrics::page(&*super::lock(&gateway));
            page.text().map_err(|error| error.to_string())
        };
        servers.spawn(metrics.serve(Arc::new(render)));
    }
    Ok(Running { gateway, view, servers, tun })
}

fn kernel_error(error: KernelError) -> StartError {
    let hint = "the process must be allowed netlink sockets: see RestrictAddressFamilies of its unit, or its container's seccomp profile";
    StartError::new("rtnetlink", error, hint)
}

async fn open(
    config: Config,
    config_path: &Path,
    cpus: Vec<usize>,
    kernel: Arc<Kernel>,
    view: &mut watch::Receiver<KernelView>,
) -> Result<(Parts, Option<TunFollower>), StartError> {
    let catalog = Catalog::from_config(&config, config.gateway.cpus.len());
    let now = view.borrow_and_update().clone();
    check_addresses(&config, &catalog, &now)?;
    let plain_ports = ports_for_plain();
    let Devices { workers, filter } = devices::open(&config, &now, plain_ports.clone())?;
    let routes = set_up_tun(&config, &kernel).await?;
    let view = resolve(&config, &catalog, &kernel, view).await;
    let compiled = compile(&config, &catalog, &view, &OverlayMacs::new(), Generation(1));
    let tables_error = |error| StartError::new("[[service]]", error, DEFECT);
    let (snapshot, first) = First::split(compiled).map_err(tables_error)?;
    let engine_config = EngineConfig {
        cpus: config.gateway.cpus.clone(),
        flows: config.gateway.flows,
        timeouts: config.timeouts,
        plain_ports: plain_ports.clone(),
        overlay_ports: OVERLAY_PORTS,
        seed: sys::random_seed(),
        logs_flows: config.flow_log.is_some(),
    };
    let engine = Engine::start(&engine_config, workers, snapshot).map_err(|error| {
        StartError::new("workers", error, "see gateway.cpus, gateway.flows, and `ulimit -u` and `ulimit -n`")
    })?;
    let flow_log = match start_flow_log(&config, &engine, &catalog) {
        Ok(flow_log) => flow_log,
        Err(error) => {
            engine.stop();
            return Err(error);
        }
    };
    let wants = TunWants::of(first.rules(), &view, &plain_ports);
    let connected = connect(filter, &first, routes, wants).await;
    let (filter, tun_line, tun) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            engine.stop();
            return Err(error);
        }
    };
    let config_path = config_path.to_owned();
    let parts = Parts {
        config,
        config_path,
        cpus,
        catalog,
        engine,
        filter,
        kernel,
        view,
        first,
        tun_line,
        plain_ports,
        flow_log,
    };
    Ok((parts, tun))
}

fn start_flow_log(config: &Config, engine: &Engine, catalog: &Catalog) -> Result<Option<FlowLog>, StartError> {
    let Some(wanted) = &config.flow_log else { return Ok(None) };
    let log = FlowLog::start(wanted, engine.flow_events());
    let hint = "its directory must exist, and be writable";
    let log = log.map_err(|error| StartError::new(format!("flow_log.path {}", wanted.path.display()), error, hint))?;
    log.know(catalog);
    Ok(Some(log))
}

/// What would not work because of addresses that this machine has.
fn check_addresses(config: &Config, catalog: &Catalog, view: &KernelView) -> Result<(), StartError> {
    if let Some((address, link)) = taken_by_kernel(config, catalog, view).into_iter().next() {
        return Err(StartError::new(
            "[[service]]",
            format!("{address} is an address of {link}: over TUN the kernel would take its packets"),
            format!("ip address del {address} dev {link}; route it to this machine instead"),
        ));
    }
    Ok(())
}

fn ports_for_plain() -> std::ops::RangeInclusive<u16> {
    let kernels = kernel::local_port_range().unwrap_or_else(|error| {
        tracing::warn!("the kernel's local ports are taken to be its default: {error}");
        32768..=60999
    });
    plain_ports(&kernels)
}

/// Switches on the TUN device, if one is configured, and forwarding: the kernel carries the packets between it and the
/// interfaces.
async fn set_up_tun(config: &Config, kernel: &Arc<Kernel>) -> Result<Option<TunRoutes>, StartError> {
    let mut routes = None;
    for interface in config.interfaces.iter().filter(|interface| interface.driver == Driver::Tun) {
        let place = format!("[[interface]] {:?}", interface.name);
        let set_up = TunRoutes::set_up(Arc::clone(kernel), &interface.name, TUN_MTU).await;
        let set_up = set_up.map_err(|error| StartError::new(&place, error, "run as root, or give CAP_NET_ADMIN"))?;
        kernel::accept_local(&interface.name).map_err(|error| {
            let message = format!("accept_local cannot be switched on: {error}");
            let key = format!("net.ipv4.conf.{}.accept_local", interface.name);
            StartError::new(&place, message, format!("/proc/sys must be writable, or set {key} = 1 from outside"))
        })?;
        // The first one gets the VIPs.
        routes.get_or_insert(set_up);
    }
    if routes.is_some() {
        switch_on_forwarding()?;
    }
    Ok(routes)
}

fn switch_on_forwarding() -> Result<(), StartError> {
    let place = "net.ipv4.ip_forward";
    let unread =
        |error| StartError::new(place, error, "/proc/sys must be there: TUN needs to know whether the kernel forwards");
    if kernel::ip_forward().map_err(unread)? {
        return Ok(());
    }
    kernel::switch_on_ip_forward().map_err(|error| {
        let message = format!("TUN needs forwarding, and it cannot be switched on: {error}");
        StartError::new(place, message, "sysctl -w net.ipv4.ip_forward=1")
    })?;
    tracing::info!("switched on net.ipv4.ip_forward: the kernel carries packets between TUN and the interfaces");
    Ok(())
}

/// Has the kernel find the way to all VTEPs and plain backends, and waits for it a moment. Whatever is missing then comes
/// with a later table: an unreachable node is no reason not to serve the others.
async fn resolve(
    config: &Config,
    catalog: &Catalog,
    kernel: &Kernel,
    view: &mut watch::Receiver<KernelView>,
) -> KernelView {
    let empty = compile(config, catalog, &KernelView::default(), &OverlayMacs::new(), Generation(0));
    let asked = empty.findings.asked;
    kernel.follow(asked.clone());
    let tun = has_tun(config);
    let complete = |view: &KernelView| {
        let known = asked.iter().all(|address| view.paths.contains_key(address));
        // Over TUN the kernel asks for neighbours itself.
        known && (tun || view.unresolved(&asked).next().is_none())
    };
    let _ = tokio::time::timeout(UNDERLAY_PATIENCE, view.wait_for(complete)).await;
    view.borrow_and_update().clone()
}

const TUN_HINT: &str = "run as root, or give CAP_NET_ADMIN; where IPv6 is switched off (net.ipv6.conf.all.disable_ipv6) there can be \
                        no IPv6 VIP";

type Connected = (Option<Filter>, Option<TunLine>, Option<TunFollower>);

/// Leads packets to the running workers.
async fn connect(
    mut filter: Option<Filter>,
    first: &First,
    routes: Option<TunRoutes>,
    wants: TunWants,
) -> Result<Connected, StartError> {
    if let Some(filter) = &mut filter {
        let hint = "the chapter on limits in docs/operating.md says what the filter has room for";
        let failed = |error| StartError::new("XDP filter", error, hint);
        filter.publish(first.rules()).map_err(failed)?;
    }
    let Some(mut routes) = routes else { return Ok((filter, None, None)) };
    let failed = |error: KernelError| StartError::new("routes to the TUN device", error, TUN_HINT);
    if let Err(error) = routes.set(&wants).await {
        // Rules do not end with the device.
        routes.clear_rules_or_say().await;
        return Err(failed(error));
    }
    let (line, follower) = routes.follow(wants);
    Ok((filter, Some(line), Some(follower)))
}

/// Waits until the first table is live, and a moment for tasks to tell their MAC addresses.
async fn settle(gateway: &Mutex<Gateway>) -> Result<(), StartError> {
    let poll = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        {
            let mut gateway = super::lock(gateway);
            gateway.tick();
            if let Some((worker, reason)) = gateway.failure() {
                return Err(StartError::new(format!("worker {worker}"), reason, DEFECT));
            }
            let live = gateway.is_live();
            if !live && waited >= TABLE_PATIENCE {
                let hint = "the CPUs of gateway.cpus have no time for them: see `top -H`, or list others";
                return Err(StartError::new("workers", "they have not taken up the first table", hint));
            }
            if live && (gateway.guessed_overlay_macs() == 0 || waited >= OVERLAY_PATIENCE) {
                return Ok(());
            }
        }
        tokio::time::sleep(poll).await;
        waited += poll;
    }
}
