//! Whether flows may be lent to the XDP program: every interface that they touch must send what is redirected to it. One that
//! does not loses it without a word, so this is asked before and watched afterwards. What comes in without XDP in the driver is sent on
//! by the kernel's traffic control, which any interface takes.

use std::sync::Arc;
use std::time::Duration;

use datapath::{Lending, Output};
use sys::{FilterError, Shortcuts, XdpFilter};

use crate::config::{Config, Driver, ShortcutMode};
use crate::operations::{ShortcutInterface, ShortcutStatus};

/// How often the interfaces are looked at: each costs a question to the kernel.
const LOOKS: Duration = Duration::from_secs(1);

/// The table of lent flows, and the interfaces that it depends on.
pub struct Shortcut {
    /// `None`: nothing is ever lent.
    table: Option<Arc<Shortcuts>>,
    mode: ShortcutMode,
    /// As in the config; none when shortcuts are not wanted.
    interfaces: Vec<Interface>,
    /// Some interface has XDP in its driver: what comes there is redirected by the driver.
    by_driver: bool,
    next_look: Duration,
}

struct Interface {
    name: String,
    /// `None`: no flow is lent that touches it, until a restart.
    output: Option<Output>,
    /// Why packets are not to be redirected to it. With an `output`: at present.
    refusal: Option<String>,
}

impl Shortcut {
    /// Prepares lending over those interfaces that send redirected packets. `generic` are those without XDP in the driver.
    pub(super) fn prepare(
        program: &mut XdpFilter,
        config: &Config,
        generic: &[String],
    ) -> Result<Shortcut, FilterError> {
        let mode = config.gateway.shortcuts;
        let in_driver = |name: &String| !generic.contains(name);
        let by_driver = config.interfaces.iter().any(|one| one.driver == Driver::AfXdp && in_driver(&one.name));
        let mut shortcut = Shortcut { table: None, mode, interfaces: Vec::new(), by_driver, next_look: Duration::ZERO };
        if mode == ShortcutMode::Never {
            return Ok(shortcut);
        }
        for interface in &config.interfaces {
            let name = interface.name.clone();
            let refusal = match interface.driver {
                Driver::Tun => Some("it is a TUN device".to_owned()),
                Driver::AfXdp if in_driver(&name) => shortcut.refusal(&name),
                Driver::AfXdp => without_driver(program, &name).or_else(|| shortcut.refusal(&name)),
            };
            let output = match &refusal {
                None => Some(output(program, &name)?),
                Some(why) => {
                    tracing::info!("no shortcuts over {name}: {why}");
                    None
                }
            };
            shortcut.interfaces.push(Interface { name, output, refusal });
        }
        if shortcut.interfaces.iter().any(|interface| interface.output.is_some()) {
            shortcut.table = Some(Arc::new(program.shortcuts(sys::random_seed())?));
        }
        Ok(shortcut)
    }

    /// What each worker needs; none if nothing can be lent.
    pub(super) fn lendings(&self, workers: usize) -> Vec<Lending> {
        let Some(table) = &self.table else { return Vec::new() };
        let outputs: Vec<_> = self.interfaces.iter().map(|interface| interface.output).collect();
        table.lenders(workers).into_iter().map(|lender| Lending::new(lender, outputs.clone())).collect()
    }

    /// To be called now and then: looks, once a second, whether all interfaces still send what is redirected to them. While one
    /// does not, nothing is lent.
    pub fn watch(&mut self) {
        let now = sys::clock::now();
        let Some(table) = self.table.as_ref().filter(|_| now >= self.next_look) else { return };
        let before = trouble(&self.interfaces);
        for at in 0..self.interfaces.len() {
            let Interface { name, output, .. } = &self.interfaces[at];
            if let Some(output) = *output {
                self.interfaces[at].refusal = made_anew(name, output).or_else(|| self.refusal(name));
            }
        }
        self.next_look = now + LOOKS;
        let trouble = trouble(&self.interfaces);
        if trouble == before {
            return;
        }
        table.allow(trouble.is_none());
        if let Some(trouble) = trouble {
            tracing::warn!("no shortcuts: {trouble}");
        } else {
            tracing::info!("shortcuts again");
        }
    }

    /// Why packets are not to be redirected to this interface.
    fn refusal(&self, interface: &str) -> Option<String> {
        if self.by_driver { refusal(interface, self.mode) } else { None }
    }

