//! A traffic generator in the manner of `TRex`: a profile says what to send, and what arrives is judged by sequence numbers
//! and time stamps in the payload.
//!
//! ```text
//! profile ─► sources ─► client ports ═► what is tested ═► task ports ─► responder ─┐
//!                            ▲                                      │ one-way       │ answers
//!                            └── meters: loss, order, duplicates, latency ◄─────────┘
//! ```
//! A port is any [`sys::Device`]: a cable in memory, a whole gateway in memory, or an `AF_XDP` socket.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates and times are statistics: nothing here is negative or needs the 53rd bit"
)]

pub mod answer;
pub mod check;
pub mod connections;
pub mod datagrams;
pub mod driver;
pub mod faulty;
pub mod flood;
pub mod flows;
pub mod forward;
pub mod gateway;
pub mod html;
pub mod known;
pub mod meter;
pub mod network;
pub mod pace;
pub mod plot;
pub mod port;
pub mod print;
pub mod profile;
pub mod progress;
pub mod range;
pub mod rates;
pub mod rates_page;
pub mod report;
pub mod responder;
pub mod run;
pub mod scaling;
pub mod search;
pub mod seats;
pub mod segment;
pub mod sizes;
pub mod stamp;
pub mod template;
pub mod track;
pub mod trials;
pub mod units;
pub mod view;
pub mod xdp;
