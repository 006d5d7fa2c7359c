//! What every way in and out of the data path looks like.

use std::os::fd::BorrowedFd;

use crate::{Frame, FramePool};

/// Frames that a worker takes from a device at a time.
pub const BURST: usize = 64;

/// What the first byte of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LinkType {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// An IPv4 header.
    Ip,
}

/// What became of the frames handed to [`Device::tx`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TxReport {
    /// Frames that the device took.
    pub sent: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that went back to the pool unsent: ring or socket full, link down, or a packet that the kernel refused.
    pub refused: usize,
    /// How many of the frames that it took, now or before, it has not given back: the last ones, since they leave in order. They may
    /// not have left yet. 0 with the link down: what cannot leave for now is not waited for.
    pub held: usize,
}

/// What `status` shows of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceState {
    /// The interface's name, or what stands for it.
    pub name: String,
    /// The queue of the interface.
    pub queue: u32,
    /// `af_xdp`, `tun`, `overlay` or `memory`.
    pub driver: &'static str,
    /// `zero-copy`, `copy`, `generic` or `-`.
    pub mode: &'static str,
    /// Packets that were lost on their way to us, for any reason: the kernel dropped them, or they came joined and could not be cut.
    pub rx_dropped: u64,
    /// Packets that the kernel dropped because the fill ring was empty.
    pub fill_ring_empty: u64,
    /// Frames that could not be sent, since the start.
    pub tx_refused: u64,
    /// Descriptors from the kernel that named memory which was not its to name.
    pub bad_descriptors: u64,
    /// Packets can pass.
    pub up: bool,
    /// Why not, or what went wrong last.
    pub error: Option<String>,
}

/// One queue of one network interface, or something that behaves like one.
///
/// A device belongs to one worker. Frames that it fills come from that worker's pool and go back to it.
pub trait Device: Send {
    /// What the frames begin with.
    fn link_type(&self) -> LinkType;

    /// Appends up to `limit` received frames to `burst` and says how many. Never blocks.
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize;

    /// Sends all frames of `out` and leaves it empty; what cannot be sent goes back to the pool and is counted.
    ///
    /// One wake-up for all of them. Frames sent earlier come back to the pool here and in [`Device::rx`]; a worker therefore calls
    /// one of the two now and then also when it has nothing to send.
    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport;

    /// Becomes readable when [`Device::rx`] has something (edge-triggered is enough). None: only polling tells.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// To be asked after an `rx` that gave nothing and before sleeping on [`Device::fd`]: true means do not sleep, call again.
    /// After false, anything that arrives makes the descriptor readable.
    fn has_work(&self) -> bool;

    /// Whether a received TCP packet may stand for several segments although it is no longer than the link's MTU.
    fn joins_segments(&self) -> bool {
        false
    }

    /// Whether packets to send may be longer than the link's MTU, with a [`Segmentation`](crate::Segmentation) in front.
    fn cuts_segments(&self) -> bool {
        false
    }

    /// Whether it takes packets to send. False while what it stands for is held by somebody else, or if nothing can leave by it.
    fn is_ready(&self) -> bool {
        true
    }

    /// The present state. May ask the kernel: not for every packet.
    fn state(&self) -> DeviceState;
}
