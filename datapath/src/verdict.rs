//! The end of every packet that a worker takes: one [`Verdict`], and for dropped ones a reason that is a counter by
//! construction.

use wire::{Malformed, Untranslatable};

/// Position of a device among those of its worker.
pub type SlotIndex = usize;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rewritten and forwarded through this device.
    Tx(SlotIndex),
    /// Turned into an answer made here, sent through this device.
    Reply(SlotIndex),
    /// Another worker takes it on.
    HandOver {
        /// Which worker.
        worker: usize,
        /// What that worker is to do.
        purpose: Purpose,
    },
    /// Kept until the first fragment of its datagram arrives.
    Hold,
    /// Has been replaced by other frames, already on their way, or was for control.
    Consumed,
    /// Dropped, counted.
    Drop(DropReason),
}

/// Why a packet is handed to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// That worker owns the flow: classify and track it there.
    Track,
    /// Nobody knows the owner: so many workers have looked already, or had this later fragment.
    Search(u16),
    /// Finished; only that worker has a device on this interface.
    Transmit(crate::service::InterfaceIndex),
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped. To add a reason: one line here; its counter, its name in the API and in the
        /// metrics follow by themselves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),+];

            /// The name of the counter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),+ }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than its own headers say.
    Truncated = "truncated",
    /// An IPv4 header that contradicts itself.
    BadIpHeader = "bad_ip_header",
    /// The IPv4 header checksum is wrong.
    BadIpChecksum = "bad_ip_checksum",
    /// An IPv6 header or extension header that contradicts itself, or a source that is no host.
    BadIpv6Header = "bad_ipv6_header",
    /// The sender chose the way, and it does not end here.
    SourceRoute = "source_route",
    /// A packet that has no form in the other IP version: a fragment of an ICMP message, UDP without checksum.
    Untranslatable = "untranslatable",
    /// A TCP, UDP or ICMP header that contradicts itself, or its checksum where new packets are made of what came.
    BadTransportHeader = "bad_transport_header",
    /// A VXLAN header without the I flag, or cut short.
    BadVxlan = "bad_vxlan",
    /// An ARP packet that is not Ethernet and IPv4, or cut short.
    BadArp = "bad_arp",
    /// Neither IPv4, nor IPv6, nor ARP; in the overlay no IPv6 either.
    NotIpv4 = "not_ipv4",
    /// Not addressed to anything that we serve.
    NotOurs = "not_ours",
    /// From or to 240.0.0.0/4, which is on no wire: here it stands for IPv6 addresses.
    ReservedAddress = "reserved_address",
    /// No room for one more IPv6 client.
    ClientsFull = "clients_full",
    /// The IPv6 client that a packet belongs to has been silent for too long.
    ClientForgotten = "client_forgotten",
    /// A TCP flag combination that no stack sends.
    BadTcpFlags = "bad_tcp_flags",
    /// A protocol that we do not balance.
    UnsupportedProtocol = "unsupported_protocol",
    /// VXLAN from an address that is no configured VTEP.
    UnknownVtep = "unknown_vtep",
    /// VXLAN of another network.
    WrongVni = "wrong_vni",
    /// A fragment of the outer packet: nodes are told not to make them.
    OuterFragment = "outer_fragment",
    /// The inner destination MAC is not ours.
    WrongInnerMac = "wrong_inner_mac",
    /// The inner destination address is not ours.
    WrongInnerAddress = "wrong_inner_address",
    /// Congestion was marked on the way although the inner packet cannot say so (RFC 6040).
    EcnMismatch = "ecn_mismatch",
    /// An answer of an overlay task that did not come through the tunnel, or the other way round.
    WrongPath = "wrong_path",
    /// A reply that belongs to no flow.
    NoFlow = "no_flow",
    /// A TCP segment other than a SYN that belongs to no flow.
    NoFlowTcp = "no_flow_tcp",
    /// Nobody listens on this port of the VIP.
    NoService = "no_service",
    /// The service has no backend that may take new flows.
    NoBackend = "no_backend",
    /// All backends of the service have as many connections as they may.
    BackendsFull = "backends_full",
    /// The service's lists keep its sender out.
    Denied = "denied",
    /// A new flow beyond the rate of its source.
    OverRatePerSource = "over_rate_per_source",
    /// A new flow beyond the rate of the service.
    OverRate = "over_rate",
    /// A segment of a client whose SYN was answered by a cookie, before its backend has answered.
    BeforeBackend = "before_backend",
    /// No route or no neighbour on the way to the backend.
    Unresolved = "unresolved",
    /// The flow's backend was removed.
    BackendGone = "backend_gone",
    /// The flow table is full.
    TableFull = "table_full",
    /// All SNAT ports towards this backend are in use.
    PortsExhausted = "ports_exhausted",
    /// A RST outside the window.
    ResetOutOfWindow = "reset_out_of_window",
    /// A FIN outside the window.
    FinOutOfWindow = "fin_out_of_window",
    /// A segment that does not fit the state of its flow.
    InvalidSegment = "invalid_segment",
    /// A segment of a flow that was reset.
    FlowReset = "flow_reset",
    /// The TTL has run out.
    TtlExpired = "ttl_expired",
    /// Too big for the way, and may not be fragmented.
    TooBig = "too_big",
    /// An ICMP message that we do not handle.
    IcmpUnhandled = "icmp_unhandled",
    /// An ICMP error about a flow that we do not know.
    IcmpNoFlow = "icmp_no_flow",
    /// An answer of ours was held back by the rate limit.
    RateLimited = "rate_limited",
    /// A fragment whose first fragment never came, or came too late.
    FragmentOrphan = "fragment_orphan",
    /// No room to keep a fragment.
    FragmentNoRoom = "fragment_no_room",
    /// The queue to the worker that owns the flow is full.
    HandOverFull = "hand_over_full",
    /// No free frame.
    NoFrame = "no_frame",
    /// Not enough headroom in the frame.
    NoHeadroom = "no_headroom",
    /// No device for the interface that the packet should leave by.
    NoDevice = "no_device",
    /// The device's ring was full.
    DeviceFull = "device_full",
    /// ARP in the overlay that is not for us, or not from who it claims to be.
    ArpIgnored = "arp_ignored",
    /// To a port of health checks, where nothing is expected from its sender.
    ProbeUnexpected = "probe_unexpected",
    /// An answer to a health check that control is not quick enough to take.
    ProbeQueueFull = "probe_queue_full",
    /// A SYN-ACK that acknowledges data which was taken out of the SYN, for a PROXY header goes first.
    ProxySynAck = "proxy_syn_ack",
    /// A segment of a client that would lie over the PROXY header in front of its stream.
    ProxyOverlap = "proxy_overlap",
    /// The first datagram of a flow is fragmented: no PROXY header can go in front of it.
    ProxyFragment = "proxy_fragment",
    /// A backend has not acknowledged the PROXY header, however often it was sent: its flow was reset.
    ProxyUnacknowledged = "proxy_unacknowledged",
}

