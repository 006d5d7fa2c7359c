//! Writes config files for the gateway, as an operator would.

use std::fmt::Write as _;
use std::path::Path;

/// How packets reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `AF_XDP` sockets on the interfaces.
    AfXdp,
    /// A TUN device and a UDP socket for the overlay.
    Tun,
}

impl Driver {
    /// Both of them.
    pub const ALL: [Driver; 2] = [Driver::AfXdp, Driver::Tun];

    /// The word for it in the config file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Driver::AfXdp => "af_xdp",
            Driver::Tun => "tun",
        }
    }

    /// The driver of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Driver> {
        Driver::ALL.into_iter().find(|driver| driver.word() == word)
    }
}

/// A backend as the config file describes it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Address and port.
    pub address: String,
    /// Its node, or none for plain routing.
    pub vtep: Option<String>,
    /// 0 drains.
    pub weight: u16,
    /// Further lines of its table.
    pub lines: Vec<String>,
}

impl Backend {
    /// A backend of weight 1.
    #[must_use]
    pub fn new(address: impl Into<String>, vtep: Option<String>) -> Backend {
        Backend { address: address.into(), vtep, weight: 1, lines: Vec::new() }
    }
}

/// A service as the config file describes it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Address, port (or range) and protocol.
    pub listen: String,
    /// Further lines of its table.
    pub lines: Vec<String>,
    /// Who serves it.
    pub backends: Vec<Backend>,
    /// The lines of `[service.check]`, or none.
    pub check: Option<String>,
}

impl Service {
    /// A round-robin service.
    #[must_use]
    pub fn new(name: &str, listen: &str, backends: Vec<Backend>) -> Self {
        Service { name: name.into(), listen: listen.into(), lines: Vec::new(), backends, check: None }
    }
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// How packets come in.
    pub driver: Driver,
    /// `[gateway] cpus`; one worker each.
    pub cpus: Vec<usize>,
    /// `[gateway] flows`.
    pub flows: usize,
    /// The interfaces of the `[[interface]]` tables (for TUN: the device to make).
    pub interfaces: Vec<String>,
    /// `mode` of every interface, if any.
    pub mode: Option<String>,
    /// `[gateway] metrics`.
    pub metrics: Option<String>,
    /// `[gateway] shortcuts`.
    pub shortcuts: Option<String>,
    /// The lines of `[overlay]`, or none.
    pub overlay: Option<String>,
    /// Lines of `[timeouts]`.
    pub timeouts: Vec<String>,
    /// The services.
    pub services: Vec<Service>,
}

impl Config {
    /// The file's text; the API socket lies at `socket`.
    #[must_use]
    pub fn to_toml(&self, socket: &Path) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(socket, &mut out);
        out
    }

    fn write(&self, socket: &Path, out: &mut String) -> std::fmt::Result {
        writeln!(out, "[gateway]\ncpus  = {:?}\nflows = {}\napi   = \"{}\"", self.cpus, self.flows, socket.display())?;
        if let Some(metrics) = &self.metrics {
            writeln!(out, "metrics = {metrics:?}")?;
        }
        if let Some(shortcuts) = &self.shortcuts {
            writeln!(out, "shortcuts = {shortcuts:?}")?;
        }
        for interface in &self.interfaces {
            writeln!(out, "\n[[interface]]\nname   = {interface:?}\ndriver = {:?}", self.driver.word())?;
            if let Some(mode) = &self.mode {
                writeln!(out, "mode   = {mode:?}")?;
            }
        }
        if let Some(overlay) = &self.overlay {
            writeln!(out, "\n[overlay]\n{overlay}")?;
        }
        if !self.timeouts.is_empty() {
            writeln!(out, "\n[timeouts]\n{}", self.timeouts.join("\n"))?;
        }
        self.services.iter().try_for_each(|service| write_service(service, out))
    }
}

fn write_service(service: &Service, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n[[service]]\nname      = {:?}\nlisten    = {:?}", service.name, service.listen)?;
    writeln!(out, "scheduler = \"rr\"")?;
    service.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if let Some(check) = &service.check {
        writeln!(out, "[service.check]\n{check}")?;
    }
    for backend in &service.backends {
        writeln!(out, "[[service.backend]]\naddress = {:?}", backend.address)?;
        if let Some(vtep) = &backend.vtep {
            writeln!(out, "vtep    = {vtep:?}")?;
        }
        if backend.weight != 1 {
            writeln!(out, "weight  = {}", backend.weight)?;
        }
        backend.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}
