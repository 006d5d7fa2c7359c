//! The traffic tool: small servers and clients that see more than curl does. One file per verb.

pub mod connections;
pub mod flood;
pub mod fragments;
pub mod frames;
pub mod hold;
pub mod idle;
pub mod load;
pub mod packet;
pub mod requests;
pub mod servers;
pub mod stay;
pub mod steady;
pub mod task;
pub mod udp;
