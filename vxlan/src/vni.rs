//! The name of an overlay network on the wire.

use std::fmt;

/// A VXLAN network identifier: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(u32);

impl Vni {
    /// The largest one.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// From the three bytes of the header.
    pub(crate) const fn from_bytes(bytes: [u8; 3]) -> Self {
        let [a, b, c] = bytes;
        Self(u32::from_be_bytes([0, a, b, c]))
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A number that does not fit into 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VniTooLarge(pub u32);

impl fmt::Display for VniTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VNI {} is above {}", self.0, Vni::MAX)
    }
}

impl std::error::Error for VniTooLarge {}

impl TryFrom<u32> for Vni {
    type Error = VniTooLarge;

    fn try_from(number: u32) -> Result<Self, VniTooLarge> {
        if number <= Self::MAX.0 { Ok(Self(number)) } else { Err(VniTooLarge(number)) }
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_24_bits() {
        assert_eq!(Vni::try_from(4096).map(Vni::get), Ok(4096));
        assert_eq!(Vni::try_from(0x00ff_ffff), Ok(Vni::MAX));
        assert_eq!(Vni::try_from(0x0100_0000), Err(VniTooLarge(0x0100_0000)));
        assert_eq!(VniTooLarge(16_777_216).to_string(), "VNI 16777216 is above 16777215");
        assert_eq!(Vni::from_bytes([0x01, 0x02, 0x03]).get(), 0x0001_0203);
    }
}
