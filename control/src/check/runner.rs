//! When which backend is asked: the jobs, their times and ports, and the probes under way.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc;
use std::time::Duration;

use datapath::service::BackendId;
use datapath::{ProbeKind, ProbeLine};

use super::probe::Probe;
use super::{Finding, Outcome, Target};

/// Times are rounded up to this, so that a wake-up serves several of many backends.
const GRAIN: Duration = Duration::from_millis(5);
/// The same for the beginnings of checks: this part of their interval, and at most so much. What begins together goes on
/// together: packets of a thousand backends come in bursts, which costs the worker far less than one by one.
const BEGIN_PART: u32 = 80;
const BEGIN_GRAIN: Duration = Duration::from_millis(25);
/// How long a check waits for a port when all are in use.
const NO_PORT: Duration = Duration::from_millis(100);
/// Answers looked at in a turn, which takes a few milliseconds: tasks that send to their checks without end keep none of the
/// others from beginning, time from passing, and the thread from hearing that it is to stop.
pub(super) const ANSWERS_PER_TURN: usize = 256;
/// The interval varies by a tenth in either direction, in thousandths.
const JITTER: std::ops::Range<u64> = 900..1101;

/// Everything that is checked. Without a clock and without a thread: [`super::Checks`] has those.
pub struct Runner {
    line: ProbeLine,
    findings: mpsc::Sender<Finding>,
    jobs: HashMap<BackendId, Job>,
    /// When each job wants to be looked at.
    dues: BTreeSet<(Duration, BackendId)>,
    /// Ports in use, and by whom.
    ports: HashMap<(ProbeKind, u16), BackendId>,
    chance: Chance,
}

/// One backend and its checks.
struct Job {
    target: Target,
    due: Duration,
    /// The check under way, and its port.
    probe: Option<(Box<Probe>, u16)>,
    /// When the next check is to begin, if one is under way.
    next: Duration,
    /// Which port of its kind it uses next: each job goes through all of them, so that one rests for as long as it can.
    turn: u16,
}

/// Random numbers, keyed by the system's randomness: nobody outside can tell the next.
struct Chance {
    key: RandomState,
    drawn: u64,
}

impl Chance {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.key.hash_one(self.drawn)
    }

    /// A part of `whole` between these thousandths.
    fn part(&mut self, whole: Duration, thousandths: std::ops::Range<u64>) -> Duration {
        let width = thousandths.end.saturating_sub(thousandths.start).max(1);
        let drawn = thousandths.start + self.draw() % width;
        whole * u32::try_from(drawn).unwrap_or(1000) / 1000
    }
}

impl Runner {
    /// Without jobs.
    pub fn new(line: ProbeLine, findings: mpsc::Sender<Finding>) -> Runner {
        let chance = Chance { key: RandomState::new(), drawn: 0 };
        let (jobs, dues, ports) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        Runner { line, findings, jobs, dues, ports, chance }
    }

    /// Answers wake this thread from now on.
    pub fn listen(&self) {
        self.line.listen();
    }

    /// Checks just these. A job whose check is the same goes on; others begin anew, spread over their interval.
    pub fn set(&mut self, targets: Vec<Target>, now: Duration) {
        let mut old = std::mem::take(&mut self.jobs);
        self.dues.clear();
        for target in targets {
            let job = match old.remove(&target.backend) {
                Some(job) if is_same(&job.target, &target) => Job { target, ..job },
                other => {
                    self.retire(other, now);
                    let due = begin_at(now + self.chance.part(target.check.interval, 0..1000), &target);
                    Job { target, due, probe: None, next: due, turn: self.chance.draw() as u16 }
                }
            };
            self.dues.insert((job.due, job.target.backend));
            self.jobs.insert(job.target.backend, job);
        }
        for job in old.into_values() {
            self.retire(Some(job), now);
        }
    }

    /// A check that is under way ends as others do: nothing of the connection stays at the backend.
    fn retire(&mut self, job: Option<Job>, now: Duration) {
        if let Some(Job { probe: Some((mut probe, port)), target, .. }) = job {
            for packet in probe.abandon(now) {
                let _ = self.line.send(target.backend, packet);
            }
            self.release(target.kind, port);
        }
    }

    fn release(&mut self, kind: ProbeKind, port: u16) {
        self.line.forget(kind, port);
        self.ports.remove(&(kind, port));
    }

