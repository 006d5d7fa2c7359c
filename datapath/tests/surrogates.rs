//! What stands for IPv6 clients, against a map; by one worker and by several at once.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use datapath::Surrogates;
use datapath::surrogate::{IDLE_SECONDS, SOMEBODY, is_client, is_fixed, is_surrogate};
use proptest::prelude::*;

fn client(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(n))
}

fn table(places: usize) -> Surrogates {
    let surrogates = Surrogates::new(places);
    surrogates.prepare();
    surrogates
}

#[test]
fn the_ranges_are_apart() {
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    for (text, surrogate, fixed, of_client) in [
        ("239.255.255.255", false, false, false),
        ("240.0.0.0", true, false, false),
        ("240.0.0.1", true, true, false),
        ("240.255.255.255", true, true, false),
        ("241.0.0.0", true, false, false),
        ("247.255.255.255", true, false, false),
        ("248.0.0.0", true, false, true),
        ("255.255.255.255", true, false, true),
    ] {
        let address = address(text);
        assert_eq!(
            (is_surrogate(address), is_fixed(address), is_client(address)),
            (surrogate, fixed, of_client),
            "{text}"
        );
    }
    assert!(is_surrogate(SOMEBODY) && !is_fixed(SOMEBODY) && !is_client(SOMEBODY));
}

#[test]
fn without_ipv6_there_is_no_table() {
    let surrogates = Surrogates::new(1 << 20);
    assert_eq!((surrogates.hear(client(1), 0), surrogates.find(client(1)), surrogates.count()), (None, None, (0, 0)));
    assert!(surrogates.address(Ipv4Addr::new(248, 0, 0, 1)).is_none());
    assert!(!surrogates.hold(Ipv4Addr::new(248, 0, 0, 1)));
    surrogates.release(Ipv4Addr::new(248, 0, 0, 1));
}

#[test]
fn nearly_all_of_the_room_is_used() {
    let surrogates = table(1 << 16);
    assert_eq!(surrogates.capacity(), 1 << 16);
    let found = (0..1 << 16).filter(|n| surrogates.hear(client(*n), 1).is_some()).count();
    assert!(found > 62_000, "{found} of 65536");
    let names: BTreeSet<_> = (0..1 << 16).filter_map(|n| surrogates.find(client(n))).collect();
    assert_eq!((names.len(), surrogates.count()), (found, (found, 0)));
}

