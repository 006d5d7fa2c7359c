//! Schedulers: which backend gets a new flow. One file each, with IPVS's names and meaning.
//!
//! To add one: a file with a `pick` function, a variant of [`SchedulerKind`] with its name, an arm in `pick`.
//!
//! Those that count connections sum what all workers count for a backend (`load`): each worker writes its own cache
//! line, so nothing is contended. A sum misses what other workers open in the same few nanoseconds; nothing else.

mod cache;
mod dh;
mod fo;
mod lblc;
mod lblcr;
mod lc;
mod load;
mod locality;
mod mh;
mod nq;
mod ovf;
mod persistence;
mod rr;
mod sed;
mod sh;
mod table;
#[cfg(test)]
mod testing;
mod twos;
mod wlc;
mod wrr;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use wire::FiveTuple;

pub(crate) use cache::TableCache;
pub(crate) use locality::Localities;
pub(crate) use table::{HashTable, mix};

use crate::service::{Backend, VirtualService};
use crate::verdict::DropReason;

/// Which scheduler a service uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// `rr`: one after the other.
    #[default]
    RoundRobin,
    /// `wrr`: one after the other, as often as its weight says.
    WeightedRoundRobin,
    /// `lc`: the fewest connections.
    LeastConnection,
    /// `wlc`: the fewest connections for its weight.
    WeightedLeastConnection,
    /// `sh`: by the client's address.
    SourceHash,
    /// `dh`: by the VIP.
    DestinationHash,
    /// `sed`: the shortest expected delay.
    ShortestExpectedDelay,
    /// `nq`: an idle one, else the shortest expected delay.
    NeverQueue,
    /// `lblc`: one backend for a VIP until it is overloaded.
    LocalityLeastConnection,
    /// `lblcr`: a set of backends for a VIP, which grows while they are overloaded.
    LocalityLeastConnectionReplicated,
    /// `mh`: by the client's address, so that few clients move when backends change (Maglev).
    Maglev,
    /// `fo`: the greatest weight gets everything.
    Failover,
    /// `ovf`: the greatest weight until it has as many connections, then the next.
    Overflow,
    /// `twos`: the less loaded of two drawn by lot.
    PowerOfTwo,
}

impl SchedulerKind {
    /// All schedulers, for messages and completion.
    pub const ALL: &'static [SchedulerKind] = &[
        SchedulerKind::RoundRobin,
        SchedulerKind::WeightedRoundRobin,
        SchedulerKind::LeastConnection,
        SchedulerKind::WeightedLeastConnection,
        SchedulerKind::SourceHash,
        SchedulerKind::DestinationHash,
        SchedulerKind::ShortestExpectedDelay,
        SchedulerKind::NeverQueue,
        SchedulerKind::LocalityLeastConnection,
        SchedulerKind::LocalityLeastConnectionReplicated,
        SchedulerKind::Maglev,
        SchedulerKind::Failover,
        SchedulerKind::Overflow,
        SchedulerKind::PowerOfTwo,
    ];

    /// IPVS's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SchedulerKind::RoundRobin => "rr",
            SchedulerKind::WeightedRoundRobin => "wrr",
            SchedulerKind::LeastConnection => "lc",
            SchedulerKind::WeightedLeastConnection => "wlc",
            SchedulerKind::SourceHash => "sh",
            SchedulerKind::DestinationHash => "dh",
            SchedulerKind::ShortestExpectedDelay => "sed",
            SchedulerKind::NeverQueue => "nq",
            SchedulerKind::LocalityLeastConnection => "lblc",
            SchedulerKind::LocalityLeastConnectionReplicated => "lblcr",
            SchedulerKind::Maglev => "mh",
            SchedulerKind::Failover => "fo",
            SchedulerKind::Overflow => "ovf",
            SchedulerKind::PowerOfTwo => "twos",
        }
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No scheduler has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownScheduler;

impl fmt::Display for UnknownScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown scheduler; known:")?;
        SchedulerKind::ALL.iter().try_for_each(|kind| write!(f, " {kind}"))
    }
}

impl std::error::Error for UnknownScheduler {}

impl FromStr for SchedulerKind {
    type Err = UnknownScheduler;

    fn from_str(name: &str) -> Result<Self, UnknownScheduler> {
        SchedulerKind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownScheduler)
    }
}

/// A new flow that wants a backend.
pub(crate) struct Request<'a> {
    pub(crate) service: &'a VirtualService,
    /// What was prepared for the service's scheduler; empty if it needs nothing.
    pub(crate) table: &'a HashTable,
    /// The flow's key, as the client sends.
    pub(crate) key: &'a FiveTuple,
    /// The client's and the VIP's address as others know them: what is chosen by them outlasts this process.
    pub(crate) client: IpAddr,
    pub(crate) vip: IpAddr,
    pub(crate) now: Duration,
}

