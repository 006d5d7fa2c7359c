//! The XDP filter and the interfaces that it sits on.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use datapath::Lending;
use sys::{AttachMode, FilterError, XdpFilter, XdpMode};

use super::plan::place;
use super::shortcuts::Shortcut;
use crate::config::{Config, InterfaceConfig, Mode};
use crate::gateway::{Rules, StartError};
use crate::operations::ShortcutStatus;

/// The socket of a queue that was busy when the gateway started.
pub struct LateSocket {
    /// The interface.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The socket.
    pub socket: OwnedFd,
}

/// The filter on its interfaces. It goes away when dropped.
pub struct Filter {
    program: XdpFilter,
    plain_ports: RangeInclusive<u16>,
    /// Names of the interfaces without XDP in the driver.
    generic: Vec<String>,
    late: (mpsc::Sender<LateSocket>, mpsc::Receiver<LateSocket>),
    /// Once the interfaces are known.
    shortcut: Option<Shortcut>,
}

impl Filter {
    pub(super) fn load(plain_ports: RangeInclusive<u16>) -> Result<Filter, StartError> {
        let program = XdpFilter::load().map_err(|error| StartError::new("[[interface]]", error, ""))?;
        Ok(Filter { program, plain_ports, generic: Vec::new(), late: mpsc::channel(), shortcut: None })
    }

    pub(super) fn program(&mut self) -> &mut XdpFilter {
        &mut self.program
    }

    /// What workers need to lend flows to the filter, if they may.
    pub(super) fn lendings(&mut self, config: &Config) -> Result<Vec<Lending>, StartError> {
        let failed = |error| StartError::new("gateway.shortcuts", error, "shortcuts = \"never\" does without");
        let shortcut = Shortcut::prepare(&mut self.program, config, &self.generic).map_err(failed)?;
        let lendings = shortcut.lendings(config.gateway.cpus.len());
        self.shortcut = Some(shortcut);
        Ok(lendings)
    }

    /// As [`Shortcut::watch`].
    pub fn watch_shortcuts(&mut self) {
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.watch();
        }
    }

    /// As [`Shortcut::status`].
    pub fn shortcuts(&self) -> Option<ShortcutStatus> {
        self.shortcut.as_ref().map(Shortcut::status)
    }

    /// Where workers put sockets that they could make later than at the start.
    pub(super) fn late_sockets(&self) -> mpsc::Sender<LateSocket> {
        self.late.0.clone()
    }

    /// Gives late sockets their queues' packets.
    pub fn admit_late_sockets(&mut self) {
        while let Ok(LateSocket { interface, queue, socket }) = self.late.1.try_recv() {
            match self.program.set_socket(&interface, queue, socket.as_fd()) {
                Ok(()) => tracing::info!("{interface}: queue {queue} is free again and in use now"),
                Err(error) => tracing::error!("{interface}: queue {queue} is free again, but: {error}"),
            }
        }
    }

    /// Makes the filter take just this.
    pub fn publish(&mut self, rules: &Rules) -> Result<(), FilterError> {
        self.program.publish(&rules.to_filter(&self.plain_ports))
    }

    /// Puts the filter on the interface and gives the mode for its sockets. While it has no rules it takes nothing.
    pub(super) fn attach(&mut self, interface: &InterfaceConfig) -> Result<XdpMode, StartError> {
        let asked = xdp_mode(interface.mode);
        let attached = self.program.attach(&interface.name, asked);
        let attached = attached.map_err(|error| StartError::new(place(interface), error, ""))?;
        if attached == AttachMode::Generic {
            if asked == XdpMode::Auto {
                tracing::warn!("{}: generic XDP, the slowest mode: the driver has none of its own", interface.name);
            }
            self.generic.push(interface.name.clone());
        }
        Ok(attached.socket_mode(asked))
    }

    /// Whether the interface runs the kernel's generic XDP.
    pub fn is_generic(&self, interface: &str) -> bool {
        self.generic.iter().any(|name| name == interface)
    }

    /// Frames by the filter's verdict.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.program.counters()
    }
}

/// The mode of an interface, in the words of `sys`.
fn xdp_mode(mode: Mode) -> XdpMode {
    match mode {
        Mode::Auto => XdpMode::Auto,
        Mode::ZeroCopy => XdpMode::ZeroCopy,
        Mode::Copy => XdpMode::Copy,
        Mode::Generic => XdpMode::Generic,
    }
}
