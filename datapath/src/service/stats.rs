//! Per-backend counters: one cache-line-aligned set a worker, written by that worker only, summed by control.

use std::sync::atomic::{AtomicU64, Ordering};

use conntrack::{Direction, State};

/// How far a flow has come, as its backend's gauges know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Open: established, or a UDP exchange that goes on.
    Active,
    /// Opening or closing.
    Pending,
    /// Over; the entry serves late packets.
    Over,
}

impl Phase {
    /// The phase of a state.
    #[must_use]
    pub fn of(state: State) -> Phase {
        match state {
            State::Established | State::UdpStream => Phase::Active,
            state if state.is_closed() => Phase::Over,
            _ => Phase::Pending,
        }
    }
}

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
    /// By [`Phase`].
    flows: [AtomicU64; 3],
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
        (self.in_phase(Phase::Active), self.in_phase(Phase::Pending) + self.in_phase(Phase::Over))
    }

    /// Flows that are not over, over all workers.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.in_phase(Phase::Active) + self.in_phase(Phase::Pending)
    }

    fn in_phase(&self, phase: Phase) -> u64 {
        self.workers.iter().map(|worker| worker.gauge(phase).load(Ordering::Relaxed)).sum()
    }

    /// Sums over all workers.
    #[must_use]
    pub fn totals(&self) -> BackendTotals {
        self.workers.iter().fold(BackendTotals::default(), |sum, w| BackendTotals {
            connections: sum.connections + w.connections.load(Ordering::Relaxed),
            active: sum.active + w.gauge(Phase::Active).load(Ordering::Relaxed),
            inactive: sum.inactive
                + w.gauge(Phase::Pending).load(Ordering::Relaxed)
                + w.gauge(Phase::Over).load(Ordering::Relaxed),
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

    /// Packets that went by elsewhere, `bytes` in all.
    pub fn packets(&self, direction: Direction, packets: u32, bytes: u64) {
        let side = usize::from(direction == Direction::Reply);
        add(&self.packets[side], packets.into());
        add(&self.bytes[side], bytes);
    }

    /// A flow was opened.
    pub fn opened(&self, phase: Phase) {
        add(&self.connections, 1);
        add(self.gauge(phase), 1);
    }

    /// A datagram that makes no flow.
    pub fn sent_alone(&self) {
        add(&self.connections, 1);
    }

    /// A flow has moved on.
    pub fn moved(&self, before: Phase, after: Phase) {
        if before != after {
            subtract(self.gauge(before), 1);
            add(self.gauge(after), 1);
        }
    }

    /// A flow left the table.
    pub fn closed(&self, phase: Phase) {
        subtract(self.gauge(phase), 1);
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

    fn gauge(&self, phase: Phase) -> &AtomicU64 {
        &self.flows[phase as usize]
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
        stats.worker(1).unwrap().opened(Phase::Pending);
        stats.worker(1).unwrap().moved(Phase::Pending, Phase::Active);
        stats.worker(0).unwrap().opened(Phase::Active);
        stats.worker(0).unwrap().closed(Phase::Active);
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
