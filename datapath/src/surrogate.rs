//! IPv4 addresses that stand for IPv6 ones inside the gateway, so that flows, keys and edits know one kind of address.
//!
//! They are of 240.0.0.0/4, which is on no wire. Those of VIPs, backends and our own addresses are given by control
//! ([`Tables::six`](crate::service::Tables::six)). Those of clients are given here, by one table for all workers: a
//! client's packets land on any queue.
//!
//! The table is buckets of eight places; a keyed hash names two of them for an address. The lower bits of a surrogate are
//! the number of its place, so the way back is one read; the upper ones count how often the place was given away, so that
//! a surrogate which was somebody else's a while ago leads nowhere. A place is free again when no flow holds it and
//! nothing was heard from its client for `IDLE`. No locks: a place is claimed by one compare-and-swap, and whoever
//! finds that another worker writes the same address at the same moment steps back and looks again.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use crate::atomics::{AtomicU32, AtomicU64, Ordering, PATIENCE, PLACES_IN_BUCKET, fence, pause};

/// Who meets another worker that often while it takes a place gives up this time.
const TRIES: usize = 4;
/// Seconds for which a client without flows keeps its surrogate: longer than any packet is under way between workers. Not
/// much longer, since everybody who sends anything gets one.
pub const IDLE_SECONDS: u32 = 3;

/// All surrogates: 240.0.0.0/4.
const FIRST: u32 = 0xf000_0000;
/// Those that control gives: 240.0.0.0/8.
const FIXED_BITS: u32 = 24;
/// Those of clients: 248.0.0.0/5.
const FIRST_CLIENT: u32 = 0xf800_0000;
const CLIENT_BITS: u32 = 27;
/// Places at most: what is left of the bits counts how often a place was given away.
const MOST_PLACES: usize = 1 << 23;

/// The source of ICMP errors from IPv6 routers: nobody answers those, so all routers are one.
pub const SOMEBODY: Ipv4Addr = Ipv4Addr::new(247, 0, 0, 1);

/// Whether the address stands for an IPv6 one.
#[must_use]
#[inline]
pub const fn is_surrogate(address: Ipv4Addr) -> bool {
    address.to_bits() >= FIRST
}

/// Whether the address may stand for a VIP, a backend or an address of ours.
#[must_use]
pub const fn is_fixed(address: Ipv4Addr) -> bool {
    address.to_bits() >> FIXED_BITS == FIRST >> FIXED_BITS && address.to_bits() != FIRST
}

/// Whether the address stands for a client.
#[must_use]
#[inline]
pub const fn is_client(address: Ipv4Addr) -> bool {
    address.to_bits() >= FIRST_CLIENT
}

/// The clients' surrogates.
#[derive(Debug)]
pub struct Surrogates {
    /// Made when the first tables with IPv6 come.
    buckets: OnceLock<Box<[Bucket]>>,
    places: usize,
    hash: RandomState,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([Place; PLACES_IN_BUCKET]);

/// One client's place.
#[derive(Debug, Default)]
struct Place {
    /// [`Meta`].
    meta: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    /// The second in which its client was heard last.
    seen: AtomicU32,
}

/// What a place is at one moment: how often it was given away, what it is used for, and how many flows hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta(u64);

const FREE: u64 = 0;
/// Its address is being written.
const CLAIMED: u64 = 1;
/// Its address is there, but another worker may be about to write the same one.
const NEW: u64 = 2;
const USED: u64 = 3;

impl Meta {
    const USE_SHIFT: u32 = 32;
    const COUNT_SHIFT: u32 = 34;

    fn new(count: u64, used_for: u64) -> Self {
        Self(count << Self::COUNT_SHIFT | used_for << Self::USE_SHIFT)
    }

    fn flows(self) -> u32 {
        self.0 as u32
    }

    fn used_for(self) -> u64 {
        self.0 >> Self::USE_SHIFT & 3
    }

    fn count(self) -> u64 {
        self.0 >> Self::COUNT_SHIFT
    }
}

/// An address in halves.
type Halves = (u64, u64);

fn halves(address: Ipv6Addr) -> Halves {
    let bits = address.to_bits();
    ((bits >> 64) as u64, bits as u64)
}

impl Place {
    fn meta(&self) -> Meta {
        Meta(self.meta.load(Ordering::Acquire))
    }

    /// What it is and whose, read as one.
    fn read(&self) -> (Meta, Halves) {
        let meta = self.meta();
        let address = (self.high.load(Ordering::Relaxed), self.low.load(Ordering::Relaxed));
        // Whoever writes an address counts first: if the count is still the same, so was the address.
        fence(Ordering::Acquire);
        let now = Meta(self.meta.load(Ordering::Relaxed));
        let is_whole = meta.used_for() != CLAIMED && meta.count() == now.count();
        if is_whole { (now, address) } else { (Meta::new(now.count(), CLAIMED), address) }
    }

