//! The lab: a small network of namespaces in which the real gateway program carries real traffic.
//!
//! Everything that a [`lab::Lab`] makes (namespaces, processes, files) has a name of its own and is gone
//! when the lab is dropped, and also when the process that owned it is killed: see `reaper.sh`.
#![forbid(unsafe_code)]

pub mod bars;
pub mod binaries;
pub mod capture;
pub mod clock;
pub mod config;
pub mod failure;
pub mod gateway;
pub mod lab;
pub mod namespace;
pub mod network;
pub mod node;
pub mod origin;
pub mod paper;
pub mod peers;
pub mod servers;
pub mod six;
pub mod spread;
pub mod swarm;
pub mod traffic;

pub use failure::{Failure, Outcome};
