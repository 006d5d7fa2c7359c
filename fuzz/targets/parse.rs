//! Every parser of `wire` and `vxlan` over any bytes: no panic, and nothing that points outside of the packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Arp, Headers, L4};

fuzz_target!(|bytes: &[u8]| {
    let _ = wire::ethernet(bytes);
    let _ = Arp::parse(bytes);
    let _ = vxlan::parse(bytes, 0, bytes.len());
    let Ok(headers) = Headers::parse(bytes, 0) else { return };
    assert!(headers.ip.end() <= bytes.len());
    assert!(headers.ip.payload() <= headers.ip.end());
    let mut copy = bytes.to_vec();
    match headers.l4 {
        L4::Tcp(tcp) => {
            let options = tcp.options(bytes);
            assert_eq!(tcp.timestamps(bytes).map(|t| t.value), options.timestamps.map(|t| t.value));
            tcp.clamp_mss(&mut copy, 1410);
            tcp.shift_timestamps(&mut copy, 7, 9);
        }
        L4::Icmp(icmp) if icmp.is_error() => {
            if let Ok(inner) = icmp.inner(bytes) {
                wire::translate_icmp_error(&mut copy, &headers.ip, &icmp, headers.ip.dst, headers.ip.src, inner.tuple);
            }
        }
        _ => {}
    }
    let mut piece = [0; 2048];
    for n in 0..70 {
        if wire::split(bytes, 576, n, &mut piece).is_none() {
            break;
        }
    }
});
