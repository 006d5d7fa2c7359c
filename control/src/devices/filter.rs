//! The XDP filter and the interfaces that it sits on.

use std::ops::RangeInclusive;

use sys::{AttachMode, FilterError, XdpFilter, XdpMode};

use super::plan::place;
use crate::config::{InterfaceConfig, Mode};
use crate::gateway::{Rules, StartError};

/// The filter on its interfaces. It goes away when dropped.
pub struct Filter {
    program: XdpFilter,
    plain_ports: RangeInclusive<u16>,
    /// Names of the interfaces without XDP in the driver.
    generic: Vec<String>,
}

impl Filter {
    pub(super) fn load(plain_ports: RangeInclusive<u16>) -> Result<Filter, StartError> {
        let program = XdpFilter::load().map_err(|error| StartError::new("[[interface]]", error, ""))?;
        Ok(Filter { program, plain_ports, generic: Vec::new() })
    }

    pub(super) fn program(&mut self) -> &mut XdpFilter {
        &mut self.program
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
