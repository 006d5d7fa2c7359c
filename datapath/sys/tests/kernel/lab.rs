//! A network of its own for each test: a thread in a fresh, nameless network namespace, which is gone when the thread is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use sys::{Device, Frame, FramePool, clock};

/// Runs `test` in a namespace with loopback up and IPv6 off. Without root says so, loudly, and does nothing.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: tests of real interfaces need root");
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: affects this thread alone, which no other code uses.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
        for scope in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1").unwrap_or_default();
        }
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// `ip` with these arguments, which must succeed; gives what it printed.
pub fn ip(arguments: &str) -> String {
    tool("ip", arguments)
}

/// The same for any program.
pub fn tool(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A veth pair, up, of so many queues at both ends.
pub fn veth(near: &str, far: &str, queues: u32) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!("link add {near} {queues} type veth peer name {far} {queues}"));
    ip(&format!("link set {near} up"));
    ip(&format!("link set {far} up"));
}

thread_local! {
    /// Each test has a thread of its own, so these are the addresses of its namespace.
    static MACS: RefCell<HashMap<String, [u8; 6]>> = RefCell::default();
}

pub fn mac_of(interface: &str) -> [u8; 6] {
    MACS.with_borrow_mut(|macs| *macs.entry(interface.to_owned()).or_insert_with(|| ask_mac_of(interface)))
}

fn ask_mac_of(interface: &str) -> [u8; 6] {
    let text = ip(&format!("-o link show {interface}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether");
    let mut mac = [0; 6];
    for (byte, hex) in mac.iter_mut().zip(words.nth(1).unwrap().split(':')) {
        *byte = u8::from_str_radix(hex, 16).unwrap();
    }
    mac
}

/// The wire at the far end of a veth pair: whole frames, past the kernel's own stack.
pub struct Wire(OwnedFd);

impl Wire {
    pub fn on(interface: &str) -> Wire {
        let protocol = 3_u16.to_be();
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol)) };
        assert!(fd >= 0);
        // SAFETY: opened just now.
        let wire = Wire(unsafe { OwnedFd::from_raw_fd(fd) });
        let name = CString::new(interface).unwrap();
        // SAFETY: all zeroes is an address, and the name is a C string.
        let (mut address, index): (libc::sockaddr_ll, _) =
            unsafe { (std::mem::zeroed(), libc::if_nametoindex(name.as_ptr())) };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index.cast_signed();
        // SAFETY: the kernel reads one address.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32) };
        assert_eq!(bound, 0);
        let buffer = 16_i32 << 20;
        // SAFETY: the kernel reads one integer.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const buffer).cast(), 4) };
        wire
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the kernel reads the frame.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len().cast_signed(), "{}", std::io::Error::last_os_error());
    }

    /// Sends a frame of IPv4 and TCP, without options, that stands for segments of `data_len` bytes of data: a `virtio_net_hdr` in
    /// front says so, which from now on all frames need.
    pub fn send_joined(&self, frame: &[u8], data_len: u16) {
        const PACKET_VNET_HDR: i32 = 15;
        let on = 1_i32;
        // SAFETY: the kernel reads one integer.
        let set = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, (&raw const on).cast(), 4)
        };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        // The checksum begins with the TCP header and stands in its sixteenth byte.
        let numbers = [54, data_len, 34, 16].map(u16::to_ne_bytes).concat();
        self.send(&[&[1, 1], &numbers[..], frame].concat());
    }

    /// The next frame that came from the other end.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        loop {
            // SAFETY: all zeroes is an address.
            let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            let mut from_len = size_of_val(&from) as u32;
            let (fd, at) = (self.0.as_raw_fd(), buffer.as_mut_ptr().cast());
            // SAFETY: the kernel writes into the buffer and the address, no more than their lengths.
            let len = unsafe { libc::recvfrom(fd, at, buffer.len(), 0, (&raw mut from).cast(), &raw mut from_len) };
            if len < 0 {
                return None;
            }
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                buffer.truncate(len.cast_unsigned());
                return Some(buffer);
            }
        }
    }
}

/// Asks again and again, for up to five seconds.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now() + Duration::from_secs(5);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::now() < deadline, "{what}: not within five seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Receives exactly `count` frames, but waits no longer than five seconds for them.
pub fn receive(device: &mut impl Device, pool: &mut FramePool, count: usize) -> Vec<Frame> {
    let mut burst = Vec::new();
    eventually("frames", || {
        let missing = count - burst.len();
        device.rx(pool, &mut burst, missing);
        (burst.len() >= count).then_some(())
    });
    burst
}

pub fn frame(pool: &mut FramePool, bytes: &[u8]) -> Frame {
    let mut frame = pool.take().unwrap();
    assert!(frame.fill(bytes));
    frame
}

/// A UDP packet without checksum, from the IPv4 header on.
pub fn udp(source: ([u8; 4], u16), destination: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let len = 28 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.0);
    packet.extend(destination.0);
    let sum: u32 = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(source.1.to_be_bytes());
    packet.extend(destination.1.to_be_bytes());
    packet.extend((len - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

pub fn ethernet(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 0, 9], &[8, 0], packet].concat()
}
