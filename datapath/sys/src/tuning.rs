//! What can be set about an `AF_XDP` socket. `driver sweep` measures it; the defaults are what the gateway runs with.

use crate::{BURST, RingSizes};

/// How an [`crate::XdpDevice`] is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdpTuning {
    /// Places in the rings.
    pub rings: RingSizes,
    /// How many packets one wake-up sends in copy mode, at least 32. Before Linux 6.18 it is 32 whatever is asked for.
    pub tx_budget: u32,
    /// The worker polls the interface's queue itself. None: the kernel does, in softirqs of its own choice.
    pub busy_poll: Option<BusyPoll>,
    /// Packets may come joined and are to be cut. None: the kernel drops those that do not fit a frame.
    pub joined: Option<JoinedLimits>,
}

impl Default for XdpTuning {
    fn default() -> XdpTuning {
        XdpTuning { rings: RingSizes::default(), tx_budget: 2 * BURST as u32, busy_poll: None, joined: None }
    }
}

impl From<RingSizes> for XdpTuning {
    fn from(rings: RingSizes) -> XdpTuning {
        XdpTuning { rings, ..XdpTuning::default() }
    }
}

/// Busy-polling: a system call of the worker runs the interface's NAPI poll, on the worker's CPU and in its turn.
///
/// Alone it only adds polls to those of softirqs. These stay away as long as the interface puts its interrupts off
/// (`napi_defer_hard_irqs` and `gro_flush_timeout` in `/sys/class/net/DEV/`) and the worker asks again before that time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// `SO_BUSY_POLL`: not zero switches it on. How long does not matter, for we never let the kernel wait.
    pub micros: u32,
    /// `SO_BUSY_POLL_BUDGET`: packets that one poll takes from the interface.
    pub budget: u32,
}

/// How joined packets are told from others and cut. In generic mode the kernel hands over TCP packets of up to 64 KiB that it, or a
/// sender on this machine, has joined: larger than any frame, and than any link's MTU.
///
/// They come whole since Linux 6.6; an older kernel drops them as if they had not been asked for. The first socket of a UMEM asks for
/// all of them. Not for zero-copy: a driver that cannot spread a packet over several frames then refuses it, and
/// [`crate::XdpMode::Auto`] falls back to copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinedLimits {
    /// Bytes of the longest IP packet that is one, which is the interface's MTU: what is longer is joined.
    pub longest: usize,
    /// Bytes of an IP packet that joined ones are cut into, at most. In a tunnel it is the inner packet that is so long, and the
    /// outer one longer. With its Ethernet header it must fit a frame behind the headroom.
    pub piece: usize,
    /// The UDP port of VXLAN tunnels whose inner IPv4 packets are cut. None: packets in tunnels are not.
    pub tunnel_port: Option<u16>,
}
