//! The swarm provider: follows a live Docker swarm and tells the gateway what to serve.
//!
//! [`Provider`] runs it. [`client`] speaks HTTP with a manager, [`model`] and [`list`] are what that answers, [`memory`] what must be kept of
//! it, [`groups`] and [`wishes`] the pure functions from there to services, [`overlay`] the same for the network; [`provider`] decides when
//! to ask. The gateway's side is [`Follower`].

mod check_labels;
mod client;
mod fabric;
mod groups;
mod labels;
mod list;
mod memory;
mod model;
mod overlay;
mod provider;
mod round;
#[cfg(test)]
mod tests;
mod tls;
mod watch;
mod wishes;

pub use provider::{Follower, Provider};
pub use round::Place;
pub use wishes::{Wanted, WantedTask, Wishes};
