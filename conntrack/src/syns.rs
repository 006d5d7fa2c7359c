//! SYNs of clients that passed on connections which we take for open: what a SYN-ACK must answer before it starts such a
//! connection anew. There are few of them, and each is answered soon or not at all, so some places serve all flows; a place
//! that somebody else has taken costs the client another try.

/// A power of two.
const PLACES: usize = 256;

/// Which flow, and the sequence number after the SYN.
type Syn = (u32, u32);

/// The last ones.
pub(crate) struct Syns(Box<[Option<Syn>]>);

impl Syns {
    pub(crate) fn new() -> Syns {
        Syns(vec![None; PLACES].into())
    }

    /// The client of this flow has sent a SYN that ends here.
    pub(crate) fn note(&mut self, flow: u32, end: u32) {
        self.0[flow as usize % PLACES] = Some((flow, end));
    }

    /// Whether this acknowledges that SYN.
    pub(crate) fn is_answered(&self, flow: u32, ack: u32) -> bool {
        self.0[flow as usize % PLACES] == Some((flow, ack))
    }
}
