//! Opening the devices that the config names: all of them, or none and one clear error.

mod filter;
mod plan;

use std::io;
use std::ops::RangeInclusive;

use datapath::service::InterfaceIndex;
use datapath::{Role, Slot, WorkerDevices};
use sys::{Device, FramePool, OverlaySocket, RingSizes, TunDevice, XdpDevice, XdpUmem};

pub use filter::Filter;

use crate::config::{Config, Driver, InterfaceConfig, OverlayConfig};
use crate::gateway::{StartError, has_tun};
use crate::kernel::KernelView;
use filter::xdp_mode;
use plan::{Queue, place};

/// Everything that is open. Dropping it undoes it.
pub struct Devices {
    /// What each worker gets.
    pub workers: Vec<WorkerDevices>,
    /// The XDP filter, with the sockets in its map, not attached yet.
    pub filter: Option<Filter>,
}

/// Frames that a worker holds beside what lies in its rings: bursts in work, packets waiting for another worker, fragments
/// waiting for their first.
const SPARE_FRAMES: usize = 2048;
/// The MTU of a TUN device.
pub const TUN_MTU: u32 = 1500;

/// Opens all devices. `plain_ports` are the SNAT ports of plain backends, for the filter.
pub fn open(
    config: &Config,
    view: &KernelView,
    plain_ports: RangeInclusive<u16>,
) -> Result<Devices, StartError> {
    let queues = find_queues(config, view)?;
    let hands = plan::deal(&queues, config.gateway.cpus.len());
    let frame_size = plan::frame_size(&config.interfaces, view)?;
    let mut filter = if queues.is_empty() { None } else { Some(Filter::load(plain_ports)?) };
    let mut workers = Vec::new();
    for hand in hands {
        workers.push(open_worker(config, &hand, frame_size, filter.as_mut())?);
    }
    open_tuns(config, &mut workers)?;
    if let Some(overlay) = &config.overlay
        && has_tun(config)
    {
        open_overlay(overlay, &mut workers)?;
    }
    Ok(Devices { workers, filter })
}

fn indexed(config: &Config, driver: Driver) -> impl Iterator<Item = (InterfaceIndex, &InterfaceConfig)> {
    let all = (0..).map(InterfaceIndex).zip(&config.interfaces);
    all.filter(move |(_, interface)| interface.driver == driver)
}

fn find_queues(config: &Config, view: &KernelView) -> Result<Vec<Queue>, StartError> {
    let mut queues = Vec::new();
    for (index, interface) in indexed(config, Driver::AfXdp) {
        if view.link_named(&interface.name).is_none() {
            return Err(missing(interface, view));
        }
        let count = sys::queue_count(&interface.name).map_err(|error| {
            StartError::new(place(interface), format!("cannot count its queues: {error}"), "")
        })?;
        queues.extend(plan::queues(index, interface, count)?);
    }
    Ok(queues)
}

fn missing(interface: &InterfaceConfig, view: &KernelView) -> StartError {
    let names: Vec<_> = view.links.values().map(|link| link.name.as_str()).collect();
    let hint = format!("this machine has {}", names.join(", "));
    StartError::new(place(interface), "there is no such interface", hint)
}

fn open_worker(
    config: &Config,
    hand: &[Queue],
    frame_size: usize,
    filter: Option<&mut Filter>,
) -> Result<WorkerDevices, StartError> {
    let Some(filter) = filter.filter(|_| !hand.is_empty()) else {
        return Ok(WorkerDevices { pool: FramePool::heap(2 * SPARE_FRAMES, frame_size), devices: Vec::new() });
    };
    let sizes = RingSizes::default();
    let frames = hand.len() * sizes.frames() + SPARE_FRAMES;
    let (umem, mut pool) = sys::xdp_pool(frames, frame_size).map_err(|error| StartError::new("[[interface]]", error, ""))?;
    let mut devices = Vec::new();
    for queue in hand {
        let device = bind(config, *queue, &umem, &mut pool, sizes, filter)?;
        devices.push(Slot { role: Role::Interface(queue.interface), device });
    }
    Ok(WorkerDevices { pool, devices })
}

fn bind(
    config: &Config,
    queue: Queue,
    umem: &XdpUmem,
    pool: &mut FramePool,
    sizes: RingSizes,
    filter: &mut Filter,
) -> Result<Box<dyn Device>, StartError> {
    let interface = &config.interfaces[usize::from(queue.interface.0)];
    let (name, mode) = (interface.name.as_str(), xdp_mode(interface.mode));
    let device = XdpDevice::bind(umem, pool, name, queue.queue, mode, sizes)
        .map_err(|error| StartError::new(place(interface), error, ""))?;
    let set = filter.program().set_socket(name, queue.queue, device.socket());
    set.map_err(|error| StartError::new(place(interface), error, ""))?;
    Ok(Box::new(device))
}

/// The first worker reads a TUN device, all of them write to it.
fn open_tuns(config: &Config, workers: &mut [WorkerDevices]) -> Result<(), StartError> {
    for (index, interface) in indexed(config, Driver::Tun) {
        let failed = |error: io::Error| tun_error(interface, &error);
        let first = TunDevice::open(&interface.name, TUN_MTU).map_err(failed)?;
        let mut siblings = Vec::new();
        for _ in 1..workers.len() {
            siblings.push(first.sibling().map_err(failed)?);
        }
        for (worker, device) in workers.iter_mut().zip(std::iter::once(first).chain(siblings)) {
            worker.devices.push(Slot { role: Role::Interface(index), device: Box::new(device) });
        }
    }
    Ok(())
}

fn tun_error(interface: &InterfaceConfig, error: &io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as root, or give CAP_NET_ADMIN",
        io::ErrorKind::NotFound => "there is no /dev/net/tun: `modprobe tun`, or give the container that device",
        io::ErrorKind::ResourceBusy => "another program has it open, or a device of that name exists: choose another name",
        _ => "",
    };
    StartError::new(place(interface), format!("cannot make the TUN device: {error}"), hint)
}

fn open_overlay(overlay: &OverlayConfig, workers: &mut [WorkerDevices]) -> Result<(), StartError> {
    for worker in workers {
        let socket = OverlaySocket::bind(overlay.vtep, overlay.port).map_err(|error| overlay_error(overlay, &error))?;
        worker.devices.push(Slot { role: Role::OverlaySocket, device: Box::new(socket) });
    }
    Ok(())
}

fn overlay_error(overlay: &OverlayConfig, error: &io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "a VXLAN device of this machine or another program has that port: see `ss -lnup`; a swarm member needs driver = \"af_xdp\"",
        io::ErrorKind::AddrNotAvailable => "overlay.vtep must be an address of this machine: see `ip -4 addr`",
        io::ErrorKind::PermissionDenied => "run as root, or give CAP_NET_RAW",
        _ => "",
    };
    let message = format!("cannot open UDP {}:{}: {error}", overlay.vtep, overlay.port);
    StartError::new("[overlay]", message, hint)
}
