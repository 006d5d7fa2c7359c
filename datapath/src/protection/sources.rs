//! One token bucket for each source of new flows, in fixed memory that all workers share without locks.
//!
//! Eight places of eight bytes to a cache line; a keyed hash of the source says which line, and twenty more of its bits are
//! kept in the place beside the bucket. A bucket that is full again says no more than an unknown source does: its place is
//! free. Where all eight are in debt, the one that owes least gives way. So
//! * memory is fixed, and a source costs one cache line;
//! * a source at its limit is forgotten only for eight others that owe as much: a flood of addresses that each come once does
//!   not free it;
//! * nobody is refused for want of room: a newcomer always begins with a full bucket;
//! * two sources share a bucket with a probability of eight in a million when their line is full.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use super::rate::{Instant, Rate};

const PLACES_IN_LINE: usize = 8;
/// 512 KiB.
const LINES: usize = 8_192;
const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// How much coarser than a bucket's the time in a place is at most: debts must stay in 64 bits.
const MOST_SPARE_BITS: u32 = 63 - TIME_BITS;
/// A lost race is a token that another worker took of the same line, so there are few; who loses this many goes on
/// unmeasured, once. (Sixteen were too few: the core that has the line in its cache wins many times in a row.)
const TRIES: usize = 1_024;

/// The buckets.
#[derive(Debug)]
pub(super) struct Sources {
    lines: Box<[Line]>,
    hash: RandomState,
    evicted: CachePadded<AtomicU64>,
}

/// A source's hash in the upper bits, and when its bucket will be full again.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; PLACES_IN_LINE]);

impl Sources {
    pub(super) fn new() -> Self {
        Self::with_lines(LINES, RandomState::new())
    }

    fn with_lines(lines: usize, hash: RandomState) -> Self {
        Self { lines: (0..lines).map(|_| Line::default()).collect(), hash, evicted: CachePadded::default() }
    }

    /// Whether the source has a token.
    pub(super) fn has(&self, source: IpAddr, rate: Rate, now: Instant) -> bool {
        let Some((line, tag)) = self.line(source) else { return true };
        choose(line, tag, rate, now).is_none_or(|choice| rate.take(choice.owed()).is_some())
    }

    /// Takes a token of the source if it has one.
    pub(super) fn take(&self, source: IpAddr, rate: Rate, now: Instant) -> bool {
        let Some((line, tag)) = self.line(source) else { return true };
        for _ in 0..TRIES {
            let Some(choice) = choose(line, tag, rate, now) else { return true };
            let Some(debt) = rate.take(choice.owed()) else { return false };
            let new = tag << TIME_BITS | now.0.wrapping_add(debt) >> spare_bits(rate) & TIME;
            if choice.place.compare_exchange(choice.seen, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                if !choice.is_own && choice.debt > 0 {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                return true;
            }
        }
        true
    }

    /// Where the source's bucket is, and which one it is there.
    fn line(&self, source: IpAddr) -> Option<(&Line, u64)> {
        let hash = self.hash.hash_one(network(source));
        self.lines.get(hash as usize % self.lines.len().max(1)).map(|line| (line, tag(hash)))
    }

    /// Sources that were forgotten while they owed something.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

struct Choice<'a> {
    place: &'a AtomicU64,
    seen: u64,
    debt: u64,
    is_own: bool,
}

impl Choice<'_> {
    /// What the source owes: nothing at a place that is another's.
    fn owed(&self) -> u64 {
        if self.is_own { self.debt } else { 0 }
    }
}

/// The source's own place, else the one that owes least.
fn choose(line: &Line, tag: u64, rate: Rate, now: Instant) -> Option<Choice<'_>> {
    let choices = line.0.iter().map(|place| {
        let seen = place.load(Ordering::Relaxed);
        let debt = debt(seen, rate, now);
        Choice { place, seen, debt, is_own: seen >> TIME_BITS == tag && debt > 0 }
    });
    choices.min_by_key(|choice| if choice.is_own { (0, 0) } else { (1, choice.debt) })
}

/// How long the bucket needs until it is full.
///
/// Times come round again, at the quickest rates after twelve days, and who comes just before that owes something again. At slow
/// rates debts last for hours: there, times are coarser, and come round after years. When tables change a rate by much, what was
/// owed at the old one is forgotten.
fn debt(place: u64, rate: Rate, now: Instant) -> u64 {
    let spare = spare_bits(rate);
    rate.owed((place.wrapping_sub(now.0 >> spare) & TIME) << spare)
}

