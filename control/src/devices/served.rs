//! The interfaces as they were when their sockets were made: what comes later under a name is not served, nor are queues that are added.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::InterfaceConfig;

/// How often queues are counted: each costs a question to the kernel.
const LOOKS: Duration = Duration::from_secs(1);

/// The `AF_XDP` interfaces since the start.
#[derive(Default)]
pub struct Served {
    interfaces: Vec<Interface>,
    next_look: Duration,
    /// What to say of workers that have no queue.
    idle_workers: Option<String>,
}

struct Interface {
    name: String,
    index: u32,
    /// All that it had; `None` where the config says which to serve.
    queues: Option<u32>,
    trouble: Option<String>,
}

impl Served {
    /// Notes an interface that has `queues` queues.
    pub(super) fn add(&mut self, config: &InterfaceConfig, index: u32, queues: u32) {
        let queues = config.queues.is_none().then_some(queues);
        self.interfaces.push(Interface { name: config.name.clone(), index, queues, trouble: None });
    }

    /// The numbers that the kernel had given them, by name.
    pub fn indexes(&self) -> BTreeMap<String, u32> {
        self.interfaces.iter().map(|interface| (interface.name.clone(), interface.index)).collect()
    }

    /// The same for one.
    pub(super) fn index_of(&self, name: &str) -> Option<u32> {
        self.interfaces.iter().find(|interface| interface.name == name).map(|interface| interface.index)
    }

    /// To be called now and then: looks, once a second, whether queues were added.
    pub(super) fn watch(&mut self) {
        let now = sys::clock::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOKS;
        for interface in &mut self.interfaces {
            let trouble = interface.unserved_queues();
            if let Some(trouble) = trouble.as_ref().filter(|_| interface.trouble != trouble) {
                tracing::warn!("{trouble}");
            }
            interface.trouble = trouble;
        }
    }

    /// Notes what there is to say of workers that have no queue.
    pub(super) fn set_idle_workers(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.idle_workers = Some(warning);
    }

    /// The workers that have no queue, in a sentence: while the gateway runs they get none.
    pub fn idle_workers(&self) -> Option<&str> {
        self.idle_workers.as_deref()
    }

    /// What is wrong with an interface, as of the last look.
    pub fn trouble(&self, name: &str) -> Option<String> {
        self.interfaces.iter().find(|interface| interface.name == name)?.trouble.clone()
    }
}

impl Interface {
    fn unserved_queues(&self) -> Option<String> {
        let (name, had) = (&self.name, self.queues?);
        if !sys::is_interface(name, self.index) {
            return None;
        }
        let has = sys::queue_count(name).ok()?;
        (has > had).then(|| {
            format!(
                "interface {name} has {has} queues, and had {had} at the start: packets that come by the others stay with the kernel; \
                 restart the gateway, or `ethtool -L {name}` back"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Driver, Mode};
    use crate::kernel::namespace::{in_namespace, ip, output};

    #[test]
    fn queues_that_are_added_are_told_of() {
        in_namespace("devices::served::tests::queues_that_are_added_are_told_of", || {
            ip("link add eth0 numrxqueues 4 numtxqueues 4 type veth peer name far0");
            let set = |count| {
                let arguments = ["-L", "eth0", "rx", count, "tx", count];
                output("ethtool", &arguments);
            };
            set("2");
            let all = InterfaceConfig { name: "eth0".into(), driver: Driver::AfXdp, mode: Mode::Auto, queues: None };
            let some = InterfaceConfig { queues: Some(vec![0, 1]), ..all.clone() };
            let look = |config: &InterfaceConfig| {
                let mut served = Served::default();
                served.add(config, sys::interface_index("eth0").unwrap(), 2);
                served.watch();
                served.trouble("eth0")
            };
            assert_eq!(look(&all), None);
            set("4");
            let trouble = look(&all).unwrap();
            assert!(trouble.starts_with("interface eth0 has 4 queues, and had 2 at the start"), "{trouble}");
            assert_eq!(look(&some), None, "the config says which to serve");
            set("2");
            assert_eq!(look(&all), None);
        });
    }
}
