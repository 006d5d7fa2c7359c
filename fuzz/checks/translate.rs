//! The translation between IPv6 and IPv4 over any bytes: no panic; what comes out is well formed by etherparse's
//! reading; a checksum is right after it if and only if it was right before; and the way back leads to the same packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use wire::translate::ROOM;
use wire::{Ipv6, Pair, Untranslatable};

/// The well-known prefix of RFC 6052.
const PREFIX: u128 = 0x0064_ff9b << 96;

fn widen(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(PREFIX | u128::from(address.to_bits()))
}

/// Forgets the prefix: any address has a form.
fn narrow(address: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() as u32)
}

/// Looks at the bytes as they are, then as a packet whose version, lengths and checksums are right.
pub fn run(bytes: &[u8]) {
    both(bytes);
    let mut mended = bytes.to_vec();
    if mend_four(&mut mended) || mend_six(&mut mended) {
        both(&mended);
    }
}

fn both(bytes: &[u8]) {
    if let Ok(four) = to_four(bytes) {
        // An atomic fragment does not come back as one.
        let atomic = Ipv6::parse(bytes, 0).is_ok_and(|ip| ip.fragment.is_some() && !ip.is_fragment());
        // Nor one that an error quotes, and errors are cut to 1280 bytes.
        let error = four[9] == 1 && !matches!(four[20], 0 | 8);
        let other = error && (four.len() > 1200 || quotes_extension(bytes));
        if let (false, Ok(back)) = (atomic || other, to_six(&four)) {
            assert_eq!(to_four(&back).as_ref(), Ok(&four), "there, back, and there");
        }
    }
    if let Ok(six) = to_six(bytes) {
        let _ = to_four(&six);
    }
}

/// Whether what an error quotes has extension headers.
fn quotes_extension(bytes: &[u8]) -> bool {
    let quote = Ipv6::parse(bytes, 0).map_or(0, |ip| ip.payload() + 8);
    bytes.get(quote + 6).is_some_and(|number| !matches!(number, 6 | 17 | 58))
}

fn to_four(bytes: &[u8]) -> Result<Vec<u8>, Untranslatable> {
    let mut frame = bytes.to_vec();
    let ip = Ipv6::parse(&frame, 0)?;
    assert!(ip.payload() <= ip.end() && ip.end() <= frame.len());
    let to = Pair { src: narrow(ip.src), dst: narrow(ip.dst) };
    let range = wire::six_to_four(&mut frame, &ip, to, 0, |address| Some(narrow(address)))?;
    let packet = frame[range].to_vec();
    let (header, payload) = crate::parse::ipv4(&packet);
    assert_eq!(usize::from(header.total_len), packet.len());
    assert_eq!((header.header_len(), header.time_to_live), (20, ip.hop_limit));
    assert_eq!((header.source, header.destination), (to.src.octets(), to.dst.octets()));
    if !ip.is_fragment() && ip.protocol != 58 {
        let before = sum6(ip.src, ip.dst, ip.protocol, &bytes[ip.payload()..ip.end()]);
        let after = sum(&[&header.source, &header.destination, &[0, ip.protocol]], payload);
        assert!(before != 0xffff || after == 0xffff, "a checksum that was right");
    }
    Ok(packet)
}

fn to_six(bytes: &[u8]) -> Result<Vec<u8>, Untranslatable> {
    let mut frame = [vec![0; ROOM], bytes.to_vec()].concat();
    let before = wire::Headers::parse(bytes, 0)?;
    let to = Pair { src: widen(before.ip.src()), dst: widen(before.ip.dst()) };
    let range = wire::four_to_six(&mut frame, ROOM, to, |address| Some(widen(address)))?;
    let packet = frame[range].to_vec();
    let (header, payload) = etherparse::Ipv6Header::from_slice(&packet).expect("an IPv6 header");
    assert_eq!(usize::from(header.payload_length), payload.len());
    assert_eq!(header.hop_limit, before.ip.ttl());
    if !before.ip.is_fragment() && wire::l4_checksum_ok(bytes, &before) {
        let after = sum6(to.src, to.dst, header.next_header.0, payload);
        assert!(after == 0xffff || matches!(before.l4, wire::L4::Udp(udp) if udp.len() < payload.len()));
    }
    Ok(packet)
}

/// RFC 1071, word by word, over a pseudo header without its length, the length, and the payload.
fn sum(pseudo: &[&[u8]], payload: &[u8]) -> u16 {
    let len = (payload.len() as u32).to_be_bytes();
    let words = |part: &[u8]| -> u64 {
        part.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
    };
    let mut total = pseudo.iter().map(|part| words(part)).sum::<u64>() + words(&len) + words(payload);
    while total >> 16 > 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn sum6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, payload: &[u8]) -> u16 {
    sum(&[&src.octets(), &dst.octets(), &[0, protocol]], payload)
}

fn mend_four(packet: &mut [u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 4) && crate::parse::mend(packet)
}

/// Makes the payload length right, and the checksum of a message right behind the fixed header.
fn mend_six(packet: &mut [u8]) -> bool {
    let version = packet.first().is_some_and(|first| first >> 4 == 6);
    if !version || packet.len() < 48 {
        return false;
    }
    let len = packet.len() - 40;
    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    if packet[6] == 58 {
        packet[42..44].fill(0);
        let mut addresses = [0; 32];
        addresses.copy_from_slice(&packet[8..40]);
        let checksum = !sum(&[&addresses, &[0, 58]], &packet[40..]);
        packet[42..44].copy_from_slice(&checksum.to_be_bytes());
    }
    true
}
