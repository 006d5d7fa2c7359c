//! One queue of a network interface through an `AF_XDP` socket.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::{fmt, io};

use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::socket::{RxQueue, Socket, TxQueue, XdpStatistics};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue};

use crate::link::{self, LinkQuery};
use crate::queue::{Kernel, Queue};
use crate::ring::{Descriptor, Producer};
use crate::umem::RING_SLOTS;
use crate::{
    BURST, BindCause, BindError, BusyPoll, Device, DeviceState, Frame, FramePool, LinkType, TxReport, XdpTuning,
    XdpUmem, os,
};

/// `XDP_MAX_TX_SKB_BUDGET`: how many packets one wake-up sends in copy mode. Since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// Bytes on their way through an interface in copy mode.
const SOCKET_BUFFER_BYTES: u32 = 8 << 20;

/// How packets get from the interface into our memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// The best that works: zero-copy, copy, generic.
    #[default]
    Auto,
    /// The interface itself writes into our memory; fails where the driver cannot.
    ZeroCopy,
    /// The driver runs the filter and the kernel copies.
    Copy,
    /// The kernel does it all, for any driver: slow.
    Generic,
}

impl fmt::Display for XdpMode {
    /// As users write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            XdpMode::Auto => "auto",
            XdpMode::ZeroCopy => "zero-copy",
            XdpMode::Copy => "copy",
            XdpMode::Generic => "generic",
        })
    }
}

/// Places in the rings of one socket: powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSizes {
    /// Received packets that wait for us.
    pub rx: u32,
    /// Packets that wait to be sent.
    pub tx: u32,
    /// Frames that the kernel is given to receive into; at most 4096.
    pub fill: u32,
}

impl Default for RingSizes {
    fn default() -> RingSizes {
        RingSizes { rx: 2048, tx: 1024, fill: 2048 }
    }
}

impl RingSizes {
    /// Frames that one device may have in the kernel's hands or in a burst: a worker's pool needs the sum over its devices.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.fill as usize + self.tx as usize + 2 * BURST
    }
}

/// An `AF_XDP` socket on one queue of one interface.
pub struct XdpDevice {
    queue: Queue<XdpKernel>,
    interface: String,
    /// Of the interface: another one may come under its name.
    index: u32,
    number: u32,
    /// The kernel sends nothing by a queue beyond those that the interface sends by.
    sends: bool,
    mode: &'static str,
    link: LinkQuery,
}

impl XdpDevice {
    /// Makes a socket on the queue and gives the kernel frames to receive into. Packets come only when an [`crate::XdpFilter`] is
    /// attached to the interface and knows the socket.
    ///
    /// `tuning`: [`RingSizes`] alone, or all of [`XdpTuning`].
    ///
    /// Where the filter was attached in generic mode, `mode` must be [`XdpMode::Generic`]. The first socket of a UMEM decides
    /// between zero-copy and copy for all of them: that is how the kernel shares a UMEM.
    ///
    /// # Errors
    /// See [`BindCause`].
    pub fn bind(
        umem: &XdpUmem,
        pool: &mut FramePool,
        interface: &str,
        queue: u32,
        mode: XdpMode,
        tuning: impl Into<XdpTuning>,
    ) -> Result<XdpDevice, BindError> {
        let wrong = |cause| BindError { interface: interface.into(), queue, cause };
        let asked = |error| wrong(BindCause::of(error, mode));
        let index = link::index(interface).map_err(asked)?;
        let (queues, transmit) = link::queues(interface).map_err(asked)?;
        if queue >= queues {
            return Err(wrong(BindCause::NoSuchQueue { queues }));
        }
        if pool.base() != umem.base {
            return Err(wrong(BindCause::WrongPool));
        }
        let tuning = tuning.into();
        let open = || -> io::Result<(XdpKernel, LinkQuery)> {
            Ok((XdpKernel::open(umem, interface, queue, mode, tuning)?, LinkQuery::new()?))
        };
        let (kernel, link) = open().map_err(|error| wrong(BindCause::of(error, mode)))?;
        let shown = kernel.mode(mode);
        if matches!((mode, shown), (XdpMode::ZeroCopy, "copy") | (XdpMode::Copy, "zero-copy")) {
            return Err(wrong(BindCause::OtherMode(mode)));
        }
        // Last: a queue that cannot be had is tried again and again, and there are tags for some hundred queues only.
        let tags = umem.tags().ok_or_else(|| wrong(BindCause::WrongPool))?;
        let mut queue_of_packets = Queue::new(kernel, tags, tuning.rings.fill.min(RING_SLOTS) as usize);
        if let Some(limits) = tuning.joined {
            queue_of_packets = queue_of_packets.cutting(limits);
        }
        queue_of_packets.restock(pool);
        Ok(XdpDevice {
            queue: queue_of_packets,
            interface: interface.into(),
            index,
            number: queue,
            sends: queue < transmit,
            mode: shown,
            link,
        })
    }