    fn change(&self, from: Meta, to: Meta) -> bool {
        self.meta.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Written only when there is something new.
    fn stamp(&self, second: u32) {
        if self.seen.load(Ordering::Relaxed) != second {
            self.seen.store(second, Ordering::Relaxed);
        }
    }

    /// Whether it may be given to another client.
    fn is_open(&self, meta: Meta, second: u32) -> bool {
        match meta.used_for() {
            FREE => true,
            // Clocks of workers differ by a little.
            USED if meta.flows() == 0 => second.saturating_sub(self.seen.load(Ordering::Relaxed)) >= IDLE_SECONDS,
            _ => false,
        }
    }
}

/// How an attempt to take a place ended.
enum Taken {
    Place(usize, Meta),
    /// Another worker was there at the same moment.
    Met,
    Full,
}

impl Surrogates {
    /// Room for about so many clients at once. Takes no memory before [`Surrogates::prepare`].
    #[must_use]
    pub fn new(clients: usize) -> Self {
        let places = clients.clamp(PLACES_IN_BUCKET, MOST_PLACES).next_power_of_two();
        Self { buckets: OnceLock::new(), places, hash: RandomState::new() }
    }

    /// Control: the tables have IPv6.
    pub fn prepare(&self) {
        let buckets = || (0..self.places / PLACES_IN_BUCKET).map(|_| Bucket::default()).collect();
        self.buckets.get_or_init(buckets);
    }

    fn buckets(&self) -> &[Bucket] {
        self.buckets.get().map_or(&[], |buckets| buckets)
    }

    /// The two buckets that an address may have a place in, if they are two.
    fn homes(&self, address: Ipv6Addr) -> impl Iterator<Item = usize> {
        let hash = self.hash.hash_one(address.to_bits());
        let mask = self.buckets().len().wrapping_sub(1);
        let (one, two) = (hash as usize & mask, (hash >> 32) as usize & mask);
        [Some(one), (one != two).then_some(two)].into_iter().flatten()
    }

    /// A bucket's places with their numbers.
    fn places_of(&self, bucket: usize) -> impl Iterator<Item = (usize, &Place)> {
        let places = self.buckets().get(bucket).map_or(&[][..], |bucket| &bucket.0);
        places.iter().enumerate().map(move |(n, place)| (bucket * PLACES_IN_BUCKET + n, place))
    }

    /// The places that an address may have.
    fn places(&self, address: Ipv6Addr) -> impl Iterator<Item = (usize, &Place)> {
        self.homes(address).flat_map(|bucket| self.places_of(bucket))
    }

    /// The places of a bucket that may be given away.
    fn open_places(&self, bucket: usize, second: u32) -> impl Iterator<Item = (usize, &Place, Meta)> {
        self.places_of(bucket).filter_map(move |(at, place)| {
            let meta = place.meta();
            place.is_open(meta, second).then_some((at, place, meta))
        })
    }

    /// The address of a place that was given away so often.
    fn name(&self, place: usize, meta: Meta) -> Ipv4Addr {
        let count = (meta.count() as u32).wrapping_shl(self.places.trailing_zeros());
        Ipv4Addr::from_bits(FIRST_CLIENT | (count | place as u32) & ((1 << CLIENT_BITS) - 1))
    }

    /// The place with that name, if it is still the same client's.
    fn place(&self, surrogate: Ipv4Addr) -> Option<(&Place, Meta, Halves)> {
        if !is_client(surrogate) {
            return None;
        }
        let at = surrogate.to_bits() as usize & (self.places - 1);
        let place = self.buckets().get(at / PLACES_IN_BUCKET)?.0.get(at % PLACES_IN_BUCKET)?;
        let (meta, address) = place.read();
        (meta.used_for() == USED && self.name(at, meta) == surrogate).then_some((place, meta, address))
    }

