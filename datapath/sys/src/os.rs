//! The few system calls that neither the standard library nor the `AF_XDP` library offers, each behind a safe function.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::time::Duration;

/// Types that the kernel may fill with any bytes, and whose bytes the kernel may read.
///
/// # Safety
/// Plain old data without padding: every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: an array of integers.
unsafe impl Plain for [u32; 9] {}
// SAFETY: four rings of four u64 each.
unsafe impl Plain for libc::xdp_mmap_offsets {}

/// `getsockopt`, for options of a fixed size.
pub(crate) fn get_option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`, which has as many.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(io::Error::other("this kernel's answer has another size"));
    }
    // SAFETY: zeroed, then written by the kernel; any bytes are a value (contract of Plain).
    Ok(unsafe { value.assume_init() })
}

/// `setsockopt`, for options of a fixed size.
pub(crate) fn set_option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`, which has as many.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    check(result).map(drop)
}

/// Lets system calls on the socket poll the interface's queue.
pub(crate) fn set_busy_poll(fd: BorrowedFd<'_>, micros: u32, budget: u32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1_u32)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, micros)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, budget)
}

/// Makes the socket's buffers large: past the system's limit where we may, up to it where not.
pub(crate) fn enlarge_buffers(fd: BorrowedFd<'_>, bytes: u32) {
    for (force, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)] {
        if set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            // A smaller buffer costs drops under load and nothing else.
            let _ = set_option(fd, libc::SOL_SOCKET, plain, bytes);
        }
    }
}

/// A new IPv4 socket that never blocks.
pub(crate) fn socket(kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: opened just now, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives a socket its local address.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: SocketAddrV4) -> io::Result<()> {
    let address = to_kernel(address);
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `address`.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// An address as the kernel takes it.
pub(crate) fn to_kernel(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// An address as the kernel gives it.
pub(crate) fn from_kernel(address: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(address.sin_addr.s_addr.to_ne_bytes().into(), u16::from_be(address.sin_port))
}

/// Makes reads and writes return at once.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Keeps the descriptor from programs that this one starts.
pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// An empty `sendto`: tells the kernel to look at an `AF_XDP` socket's transmit ring.
pub(crate) fn kick(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer, no address.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    check(sent as c_int).map(drop)
}

/// An empty `recvfrom`: lets the kernel poll the interface's queue of an `AF_XDP` socket now, if the socket asks for busy-polling.
pub(crate) fn poll_now(fd: BorrowedFd<'_>) {
    // Failing costs nothing: what was not polled now is polled at the next call.
    // SAFETY: no buffer, no address.
    unsafe { libc::recvfrom(fd.as_raw_fd(), ptr::null_mut(), 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut()) };
}

/// What the kernel's monotonic clock shows.
pub(crate) fn monotonic() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) })?;
    Ok(Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_nanos(time.tv_nsec.cast_unsigned()))
}

/// The return value of a system call, or the error that it left behind.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Memory that the kernel shares through a file descriptor, unmapped on drop.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length; the memory is not tied to a thread, and `Mapping` itself never touches it.
unsafe impl Send for Mapping {}
// SAFETY: as above, nothing is read or written through it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` at `offset`.
    pub(crate) fn shared(fd: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<Mapping> {
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, rights, flags, fd.as_raw_fd(), offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Mapping { base, len })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `shared` with this length, and whoever points into it keeps this value alive.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
