//! Which backend served a client last. All workers share it, without locks: a client's connections land on any queue.
//!
//! Buckets of eight places, two cache lines each; a keyed hash says in which bucket a client is. A place is claimed by one
//! compare-and-swap of client and backend together, so that no client is ever seen with another one's backend. Its time
//! is written after that: who looks in between takes the client for an unknown one, and schedules it once more. Where no
//! place is free, the client that was seen longest ago gives way.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::scheduler::mix;

const PLACES_IN_BUCKET: usize = 8;
/// Who loses the race for a place that often is not remembered this time.
const TRIES: usize = 4;
/// Bits of `last` below the milliseconds.
const PORT_BITS: u32 = 16;

/// How a service's clients stay with their backends.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// For so long after its last new flow.
    pub time: Duration,
    /// Clients whose IPv4 addresses agree in so many bits count as one; 1 to 32.
    pub prefix: u8,
    /// The same for IPv6 addresses; 1 to 128.
    pub prefix_six: u8,
    /// Other services remember the same clients: a backend is known by its address, whatever its port.
    pub grouped: bool,
    /// What is remembered: control hands the same one to every generation, and to all services of a group.
    pub clients: Arc<Clients>,
}

impl Persistence {
    /// The client's network. What stands for one of IPv6 may stand for another one, too, by a chance of one in 2^28:
    /// those two share a backend.
    #[must_use]
    pub fn client(&self, address: IpAddr) -> Ipv4Addr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix.into())).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask)
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix_six.into())).unwrap_or(0);
                // 240.0.0.0/4: no client of IPv4.
                Ipv4Addr::from_bits((mix(Ipv6Addr::from_bits(address.to_bits() & mask)) >> 36) as u32 | 0xf000_0000)
            }
        }
    }
}

/// A backend as it is remembered: services of a group know it by different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its address; never 0.0.0.0.
    pub address: Ipv4Addr,
    /// Its target port.
    pub port: Option<NonZeroU16>,
}

/// The clients of a service, or of a group of services.
#[derive(Debug)]
pub struct Clients {
    buckets: Box<[Bucket]>,
    hash: RandomState,
    evicted: CachePadded<AtomicU64>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Bucket([Place; PLACES_IN_BUCKET]);

#[derive(Debug, Default)]
struct Place {
    /// The client in the upper half, its backend in the lower; 0: free.
    pair: AtomicU64,
    /// When, in milliseconds, and below that the backend's port.
    last: AtomicU64,
}

/// A moment, and how long clients are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Duration,
    /// See [`Persistence::time`].
    pub time: Duration,
}

impl Moment {
    fn millis(self) -> u64 {
        self.now.as_millis() as u64
    }

    fn is_fresh(self, last: u64) -> bool {
        // Clocks of workers that look at the same instant differ by a little.
        u128::from(self.millis().saturating_sub(last >> PORT_BITS)) < self.time.as_millis()
    }
}

impl Place {
    fn load(&self) -> (u64, u64) {
        (self.pair.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed))
    }

    fn claim(&self, from: u64, to: u64) -> bool {
        self.pair.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Workers write here only when there is something new.
    fn stamp(&self, last: u64) {
        if self.last.load(Ordering::Relaxed) != last {
            self.last.store(last, Ordering::Relaxed);
        }
    }
}

fn pair(client: Ipv4Addr, home: Home) -> u64 {
    u64::from(client.to_bits()) << 32 | u64::from(home.address.to_bits())
}

fn is_of(pair: u64, client: Ipv4Addr) -> bool {
    pair != 0 && (pair >> 32) as u32 == client.to_bits()
}

fn home(pair: u64, last: u64) -> Home {
    Home { address: Ipv4Addr::from_bits(pair as u32), port: NonZeroU16::new(last as u16) }
}

impl Clients {
    /// Room for at least so many, 16 bytes each.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let buckets = Self::capacity_for(places) / PLACES_IN_BUCKET;
        let buckets = (0..buckets).map(|_| Bucket::default()).collect();
        Self { buckets, hash: RandomState::new(), evicted: CachePadded::default() }
    }

    fn bucket(&self, client: Ipv4Addr) -> &[Place] {
        let hash = self.hash.hash_one(client.to_bits()) as usize;
        // A power of two, never 0.
        self.buckets.get(hash & (self.buckets.len() - 1)).map_or(&[], |bucket| &bucket.0)
    }

    /// The backend that the client's last flow went to.
    #[must_use]
    pub fn recall(&self, client: Ipv4Addr, moment: Moment) -> Option<Home> {
        let mut places = self.bucket(client).iter().map(Place::load);
        let (pair, last) = places.find(|(pair, last)| is_of(*pair, client) && moment.is_fresh(*last))?;
        Some(home(pair, last))
    }

    /// Remembers that a flow of the client goes to `wanted`. `seen` is what [`Clients::recall`] said before: if it is no
    /// longer so, another worker was faster, and its choice stands. Gives what is remembered now.
    pub fn settle(&self, client: Ipv4Addr, seen: Option<Home>, wanted: Home, moment: Moment) -> Home {
        let places = self.bucket(client);
        let last = moment.millis() << PORT_BITS | u64::from(wanted.port.map_or(0, NonZeroU16::get));
        for _ in 0..TRIES {
            let Some((place, old, old_last)) = choose(places, client) else { return wanted };
            let is_known = is_of(old, client) && moment.is_fresh(old_last);
            let faster = home(old, old_last);
            if is_known && faster != wanted && Some(faster) != seen {
                return faster;
            }
            let new = pair(client, wanted);
            if old == new || place.claim(old, new) {
                place.stamp(last);
                if old != 0 && !is_of(old, client) && moment.is_fresh(old_last) {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
                return wanted;
            }
        }
        wanted
    }

    /// Clients that are remembered now. Looks at every place: for control.
    #[must_use]
    pub fn count(&self, moment: Moment) -> usize {
        let places = self.buckets.iter().flat_map(|bucket| &bucket.0).map(Place::load);
        places.filter(|(pair, last)| *pair != 0 && moment.is_fresh(*last)).count()
    }

    /// Clients that were forgotten before their time because there was no room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many places [`Clients::new`] makes of so many: a power of two.
    #[must_use]
    pub fn capacity_for(places: usize) -> usize {
        places.div_ceil(PLACES_IN_BUCKET).next_power_of_two() * PLACES_IN_BUCKET
    }

    /// How many clients there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buckets.len() * PLACES_IN_BUCKET
    }
}

/// The client's own place, else a free one, else the one whose client was seen longest ago.
fn choose(places: &[Place], client: Ipv4Addr) -> Option<(&Place, u64, u64)> {
    let all = places.iter().map(|place| {
        let (pair, last) = place.load();
        (place, pair, last)
    });
    // Of two places of the client, which a race may leave behind, the one that `recall` finds first.
    all.min_by_key(|(_, pair, last)| match pair {
        pair if is_of(*pair, client) => (0, 0),
        0 => (1, 0),
        _ => (2, *last),
    })
}