    /// For `status`.
    pub fn status(&self) -> ShortcutStatus {
        let shown = |interface: &Interface| ShortcutInterface {
            name: interface.name.clone(),
            reason: interface.refusal.clone(),
        };
        ShortcutStatus {
            on: self.table.is_some() && trouble(&self.interfaces).is_none(),
            interfaces: self.interfaces.iter().map(shown).collect(),
        }
    }
}

/// What stands in the way at present: an interface that flows may be lent over does not send redirected packets any more.
fn trouble(interfaces: &[Interface]) -> Option<String> {
    let mut used = interfaces.iter().filter(|interface| interface.output.is_some());
    used.find_map(|interface| Some(format!("{}: {}", interface.name, interface.refusal.as_ref()?)))
}

/// Why the kernel cannot send on what comes in without XDP in the driver.
fn without_driver(program: &XdpFilter, interface: &str) -> Option<String> {
    program
        .keeps_joined(interface)
        .map(|why| format!("it runs generic XDP, and sends nothing on (Linux 6.6 can): {why}"))
}

/// Why an interface does not send what other drivers redirect to it.
fn refusal(interface: &str, mode: ShortcutMode) -> Option<String> {
    match sys::takes_redirects(interface) {
        Ok(Some(true)) => None,
        Ok(Some(false)) => {
            Some("it does not send redirected packets (a veth does when its other end has GRO on)".to_owned())
        }
        Ok(None) if mode == ShortcutMode::Always => None,
        Ok(None) => Some("this kernel (before 6.3) does not tell whether it sends redirected packets".to_owned()),
        Err(error) => Some(format!("cannot ask the kernel whether it sends redirected packets: {error}")),
    }
}

/// What the program knows of an interface ends with it, whatever comes under its name.
fn made_anew(name: &str, output: Output) -> Option<String> {
    (!sys::is_interface(name, output.interface))
        .then(|| "it is not the interface that it was at the start: restart the gateway".to_owned())
}

fn output(program: &mut XdpFilter, name: &str) -> Result<Output, FilterError> {
    let (interface, place) = program.output(name)?;
    Ok(Output { interface, place })
}

#[cfg(test)]
mod tests {
    use sys::XdpMode;

    use super::*;
    use crate::config;
    use crate::kernel::namespace::{in_namespace, ip, output};

    /// Two veths and a TUN device. Only `eth0` takes redirected packets, as its other end has GRO on.
    fn prepare(gateway: &str, generic: &[String]) -> (XdpFilter, Shortcut) {
        for (near, far) in [("eth0", "far0"), ("eth1", "far1")] {
            ip(&format!("link add {near} type veth peer name {far}"));
            ip(&format!("link set {near} up"));
            ip(&format!("link set {far} up"));
        }
        gro("on");
        let text = format!(
            "[gateway]\ncpus = [0, 1]\n{gateway}\n[[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\n\
             [[interface]]\nname = \"sg0\"\ndriver = \"tun\"\n"
        );
        let config = config::parse("gw.toml", text.as_bytes(), &[0, 1]).unwrap().config;
        let mut program = XdpFilter::load().unwrap();
        for name in ["eth0", "eth1"] {
            let mode = if generic.iter().any(|one| one == name) { XdpMode::Generic } else { XdpMode::Copy };
            program.attach(name, mode).unwrap();
        }
        let shortcut = Shortcut::prepare(&mut program, &config, generic).unwrap();
        (program, shortcut)
    }

    fn gro(state: &str) {
        output("ethtool", &["-K", "far0", "gro", state]);
    }

    /// Whether flows are lent, and what is said of each interface.
    fn said(shortcut: &Shortcut) -> (bool, Vec<Option<String>>) {
        let status = shortcut.status();
        (status.on, status.interfaces.into_iter().map(|interface| interface.reason).collect())
    }

    fn kernel_tells() -> bool {
        let tells = sys::takes_redirects("lo").unwrap().is_some();
        if !tells {
            eprintln!("SKIPPED: only Linux 6.3 and later tells which interfaces take redirected frames");
        }
        tells
    }

    const DEAF: &str = "it does not send redirected packets (a veth does when its other end has GRO on)";
    const TUN: &str = "it is a TUN device";

