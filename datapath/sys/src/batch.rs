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
    /// DSCP and ECN, if the socket was told to say it (`IP_RECVTOS`).
    pub(crate) tos: u8,
    /// It was longer than the frame.
    pub(crate) cut: bool,
}

/// What the kernel is told about up to `BURST` messages. It lives on the stack for one call.
struct Messages {
    headers: [MaybeUninit<libc::mmsghdr>; BURST],
    buffers: [MaybeUninit<libc::iovec>; BURST],
    addresses: [MaybeUninit<libc::sockaddr_in>; BURST],
    controls: [MaybeUninit<Control>; BURST],
}

impl Messages {
    fn new() -> Messages {
        Messages {
            headers: [const { MaybeUninit::uninit() }; BURST],
            buffers: [const { MaybeUninit::uninit() }; BURST],
            addresses: [const { MaybeUninit::uninit() }; BURST],
            controls: [const { MaybeUninit::uninit() }; BURST],
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

    /// The `at`-th message, described before, leaves room for what the kernel has to say of it.
    fn leave_room(&mut self, at: usize) {
        // SAFETY: written by `describe`.
        let header = unsafe { self.headers[at].assume_init_mut() };
        header.msg_hdr.msg_control = self.controls[at].as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
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
        messages.leave_room(at);
    }
    let headers = messages.headers.as_mut_ptr().cast();
    // SAFETY: `count` headers are described, each leading to a buffer inside a frame that we hold exclusively, to an address and to
    // a control message, all of which outlive the call.
    let got = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers, count as u32, libc::MSG_DONTWAIT, ptr::null_mut()) };
    let got = os::check(got)?.unsigned_abs() as usize;
    for (at, slot) in into.iter_mut().enumerate().take(got.min(count)) {
        // SAFETY: both were written by `describe`, and then by the kernel.
        let (header, address) =
            unsafe { (messages.headers[at].assume_init_ref(), messages.addresses[at].assume_init_ref()) };
        *slot = Received {
            peer: os::from_kernel(address),
            len: header.msg_len as usize,
            // SAFETY: the kernel has written the control messages to where the header leads, which is in `messages`.
            tos: unsafe { told_tos(&header.msg_hdr) },
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(&into[..got.min(count)])
}

/// What the kernel says of a message, if anything: we ask for one thing only.
///
/// # Safety
/// The message was received, and its control messages are still where it leads.
unsafe fn told_tos(message: &libc::msghdr) -> u8 {
    // SAFETY: `msg_controllen` is what the kernel has written of the control messages; one is aligned, and has its data behind it.
    unsafe {
        let Some(header) = libc::CMSG_FIRSTHDR(message).as_ref() else { return 0 };
        let is_tos = (header.cmsg_level, header.cmsg_type) == (libc::IPPROTO_IP, libc::IP_TOS);
        if is_tos { *libc::CMSG_DATA(header) } else { 0 }
    }
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

/// Packets that [`send_run`] takes at most.
pub(crate) const RUN: usize = 64;
/// Room for one number with its header, which is aligned as a header wants it.
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Sends the frames, each from its byte `skip` on, as one message that the kernel cuts into datagrams of the first one's length.
/// All of them, or none.
pub(crate) fn send_run(fd: BorrowedFd<'_>, frames: &mut [Frame], skip: usize, to: SocketAddrV4) -> io::Result<()> {
    let mut buffers = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; RUN];
    let piece = frames.first().map_or(0, |frame| frame.len().saturating_sub(skip));
    if frames.len() > RUN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (buffer, frame) in buffers.iter_mut().zip(frames.iter_mut()) {
        let bytes = frame.bytes_mut().get_mut(skip..).unwrap_or_default();
        *buffer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    }
    let (mut control, mut address) = (Control([0; 32]), os::to_kernel(to));
    // SAFETY: all zeroes is a value of this structure of integers and pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of_val(&address) as libc::socklen_t;
    message.msg_iov = buffers.as_mut_ptr();
    message.msg_iovlen = frames.len() as _;
    message.msg_control = (&raw mut control).cast();
    // SAFETY: the control message, 24 bytes, fits `control`, which begins aligned for a header; the lengths are constants.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let header = &mut *libc::CMSG_FIRSTHDR(&raw const message);
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        header.cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(piece as u16);
    }
    // SAFETY: the message leads to an address, a control message and the bytes of frames, all of which outlive the call.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