#[test]
fn an_old_name_leads_nowhere() {
    let surrogates = table(8);
    let first = surrogates.hear(client(0), 1).unwrap();
    assert!(surrogates.hold(first));
    surrogates.release(first);
    // Everybody else, until the place has gone to another client.
    let mut second = 1;
    while surrogates.find(client(0)).is_some() {
        second += IDLE_SECONDS;
        (1..9).for_each(|n| assert!(surrogates.hear(client(100 * second + n), second).is_some()));
    }
    assert_eq!(surrogates.address(first), None);
    assert!(!surrogates.hold(first));
    surrogates.release(first);
    assert_eq!(surrogates.count().1, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Hear(u32),
    Hold(u32),
    Release(u32),
    Pass(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..24_u32;
    let step = prop_oneof![
        6 => who.clone().prop_map(Step::Hear),
        3 => who.clone().prop_map(Step::Hold),
        3 => who.prop_map(Step::Release),
        2 => (0..12_u32).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..300)
}

/// A client as the table must know it.
#[derive(Clone, Copy, Debug)]
struct Known {
    name: Ipv4Addr,
    flows: u64,
    heard: u32,
}

impl Known {
    fn must_stand(&self, second: u32) -> bool {
        self.flows > 0 || second - self.heard < IDLE_SECONDS
    }
}

proptest! {
    /// Eight places for three times as many clients.
    #[test]
    fn nobody_loses_a_name_that_is_needed(steps in steps()) {
        let surrogates = table(8);
        let (mut model, mut second) = (HashMap::<u32, Known>::new(), 100);
        for step in steps {
            match step {
                Step::Pass(seconds) => second += seconds,
                Step::Hear(who) => if let Some(name) = surrogates.hear(client(who), second) {
                    let known = model.entry(who).or_insert(Known { name, flows: 0, heard: second });
                    prop_assert!(known.name == name || !known.must_stand(second));
                    *known = Known { name, heard: second, ..*known };
                } else {
                    let standing = model.values().filter(|known| known.must_stand(second)).count();
                    prop_assert_eq!(standing, 8, "there is room");
                    model.remove(&who);
                },
                Step::Hold(who) => if let Some(known) = model.get_mut(&who) {
                    let held = surrogates.hold(known.name);
                    prop_assert!(held || !known.must_stand(second));
                    known.flows += u64::from(held);
                },
                Step::Release(who) => if let Some(known) = model.get_mut(&who) && known.flows > 0 {
                    surrogates.release(known.name);
                    known.flows -= 1;
                },
            }
            for (who, known) in model.iter().filter(|(_, known)| known.must_stand(second)) {
                prop_assert_eq!(surrogates.address(known.name), Some(client(*who)));
                prop_assert_eq!(surrogates.find(client(*who)), Some(known.name));
            }
            prop_assert_eq!(surrogates.count().1, model.values().map(|known| known.flows).sum::<u64>());
        }
    }
}

/// Workers that hear the same new clients at the same time give them the same names.
#[test]
fn workers_agree() {
    const WORKERS: u32 = 2;
    const CLIENTS: u32 = 20_000;
    let surrogates = table(1 << 16);
    let names: Vec<AtomicU32> = (0..CLIENTS).map(|_| AtomicU32::new(0)).collect();
    let (arrived, lost) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for who in 0..CLIENTS {
                    // A barrier that wakes nobody up: they leave it within nanoseconds of each other.
                    arrived.fetch_add(1, Ordering::SeqCst);
                    let mut turns = 0_u32;
                    while arrived.load(Ordering::SeqCst) < WORKERS * (who + 1) {
                        turns += 1;
                        if turns.is_multiple_of(1 << 10) {
                            std::thread::yield_now();
                        }
                    }
                    let Some(name) = surrogates.hear(client(who), 1) else {
                        lost.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    assert_eq!(surrogates.address(name), Some(client(who)));
                    let bits = name.to_bits();
                    let before = names[who as usize].compare_exchange(0, bits, Ordering::Relaxed, Ordering::Relaxed);
                    assert!(before.is_ok() || before == Err(bits), "two names for client {who}");
                }
            });
        }
    });
    // Both may give up for the same client, if hardly ever; then it has no place, and nobody a name for it.
    let with_name = names.iter().filter(|name| name.load(Ordering::Relaxed) != 0).count();
    assert_eq!(surrogates.count().0, with_name, "places left behind");
    assert!(lost.into_inner() < CLIENTS / 100, "hardly anybody steps back four times");
}

/// Workers that fight for too few places: what a flow holds stands, and no name ever leads to another client.
#[test]
fn workers_that_fight_for_places_stay_honest() {
    const CLIENTS: u32 = 40;
    let surrogates = table(8);
    let (second, held_most, stop) = (AtomicU32::new(100), AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3_u32)
            .map(|worker| {
                let (surrogates, second, held_most) = (&surrogates, &second, &held_most);
                scope.spawn(move || {
                    for round in 0..30_000_u32 {
                        let who = client((round * 7 + worker * 3) % CLIENTS);
                        let Some(name) = surrogates.hear(who, second.load(Ordering::Relaxed)) else { continue };
                        assert!(surrogates.address(name).is_none_or(|address| address == who), "another client");
                        if !surrogates.hold(name) {
                            continue;
                        }
                        for _ in 0..3 {
                            assert_eq!(surrogates.address(name), Some(who), "taken away from a flow");
                        }
                        held_most.fetch_max(surrogates.count().1 as u32, Ordering::Relaxed);
                        surrogates.release(name);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                second.fetch_add(IDLE_SECONDS, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(surrogates.count().1, 0, "every flow let go of its client");
    assert!(held_most.into_inner() > 0);
}
