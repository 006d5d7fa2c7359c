//! The packet that an ICMP error quotes: translated as one that could be sent, as far as it is there.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::{delta, four, six};
use super::{Pair, Untranslatable, header, icmp};
use crate::bytes::{get16, set16, window_mut};
use crate::ipv4::protocol;
use crate::{Delta, Ipv4, Ipv6, Malformed, ipv6, tcp, udp};

/// Writes the IPv4 form of a quoted packet of which `frame` holds what is before `end`. Returns where it begins.
pub(super) fn six_to_four(
    frame: &mut [u8],
    ip: &Ipv6,
    end: usize,
    address: impl Fn(Ipv6Addr) -> Option<Ipv4Addr>,
) -> Result<usize, Untranslatable> {
    let address = |known| address(known).ok_or(Untranslatable::QuotedAddress);
    let (from, to) = (Pair { src: ip.src, dst: ip.dst }, Pair { src: address(ip.src)?, dst: address(ip.dst)? });
    let quote = frame.get_mut(..end).ok_or(Untranslatable::NoRoom)?;
    match ip.protocol {
        _ if ip.payload() > end => return Err(Malformed::BadIcmp.into()),
        ipv6::protocol::ICMP if ip.is_fragment() => return Err(Untranslatable::IcmpFragment),
        ipv6::protocol::ICMP => icmp::quoted_echo_to_four(quote, ip.payload(), from, ip.payload_len())?,
        protocol::TCP | protocol::UDP if ip.is_later_fragment() => {}
        protocol::TCP | protocol::UDP => edit(quote, ip.payload(), ip.protocol, delta(&six(from), &four(to))),
        other => return Err(Untranslatable::Protocol(other)),
    }
    header::write_four(frame, ip, to, 0, ip.payload(), ip.payload_len())
}

/// Writes the IPv6 form of a quoted packet of which `frame` holds what is before `end`. Returns where it begins.
pub(super) fn four_to_six(
    frame: &mut [u8],
    ip: &Ipv4,
    end: usize,
    address: impl Fn(Ipv4Addr) -> Option<Ipv6Addr>,
) -> Result<usize, Untranslatable> {
    let address = |known| address(known).ok_or(Untranslatable::QuotedAddress);
    let (from, to) = (Pair { src: ip.src(), dst: ip.dst() }, Pair { src: address(ip.src())?, dst: address(ip.dst())? });
    let quote = frame.get_mut(..end).ok_or(Untranslatable::NoRoom)?;
    match ip.protocol() {
        _ if ip.payload() > end => return Err(Malformed::BadIcmp.into()),
        protocol::ICMP if ip.is_fragment() => return Err(Untranslatable::IcmpFragment),
        protocol::ICMP => icmp::quoted_echo_to_six(quote, ip.payload(), to, ip.payload_len())?,
        protocol::TCP | protocol::UDP if ip.is_later_fragment() => {}
        protocol::TCP | protocol::UDP => edit(quote, ip.payload(), ip.protocol(), delta(&four(from), &six(to))),
        other => return Err(Untranslatable::Protocol(other)),
    }
    let number = if ip.protocol() == protocol::ICMP { ipv6::protocol::ICMP } else { ip.protocol() };
    header::write_six(frame, ip, to, number, ip.payload(), ip.payload_len())
}

/// The checksum of the quoted L4 header, if it was quoted so far. A UDP checksum of 0 stays.
fn edit(quote: &mut [u8], offset: usize, number: u8, change: Delta) {
    let is_udp = number == protocol::UDP;
    let at = offset + if is_udp { udp::field::CHECKSUM } else { tcp::field::CHECKSUM };
    let Some(field) = window_mut::<2>(quote, at) else { return };
    let old = get16(field, 0);
    if is_udp && old == 0 {
        return;
    }
    let new = change.apply(old);
    set16(field, 0, if is_udp { udp::never_zero(new) } else { new });
}
