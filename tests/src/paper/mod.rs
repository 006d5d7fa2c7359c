//! `make bench-swarm`: a swarm on paper. A thousand tasks that only a manager's API knows, and the real gateway following it.

pub mod manager;
pub mod measure;
pub mod page;
pub mod render;
pub mod site;
pub mod state;