    /// Does what is to be done now; says when there is more, if nothing comes before.
    pub fn turn(&mut self, now: Duration) -> Option<Duration> {
        let heard = self.hear(now);
        while let Some(&(due, id)) = self.dues.first().filter(|(due, _)| *due <= now) {
            match self.jobs.get(&id).map(|job| job.probe.is_some()) {
                Some(true) => self.step(id, now),
                Some(false) => self.begin(id, now),
                None => {}
            }
            // Whatever happened: what was due is not due any more.
            if self.jobs.get(&id).is_none_or(|job| job.due != due) {
                self.dues.remove(&(due, id));
            } else {
                self.schedule(id, now + GRAIN);
            }
        }
        if heard == ANSWERS_PER_TURN {
            return Some(now);
        }
        self.dues.first().map(|(due, _)| *due)
    }

    /// Looks at answers, and says at how many.
    fn hear(&mut self, now: Duration) -> usize {
        for heard in 0..ANSWERS_PER_TURN {
            let Some(answer) = self.line.receive() else { return heard };
            let Some(id) = self.ports.get(&(answer.kind, answer.port)).copied() else { continue };
            if let Some(Job { probe: Some((probe, _)), .. }) = self.jobs.get_mut(&id) {
                probe.hear(answer.packet, now);
                self.step(id, now);
            }
        }
        ANSWERS_PER_TURN
    }

    fn schedule(&mut self, id: BackendId, due: Duration) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        self.dues.remove(&(job.due, id));
        job.due = if job.probe.is_some() { rounded(due, GRAIN) } else { begin_at(due, &job.target) };
        self.dues.insert((job.due, id));
    }

    fn begin(&mut self, id: BackendId, now: Duration) {
        let seed = self.chance.draw();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.next = now + self.chance.part(job.target.check.interval, JITTER);
        let kind = job.target.kind;
        if !job.target.reachable {
            let outcome = Outcome { passed: false, what: "no way to it".to_owned(), took: Duration::ZERO };
            return self.conclude(id, outcome, now);
        }
        let Some(port) = free_port(&self.line, &self.ports, kind, &mut job.turn) else {
            return self.schedule(id, now + NO_PORT);
        };
        self.ports.insert((kind, port), id);
        self.line.expect(kind, port, *job.target.address.ip());
        job.probe = Some((Box::new(Probe::begin(&job.target, port, seed, now)), port));
        self.step(id, now);
    }

    fn step(&mut self, id: BackendId, now: Duration) {
        let Some(Job { probe: Some((probe, port)), target, .. }) = self.jobs.get_mut(&id) else { return };
        let step = probe.step(now);
        for packet in step.packets {
            // A full queue is a lost packet: it is sent again, or the check fails.
            let _ = self.line.send(target.backend, packet);
        }
        let Some(outcome) = step.outcome else {
            let due = probe.due(now);
            return self.schedule(id, due.max(now));
        };
        let (kind, port) = (target.kind, *port);
        self.release(kind, port);
        self.conclude(id, outcome, now);
    }

    fn conclude(&mut self, id: BackendId, outcome: Outcome, now: Duration) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.probe = None;
        let finding = Finding { backend: id, check: job.target.check.clone(), outcome, at: now };
        // The gateway is gone only when this thread is about to be.
        let _ = self.findings.send(finding);
        let next = job.next;
        self.schedule(id, next.max(now));
    }
}

/// The same question to the same place: what is under way may go on.
fn is_same(old: &Target, new: &Target) -> bool {
    old.check == new.check && (old.kind, old.source, old.address) == (new.kind, new.source, new.address)
}

fn rounded(at: Duration, grain: Duration) -> Duration {
    let grain = (grain.as_nanos() as u64).max(1);
    Duration::from_nanos((at.as_nanos() as u64).div_ceil(grain) * grain)
}

/// When a check of this target begins that may begin `at` or a little later.
fn begin_at(at: Duration, target: &Target) -> Duration {
    rounded(at, (target.check.interval / BEGIN_PART).min(BEGIN_GRAIN))
}

/// The next port of this kind that nobody uses.
fn free_port(
    line: &ProbeLine,
    used: &HashMap<(ProbeKind, u16), BackendId>,
    kind: ProbeKind,
    turn: &mut u16,
) -> Option<u16> {
    let range = line.ports(kind);
    let len = range.len() as u16;
    (0..len).find_map(|_| {
        *turn = turn.wrapping_add(1);
        let port = range.start() + *turn % len;
        (!used.contains_key(&(kind, port))).then_some(port)
    })
}
