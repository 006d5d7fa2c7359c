//! `AF_XDP` sockets and the filter on real veth pairs.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use sys::{
    AttachMode, BindCause, BusyPoll, Device, FilterError, FilterListen, FilterRules, Frame, FramePool, LinkType,
    RingSizes, XdpDevice, XdpFilter, XdpMode, XdpTuning, XdpUmem, queue_count, transmit_queue_count, xdp_pool,
};

use crate::lab::{Wire, ethernet, eventually, frame, in_namespace, ip, mac_of, receive, tool, udp, veth};

const VIP: [u8; 4] = [198, 18, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 7];
const RINGS: RingSizes = RingSizes { rx: 256, tx: 256, fill: 256 };
const FRAMES: usize = 1024;

fn rules() -> FilterRules {
    FilterRules {
        listens: vec![FilterListen { address: VIP.into(), ports: 8080..=8089, protocol: 17 }],
        ..FilterRules::default()
    }
}

/// A queue of `near`, with its own packet memory, told to the filter.
struct Queue {
    device: XdpDevice,
    pool: FramePool,
    _umem: XdpUmem,
}

impl Queue {
    fn on(filter: &mut XdpFilter, interface: &str, number: u32, mode: XdpMode) -> Queue {
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        let device = XdpDevice::bind(&umem, &mut pool, interface, number, mode, RINGS).unwrap();
        filter.set_socket(interface, number, device.socket()).unwrap();
        Queue { device, pool, _umem: umem }
    }

    fn send(&mut self, mut out: Vec<Frame>) -> sys::TxReport {
        self.device.tx(&mut self.pool, &mut out)
    }

    /// Everything is in the pool but what the kernel has to receive into.
    fn assert_all_home(&mut self) {
        let (device, pool) = (&mut self.device, &mut self.pool);
        eventually("all frames home", || {
            let mut burst = Vec::new();
            device.rx(pool, &mut burst, 64);
            pool.put_all(burst);
            (pool.free() == FRAMES - RINGS.fill as usize).then_some(())
        });
        assert_eq!(self.device.state().bad_descriptors, 0);
    }
}

fn filter_on(interface: &str, mode: XdpMode) -> XdpFilter {
    let mut filter = XdpFilter::load().unwrap();
    filter.publish(&rules()).unwrap();
    let how = filter.attach(interface, mode).unwrap();
    assert_eq!(how, if mode == XdpMode::Generic { AttachMode::Generic } else { AttachMode::Native });
    filter
}

fn to_vip(interface: &str, source_port: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(mac_of(interface), &udp((CLIENT, source_port), (VIP, port), payload))
}

fn count(filter: &XdpFilter, verdict: &str) -> u64 {
    filter.counters().iter().find(|(name, _)| *name == verdict).unwrap().1
}

/// Frames come in as they were sent, and go out as they were edited, many more than the rings have places.
fn exchanges_frames(mode: XdpMode, shown: &'static str) {
    veth("near", "far", 1);
    let wire = Wire::on("far");
    let mut filter = filter_on("near", mode);
    let mut queue = Queue::on(&mut filter, "near", 0, mode);
    let state = queue.device.state();
    assert_eq!((state.mode, state.up, state.error), (shown, true, None));
    assert_eq!(queue.device.link_type(), LinkType::Ethernet);

    for round in 0..60_u8 {
        let sent: Vec<Vec<u8>> =
            (0..50_u16).map(|n| to_vip("near", 1000 + n, 8080, &vec![round; 1400 - usize::from(n)])).collect();
        for frame in &sent {
            wire.send(frame);
        }
        let mut burst = receive(&mut queue.device, &mut queue.pool, 50);
        for (frame, sent) in burst.iter_mut().zip(&sent) {
            assert_eq!((frame.bytes(), frame.headroom()), (&sent[..], 256));
            // As an encapsulation does: 50 bytes in front.
            assert!(frame.grow_front(50));
            frame.bytes_mut()[..50].fill(0xee);
        }
        assert_eq!(queue.send(burst).sent, 50);
        for sent in &sent {
            let got = eventually("a frame on the wire", || wire.receive());
            assert_eq!((&got[..50], &got[50..]), (&[0xee; 50][..], &sent[..]));
        }
    }
    assert_eq!(count(&filter, "listen"), 3000);
    assert_eq!(count(&filter, "pass_no_socket"), 0);
    queue.assert_all_home();
}

