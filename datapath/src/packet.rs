//! A packet on its way through the stages.

use conntrack::ClientLink;
use sys::Frame;
use wire::Headers;

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Plainly, from this neighbour on this interface.
    Link(ClientLink),
    /// Out of the overlay, from a configured VTEP.
    Overlay,
}

/// An IP packet: its frame begins with the IPv4 header and ends with the packet, all link and tunnel headers and all
/// padding cut off; offsets in `headers` count from the IPv4 header.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub frame: Frame,
    /// What was parsed.
    pub headers: Headers,
    /// Where it came from.
    pub origin: Origin,
    /// Other workers have looked for the flow already, or had this later fragment, so many.
    pub searched: u16,
    /// Another worker decided that the flow belongs here.
    pub steered: bool,
}
