//! Everything that touches the operating system on the packet path: packet memory, `AF_XDP` sockets, the XDP filter, TUN,
//! the overlay socket, CPU pinning and the clock. The only package with unsafe code; it imports nothing of ours.
//!
//! The data path sees one trait, [`Device`], and one kind of packet memory, [`Frame`].

mod arrivals;
mod batch;
mod bind_error;
pub mod clock;
mod cpu;
mod device;
mod files;
mod filter;
mod filter_error;
mod filter_rules;
mod frame;
mod joined;
mod link;
mod memory;
mod os;
mod overlay;
mod pages;
mod pool;
mod queue;
mod redirect;
mod ring;
mod seed;
mod segmentation;
mod shortcuts;
mod sum;
mod tun;
mod tuning;
mod umem;
mod xdp;

#[cfg(test)]
// The tests of real interfaces, some of which are here, call it so.
extern crate self as sys;

pub use bind_error::{BindCause, BindError};
pub use cpu::{allowed_cpus, keep_off, pin_current_thread};
pub use device::{BURST, Device, DeviceState, LinkType, TxReport};
pub use files::{open_to_append, raise_open_files};
pub use filter::{AttachMode, LISTENS as FILTER_LISTENS, QUEUES as FILTER_QUEUES, XdpFilter};
pub use filter_error::FilterError;
pub use filter_rules::{FilterListen, FilterOverlay, FilterPlain, FilterRules, FilterSnat};
pub use frame::{DEFAULT_HEADROOM, Frame, frames_lost};
pub use link::{index as interface_index, is_interface, queue_count, transmit_queue_count};
pub use memory::{MemoryDevice, memory_pair, memory_pair_of};
pub use overlay::OverlaySocket;
pub use pages::use_huge_pages;
pub use pool::{FramePool, MAX_FRAME_BYTES};
pub use redirect::{has_zero_copy, takes_redirects};
pub use seed::random_seed;
pub use segmentation::Segmentation;
pub use shortcuts::{Arrival, Ends, Lender, LentHeaders, LentId, LentSide, LentWay, Loan, SETTLED, Shortcuts};
pub use tun::TunDevice;
pub use tuning::{BusyPoll, JoinedLimits, XdpTuning};
pub use umem::{XdpUmem, xdp_pool};
pub use xdp::{RingSizes, XdpDevice, XdpMode};