    /// The client that a surrogate stands for.
    #[must_use]
    pub fn address(&self, surrogate: Ipv4Addr) -> Option<Ipv6Addr> {
        let (_, _, (high, low)) = self.place(surrogate)?;
        Some(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
    }

    /// The surrogate of a client, if it has one.
    #[must_use]
    pub fn find(&self, client: Ipv6Addr) -> Option<Ipv4Addr> {
        self.known(client).map(|(at, meta, _)| self.name(at, meta))
    }

    /// The surrogate of a client that was heard in this second, if it has one.
    #[must_use]
    pub fn hear_again(&self, client: Ipv6Addr, second: u32) -> Option<Ipv4Addr> {
        self.known(client).map(|(at, meta, place)| {
            place.stamp(second);
            self.name(at, meta)
        })
    }

    /// As [`Surrogates::hear_again`], but the client gets one if it has none. `None`: there is no room.
    #[must_use]
    pub fn hear(&self, client: Ipv6Addr, second: u32) -> Option<Ipv4Addr> {
        for _ in 0..TRIES {
            if let Some(known) = self.hear_again(client, second) {
                return Some(known);
            }
            match self.take(client, second) {
                Taken::Place(at, meta) => return Some(self.name(at, meta)),
                Taken::Met => self.wait(client),
                Taken::Full => return None,
            }
        }
        None
    }

    /// Whether another worker is about to take a place that this client may have: likely for the same client, whose
    /// packets came by two queues.
    fn is_being_taken(&self, client: Ipv6Addr) -> bool {
        self.places(client).any(|(_, place)| matches!(place.meta().used_for(), CLAIMED | NEW))
    }

    /// Lets such a worker end. Two that only stepped back would meet again and again. Not for long: it may not be running.
    fn wait(&self, client: Ipv6Addr) {
        for _ in 0..PATIENCE {
            if !self.is_being_taken(client) {
                return;
            }
            pause();
        }
    }

    fn known(&self, client: Ipv6Addr) -> Option<(usize, Meta, &Place)> {
        let wanted = halves(client);
        self.places(client).find_map(|(at, place)| {
            let (meta, address) = place.read();
            (meta.used_for() == USED && address == wanted).then_some((at, meta, place))
        })
    }

    /// In the emptier bucket a free place, else the one whose client was heard longest ago.
    fn choose(&self, client: Ipv6Addr, second: u32) -> Option<(usize, &Place, Meta)> {
        let home = self.homes(client).max_by_key(|bucket| self.open_places(*bucket, second).count())?;
        let age = |(_, place, meta): &(usize, &Place, Meta)| (meta.used_for(), place.seen.load(Ordering::Relaxed));
        self.open_places(home, second).min_by_key(age)
    }

    /// Gives a place away.
    fn take(&self, client: Ipv6Addr, second: u32) -> Taken {
        let Some((at, place, meta)) = self.choose(client, second) else { return Taken::Full };
        let claimed = Meta::new(meta.count().wrapping_add(1), CLAIMED);
        if !place.change(meta, claimed) {
            return Taken::Met;
        }
        // No reader sees the new address with the old `meta`.
        fence(Ordering::Release);
        let (high, low) = halves(client);
        place.high.store(high, Ordering::Relaxed);
        place.low.store(low, Ordering::Relaxed);
        place.seen.store(second, Ordering::Relaxed);
        let (new, used) = (Meta::new(claimed.count(), NEW), Meta::new(claimed.count(), USED));
        place.meta.store(new.0, Ordering::SeqCst);
        // Of two workers that write the same address at least one sees the other here, since both said NEW before.
        fence(Ordering::SeqCst);
        let is_other = |(other, place): (usize, &Place)| {
            let (meta, address) = place.read();
            other != at && matches!(meta.used_for(), NEW | USED) && address == (high, low)
        };
        if self.places(client).any(is_other) {
            place.meta.store(Meta::new(claimed.count(), FREE).0, Ordering::SeqCst);
            return Taken::Met;
        }
        place.meta.store(used.0, Ordering::SeqCst);
        Taken::Place(at, used)
    }

    /// A flow of the client was opened. False: the surrogate is no longer that client's.
    #[must_use]
    pub fn hold(&self, surrogate: Ipv4Addr) -> bool {
        while let Some((place, meta, _)) = self.place(surrogate) {
            if place.change(meta, Meta(meta.0 + 1)) {
                return true;
            }
        }
        false
    }

    /// A flow of the client was closed, for which [`Surrogates::hold`] was called before.
    pub fn release(&self, surrogate: Ipv4Addr) {
        while let Some((place, meta, _)) = self.place(surrogate) {
            if meta.flows() == 0 || place.change(meta, Meta(meta.0 - 1)) {
                return;
            }
        }
    }

    /// Clients that have a surrogate, and flows that hold one. Looks at every place: for control.
    #[must_use]
    pub fn count(&self) -> (usize, u64) {
        let places = self.buckets().iter().flat_map(|bucket| &bucket.0).map(Place::meta);
        let used = places.filter(|meta| meta.used_for() == USED);
        used.fold((0, 0), |(clients, flows), meta| (clients + 1, flows + u64::from(meta.flows())))
    }

    /// How many clients there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.places
    }
}
