//! Many datagrams in one system call.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::{BURST, Frame, os};

/// One received datagram.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) peer: SocketAddrV4,
    pub(crate) len: usize,
    /// It was longer than the frame.
    pub(crate) cut: bool,
}

/// What the kernel is told about up to `BURST` messages. It lives on the stack for one call.
struct Messages {
    headers: [MaybeUninit<libc::mmsghdr>; BURST],
    buffers: [MaybeUninit<libc::iovec>; BURST],
    addresses: [MaybeUninit<libc::sockaddr_in>; BURST],
}

impl Messages {
    fn new() -> Messages {
        Messages {
            headers: [const { MaybeUninit::uninit() }; BURST],
            buffers: [const { MaybeUninit::uninit() }; BURST],
            addresses: [const { MaybeUninit::uninit() }; BURST],
        }
    }

    /// Describes the `at`-th message: one buffer, and an address.
    fn describe(&mut self, at: usize, buffer: *mut u8, len: usize, address: SocketAddrV4) {
        self.buffers[at].write(libc::iovec { iov_base: buffer.cast(), iov_len: len });
        self.addresses[at].write(os::to_kernel(address));
        // SAFETY: all zeroes is a value of this structure of integers and pointers.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = self.addresses[at].as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_hdr.msg_iov = self.buffers[at].as_mut_ptr();
        header.msg_hdr.msg_iovlen = 1;
        self.headers[at].write(header);
    }
}

/// Receives into the frames, each from its byte `skip` on; what lies before stays. Gives what came, in order.
pub(crate) fn receive<'a>(
    fd: BorrowedFd<'_>,
    frames: &mut [Frame],
    skip: usize,
    into: &'a mut [Received],
) -> io::Result<&'a [Received]> {
    let mut messages = Messages::new();
    let count = frames.len().min(BURST).min(into.len());
    let anyone = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
    for (at, frame) in frames[..count].iter_mut().enumerate() {
        let room = frame.bytes_mut().get_mut(skip..).unwrap_or_default();
        messages.describe(at, room.as_mut_ptr(), room.len(), anyone);
    }
    let headers = messages.headers.as_mut_ptr().cast();
    // SAFETY: `count` headers are described, each leading to a buffer inside a frame that we hold exclusively and to an address,
    // all of which outlive the call.
    let got = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers, count as u32, libc::MSG_DONTWAIT, ptr::null_mut()) };
    let got = os::check(got)?.unsigned_abs() as usize;
    for (at, slot) in into.iter_mut().enumerate().take(got.min(count)) {
        // SAFETY: both were written by `describe`, and then by the kernel.
        let (header, address) =
            unsafe { (messages.headers[at].assume_init_ref(), messages.addresses[at].assume_init_ref()) };
        *slot = Received {
            peer: os::from_kernel(address),
            len: header.msg_len as usize,
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(&into[..got.min(count)])
}

/// Sends the frames to where `to` says; tells how many the socket took, from the front.
pub(crate) fn send(fd: BorrowedFd<'_>, frames: &mut [Frame], to: impl Fn(&Frame) -> SocketAddrV4) -> io::Result<usize> {
    let mut messages = Messages::new();
    let count = frames.len().min(BURST);
    for (at, frame) in frames[..count].iter_mut().enumerate() {
        let address = to(frame);
        let bytes = frame.bytes_mut();
        messages.describe(at, bytes.as_mut_ptr(), bytes.len(), address);
    }
    let headers = messages.headers.as_mut_ptr().cast();
    // SAFETY: `count` headers are described, each leading to the bytes of a frame and to an address, all of which outlive the call.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers, count as u32, libc::MSG_DONTWAIT) };
    Ok(os::check(sent)?.unsigned_abs() as usize)
}