fn spare_bits(rate: Rate) -> u32 {
    rate.spare_bits().min(MOST_SPARE_BITS)
}

fn tag(hash: u64) -> u64 {
    hash >> TIME_BITS
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 address, which one host has for itself.
fn network(source: IpAddr) -> u64 {
    match source {
        // No IPv6 source begins so: that is multicast.
        IpAddr::V4(address) => 0xffff_ffff << 32 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn client(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    fn taken(sources: &Sources, source: IpAddr, rate: Rate, at: Duration, asked: usize) -> usize {
        (0..asked).filter(|_| sources.take(source, rate, at.into())).count()
    }

    #[test]
    fn each_source_has_a_bucket_of_its_own() {
        let (sources, rate) = (Sources::new(), Rate::new(10, SECOND, 5));
        for n in 0..1000 {
            assert_eq!(taken(&sources, client(n), rate, 9 * SECOND, 7), 5, "client {n}");
        }
        for n in 0..1000 {
            assert_eq!(taken(&sources, client(n), rate, 9 * SECOND + SECOND / 5, 7), 2, "client {n}");
        }
        assert_eq!(sources.evicted(), 0, "eight thousand lines have room for a thousand");
    }

    #[test]
    fn hosts_of_one_v6_network_are_one_source() {
        let (sources, rate) = (Sources::new(), Rate::new(10, SECOND, 3));
        let host = |network: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into();
        let all: usize = (0..9).map(|n| taken(&sources, host(1, n), rate, SECOND, 1)).sum();
        assert_eq!((all, taken(&sources, host(2, 0), rate, SECOND, 9)), (3, 3));
    }

    /// A single line, a heavy source, and a hundred thousand others that come once each. One in a million of them has the heavy
    /// one's twenty bits, whatever the key, and shares its bucket: in one run of ten somebody is refused for that.
    #[test]
    fn a_flood_of_addresses_does_not_free_who_is_at_the_limit() {
        let sources = Sources::with_lines(1, RandomState::new());
        let rate = Rate::new(1, SECOND, 10);
        assert_eq!(taken(&sources, client(0), rate, 100 * SECOND, 99), 10);
        let tag = |client| tag(sources.hash.hash_one(network(client)));
        for n in 1..100_000 {
            let shares = tag(client(n)) == tag(client(0));
            assert_eq!(sources.take(client(n), rate, (100 * SECOND).into()), !shares, "newcomer {n}");
        }
        assert_eq!(taken(&sources, client(0), rate, 100 * SECOND, 99), 0);
        assert!(sources.evicted() > 90_000, "but most of the others were forgotten, which is counted");
    }

    /// A debt of hours would be as good as due again each time that twelve days have gone by.
    #[test]
    fn a_slow_bucket_that_was_left_alone_stays_full() {
        let (rate, hour) = (Rate::new(5, Duration::from_hours(1), 100), Duration::from_hours(1));
        let sources = Sources::with_lines(1, RandomState::new());
        assert_eq!(taken(&sources, client(1), rate, hour, 999), 100);
        let owed = |at: Duration| debt(sources.lines[0].0[0].load(Ordering::Relaxed), rate, at.into());
        assert!(owed(hour) > 0, "that is its place");
        for later in 22..3 * 365 * 24 {
            assert_eq!(owed(later * hour), 0, "after {later} hours");
        }
    }

    /// Places keep 44 bits of time: a bucket that was left alone for long is full, whenever it is looked at.
    #[test]
    fn old_times_wrap_without_harm() {
        let rate = Rate::new(1, SECOND, 10);
        let start = Duration::from_secs(((TIME + 1) << spare_bits(rate)) / 16_000_000 - 5);
        for later in [12, 3_600, 86_400, 6 * 86_400, 13 * 86_400, 400 * 86_400] {
            let sources = Sources::with_lines(1, RandomState::new());
            assert_eq!(taken(&sources, client(1), rate, start, 99), 10);
            assert_eq!(taken(&sources, client(1), rate, start + 2 * SECOND, 99), 2, "over the wrap");
            assert_eq!(taken(&sources, client(1), rate, start + later * SECOND, 99), 10, "after {later} s");
        }
    }

    #[test]
    fn workers_that_race_let_no_more_through() {
        let sources = Sources::with_lines(1, RandomState::new());
        let rate = Rate::new(1, Duration::from_mins(1), 500);
        let count = || taken(&sources, client(1), rate, SECOND, 400);
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(all, 500, "nobody can lose more races than there are tokens");
    }
}
