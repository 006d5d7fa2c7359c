//! Another program that uses `AF_XDP`: holds a queue of an interface.

use crate::Outcome;
use clap::Args;
use sys::{RingSizes, XdpDevice, XdpMode};

/// Holds a queue with an `AF_XDP` socket until it is killed.
#[derive(Args)]
pub struct Hold {
    /// The interface.
    interface: String,
    /// Which of its queues.
    queue: u32,
}

impl Hold {
    /// Holds it; prints `ready` when it does.
    ///
    /// # Errors
    /// The queue cannot be had.
    pub fn run(&self) -> Outcome {
        let sizes = RingSizes { rx: 64, tx: 64, fill: 64 };
        let (umem, mut pool) = sys::xdp_pool(2 * sizes.frames(), 2048)?;
        let _socket = XdpDevice::bind(&umem, &mut pool, &self.interface, self.queue, XdpMode::Copy, sizes)?;
        println!("ready");
        loop {
            std::thread::park();
        }
    }
}
