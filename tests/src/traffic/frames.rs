//! Frames that nobody should send.

use crate::Outcome;
use crate::traffic::fragments::hex;
use crate::traffic::packet::PacketSocket;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Sends the frames of a file, as they are and damaged.
#[derive(Args)]
pub struct Frames {
    /// The frames: one per line, in hex.
    file: PathBuf,
    /// The interface to send on.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// How many damaged copies of the frames to send.
    #[arg(long, default_value_t = 0)]
    damaged: usize,
    /// Decides about the damage.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of it.
#[derive(Serialize)]
pub struct Report {
    /// Frames that the kernel took.
    pub sent: usize,
    /// Frames that it refused.
    pub refused: usize,
}

impl Frames {
    /// Runs it.
    ///
    /// # Errors
    /// No socket, or no hex of a file.
    pub fn run(&self) -> Outcome<Report> {
        let raw = PacketSocket::open(&self.interface)?;
        let frames: Vec<_> = std::fs::read_to_string(&self.file)?.lines().map(hex).collect::<Outcome<_>>()?;
        let mut report = Report { sent: 0, refused: 0 };
        let mut send = |frame: &[u8]| match raw.send(frame) {
            Ok(_) => report.sent += 1,
            Err(_) => report.refused += 1,
        };
        for frame in &frames {
            send(frame);
        }
        let mut noise = Noise(self.seed | 1);
        for index in 0..self.damaged {
            if let Some(frame) = frames.get(index % frames.len().max(1)) {
                send(&damage(frame, &mut noise));
            }
        }
        Ok(report)
    }
}

/// Flips, cuts or extends a frame somewhere after its MAC addresses.
fn damage(frame: &[u8], noise: &mut Noise) -> Vec<u8> {
    let mut out = frame.to_vec();
    for _ in 0..=noise.below(4) {
        match noise.below(4) {
            0 => out.truncate(14 + noise.below(out.len().saturating_sub(14).max(1))),
            1 => out.extend((0..noise.below(64)).map(|at| at as u8)),
            _ => {
                let at = 12 + noise.below(out.len().saturating_sub(12).max(1));
                if let Some(byte) = out.get_mut(at) {
                    *byte = noise.below(256) as u8;
                }
            }
        }
    }
    out
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}