    /// The socket, for [`crate::XdpFilter::set_socket`].
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.queue.kernel.fd()
    }

    /// Whether the kernel knows which NAPI the socket's system calls are to poll. Without one, busy-polling that was asked for does
    /// nothing: see `docs/decisions/020-no-busy-polling-on-veth.md`.
    #[must_use]
    pub fn is_busy_polled(&self) -> bool {
        self.queue.kernel.polls
            && os::get_option::<u32>(self.socket(), libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID)
                .is_ok_and(|napi| napi != 0)
    }
}

impl Device for XdpDevice {
    fn link_type(&self) -> LinkType {
        LinkType::Ethernet
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        self.queue.rx(pool, burst, limit)
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        self.queue.tx(pool, out)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }

    fn has_work(&self) -> bool {
        self.queue.has_work()
    }

    fn joins_segments(&self) -> bool {
        self.queue.joins()
    }

    fn is_ready(&self) -> bool {
        self.sends
    }

    fn state(&self) -> DeviceState {
        let statistics = self.queue.kernel.statistics();
        let link = self.link.is_index_up(self.index);
        let error = match (&link, self.queue.trouble()) {
            (Err(error), _) => Some(format!("{}: {error}", self.interface)),
            (Ok(false), _) => Some("the link is down".into()),
            (Ok(true), Some(error)) => Some(format!("cannot send: {error}")),
            (Ok(true), None) => None,
        };
        DeviceState {
            name: self.interface.clone(),
            queue: self.number,
            driver: "af_xdp",
            mode: self.mode,
            rx_dropped: statistics.rx_dropped()
                + statistics.rx_ring_full()
                + statistics.rx_invalid_descs()
                + self.queue.dropped,
            fill_ring_empty: statistics.rx_fill_ring_empty_descs(),
            tx_refused: self.queue.refused,
            bad_descriptors: self.queue.bad_descriptors + statistics.tx_invalid_descs(),
            up: error.is_none(),
            error,
        }
    }
}

/// The socket and its rings. The transmit ring is ours (see `docs/decisions/001-own-tx-ring.md`); `_tx` only keeps the socket's
/// own view of it alive.
struct XdpKernel {
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: Producer,
    _tx: TxQueue,
    chunks: Arc<[FrameDesc]>,
    scratch: Vec<FrameDesc>,
    polls: bool,
}

impl XdpKernel {
    fn open(umem: &XdpUmem, interface: &str, queue: u32, mode: XdpMode, tuning: XdpTuning) -> io::Result<XdpKernel> {
        let flags = match tuning.joined {
            Some(_) => BindFlags::XDP_USE_SG,
            None => BindFlags::empty(),
        };
        match XdpKernel::open_with(flags, umem, interface, queue, mode, tuning) {
            // An older kernel, or a driver that has no zero-copy with it.
            Err(error) if tuning.joined.is_some() && has_no_such_flag(&error) => {
                XdpKernel::open_with(BindFlags::empty(), umem, interface, queue, mode, tuning)
            }
            result => result,
        }
    }

