//! Opening the devices that the config names: all of them, or none and one clear error.

mod busy;
mod filter;
mod plan;
mod remedy;
mod served;
mod shortcuts;

use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use datapath::service::InterfaceIndex;
use datapath::{Role, Slot, WorkerDevices};
use sys::{
    BindCause, BindError, Device, FramePool, JoinedLimits, OverlaySocket, RingSizes, TunDevice, XdpMode, XdpTuning,
    XdpUmem,
};

use busy::BusyQueue;
pub use filter::Filter;

use crate::config::{Config, Driver, InterfaceConfig, OverlayConfig};
use crate::gateway::{StartError, has_tun};
use crate::kernel::KernelView;
use plan::{Queue, place};

/// Everything that is open. Dropping it undoes it.
pub struct Devices {
    /// What each worker gets.
    pub workers: Vec<WorkerDevices>,
    /// The XDP filter, attached, with the sockets in its map; without rules it takes nothing yet.
    pub filter: Option<Filter>,
}

/// Frames that a worker holds beside what lies in its rings: bursts in work, packets waiting for another worker, fragments
/// waiting for their first.
const SPARE_FRAMES: usize = 2048;
/// The MTU of a TUN device. What comes through the overlay socket may be longer: the kernel hands on joined segments.
pub const TUN_MTU: u32 = 1500;

/// Opens all devices. `plain_ports` are the SNAT ports of plain backends, for the filter.
pub fn open(config: &Config, view: &KernelView, plain_ports: RangeInclusive<u16>) -> Result<Devices, StartError> {
    let queues = find_queues(config, view)?;
    let frame_size = plan::frame_size(&config.interfaces, view)?;
    let mut sockets =
        if queues.is_empty() { None } else { Some(Sockets::prepare(config, view, &queues, plain_ports)?) };
    let mut workers = Vec::new();
    let hands = plan::deal(&queues, config.gateway.cpus.len());
    if let Some(warning) = plan::idle_workers(&hands).filter(|_| !has_tun(config))
        && let Some(sockets) = &mut sockets
    {
        sockets.filter.served_mut().set_idle_workers(format!("gateway.cpus: {warning}"));
    }
    for hand in hands {
        check_sending(config, &hand)?;
        workers.push(match &mut sockets {
            Some(sockets) if !hand.is_empty() => sockets.open(&hand, frame_size)?,
            _ => WorkerDevices {
                pool: FramePool::heap(2 * SPARE_FRAMES, sys::MAX_FRAME_BYTES),
                devices: Vec::new(),
                lending: None,
            },
        });
    }
    if let Some(sockets) = &mut sockets {
        sockets.judge()?;
        for (worker, lending) in workers.iter_mut().zip(sockets.filter.lendings(config)?) {
            worker.lending = Some(lending);
        }
    }
    open_tuns(config, &mut workers)?;
    if let Some(overlay) = &config.overlay
        && has_tun(config)
    {
        open_overlay(overlay, &mut workers)?;
    }
    Ok(Devices { workers, filter: sockets.map(|sockets| sockets.filter) })
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
        let count = sys::queue_count(&interface.name).map_err(|error| uncounted(interface, &error))?;
        queues.extend(plan::queues(index, interface, count)?);
    }
    Ok(queues)
}

/// A worker sends by the first of its queues on an interface, and the kernel never sends by one that is beyond those it sends by.
fn check_sending(config: &Config, hand: &[Queue]) -> Result<(), StartError> {
    for (index, interface) in indexed(config, Driver::AfXdp) {
        let Some(first) = hand.iter().find(|queue| queue.interface == index) else { continue };
        let count = sys::transmit_queue_count(&interface.name).map_err(|error| uncounted(interface, &error))?;
        if first.queue >= count {
            let message = format!("it sends by {count} queue(s) only, so nothing could leave by queue {}", first.queue);
            let hint =
                format!("`ethtool -L {}`: as many to send by as workers, or list fewer with `queues`", interface.name);
            return Err(StartError::new(place(interface), message, hint));
        }
    }
    Ok(())
}

fn memory_hint(bytes: usize) -> String {
    format!("each worker locks {} MB: run as root, or see `ulimit -l` (LimitMEMLOCK of its unit)", bytes >> 20)
}

fn uncounted(interface: &InterfaceConfig, error: &io::Error) -> StartError {
    let hint = format!("`ethtool -l {}` must show them; driver = \"tun\" does without", interface.name);
    StartError::new(place(interface), format!("cannot count its queues: {error}"), hint)
}

fn missing(interface: &InterfaceConfig, view: &KernelView) -> StartError {
    let names: Vec<_> = view.links.values().map(|link| link.name.as_str()).collect();
    let hint = format!("this machine has {}", names.join(", "));
    StartError::new(place(interface), "there is no such interface", hint)
}

