//! Every parser of `wire` and `vxlan` over any bytes: no panic, and nothing that points outside of the packet.

use wire::{Arp, Headers, L4};

/// Looks at the bytes as they are, and once more with the IP checksum mended, so that more than the first check is seen.
pub fn run(bytes: &[u8]) {
    look(bytes);
    let mut mended = bytes.to_vec();
    if mend(&mut mended) {
        look(&mended);
    }
}

/// Makes the checksum of the IPv4 header at the front right; false if there is no such header, or it was right before.
pub fn mend(packet: &mut [u8]) -> bool {
    let Ok((ip, _)) = etherparse::Ipv4Header::from_slice(packet) else { return false };
    let before = [packet[10], packet[11]];
    packet[10..12].fill(0);
    let sum = checksum(&packet[..ip.header_len()]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    sum != before
}

/// The IPv4 header and payload of a packet that we made: nothing of it may be wrong.
pub fn ipv4(packet: &[u8]) -> (etherparse::Ipv4Header, &[u8]) {
    let (ip, payload) = etherparse::Ipv4Header::from_slice(packet).expect("an IPv4 header");
    assert_eq!(checksum(&packet[..ip.header_len()]), 0, "the IP checksum");
    (ip, payload)
}

/// Over the bytes as they are: etherparse's own sum of a header takes the reserved bit for zero.
fn checksum(header: &[u8]) -> u16 {
    etherparse::checksum::Sum16BitWords::new().add_slice(header).ones_complement().to_be()
}

fn look(bytes: &[u8]) {
    let _ = wire::ethernet(bytes);
    let _ = Arp::parse(bytes);
    let _ = vxlan::parse(bytes, 0, bytes.len());
    let Ok(headers) = Headers::parse(bytes, 0) else { return };
    assert!(headers.ip.end() <= bytes.len());
    assert!(headers.ip.payload() <= headers.ip.end());
    edit(bytes, &headers);
    for mtu in [68, 576, 1450] {
        cut(bytes, &headers, mtu);
    }
}

fn edit(bytes: &[u8], headers: &Headers) {
    let mut copy = bytes.to_vec();
    match headers.l4 {
        L4::Tcp(tcp) => {
            let options = tcp.options(bytes);
            assert_eq!(tcp.timestamps(bytes).map(|t| t.value), options.timestamps.map(|t| t.value));
            tcp.clamp_mss(&mut copy, 1410);
            tcp.shift_timestamps(&mut copy, 7, 9);
        }
        L4::Udp(udp) if (udp.dst_port == vxlan::PORT) => {
            let _ = vxlan::parse(bytes, headers.ip.payload() + 8, headers.ip.end());
        }
        L4::Icmp(icmp) if icmp.is_error() => {
            if let Ok(inner) = icmp.inner(bytes) {
                wire::translate_icmp_error(
                    &mut copy,
                    &headers.ip,
                    &icmp,
                    headers.ip.dst(),
                    headers.ip.src(),
                    inner.tuple,
                );
            }
        }
        _ => {}
    }
    wire::finish_partial_checksum(&mut copy, headers);
    wire::decrement_ttl(&mut copy, &headers.ip);
    let after = Headers::parse(&copy, 0).map(|headers| headers.ip.end());
    assert_eq!(after.ok(), Some(headers.ip.end()), "an edited packet is a packet still");
}

/// All pieces together carry the payload once, in order; or there are none at all.
fn cut(bytes: &[u8], headers: &Headers, mtu: usize) {
    let mut piece = [0; 2048];
    let whole = &bytes[headers.ip.payload()..headers.ip.end()];
    let mut sent = whole;
    for n in 0..2000 {
        let Some(len) = wire::split(&bytes[..headers.ip.end()], mtu, n, &mut piece) else {
            assert!(sent.is_empty() || sent.len() == whole.len(), "cut short: {} of {}", sent.len(), whole.len());
            return;
        };
        assert!(len <= mtu, "a piece of {len} bytes for an MTU of {mtu}");
        let (ip, payload) = ipv4(&piece[..len]);
        assert_eq!(usize::from(ip.total_len), len, "the length of a piece");
        assert_eq!(sent.get(..payload.len()), Some(payload), "the next bytes");
        sent = &sent[payload.len()..];
    }
    panic!("no end of pieces");
}
