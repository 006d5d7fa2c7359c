//! Why an `AF_XDP` socket could not be made, and what to do about it.

use std::{fmt, io};

use crate::XdpMode;

/// An `AF_XDP` socket could not be made: where, why, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{interface} queue {queue}: {cause}")]
pub struct BindError {
    /// The interface that was asked for.
    pub interface: String,
    /// The queue that was asked for.
    pub queue: u32,
    /// What is wrong.
    pub cause: BindCause,
}

/// What can be wrong about an `AF_XDP` socket.
#[derive(Debug)]
pub enum BindCause {
    /// There is no such interface in this network namespace.
    NoSuchInterface,
    /// The interface has fewer queues.
    NoSuchQueue {
        /// As many.
        queues: u32,
    },
    /// Another program has a socket on this queue.
    Busy,
    /// The process may not.
    NotPermitted,
    /// Neither the driver nor the kernel can do what was asked.
    Unsupported(XdpMode),
    /// The worker's first socket runs in the other of the modes zero-copy and copy, which then goes for all of them.
    OtherMode(XdpMode),
    /// The limit on locked memory is too low.
    LockedMemory,
    /// The pool is not the one of this UMEM, or it has too many sockets already.
    WrongPool,
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for BindCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindCause::NoSuchInterface => {
                f.write_str("there is no such interface here; see `ip link`, and mind the network namespace")
            }
            BindCause::NoSuchQueue { queues } => {
                write!(f, "the interface has {queues} queue(s), counted from 0; see `ethtool -l`")
            }
            BindCause::Busy => f.write_str(
                "another AF_XDP program holds this queue; stop it (`ss --xdp -p` shows who it is), or use another queue",
            ),
            BindCause::NotPermitted => {
                f.write_str("not permitted; run as root or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF")
            }
            BindCause::Unsupported(XdpMode::ZeroCopy) => {
                f.write_str("the driver has no zero-copy, or not beside the worker's other sockets; use mode = \"auto\" or \"copy\"")
            }
            BindCause::Unsupported(_) => {
                f.write_str("not supported by the driver or the kernel; use mode = \"generic\", or driver = \"tun\"")
            }
            BindCause::OtherMode(asked) => write!(
                f,
                "mode \"{asked}\" cannot be: a worker's sockets share their memory, and so the mode of the interface that is listed first; give all \
                 of them the same mode"
            ),
            BindCause::LockedMemory => {
                f.write_str("the limit on locked memory is too low; raise it (`ulimit -l unlimited`, LimitMEMLOCK=infinity)")
            }
            BindCause::WrongPool => f.write_str("the frame pool does not belong to this packet memory, or has no more places"),
            BindCause::Other(error) => write!(f, "{error}"),
        }
    }
}

impl BindCause {
    /// The meaning of what creating and binding the socket gave.
    pub(crate) fn of(error: io::Error, mode: XdpMode) -> BindCause {
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => BindCause::NoSuchInterface,
            Some(libc::EBUSY) => BindCause::Busy,
            Some(libc::EPERM | libc::EACCES) => BindCause::NotPermitted,
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BindCause::Unsupported(mode),
            Some(libc::ENOBUFS) => BindCause::LockedMemory,
            _ => BindCause::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_why_and_what_to_do() {
        let say = |code| {
            let cause = BindCause::of(io::Error::from_raw_os_error(code), XdpMode::ZeroCopy);
            BindError { interface: "eth7".into(), queue: 3, cause }.to_string()
        };
        assert!(say(libc::EBUSY).starts_with("eth7 queue 3: another AF_XDP program holds this queue"));
        assert!(say(libc::EPERM).contains("CAP_NET_RAW"));
        assert!(say(libc::ENODEV).contains("no such interface"));
        assert!(say(libc::EOPNOTSUPP).contains("\"copy\""));
        assert!(say(libc::ENOBUFS).contains("ulimit"));
        assert!(say(libc::EINVAL).contains("Invalid argument"));
    }
}