/// Makes the AF_XDP sockets.
struct Sockets<'a> {
    config: &'a Config,
    filter: Filter,
    /// By interface: how long its single packets and the pieces of joined ones may be.
    limits: Vec<JoinedLimits>,
    /// By interface; what the attached filter allows.
    modes: Vec<XdpMode>,
    /// By interface: there is a socket.
    bound: Vec<bool>,
    /// Queues that are held by another program, with the interface's index.
    refused: Vec<(usize, BindError)>,
}

impl Sockets<'_> {
    /// The filter comes first, without rules, so that it takes nothing: it tells in which mode the sockets can run.
    fn prepare<'a>(
        config: &'a Config,
        view: &KernelView,
        queues: &[Queue],
        plain_ports: RangeInclusive<u16>,
    ) -> Result<Sockets<'a>, StartError> {
        let mut filter = Filter::load(plain_ports)?;
        let mut modes = Vec::new();
        for (index, interface) in (0..).map(InterfaceIndex).zip(&config.interfaces) {
            modes.push(match interface.driver {
                Driver::AfXdp => {
                    let link = view.link_named(&interface.name).ok_or_else(|| missing(interface, view))?;
                    let count = queues.iter().filter(|queue| queue.interface == index).count();
                    filter.attach(interface, link, count as u32)?
                }
                Driver::Tun => XdpMode::Auto,
            });
        }
        let bound = vec![false; modes.len()];
        let limits = plan::joined_limits(config, view);
        Ok(Sockets { config, filter, limits, modes, bound, refused: Vec::new() })
    }

    /// One worker's packet memory and sockets.
    fn open(&mut self, hand: &[Queue], frame_size: usize) -> Result<WorkerDevices, StartError> {
        let frames = hand.len() * RingSizes::default().frames() + SPARE_FRAMES;
        let failed = |error: io::Error| StartError::new("[[interface]]", error, memory_hint(frames * frame_size));
        let (umem, mut pool) = sys::xdp_pool(frames, frame_size).map_err(failed)?;
        let umem = Arc::new(Mutex::new(umem));
        self.agree_on_copying(hand);
        let joins = hand.iter().any(|queue| self.modes[usize::from(queue.interface.0)] == XdpMode::Generic);
        let mut devices = Vec::new();
        for queue in hand {
            let device = self.bind(*queue, joins, &umem, &mut pool)?;
            devices.push(Slot { role: Role::Interface(queue.interface), device });
        }
        Ok(WorkerDevices { pool, devices, lending: None })
    }

    /// A worker's sockets share their memory, and the first of them decides between zero-copy and copy for all. So where one interface
    /// cannot do zero-copy, those that may choose do without.
    fn agree_on_copying(&mut self, hand: &[Queue]) {
        let lacks = |index: usize| matches!(sys::has_zero_copy(&self.config.interfaces[index].name), Ok(Some(false)));
        let mut indexes: Vec<_> = hand.iter().map(|queue| usize::from(queue.interface.0)).collect();
        indexes.dedup();
        if !plan::must_copy(indexes.iter().map(|index| (self.modes[*index], lacks(*index)))) {
            return;
        }
        for index in indexes {
            if self.modes[index] == XdpMode::Auto {
                self.modes[index] = XdpMode::Copy;
            }
        }
    }

    /// The socket of a queue. One that another program holds is tried again by the worker, as long as the interface has
    /// others. `joins`: without XDP in the driver, one of the worker's interfaces gives joined packets, and the first socket decides for
    /// all whether those come in pieces.
    fn bind(
        &mut self,
        queue: Queue,
        joins: bool,
        umem: &Arc<Mutex<XdpUmem>>,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Device>, StartError> {
        let index = usize::from(queue.interface.0);
        let interface = &self.config.interfaces[index];
        let (name, mode) = (interface.name.clone(), self.modes[index]);
        let number = self.filter.served().index_of(&name).unwrap_or_default();
        let tuning = XdpTuning { joined: joins.then_some(self.limits[index]), ..XdpTuning::default() };
        let umem = Arc::clone(umem);
        let socket = busy::Socket { umem, interface: name, index: number, queue: queue.queue, mode, tuning };
        match socket.bind(pool) {
            Ok(device) => {
                let set = self.filter.program().set_socket(&interface.name, queue.queue, device.socket());
                set.map_err(|error| StartError::new(place(interface), error, remedy::ANY))?;
                self.bound[index] = true;
                Ok(Box::new(device))
            }
            Err(error) if matches!(error.cause, BindCause::Busy) => {
                let busy = BusyQueue::new(socket, &error, self.filter.late_sockets());
                self.refused.push((index, error));
                Ok(Box::new(busy))
            }
            Err(error) => {
                let remedy = remedy::of_socket(&error.cause);
                Err(StartError::new(place(interface), error, remedy))
            }
        }
    }

    /// An interface of which every queue is held by somebody else can do nothing; one with some is served by those.
    fn judge(&mut self) -> Result<(), StartError> {
        for (index, error) in self.refused.drain(..) {
            if !self.bound[index] {
                let hint = "all of its queues are held: `ss --xdp -p` shows by whom";
                return Err(StartError::new(place(&self.config.interfaces[index]), error, hint));
            }
            tracing::warn!("{error}; until it is free, its packets stay with the kernel");
        }
        Ok(())
    }
}

