//! Flows of the gateway: one entry with two keys for each translated connection, its SNAT port, its TCP state and its timer.
//!
//! Pure: no I/O, no clock, no thread. A worker owns one [`Conntrack`] by `&mut`; `now` is an argument.
//! All memory of the table is taken in [`Conntrack::new`]; only the queues of used SNAT ports grow later, with the
//! number of ports that were ever in use.
//!
//! # A flow's life
//! [`Conntrack::open`] makes an entry in [`State::SynSent`] or [`State::UdpNew`] and picks the SNAT port. From then on
//! its segments go through [`Conntrack::segment`] (or [`Conntrack::datagram`]), the first one included: it moves the
//! state and the deadline and says whether to forward. Most go through [`Conntrack::goes_on`] instead, which takes those
//! that move no more than windows and deadline; those that a borrower sends on ([`Conntrack::lend`]) through none: what
//! they have shown is told afterwards. A flow ends by [`Conntrack::expire`], by [`Conntrack::close`], or by giving way,
//! once it is closed ([`State::is_closed`]), to a new flow that needs its place or its port. Flows that are not closed
//! never give way.
//!
//! # Files
//! `flow` the entry · `state` names · `timeouts` · `hash` keyed hash · `index` keys to entries · `burst` lookup of many
//! keys at once · `lists` and `timers` who expires when · `ports` and `rested` SNAT ports · `tcp` the tracker · `table` ties
//! them together: `open` makes flows, `follow` moves them, `lend` lends them, `expiry` ends them.
#![forbid(unsafe_code)]

mod burst;
mod expiry;
mod flow;
mod follow;
mod hash;
mod index;
mod lend;
mod lists;
mod open;
mod ports;
mod rested;
mod state;
mod syns;
mod table;
mod tcp;
mod tick;
mod timeouts;
mod timers;

pub use expiry::{Expired, Resets};
pub use flow::{ClientLink, Direction, Flow, FlowId, Hit, NatBinding};
pub use lend::Shown;
pub use open::{Open, OpenError, Opened};
pub use ports::SnatRange;
pub use state::State;
pub use table::Conntrack;
pub use tcp::{Invalid, Track, opens};
pub use timeouts::{Idle, Timeouts};
