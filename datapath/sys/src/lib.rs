//! Everything that touches the operating system on the packet path: packet memory, `AF_XDP` sockets, the XDP filter, TUN,
//! the overlay socket, CPU pinning and the clock. The only package with unsafe code; it imports nothing of ours.
//!
//! The data path sees one trait, [`Device`], and one kind of packet memory, [`Frame`].

pub mod clock;
mod cpu;
mod device;
mod frame;
mod memory;
mod pool;

pub use cpu::{allowed_cpus, pin_current_thread};
pub use device::{BURST, Device, DeviceState, LinkType, TxReport};
pub use frame::{DEFAULT_HEADROOM, Frame, frames_lost};
pub use memory::{MemoryDevice, memory_pair, memory_pair_of};
pub use pool::FramePool;
