//! Queues that lose frames: which have lost some lately, so that `status` speaks of what goes wrong now.

use std::collections::BTreeMap;
use std::time::Duration;

use sys::DeviceState;

/// So long a loss is worth a note.
const LATELY: Duration = Duration::from_mins(1);

/// What was seen of each worker's queues.
#[derive(Debug, Default)]
pub struct Losses {
    queues: BTreeMap<(usize, String, u32), Loss>,
}

/// Frames that were lost since the start, and when their number was last seen to have grown.
#[derive(Debug, Default)]
struct Loss {
    frames: u64,
    grown: Option<Duration>,
}

impl Losses {
    /// Takes over what the devices have counted.
    pub fn watch(&mut self, devices: &[(usize, DeviceState)], now: Duration) {
        for (worker, state) in devices {
            let loss = self.queues.entry((*worker, state.name.clone(), state.queue)).or_default();
            if state.fill_ring_empty > loss.frames {
                loss.grown = Some(now);
            }
            loss.frames = state.fill_ring_empty;
        }
    }

    /// What there is to say of them.
    pub fn notes(&self, now: Duration) -> impl Iterator<Item = String> {
        let is_recent = move |loss: &Loss| loss.grown.is_some_and(|at| now.saturating_sub(at) < LATELY);
        let recent = self.queues.iter().filter(move |(_, loss)| is_recent(loss));
        recent.map(|((_, name, queue), Loss { frames, .. })| {
            format!("{name} queue {queue}: its worker is too slow: frames were lost within the last minute, {frames} since the start")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue: u32, fill_ring_empty: u64) -> (usize, DeviceState) {
        (queue as usize, DeviceState { name: "eth0".to_owned(), queue, fill_ring_empty, ..DeviceState::default() })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One burst at night is no problem of the next day.
    #[test]
    fn a_loss_is_told_for_a_minute() {
        let mut losses = Losses::default();
        losses.watch(&[queue(0, 0), queue(1, 0)], at(10));
        assert_eq!(losses.notes(at(10)).count(), 0);
        losses.watch(&[queue(0, 0), queue(1, 7)], at(100));
        losses.watch(&[queue(0, 0), queue(1, 7)], at(159));
        let told = "eth0 queue 1: its worker is too slow: frames were lost within the last minute, 7 since the start";
        assert_eq!(losses.notes(at(159)).collect::<Vec<_>>(), [told]);
        assert_eq!(losses.notes(at(160)).count(), 0);
        losses.watch(&[queue(0, 0), queue(1, 8)], at(200));
        assert!(losses.notes(at(201)).all(|note| note.ends_with("8 since the start")));
        assert_eq!(losses.notes(at(201)).count(), 1);
    }
}
