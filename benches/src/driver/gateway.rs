//! The gateway's worker on `AF_XDP` sockets, as the program runs it but for settings that the program does not offer.

use ::tests::Outcome;
use clap::Args;
use conntrack::Timeouts;
use datapath::service::{InterfaceIndex, Snapshot};
use datapath::{Engine, EngineConfig, Pacing, Role, Slot, WorkerDevices};
use sys::{BURST, BusyPoll, FilterOverlay, FilterRules, RingSizes, XdpDevice, XdpFilter, XdpMode, XdpTuning};

use crate::generator::gateway::tables;
use crate::generator::network::{GATEWAY_OVERLAY, GATEWAY_VTEP, TUNNEL_PORT, VNI};
use crate::generator::profile::Profile;
use crate::generator::xdp::{Take, rules};

/// As control plans for two queues.
const SPARE_FRAMES: usize = 2048;
const FRAME_SIZE: usize = 2048;
/// `SO_BUSY_POLL`: any time but zero.
const MICROS: u32 = 20;

/// What the sweep varies. Left out: as the program has it.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Places in the receive ring.
    #[arg(long, default_value_t = RingSizes::default().rx)]
    pub rx: u32,
    /// Places in the transmit ring.
    #[arg(long, default_value_t = RingSizes::default().tx)]
    pub tx: u32,
    /// Frames given to the kernel to receive into.
    #[arg(long, default_value_t = RingSizes::default().fill)]
    pub fill: u32,
    /// Packets that one wake-up sends.
    #[arg(long, default_value_t = XdpTuning::default().tx_budget)]
    pub tx_budget: u32,
    /// Busy-polling, with this budget; 0: none.
    #[arg(long, default_value_t = 0)]
    pub busy_poll: u32,
    /// Frames taken from a device in one turn.
    #[arg(long, default_value_t = BURST)]
    pub burst: usize,
    /// Empty turns before sleeping.
    #[arg(long, default_value_t = Pacing::default().empty_turns)]
    pub empty_turns: u32,
}

impl Default for Tuning {
    fn default() -> Tuning {
        let XdpTuning { rings: RingSizes { rx, tx, fill }, tx_budget, .. } = XdpTuning::default();
        let Pacing { burst, empty_turns } = Pacing::default();
        Tuning { rx, tx, fill, tx_budget, busy_poll: 0, burst, empty_turns }
    }
}

impl Tuning {
    /// As command line options.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Tuning { rx, tx, fill, tx_budget, busy_poll, burst, empty_turns } = self;
        let options = [
            ("rx", rx.to_string()),
            ("tx", tx.to_string()),
            ("fill", fill.to_string()),
            ("tx-budget", tx_budget.to_string()),
            ("busy-poll", busy_poll.to_string()),
            ("burst", burst.to_string()),
            ("empty-turns", empty_turns.to_string()),
        ];
        options.map(|(name, value)| format!("--{name}={value}")).into()
    }

    fn xdp(&self) -> XdpTuning {
        XdpTuning {
            rings: RingSizes { rx: self.rx, tx: self.tx, fill: self.fill },
            tx_budget: self.tx_budget,
            busy_poll: (self.busy_poll > 0).then_some(BusyPoll { micros: MICROS, budget: self.busy_poll }),
            joined: None,
        }
    }
}

/// Forwards between clients on `one` and tasks on `two` until killed. Prints `ready`.
///
/// # Errors
/// No such interface, no permission, or settings that the kernel does not take.
pub fn run(profile: &Profile, [one, two]: [&str; 2], cpu: usize, tuning: &Tuning) -> Outcome {
    let mut filter = XdpFilter::load()?;
    let xdp = tuning.xdp();
    let (memory, mut pool) = sys::xdp_pool(2 * xdp.rings.frames() + SPARE_FRAMES, FRAME_SIZE)?;
    let mut devices = Vec::new();
    for (index, name) in (0..).zip([one, two]) {
        let mode = filter.attach(name, XdpMode::Auto)?.socket_mode(XdpMode::Auto);
        let device = XdpDevice::bind(&memory, &mut pool, name, 0, mode, xdp)?;
        filter.set_socket(name, 0, device.socket())?;
        if tuning.busy_poll > 0 {
            eprintln!("busy-polled {name}: {}", device.is_busy_polled());
        }
        devices.push(Slot { role: Role::Interface(InterfaceIndex(index)), device: Box::new(device) });
    }
    let config = EngineConfig {
        cpus: vec![cpu],
        flows: (profile.flows() as usize * 2).max(1 << 16),
        timeouts: Timeouts::default(),
        plain_ports: 1024..=32_767,
        overlay_ports: 1024..=65_535,
        seed: 7,
        logs_flows: false,
    };
    let pacing = Pacing { burst: tuning.burst, empty_turns: tuning.empty_turns };
    let tables = Snapshot::build(tables(profile, 1))?;
    let _engine = Engine::start_paced(&config, pacing, vec![WorkerDevices { pool, devices, lending: None }], tables)?;
    filter.publish(&of_gateway())?;
    eprintln!("ready");
    loop {
        std::thread::park();
    }
}

/// What a gateway takes from its wires.
fn of_gateway() -> FilterRules {
    let mut rules = rules(&[Take::ToVip]);
    let addresses = vec![GATEWAY_OVERLAY];
    rules.overlays.push(FilterOverlay { vtep: GATEWAY_VTEP, port: TUNNEL_PORT, vni: VNI, addresses });
    rules
}