#[test]
fn copy_mode_exchanges_frames() {
    in_namespace(|| exchanges_frames(XdpMode::Copy, "copy"));
}

#[test]
fn auto_mode_exchanges_frames() {
    in_namespace(|| exchanges_frames(XdpMode::Auto, "copy"));
}

#[test]
fn generic_mode_exchanges_frames() {
    in_namespace(|| exchanges_frames(XdpMode::Generic, "generic"));
}

#[test]
fn a_burst_beyond_all_rings_loses_packets_but_no_frames() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        let packet = to_vip("near", 1, 8080, &[1; 100]);
        (0..600).for_each(|_| wire.send(&packet));
        eventually("drops", || Some(queue.device.state()).filter(|state| state.rx_dropped >= 600 - 256));
        let out: Vec<Frame> = (0..700).map(|_| frame(&mut queue.pool, &packet)).collect();
        let report = queue.send(out);
        assert_eq!(report.sent + report.refused, 700);
        assert!(report.sent >= 256, "{report:?}");
        queue.assert_all_home();
        // And it still works.
        wire.send(&packet);
        let burst = receive(&mut queue.device, &mut queue.pool, 1);
        assert_eq!(queue.send(burst).sent, 1);
        queue.assert_all_home();
    });
}

#[test]
fn an_empty_pool_starves_and_recovers() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        let packet = to_vip("near", 1, 8080, &[1; 100]);
        let mut hoard = Vec::new();
        while let Some(frame) = queue.pool.take() {
            hoard.push(frame);
        }
        (0..256).for_each(|_| wire.send(&packet));
        hoard.extend(receive(&mut queue.device, &mut queue.pool, 256));
        wire.send(&packet);
        eventually("starvation", || (queue.device.state().fill_ring_empty > 0).then_some(()));
        queue.pool.put_all(hoard);
        assert_eq!(queue.device.rx(&mut queue.pool, &mut Vec::new(), 64), 0);
        wire.send(&packet);
        let burst = receive(&mut queue.device, &mut queue.pool, 1);
        queue.pool.put_all(burst);
        queue.assert_all_home();
    });
}

#[test]
fn each_queue_has_its_socket_and_every_frame_comes_once() {
    in_namespace(|| {
        veth("near", "far", 2);
        assert_eq!(queue_count("near").unwrap(), 2);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queues = [0, 1].map(|number| Queue::on(&mut filter, "near", number, XdpMode::Copy));
        (0..200).for_each(|n| wire.send(&to_vip("near", 2000 + n, 8080, b"which queue?")));
        let mut ports = [Vec::new(), Vec::new()];
        eventually("all frames", || {
            for (queue, ports) in queues.iter_mut().zip(&mut ports) {
                let mut burst = Vec::new();
                queue.device.rx(&mut queue.pool, &mut burst, 64);
                ports.extend(burst.iter().map(|frame| u16::from_be_bytes([frame.bytes()[34], frame.bytes()[35]])));
                queue.pool.put_all(burst);
            }
            (ports[0].len() + ports[1].len() == 200).then_some(())
        });
        assert!(ports[0].len() > 20 && ports[1].len() > 20, "{} and {}", ports[0].len(), ports[1].len());
        let mut all = ports.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(2000..2200));
    });
}

