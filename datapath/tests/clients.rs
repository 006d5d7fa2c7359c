//! What is remembered of clients, against a map; by one worker and by several at once.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use datapath::service::{Clients, Home, Moment};
use proptest::prelude::*;

fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc613_0000 + n)
}

fn backend(n: u32) -> Home {
    Home { address: Ipv4Addr::from_bits(0x0a00_0001 + n), port: NonZeroU16::new(8000 + n as u16) }
}

fn at(now: Duration, time: Duration) -> Moment {
    Moment { now, time }
}

/// A new flow as the schedulers see it: the client's backend, or this one.
fn flow(clients: &Clients, who: u32, scheduled: Home, moment: Moment) -> Home {
    match clients.recall(client(who), moment) {
        Some(home) => clients.settle(client(who), Some(home), home, moment),
        None => clients.settle(client(who), None, scheduled, moment),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A client's flow; if nothing is remembered it goes to this backend.
    Flow(u32, u32),
    /// The client's backend lets it go.
    Release(u32, u32),
    Pass(u64),
}

fn steps(clients: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..clients, 0..50_u32).prop_map(|(client, backend)| Step::Flow(client, backend)),
        1 => (0..clients, 50..60_u32).prop_map(|(client, backend)| Step::Release(client, backend)),
        3 => (0..4_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..400)
}

const TIME: Duration = Duration::from_secs(10);

/// Runs the steps on both; gives how often the map knew a client that the array had forgotten.
fn compare(clients: &Clients, steps: &[Step]) -> u64 {
    let mut model: HashMap<u32, (Home, Duration)> = HashMap::new();
    let (mut now, mut forgotten) = (Duration::from_hours(1), 0);
    for step in steps {
        let moment = at(now, TIME);
        match step {
            Step::Pass(millis) => now += Duration::from_millis(*millis),
            Step::Flow(who, other) => {
                let known = model.get(who).filter(|(_, last)| now.saturating_sub(*last) < TIME).map(|(home, _)| *home);
                let home = flow(clients, *who, backend(*other), moment);
                if known.is_some_and(|known| known != home) {
                    forgotten += 1;
                }
                assert!(known == Some(home) || home == backend(*other), "nobody's backend");
                model.insert(*who, (home, now));
            }
            Step::Release(who, other) => {
                let seen = clients.recall(client(*who), moment);
                assert_eq!(clients.settle(client(*who), seen, backend(*other), moment), backend(*other));
                model.insert(*who, (backend(*other), now));
            }
        }
    }
    let fresh = model.values().filter(|(_, last)| now.saturating_sub(*last) < TIME).count();
    let count = clients.count(at(now, TIME));
    assert!(count <= fresh && count + clients.evicted() as usize >= fresh, "{count} of {fresh}");
    forgotten
}

proptest! {
    /// With room for all, it is a map whose entries end.
    #[test]
    fn as_a_map(steps in steps(8)) {
        let clients = Clients::new(8);
        prop_assert_eq!(compare(&clients, &steps), 0);
        prop_assert_eq!(clients.evicted(), 0);
    }

    /// Without room, nobody is forgotten who is not counted.
    #[test]
    fn what_gives_way_is_counted(steps in steps(60)) {
        let clients = Clients::new(16);
        let forgotten = compare(&clients, &steps);
        prop_assert!(forgotten <= clients.evicted());
    }
}

#[test]
fn who_was_seen_longest_ago_gives_way() {
    let clients = Clients::new(8);
    let time = Duration::from_hours(1);
    let second = |n: u32| at(Duration::from_secs(u64::from(n)), time);
    for n in 0..8 {
        flow(&clients, n, backend(n), second(n));
    }
    flow(&clients, 0, backend(9), second(8));
    flow(&clients, 100, backend(100), second(9));
    let known: Vec<u32> = (0..8).filter(|n| clients.recall(client(*n), second(10)) == Some(backend(*n))).collect();
    assert_eq!(known, [0, 2, 3, 4, 5, 6, 7]);
    assert_eq!((clients.evicted(), clients.count(second(10)), clients.capacity()), (1, 8, 8));
    // Expired ones give way uncounted.
    let late = at(2 * time, time);
    flow(&clients, 101, backend(101), late);
    assert_eq!((clients.evicted(), clients.count(late)), (1, 1));
}

