//! The flow table beside hashbrown doing the same work: memory, lookups, inserts, expiry.
//! `cargo bench --package benches --bench flow_table`.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "counts and shares of a measurement")]

use std::collections::VecDeque;
use std::error::Error;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::net::SocketAddrV4;
use std::time::Duration;

use benches::network::{BACKENDS, OVERLAY, TARGET_PORT, TCP_PORT, VIP, client, task};
use benches::results::{self, Figure, quick};
use benches::stopwatch::timed;
use benches::traffic::shuffled;
use conntrack::{ClientLink, Conntrack, FlowId, Open, SnatRange, Timeouts};
use hashbrown::{DefaultHashBuilder, HashMap};
use wire::{FiveTuple, Protocol};

const BURST: usize = 64;
/// Timers that a worker looks at per turn.
const TIMERS: usize = 32;
const START: Duration = Duration::from_secs(100);
/// Long after every flow has ended.
const END: Duration = Duration::from_secs(100_000);

fn original(n: u32) -> FiveTuple {
    let (src, src_port) = client(n as usize);
    FiveTuple { src, dst: VIP, src_port, dst_port: TCP_PORT, protocol: Protocol::Tcp }
}

fn backend(n: u32) -> SocketAddrV4 {
    SocketAddrV4::new(task(n as usize % BACKENDS), TARGET_PORT)
}

/// What both tables do.
trait Table {
    fn open(&mut self, n: u32);
    fn reply_key(&self, n: u32) -> FiveTuple;
    fn look_up(&mut self, keys: &[FiveTuple]) -> usize;
    /// Ends as many flows as a worker does in a turn, at most; how many.
    fn expire(&mut self, now: Duration) -> usize;
    fn len(&self) -> usize;
}

struct Ours {
    table: Conntrack,
    ids: Vec<FlowId>,
    hits: [Option<conntrack::Hit>; BURST],
}

impl Ours {
    fn new(flows: usize) -> Self {
        let table = Conntrack::new(flows, Timeouts::default(), 7);
        Self { table, ids: Vec::with_capacity(flows), hits: [None; BURST] }
    }
}

impl Table for Ours {
    fn open(&mut self, n: u32) {
        let open = Open {
            original: original(n),
            backend: backend(n),
            snat: Some(SnatRange { addresses: &[OVERLAY], ports: 1024..=65_535 }),
            service: 0,
            backend_id: n % BACKENDS as u32,
            generation: 1,
            client: ClientLink::default(),
        };
        self.ids.extend(self.table.open(&open, START).map(|opened| opened.id));
    }

    fn reply_key(&self, n: u32) -> FiveTuple {
        self.table.flow(self.ids[n as usize]).reply_tuple()
    }

    fn look_up(&mut self, keys: &[FiveTuple]) -> usize {
        self.table.lookup_burst(keys, &mut self.hits);
        self.hits[..keys.len()].iter().flatten().count()
    }

    fn expire(&mut self, now: Duration) -> usize {
        std::iter::from_fn(|| self.table.expire(now, TIMERS)).count()
    }

    fn len(&self) -> usize {
        self.table.len()
    }
}

/// The least that does the same with hashbrown: entries of the same size, an index with both keys of each, a queue for
/// expiry, and the next SNAT port of each backend (none ever comes back).
struct Theirs<S> {
    index: HashMap<FiveTuple, u32, S>,
    entries: Vec<Entry>,
    queue: VecDeque<u32>,
    next_port: [u16; BACKENDS],
}

#[derive(Clone)]
#[repr(align(32))]
struct Entry {
    original: FiveTuple,
    reply: FiveTuple,
    deadline: Duration,
    _tracked: [u8; 48],
}

impl<S: BuildHasher + Default> Theirs<S> {
    fn new(flows: usize) -> Self {
        Self {
            index: HashMap::with_capacity_and_hasher(2 * flows, S::default()),
            entries: Vec::with_capacity(flows),
            queue: VecDeque::with_capacity(flows),
            next_port: [1024; BACKENDS],
        }
    }
}

impl<S: BuildHasher> Table for Theirs<S> {
    fn open(&mut self, n: u32) {
        let (to, port) = (backend(n), &mut self.next_port[n as usize % BACKENDS]);
        let reply =
            FiveTuple { src: *to.ip(), dst: OVERLAY, src_port: to.port(), dst_port: *port, protocol: Protocol::Tcp };
        *port = port.wrapping_add(1);
        let (original, entry) = (original(n), self.entries.len() as u32);
        if self.index.contains_key(&original) || self.index.contains_key(&reply) {
            return;
        }
        self.index.insert(original, entry);
        self.index.insert(reply, entry);
        let deadline = START + Duration::from_mins(2);
        self.entries.push(Entry { original, reply, deadline, _tracked: [0; 48] });
        self.queue.push_back(entry);
    }

