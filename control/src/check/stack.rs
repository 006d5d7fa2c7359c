//! A TCP/IP stack for one conversation (smoltcp): one socket, a handful of packets, gone with the probe. One for each
//! probe, so that no probe costs the others anything, whatever its backend sends.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

/// The window that is offered: what a backend may send ahead.
const RECEIVE_BYTES: usize = 16_384;
const SEND_BYTES: usize = 4_096;
/// Datagrams that wait.
const DATAGRAMS: usize = 4;

/// The network as the stack sees it: two queues.
pub struct Wire {
    /// Came, not yet looked at.
    pub heard: VecDeque<Vec<u8>>,
    /// To be sent.
    pub said: Vec<Vec<u8>>,
    /// The longest packet.
    pub mtu: usize,
}

/// A packet that came.
pub struct Heard(Vec<u8>);

/// Room for a packet that goes.
pub struct Room<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Heard {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Heard;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Heard, Room<'_>)> {
        Some((Heard(self.heard.pop_front()?), Room(&mut self.said)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Some(Room(&mut self.said))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// Both ends of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Our address and port.
    pub local: SocketAddrV4,
    /// The backend's.
    pub remote: SocketAddrV4,
}

/// The stack, with its one socket.
pub struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    remote: IpEndpoint,
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn endpoint(address: SocketAddrV4) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(*address.ip()), address.port())
}

impl Stack {
    /// A connection that is being opened. `seed` decides the sequence numbers.
    pub fn connect(ends: Ends, mtu: usize, seed: u64, now: Duration) -> Stack {
        let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
        let socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        let mut stack = Stack::new(socket, ends, mtu, seed, now);
        let Stack { interface, sockets, handle, .. } = &mut stack;
        let socket = sockets.get_mut::<tcp::Socket>(*handle);
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        // Only a port 0 can be refused, which no target has; then nothing is sent and the probe runs out of time.
        let _ = socket.connect(interface.context(), endpoint(ends.remote), endpoint(ends.local));
        stack
    }

    /// A datagram that is being sent.
    pub fn datagram(ends: Ends, payload: &[u8], mtu: usize, seed: u64, now: Duration) -> Stack {
        let metadata = || vec![udp::PacketMetadata::EMPTY; DATAGRAMS];
        let buffer = |len| udp::PacketBuffer::new(metadata(), vec![0; len]);
        let mut socket = udp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        // As above, and the payload of a check always fits the buffer.
        let _ = socket.bind(endpoint(ends.local));
        let _ = socket.send_slice(payload, endpoint(ends.remote));
        Stack::new(socket, ends, mtu, seed, now)
    }

    fn new(
        socket: impl smoltcp::socket::AnySocket<'static>,
        ends: Ends,
        mtu: usize,
        seed: u64,
        now: Duration,
    ) -> Stack {
        let mut wire = Wire { heard: VecDeque::new(), said: Vec::new(), mtu };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, instant(now));
        // Room for one of each is always there.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(*ends.local.ip()), 32));
        });
        let _ = interface.routes_mut().add_default_ipv4_route(Ipv4Addr::UNSPECIFIED);
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = sockets.add(socket);
        Stack { wire, interface, sockets, handle, remote: endpoint(ends.remote) }
    }

    /// Takes a packet in.
    pub fn hear(&mut self, packet: Vec<u8>, now: Duration) {
        self.wire.heard.push_back(packet);
        while !self.wire.heard.is_empty() {
            self.interface.poll_ingress_single(instant(now), &mut self.wire, &mut self.sockets);
        }
    }

    /// The connection.
    pub fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The next datagram of the backend.
    pub fn received(&mut self) -> Option<Vec<u8>> {
        let remote = self.remote;
        let socket = self.sockets.get_mut::<udp::Socket>(self.handle);
        while let Ok((payload, metadata)) = socket.recv() {
            if metadata.endpoint == remote {
                return Some(payload.to_vec());
            }
        }
        None
    }

    /// What is to be sent now.
    pub fn say(&mut self, now: Duration) -> Vec<Vec<u8>> {
        self.interface.poll_egress(instant(now), &mut self.wire, &mut self.sockets);
        std::mem::take(&mut self.wire.said)
    }

    /// When there is something to be sent again, if nothing comes before.
    pub fn due(&mut self, now: Duration) -> Option<Duration> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)))
    }
}