    fn open_with(
        more_flags: BindFlags,
        umem: &XdpUmem,
        interface: &str,
        queue: u32,
        mode: XdpMode,
        tuning: XdpTuning,
    ) -> io::Result<XdpKernel> {
        let sizes = tuning.rings;
        let slots = |size| QueueSize::new(size).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
        let copying = match mode {
            XdpMode::Auto => BindFlags::empty(),
            XdpMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            XdpMode::Copy | XdpMode::Generic => BindFlags::XDP_COPY,
        };
        let config = SocketConfig::builder()
            .rx_queue_size(slots(sizes.rx)?)
            .tx_queue_size(slots(sizes.tx)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(copying | BindFlags::XDP_USE_NEED_WAKEUP | more_flags)
            .build();
        let name: Interface = interface.parse().map_err(io::Error::other)?;
        // SAFETY: the library loads no program (INHIBIT_PROG_LOAD), which is what the contract asks.
        let (tx, rx, rings) =
            unsafe { Socket::new(config, &umem.umem, &name, queue) }.map_err(|error| cause_of(&error))?;
        // No rings: a socket of this very UMEM sits on the queue already.
        let (fill, completion) = rings.ok_or_else(|| io::Error::from_raw_os_error(libc::EBUSY))?;
        let fd = borrow(&rx);
        // The library does not do it, and a child that holds the socket holds the queue.
        os::close_on_exec(fd)?;
        os::enlarge_buffers(fd, SOCKET_BUFFER_BYTES);
        // Unknown to older kernels, which send 32 at a time.
        let _ = os::set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, tuning.tx_budget);
        if let Some(BusyPoll { micros, budget }) = tuning.busy_poll {
            os::set_busy_poll(fd, micros, budget)?;
        }
        let ring = Producer::of_socket(fd, sizes.tx)?;
        let (scratch, polls) = (vec![FrameDesc::default(); BURST], tuning.busy_poll.is_some());
        Ok(XdpKernel { fill, completion, rx, tx: ring, _tx: tx, chunks: Arc::clone(&umem.chunks), scratch, polls })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        borrow(&self.rx)
    }

    /// The name of what the kernel has chosen.
    fn mode(&self, asked: XdpMode) -> &'static str {
        if asked == XdpMode::Generic {
            return "generic";
        }
        match os::get_option::<u32>(self.fd(), libc::SOL_XDP, libc::XDP_OPTIONS) {
            Ok(options) if options & libc::XDP_OPTIONS_ZEROCOPY != 0 => "zero-copy",
            _ => "copy",
        }
    }

    fn statistics(&self) -> XdpStatistics {
        self.rx.fd().xdp_statistics().unwrap_or_default()
    }
}

fn borrow(rx: &RxQueue) -> BorrowedFd<'_> {
    // SAFETY: the queue holds the socket, and the borrow holds the queue.
    unsafe { BorrowedFd::borrow_raw(rx.fd().as_raw_fd()) }
}

fn has_no_such_flag(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

fn cause_of(error: &xsk_rs::socket::SocketCreateError) -> io::Error {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}

impl Kernel for XdpKernel {
    fn offer(&mut self, chunks: &[u32]) -> usize {
        let count = chunks.len().min(self.scratch.len());
        for (slot, chunk) in self.scratch.iter_mut().zip(chunks) {
            *slot = self.chunks[*chunk as usize];
        }
        // SAFETY: the descriptors are of this UMEM, and their frames were lent: nobody else touches them until they come back.
        unsafe { self.fill.produce(&self.scratch[..count]) }
    }

    fn wake_receiver(&mut self) {
        if self.fill.needs_wakeup() {
            // Failing costs nothing: the flag stays up, and the next call tries again.
            let _ = self.fill.wakeup(self.rx.fd_mut(), 0);
        }
    }

    fn receive(&mut self, into: &mut [Descriptor]) -> usize {
        let limit = into.len().min(self.scratch.len());
        // SAFETY: descriptors are only read; whether they are to be believed is judged by the caller.
        let mut count = unsafe { self.rx.consume(&mut self.scratch[..limit]) };
        if count == 0 && self.polls {
            os::poll_now(borrow(&self.rx));
            // SAFETY: as above.
            count = unsafe { self.rx.consume(&mut self.scratch[..limit]) };
        }
        for (slot, desc) in into.iter_mut().zip(&self.scratch[..count]) {
            *slot =
                Descriptor { address: desc.addr() as u64, len: desc.lengths().data() as u32, options: desc.options() };
        }
        count
    }

    fn complete(&mut self, into: &mut [u64]) -> usize {
        let limit = into.len().min(self.scratch.len());
        // SAFETY: as for `receive`.
        let count = unsafe { self.completion.consume(&mut self.scratch[..limit]) };
        for (slot, desc) in into.iter_mut().zip(&self.scratch[..count]) {
            *slot = desc.addr() as u64;
        }
        count
    }

    fn transmit(&mut self) -> &mut Producer {
        &mut self.tx
    }

    fn transmitting(&self) -> &Producer {
        &self.tx
    }

    fn kick(&mut self) -> io::Result<()> {
        os::kick(self.fd())
    }
}
