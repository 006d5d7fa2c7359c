//! Which combinations of flags make sense, and what kind of segment they make.

use wire::{Tcp, TcpFlags};

/// The kind of a segment, as Linux' table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
}

impl Class {
    /// `None` for what no TCP sends: no flags at all, SYN with FIN or RST, a FIN without ACK, …
    /// The same list as `tcp_valid_flags` in Linux; PSH, ECE and CWR may go with anything.
    pub(super) fn of(flags: TcpFlags) -> Option<Class> {
        const FIN: u8 = TcpFlags::FIN.0;
        const SYN: u8 = TcpFlags::SYN.0;
        const RST: u8 = TcpFlags::RST.0;
        const ACK: u8 = TcpFlags::ACK.0;
        const URG: u8 = TcpFlags::URG.0;
        match flags.0 & (FIN | SYN | RST | ACK | URG) {
            bits if bits == ACK || bits == ACK | URG => Some(Class::Ack),
            bits if bits == SYN || bits == SYN | URG => Some(Class::Syn),
            bits if bits == SYN | ACK => Some(Class::SynAck),
            bits if bits == FIN | ACK || bits == FIN | ACK | URG => Some(Class::Fin),
            bits if bits == RST || bits == RST | ACK => Some(Class::Rst),
            _ => None,
        }
    }
}

/// A clean SYN: the only kind of segment that may open a flow.
#[must_use]
pub fn opens(tcp: &Tcp) -> bool {
    Class::of(tcp.flags()) == Some(Class::Syn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nine valid combinations of FIN, SYN, RST, ACK and URG, by hand.
    #[test]
    fn nine_of_thirty_two() {
        let valid = [
            (0x02, Class::Syn),
            (0x22, Class::Syn),
            (0x12, Class::SynAck),
            (0x04, Class::Rst),
            (0x14, Class::Rst),
            (0x11, Class::Fin),
            (0x31, Class::Fin),
            (0x10, Class::Ack),
            (0x30, Class::Ack),
        ];
        for bits in 0..=u8::MAX {
            let known = valid.iter().find(|(flags, _)| *flags == bits & 0x37);
            assert_eq!(Class::of(TcpFlags(bits)), known.map(|(_, class)| *class), "{bits:#04x}");
        }
    }
}
