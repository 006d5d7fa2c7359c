//! One real worker between two [`Replay`](crate::replay::Replay) devices, with as many established connections as asked
//! for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use conntrack::{Conntrack, Timeouts};
use crossbeam::queue::ArrayQueue;
use datapath::core::{Core, CoreParts, InterfaceInfo, Role, SlotInfo, SnatPorts};
use datapath::counters::{Counters, WorkerCounters};
use datapath::exchange::{Exchange, Mailbox};
use datapath::flow_log::FlowEvents;
use datapath::handover::Desk;
use datapath::probes::{Probes, split_ports};
use datapath::service::{InterfaceIndex, Snapshot, Tables, TablesError};
use datapath::worker::{Shared, Slot, TablesDesk, Worker};
use sys::{BURST, Device, FramePool, LinkType};
use wire::Protocol;

use crate::cases::new_flows;
use crate::network;
use crate::packets::{self, Segment, TUNNEL_LEN};
use crate::replay::{Remote, replay};
use crate::traffic::Traffic;

/// Frames of the worker: enough for a burst on each device, and few enough to stay in the cache, as they do on a NIC that
/// gives back what it has sent.
const FRAMES: usize = 512;
const FRAME_BYTES: usize = 2048;
/// What a turn of the worker takes on the clock that the worker sees, whatever it finds.
const TURN: Duration = Duration::from_micros(1);
/// What each packet adds: what is done once a millisecond then comes as often as it would.
const PACKET: Duration = Duration::from_nanos(100);
/// Keys the hash: the same in every run, so that every run does the same work.
pub const SEED: u64 = 7;

/// After this time of silence, open connections are over.
pub const ESTABLISHED: Duration = Duration::from_hours(365 * 24);
/// After this time, flows that nobody has answered are over.
pub const FORGOTTEN: Duration = Duration::from_secs(2);

/// One established connection, as its task sees it.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Which client.
    pub client: u32,
    /// Which backend was picked.
    pub backend: u16,
    /// The port that the backend sees.
    pub snat_port: u16,
}

/// The gateway.
pub struct Gateway {
    worker: Worker,
    /// What the worker began with: whoever publishes newer ones keeps these, as control does, so that not the worker frees them.
    pub first: Arc<Snapshot>,
    /// What the bench shares with the worker.
    pub shared: Arc<Shared>,
    /// Towards the clients.
    pub front: Arc<Remote>,
    /// Towards the nodes.
    pub back: Arc<Remote>,
    counters: Arc<Counters>,
    log: Option<FlowEvents>,
    now: Duration,
}

impl Gateway {
    /// A gateway with room for `flows` flows and the tables of [`network::services`].
    ///
    /// # Errors
    /// If the tables contradict themselves.
    pub fn new(flows: usize) -> Result<Self, TablesError> {
        Self::with(flows, network::tables(1, network::services()))
    }

    /// A gateway with these tables.
    ///
    /// # Errors
    /// If the tables contradict themselves.
    pub fn with(flows: usize, tables: Tables) -> Result<Self, TablesError> {
        Self::build(flows, tables, None)
    }

    /// As [`Gateway::new`], with a log of flows, which has to be read.
    ///
    /// # Errors
    /// If the tables contradict themselves.
    pub fn logging(flows: usize) -> Result<Self, TablesError> {
        Self::build(flows, network::tables(1, network::services()), Some(datapath::flow_log::queue()))
    }

    fn build(flows: usize, tables: Tables, log: Option<FlowEvents>) -> Result<Self, TablesError> {
        let ((front, front_remote), (back, back_remote)) = (replay(), replay());
        let counters = Arc::new(Counters::default());
        let mut core = core(flows, Arc::clone(&counters));
        if let Some(events) = &log {
            core.log_flows(Arc::clone(events));
        }
        let desk: Arc<TablesDesk> = Arc::new(Desk::new(ArrayQueue::new(1), AtomicU64::new(1)));
        let shared = Arc::new(Shared::new(desk));
        let devices = vec![
            Slot { role: role(0), device: Box::new(front) as Box<dyn Device> },
            Slot { role: role(1), device: Box::new(back) },
        ];
        let first = Arc::new(Snapshot::build(tables)?);
        Ok(Self {
            worker: Worker::new(core, Arc::clone(&first), devices, Arc::clone(&shared)),
            first,
            shared,
            front: front_remote,
            back: back_remote,
            counters,
            log,
            now: Duration::from_secs(100),
        })
    }

    /// One turn of the worker; returns how many packets it took.
    pub fn turn(&mut self) -> usize {
        self.now += TURN;
        let packets = self.worker.turn(self.now);
        self.now += PACKET * packets as u32;
        packets
    }

    /// So many turns. Returns the packets.
    pub fn run(&mut self, turns: u64) -> u64 {
        (0..turns).map(|_| self.turn() as u64).sum()
    }

    /// Lets the worker's clock jump.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The worker's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Silence on both sides.
    pub fn silence(&self) {
        self.front.set_burst(0);
        self.back.set_burst(0);
    }