#[test]
fn one_umem_serves_two_interfaces() {
    in_namespace(|| {
        veth("near1", "far1", 1);
        veth("near2", "far2", 1);
        let (wire1, wire2) = (Wire::on("far1"), Wire::on("far2"));
        let mut filter = filter_on("near1", XdpMode::Copy);
        filter.attach("near2", XdpMode::Copy).unwrap();
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        let mut bind = |name| XdpDevice::bind(&umem, &mut pool, name, 0, XdpMode::Copy, RINGS).unwrap();
        let (mut one, mut two) = (bind("near1"), bind("near2"));
        filter.set_socket("near1", 0, one.socket()).unwrap();
        filter.set_socket("near2", 0, two.socket()).unwrap();
        for n in 0..1000_u16 {
            let packet = to_vip("near1", n, 8081, b"from one to the other");
            wire1.send(&packet);
            let mut burst = receive(&mut one, &mut pool, 1);
            assert_eq!(two.tx(&mut pool, &mut burst).sent, 1);
            assert_eq!(eventually("the frame", || wire2.receive()), packet);
        }
        let back = to_vip("near2", 7, 8081, b"and back");
        wire2.send(&back);
        let mut burst = receive(&mut two, &mut pool, 1);
        assert_eq!(one.tx(&mut pool, &mut burst).sent, 1);
        assert_eq!(eventually("the frame", || wire1.receive()), back);
        eventually("all frames home", || {
            one.rx(&mut pool, &mut Vec::new(), 64);
            two.rx(&mut pool, &mut Vec::new(), 64);
            (pool.free() == FRAMES - 512).then_some(())
        });
    });
}

#[test]
fn what_is_not_ours_reaches_the_kernel() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        ip("addr add 198.18.0.1/24 dev near");
        ip("route add 192.0.2.0/24 dev near");
        let mut filter = filter_on("near", XdpMode::Auto);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Auto);
        let kernel = UdpSocket::bind("198.18.0.1:9000").unwrap();
        let shadowed = UdpSocket::bind("198.18.0.1:8080").unwrap();
        kernel.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        shadowed.set_nonblocking(true).unwrap();

        wire.send(&to_vip("near", 1, 8080, b"ours"));
        wire.send(&to_vip("near", 1, 9000, b"the kernel's"));
        let mut buffer = [0; 64];
        let len = kernel.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"the kernel's");
        assert!(shadowed.recv(&mut buffer).is_err());
        let burst = receive(&mut queue.device, &mut queue.pool, 1);
        assert_eq!(&burst[0].bytes()[42..], b"ours");
        queue.pool.put_all(burst);

        // No longer published: the kernel's again.
        filter.publish(&FilterRules::default()).unwrap();
        wire.send(&to_vip("near", 1, 8080, b"not ours any more"));
        eventually("the kernel", || shadowed.recv(&mut buffer).ok());
        // When its socket is gone, a queue falls back to the kernel.
        filter.publish(&rules()).unwrap();
        assert_eq!(count(&filter, "pass_no_socket"), 0);
        drop(queue);
        // Again and again: a process that another test starts at this moment may hold the socket a little longer.
        eventually("the kernel", || {
            wire.send(&to_vip("near", 1, 8080, b"nobody takes it"));
            std::thread::sleep(Duration::from_millis(5));
            shadowed.recv(&mut buffer).ok()
        });
        assert!(count(&filter, "pass_no_socket") >= 1);
        // And the queue is free for another.
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        eventually("the queue free", || XdpDevice::bind(&umem, &mut pool, "near", 0, XdpMode::Auto, RINGS).ok());
    });
}

#[test]
fn a_link_goes_down_and_comes_up_again() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        let packet = to_vip("near", 1, 8080, b"up and down");
        for _ in 0..3 {
            wire.send(&packet);
            let burst = receive(&mut queue.device, &mut queue.pool, 1);
            assert_eq!(queue.send(burst).sent, 1);
            eventually("the frame", || wire.receive());

            ip("link set near down");
            for _ in 0..20 {
                let out = (0..30).map(|_| frame(&mut queue.pool, &packet)).collect();
                let report = queue.send(out);
                assert_eq!(report.sent + report.refused, 30);
            }
            let state = queue.device.state();
            assert!(!state.up && state.error.is_some(), "{state:?}");

            ip("link set near up");
            eventually("the state", || {
                queue.device.rx(&mut queue.pool, &mut Vec::new(), 64);
                let state = queue.device.state();
                (state.up && state.error.is_none()).then_some(())
            });
            queue.assert_all_home();
            while wire.receive().is_some() {}
        }
    });
}