    #[test]
    fn shortcuts_go_over_those_that_send_redirected_packets() {
        in_namespace("devices::shortcuts::tests::shortcuts_go_over_those_that_send_redirected_packets", || {
            if !kernel_tells() {
                return;
            }
            let (_program, mut shortcut) = prepare("", &[]);
            let left_out = [Some(DEAF.to_owned()), Some(TUN.to_owned())];
            let now = |eth0: Option<&str>| [vec![eth0.map(str::to_owned)], left_out.to_vec()].concat();
            assert_eq!(said(&shortcut), (true, now(None)));
            assert_eq!(shortcut.lendings(2).len(), 2);
            shortcut.watch();
            gro("off");
            shortcut.watch();
            assert_eq!(said(&shortcut), (true, now(None)), "it was looked at within the second");
            shortcut.next_look = Duration::ZERO;
            shortcut.watch();
            assert_eq!(said(&shortcut), (false, now(Some(DEAF))));
            gro("on");
            output("ethtool", &["-K", "far1", "gro", "on"]);
            shortcut.next_look = Duration::ZERO;
            shortcut.watch();
            assert_eq!(said(&shortcut), (true, now(None)), "eth1 stays out");
            ip("link del eth0");
            ip("link add eth0 type veth peer name far0");
            ip("link set eth0 up");
            ip("link set far0 up");
            gro("on");
            shortcut.next_look = Duration::ZERO;
            shortcut.watch();
            let another = "it is not the interface that it was at the start: restart the gateway";
            assert_eq!(said(&shortcut), (false, now(Some(another))));
        });
    }

    #[test]
    fn one_in_the_driver_asks_something_of_all() {
        in_namespace("devices::shortcuts::tests::one_in_the_driver_asks_something_of_all", || {
            if !kernel_tells() {
                return;
            }
            let (_program, mut shortcut) = prepare("shortcuts = \"always\"", &["eth0".to_owned()]);
            shortcut.watch();
            // What comes to eth1 is redirected by its driver, and to eth0 it would be.
            assert_eq!(said(&shortcut), (true, vec![None, Some(DEAF.to_owned()), Some(TUN.to_owned())]));
            gro("off");
            shortcut.next_look = Duration::ZERO;
            shortcut.watch();
            let reasons = [DEAF, DEAF, TUN].map(|reason| Some(reason.to_owned()));
            assert_eq!(said(&shortcut), (false, reasons.to_vec()));
        });
    }

    #[test]
    fn generic_xdp_alone_asks_nothing_of_interfaces() {
        in_namespace("devices::shortcuts::tests::generic_xdp_alone_asks_nothing_of_interfaces", || {
            let (program, mut shortcut) = prepare("", &["eth0".to_owned(), "eth1".to_owned()]);
            if let Some(why) = program.keeps_joined("eth0") {
                eprintln!("SKIPPED: only Linux 6.6 and later sends on what comes by generic XDP: {why}");
                return;
            }
            let on = (true, vec![None, None, Some(TUN.to_owned())]);
            assert_eq!(said(&shortcut), on);
            gro("off");
            shortcut.next_look = Duration::ZERO;
            shortcut.watch();
            assert_eq!(said(&shortcut), on);
            assert_eq!(shortcut.lendings(2).len(), 2);
        });
    }

    #[test]
    fn shortcuts_are_off_where_none_can_be() {
        in_namespace("devices::shortcuts::tests::shortcuts_are_off_where_none_can_be", || {
            if !kernel_tells() {
                return;
            }
            ip("link add eth9 type veth peer name far9");
            let text = "[gateway]\nshortcuts = \"auto\"\n[[interface]]\nname = \"eth9\"\n[[interface]]\nname = \"sg0\"\ndriver = \"tun\"\n";
            let config = config::parse("gw.toml", text.as_bytes(), &[0]).unwrap().config;
            let mut program = XdpFilter::load().unwrap();
            program.attach("eth9", XdpMode::Copy).unwrap();
            let mut shortcut = Shortcut::prepare(&mut program, &config, &[]).unwrap();
            shortcut.watch();
            let reasons = [DEAF, TUN].map(|reason| Some(reason.to_owned()));
            assert_eq!(said(&shortcut), (false, reasons.to_vec()));
            assert!(shortcut.lendings(2).is_empty());
        });
    }

    #[test]
    fn shortcuts_are_off_where_nobody_wants_them() {
        in_namespace("devices::shortcuts::tests::shortcuts_are_off_where_nobody_wants_them", || {
            let (_program, mut shortcut) = prepare("shortcuts = \"never\"", &[]);
            shortcut.watch();
            assert_eq!(said(&shortcut), (false, vec![]));
            assert!(shortcut.lendings(2).is_empty());
        });
    }
}