/// Two workers scheduled the same new client: the first choice stands, unless it was the one that had to be left.
#[test]
fn the_faster_worker_is_right() {
    let clients = Clients::new(8);
    let moment = at(Duration::from_secs(1), TIME);
    assert_eq!(clients.settle(client(1), None, backend(1), moment), backend(1));
    assert_eq!(clients.settle(client(1), None, backend(2), moment), backend(1));
    assert_eq!(clients.settle(client(1), Some(backend(1)), backend(3), moment), backend(3));
    assert_eq!(clients.settle(client(1), Some(backend(1)), backend(4), moment), backend(3));
    assert_eq!(clients.recall(client(1), moment), Some(backend(3)));
}

#[test]
fn there_is_room_for_most_of_what_was_asked_for() {
    let clients = Clients::new(65_536);
    let moment = at(Duration::from_secs(1), TIME);
    for n in 0..32_768 {
        flow(&clients, n, backend(n % 100), moment);
    }
    let kept = (0..32_768).filter(|n| clients.recall(client(*n), moment) == Some(backend(n % 100))).count();
    assert!(kept > 32_000, "{kept} of 32768 in a table half full");
    assert_eq!(kept as u64 + clients.evicted(), 32_768);
}

/// Workers that see the same new clients at the same time: whatever they read belongs to the client, they decide at most
/// once each, and in the end they agree.
#[test]
fn workers_agree() {
    const WORKERS: u32 = 4;
    const CLIENTS: u32 = 4_000;
    let clients = Clients::new(65_536);
    let decided: Vec<AtomicU32> = (0..CLIENTS).map(|_| AtomicU32::new(0)).collect();
    let start = Barrier::new(WORKERS as usize);
    let moment = at(Duration::from_hours(1), TIME);
    // The client is in the backend's address, so that another one's would be seen.
    let choice = |who: u32, worker: u32| Home { address: Ipv4Addr::from_bits(who << 8 | (worker + 1)), port: None };
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (clients, decided, start) = (&clients, &decided, &start);
            scope.spawn(move || {
                start.wait();
                for who in (0..CLIENTS).flat_map(|who| [who; 3]) {
                    let own = choice(who, worker);
                    let known = clients.recall(client(who), moment);
                    let home = flow(clients, who, own, moment);
                    assert_eq!(home.address.to_bits() >> 8, who, "another client's backend");
                    if known.is_none() && home == own {
                        decided[who as usize].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let most = decided.iter().map(|count| count.load(Ordering::Relaxed)).max().unwrap();
    assert!(most <= WORKERS, "a client was scheduled {most} times");
    let agreed: BTreeSet<u32> = (0..CLIENTS)
        .filter(|who| clients.recall(client(*who), moment).is_some_and(|home| home.address.to_bits() >> 8 == *who))
        .collect();
    assert_eq!(agreed.len(), CLIENTS as usize);
}

/// Workers that fight for too few places while time passes never read another client's backend.
#[test]
fn workers_that_fight_for_places_stay_honest() {
    let clients = Clients::new(8);
    let lookups = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (clients, lookups) = (&clients, &lookups);
            scope.spawn(move || {
                for round in 0..20_000_u32 {
                    let who = (round * 7 + worker * 3) % 24;
                    let moment = at(Duration::from_millis(u64::from(3_600_000 + round)), Duration::from_millis(50));
                    let own = Home { address: Ipv4Addr::from_bits(who << 8 | (worker + 1)), port: None };
                    let home = flow(clients, who, own, moment);
                    assert_eq!(home.address.to_bits() >> 8, who, "another client's backend");
                    lookups.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(lookups.into_inner(), 80_000);
    assert!(clients.evicted() > 0);
}
