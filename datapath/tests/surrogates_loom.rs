//! The surrogates of clients under every interleaving of two workers (loom), in a bucket of two places.

mod atomics {
    pub(crate) const PLACES_IN_BUCKET: usize = 2;
    pub(crate) const PATIENCE: usize = 2;
    pub(crate) use loom::hint::spin_loop as pause;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}
#[path = "../src/surrogate.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod surrogate;

use std::net::Ipv6Addr;

use loom::sync::Arc;
use loom::thread;
use surrogate::{IDLE_SECONDS, Surrogates};

const ONE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const TWO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// More preemptions than these would take minutes.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(check);
}

fn table() -> Arc<Surrogates> {
    let surrogates = Surrogates::new(1);
    surrogates.prepare();
    Arc::new(surrogates)
}

#[test]
fn one_client_has_one_name() {
    model(|| {
        let surrogates = table();
        let other = Arc::clone(&surrogates);
        let theirs = thread::spawn(move || other.hear(ONE, 1));
        let ours = surrogates.hear(ONE, 1);
        let theirs = theirs.join().unwrap();
        assert!(ours == theirs || ours.is_none() || theirs.is_none(), "two names for one client");
        // With as many looks at what the other one does as there are preemptions; it may be off the CPU for longer.
        assert!(ours.is_some() || theirs.is_some(), "both gave up");
    });
}

/// While one worker opens a flow of a client that was silent, the other needs places for others.
#[test]
fn what_is_held_is_not_given_away() {
    model(|| {
        let surrogates = table();
        let name = surrogates.hear(ONE, 1);
        assert!(surrogates.hear(OTHER, IDLE_SECONDS).is_some());
        let other = Arc::clone(&surrogates);
        let theirs = thread::spawn(move || other.hear(TWO, 1 + IDLE_SECONDS));
        let name = name.unwrap();
        if surrogates.hold(name) {
            assert_eq!(surrogates.address(name), Some(ONE));
        } else {
            assert_eq!(surrogates.address(name), None);
        }
        theirs.join().unwrap();
    });
}
