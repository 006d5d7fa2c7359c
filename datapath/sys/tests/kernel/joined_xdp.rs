//! Packets longer than a frame, from a real kernel in generic mode.

use sys::{
    Device, FilterListen, FilterRules, FramePool, JoinedLimits, RingSizes, XdpDevice, XdpFilter, XdpMode, XdpTuning,
    XdpUmem, xdp_pool,
};

use crate::lab::{Wire, ethernet, eventually, in_namespace, ip, mac_of, receive, veth};

const VIP: [u8; 4] = [198, 18, 0, 1];
const RINGS: RingSizes = RingSizes { rx: 256, tx: 256, fill: 256 };
const FRAMES: usize = 1024;
const LIMITS: JoinedLimits = JoinedLimits { longest: 1500, piece: 1450, tunnel_port: None };

/// The gateway's end of the wire.
struct Near {
    device: XdpDevice,
    pool: FramePool,
    _umem: XdpUmem,
    _filter: XdpFilter,
}

fn near(joined: Option<JoinedLimits>) -> Near {
    let mut filter = XdpFilter::load().unwrap();
    let listens = vec![FilterListen { address: VIP.into(), ports: 8080..=8089, protocol: 6 }];
    filter.publish(&FilterRules { listens, ..FilterRules::default() }).unwrap();
    filter.attach("near", XdpMode::Generic).unwrap();
    let (umem, mut pool) = xdp_pool(FRAMES, 2048).unwrap();
    let tuning = XdpTuning { joined, ..RINGS.into() };
    let device = XdpDevice::bind(&umem, &mut pool, "near", 0, XdpMode::Generic, tuning).unwrap();
    filter.set_socket("near", 0, device.socket()).unwrap();
    Near { device, pool, _umem: umem, _filter: filter }
}

/// A link on which nothing need be joined: packets of that length go over it as they are.
fn long_veth() {
    veth("near", "far", 1);
    ip("link set near mtu 9000");
    ip("link set far mtu 9000");
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
    words.fold(0, |sum, word| (sum + word) % 0x1_0000 + (sum + word) / 0x1_0000) as u16
}

/// A frame with a TCP packet to the VIP, its checksum unfinished.
fn tcp(data: &[u8]) -> Vec<u8> {
    let len = 40 + data.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 7, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 7]);
    packet.extend(VIP);
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let [high, low] = (len - 20).to_be_bytes();
    let pseudo = sum(&[&packet[12..20], &[0, 6, high, low]].concat());
    packet.extend([0xc3, 0x50, 0x1f, 0x90, 0, 0, 0, 5, 0, 0, 0, 9, 0x50, 0x18, 0, 100]);
    packet.extend(pseudo.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(data);
    ethernet(mac_of("near"), &packet)
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 253) as u8).collect()
}

#[test]
fn what_comes_in_several_chunks_is_cut() {
    in_namespace(|| {
        long_veth();
        let wire = Wire::on("far");
        let mut near = near(Some(LIMITS));
        let (device, pool) = (&mut near.device, &mut near.pool);
        let data = data(8_000);
        for _ in 0..100 {
            wire.send(&tcp(&data));
            wire.send(&tcp(&data[..1_000]));
            let burst = receive(device, pool, 7);
            let pieces: Vec<&[u8]> = burst.iter().map(|frame| &frame.bytes()[54..]).collect();
            assert_eq!(pieces[..6].concat(), data);
            assert_eq!(pieces[6], &data[..1_000]);
            assert!(burst.iter().all(|frame| frame.len() <= 1_464 && frame.headroom() == 256));
            pool.put_all(burst);
        }
        let state = device.state();
        assert_eq!((state.rx_dropped, state.bad_descriptors), (0, 0));
        device.rx(pool, &mut Vec::new(), 64);
        assert_eq!(pool.free(), FRAMES - RINGS.fill as usize);
    });
}

#[test]
fn what_a_sender_has_joined_is_cut() {
    in_namespace(|| {
        veth("near", "far", 1);
        let wire = Wire::on("far");
        let mut near = near(Some(LIMITS));
        let (device, pool) = (&mut near.device, &mut near.pool);
        let data = data(60_000);
        for _ in 0..20 {
            wire.send_joined(&tcp(&data), 1_460);
            let burst = receive(device, pool, 43);
            assert_eq!(burst.iter().flat_map(|frame| frame.bytes()[54..].to_vec()).collect::<Vec<u8>>(), data);
            for (n, frame) in burst.iter().enumerate() {
                // The unfinished checksum of a TCP packet of that length, from 192.0.2.7.
                let len = (frame.len() - 34) as u16;
                let pseudo = [&[192, 0, 2, 7], &VIP[..], &[0, 6], &len.to_be_bytes()].concat();
                assert_eq!(frame.bytes()[50..52], sum(&pseudo).to_be_bytes(), "piece {n}");
            }
            pool.put_all(burst);
        }
        assert_eq!((device.state().rx_dropped, device.state().bad_descriptors), (0, 0));
    });
}

#[test]
fn without_limits_the_kernel_drops_what_fits_no_frame() {
    in_namespace(|| {
        long_veth();
        let wire = Wire::on("far");
        let mut near = near(None);
        let (device, pool) = (&mut near.device, &mut near.pool);
        wire.send(&tcp(&data(8_000)));
        eventually("a drop", || (device.state().rx_dropped == 1).then_some(()));
        wire.send(&tcp(&data(1_000)));
        let burst = receive(device, pool, 1);
        pool.put_all(burst);
        assert_eq!(device.state().bad_descriptors, 0);
    });
}
