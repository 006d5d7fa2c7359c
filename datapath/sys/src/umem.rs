//! The packet memory that a worker shares with the kernel.

use std::io;
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use xsk_rs::Umem;
use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;

use crate::queue::Tags;
use crate::{DEFAULT_HEADROOM, FramePool};

/// Slots of the fill and completion rings of each socket.
pub(crate) const RING_SLOTS: u32 = 4096;

/// One worker's UMEM. The kernel keeps the first socket made with it, and that socket's queue, until the UMEM, its pool and all of
/// its devices are dropped.
pub struct XdpUmem {
    pub(crate) umem: Umem,
    /// One per chunk, for the fill ring.
    pub(crate) chunks: Arc<[FrameDesc]>,
    pub(crate) base: NonNull<u8>,
    queues: AtomicU8,
}

// SAFETY: `base` is only compared; all else is Send.
unsafe impl Send for XdpUmem {}

impl XdpUmem {
    /// Tags for one more queue.
    pub(crate) fn tags(&self) -> Option<Tags> {
        let number =
            self.queues.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| number.checked_add(1)).ok()?;
        Tags::new(number)
    }
}

/// Makes the UMEM of one worker and the pool of its frames. `frame_size` is 2048 or 4096: a packet may be as long as that less
/// the headroom of 256 bytes.
///
/// # Errors
/// No permission (`EPERM`), locked memory used up (`ENOBUFS`), no memory, or a frame size that the kernel does not take.
pub fn xdp_pool(frames: usize, frame_size: usize) -> io::Result<(XdpUmem, FramePool)> {
    let wrong = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let count = u32::try_from(frames).ok().and_then(NonZeroU32::new).ok_or_else(|| wrong("no frames"))?;
    if ![2048, 4096].contains(&frame_size) {
        return Err(wrong("the frame size must be 2048 or 4096"));
    }
    let slots = QueueSize::new(RING_SLOTS).map_err(io::Error::other)?;
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(frame_size as u32).map_err(io::Error::other)?)
        .fill_queue_size(slots)
        .comp_queue_size(slots)
        .build()
        .map_err(io::Error::other)?;
    debug_assert_eq!(config.xdp_headroom() as usize, DEFAULT_HEADROOM);
    let (umem, chunks) = Umem::new(config, count, false).map_err(|error| explain(&error))?;
    let base = base_of(&umem)?;
    // SAFETY: xsk-rs has mapped `frames * frame_size` zeroed bytes there, which the clone keeps mapped; we never ask it for them
    // again, so that this pool and the kernel are the only ones to touch them.
    let pool = unsafe { FramePool::umem(base, frames, frame_size, umem.clone()) }
        .ok_or_else(|| wrong("unusable frame size"))?;
    Ok((XdpUmem { umem, chunks: chunks.into(), base, queues: AtomicU8::new(0) }, pool))
}

/// Where the UMEM begins. The library does not say, but the default descriptor lies at offset zero.
fn base_of(umem: &Umem) -> io::Result<NonNull<u8>> {
    // SAFETY: offset zero is the first chunk of this UMEM, the length is zero, and nobody else has a reference into it yet.
    let (_, data) = unsafe { umem.frame(&FrameDesc::default()) };
    // The region's address was given to the kernel through C, so it is exposed; the slice's own pointer is good for no byte.
    let address = data.contents().as_ptr().expose_provenance();
    NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or_else(|| io::Error::other("UMEM at address zero"))
}

fn explain(error: &xsk_rs::umem::UmemCreateError) -> io::Error {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let Some(code) = cause.and_then(io::Error::raw_os_error) else { return io::Error::other(error.to_string()) };
    let hint = match code {
        libc::EPERM => "not permitted: run as root or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF",
        libc::ENOBUFS => {
            "the limit on locked memory is too low: raise it (`ulimit -l unlimited`, LimitMEMLOCK=infinity)"
        }
        libc::EAFNOSUPPORT => "this kernel has no AF_XDP sockets: use driver = \"tun\"",
        _ => return io::Error::from_raw_os_error(code),
    };
    io::Error::new(io::Error::from_raw_os_error(code).kind(), format!("packet memory for AF_XDP: {hint}"))
}