#[test]
fn a_carrier_lost_at_the_other_end_is_survived() {
    in_namespace(|| {
        veth("near", "far", 1);
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        let packet = to_vip("near", 1, 8080, b"into the void");
        ip("link set far down");
        for _ in 0..20 {
            let out = (0..30).map(|_| frame(&mut queue.pool, &packet)).collect();
            queue.send(out);
        }
        // The kernel tells of carriers a moment later.
        eventually("the state", || (!queue.device.state().up).then_some(()));
        ip("link set far up");
        queue.assert_all_home();
        let wire = Wire::on("far");
        wire.send(&packet);
        let burst = receive(&mut queue.device, &mut queue.pool, 1);
        assert_eq!(queue.send(burst).sent, 1);
        eventually("the frame", || wire.receive());
        eventually("the state", || queue.device.state().up.then_some(()));
    });
}

#[test]
fn says_why_a_socket_cannot_be() {
    in_namespace(|| {
        veth("near", "far", 1);
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        let (other, mut other_pool) = xdp_pool(FRAMES, 2048).unwrap();
        let mut bind = |name, queue, mode| XdpDevice::bind(&umem, &mut pool, name, queue, mode, RINGS);
        let wrong = bind("nosuch0", 0, XdpMode::Auto).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::NoSuchInterface), "{wrong}");
        let wrong = bind("near", 1, XdpMode::Auto).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::NoSuchQueue { queues: 1 }), "{wrong}");
        let wrong = bind("near", 0, XdpMode::ZeroCopy).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::Unsupported(XdpMode::ZeroCopy)), "{wrong}");
        // A failed try does not stand in the way of the next.
        let holder = bind("near", 0, XdpMode::Auto).unwrap();
        let wrong = bind("near", 0, XdpMode::Auto).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::Busy), "{wrong}");
        let wrong = XdpDevice::bind(&other, &mut other_pool, "near", 0, XdpMode::Auto, RINGS).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::Busy), "{wrong}");
        // However often it is tried.
        for _ in 0..200 {
            let wrong = XdpDevice::bind(&other, &mut other_pool, "near", 0, XdpMode::Auto, RINGS).err().unwrap();
            assert!(matches!(wrong.cause, BindCause::Busy), "{wrong}");
        }
        assert!(wrong.to_string().starts_with("near queue 0: another AF_XDP program holds this queue"), "{wrong}");
        assert_eq!(other_pool.free(), FRAMES);
        let wrong = XdpDevice::bind(&other, &mut pool, "near", 0, XdpMode::Auto, RINGS).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::WrongPool), "{wrong}");
        // When the holder goes, the same UMEM that was refused gets the queue. The kernel takes a moment.
        drop((holder, umem, pool));
        eventually("the queue", || XdpDevice::bind(&other, &mut other_pool, "near", 0, XdpMode::Auto, RINGS).ok());
    });
}

