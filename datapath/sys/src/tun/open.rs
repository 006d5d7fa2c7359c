//! Making a TUN device, or taking one that is there.

use std::ffi::{CStr, c_uint, c_ulong};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::Tun;
use crate::link::{self, LinkQuery, Request};
use crate::os;
use crate::segmentation::HEADER_LEN;

/// TCP over IPv4 in joined segments, which the kernel offers only where it may leave checksums unfinished too. Those that echo
/// congestion are like others: whoever cuts them keeps CWR to the first.
pub(super) const JOINED: c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO_ECN;

/// Opens the device of this name and sets its MTU. Every packet has a [`Segmentation`](crate::Segmentation)'s header in front.
pub(super) fn open(name: &str, mtu: u32) -> io::Result<Tun> {
    let wrong = |error: io::Error| io::Error::new(error.kind(), format!("TUN device {name}: {}", hint(&error)));
    let wanted = link::name_of(name)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be an interface's name")))?;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(wrong)?;
    let name = attach(&file, wanted).map_err(wrong)?;
    set_header_len(&file).map_err(wrong)?;
    // A persistent device may have those of its last user.
    set_offloads(&file, 0).map_err(wrong)?;
    os::set_nonblocking(file.as_fd())?;
    LinkQuery::new()?
        .set_mtu(&name, mtu)
        .map_err(|error| io::Error::new(error.kind(), format!("TUN device {name}: MTU {mtu}: {error}")))?;
    Ok(Tun { file, name })
}

/// Binds the descriptor to the device, which is made if it is not there; gives its name.
fn attach(file: &File, name: [u8; libc::IFNAMSIZ]) -> io::Result<String> {
    let mut value = [0_u16; 12];
    value[0] = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as u16;
    let mut request = Request { name, value };
    // SAFETY: the kernel reads and writes one `struct ifreq`, which `request` is (40 bytes).
    os::check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let name = CStr::from_bytes_until_nul(&request.name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

fn set_header_len(file: &File) -> io::Result<()> {
    let len = HEADER_LEN as u32;
    // SAFETY: the kernel reads one integer.
    os::check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) }).map(drop)
}

/// Tells the kernel what it may leave undone in the packets that it hands over.
pub(super) fn set_offloads(file: &File, offloads: c_uint) -> io::Result<()> {
    // SAFETY: a number, and no memory.
    os::check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offloads)) }).map(drop)
}

fn hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "not permitted; run as root or with CAP_NET_ADMIN".into(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "/dev/net/tun is missing; load the module `tun`, or give the container the device".into()
        }
        Some(libc::EBUSY) => "another program holds it; stop that, or choose another name".into(),
        Some(libc::EINVAL) => "an interface of another kind has this name; choose another".into(),
        _ => error.to_string(),
    }
}
