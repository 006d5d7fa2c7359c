//! One chunk of packet memory with a packet in it.

use std::fmt;
use std::mem;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

/// Free bytes in front of the packet in a fresh or received frame. The kernel leaves as many in front of what it receives
/// (`XDP_PACKET_HEADROOM`), in every mode; the other devices do the same.
pub const DEFAULT_HEADROOM: usize = 256;

#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Frames that were dropped instead of put back into their pool, in this process. Anything but zero is a bug.
#[must_use]
pub fn frames_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// One chunk of packet memory: the only handle to it, neither Copy nor Clone.
///
/// The packet lies somewhere in the chunk, so that headers can be put in front of it and taken away in place. Frames come from
/// a [`crate::FramePool`] and must go back there.
pub struct Frame {
    base: NonNull<u8>,
    index: u32,
    size: u32,
    start: u32,
    len: u32,
}

// SAFETY: a frame is the only handle to its chunk, whose memory is freed by nobody while the frame exists; moving it to another
// thread moves that exclusive access along.
unsafe impl Send for Frame {}

impl Frame {
    /// The frame of chunk `index`, which begins at `base`.
    ///
    /// # Safety
    /// `base` points to `size` bytes that are initialised, stay mapped for as long as the frame exists, and are touched by nobody
    /// else in that time. `size` is at least `DEFAULT_HEADROOM`.
    pub(crate) unsafe fn new(base: NonNull<u8>, index: u32, size: u32) -> Frame {
        Frame { base, index, size, start: DEFAULT_HEADROOM as u32, len: 0 }
    }

    /// The packet.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start + len <= size (kept by every method), and the chunk is ours alone (contract of `new`).
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(self.start as usize), self.len as usize) }
    }

    /// Has the packet's headers and the bytes in front of them, where a tunnel's go, fetched while the caller does something else.
    /// For a burst: else each packet's first read waits for memory that another core has written.
    #[inline]
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let packet = self.base.as_ptr().wrapping_add(self.start as usize).cast::<i8>();
            // SAFETY: a hint, which no address makes fault.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(packet);
                _mm_prefetch::<_MM_HINT_T0>(packet.wrapping_sub(CACHE_LINE));
            }
        }
    }

    /// The packet, to be edited in place.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; `&mut self` makes it the only reference.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(self.start as usize), self.len as usize) }
    }

    /// Length of the packet.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// No packet inside.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Free bytes in front of the packet.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// Free bytes behind the packet.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.size as usize - self.start as usize - self.len as usize
    }

    /// Makes the packet `n` bytes longer at its front; the new bytes hold whatever was there. False, and nothing changes, when the
    /// headroom is too small.
    #[inline]
    pub fn grow_front(&mut self, n: usize) -> bool {
        if n > self.headroom() {
            return false;
        }
        self.start -= n as u32;
        self.len += n as u32;
        true
    }

    /// Takes `n` bytes away from the packet's front. False, and nothing changes, when it is shorter.
    #[inline]
    pub fn trim_front(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        self.start += n as u32;
        self.len -= n as u32;
        true
    }

    /// Cuts the packet to `len` bytes; a shorter one stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len().min(len) as u32;
    }

    /// Makes the packet `n` bytes longer at its end; the new bytes hold whatever was there. False, and nothing changes, when the
    /// tailroom is too small.
    #[inline]
    pub fn grow_back(&mut self, n: usize) -> bool {
        if n > self.tailroom() {
            return false;
        }
        self.len += n as u32;
        true
    }

    /// An empty packet behind the default headroom.
    #[inline]
    pub fn reset(&mut self) {
        // What `take` has left behind has no headroom either.
        self.start = self.size.min(DEFAULT_HEADROOM as u32);
        self.len = 0;
    }

    /// Makes `bytes` the packet, behind the default headroom. False, and the frame is empty, when they do not fit.
    #[inline]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.reset();
        if !self.grow_back(bytes.len()) {
            return false;
        }
        self.bytes_mut().copy_from_slice(bytes);
        true
    }

    /// Moves the frame out of where it stands and leaves an empty handle there, of no chunk and without room: what the frame is
    /// a part of need not be moved with it.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Frame {
        mem::replace(self, Frame { base: NonNull::dangling(), index: u32::MAX, size: 0, start: 0, len: 0 })
    }

    /// Makes the `len` bytes at `start` of the chunk the packet. False, and nothing changes, when they are not inside.
    pub(crate) fn set_span(&mut self, start: usize, len: usize) -> bool {
        let inside = start.checked_add(len).is_some_and(|end| end <= self.size as usize);
        if inside {
            self.start = start as u32;
            self.len = len as u32;
        }
        inside
    }

    /// Which chunk of its pool this is.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Where the chunk begins.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        // Only what `take` leaves behind has no room.
        if self.size > 0 {
            lose();
        }
    }
}

