//! The queue of a pool's ports that came back. It grows by small pieces and never moves what it holds: the backends of a
//! service are used in turn, so that their queues are equally long and grow in the same turn of the worker. A queue that
//! doubles made a burst wait for thirty copies of tens of kilobytes.

use std::collections::VecDeque;

/// Ports in a piece.
const PIECE: usize = 128;

/// Ports, first in first out.
#[derive(Default)]
pub(crate) struct Rested {
    /// A ring, in order; those after the last port wait for the next ones.
    pieces: VecDeque<Box<[u16; PIECE]>>,
    /// Where in the first piece the first port is.
    first: usize,
    len: usize,
}

impl Rested {
    pub(crate) fn push_back(&mut self, port: u16) {
        let end = self.first + self.len;
        if end == self.pieces.len() * PIECE {
            self.pieces.push_back(Box::new([0; PIECE]));
        }
        self.pieces[end / PIECE][end % PIECE] = port;
        self.len += 1;
    }

    pub(crate) fn pop_front(&mut self) -> Option<u16> {
        self.len = self.len.checked_sub(1)?;
        let port = self.pieces[0][self.first];
        self.first += 1;
        if self.first == PIECE {
            self.first = 0;
            self.pieces.rotate_left(1);
        }
        Some(port)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.pieces.capacity() * size_of::<Box<[u16; PIECE]>>() + self.pieces.len() * PIECE * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Runs of ports that come and go, as the oracle has them.
        #[test]
        fn first_in_first_out(runs in prop::collection::vec((0..400_u16, 0..400_usize), 1..40)) {
            let (mut queue, mut oracle, mut next) = (Rested::default(), VecDeque::new(), 0_u16);
            for (come, go) in runs {
                for _ in 0..come {
                    next = next.wrapping_add(1);
                    queue.push_back(next);
                    oracle.push_back(next);
                }
                for _ in 0..go {
                    prop_assert_eq!(queue.pop_front(), oracle.pop_front());
                }
                prop_assert_eq!(queue.len(), oracle.len());
            }
        }
    }

    #[test]
    fn ports_that_come_and_go_take_no_more_memory() {
        let mut queue = Rested::default();
        (0..1000).for_each(|port| queue.push_back(port));
        for port in 0..10_000 {
            assert_eq!(queue.pop_front(), Some(port % 1000));
            queue.push_back(port % 1000);
        }
        // One more than they fill: they begin in the middle of a piece.
        assert_eq!(queue.pieces.len(), 1000_usize.div_ceil(PIECE) + 1);
    }
}
