//! The packet memory of one worker: a region cut into chunks, and a stack of the free ones.

use std::ptr::{self, NonNull};

use crate::Frame;
use crate::ring::Descriptor;

/// The largest chunk: holds the largest IPv4 packet behind the headroom and an Ethernet header.
pub const MAX_FRAME_BYTES: usize = 66_048;

/// Smallest and largest chunk. The smallest holds the headroom and something behind it.
const FRAME_SIZES: std::ops::RangeInclusive<usize> = 512..=MAX_FRAME_BYTES;

/// Where a pool's memory comes from, which decides whether it is ever given back.
enum Memory {
    Heap,
    /// Registered with the kernel as UMEM.
    Umem(Custody),
}

/// Who has each chunk of a UMEM: `USER`, or the tag under which a socket gave it to the kernel.
struct Custody {
    holders: Vec<u8>,
    lent: usize,
    /// Keeps the memory mapped.
    owner: Box<dyn Send>,
}

const USER: u8 = 0;

/// The frames of one worker. A frame is in the pool, with the worker, or with the kernel: their sum never changes.
pub struct FramePool {
    base: NonNull<u8>,
    frame_size: usize,
    total: usize,
    free: Vec<Frame>,
    foreign: u64,
    memory: Memory,
}

// SAFETY: `base` is only an address to compare with; the memory behind it is reached through frames alone, which are Send.
unsafe impl Send for FramePool {}

impl FramePool {
    /// A pool in ordinary memory, for devices without `AF_XDP`. `frame_size` is brought into 512..=[`MAX_FRAME_BYTES`].
    #[must_use]
    pub fn heap(frames: usize, frame_size: usize) -> FramePool {
        let frame_size = frame_size.clamp(*FRAME_SIZES.start(), *FRAME_SIZES.end());
        let bytes = Box::leak(vec![0_u8; frames * frame_size].into_boxed_slice());
        // SAFETY: the memory was just leaked, so this is the only handle to it, and it is initialised; it is given back only by
        // `drop`, when all frames are home.
        unsafe { FramePool::over(NonNull::from(bytes).cast(), frames, frame_size, Memory::Heap) }
    }

    /// A pool over UMEM, whose frames may be handed to the kernel. None when `frame_size` cannot be a chunk.
    ///
    /// # Safety
    /// `base` points to `frames * frame_size` initialised bytes that stay mapped for as long as `owner` exists and that nobody
    /// touches but this pool's frames and the kernel, to which they are given.
    pub(crate) unsafe fn umem(
        base: NonNull<u8>,
        frames: usize,
        frame_size: usize,
        owner: impl Send + 'static,
    ) -> Option<FramePool> {
        if !FRAME_SIZES.contains(&frame_size) {
            return None;
        }
        let custody = Memory::Umem(Custody { holders: vec![USER; frames], lent: 0, owner: Box::new(owner) });
        // SAFETY: just what the caller promises.
        Some(unsafe { FramePool::over(base, frames, frame_size, custody) })
    }

    /// # Safety
    /// As for `umem`, but the memory may go when all frames are in the pool.
    unsafe fn over(base: NonNull<u8>, total: usize, frame_size: usize, memory: Memory) -> FramePool {
        let chunk = |index: usize| {
            // SAFETY: chunks do not overlap and lie inside the region that the caller promises.
            unsafe { Frame::new(base.add(index * frame_size), index as u32, frame_size as u32) }
        };
        let free = (0..total).rev().map(chunk).collect();
        FramePool { base, frame_size, total, free, foreign: 0, memory }
    }

    /// A free frame, empty behind the default headroom.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Gives a frame back. It must be one of this pool: another's is not mixed in but lost, and counted in [`FramePool::foreign`]
    /// and [`crate::frames_lost`].
    #[inline]
    pub fn put(&mut self, mut frame: Frame) {
        debug_assert!(self.owns(&frame), "{frame:?} belongs to another pool");
        if self.owns(&frame) {
            frame.reset();
            self.free.push(frame);
        } else {
            self.foreign += 1;
        }
    }