#[test]
fn says_why_the_filter_cannot_be_attached() {
    in_namespace(|| {
        veth("near", "far", 1);
        let mut filter = filter_on("near", XdpMode::Auto);
        assert_eq!(filter.attach("near", XdpMode::Auto).unwrap(), AttachMode::Native);
        for mode in [XdpMode::Auto, XdpMode::Generic] {
            let error = XdpFilter::load().unwrap().attach("near", mode).unwrap_err();
            assert!(matches!(error, FilterError::AlreadyAttached { .. }), "{error}");
            assert!(error.to_string().contains("ip link set dev near xdp off"), "{error}");
            // The likely one first: what is attached by a link, as ours is, can't be taken off so.
            assert!(error.to_string().contains("another sluicegate which still runs: stop it"), "{error}");
        }
        drop(filter);
        // A process that another test starts at this moment may hold the link a little longer.
        eventually("the filter to go", || (!ip("link show near").contains("xdp")).then_some(()));
        // A driver without XDP: generic as the last resort, and an error when that was not asked for.
        ip("link add bridge0 type bridge");
        let mut filter = XdpFilter::load().unwrap();
        let error = filter.attach("bridge0", XdpMode::Copy).unwrap_err();
        assert!(matches!(error, FilterError::Unsupported { .. }), "{error}");
        assert_eq!(filter.attach("bridge0", XdpMode::Auto).unwrap(), AttachMode::Generic);
    });
}

#[test]
fn queues_are_counted_by_direction() {
    in_namespace(|| {
        ip("link add near numrxqueues 4 numtxqueues 4 type veth peer name far");
        tool("ethtool", "-L near rx 3 tx 2");
        assert_eq!((queue_count("near").unwrap(), transmit_queue_count("near").unwrap()), (3, 2));
    });
}

#[test]
fn a_mode_that_another_socket_has_decided_is_not_taken_for_the_one_asked_for() {
    in_namespace(|| {
        veth("near1", "far1", 1);
        veth("near2", "far2", 1);
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        let _first = XdpDevice::bind(&umem, &mut pool, "near1", 0, XdpMode::Auto, RINGS).unwrap();
        let wrong = XdpDevice::bind(&umem, &mut pool, "near2", 0, XdpMode::ZeroCopy, RINGS).err().unwrap();
        assert!(matches!(wrong.cause, BindCause::OtherMode(XdpMode::ZeroCopy)), "{wrong}");
        // And the queue is free for what can be.
        eventually("the queue", || XdpDevice::bind(&umem, &mut pool, "near2", 0, XdpMode::Copy, RINGS).ok());
    });
}

#[test]
fn an_interface_that_took_the_name_is_not_the_one_that_was_bound() {
    in_namespace(|| {
        veth("near", "far", 1);
        let mut filter = filter_on("near", XdpMode::Copy);
        let queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        assert!(queue.device.state().up);
        ip("link del near");
        veth("near", "far", 1);
        let state = queue.device.state();
        assert!(!state.up && state.error.is_some(), "{state:?}");
        ip("link set near name other");
        let state = queue.device.state();
        assert!(!state.up, "{state:?}");
    });
}

#[test]
fn frames_to_another_machine_stay_with_the_kernel() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let mut queue = Queue::on(&mut filter, "near", 0, XdpMode::Copy);
        filter.set_address(sys::interface_index("near").unwrap(), mac_of("near")).unwrap();
        let to = |mac, payload: &[u8]| ethernet(mac, &udp((CLIENT, 1), (VIP, 8080), payload));
        let mut neighbour = mac_of("near");
        neighbour[5] ^= 1;
        for (mac, payload) in [
            (neighbour, b"flooded"),
            ([0xff; 6], b"to  all"),
            ([0, 0, 0x5e, 0, 3, 7], b"no VRRP"),
            ([0, 0, 0x5e, 0, 1, 7], b"VRRP, 4"),
            ([0, 0, 0x5e, 0, 2, 7], b"VRRP, 6"),
            (mac_of("near"), b"to  us."),
        ] {
            wire.send(&to(mac, payload));
        }
        let burst = receive(&mut queue.device, &mut queue.pool, 3);
        let payloads: Vec<_> = burst.iter().map(|frame| &frame.bytes()[42..49]).collect();
        assert_eq!(payloads, [b"VRRP, 4", b"VRRP, 6", b"to  us."]);
        assert_eq!((count(&filter, "listen"), count(&filter, "pass_not_ours")), (3, 3));
        queue.pool.put_all(burst);
    });
}

