//! The stages of a packet's way, one file each, in this order. Each is a set of methods of [`Core`](crate::core::Core)
//! and ends in a [`Verdict`](crate::verdict::Verdict) or goes on to the next.

mod arp;
mod classify;
mod cookie;
mod forward;
mod fragment;
mod handle;
mod icmp;
mod joined;
mod known;
mod one_packet;
mod probe;
mod protect;
mod proxy;
mod reply;
mod schedule;
mod six;
mod splice;
mod steady;
mod tunnel;

pub(crate) use arp::TEACH_EVERY;
pub(crate) use joined::JOINED;
pub(crate) use known::FlowFacts;
pub(crate) use six::has_six_end;
