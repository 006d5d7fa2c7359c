//! Which message of one family says what a message of the other says: the tables of RFC 7915.

use crate::icmp::{CODE_FRAGMENTATION_NEEDED, kind};
use crate::ipv6::{FRAGMENT_HEADER_LEN, MIN_MTU};
use crate::translate::GROWTH;

/// Message types of `ICMPv6` (RFC 4443).
pub(super) mod kind6 {
    pub const UNREACHABLE: u8 = 1;
    pub const PACKET_TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const PARAMETER_PROBLEM: u8 = 4;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
}

/// Codes of "destination unreachable" over IPv4 (RFC 792, 1122, 1812).
mod code4 {
    pub const HOST: u8 = 1;
    pub const PROTOCOL: u8 = 2;
    pub const PORT: u8 = 3;
    pub const HOST_PROHIBITED: u8 = 10;
}

/// Codes of "destination unreachable" over IPv6 (RFC 4443).
mod code6 {
    pub const NO_ROUTE: u8 = 0;
    pub const PROHIBITED: u8 = 1;
    pub const BEYOND_SCOPE: u8 = 2;
    pub const ADDRESS: u8 = 3;
    pub const PORT: u8 = 4;
}

/// Parameter problem over IPv6: an erroneous field.
const ERRONEOUS_FIELD: u8 = 0;
/// Parameter problem over IPv6: the next header is not known.
const UNKNOWN_NEXT_HEADER: u8 = 1;
/// Where "next header" stands in the IPv6 header.
const NEXT_HEADER_POINTER: u32 = 6;
/// The MTUs that links have (RFC 1191 7.1), for routers that do not tell theirs.
const PLATEAUS: [usize; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// The header of an ICMP message of either family, without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: u8,
    pub code: u8,
    pub rest: u32,
}

impl Message {
    /// An echo request or reply, as ICMP has it.
    pub(super) fn echo_to_four(self) -> Option<Self> {
        let kind = match (self.kind, self.code) {
            (kind6::ECHO_REQUEST, 0) => kind::ECHO_REQUEST,
            (kind6::ECHO_REPLY, 0) => kind::ECHO_REPLY,
            _ => return None,
        };
        Some(Self { kind, ..self })
    }

    /// An echo request or reply, as `ICMPv6` has it.
    pub(super) fn echo_to_six(self) -> Option<Self> {
        let kind = match (self.kind, self.code) {
            (kind::ECHO_REQUEST, 0) => kind6::ECHO_REQUEST,
            (kind::ECHO_REPLY, 0) => kind6::ECHO_REPLY,
            _ => return None,
        };
        Some(Self { kind, ..self })
    }

    /// An error, as ICMP has it (RFC 7915 5.2). `fragment`: the packet that it quotes has a fragment header.
    pub(super) fn error_to_four(self, fragment: bool) -> Option<Self> {
        let unreachable = |code| Some(Self { kind: kind::UNREACHABLE, code, rest: 0 });
        match (self.kind, self.code) {
            (kind6::UNREACHABLE, code6::NO_ROUTE | code6::BEYOND_SCOPE | code6::ADDRESS) => unreachable(code4::HOST),
            (kind6::UNREACHABLE, code6::PROHIBITED) => unreachable(code4::HOST_PROHIBITED),
            (kind6::UNREACHABLE, code6::PORT) => unreachable(code4::PORT),
            (kind6::PACKET_TOO_BIG, _) => Some(Self {
                kind: kind::UNREACHABLE,
                code: CODE_FRAGMENTATION_NEEDED,
                rest: mtu_four(self.rest, fragment),
            }),
            (kind6::TIME_EXCEEDED, code @ 0..=1) => Some(Self { kind: kind::TIME_EXCEEDED, code, rest: 0 }),
            (kind6::PARAMETER_PROBLEM, ERRONEOUS_FIELD) => {
                let pointer = pointer_four(self.rest)?;
                Some(Self { kind: kind::PARAMETER_PROBLEM, code: 0, rest: pointer << 24 })
            }
            (kind6::PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER) => unreachable(code4::PROTOCOL),
            _ => None,
        }
    }

    /// An error, as `ICMPv6` has it (RFC 7915 4.2). `total_len` is that of the packet that it quotes.
    pub(super) fn error_to_six(self, total_len: usize) -> Option<Self> {
        let unreachable = |code| Some(Self { kind: kind6::UNREACHABLE, code, rest: 0 });
        let problem = |code, rest| Some(Self { kind: kind6::PARAMETER_PROBLEM, code, rest });
        match (self.kind, self.code) {
            (kind::UNREACHABLE, code4::PROTOCOL) => problem(UNKNOWN_NEXT_HEADER, NEXT_HEADER_POINTER),
            (kind::UNREACHABLE, code4::PORT) => unreachable(code6::PORT),
            (kind::UNREACHABLE, CODE_FRAGMENTATION_NEEDED) => {
                Some(Self { kind: kind6::PACKET_TOO_BIG, code: 0, rest: mtu_six(self.rest as u16, total_len) })
            }
            // Net, host, source route failed, net or host unknown, isolated, net or host for this TOS.
            (kind::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => unreachable(code6::NO_ROUTE),
            // Net, host, communication prohibited, precedence cut off.
            (kind::UNREACHABLE, 9 | 10 | 13 | 15) => unreachable(code6::PROHIBITED),
            (kind::TIME_EXCEEDED, code @ 0..=1) => Some(Self { kind: kind6::TIME_EXCEEDED, code, rest: 0 }),
            // Pointer, bad length.
            (kind::PARAMETER_PROBLEM, 0 | 2) => problem(ERRONEOUS_FIELD, pointer_six(self.rest >> 24)?),
            _ => None,
        }
    }
}

/// The MTU for the IPv4 sender. No IPv6 link has less than 1280: who says so lies (RFC 8201 4).
fn mtu_four(mtu: u32, fragment: bool) -> u32 {
    let growth = if fragment { GROWTH + FRAGMENT_HEADER_LEN } else { GROWTH };
    mtu.clamp(MIN_MTU as u32, u32::from(u16::MAX)) - growth as u32
}

/// The MTU for the IPv6 sender, who is told of none below 1280: what is shorter may be fragmented over IPv4.
fn mtu_six(mtu: u16, total_len: usize) -> u32 {
    let mtu = match usize::from(mtu) {
        0 => PLATEAUS.into_iter().find(|&plateau| plateau < total_len).unwrap_or(0),
        mtu => mtu,
    };
    (mtu + GROWTH).max(MIN_MTU) as u32
}

/// The field of the IPv4 header for a field of the IPv6 header (RFC 7915 figure 6).
fn pointer_four(pointer: u32) -> Option<u32> {
    match pointer {
        0 | 1 => Some(pointer),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    }
}

/// The field of the IPv6 header for a field of the IPv4 header (RFC 7915 figure 3).
fn pointer_six(pointer: u32) -> Option<u32> {
    match pointer {
        0 | 1 => Some(pointer),
        2 | 3 => Some(4),
        8 => Some(7),
        9 => Some(NEXT_HEADER_POINTER),
        12..=15 => Some(8),
        16..=19 => Some(24),
        _ => None,
    }
}
