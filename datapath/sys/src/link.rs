//! What the kernel says about a network interface: does it exist, is it up, how many queues.

use std::ffi::{CStr, CString, c_ulong};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::os;

const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFMTU: c_ulong = 0x8922;
const SIOCETHTOOL: c_ulong = 0x8946;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ifreq`: a name and a union of 24 bytes.
#[repr(C)]
pub(crate) struct Request<T> {
    pub(crate) name: [u8; libc::IFNAMSIZ],
    pub(crate) value: T,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// Asks about interfaces of the network namespace in which it was made.
pub(crate) struct LinkQuery {
    socket: UdpSocket,
}

impl LinkQuery {
    pub(crate) fn new() -> io::Result<LinkQuery> {
        // Any socket of the namespace can carry the questions; this one never sees a packet.
        Ok(LinkQuery { socket: UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))? })
    }

    /// Whether the interface with this number is up, and with a carrier.
    pub(crate) fn is_index_up(&self, index: u32) -> io::Result<bool> {
        self.is_up(&name(index)?)
    }

    /// Up, and with a carrier.
    pub(crate) fn is_up(&self, interface: &str) -> io::Result<bool> {
        let mut request = Request { name: name_of(interface)?, value: [0_u16; 12] };
        // SAFETY: the kernel reads and writes one `struct ifreq`, which `request` is (40 bytes).
        os::check(unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) })?;
        let ready = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(i32::from(request.value[0]) & ready == ready)
    }

    /// Sets the longest packet that the interface carries.
    pub(crate) fn set_mtu(&self, interface: &str, mtu: u32) -> io::Result<()> {
        let mtu = i32::try_from(mtu).map_err(io::Error::other)?;
        let mut request = Request { name: name_of(interface)?, value: [mtu, 0, 0, 0, 0, 0] };
        // SAFETY: the kernel reads one `struct ifreq`, which `request` is (40 bytes).
        os::check(unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCSIFMTU, &raw mut request) }).map(drop)
    }

    /// Receive queues and transmit queues.
    fn channels(&self, interface: &str) -> io::Result<(u32, u32)> {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        let mut request = Request { name: name_of(interface)?, value: [&raw mut channels; 3] };
        // SAFETY: the kernel reads one `struct ifreq`, whose first pointer leads to one `struct ethtool_channels`; both outlive
        // the call.
        os::check(unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
        Ok((channels.rx + channels.combined, channels.tx + channels.combined))
    }
}

pub(crate) fn name_of(interface: &str) -> io::Result<[u8; libc::IFNAMSIZ]> {
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = interface.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    name[..bytes.len()].copy_from_slice(bytes);
    Ok(name)
}

/// The interface's index, in the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` when there is no such interface in it.
pub fn index(interface: &str) -> io::Result<u32> {
    let name = name_of(interface)?;
    let name: CString = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?.into();
    // SAFETY: a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Whether the interface that has this name now is the one with this number: whatever was put on an interface ends with it, and another
/// one may have come under its name.
#[must_use]
pub fn is_interface(name: &str, number: u32) -> bool {
    index(name).is_ok_and(|index| index == number)
}

/// The name of the interface with this number, in the calling thread's network namespace.
fn name(index: u32) -> io::Result<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the kernel writes at most `IF_NAMESIZE` bytes, the last of them 0.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// How many receive queues the interface has in use: each wants a socket, or else its packets go to the kernel.
///
/// # Errors
/// `ENODEV` when there is no such interface in this network namespace.
pub fn queue_count(interface: &str) -> io::Result<u32> {
    Ok(queues(interface)?.0)
}

/// How many queues the interface sends by.
///
/// # Errors
/// As [`queue_count`].
pub fn transmit_queue_count(interface: &str) -> io::Result<u32> {
    Ok(queues(interface)?.1)
}

/// Receive queues and transmit queues; at least one of each.
pub(crate) fn queues(interface: &str) -> io::Result<(u32, u32)> {
    index(interface)?;
    let (receive, transmit) = match LinkQuery::new()?.channels(interface) {
        Ok(counts) => counts,
        // A driver that does not say has one queue, or shows them in sysfs.
        Err(_) => (queues_in_sysfs(interface, "rx-"), queues_in_sysfs(interface, "tx-")),
    };
    Ok((receive.max(1), transmit.max(1)))
}

fn queues_in_sysfs(interface: &str, kind: &str) -> u32 {
    let Ok(entries) = std::fs::read_dir(format!("/sys/class/net/{interface}/queues")) else { return 0 };
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(kind)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_and_nonsense_is_not() {
        assert_eq!(index("lo").unwrap(), 1);
        assert_eq!(queue_count("lo").unwrap(), 1);
        assert!(is_interface("lo", 1) && !is_interface("lo", 2) && !is_interface("nosuch0", 1));
        for nonsense in ["", "no such link", "a-name-longer-than-the-kernel-takes", "a\0b"] {
            assert_eq!(queue_count(nonsense).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{nonsense:?}");
        }
        let query = LinkQuery::new().unwrap();
        assert!(query.is_up("lo").unwrap());
        assert_eq!(query.is_up("nosuch0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(query.is_index_up(1).unwrap());
        assert!(query.is_index_up(u32::MAX >> 1).is_err());
    }
}
