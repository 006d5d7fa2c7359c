//! How soon, and at what cost.

use super::manager::Manager;
use super::site::Seat;
use super::state::{SERVICES, service_name};
use crate::clock::{self, wait_until};
use crate::{Failure, Outcome, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The gateway looks closely for two seconds after a change: for so long there is none before the next.
const SETTLE: Duration = Duration::from_millis(2300);
/// Changes come at random moments within this.
const RANDOM: Duration = Duration::from_secs(1);
/// From a new task to the moment in which it runs, and as much again at random: else it would keep time with the gateway.
const STARTING: Duration = Duration::from_millis(700);
/// Between two looks at the gateway's table.
const LOOK: Duration = Duration::from_millis(4);
const LIMIT: Duration = Duration::from_secs(20);

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A task shall stop, and an event tells of its service.
    DrainTold,
    /// A task shall stop, in the course of an update that began long before.
    Drain,
    /// A new task runs; an event told when it was made.
    StartTold,
    /// A new task runs in place of one that failed.
    Start,
}

impl Change {
    /// In the order of tables.
    pub const ALL: [Change; 4] = [Change::DrainTold, Change::Drain, Change::StartTold, Change::Start];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Change::DrainTold => "a task shall stop, with an event",
            Change::Drain => "a task shall stop, no event (a later step of a rolling update)",
            Change::StartTold => "a new task runs, an event when it was made",
            Change::Start => "a new task runs, no event",
        }
    }
}

/// CPU time of a gateway in a stretch of time, in percent of one core.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Of workers.
    pub workers: f64,
    /// Of everything else.
    pub control: f64,
}

/// CPU time of all threads of a process so far, in nanoseconds: workers, others.
fn spent(pid: u32) -> Outcome<(u64, u64)> {
    let (mut workers, mut others) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        let name = fs::read_to_string(path.join("comm"))?;
        let line = fs::read_to_string(path.join("schedstat"))?;
        let time: u64 = line.split(' ').next().unwrap_or_default().parse()?;
        *(if name.starts_with("worker") { &mut workers } else { &mut others }) += time;
    }
    Ok((workers, others))
}

/// What these gateways cost while nothing happens, all in the same time.
///
/// # Errors
/// One has ended.
pub fn quiet(seats: &[Seat], time: Duration) -> Outcome<Vec<Load>> {
    let read = || seats.iter().map(|seat| spent(seat.gateway.process.pid())).collect::<Outcome<Vec<_>>>();
    let (before, start) = (read()?, clock::now());
    std::thread::sleep(time);
    let (after, took) = (read()?, start.elapsed());
    #[expect(clippy::cast_precision_loss, reason = "seconds in nanoseconds are far below 2^52")]
    let percent = |after: u64, before: u64| 100.0 * (after - before) as f64 / took.as_nanos() as f64;
    let load = |(after, before): (&(u64, u64), &(u64, u64))| Load {
        workers: percent(after.0, before.0),
        control: percent(after.1, before.1),
    };
    Ok(after.iter().zip(&before).map(load).collect())
}

/// Makes changes one after another; for each, the milliseconds until the gateway's workers had it.
///
/// # Errors
/// The gateway does not follow.
pub fn reactions(seat: &Seat, count: usize, seed: u64) -> Outcome<Vec<(Change, f64)>> {
    let manager = seat.manager.as_ref().ok_or_else(|| Failure::new("no manager"))?;
    let mut scene = Scene { manager, socket: seat.gateway.socket(), random: seed, drained: 0 };
    let mut times = Vec::new();
    for _ in 0..count {
        for change in Change::ALL {
            scene.rest();
            let time = scene.change(change).map_err(|failure| failure.during(change.name()))?;
            times.push((change, time.as_secs_f64() * 1000.0));
        }
    }
    Ok(times)
}

struct Scene<'a> {
    manager: &'a Manager,
    socket: &'a Path,
    random: u64,
    /// The first task that is still as at the beginning.
    drained: usize,
}

