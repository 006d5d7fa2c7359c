//! A TUN device: packets of the kernel's routes, without Ethernet headers.

mod open;
mod queue;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::link::LinkQuery;
use crate::segmentation::{self, HEADER_LEN};
use crate::{Device, DeviceState, Frame, FramePool, LinkType, TxReport};

/// Bytes that one [`Device::rx`] reads before it lets the others have their turn: a joined packet becomes dozens of frames, which
/// must be there, and few enough to be in the cache still when they are sent.
const RX_BYTES: usize = 256 << 10;

/// One worker's hold on a TUN device. The first one receives and sends, its siblings only send. The device is gone when the last
/// of them is, unless somebody made it persistent.
pub struct TunDevice {
    tun: Arc<Tun>,
    receives: bool,
    more: bool,
    too_long: u64,
    /// What was dropped in front of the device by the time we came, which a persistent one may have seen.
    dropped_before: u64,
    refused: u64,
    error: Option<io::Error>,
    link: LinkQuery,
}

/// The device itself.
struct Tun {
    file: File,
    name: String,
}

impl TunDevice {
    /// Makes the device, or takes the persistent one of this name, and sets its MTU. Bringing it up, its addresses and its routes
    /// are left to the caller.
    ///
    /// # Errors
    /// Not permitted, no TUN in this kernel, the name is taken by something else, or the name or the MTU cannot be.
    pub fn open(name: &str, mtu: u32) -> io::Result<TunDevice> {
        let tun = open::open(name, mtu)?;
        TunDevice::hold(Arc::new(tun), true)
    }

    /// Lets the kernel hand over TCP segments joined, up to 64 KB at a time, with checksums unfinished. Not before the worker's
    /// frames are known to be long enough.
    ///
    /// # Errors
    /// The kernel refuses; packets come cut and finished then.
    pub fn receive_joined(&self) -> io::Result<()> {
        open::set_offloads(&self.tun.file, open::JOINED)
    }

    /// The same device for another worker, which only sends.
    ///
    /// # Errors
    /// No file descriptor left.
    pub fn sibling(&self) -> io::Result<TunDevice> {
        TunDevice::hold(Arc::clone(&self.tun), false)
    }

    fn hold(tun: Arc<Tun>, receives: bool) -> io::Result<TunDevice> {
        let link = LinkQuery::new()?;
        let dropped_before = queue::dropped(&tun.name);
        Ok(TunDevice { tun, receives, more: false, too_long: 0, dropped_before, refused: 0, error: None, link })
    }

    /// The device's name, which the kernel completes when it was asked for one with `%d`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tun.name
    }

    /// One packet into the frame, behind its header. None: nothing is there.
    fn read(&mut self, frame: &mut Frame) -> Option<usize> {
        frame.reset();
        frame.grow_back(frame.tailroom());
        frame.grow_front(HEADER_LEN);
        match (&self.tun.file).read(frame.bytes_mut()) {
            Ok(len) => {
                self.error = None;
                Some(len)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.error = Some(error);
                }
                None
            }
        }
    }

    /// The kernel's queue was full. Counted where packets are received: it is one queue.
    fn dropped_in_front(&self) -> u64 {
        if self.receives { queue::dropped(self.name()).saturating_sub(self.dropped_before) } else { 0 }
    }

    /// Sends the frame; gives the length of its packet.
    fn write(&mut self, frame: &mut Frame) -> io::Result<usize> {
        if !segmentation::complete(frame) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match (&self.tun.file).write(frame.bytes())? {
            len if len == frame.len() => Ok(len - HEADER_LEN),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

impl Device for TunDevice {
    fn link_type(&self) -> LinkType {
        LinkType::Ip
    }

    fn cuts_segments(&self) -> bool {
        true
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let mut received = 0;
        let (mut read, mut bytes) = (0, 0);
        while self.receives && read < limit && bytes < RX_BYTES {
            let Some(mut frame) = pool.take() else { break };
            let Some(len) = self.read(&mut frame) else {
                pool.put(frame);
                break;
            };
            read += 1;
            bytes += len;
            // The kernel cuts without a word.
            let is_whole = len < frame.len();
            frame.truncate(len);
            if is_whole && segmentation::take_off(&mut frame) {
                burst.push(frame);
                received += 1;
            } else {
                self.too_long += 1;
                pool.put(frame);
            }
        }
        self.more = self.receives && (read == limit || bytes >= RX_BYTES);
        received
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let mut report = TxReport::default();
        let mut down = false;
        for mut frame in out.drain(..) {
            match if down { Ok(None) } else { self.write(&mut frame).map(Some) } {
                Ok(None) => report.refused += 1,
                Ok(Some(len)) => {
                    report.sent += 1;
                    report.bytes += len as u64;
                    self.error = None;
                }
                Err(error) => {
                    report.refused += 1;
                    // The device is down (EIO) or gone: so it is for the rest of the burst.
                    down = matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADFD));
                    self.error = Some(error);
                }
            }
            pool.put(frame);
        }
        self.refused += report.refused as u64;
        report
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.receives.then(|| self.tun.file.as_fd())
    }

    fn has_work(&self) -> bool {
        self.more
    }

    fn state(&self) -> DeviceState {
        let link = self.link.is_up(self.name());
        let error = match (&link, &self.error) {
            (Err(error), _) => Some(format!("{}: {error}", self.name())),
            (Ok(false), _) => Some("the device is down".into()),
            // Errors of the time when it was down are history.
            (Ok(true), Some(error)) if error.raw_os_error() != Some(libc::EIO) => Some(format!("last error: {error}")),
            (Ok(true), _) => None,
        };
        DeviceState {
            name: self.name().into(),
            driver: "tun",
            mode: "-",
            rx_dropped: self.too_long + self.dropped_in_front(),
            tx_refused: self.refused,
            up: matches!(link, Ok(true)),
            error,
            ..DeviceState::default()
        }
    }
}
