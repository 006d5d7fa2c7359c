//! For the tests of checks: settings, targets, and a server on a stack of its own.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use datapath::ProbeKind;
use datapath::service::BackendId;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::stack::Wire;
use super::{Outcome, Target, probe::Probe};
use crate::config::{CheckConfig, CheckKind};

/// A TCP check with the defaults.
pub fn tcp() -> CheckConfig {
    of(CheckKind::Tcp)
}

/// The defaults with this question.
pub fn of(kind: CheckKind) -> CheckConfig {
    CheckConfig {
        kind,
        port: None,
        interval: Duration::from_secs(20),
        timeout: Duration::from_secs(10),
        rise: 2,
        fall: 3,
    }
}

/// A task in the overlay at 10.0.0.11:8000.
pub fn target(check: CheckConfig) -> Target {
    Target {
        backend: BackendId(100),
        check: Arc::new(check),
        kind: ProbeKind::Overlay,
        source: [10, 0, 0, 3].into(),
        address: "10.0.0.11:8000".parse().unwrap(),
        real: "10.0.0.11:8000".parse().unwrap(),
        mtu: 1450,
        reachable: true,
        greeted: false,
    }
}

/// A server at 10.0.0.11:8000, over TCP and UDP.
pub struct Server {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    udp: SocketHandle,
    /// What it says to whoever has sent something, and then closes.
    answer: Vec<u8>,
    said: usize,
    /// What it was asked.
    pub heard: Vec<u8>,
}

impl Server {
    /// One that listens.
    pub fn new(answer: &[u8]) -> Server {
        let mut wire = Wire { heard: VecDeque::new(), said: Vec::new(), mtu: 1450 };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
        let address = IpCidr::new(IpAddress::v4(10, 0, 0, 11), 24);
        interface.update_ip_addrs(|addresses| addresses.push(address).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let mut listener = tcp::Socket::new(buffer(4096), buffer(65_536));
        listener.listen(8000).unwrap();
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut datagrams = udp::Socket::new(buffer(), buffer());
        datagrams.bind(8000).unwrap();
        let (tcp, udp) = (sockets.add(listener), sockets.add(datagrams));
        Server { wire, interface, sockets, tcp, udp, answer: answer.to_vec(), said: 0, heard: Vec::new() }
    }

    /// Whether nobody is connected.
    pub fn is_alone(&self) -> bool {
        matches!(self.sockets.get::<tcp::Socket>(self.tcp).state(), tcp::State::Listen | tcp::State::Closed)
    }

    /// It listens no more.
    pub fn shut(&mut self) {
        self.sockets.get_mut::<tcp::Socket>(self.tcp).abort();
    }

    /// Takes packets, gives those that it sends.
    pub fn exchange(&mut self, packets: Vec<Vec<u8>>, now: Duration) -> Vec<Vec<u8>> {
        self.wire.heard.extend(packets);
        let now = Instant::from_micros(now.as_micros() as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.serve_stream();
        let datagrams = self.sockets.get_mut::<udp::Socket>(self.udp);
        while let Ok((question, from)) = datagrams.recv() {
            self.heard.extend_from_slice(question);
            datagrams.send_slice(&self.answer, from).unwrap();
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        std::mem::take(&mut self.wire.said)
    }

    fn serve_stream(&mut self) {
        let stream = self.sockets.get_mut::<tcp::Socket>(self.tcp);
        while stream.can_recv() {
            stream.recv(|bytes| (bytes.len(), self.heard.extend_from_slice(bytes))).unwrap();
        }
        if self.heard.is_empty() || !stream.may_send() {
            return;
        }
        self.said += stream.send_slice(&self.answer[self.said..]).unwrap();
        if self.said == self.answer.len() {
            stream.close();
        }
    }
}

/// What the wire between does to each packet, of a probe (true) or of the server: how often it arrives.
pub type Fate<'a> = &'a mut dyn FnMut(bool, &[u8]) -> usize;

/// Plays a check of a server to its end, a millisecond a step.
pub fn play(target: &Target, server: &mut Server, fate: Fate<'_>) -> Outcome {
    let mut now = Duration::from_secs(1000);
    let mut probe = Probe::begin(target, 65_000, 42, now);
    let mut to_probe: Vec<Vec<u8>> = Vec::new();
    loop {
        for packet in std::mem::take(&mut to_probe) {
            probe.hear(packet, now);
        }
        let step = probe.step(now);
        let arriving = arrive(step.packets, true, fate);
        to_probe = arrive(server.exchange(arriving, now), false, fate);
        if let Some(outcome) = step.outcome {
            return outcome;
        }
        now += Duration::from_millis(1);
        assert!(now < Duration::from_secs(1100), "it never ends");
    }
}

fn arrive(packets: Vec<Vec<u8>>, of_probe: bool, fate: Fate<'_>) -> Vec<Vec<u8>> {
    let mut arriving = Vec::new();
    for packet in packets {
        assert!(packet.len() <= 1450, "a packet of {} bytes", packet.len());
        if of_probe {
            let (source, destination) = (&packet[12..16], &packet[16..20]);
            assert_eq!((source, destination), (&[10, 0, 0, 3][..], &[10, 0, 0, 11][..]));
        }
        let times = fate(of_probe, &packet);
        arriving.extend(std::iter::repeat_n(packet, times));
    }
    arriving
}

/// An ICMP "unreachable" about a packet.
pub fn unreachable(from: Ipv4Addr, code: u8, about: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[28 - 8..22].copy_from_slice(&[3, code]);
    packet.extend_from_slice(&about[..28]);
    let len = packet.len() as u16;
    let checksum = |bytes: &[u8]| {
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
    };
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, 1]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&[10, 0, 0, 3]);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum);
    let sum = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum);
    packet
}
