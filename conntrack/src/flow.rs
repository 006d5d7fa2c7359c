//! One flow: both keys, what the data path needs for its packets, and what the tracker remembers of TCP.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use wire::{FiveTuple, MacAddr, Protocol};

use crate::State;
use crate::tick;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the client sends: client to VIP, on to the backend.
    Original,
    /// Backend to the gateway's SNAT address, on to the client.
    Reply,
}

impl Direction {
    /// Both.
    pub const BOTH: [Direction; 2] = [Direction::Original, Direction::Reply];

    /// The other way.
    #[must_use]
    pub const fn reversed(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// 0 for the original direction, 1 for replies.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The place of a flow in its table. Valid until the flow is removed; afterwards the place is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub(crate) u32);

impl FlowId {
    /// The slot, as [`crate::Conntrack::scan`] counts them.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.0 as usize
    }
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The flow.
    pub id: FlowId,
    /// Which of its two keys matched.
    pub direction: Direction,
}

/// Where the flow goes behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatBinding {
    /// The backend's address and port: destination of what the client sends.
    pub backend: SocketAddrV4,
    /// The gateway's address and port towards the backend: source of what the client sends.
    pub snat: SocketAddrV4,
}

impl NatBinding {
    /// Nothing is translated: the backend gets the client's packets as they are.
    #[must_use]
    pub fn to_itself(original: &FiveTuple) -> NatBinding {
        NatBinding {
            backend: SocketAddrV4::new(original.dst, original.dst_port),
            snat: SocketAddrV4::new(original.src, original.src_port),
        }
    }

    /// The key of what the backend sends: backend to SNAT address.
    #[must_use]
    #[inline]
    pub fn reply_tuple(&self, protocol: Protocol) -> FiveTuple {
        FiveTuple {
            src: *self.backend.ip(),
            dst: *self.snat.ip(),
            src_port: self.backend.port(),
            dst_port: self.snat.port(),
            protocol,
        }
    }

    /// Whether nothing is translated. Asked for every packet: no flow that is translated keeps both addresses.
    #[must_use]
    #[inline]
    pub fn is_identity(&self, original: &FiveTuple) -> bool {
        *self.snat.ip() == original.src && *self.backend.ip() == original.dst
    }
}

/// How the client was last reached. Kept for the data path, opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClientLink {
    /// The next hop's MAC address.
    pub mac: MacAddr,
    /// The interface, by the data path's own numbers.
    pub interface: u16,
}

/// One flow. 96 bytes: never more than two cache lines.
///
/// TCP is remembered per direction as what its *sender* has shown: the end of what it sent, the highest byte that it
/// acknowledged, the largest window that it offered.
///
/// The order of the fields is that of memory: `Flow::touch` reads the first and the last one.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub struct Flow {
    /// The generation of the tables at which the backend was last known to stand.
    pub generation: u32,
    /// The service, by the data path's number.
    pub service: u32,
    /// The backend, by the data path's number.
    pub backend_id: u32,
    /// What the data path adds to the client's TCP timestamps.
    pub timestamp_delta: u32,
    /// The tick at which the flow expires.
    pub(crate) deadline: u32,
    packets: [u32; 2],
    bytes_low: [u32; 2],
    /// 15 bits each; the uppermost bit of the first one says `SPLICED`, of the second one `LENT`.
    bytes_high: [u16; 2],
    /// The sequence number after the last one sent.
    pub(crate) ends: [u32; 2],
    /// The highest acknowledgment sent. Until there is one: the other side's initial sequence number.
    pub(crate) acks: [u32; 2],
    /// The largest window offered, in units of `1 << scale`, at least 1. 0: this side was not heard yet.
    pub(crate) windows: [u16; 2],
    /// How the client was last reached.
    pub client: ClientLink,
    /// Where it goes.
    pub binding: NatBinding,
    /// The client's key: client to VIP.
    pub original: FiveTuple,
    /// Window scales, four bits a side.
    pub(crate) scales: u8,
    /// State in the low four bits, flags (`ACKED`, `FIN` per side) in the high ones.
    status: u8,
}

