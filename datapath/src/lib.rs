//! What runs on every worker core: the packet pipeline, the service tables it reads, the schedulers, the hand-over of
//! new tables, the counters.
//!
//! `control` describes services as plain [`service::Tables`], builds a [`service::Snapshot`] from them and gives it to
//! the [`Engine`], which runs one pinned [`worker`] per CPU. Nothing here knows files, names of services or JSON.
#![forbid(unsafe_code)]

pub mod adjacency;
pub mod scheduler;
pub mod service;