impl From<Malformed> for DropReason {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::Truncated => DropReason::Truncated,
            Malformed::BadVersion | Malformed::BadHeaderLen | Malformed::BadTotalLen => DropReason::BadIpHeader,
            Malformed::BadIpChecksum => DropReason::BadIpChecksum,
            Malformed::BadTcpHeader | Malformed::BadUdpLen | Malformed::BadIcmp => DropReason::BadTransportHeader,
            Malformed::BadIpv6Extension | Malformed::BadIpv6Fragment | Malformed::BadIpv6Address => {
                DropReason::BadIpv6Header
            }
            Malformed::SourceRoute => DropReason::SourceRoute,
            Malformed::BadArp => DropReason::BadArp,
            Malformed::BadVxlan => DropReason::BadVxlan,
            Malformed::NotIpv4(_) => DropReason::NotIpv4,
        }
    }
}

impl From<Untranslatable> for DropReason {
    fn from(error: Untranslatable) -> Self {
        match error {
            Untranslatable::Malformed(malformed) => malformed.into(),
            Untranslatable::Protocol(_) => DropReason::UnsupportedProtocol,
            Untranslatable::NoUdpChecksum | Untranslatable::IcmpFragment => DropReason::Untranslatable,
            Untranslatable::IcmpMessage(..) => DropReason::IcmpUnhandled,
            Untranslatable::QuotedAddress => DropReason::IcmpNoFlow,
            Untranslatable::TooLong => DropReason::TooBig,
            Untranslatable::NoRoom => DropReason::NoHeadroom,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_counters_and_have_unique_names() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
        }
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
