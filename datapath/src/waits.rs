//! Waits for answers: each is asked for again after a while, longer each time. One queue for each length, so that all in a
//! queue end in order and nothing need be sorted; what has been answered stays until its wait is over, and is passed by.

use std::collections::VecDeque;
use std::time::Duration;

use conntrack::FlowId;

/// What is repeated per turn of the worker at most.
pub(crate) const REPEATS_PER_TURN: usize = 32;

/// Flows that wait, by how often they have waited. The lengths are given by the one who waits.
pub(crate) struct Waits<const N: usize> {
    lengths: [Duration; N],
    queues: [VecDeque<(Duration, FlowId)>; N],
}

/// A wait that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) id: FlowId,
    /// When it was due, as [`Waits::begin`] gave it: tells whether it is still the flow's newest.
    pub(crate) due: Duration,
    /// How many waits are behind it.
    pub(crate) waited: usize,
}

impl<const N: usize> Waits<N> {
    pub(crate) fn new(lengths: [Duration; N]) -> Self {
        Self { lengths, queues: std::array::from_fn(|_| VecDeque::new()) }
    }

    /// Begins the wait after so many; gives its end, or nothing after the last one.
    pub(crate) fn begin(&mut self, id: FlowId, waited: usize, now: Duration) -> Option<Duration> {
        let due = now + *self.lengths.get(waited)?;
        self.queues.get_mut(waited)?.push_back((due, id));
        Some(due)
    }

    /// A wait that is over by now, once.
    pub(crate) fn over(&mut self, now: Duration) -> Option<Over> {
        self.queues.iter_mut().zip(1..).find_map(|(queue, waited)| {
            let (due, id) = queue.pop_front_if(|(due, _)| *due <= now)?;
            Some(Over { id, due, waited })
        })
    }
}
