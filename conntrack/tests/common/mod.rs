//! One TCP connection through a table, written as what each side sends.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

pub use conntrack::Idle;
use conntrack::{ClientLink, Conntrack, Direction, FlowId, Open, OpenError, Opened, SnatRange, State, Timeouts, Track};
use wire::{FiveTuple, Headers, L4, Protocol, Tcp, TcpOptions};

pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;
pub const FIN_ACK: u8 = 0x11;
pub const RST: u8 = 0x04;
pub const RST_ACK: u8 = 0x14;

pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const SNAT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11), 8000);

/// What a side sends: flags, sequence number, acknowledgment.
pub type Sent = (Direction, u8, u32, u32);

/// The `number`-th client.
pub fn client(number: u32, protocol: Protocol) -> FiveTuple {
    FiveTuple {
        src: Ipv4Addr::from(0xcb00_7100 + number / 50_000),
        dst: VIP,
        src_port: 10_000 + (number % 50_000) as u16,
        dst_port: 8080,
        protocol,
    }
}

pub fn open_to(
    table: &mut Conntrack,
    original: FiveTuple,
    backend: SocketAddrV4,
    snat: SnatRange,
    now: Duration,
) -> Result<FlowId, OpenError> {
    opened_to(table, original, backend, snat, now).map(|opened| opened.id)
}

/// As [`open_to`], with the flow that gave way.
pub fn opened_to(
    table: &mut Conntrack,
    original: FiveTuple,
    backend: SocketAddrV4,
    snat: SnatRange,
    now: Duration,
) -> Result<Opened, OpenError> {
    let open = Open {
        original,
        backend,
        snat: Some(snat),
        service: 1,
        backend_id: 2,
        generation: 3,
        client: ClientLink::default(),
    };
    table.open(&open, now)
}

pub fn all_ports() -> SnatRange<'static> {
    SnatRange { addresses: &[SNAT], ports: 1024..=65_535 }
}

pub fn segment(flags: u8, seq: u32, ack: u32, payload_len: usize) -> Tcp {
    let mut packet = vec![0; 40 + payload_len];
    packet[0] = 0x45;
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[9] = 6;
    parsed(packet, flags, seq, ack)
}

/// The segment in a packet of which the IP header is there, but for its checksum.
pub fn parsed(mut packet: Vec<u8>, flags: u8, seq: u32, ack: u32) -> Tcp {
    let checksum = wire::checksum::internet(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet[24..28].copy_from_slice(&seq.to_be_bytes());
    packet[28..32].copy_from_slice(&ack.to_be_bytes());
    (packet[32], packet[33]) = (0x50, flags);
    packet[34..36].copy_from_slice(&8192_u16.to_be_bytes());
    match Headers::parse(&packet, 0).unwrap().l4 {
        L4::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

pub fn options(window_scale: Option<u8>) -> TcpOptions {
    TcpOptions { mss: Some(1460), mss_offset: None, window_scale, sack_permitted: true, timestamps: None }
}

/// A table with one flow.
pub struct Lab {
    pub table: Conntrack,
    pub id: FlowId,
    pub now: Duration,
    pub scale: Option<u8>,
    pub idle: Idle,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(Timeouts::default())
    }

    #[expect(clippy::unwrap_used, reason = "an empty table takes a flow")]
    pub fn with(timeouts: Timeouts) -> Lab {
        let mut table = Conntrack::new(8, timeouts, 0x5eed);
        let id = open_to(&mut table, client(0, Protocol::Tcp), BACKEND, all_ports(), Duration::ZERO).unwrap();
        Lab { table, id, now: Duration::ZERO, scale: None, idle: Idle::default() }
    }

    /// After RFC 9293, figure 6: SYN 100, SYN-ACK 300, ACK.
    pub fn established() -> Lab {
        let mut lab = Lab::new();
        lab.handshake();
        lab
    }

    pub fn handshake(&mut self) {
        assert_eq!(self.client(SYN, 100, 0, 0), Track::Forward);
        assert_eq!(self.backend(SYN_ACK, 300, 101, 0), Track::Forward);
        assert_eq!(self.client(ACK, 101, 301, 0), Track::Forward);
        assert_eq!(self.state(), State::Established);
    }

    pub fn send(&mut self, from: Direction, tcp: &Tcp) -> Track {
        let options = options(self.scale);
        let of_syn = tcp.flags().syn().then_some(&options);
        self.table.segment(self.id, from, tcp, of_syn, &self.idle, self.now)
    }

    pub fn client(&mut self, flags: u8, seq: u32, ack: u32, len: usize) -> Track {
        self.send(Direction::Original, &segment(flags, seq, ack, len))
    }

    pub fn backend(&mut self, flags: u8, seq: u32, ack: u32, len: usize) -> Track {
        self.send(Direction::Reply, &segment(flags, seq, ack, len))
    }

    pub fn state(&self) -> State {
        self.table.flow(self.id).state()
    }

    /// Time left until the flow expires.
    pub fn left(&self) -> Duration {
        self.table.flow(self.id).deadline().saturating_sub(self.now)
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}
