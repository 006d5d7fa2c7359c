//! What the benches share: a gateway in memory, the traffic that it hears, the network that both pretend.
//!
//! # Files
//! `network` addresses and tables · `packets` frames by etherparse · `traffic` many packets of few templates · `replay`
//! the device that plays them · `gateway` a worker between two such devices · `cases` what is measured, by name ·
//! `floor` the same without a pipeline · `instructions` counts by callgrind · `callgrind` where they go · `report` the page · `teams` one worker and two ·
//! `results` figures as JSON · `stopwatch` time without that of others.
#![forbid(unsafe_code)]

pub mod callgrind;
pub mod cases;
pub mod driver;
pub mod floor;
pub mod gateway;
pub mod generator;
pub mod instructions;
pub mod network;
pub mod packets;
pub mod replay;
pub mod report;
pub mod results;
pub mod stopwatch;
pub mod teams;
pub mod traffic;
