//! `sluicegate import`: reads what HAProxy, keepalived and ipvsadm are configured with, and writes a config for what can be
//! carried over. Each line that can't be is named with the reason.
//!
//! A reader for each format fills [`draft`]s; [`mod@write`] makes a config of them, which is checked as any other.

mod draft;
mod haproxy;
mod ipvsadm;
mod keepalived;
mod notes;
#[cfg(test)]
mod tests;
mod write;

use std::net::IpAddr;

use clap::ValueEnum;
use serde::Serialize;

use draft::Site;
use notes::Notes;

pub use notes::Note;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// haproxy.cfg
    Haproxy,
    /// keepalived.conf
    Keepalived,
    /// What `ipvsadm -Sn` or `ipvsadm-save -n` prints
    Ipvsadm,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// A Sluicegate config; empty when nothing could be carried over.
    pub config: String,
    /// Services in it.
    pub services: usize,
    /// What could not be carried over, by line.
    pub notes: Vec<Note>,
}

/// The format that the text is in, by the first line that only one of them has.
pub fn recognise(text: &str) -> Option<Format> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        match first {
            "-A" | "-a" | "--add-service" | "--add-server" => Some(Format::Ipvsadm),
            "global_defs"
            | "vrrp_instance"
            | "vrrp_script"
            | "vrrp_sync_group"
            | "virtual_server"
            | "virtual_server_group" => Some(Format::Keepalived),
            "global" | "defaults" | "frontend" | "backend" | "listen" => Some(Format::Haproxy),
            _ => None,
        }
    })
}

/// Reads it. `vips`, at most one of each family, stand where the file says "any address".
pub fn import(text: &str, format: Format, vips: &[IpAddr]) -> Imported {
    let mut notes = Notes::new(text);
    for (at, vip) in vips.iter().enumerate() {
        if vips[..at].iter().any(|other| other.is_ipv6() == vip.is_ipv6()) {
            notes.add(0, format!("--vip {vip} was left out: one address of each family stands for any"));
        }
    }
    let mut site = Site { vips: vips.to_vec(), ..Site::default() };
    match format {
        Format::Haproxy => haproxy::read(text, &mut site, &mut notes),
        Format::Keepalived => keepalived::read(text, &mut site, &mut notes),
        Format::Ipvsadm => ipvsadm::read(text, &mut site, &mut notes),
    }
    let (config, services) = write::config(&site, &mut notes);
    Imported { config, services, notes: notes.finish() }
}