/// What a worker remembers for the schedulers.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) localities: Localities,
    pub(crate) lots: twos::Lots,
}

impl Memory {
    /// Nothing yet; workers draw different lots.
    pub(crate) fn new(seed: u64) -> Self {
        Self { localities: Localities::default(), lots: twos::Lots::new(seed) }
    }
}

/// Position in `service.backends` of the backend for a new flow; the reason when none may take it.
pub(crate) fn pick(request: &Request<'_>, memory: &mut Memory) -> Result<usize, DropReason> {
    match &request.service.persistence {
        None => schedule(request, memory),
        Some(persistence) => persistence::pick(persistence, request, memory),
    }
}

/// As [`pick`], whatever was remembered of the client.
fn schedule(request: &Request<'_>, memory: &mut Memory) -> Result<usize, DropReason> {
    let service = request.service;
    let Some(position) = scheduled(request, memory) else {
        return sorry(service);
    };
    if service.backends.get(position).is_some_and(has_room) {
        return Ok(position);
    }
    next_with_room(service, position).ok_or(DropReason::BackendsFull)
}

/// What the service's scheduler says, whoever is full.
fn scheduled(request: &Request<'_>, memory: &mut Memory) -> Option<usize> {
    let service = request.service;
    match service.scheduler {
        SchedulerKind::RoundRobin => rr::pick(request),
        SchedulerKind::WeightedRoundRobin => wrr::pick(service),
        SchedulerKind::LeastConnection => lc::pick(service),
        SchedulerKind::WeightedLeastConnection => wlc::pick(service),
        SchedulerKind::SourceHash => sh::pick(request),
        SchedulerKind::DestinationHash => dh::pick(request),
        SchedulerKind::ShortestExpectedDelay => sed::pick(service),
        SchedulerKind::NeverQueue => nq::pick(service),
        SchedulerKind::LocalityLeastConnection => lblc::pick(request, &mut memory.localities),
        SchedulerKind::LocalityLeastConnectionReplicated => lblcr::pick(request, &mut memory.localities),
        SchedulerKind::Maglev => mh::pick(request),
        SchedulerKind::Failover => fo::pick(service),
        SchedulerKind::Overflow => ovf::pick(service),
        SchedulerKind::PowerOfTwo => twos::pick(service, &mut memory.lots),
    }
}

/// Whether new flows may go there.
fn is_eligible(backend: &Backend) -> bool {
    backend.weight > 0 && !backend.sorry
}

/// Whether it may have one flow more. Other workers may open some in the same instant: at most one each too many.
fn has_room(backend: &Backend) -> bool {
    backend.max_connections.is_none_or(|most| backend.stats.open() < u64::from(most.get()))
}

/// Who stands in for a full backend: the next in order that has room.
fn next_with_room(service: &VirtualService, full: usize) -> Option<usize> {
    let count = service.backends.len();
    let others = (1..count).map(|step| (full + step) % count);
    others.into_iter().find(|position| {
        service.backends.get(*position).is_some_and(|backend| is_eligible(backend) && has_room(backend))
    })
}

/// The first sorry backend that may take the flow, when there is nobody else. Those that the scheduler finds too busy (`ovf`) are no
/// less there than full ones.
fn sorry(service: &VirtualService) -> Result<usize, DropReason> {
    if service.backends.iter().any(is_eligible) {
        return Err(DropReason::BackendsFull);
    }
    let serves = |backend: &Backend| backend.sorry && backend.weight > 0 && has_room(backend);
    service.backends.iter().position(serves).ok_or(DropReason::NoBackend)
}