    /// Gives several frames back.
    pub fn put_all(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.put(frame);
        }
    }

    /// Frames in the pool now.
    #[inline]
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames in all, wherever they are.
    #[inline]
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes of one chunk, headroom included.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// Frames of other pools that somebody tried to put here.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Whether the frame is one of this pool's.
    #[inline]
    #[must_use]
    pub fn owns(&self, frame: &Frame) -> bool {
        self.base.as_ptr().addr() + frame.index() as usize * self.frame_size == frame.base().as_ptr().addr()
            && (frame.index() as usize) < self.total
    }

    /// Makes the frame's packet what the kernel says that it has put there. False, and nothing changes, when that is not inside.
    #[inline]
    pub(crate) fn set_received(&self, frame: &mut Frame, received: Descriptor) -> bool {
        frame.set_span(received.address as usize % self.frame_size, received.len as usize)
    }

    /// Where the pool's memory begins: tells UMEM pools apart.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Puts the frame into the kernel's hands under `holder` (not zero). Gives its chunk and where its packet begins, as an offset
    /// into the region. A frame that is not of this pool, or a pool without UMEM, gives the frame back.
    #[inline]
    pub(crate) fn lend(&mut self, frame: Frame, holder: u8) -> Result<Lent, Frame> {
        let own = self.owns(&frame);
        let Memory::Umem(custody) = &mut self.memory else { return Err(frame) };
        if !own {
            return Err(frame);
        }
        let chunk = frame.index();
        custody.holders[chunk as usize] = holder;
        custody.lent += 1;
        let lent =
            Lent { chunk, address: chunk as usize * self.frame_size + frame.headroom(), len: frame.len() as u32 };
        // The handle ends here; `reclaim` makes the next one.
        std::mem::forget(frame);
        Ok(lent)
    }

    /// Takes the chunk around `address` back from the kernel, if `holder` has it: a descriptor that names a chunk outside the
    /// region or one that the kernel does not hold gives None, so that there are never two frames of one chunk.
    #[inline]
    pub(crate) fn reclaim(&mut self, address: u64, holder: u8) -> Option<Frame> {
        let chunk = usize::try_from(address).ok()? / self.frame_size;
        let Memory::Umem(custody) = &mut self.memory else { return None };
        let slot = custody.holders.get_mut(chunk)?;
        if *slot != holder || holder == USER {
            return None;
        }
        *slot = USER;
        custody.lent -= 1;
        // SAFETY: the chunk is inside the region, and its last handle ended in `lend`, which alone sets a holder; clearing the
        // holder makes this the only new one. The kernel has given the chunk up, as the descriptor under this holder says.
        Some(unsafe { Frame::new(self.base.add(chunk * self.frame_size), chunk as u32, self.frame_size as u32) })
    }
}

/// A chunk in the kernel's hands.
pub(crate) struct Lent {
    pub(crate) chunk: u32,
    pub(crate) address: usize,
    pub(crate) len: u32,
}

impl Drop for FramePool {
    /// The memory goes if no frame is left anywhere that leads into it; else it stays for as long as the process lives.
    fn drop(&mut self) {
        let home = self.free.len();
        self.free.drain(..).for_each(std::mem::forget);
        match std::mem::replace(&mut self.memory, Memory::Heap) {
            Memory::Heap if home == self.total => {
                let bytes = ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.total * self.frame_size);
                // SAFETY: this is the boxed slice that `heap` leaked, and no frame of it is left.
                drop(unsafe { Box::from_raw(bytes) });
            }
            // What the kernel has, it keeps by itself.
            Memory::Umem(custody) if home + custody.lent < self.total => std::mem::forget(custody.owner),
            Memory::Heap | Memory::Umem(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEFAULT_HEADROOM;

    #[test]
    fn hands_out_every_chunk_once() {
        let mut pool = FramePool::heap(8, 2048);
        let mut frames: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((frames.len(), pool.free(), pool.total()), (8, 0, 8));
        for (value, frame) in (0_u8..).zip(&mut frames) {
            assert!(frame.fill(&[value; 1792]));
        }
        for (value, frame) in (0_u8..).zip(&frames) {
            assert!(frame.bytes().iter().all(|byte| *byte == value));
        }
        pool.put_all(frames);
        assert_eq!(pool.free(), 8);
        assert!(pool.take().is_some_and(|frame| {
            let fresh = frame.is_empty() && frame.headroom() == DEFAULT_HEADROOM;
            pool.put(frame);
            fresh
        }));
    }

    #[test]
    fn knows_its_own() {
        let (mut one, mut two) = (FramePool::heap(4, 2048), FramePool::heap(4, 2048));
        let frame = one.take().unwrap();
        assert!(one.owns(&frame) && !two.owns(&frame));
        one.put(frame);
        let frame = two.take().unwrap();
        assert!(two.owns(&frame) && !one.owns(&frame));
        two.put(frame);
    }

    #[test]
    fn heap_frames_cannot_be_lent() {
        let mut pool = FramePool::heap(1, 2048);
        let frame = pool.take().unwrap();
        let Err(frame) = pool.lend(frame, 1) else { panic!("lent") };
        pool.put(frame);
        assert!(pool.reclaim(0, 1).is_none());
    }

    #[test]
    fn odd_sizes_are_brought_into_range() {
        assert_eq!(FramePool::heap(1, 1).frame_size(), 512);
        assert_eq!(FramePool::heap(1, 1 << 20).frame_size(), MAX_FRAME_BYTES);
        assert!(FramePool::heap(0, 2048).take().is_none());
    }
}
