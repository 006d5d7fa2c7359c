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

#[cfg(test)]
mod tests {
    use super::*;

    /// All types and codes that `translate` knows, with what becomes of them.
    fn table(translate: impl Fn(Message) -> Option<Message>) -> Vec<((u8, u8), (u8, u8))> {
        let all = (0..=255).flat_map(|kind| (0..=255).map(move |code| (kind, code)));
        let known = all.filter_map(|(kind, code)| {
            let to = translate(Message { kind, code, rest: 0 })?;
            Some(((kind, code), (to.kind, to.code)))
        });
        known.collect()
    }

    #[test]
    fn echoes() {
        assert_eq!(table(Message::echo_to_four), [((128, 0), (8, 0)), ((129, 0), (0, 0))]);
        assert_eq!(table(Message::echo_to_six), [((0, 0), (129, 0)), ((8, 0), (128, 0))]);
    }

    /// RFC 7915 5.2, line by line.
    #[test]
    fn errors_to_four() {
        let mut known = table(|message| message.error_to_four(false));
        // The code of "packet too big" means nothing (RFC 4443 3.2).
        known.retain(|((kind, code), _)| *kind != 2 || *code == 0);
        let unreachable = [((1, 0), (3, 1)), ((1, 1), (3, 10)), ((1, 2), (3, 1)), ((1, 3), (3, 1)), ((1, 4), (3, 3))];
        let others = [((2, 0), (3, 4)), ((3, 0), (11, 0)), ((3, 1), (11, 1)), ((4, 0), (12, 0)), ((4, 1), (3, 2))];
        assert_eq!(known, [unreachable, others].concat());
    }

    /// RFC 7915 4.2, line by line.
    #[test]
    fn errors_to_six() {
        let no_route = [0, 1, 5, 6, 7, 8, 11, 12].map(|code| ((3, code), (1, 0)));
        let prohibited = [9, 10, 13, 15].map(|code| ((3, code), (1, 1)));
        let others = [((3, 2), (4, 1)), ((3, 3), (1, 4)), ((3, 4), (2, 0)), ((11, 0), (3, 0)), ((11, 1), (3, 1))];
        let problems = [((12, 0), (4, 0)), ((12, 2), (4, 0))];
        let mut expected = [&no_route[..], &prohibited, &others, &problems].concat();
        expected.sort_unstable();
        assert_eq!(table(|message| message.error_to_six(1500)), expected);
    }

    #[test]
    fn pointers() {
        let four: Vec<_> = (0..=41).map(pointer_four).collect();
        let mut expected = vec![Some(0), Some(1), None, None, Some(2), Some(2), Some(9), Some(8)];
        expected.extend([Some(12); 16]);
        expected.extend([Some(16); 16]);
        expected.extend([None; 2]);
        assert_eq!(four, expected);

        let six: Vec<_> = (0..=21).map(pointer_six).collect();
        let mut expected =
            vec![Some(0), Some(1), Some(4), Some(4), None, None, None, None, Some(7), Some(6), None, None];
        expected.extend([Some(8); 4]);
        expected.extend([Some(24); 4]);
        expected.extend([None; 2]);
        assert_eq!(six, expected);
    }

    #[test]
    fn where_the_pointer_and_the_mtu_stand() {
        let problem = Message { kind: 4, code: 0, rest: 7 }.error_to_four(false);
        assert_eq!(problem, Some(Message { kind: 12, code: 0, rest: 8 << 24 }));
        let problem = Message { kind: 12, code: 0, rest: 0x0900_4d4d }.error_to_six(1500);
        assert_eq!(problem, Some(Message { kind: 4, code: 0, rest: 6 }));
        let protocol = Message { kind: 3, code: 2, rest: 5 }.error_to_six(1500);
        assert_eq!(protocol, Some(Message { kind: 4, code: 1, rest: 6 }), "the next header");
        let narrow = Message { kind: 3, code: 4, rest: 0x0909_05aa }.error_to_six(1500);
        assert_eq!(narrow, Some(Message { kind: 2, code: 0, rest: 1470 }));
    }

    #[test]
    fn mtus() {
        assert_eq!([1500, 1280, 1279, 0].map(|mtu| mtu_four(mtu, false)), [1480, 1260, 1260, 1260]);
        assert_eq!([1500, 1280, 68].map(|mtu| mtu_four(mtu, true)), [1472, 1252, 1252]);
        assert_eq!(mtu_four(u32::MAX, false), 65_515);
        assert_eq!([1450, 1260, 1259, 68, 65_535].map(|mtu| mtu_six(mtu, 1500)), [1470, 1280, 1280, 1280, 65_555]);
        // Routers that tell no MTU: the next plateau below what was too long.
        assert_eq!(
            [65_535, 17_914, 4353, 1500, 1492, 60].map(|len| mtu_six(0, len)),
            [32_020, 8186, 4372, 1512, 1280, 1280]
        );
    }
}
