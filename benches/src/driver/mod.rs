//! `make bench-driver`: what the gateway leaves of the driver's speed, and what the driver's settings do to it.
//!
//! Two benches over real interfaces write one page, `docs/benchmarks/driver-DATE.md`: a contest with a bare forwarder, and a sweep
//! over rings, bursts, sleep, wake-ups and interrupts.

#![allow(clippy::cast_precision_loss, reason = "rates and times are statistics: nothing here needs the 53rd bit")]

pub mod gateway;
pub mod page;
pub mod points;
pub mod results;
