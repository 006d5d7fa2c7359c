//! Counters of one worker: written by that worker only, read by control at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::verdict::DropReason;

const REASONS: usize = DropReason::ALL.len();

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// The live counters of one worker.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $field: Counter,)+
            drops: Drops,
        }

        /// What a worker had counted at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct WorkerCounters {
            $($(#[doc = $doc])+ pub $field: u64,)+
            /// Dropped packets by reason, every reason once.
            pub drops: Vec<(&'static str, u64)>,
        }

        impl Counters {
            /// The values now.
            #[must_use]
            pub fn read(&self) -> WorkerCounters {
                WorkerCounters {
                    $($field: self.$field.get(),)+
                    drops: DropReason::ALL.iter().map(|reason| (reason.name(), self.drops.0[*reason as usize].get())).collect(),
                }
            }
        }

        impl WorkerCounters {
            /// Adds the counters of another worker.
            pub fn add(&mut self, other: &WorkerCounters) {
                $(self.$field += other.$field;)+
                if self.drops.is_empty() {
                    self.drops.clone_from(&other.drops);
                    return;
                }
                for (sum, (_, n)) in self.drops.iter_mut().zip(&other.drops) {
                    sum.1 += n;
                }
            }

            /// All but the drops, by name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),+]
            }
        }
    };
}

counters! {
    /// Packets received from devices.
    rx_packets,
    /// Bytes received, link headers included.
    rx_bytes,
    /// Packets sent.
    tx_packets,
    /// Bytes sent, link headers included.
    tx_bytes,
    /// Packets of lent flows that the XDP program sent on, up to a second ago; in none of the four above.
    shortcut_packets,
    /// Their bytes, of the IP layer.
    shortcut_bytes,
    /// Packets that were answered here (echo, RST, ICMP errors, ARP).
    replies,
    /// Packets given to another worker.
    handed_over,
    /// Packets taken from other workers.
    received_over,
    /// Flows opened.
    flows_opened,
    /// Flows that ran into their timeout.
    flows_expired,
    /// Flows reset because their backend was removed.
    flows_reset,
    /// Frames of which the checksum had been left unfinished by the sender's kernel.
    checksums_finished,
    /// ARP packets sent into the overlay to keep us known there.
    arp_taught,
    /// ARP answers of tasks that were heard.
    arp_heard,
    /// Packets of health checks sent.
    probes_sent,
    /// Answers to health checks that were passed on to control.
    probes_answered,
    /// PROXY headers sent for the first time.
    proxy_headers,
    /// PROXY headers sent again.
    proxy_headers_repeated,
    /// Events of flows that were not logged because control was not quick enough.
    flow_events_lost,
    /// Datagrams of one-packet services that were sent on.
    one_packet_sent,
    /// Bursts that were not empty.
    bursts,
    /// Times that the worker went to sleep.
    sleeps,
}

/// One counter with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Drops([Counter; REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Counters {
    /// Counts a dropped packet.
    pub fn dropped(&self, reason: DropReason) {
        self.drops.0[reason as usize].add(1);
    }

    /// Counts several packets dropped for the same reason.
    pub fn dropped_many(&self, reason: DropReason, n: usize) {
        self.drops.0[reason as usize].add(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_read_and_summed() {
        let one = Counters::default();
        one.dropped(DropReason::NoFlow);
        one.dropped_many(DropReason::DeviceFull, 3);
        one.rx_packets.add(4);
        let mut sum = WorkerCounters::default();
        sum.add(&one.read());
        sum.add(&one.read());
        assert_eq!(sum.rx_packets, 8);
        assert_eq!(sum.drops.len(), DropReason::ALL.len());
        let moved: Vec<_> = sum.drops.iter().filter(|(_, n)| *n > 0).copied().collect();
        assert_eq!(moved, [("no_flow", 2), ("device_full", 6)]);
    }
}
