//! A TUN device: packets of the kernel's routes, without Ethernet headers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use tun_tap::{Iface, Mode};

use crate::link::{self, LinkQuery};
use crate::{Device, DeviceState, Frame, FramePool, LinkType, TxReport, os};

/// One worker's hold on a TUN device. The first one receives and sends, its siblings only send. The device is gone when the last
/// of them is, unless somebody made it persistent.
pub struct TunDevice {
    tun: Arc<Iface>,
    receives: bool,
    more: bool,
    too_long: u64,
    refused: u64,
    error: Option<io::Error>,
    link: LinkQuery,
}

impl TunDevice {
    /// Makes the device, or takes the persistent one of this name, and sets its MTU. Bringing it up, its addresses and its routes
    /// are left to the caller.
    ///
    /// # Errors
    /// Not permitted, no TUN in this kernel, the name is taken by something else, or the name or the MTU cannot be.
    pub fn open(name: &str, mtu: u32) -> io::Result<TunDevice> {
        let wrong = |error: io::Error| io::Error::new(error.kind(), format!("TUN device {name}: {}", hint(&error)));
        link::name_of(name).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be an interface's name"))
        })?;
        let tun = Iface::without_packet_info(name, Mode::Tun).map_err(wrong)?;
        os::set_nonblocking(borrow(&tun))?;
        let link = LinkQuery::new()?;
        link.set_mtu(tun.name(), mtu)
            .map_err(|error| io::Error::new(error.kind(), format!("TUN device {name}: MTU {mtu}: {error}")))?;
        Ok(TunDevice { tun: Arc::new(tun), receives: true, more: false, too_long: 0, refused: 0, error: None, link })
    }

    /// The same device for another worker, which only sends.
    ///
    /// # Errors
    /// No file descriptor left.
    pub fn sibling(&self) -> io::Result<TunDevice> {
        Ok(TunDevice {
            tun: Arc::clone(&self.tun),
            receives: false,
            more: false,
            too_long: 0,
            refused: 0,
            error: None,
            link: LinkQuery::new()?,
        })
    }

    /// The device's name, which the kernel completes when it was asked for one with `%d`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.tun.name()
    }

    /// One packet into the frame. None: nothing is there.
    fn read(&mut self, frame: &mut Frame) -> Option<usize> {
        frame.reset();
        frame.grow_back(frame.tailroom());
        match self.tun.recv(frame.bytes_mut()) {
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
}

fn borrow(tun: &Iface) -> BorrowedFd<'_> {
    // SAFETY: the device owns the descriptor, and the borrow holds the device.
    unsafe { BorrowedFd::borrow_raw(tun.as_raw_fd()) }
}

fn hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "not permitted; run as root or with CAP_NET_ADMIN".into(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "/dev/net/tun is missing; load the module `tun`, or give the container the device".into()
        }
        Some(libc::EBUSY) => "another program holds it; stop that, or choose another name".into(),
        Some(libc::EINVAL) => "an interface of another kind has this name; choose another".into(),
        _ => error.to_string(),
    }
}

impl Device for TunDevice {
    fn link_type(&self) -> LinkType {
        LinkType::Ip
    }

    fn rx(&mut self, pool: &mut FramePool, burst: &mut Vec<Frame>, limit: usize) -> usize {
        let mut received = 0;
        let mut read = 0;
        while self.receives && read < limit {
            let Some(mut frame) = pool.take() else { break };
            let Some(len) = self.read(&mut frame) else {
                pool.put(frame);
                break;
            };
            read += 1;
            if len < frame.len() {
                frame.truncate(len);
                burst.push(frame);
                received += 1;
            } else {
                // The kernel cuts without a word.
                self.too_long += 1;
                pool.put(frame);
            }
        }
        self.more = read == limit && self.receives;
        received
    }

    fn tx(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>) -> TxReport {
        let mut report = TxReport::default();
        let mut down = false;
        for frame in out.drain(..) {
            match if down { Ok(0) } else { self.tun.send(frame.bytes()) } {
                Ok(len) if len == frame.len() => {
                    report.sent += 1;
                    report.bytes += len as u64;
                    self.error = None;
                }
                Ok(_) => report.refused += 1,
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
        self.receives.then(|| borrow(&self.tun))
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
            rx_dropped: self.too_long,
            tx_refused: self.refused,
            up: matches!(link, Ok(true)),
            error,
            ..DeviceState::default()
        }
    }
}
