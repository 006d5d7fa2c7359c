//! A bare forwarder: the sockets, settings, bursts and sleep of a gateway's worker, and no pipeline. What it costs is the driver's
//! share.

use std::os::fd::AsRawFd;
use std::time::Duration;

use ::tests::Outcome;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sys::{BURST, Device, Frame, FramePool, RingSizes, XdpDevice, XdpFilter, XdpMode};

use super::xdp::{Take, few_clients, rules};

/// As a worker of the gateway has: control's plan for two queues.
const SPARE_FRAMES: usize = 2048;
const FRAME_SIZE: usize = 2048;
const EMPTY_TURNS: u32 = 2;
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Forwards everything to and from the VIP between two interfaces until killed.
///
/// # Errors
/// No such interface, no permission.
pub fn run(one: &str, two: &str, cpu: usize) -> Outcome {
    let mut filter = XdpFilter::load()?;
    let (memory, mut pool) = sys::xdp_pool(2 * RingSizes::default().frames() + SPARE_FRAMES, FRAME_SIZE)?;
    let mut devices = Vec::new();
    for name in [one, two] {
        let mode = filter.attach(name, XdpMode::Auto)?.socket_mode(XdpMode::Auto);
        let device = XdpDevice::bind(&memory, &mut pool, name, 0, mode, RingSizes::default())?;
        filter.set_socket(name, 0, device.socket())?;
        devices.push(device);
    }
    filter.publish(&rules(&[Take::ToVip, Take::ToClients(few_clients())]))?;
    ::tests::ensure!(sys::pin_current_thread(cpu), "CPU {cpu} is not ours");
    eprintln!("ready");
    forward(&mut devices, &mut pool)
}

fn forward(devices: &mut [XdpDevice], pool: &mut FramePool) -> Outcome {
    let mut bed = Poll::new()?;
    for (index, nic) in devices.iter().enumerate() {
        let fd = nic.socket().as_raw_fd();
        bed.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    let (mut events, mut empty_turns) = (Events::with_capacity(64), 0);
    let mut bursts: [Vec<Frame>; 2] = std::array::from_fn(|_| Vec::with_capacity(BURST));
    loop {
        let mut received = 0;
        for (nic, burst) in devices.iter_mut().zip(&mut bursts) {
            received += nic.rx(pool, burst, BURST);
            burst.iter_mut().for_each(swap_macs);
        }
        for (device, burst) in devices.iter_mut().rev().zip(&mut bursts) {
            device.tx(pool, burst);
        }
        empty_turns = if received == 0 { empty_turns + 1 } else { 0 };
        if empty_turns >= EMPTY_TURNS && !devices.iter().any(Device::has_work) {
            // An error here is an interrupted call.
            let _ = bed.poll(&mut events, Some(LONGEST_SLEEP));
        }
    }
}

fn swap_macs(frame: &mut Frame) {
    if let Some((target, rest)) = frame.bytes_mut().split_first_chunk_mut::<6>()
        && let Some(source) = rest.first_chunk_mut::<6>()
    {
        std::mem::swap(target, source);
    }
}