#[cold]
fn lose() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}: {} bytes at {})", self.index, self.len, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FramePool;
    use proptest::prelude::*;

    #[test]
    fn is_small() {
        assert!(size_of::<Frame>() <= 24);
        assert_eq!(size_of::<Option<Frame>>(), size_of::<Frame>());
    }

    #[test]
    fn the_default_headroom_takes_an_encapsulation() {
        let mut pool = FramePool::heap(1, 2048);
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&[7; 1500]));
        assert!(frame.grow_front(64));
        assert_eq!(frame.len(), 1564);
        assert_eq!(&frame.bytes()[64..], [7; 1500]);
        pool.put(frame);
    }

    #[test]
    fn what_take_leaves_behind_is_empty_and_nothing_that_could_be_lost() {
        let mut pool = FramePool::heap(1, 2048);
        let mut place = pool.take().unwrap();
        place.fill(&[7; 100]);
        let before = frames_lost();
        let frame = place.take();
        assert_eq!((frame.bytes(), place.bytes()), (&[7; 100][..], &[][..]));
        assert!(!place.fill(&[1]) && !place.grow_front(1) && !place.grow_back(1) && !pool.owns(&place));
        place.reset();
        assert_eq!((place.len(), place.tailroom(), place.headroom()), (0, 0, 0));
        drop(place);
        assert_eq!(frames_lost(), before);
        pool.put(frame);
        assert_eq!(pool.free(), 1);
    }

    #[derive(Debug, Clone)]
    enum Edit {
        GrowFront(usize),
        TrimFront(usize),
        GrowBack(usize),
        Truncate(usize),
        Fill(Vec<u8>),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            (0..600usize).prop_map(Edit::GrowFront),
            (0..600usize).prop_map(Edit::TrimFront),
            (0..600usize).prop_map(Edit::GrowBack),
            (0..600usize).prop_map(Edit::Truncate),
            prop::collection::vec(any::<u8>(), 0..600).prop_map(Edit::Fill),
        ]
    }

    /// A chunk as a plain vector, with the same rules.
    struct Model {
        chunk: Vec<u8>,
        start: usize,
        len: usize,
    }

    impl Model {
        fn apply(&mut self, edit: &Edit) -> bool {
            let size = self.chunk.len();
            let (start, len) = match *edit {
                Edit::GrowFront(n) if n <= self.start => (self.start - n, self.len + n),
                Edit::TrimFront(n) if n <= self.len => (self.start + n, self.len - n),
                Edit::GrowBack(n) if self.start + self.len + n <= size => (self.start, self.len + n),
                Edit::Truncate(n) => (self.start, self.len.min(n)),
                Edit::Fill(ref bytes) if DEFAULT_HEADROOM + bytes.len() <= size => (DEFAULT_HEADROOM, bytes.len()),
                Edit::Fill(_) => {
                    (self.start, self.len) = (DEFAULT_HEADROOM, 0);
                    return false;
                }
                _ => return false,
            };
            (self.start, self.len) = (start, len);
            if let Edit::Fill(bytes) = edit {
                self.chunk[start..start + len].copy_from_slice(bytes);
            }
            true
        }
    }

    proptest! {
        #[test]
        fn edits_are_those_of_a_window_on_a_vector(edits in prop::collection::vec(edit(), 1..40)) {
            let mut pool = FramePool::heap(2, 640);
            let mut frame = pool.take().unwrap();
            let neighbour = pool.take().unwrap();
            let mut model = Model { chunk: vec![0; 640], start: DEFAULT_HEADROOM, len: 0 };
            for edit in &edits {
                let done = match edit {
                    Edit::GrowFront(n) => frame.grow_front(*n),
                    Edit::TrimFront(n) => frame.trim_front(*n),
                    Edit::GrowBack(n) => frame.grow_back(*n),
                    Edit::Truncate(n) => { frame.truncate(*n); true }
                    Edit::Fill(bytes) => frame.fill(bytes),
                };
                prop_assert_eq!(done, model.apply(edit));
                prop_assert_eq!(frame.bytes(), &model.chunk[model.start..model.start + model.len]);
                prop_assert_eq!(frame.headroom() + frame.len() + frame.tailroom(), 640);
                if let Some(first) = frame.bytes_mut().first_mut() {
                    *first ^= 0x55;
                    model.chunk[model.start] ^= 0x55;
                }
            }
            pool.put(frame);
            pool.put(neighbour);
        }
    }
}
