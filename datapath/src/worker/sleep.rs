//! Sleep: when nothing came for a while, the worker waits for a frame, a message or the next timer.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::Slot;
use crate::core::Core;

/// Longest sleep, so that timers run and control's questions are answered.
const LONGEST: Duration = Duration::from_millis(100);
const WAKER: Token = Token(usize::MAX);

/// Where a worker sleeps.
pub(crate) struct Bed {
    poll: Poll,
    events: Events,
    empty_turns: u32,
    patience: u32,
    /// By device: a frame there wakes us.
    registered: Vec<bool>,
}

impl Bed {
    /// A bed, and the waker that others use. Nobody sleeps in it before `patience` empty turns.
    pub(crate) fn new(patience: u32) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        Ok((Self { poll, events: Events::with_capacity(64), empty_turns: 0, patience, registered: Vec::new() }, waker))
    }

    /// Frames on these devices wake us.
    pub(crate) fn register(&mut self, devices: &[Slot]) -> io::Result<()> {
        self.registered.resize(devices.len(), false);
        for ((index, slot), registered) in devices.iter().enumerate().zip(&mut self.registered) {
            if !*registered && let Some(fd) = slot.device.fd() {
                self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), Token(index), Interest::READABLE)?;
                *registered = true;
            }
        }
        Ok(())
    }

    /// Something came.
    pub(crate) fn stay_awake(&mut self) {
        self.empty_turns = 0;
    }

    /// Nothing came: sleeps if that has been so for long enough.
    pub(crate) fn rest(&mut self, devices: &[Slot], core: &Core) {
        self.empty_turns = self.empty_turns.saturating_add(1);
        if self.empty_turns < self.patience || devices.iter().any(|slot| slot.device.has_work()) || !core.may_sleep() {
            return;
        }
        // A queue that was held by somebody else may be ours by now. If that fails, the sleep is short anyway.
        let _ = self.register(devices);
        core.counters.sleeps.add(1);
        // An error here is an interrupted call: the next turn finds out what is there.
        let _ = self.poll.poll(&mut self.events, Some(LONGEST));
        core.exchange.awake();
    }
}