/// Plays the gateway in a process of its own for the test below; by itself it does nothing.
#[test]
fn holder() {
    let Ok(interface) = std::env::var("SYS_TEST_HOLDER") else { return };
    let mut filter = filter_on(&interface, XdpMode::Auto);
    let _queue = Queue::on(&mut filter, &interface, 0, XdpMode::Auto);
    println!("holding");
    std::thread::sleep(Duration::from_mins(1));
}

#[test]
fn nothing_stays_attached_after_kill() {
    in_namespace(|| {
        veth("near", "far", 1);
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["af_xdp::holder", "--exact", "--nocapture"])
            .env("SYS_TEST_HOLDER", "near")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("holding")));
        assert!(ip("link show near").contains("xdp"));
        holder.kill().unwrap();
        holder.wait().unwrap();
        eventually("the filter gone", || (!ip("link show near").contains("xdp")).then_some(()));
        // The next one finds everything free, queue included; the kernel lets go of that a moment later.
        let _filter = filter_on("near", XdpMode::Auto);
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        eventually("the queue free", || XdpDevice::bind(&umem, &mut pool, "near", 0, XdpMode::Auto, RINGS).ok());
    });
}

/// With its interrupts put off for longer than the test waits, an interface hands on packets only because the worker polls it. Where
/// the kernel does not let us (veth's queues know no NAPI, see decision 018), packets must come by softirqs all the same.
#[test]
fn busy_polling_takes_packets_in_or_leaves_them_to_softirqs() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut filter = filter_on("near", XdpMode::Copy);
        let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
        let busy_poll = Some(BusyPoll { micros: 20, budget: 64 });
        let tuning = XdpTuning { busy_poll, ..RINGS.into() };
        let mut device = XdpDevice::bind(&umem, &mut pool, "near", 0, XdpMode::Copy, tuning).unwrap();
        filter.set_socket("near", 0, device.socket()).unwrap();
        if device.is_busy_polled() {
            put_interrupts_off("near", "100", "60000000000");
        } else {
            eprintln!("this kernel links no NAPI to a veth's queues: softirqs only");
        }
        let packet = to_vip("near", 1, 8080, &[1; 100]);
        for _ in 0..50 {
            (0..20).for_each(|_| wire.send(&packet));
            let burst = receive(&mut device, &mut pool, 20);
            pool.put_all(burst);
            // An empty poll: it puts the interrupts off again.
            assert_eq!(device.rx(&mut pool, &mut Vec::new(), 64), 0);
        }
        assert_eq!(count(&filter, "listen"), 1000);
    });
}

fn put_interrupts_off(interface: &str, times: &str, nanoseconds: &str) {
    // `/sys` shows the devices of the namespace that it was mounted in.
    let script = "mount -t sysfs sysfs /sys && echo $1 > /sys/class/net/$0/napi_defer_hard_irqs && \
                  echo $2 > /sys/class/net/$0/gro_flush_timeout";
    let arguments = ["--mount", "/bin/sh", "-c", script, interface, times, nanoseconds];
    assert!(Command::new("unshare").args(arguments).status().unwrap().success());
}

extern "C" fn nothing(_: i32) {}

#[test]
fn signals_do_not_keep_the_filter_from_being_loaded() {
    in_namespace(|| {
        // SAFETY: the handler does nothing; the thread lives until the scope below ends.
        let loader = unsafe {
            libc::signal(libc::SIGURG, nothing as extern "C" fn(i32) as libc::sighandler_t);
            libc::pthread_self()
        };
        // What is looked up only once is not verifying.
        XdpFilter::load().unwrap();
        std::thread::scope(|scope| {
            let signals = scope.spawn(move || {
                for _ in 0..8 {
                    std::thread::sleep(Duration::from_millis(40));
                    // SAFETY: as above.
                    assert_eq!(unsafe { libc::pthread_kill(loader, libc::SIGURG) }, 0);
                }
            });
            while !signals.is_finished() {
                XdpFilter::load().unwrap();
            }
        });
    });
}
