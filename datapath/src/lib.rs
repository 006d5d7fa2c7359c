//! What runs on every worker core: the packet pipeline, the service tables it reads, the schedulers, the hand-over of
//! new tables, the counters.
//!
//! `control` describes services as plain [`service::Tables`], builds a [`service::Snapshot`] from them and gives it to
//! the [`Engine`], which runs one pinned [`worker`] per CPU. Nothing here knows files, names of services or JSON.
#![forbid(unsafe_code)]

pub mod adjacency;
/// What the surrogates stand on, under a name of ours: a test puts loom's atomics in their place, and fewer places.
mod atomics {
    pub(crate) const PLACES_IN_BUCKET: usize = 8;
    /// Looks at a place that another worker takes, each some tens of nanoseconds.
    pub(crate) const PATIENCE: usize = 32;
    pub(crate) use std::hint::spin_loop as pause;
    pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}
pub mod core;
pub mod counters;
pub mod engine;
pub mod exchange;
pub mod flow_log;
pub mod fragments;
pub mod handover;
mod lending;
mod lifetime;
mod limiter;
mod opening;
pub mod packet;
pub mod probes;
pub mod protection;
pub mod query;
mod reader;
mod returns;
pub mod scheduler;
pub mod service;
mod splice;
mod stage;
pub mod surrogate;
pub mod verdict;
mod waits;
pub mod worker;

pub use crate::core::{Role, SnatPorts};
pub use counters::WorkerCounters;
pub use engine::{Engine, EngineConfig, EngineError, WorkerDevices};
pub use lending::{Lending, Output};
pub use probes::{Answer, ProbeKind, ProbeLine};
pub use query::{FlowFilter, FlowRecord};
pub use reader::{FlowReader, Unanswered};
pub use surrogate::Surrogates;
pub use worker::{Event, Pacing, Slot};
