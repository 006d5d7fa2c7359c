//! A queue that another program holds: asked for again once a second until it is free.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sys::{
    BindCause, BindError, Device, DeviceState, Frame, FramePool, LinkType, TxReport, XdpDevice, XdpMode, XdpTuning,
    XdpUmem,
};

use super::filter::LateSocket;

/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// What it takes to make the socket of a queue.
pub(super) struct Socket {
    pub(super) umem: Arc<Mutex<XdpUmem>>,
    pub(super) interface: String,
    /// The interface's number: another one may come under its name.
    pub(super) index: u32,
    pub(super) queue: u32,
    pub(super) mode: XdpMode,
    pub(super) tuning: XdpTuning,
}

impl Socket {
    pub(super) fn bind(&self, pool: &mut FramePool) -> Result<XdpDevice, BindError> {
        if !sys::is_interface(&self.interface, self.index) {
            let (interface, queue) = (self.interface.clone(), self.queue);
            return Err(BindError { interface, queue, cause: BindCause::NoSuchInterface });
        }
        let umem = self.umem.lock().unwrap_or_else(PoisonError::into_inner);
        XdpDevice::bind(&umem, pool, &self.interface, self.queue, self.mode, self.tuning)
    }
}

/// A device that takes and gives nothing until its queue is free.
pub(super) struct BusyQueue {
    socket: Socket,
    bound: Option<XdpDevice>,
    failure: String,
    next_try: Duration,
    late: Sender<LateSocket>,
}

impl BusyQueue {
    pub(super) fn new(socket: Socket, error: &BindError, late: Sender<LateSocket>) -> Self {
        Self { socket, bound: None, failure: error.to_string(), next_try: Duration::ZERO, late }
    }

    fn try_again(&mut self, pool: &mut FramePool) {
        let now = sys::clock::now();
        if now < self.next_try {
            return;
        }
        self.next_try = now + PAUSE;
        let device = match self.socket.bind(pool) {
            Ok(device) => device,
            Err(error) => {
                self.failure = error.to_string();
                return;
            }
        };
        let Ok(socket) = device.socket().try_clone_to_owned() else { return };
        // Control is gone only when the process ends.
        let interface = self.socket.interface.clone();
        let _ = self.late.send(LateSocket { interface, queue: self.socket.queue, socket });
        self.bound = Some(device);
    }
}

impl Device for BusyQueue {
    fn link_type(&self) -> LinkType {
        LinkType::Ethernet
    }

    fn joins_segments(&self) -> bool {
        self.socket.tuning.joined.is_some()
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        if self.bound.is_none() {
            self.try_again(pool);
        }
        self.bound.as_mut().map_or(0, |device| device.rx(pool, burst, limit))
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        if let Some(device) = &mut self.bound {
            return device.tx(pool, out);
        }
        let refused = out.len();
        pool.put_all(out.drain(..));
        TxReport { refused, ..TxReport::default() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.bound.as_ref()?.fd()
    }

    fn has_work(&self) -> bool {
        self.bound.as_ref().is_some_and(Device::has_work)
    }

    fn is_ready(&self) -> bool {
        self.bound.as_ref().is_some_and(Device::is_ready)
    }

    fn state(&self) -> DeviceState {
        if let Some(device) = &self.bound {
            return device.state();
        }
        DeviceState {
            name: self.socket.interface.clone(),
            queue: self.socket.queue,
            driver: "af_xdp",
            mode: "-",
            up: false,
            error: Some(self.failure.clone()),
            ..DeviceState::default()
        }
    }
}
