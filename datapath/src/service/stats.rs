//! Per-backend counters: one cache-line-aligned set a worker, written by that worker only, summed by control.

use std::sync::atomic::{AtomicU64, Ordering};

use conntrack::Direction;

/// Counters of one backend, all workers.
#[derive(Debug)]
pub struct BackendStats {
    workers: Box<[WorkerStats]>,
}

/// What one worker counts for one backend. Only that worker writes; anybody reads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerStats {
    connections: AtomicU64,
    active: AtomicU64,
    inactive: AtomicU64,
    packets: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    answered: AtomicU64,
    unanswered: AtomicU64,
    refused: AtomicU64,
}

/// Sums over all workers. Packets and bytes are those of the IP layer; "in" is client to backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Flows ever opened.
    pub connections: u64,
    /// Flows that are open now (for TCP: established).
    pub active: u64,
    /// Flows that are opening or closing now.
    pub inactive: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// SYNs that were answered by a SYN-ACK.
    pub answered: u64,
    /// SYNs that a client had to send again.
    pub unanswered: u64,
    /// SYNs that were answered by a RST.
    pub refused: u64,
}

impl BackendStats {
    /// Zeroed counters for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| WorkerStats::default()).collect() }
    }

    /// The set of one worker; `None` when there are fewer workers.
    #[must_use]
    pub fn worker(&self, index: usize) -> Option<&WorkerStats> {
        self.workers.get(index)
    }

    /// Flows that are active and inactive now, over all workers.
    #[must_use]
    pub fn flows(&self) -> (u64, u64) {
        self.workers.iter().fold((0, 0), |(active, inactive), worker| {
            (active + worker.active.load(Ordering::Relaxed), inactive + worker.inactive.load(Ordering::Relaxed))
        })
    }

    /// Sums over all workers.
    #[must_use]
    pub fn totals(&self) -> BackendTotals {
        self.workers.iter().fold(BackendTotals::default(), |sum, w| BackendTotals {
            connections: sum.connections + w.connections.load(Ordering::Relaxed),
            active: sum.active + w.active.load(Ordering::Relaxed),
            inactive: sum.inactive + w.inactive.load(Ordering::Relaxed),
            packets_in: sum.packets_in + w.packets[0].load(Ordering::Relaxed),
            packets_out: sum.packets_out + w.packets[1].load(Ordering::Relaxed),
            bytes_in: sum.bytes_in + w.bytes[0].load(Ordering::Relaxed),
            bytes_out: sum.bytes_out + w.bytes[1].load(Ordering::Relaxed),
            answered: sum.answered + w.answered.load(Ordering::Relaxed),
            unanswered: sum.unanswered + w.unanswered.load(Ordering::Relaxed),
            refused: sum.refused + w.refused.load(Ordering::Relaxed),
        })
    }
}

/// A single writer needs no read-modify-write instruction.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

fn subtract(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
}

impl WorkerStats {
    /// A packet of `bytes` (IP length) went by.
    pub fn packet(&self, direction: Direction, bytes: usize) {
        let side = usize::from(direction == Direction::Reply);
        add(&self.packets[side], 1);
        add(&self.bytes[side], bytes as u64);
    }

    /// A flow was opened.
    pub fn opened(&self, active: bool) {
        add(&self.connections, 1);
        add(self.gauge(active), 1);
    }

    /// A flow became active, or stopped being so.
    pub fn moved(&self, was_active: bool, is_active: bool) {
        if was_active != is_active {
            subtract(self.gauge(was_active), 1);
            add(self.gauge(is_active), 1);
        }
    }

    /// A flow left the table.
    pub fn closed(&self, was_active: bool) {
        subtract(self.gauge(was_active), 1);
    }

    /// The backend took a connection.
    pub fn answered(&self) {
        add(&self.answered, 1);
    }

    /// A client had to send its SYN again.
    pub fn unanswered(&self) {
        add(&self.unanswered, 1);
    }

    /// The backend answered a SYN by a RST.
    pub fn refused(&self) {
        add(&self.refused, 1);
    }

    fn gauge(&self, active: bool) -> &AtomicU64 {
        if active { &self.active } else { &self.inactive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_over_workers_and_keep_directions_apart() {
        let stats = BackendStats::new(2);
        stats.worker(0).unwrap().packet(Direction::Original, 100);
        stats.worker(1).unwrap().packet(Direction::Original, 50);
        stats.worker(1).unwrap().packet(Direction::Reply, 7);
        stats.worker(1).unwrap().opened(false);
        stats.worker(1).unwrap().moved(false, true);
        stats.worker(0).unwrap().opened(true);
        stats.worker(0).unwrap().closed(true);
        assert!(stats.worker(2).is_none());
        let expected = BackendTotals {
            connections: 2,
            active: 1,
            inactive: 0,
            packets_in: 2,
            packets_out: 1,
            bytes_in: 150,
            bytes_out: 7,
            ..BackendTotals::default()
        };
        assert_eq!(stats.totals(), expected);
    }
}
