//! The XDP filter and the interfaces that it sits on.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use datapath::Lending;
use sys::{AttachMode, FilterError, XdpFilter, XdpMode};

use super::plan::place;
use super::remedy;
use super::served::Served;
use super::shortcuts::Shortcut;
use crate::config::{Config, InterfaceConfig, Mode};
use crate::gateway::{Rules, StartError};
use crate::kernel::{KernelView, Link};
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
    served: Served,
}

impl Filter {
    pub(super) fn load(plain_ports: RangeInclusive<u16>) -> Result<Filter, StartError> {
        let program = XdpFilter::load().map_err(|error| failed("[[interface]]".to_owned(), error))?;
        Ok(Filter {
            program,
            plain_ports,
            generic: Vec::new(),
            late: mpsc::channel(),
            shortcut: None,
            served: Served::default(),
        })
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

    /// To be called now and then: looks, once a second, at what the kernel does not tell of.
    pub fn watch(&mut self) {
        self.served.watch();
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

    /// Puts the filter on the interface, of which `queues` are served, and gives the mode for its sockets. While it has no rules it takes
    /// nothing.
    pub(super) fn attach(
        &mut self,
        interface: &InterfaceConfig,
        link: &Link,
        queues: u32,
    ) -> Result<XdpMode, StartError> {
        let asked = mode_on(interface, link)?;
        let failed = |error| failed(place(interface), error);
        let attached = self.program.attach(&interface.name, asked).map_err(failed)?;
        set_address(&mut self.program, link).map_err(failed)?;
        self.served.add(interface, link.index, queues);
        if attached == AttachMode::Generic {
            if asked == XdpMode::Auto {
                tracing::warn!("{}: generic XDP: the driver has none of its own", interface.name);
            }
            self.generic.push(interface.name.clone());
        }
        Ok(attached.socket_mode(asked))
    }

    pub(super) fn served_mut(&mut self) -> &mut Served {
        &mut self.served
    }

    /// What is served, as it was at the start.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// Takes frames to the addresses that the interfaces have now.
    pub fn set_addresses(&mut self, view: &KernelView) {
        for (name, index) in self.served.indexes() {
            let Some(link) = view.links.get(&index) else { continue };
            if let Err(error) = set_address(&mut self.program, link) {
                tracing::error!("{name}: {error}");
            }
        }
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

fn failed(place: String, error: FilterError) -> StartError {
    let remedy = remedy::of_filter(&error);
    StartError::new(place, error, remedy)
}

/// A bond may tell neighbours the addresses of its members, so it takes frames to any.
fn set_address(program: &mut XdpFilter, link: &Link) -> Result<(), FilterError> {
    if link.is_bond { Ok(()) } else { program.set_address(link.index, link.mac.0) }
}

/// The mode for an interface. A bond hands the program to its members, and packets then are those of a member, on which there is no
/// socket: only generic XDP sees the bond's own.
fn mode_on(interface: &InterfaceConfig, link: &Link) -> Result<XdpMode, StartError> {
    match xdp_mode(interface.mode) {
        XdpMode::Auto if link.is_bond => {
            tracing::warn!(
                "{}: a bond, so generic XDP: its members as interfaces of their own are faster",
                interface.name
            );
            Ok(XdpMode::Generic)
        }
        mode @ (XdpMode::Copy | XdpMode::ZeroCopy) if link.is_bond => {
            let message = format!("a bond receives nothing in mode \"{mode}\": its packets come from its members");
            Err(StartError::new(place(interface), message, "list its members as interfaces, or use mode = \"generic\""))
        }
        mode => Ok(mode),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Driver;

    #[test]
    fn a_bond_runs_generic_xdp_or_says_why_not() {
        let link = |is_bond| Link { is_bond, ..Link::default() };
        let with = |mode, is_bond| {
            let interface = InterfaceConfig { name: "bond0".into(), driver: Driver::AfXdp, mode, queues: None };
            mode_on(&interface, &link(is_bond))
        };
        assert_eq!(with(Mode::Auto, false).unwrap(), XdpMode::Auto);
        assert_eq!(with(Mode::Auto, true).unwrap(), XdpMode::Generic);
        assert_eq!(with(Mode::Generic, true).unwrap(), XdpMode::Generic);
        for mode in [Mode::Copy, Mode::ZeroCopy] {
            let error = with(mode, true).unwrap_err();
            assert!(error.message.contains("its packets come from its members"), "{error:?}");
            assert!(with(mode, false).is_ok());
        }
    }
}
