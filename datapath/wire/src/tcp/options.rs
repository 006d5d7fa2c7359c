//! TCP options (RFC 9293 3.1, RFC 7323): a walk that takes any bytes.
//!
//! etherparse's iterator ends at the first option that it does not know (MD5, Fast Open, MPTCP); what we look for may
//! stand behind it, so the walk is ours.

use super::{MIN_HEADER_LEN, Tcp};
use crate::bytes::{get32, window};

const END: u8 = 0;
pub(super) const NOP: u8 = 1;
pub(super) const MSS: u8 = 2;
pub(super) const WINDOW_SCALE: u8 = 3;
pub(super) const SACK_PERMITTED: u8 = 4;
pub(super) const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
/// How almost every segment with timestamps begins its options: two NOPs, kind 8, length 10.
const ALIGNED_TIMESTAMPS: [u8; 4] = [NOP, NOP, TIMESTAMPS, 10];

/// The options that the gateway looks at. Of an option that comes twice the last one counts, as in Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Where in the frame the two bytes of the MSS stand.
    pub mss_offset: Option<usize>,
    /// Shift of the windows that the sender will announce.
    pub window_scale: Option<u8>,
    /// Whether SACK blocks are welcome.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

/// The timestamps option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// Where in the frame `TSval` stands; `TSecr` follows it.
    pub offset: usize,
    /// `TSval`: the sender's clock.
    pub value: u32,
    /// `TSecr`: the other side's clock, echoed; counts if ACK is set.
    pub echo: u32,
}

impl Timestamps {
    #[inline]
    fn read(frame: &[u8], offset: usize) -> Option<Self> {
        let body: &[u8; 8] = window(frame, offset)?;
        Some(Self { offset, value: get32(body, 0), echo: get32(body, 4) })
    }
}

impl Tcp {
    /// All options. A broken tail (a length of 0 or 1, or beyond the header) is ignored.
    #[must_use]
    pub fn options(&self, frame: &[u8]) -> TcpOptions {
        let mut found = TcpOptions::default();
        let walk = Walk::new(self, frame);
        for (kind, offset, body) in walk {
            match (kind, body) {
                (MSS, &[high, low]) => {
                    found.mss = Some(u16::from_be_bytes([high, low]));
                    found.mss_offset = Some(offset);
                }
                (WINDOW_SCALE, &[shift]) => found.window_scale = Some(shift),
                (SACK_PERMITTED, []) => found.sack_permitted = true,
                (TIMESTAMPS, body) if body.len() == 8 => found.timestamps = Timestamps::read(frame, offset),
                _ => {}
            }
        }
        found
    }

    /// The timestamps alone, at once if they are all there is and stand where almost everyone puts them. With more
    /// options behind them another timestamps option may follow, and the last one counts: Linux's fast path has the same limit.
    #[must_use]
    #[inline]
    pub fn timestamps(&self, frame: &[u8]) -> Option<Timestamps> {
        let start = self.offset() + MIN_HEADER_LEN;
        if self.header_len() == MIN_HEADER_LEN + 12 && window(frame, start) == Some(&ALIGNED_TIMESTAMPS) {
            return Timestamps::read(frame, start + 4);
        }
        if self.header_len() == MIN_HEADER_LEN { None } else { self.options(frame).timestamps }
    }
}

/// Walks over (kind, offset of the body in the frame, body); NOPs are skipped.
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tcp: &Tcp, frame: &'a [u8]) -> Self {
        let offset = tcp.offset() + MIN_HEADER_LEN;
        let rest = frame.get(offset..tcp.offset() + tcp.header_len()).unwrap_or_default();
        Self { rest, offset }
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
        self.offset += len;
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (u8, usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.first() == Some(&NOP) {
            self.skip(1);
        }
        let (&kind, &len) = (self.rest.first()?, self.rest.get(1)?);
        if kind == END {
            return None;
        }
        let body = self.rest.get(2..usize::from(len))?;
        let item = (kind, self.offset + 2, body);
        self.skip(usize::from(len));
        Some(item)
    }
}
