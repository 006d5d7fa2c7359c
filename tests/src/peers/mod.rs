//! `make bench-peers`: what a user would pick instead, in the same place, on the same machine, in the same minutes.
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run of minutes are far below 2^52")]

pub mod contestant;
pub mod cpu;
pub mod measure;
pub mod memory;
pub mod page;
pub mod plot;
pub mod results;
pub mod round;
pub mod site;