/// The backends that may take new flows, with their positions.
fn eligible(service: &VirtualService) -> impl Iterator<Item = (usize, &Backend)> {
    service.backends.iter().enumerate().filter(|(_, backend)| is_eligible(backend))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::testing::{Scene, busy};
    use super::*;

    /// Backends with (weight, connections that are not over), of which each may have five.
    fn at_most_five(kind: SchedulerKind, backends: &[(u16, u64)]) -> Scene {
        let loads: Vec<_> = backends.iter().map(|(weight, open)| (*weight, *open, 0)).collect();
        let mut scene = Scene::new(kind, &vec![1; backends.len()]);
        scene.service.backends = busy(&loads).backends;
        for backend in &mut scene.service.backends {
            backend.max_connections = NonZeroU32::new(5);
        }
        scene.refresh();
        scene
    }

    #[test]
    fn the_next_stands_in_for_a_full_one_whatever_the_scheduler() {
        for kind in SchedulerKind::ALL {
            let mut scene = at_most_five(*kind, &[(9, 5), (9, 4), (9, 5), (0, 0)]);
            for client in 0..50 {
                // `ovf` has a maximum of its own.
                assert_eq!(scene.ask(client), Ok(1), "{kind}");
            }
            scene.service.backends[1].max_connections = NonZeroU32::new(4);
            assert_eq!(scene.ask(1), Err(DropReason::BackendsFull), "{kind}");
            scene.service.backends[2].max_connections = None;
            assert_eq!(scene.ask(1), Ok(2), "{kind}");
        }
    }

    #[test]
    fn what_is_over_does_not_count() {
        let mut scene = at_most_five(SchedulerKind::RoundRobin, &[(1, 5)]);
        let stats = std::sync::Arc::clone(&scene.service.backends[0].stats);
        assert_eq!(scene.ask(1), Err(DropReason::BackendsFull));
        stats.worker(1).unwrap().moved(crate::service::Phase::Active, crate::service::Phase::Over);
        assert_eq!(scene.ask(1), Ok(0));
        assert_eq!(stats.flows(), (4, 1));
    }

    #[test]
    fn the_sorry_backend_serves_when_nobody_is_left() {
        for kind in SchedulerKind::ALL {
            let mut scene = Scene::new(*kind, &[1, 1, 1]);
            scene.service.backends[0].sorry = true;
            scene.refresh();
            assert!((0..50).all(|client| matches!(scene.ask(client), Ok(1 | 2))), "{kind}");
            scene.service.backends[1].weight = 0;
            scene.service.backends[2].weight = 0;
            scene.refresh();
            assert_eq!(scene.ask(1), Ok(0), "{kind}");
            scene.service.backends[0].weight = 0;
            scene.refresh();
            assert_eq!(scene.ask(1), Err(DropReason::NoBackend), "{kind}");
        }
    }

    #[test]
    fn who_is_too_busy_for_ovf_is_no_reason_to_be_sorry() {
        let mut scene = Scene::new(SchedulerKind::Overflow, &[2, 1]);
        scene.service.backends[1].sorry = true;
        assert_eq!(scene.ask(1), Ok(0));
        scene.set_flows(0, 3);
        assert_eq!(scene.ask(1), Err(DropReason::BackendsFull));
        scene.set_weight(0, 0);
        assert_eq!(scene.ask(1), Ok(1));
    }

    prop_compose! {
        /// A backend of any weight and load: what it has is little, so that some are full and some are too busy.
        fn any_backend()(weight in 0_u16..4, active in 0_u64..6, inactive in 0_u64..3, most in 0_u32..8, sorry: bool)
            -> (u16, (u64, u64), Option<NonZeroU32>, bool) {
            (weight, (active, inactive), NonZeroU32::new(most), sorry)
        }
    }

    proptest! {
        /// Whatever the scheduler: a sorry backend serves only when no other takes new flows, nobody gets one that has no room, and
        /// nobody is refused while the scheduler could have found somebody.
        #[test]
        fn sorry_serves_only_when_nobody_else_is_left(
            backends in proptest::collection::vec(any_backend(), 0..6),
            kind in proptest::sample::select(SchedulerKind::ALL),
            client in 0_u32..1000,
        ) {
            let loads: Vec<_> =
                backends.iter().map(|(weight, (active, inactive), ..)| (*weight, *active, *inactive)).collect();
            let mut scene = Scene::new(kind, &[]);
            scene.service.backends = busy(&loads).backends;
            for (backend, (.., most, sorry)) in scene.service.backends.iter_mut().zip(&backends) {
                (backend.max_connections, backend.sorry) = (*most, *sorry);
            }
            scene.refresh();
            let picked = scene.ask(client);
            let takes_flows = scene.service.backends.iter().any(is_eligible);
            let all = &scene.service.backends;
            let is_free = |backend: &Backend| backend.weight > 0 && backend.sorry != takes_flows && has_room(backend);
            match picked {
                Ok(position) => prop_assert!(is_free(&all[position]), "{kind}: {position} of {all:?}"),
                // It has a maximum of its own.
                Err(DropReason::BackendsFull) if kind == SchedulerKind::Overflow && takes_flows => {}
                Err(reason) => {
                    prop_assert!(!all.iter().any(is_free), "{kind}: {reason:?} of {all:?}");
                    let wanted = if takes_flows { DropReason::BackendsFull } else { DropReason::NoBackend };
                    prop_assert_eq!(reason, wanted, "{}", kind);
                }
            }
        }
    }

    /// A full backend is no reason to be sorry: it will have room again.
    #[test]
    fn full_is_refused_not_sorry() {
        let mut scene = at_most_five(SchedulerKind::RoundRobin, &[(1, 5), (1, 0)]);
        scene.service.backends[1].sorry = true;
        assert_eq!(scene.ask(1), Err(DropReason::BackendsFull));
    }
}
