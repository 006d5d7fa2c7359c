//! The XDP filter and the interfaces that it sits on.

use std::ops::RangeInclusive;

use sys::{AttachMode, FilterError, XdpFilter, XdpMode};

use super::plan::place;
use crate::config::{InterfaceConfig, Mode};
use crate::gateway::{Rules, StartError};

/// The filter, loaded; attached once [`Filter::attach`] was called. It goes away when dropped.
pub struct Filter {
    program: XdpFilter,
    plain_ports: RangeInclusive<u16>,
    generic: Vec<String>,
}

impl Filter {
    pub(super) fn load(plain_ports: RangeInclusive<u16>) -> Result<Filter, StartError> {
        let failed = |error: FilterError| {
            StartError::new("XDP filter", error, "AF_XDP needs a kernel from 5.10 on, and root (or CAP_BPF and CAP_NET_ADMIN)")
        };
        Ok(Filter { program: XdpFilter::load().map_err(failed)?, plain_ports, generic: Vec::new() })
    }

    pub(super) fn program(&mut self) -> &mut XdpFilter {
        &mut self.program
    }

    /// Makes the filter take just this.
    pub fn publish(&mut self, rules: &Rules) -> Result<(), FilterError> {
        self.program.publish(&rules.to_filter(&self.plain_ports))
    }

    /// Puts the filter on the interface: from now on frames reach the sockets.
    pub fn attach(&mut self, interface: &InterfaceConfig) -> Result<(), StartError> {
        let failed = |error: FilterError| {
            let hint = format!("if another XDP program is attached (`ip link show {}`), remove it", interface.name);
            StartError::new(place(interface), error, hint)
        };
        let attached = self.program.attach(&interface.name, xdp_mode(interface.mode)).map_err(failed)?;
        if matches!(attached, AttachMode::Generic) {
            tracing::info!("{}: generic XDP, the slowest mode: the driver has none of its own", interface.name);
            self.generic.push(interface.name.clone());
        }
        Ok(())
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
pub fn xdp_mode(mode: Mode) -> XdpMode {
    match mode {
        Mode::Auto => XdpMode::Auto,
        Mode::ZeroCopy => XdpMode::ZeroCopy,
        Mode::Copy => XdpMode::Copy,
        Mode::Generic => XdpMode::Generic,
    }
}