impl Scene<'_> {
    fn random(&mut self) -> u64 {
        // Knuth's MMIX generator: moments in time need no better one.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    /// Until the gateway is calm, and then to a random moment.
    fn rest(&mut self) {
        let random = self.up_to(RANDOM);
        std::thread::sleep(SETTLE + random);
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.random() % most.as_micros() as u64)
    }

    fn change(&mut self, change: Change) -> Outcome<Duration> {
        match change {
            Change::DrainTold => self.drain(true),
            Change::Drain => self.drain(false),
            Change::StartTold => self.start(true),
            Change::Start => self.start(false),
        }
    }

    /// A task that shall stop, and then has.
    fn drain(&mut self, told: bool) -> Outcome<Duration> {
        let number = self.drained;
        self.drained += 1;
        let service = number % SERVICES;
        if !told {
            self.manager.change(|swarm| swarm.updating = Some(service));
            self.manager.tell(service);
            self.rest();
        }
        let (address, shown) = self.manager.change(|swarm| {
            let task = swarm.task(number)?;
            task.desired = "shutdown";
            Some(task.address())
        });
        if told {
            self.manager.tell(service);
        }
        let address = address.ok_or_else(|| Failure::new("no such task"))?.to_string();
        let seen = self.wait(service, |weights| weights.get(&address) == Some(&0))?;
        self.manager.change(|swarm| {
            swarm.forget(number);
            swarm.updating = None;
        });
        self.manager.tell(service);
        self.wait(service, |weights| !weights.contains_key(&address))?;
        Ok(seen - shown)
    }

    /// A task that is made, and then runs.
    fn start(&mut self, told: bool) -> Outcome<Duration> {
        let service = self.drained % SERVICES;
        let (number, _) = self.manager.change(|swarm| swarm.add(service, "starting"));
        if told {
            self.manager.tell(service);
        }
        let random = self.up_to(STARTING);
        std::thread::sleep(STARTING + random);
        let (address, shown) = self.manager.change(|swarm| {
            let task = swarm.task(number)?;
            task.state = "running";
            Some(task.address())
        });
        let address = address.ok_or_else(|| Failure::new("no such task"))?.to_string();
        let seen = self.wait(service, |weights| weights.get(&address) == Some(&1))?;
        Ok(seen - shown)
    }

    /// Waits until the service's backends are so and all workers use these tables; when that was.
    fn wait(&self, service: usize, so: impl Fn(&Weights) -> bool) -> Outcome<Instant> {
        let path = format!("/v1/services/{}/backends", service_name(service));
        // The gateway closes connections that fall silent.
        let mut table = Table::open(self.socket)?;
        let limit = clock::now() + LIMIT;
        loop {
            let list = table.get(&path)?;
            let weights = list.as_array().into_iter().flatten().filter_map(|backend| {
                let address = backend["address"].as_str()?.split(':').next()?.to_owned();
                Some((address, backend["weight"].as_u64()?))
            });
            if so(&weights.collect()) {
                break;
            }
            ensure!(clock::now() < limit, "not within {LIMIT:?}: {list}");
            std::thread::sleep(LOOK);
        }
        wait_until("the workers", LIMIT, || {
            let status = table.get("/v1/status")?;
            let workers = status["workers"].as_array().cloned().unwrap_or_default();
            Ok(workers.iter().all(|worker| worker["generation"] == status["generation"]))
        })?;
        Ok(clock::now())
    }
}

/// Weights by address.
type Weights = std::collections::BTreeMap<String, u64>;

/// The gateway's table, over one connection.
struct Table {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Table {
    fn open(socket: &Path) -> Outcome<Table> {
        let writer = UnixStream::connect(socket)?;
        writer.set_read_timeout(Some(LIMIT))?;
        Ok(Table { reader: BufReader::new(writer.try_clone()?), writer })
    }

    fn get(&mut self, path: &str) -> Outcome<Value> {
        write!(self.writer, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut len = 0;
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "the gateway's API has closed");
            if line == "\r\n" {
                break;
            }
            if let Some((_, value)) = line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case("content-length"))
            {
                len = value.trim().parse()?;
            }
        }
        let mut body = vec![0; len];
        self.reader.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}