/// State number of an entry that holds no flow.
const VACANT: u8 = 15;
const STATE_BITS: u8 = 0x0f;
const ACKED: u8 = 0x10;
const FIN: u8 = 0x40;
const SPLICED: u16 = 0x8000;
const LENT: u16 = 0x8000;
/// What is left for counting.
const BYTES_HIGH: u16 = 0x7fff;

impl Flow {
    pub(crate) fn vacant() -> Flow {
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Flow {
            original: FiveTuple {
                src: Ipv4Addr::UNSPECIFIED,
                dst: Ipv4Addr::UNSPECIFIED,
                src_port: 0,
                dst_port: 0,
                protocol: Protocol::Tcp,
            },
            binding: NatBinding { backend: nowhere, snat: nowhere },
            service: 0,
            backend_id: 0,
            generation: 0,
            client: ClientLink::default(),
            timestamp_delta: 0,
            deadline: 0,
            packets: [0; 2],
            bytes_low: [0; 2],
            bytes_high: [0; 2],
            ends: [0; 2],
            acks: [0; 2],
            windows: [0; 2],
            scales: 0,
            status: VACANT,
        }
    }

    /// Where the flow stands.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_code(self.status & STATE_BITS)
    }

    /// The key of what the backend sends: backend to SNAT address.
    #[must_use]
    pub fn reply_tuple(&self) -> FiveTuple {
        self.binding.reply_tuple(self.original.protocol)
    }

    /// Direct server return: nothing is translated, and the backend answers the client around us, so that we hear the
    /// client only.
    #[must_use]
    #[inline]
    pub fn is_direct(&self) -> bool {
        self.binding.is_identity(&self.original)
    }

    /// When the flow expires if nothing more comes, since process start.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        tick::start(self.deadline)
    }

    /// Counts one forwarded packet of `bytes` bytes.
    pub fn count(&mut self, direction: Direction, bytes: u32) {
        let side = direction.index();
        self.packets[side] = self.packets[side].saturating_add(1);
        let (low, carry) = self.bytes_low[side].overflowing_add(bytes);
        self.bytes_low[side] = low;
        if carry {
            self.carry(side, 1);
        }
    }

    /// Counts packets that were forwarded by whoever had borrowed the flow.
    pub fn count_many(&mut self, direction: Direction, packets: u32, bytes: u64) {
        let side = direction.index();
        self.packets[side] = self.packets[side].saturating_add(packets);
        let sum = u64::from(self.bytes_low[side]) + (bytes & u64::from(u32::MAX));
        self.bytes_low[side] = sum as u32;
        self.carry(side, ((sum >> 32) + (bytes >> 32)) as u16);
    }

    fn carry(&mut self, side: usize, more: u16) {
        let high = self.bytes_high[side];
        self.bytes_high[side] = high & !BYTES_HIGH | high.wrapping_add(more) & BYTES_HIGH;
    }

    /// The highest acknowledgment that this side has sent and that was believed, if there is one (TCP).
    #[must_use]
    pub fn acknowledged(&self, side: Direction) -> Option<u32> {
        self.has_acked(side).then_some(self.acks[side.index()])
    }

    /// The data path's own mark: the two ends count in different sequence spaces, and it knows how. Kept for it, opaque
    /// here: the numbers that the tracker sees are the client's.
    #[must_use]
    #[inline]
    pub fn is_spliced(&self) -> bool {
        self.bytes_high[0] & SPLICED != 0
    }

    /// Sets the mark.
    pub fn set_spliced(&mut self) {
        self.bytes_high[0] |= SPLICED;
    }

    /// Somebody else follows its packets, see [`Conntrack::lend`](crate::Conntrack::lend).
    #[must_use]
    #[inline]
    pub fn is_lent(&self) -> bool {
        self.bytes_high[1] & LENT != 0
    }

    pub(crate) fn set_lent(&mut self, lent: bool) {
        self.bytes_high[1] = self.bytes_high[1] & !LENT | if lent { LENT } else { 0 };
    }

    /// Packets counted in one direction; stops at the largest number that 32 bits hold.
    #[must_use]
    pub fn packets(&self, direction: Direction) -> u64 {
        u64::from(self.packets[direction.index()])
    }

    /// Bytes counted in one direction.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        let side = direction.index();
        u64::from(self.bytes_high[side] & BYTES_HIGH) << 32 | u64::from(self.bytes_low[side])
    }

    /// Reads the first and the last word, so that both cache lines are in the cache, wherever in them the entry begins.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        self.generation ^ u32::from(self.status)
    }

    /// As [`Flow::state`] with a state to compare to.
    #[inline]
    pub(crate) fn is_in(&self, state: State) -> bool {
        self.status & STATE_BITS == state as u8
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.status & STATE_BITS == VACANT
    }

    pub(crate) fn vacate(&mut self) {
        self.status = VACANT;
    }

    pub(crate) fn set_state(&mut self, state: State) {
        self.status = self.status & !STATE_BITS | state as u8;
    }

    /// Back to a state with all flags cleared.
    pub(crate) fn restart(&mut self, state: State) {
        self.status = state as u8;
    }

    /// This side has acknowledged something of the other (UDP: has answered).
    pub(crate) fn has_acked(&self, side: Direction) -> bool {
        self.status & ACKED << side.index() != 0
    }

    pub(crate) fn set_acked(&mut self, side: Direction, acked: bool) {
        let bit = ACKED << side.index();
        self.status = if acked { self.status | bit } else { self.status & !bit };
    }

    /// UDP has no sequence numbers: the place of one keeps the tick at which the flow began.
    pub(crate) fn begin_udp(&mut self, tick: u32) {
        self.ends[0] = tick;
    }

    pub(crate) fn udp_began(&self) -> u32 {
        self.ends[0]
    }

    /// This side has sent its FIN.
    pub(crate) fn has_fin(&self, side: Direction) -> bool {
        self.status & FIN << side.index() != 0
    }

    pub(crate) fn set_fin(&mut self, side: Direction) {
        self.status |= FIN << side.index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn an_entry_is_a_line_and_a_half() {
        assert_eq!(size_of::<Flow>(), 96);
        // What `touch` reads: without both, half of the entries miss a line.
        assert_eq!((offset_of!(Flow, generation), offset_of!(Flow, status)), (0, 95));
    }

    #[test]
    fn bytes_carry_into_the_upper_half() {
        let mut flow = Flow::vacant();
        for _ in 0..3 {
            flow.count(Direction::Reply, u32::MAX);
        }
        assert_eq!(flow.bytes(Direction::Reply), 3 * u64::from(u32::MAX));
        assert_eq!((flow.packets(Direction::Reply), flow.packets(Direction::Original)), (3, 0));
        assert_eq!(flow.bytes(Direction::Original), 0);
    }

    #[test]
    fn bytes_and_the_mark_do_not_mix() {
        let mut flow = Flow::vacant();
        assert!(!flow.is_spliced());
        flow.set_spliced();
        flow.bytes_high = [SPLICED | !SPLICED, !SPLICED];
        for side in Direction::BOTH {
            flow.bytes_low[side.index()] = u32::MAX;
            flow.count(side, 2);
            assert_eq!((flow.bytes(side), flow.is_spliced()), (1, true), "2^47 bytes later it begins anew");
        }
    }

    #[test]
    fn flags_and_state_do_not_mix() {
        let mut flow = Flow::vacant();
        assert!(flow.is_vacant());
        flow.restart(State::SynSent);
        for side in Direction::BOTH {
            flow.set_fin(side);
            flow.set_acked(side, true);
            assert!(flow.has_fin(side) && flow.has_acked(side));
        }
        flow.set_state(State::UdpStream);
        flow.set_acked(Direction::Original, false);
        assert!(flow.has_fin(Direction::Original) && !flow.has_acked(Direction::Original));
        assert!(flow.has_acked(Direction::Reply) && flow.state() == State::UdpStream);
    }
}