    fn reply_key(&self, n: u32) -> FiveTuple {
        self.entries[n as usize].reply
    }

    fn look_up(&mut self, keys: &[FiveTuple]) -> usize {
        // The entry is read as well: who looks a flow up wants it.
        let found = keys.iter().filter_map(|key| self.index.get(key));
        found.filter(|entry| self.entries[**entry as usize].deadline > START).count()
    }

    fn expire(&mut self, now: Duration) -> usize {
        let mut ended = 0;
        while ended < TIMERS
            && let Some(entry) = self.queue.front().map(|n| &self.entries[*n as usize])
            && entry.deadline <= now
        {
            self.index.remove(&entry.original);
            self.index.remove(&entry.reply);
            self.queue.pop_front();
            ended += 1;
        }
        ended
    }

    fn len(&self) -> usize {
        self.index.len() / 2
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Values of all rounds, by name.
#[derive(Default)]
struct Rounds(Vec<(String, &'static str, Vec<f64>)>);

impl Rounds {
    fn is_new(&self, name: &str) -> bool {
        self.0.iter().all(|(known, ..)| known != name)
    }

    fn add(&mut self, name: String, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => self.0.push((name, unit, vec![value])),
        }
    }
}

/// Everything once, with one kind of table.
fn round<T: Table>(rounds: &mut Rounds, who: &str, flows: u32, new: impl FnOnce(usize) -> T) {
    let name = |what: &str| format!("{what}/flows{flows}/{who}");
    let before = resident_bytes();
    let mut table = new(flows as usize);
    let ((), spent) = timed(|| (0..flows).for_each(|n| table.open(n)));
    assert_eq!(table.len(), flows as usize, "all flows are open");
    rounds.add(name("insert"), "M/s", f64::from(flows) / spent.as_secs_f64() / 1e6);
    let resident = resident_bytes().saturating_sub(before);
    // Later rounds find memory that earlier ones have left resident.
    if rounds.is_new(&name("resident")) {
        rounds.add(name("resident"), "bytes/flow", resident as f64 / f64::from(flows));
    }
    let order = shuffled(flows as usize);
    let keys: Vec<FiveTuple> = order.iter().map(|n| original(*n)).collect();
    let replies: Vec<FiveTuple> = order.iter().map(|n| table.reply_key(*n)).collect();
    for (what, keys) in [("lookup_original", keys), ("lookup_reply", replies)] {
        let (found, spent) = timed(|| keys.chunks(BURST).map(|burst| table.look_up(burst)).sum::<usize>());
        assert_eq!(black_box(found), flows as usize, "all flows are found");
        rounds.add(name(what), "ns", spent.as_secs_f64() * 1e9 / f64::from(flows));
    }
    expire_all(rounds, &name, flows, &mut table);
}

/// What a burst waits for while all flows expire: the expiry of one turn.
fn expire_all<T: Table>(rounds: &mut Rounds, name: &impl Fn(&str) -> String, flows: u32, table: &mut T) {
    let (mut now, mut waits) = (END, Vec::new());
    let (ended, spent) = timed(|| {
        let mut ended = 0;
        while table.len() > 0 {
            now += Duration::from_micros(1);
            let (count, wait) = timed(|| table.expire(now));
            waits.push(wait.as_secs_f64() * 1e6);
            ended += count;
        }
        ended
    });
    assert_eq!(ended, flows as usize, "all flows have ended");
    rounds.add(name("expire"), "M/s", f64::from(flows) / spent.as_secs_f64() / 1e6);
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits.get((waits.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    rounds.add(name("expire_wait_p999"), "us", at(0.999));
    rounds.add(name("expire_wait_max"), "us", waits.last().copied().unwrap_or(f64::NAN));
    let late = waits.iter().filter(|wait| **wait > 100.0).count();
    rounds.add(name("expire_waits_over_100us"), "bursts", late as f64);
}

fn main() -> Result<(), Box<dyn Error>> {
    let (counts, repeats): (&[u32], _) = if quick() { (&[100_000], 1) } else { (&[1_000_000], 5) };
    let mut rounds = Rounds::default();
    for &flows in counts {
        for _ in 0..repeats {
            round(&mut rounds, "conntrack", flows, Ours::new);
            round(&mut rounds, "hashbrown_siphash", flows, Theirs::<std::hash::RandomState>::new);
            round(&mut rounds, "hashbrown_foldhash", flows, Theirs::<DefaultHashBuilder>::new);
        }
    }
    let figures = rounds.0.into_iter().map(|(name, unit, values)| Figure::of(&name, unit, values));
    Ok(results::write("flow_table", &figures.collect::<Vec<_>>())?)
}
