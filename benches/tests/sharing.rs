//! What workers write to while packets pass has cache lines of its own: by layout, on every machine. What they really write to is
//! shown by `make bench-sharing`.

use datapath::counters::Counters;
use datapath::exchange::Mailbox;
use datapath::protection::{Guard, WorkerGuard};
use datapath::service::{Clients, Turn, WorkerStats};
use datapath::worker::{Shared, TablesDesk};

/// Whether values of this type never share a line, in an array or beside anything else.
fn stands_alone<T>() -> bool {
    align_of::<T>() >= 64 && size_of::<T>().is_multiple_of(64)
}

#[test]
fn what_workers_write_to_has_lines_of_its_own() {
    assert!(stands_alone::<Counters>(), "counters of a worker");
    assert!(stands_alone::<WorkerStats>(), "a worker's counters of a backend");
    assert!(stands_alone::<Turn>(), "whose turn it is");
    assert!(stands_alone::<WorkerGuard>(), "what a worker counts of a service's guard");
    assert!(stands_alone::<Guard>(), "what all workers write to in a service's guard");
    assert!(stands_alone::<Clients>(), "clients that were forgotten early");
    assert!(stands_alone::<Mailbox>(), "packets for a worker");
    assert!(stands_alone::<Shared>(), "what a worker shares with control");
    assert!(stands_alone::<TablesDesk>(), "where a worker takes tables");
}
