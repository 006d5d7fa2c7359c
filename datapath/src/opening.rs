//! Connections between a cookie that came back and the backend's answer: the client takes its connection for open, the
//! gateway asks the backend in its name.

use std::time::Duration;

use conntrack::FlowId;
use hashbrown::HashMap;
use wire::{FiveTuple, TcpOffer};

use crate::waits::Waits;

/// After so many seconds the SYN is sent again, as a client's stack would; after the last wait nobody waits any longer.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// What a client's SYN said, and what the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Client to VIP.
    pub(crate) client: FiveTuple,
    /// The client's initial sequence number.
    pub(crate) isn: u32,
    /// Ours.
    pub(crate) cookie: u32,
    /// The options of the client's SYN.
    pub(crate) offer: TcpOffer,
    /// The window of the segment that brought the cookie, in the client's units.
    pub(crate) window: u16,
}

/// A connection whose backend has not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Ask again.
    Again(FlowId, Opening),
    /// It was asked often enough; [`Openings::end`] is the caller's.
    Over(FlowId),
}

/// Those of one worker.
pub(crate) struct Openings {
    by_flow: HashMap<FlowId, (Opening, Duration)>,
    waits: Waits<{ WAITS.len() }>,
}

impl Openings {
    pub(crate) fn new() -> Self {
        Self { by_flow: HashMap::new(), waits: Waits::new(WAITS) }
    }

    /// The backend of this flow is asked now for the first time.
    pub(crate) fn begin(&mut self, id: FlowId, opening: Opening, now: Duration) {
        if let Some(due) = self.waits.begin(id, 0, now) {
            self.by_flow.insert(id, (opening, due));
        }
    }

    /// What is known of this flow.
    pub(crate) fn get(&self, id: FlowId) -> Option<Opening> {
        self.by_flow.get(&id).map(|(opening, _)| *opening)
    }

    /// The waiting is over.
    pub(crate) fn end(&mut self, id: FlowId) {
        self.by_flow.remove(&id);
    }

    /// A flow whose wait is over; to be asked again until it says `None`. `waits` tells whether the flow in that place
    /// is still this one: flows end in many ways, and what is left of them here goes with its wait.
    pub(crate) fn late(&mut self, now: Duration, waits: impl Fn(FlowId, &Opening) -> bool) -> Option<Late> {
        while let Some(over) = self.waits.over(now) {
            let Some((opening, due)) = self.by_flow.get_mut(&over.id).filter(|(_, due)| *due == over.due) else {
                continue;
            };
            if !waits(over.id, opening) {
                self.by_flow.remove(&over.id);
                continue;
            }
            let Some(next) = self.waits.begin(over.id, over.waited, now) else { return Some(Late::Over(over.id)) };
            *due = next;
            return Some(Late::Again(over.id, *opening));
        }
        None
    }
}