/// The first worker reads a TUN device, all of them write to it.
fn open_tuns(config: &Config, workers: &mut [WorkerDevices]) -> Result<(), StartError> {
    for (index, interface) in indexed(config, Driver::Tun) {
        let hint = "a TUN device wants root or CAP_NET_ADMIN, /dev/net/tun, and a name that nobody else has";
        let failed = |error: io::Error| StartError::new(place(interface), error, hint);
        let first = TunDevice::open(&interface.name, TUN_MTU).map_err(failed)?;
        if hold_joined(workers.iter().map(|worker| worker.pool.frame_size()))
            && let Err(error) = first.receive_joined()
        {
            tracing::info!("{}: packets come one by one: {error}", interface.name);
        }
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

/// Whether joined segments fit into the frames of all workers: the one that reads hands packets over to the others.
fn hold_joined(mut frame_sizes: impl Iterator<Item = usize>) -> bool {
    frame_sizes.all(|size| size >= sys::MAX_FRAME_BYTES)
}

fn open_overlay(overlay: &OverlayConfig, workers: &mut [WorkerDevices]) -> Result<(), StartError> {
    let sockets = OverlaySocket::bind_group(overlay.vtep, overlay.port, workers.len());
    let hint = format!("UDP port {} of `vtep` must be free on this machine: see `ss -lun`", overlay.port);
    let sockets = sockets.map_err(|error| StartError::new("[overlay]", error, hint))?;
    for (worker, socket) in workers.iter_mut().zip(sockets) {
        worker.devices.push(Slot { role: Role::OverlaySocket, device: Box::new(socket) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::kernel::Kernel;
    use crate::kernel::namespace::{in_namespace, ip, output};

    #[test]
    fn joined_segments_must_fit_every_worker() {
        let long = sys::MAX_FRAME_BYTES;
        assert!(hold_joined([long, long].into_iter()));
        assert!(!hold_joined([long, 2048].into_iter()), "a worker that serves a queue of a card");
    }

    #[test]
    fn workers_without_a_queue_are_told_of_for_good() {
        in_namespace("devices::tests::workers_without_a_queue_are_told_of_for_good", || {
            ip("link add eth0 numrxqueues 1 numtxqueues 1 type veth peer name far0");
            ip("link set eth0 up");
            let text = |cpus: &str| format!("[gateway]\ncpus = {cpus}\n[[interface]]\nname = \"eth0\"\n");
            let idle = |cpus| {
                let config = config::parse("gw.toml", text(cpus).as_bytes(), &[0, 1]).unwrap().config;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let view = runtime.block_on(async { Kernel::open().await.unwrap().view().borrow().clone() });
                let filter = open(&config, &view, 1024..=32767).unwrap().filter.unwrap();
                filter.served().idle_workers().map(str::to_owned)
            };
            assert_eq!(idle("[0]"), None);
            let said = idle("[0, 1]").unwrap();
            assert!(said.starts_with("gateway.cpus: only 1 of 2 workers have a queue"), "{said}");
        });
    }

    #[test]
    fn a_worker_that_could_send_nothing_is_refused() {
        in_namespace("devices::tests::a_worker_that_could_send_nothing_is_refused", || {
            ip("link add eth0 numrxqueues 4 numtxqueues 4 type veth peer name far0");
            output("ethtool", &["-L", "eth0", "rx", "4", "tx", "2"]);
            let text = "[gateway]\ncpus = [0, 1, 2, 3]\n[[interface]]\nname = \"eth0\"\n";
            let config = config::parse("gw.toml", text.as_bytes(), &[0, 1, 2, 3]).unwrap().config;
            let hand = |queues: &[u32]| -> Vec<Queue> {
                queues.iter().map(|queue| Queue { interface: InterfaceIndex(0), queue: *queue }).collect()
            };
            for good in [&[][..], &[0, 2], &[1, 3], &[0, 1, 2, 3]] {
                check_sending(&config, &hand(good)).unwrap();
            }
            let error = check_sending(&config, &hand(&[2])).unwrap_err();
            assert_eq!(error.message, "it sends by 2 queue(s) only, so nothing could leave by queue 2");
        });
    }
}
