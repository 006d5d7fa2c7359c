//! ICMP (RFC 792): the header, and what is done with messages.

mod echo;
mod error;
mod inner;
mod sequence;

pub use echo::echo_reply_in_place;
pub use error::{IcmpError, deserves_icmp_error, shorten_icmp_error, write_icmp_error};
pub use inner::{IcmpInner, translate_icmp_error};
pub use sequence::map_quoted_seq;

use crate::Malformed;
use crate::bytes::{get32, window};

/// Length of the header.
pub const HEADER_LEN: usize = 8;

/// Message types.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench, deprecated by RFC 6633.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Code "fragmentation needed and DF set" of [`kind::UNREACHABLE`].
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// Offset of the checksum in the header.
pub(crate) const CHECKSUM: usize = 2;

/// The facts of one ICMP header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    offset: u16,
    len: u16,
    /// Type; see [`kind`].
    pub kind: u8,
    /// Code, whose meaning depends on the type.
    pub code: u8,
    /// The last four bytes of the header, whose meaning depends on the type.
    pub rest: u32,
}

impl Icmp {
    /// The header at `offset`; `available` bytes of the packet are left from there.
    #[inline]
    pub(crate) fn parse(frame: &[u8], offset: usize, available: usize) -> Result<Self, Malformed> {
        if available < HEADER_LEN {
            return Err(Malformed::BadIcmp);
        }
        let header: &[u8; HEADER_LEN] = window(frame, offset).ok_or(Malformed::BadIcmp)?;
        Ok(Self {
            offset: offset as u16,
            len: available as u16,
            kind: header[0],
            code: header[1],
            rest: get32(header, 4),
        })
    }

    /// Where in the frame the header begins.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Where in the frame the message ends.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> usize {
        self.offset as usize + self.len as usize
    }

    /// Whether this is an echo request.
    #[must_use]
    #[inline]
    pub const fn is_echo_request(&self) -> bool {
        self.kind == kind::ECHO_REQUEST && self.code == 0
    }

    /// Whether this is one of the messages that quote a packet (RFC 1122 3.2.2), and that no error may answer.
    #[must_use]
    #[inline]
    pub const fn is_error(&self) -> bool {
        matches!(
            self.kind,
            kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::REDIRECT | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM
        )
    }

    /// Whether this is an error that the sender of what it quotes is to hear of wherever it is. A redirect is between a host and a
    /// router of its own link (RFC 1812 5.2.7.2), and nobody may listen to a source quench (RFC 6633).
    #[must_use]
    #[inline]
    pub const fn goes_far(&self) -> bool {
        matches!(self.kind, kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM)
    }

    /// The MTU of the next hop (RFC 1191); 0 from routers older than that.
    #[must_use]
    #[inline]
    pub const fn mtu(&self) -> u16 {
        self.rest as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, code: u8) -> Icmp {
        Icmp { offset: 20, len: 8, kind, code, rest: 0x1234_05aa }
    }

    #[test]
    fn which_messages_are_errors() {
        let errors: Vec<u8> = (0..=255).filter(|&kind| message(kind, 0).is_error()).collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
        let far: Vec<u8> = (0..=255).filter(|&kind| message(kind, 0).goes_far()).collect();
        assert_eq!(far, [3, 11, 12]);
    }

    #[test]
    fn which_messages_mean_what() {
        assert!(message(8, 0).is_echo_request());
        assert!(!message(8, 1).is_echo_request() && !message(0, 0).is_echo_request());
        assert_eq!(message(3, 4).mtu(), 0x05aa);
    }
}