    /// What the worker has counted.
    #[must_use]
    pub fn counters(&self) -> WorkerCounters {
        self.counters.read()
    }

    /// Takes what was logged.
    pub fn read_log(&self) {
        if let Some(log) = &self.log {
            while log.pop().is_some() {}
        }
    }

    /// Flows in the table.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.worker.core().flows()
    }

    /// Establishes so many connections with the whole handshake; they are in the order of their clients.
    pub fn establish(&mut self, count: usize) -> Vec<Connection> {
        self.run(64); // The first round of ARP goes out.
        let mut syns = Traffic::new(vec![packets::from_client(Segment::Syn)]).once();
        let mut acks = Traffic::new(vec![packets::from_client(Segment::Data(64))]).once();
        for n in 0..count {
            let (address, port) = network::client(n);
            syns.push(0, address, port);
            acks.push(0, address, port);
        }
        let connections = self.open(syns);
        let templates = (0..network::BACKENDS).map(|n| packets::from_task(n, Segment::SynAck)).collect();
        let mut syn_acks = Traffic::new(templates).once();
        for connection in &connections {
            syn_acks.push(usize::from(connection.backend), network::OVERLAY, connection.snat_port);
        }
        self.play_to_end(&Arc::clone(&self.back), syn_acks);
        self.play_to_end(&Arc::clone(&self.front), acks);
        connections
    }

    /// Has so many clients exchange a datagram with the UDP service; in the order of their clients.
    pub fn establish_udp(&mut self, count: usize) -> Vec<Connection> {
        self.silence();
        self.run(64); // ARP, as above.
        let exchanges = self.open(new_flows(Protocol::Udp, 0, count));
        let templates = (0..network::BACKENDS).map(packets::datagram_of_task).collect();
        let mut answers = Traffic::new(templates).once();
        for exchange in &exchanges {
            answers.push(usize::from(exchange.backend), network::OVERLAY, exchange.snat_port);
        }
        self.play_to_end(&Arc::clone(&self.back), answers);
        exchanges
    }

    /// Sends first packets and reads from what comes out where they went.
    fn open(&mut self, syns: Traffic) -> Vec<Connection> {
        let mut connections = Vec::with_capacity(syns.len());
        self.back.set_recording(true);
        self.front.play(syns, BURST);
        while self.turn() > 0 {
            for frame in self.back.recorded() {
                connections.extend(read_connection(&frame, connections.len() as u32));
            }
        }
        self.back.set_recording(false);
        self.front.set_burst(0);
        connections
    }

    fn play_to_end(&mut self, remote: &Remote, traffic: Traffic) {
        remote.play(traffic, BURST);
        while self.turn() > 0 {}
        remote.set_burst(0);
    }
}

fn role(interface: u16) -> Role {
    Role::Interface(InterfaceIndex(interface))
}

fn core(flows: usize, counters: Arc<Counters>) -> Core {
    let slot =
        |n| SlotInfo { role: role(n), link: LinkType::Ethernet, steers: false, cuts_segments: false, ready: true };
    let all = SnatPorts { overlay: 1024..=65_535, plain: 1024..=32_767 };
    let (ports, of_probes) = split_ports(&all);
    let interface = InterfaceInfo { link: LinkType::Ethernet, joins: false, workers: vec![0] };
    Core::new(CoreParts {
        index: 0,
        conntrack: Conntrack::new(flows, timeouts(), SEED),
        counters,
        pool: FramePool::heap(FRAMES, FRAME_BYTES),
        slots: vec![slot(0), slot(1)],
        interfaces: vec![interface.clone(), interface],
        exchange: Exchange::new(0, vec![Mailbox::new(FRAMES, None)].into()),
        ports,
        probes: Arc::new(Probes::new(of_probes)),
        surrogates: Arc::new(datapath::Surrogates::new(0)),
        epoch_millis: 5_000,
    })
}

/// Connections stay, unanswered packets are soon forgotten: [`FORGOTTEN`].
fn timeouts() -> Timeouts {
    Timeouts { tcp_established: ESTABLISHED, tcp_syn_sent: FORGOTTEN / 2, udp: FORGOTTEN / 2, ..Timeouts::default() }
}

/// The connection of a SYN that was sent into the tunnel; `None` for ARP.
pub(crate) fn read_connection(frame: &[u8], client: u32) -> Option<Connection> {
    let inner = frame.get(TUNNEL_LEN..)?;
    if frame.get(TUNNEL_LEN - 2..TUNNEL_LEN)? != [0x08, 0x00] {
        return None;
    }
    let address: [u8; 4] = inner.get(16..20)?.try_into().ok()?;
    let port: [u8; 2] = inner.get(20..22)?.try_into().ok()?;
    let backend = Ipv4Addr::from(address).to_bits().checked_sub(network::task(0).to_bits())?;
    Some(Connection { client, backend: backend as u16, snat_port: u16::from_be_bytes(port) })
}
