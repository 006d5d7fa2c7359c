//! What the kernel knows of links, addresses, routes and neighbours, followed over rtnetlink.
//!
//! The gateway is a guest on a Linux node: the kernel routes and does ARP, this module watches the
//! outcome and compiles it into a [`KernelView`]. Every event only marks what is out of date; the
//! truth is then read anew. So a lost event or an overrun socket costs time, never correctness.

mod family;
mod follow;
#[cfg(test)]
pub mod namespace;
mod read;
mod reply_rules;
mod sysctl;
#[cfg(test)]
mod tests;
mod tun;
mod view;

pub use family::Family;
pub use follow::Kernel;
pub use reply_rules::{ReplyPart, ReplyRule};
pub use sysctl::{accept_local, forward_six, ip_forward, local_port_range, switch_on_ip_forward};
pub use view::{KernelView, Link, LocalAddress, Path};

/// A request to the kernel that failed, with what was wanted.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct KernelError {
    what: String,
    source: std::io::Error,
}

impl KernelError {
    /// An error of the operating system, with what was wanted of it.
    pub fn new(what: impl Into<String>, source: std::io::Error) -> KernelError {
        KernelError { what: what.into(), source }
    }

    fn netlink(what: impl Into<String>, error: rtnetlink::Error) -> KernelError {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => std::io::Error::other(other),
        };
        KernelError::new(what, source)
    }
}
