//! Whether this gateway can serve: what is told to whoever may move the VIP to another one. Nothing of backends, or of a manager that was
//! lost: where they are down, they are so for every gateway, and nobody should be left without the VIP for that.

use std::time::Duration;

use datapath::service::Generation;

use super::Gateway;
use super::swarm::SwarmState;
use crate::operations::Health;

/// A worker that reports nothing for so long, or leaves new tables lying, hangs. It reports five times a second.
const WORKER_PATIENCE: Duration = Duration::from_secs(1);

/// How the workers keep up with new tables: what each has applied, and when it was last seen to use the newest, or to have moved on.
#[derive(Debug, Default)]
pub(super) struct Pace(Vec<(Generation, Duration)>);

impl Pace {
    /// To be called often, and before tables are published that are newer than `newest`.
    pub(super) fn watch(&mut self, applied: &[Generation], newest: Generation, now: Duration) {
        self.0.resize(applied.len(), (newest, now));
        for ((before, seen), applied) in self.0.iter_mut().zip(applied) {
            if *applied >= newest || applied != before {
                (*before, *seen) = (*applied, now);
            }
        }
    }

    /// How long each worker has left newer tables lying.
    fn behind(&self, now: Duration) -> impl Iterator<Item = Duration> {
        self.0.iter().map(move |(_, seen)| now.saturating_sub(*seen))
    }
}

/// What is wrong with a worker that has been silent, or behind, for so long.
fn worker_fault(worker: usize, silent: Duration, behind: Duration) -> Option<String> {
    let (what, long) = if silent > WORKER_PATIENCE {
        ("has been silent", silent)
    } else if behind > WORKER_PATIENCE {
        ("has not taken over the newest tables", behind)
    } else {
        return None;
    };
    Some(format!("worker {worker} {what} for {} s: it hangs, or its CPU is starved", long.as_secs()))
}

impl Gateway {
    /// Looks at what the workers have reported.
    pub(super) fn look_after_workers(&mut self) {
        self.devices = self.engine.devices();
        self.pace.watch(&self.engine.applied(), self.generation, sys::clock::now());
    }

    /// Looks anew: who asks may have waited for a change that held up everything.
    pub(super) fn judge(&mut self) -> Health {
        self.look_after_workers();
        let now = sys::clock::now();
        let mut faults = self.worker_failures();
        let signs = self.engine.heard().into_iter().zip(self.pace.behind(now)).enumerate();
        let lives = |worker: &usize| !self.failed_workers.contains_key(worker);
        faults.extend(
            signs
                .filter(|(worker, _)| lives(worker))
                .filter_map(|(worker, (heard, behind))| worker_fault(worker, now.saturating_sub(heard), behind)),
        );
        faults.extend(self.link_troubles());
        faults.extend(self.device_faults());
        faults.extend(self.checks_fault());
        faults.extend(self.swarm_fault());
        Health::of(faults)
    }

    /// Another gateway may know the swarm, this one has nothing to serve. (What it once knew it goes on serving.)
    fn swarm_fault(&self) -> Option<String> {
        let has_heard = self.swarm.as_ref().is_some_and(SwarmState::has_heard);
        let is_empty_handed = self.config.swarm.is_some() && !has_heard && self.catalog.services().is_empty();
        is_empty_handed.then(|| "no manager of the swarm has answered yet, and there are no services".to_owned())
    }

    /// The queues that are not up though their interface is. The overlay's sockets are left out: that they cannot send says
    /// something of the way to a node.
    fn device_faults(&self) -> impl Iterator<Item = String> {
        let is_ours = |name: &str| self.config.interfaces.iter().any(|interface| interface.name == name);
        let down = self.devices.iter().map(|(_, state)| state).filter(move |state| !state.up && is_ours(&state.name));
        down.filter(|state| self.link_trouble(&state.name).is_none()).map(|state| {
            let why = state.error.as_deref().unwrap_or("it is down");
            format!("{} queue {}: {why}", state.name, state.queue)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn behind(pace: &Pace, now: Duration) -> Vec<u128> {
        pace.behind(now).map(|time| time.as_millis()).collect()
    }

    #[test]
    fn who_uses_the_newest_or_moves_on_is_not_behind() {
        let mut pace = Pace::default();
        pace.watch(&[Generation(1), Generation(1)], Generation(1), at(1_000));
        pace.watch(&[Generation(1), Generation(1)], Generation(1), at(5_000));
        assert_eq!(behind(&pace, at(5_000)), [0, 0], "there was nothing to take over");
        // New tables come quicker than anybody takes them: one goes on, the other one hangs.
        for (n, now) in (2..).zip((5_100..7_000).step_by(100)) {
            pace.watch(&[Generation(n - 1), Generation(1)], Generation(n), at(now));
        }
        assert_eq!(behind(&pace, at(7_000)), [100, 2_000]);
        pace.watch(&[Generation(20), Generation(20)], Generation(20), at(7_100));
        assert_eq!(behind(&pace, at(7_100)), [0, 0]);
    }

    #[test]
    fn a_worker_is_given_a_second() {
        assert_eq!(worker_fault(0, at(1_000), at(1_000)), None);
        let silent = "worker 1 has been silent for 3 s: it hangs, or its CPU is starved";
        assert_eq!(worker_fault(1, at(3_500), at(3_900)).as_deref(), Some(silent));
        let behind = "worker 1 has not taken over the newest tables for 1 s: it hangs, or its CPU is starved";
        assert_eq!(worker_fault(1, at(200), at(1_001)).as_deref(), Some(behind));
    }
}
