//! Schedulers: which backend gets a new flow. One file each.
//!
//! To add one: a file with a `pick` function, a variant of [`SchedulerKind`] with its name (IPVS's names are the
//! words users know), an arm in [`pick`].

mod rr;

use std::fmt;
use std::str::FromStr;

use crate::service::{Backend, VirtualService};

/// Which scheduler a service uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// `rr`: one after the other.
    #[default]
    RoundRobin,
}

impl SchedulerKind {
    /// All schedulers, for messages and completion.
    pub const ALL: &'static [SchedulerKind] = &[SchedulerKind::RoundRobin];

    /// IPVS's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SchedulerKind::RoundRobin => "rr",
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

/// Position in `service.backends` of the backend for a new flow; `None` when none may take new flows.
#[must_use]
pub fn pick(service: &VirtualService) -> Option<usize> {
    match service.scheduler {
        SchedulerKind::RoundRobin => rr::pick(service),
    }
}

/// Whether new flows may go there.
fn is_eligible(backend: &Backend) -> bool {
    backend.weight > 0
}
