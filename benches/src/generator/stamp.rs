//! What the payload of a generated datagram begins with: 18 bytes, which is all that a 64-byte frame has room for.

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 18;
/// Numbers have 56 bits.
const NUMBER_MASK: u64 = (1 << 56) - 1;

/// Which packet this is, and when it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Tells apart runs of one process: what comes late from an earlier one is not counted.
    pub run: u16,
    /// The stream.
    pub stream: u8,
    /// The number within the stream, from 0.
    pub number: u64,
    /// When it left, in nanoseconds of the generator's clock.
    pub nanos: u64,
}

impl Stamp {
    /// As it lies in the payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STAMP_LEN] {
        let mut bytes = [0; STAMP_LEN];
        bytes[..2].copy_from_slice(&self.run.to_be_bytes());
        bytes[2..10].copy_from_slice(&(u64::from(self.stream) << 56 | self.number & NUMBER_MASK).to_be_bytes());
        bytes[10..].copy_from_slice(&self.nanos.to_be_bytes());
        bytes
    }

    /// Reads it from the front of a payload.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (run, rest) = payload.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (nanos, _) = rest.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        Some(Stamp {
            run: u16::from_be_bytes(*run),
            stream: (number >> 56) as u8,
            number: number & NUMBER_MASK,
            nanos: u64::from_be_bytes(*nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_written() {
        let stamp = Stamp { run: 0xabcd, stream: 200, number: NUMBER_MASK, nanos: u64::MAX - 5 };
        assert_eq!(Stamp::read(&stamp.to_bytes()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.to_bytes()[..17]), None);
        // 64 bytes less FCS, Ethernet, IPv4 and UDP headers.
        assert_eq!(STAMP_LEN, 64 - 4 - 14 - 20 - 8);
    }
}
