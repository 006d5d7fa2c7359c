//! The keyed hash of five-tuples: SipHash-1-3 over their 13 bytes, so that who does not know the key cannot aim many
//! flows at one place of the index.

use wire::FiveTuple;

/// The secret of one table.
#[derive(Clone, Copy)]
pub(crate) struct HashKey {
    k0: u64,
    k1: u64,
}

/// Length of the hashed string: two addresses, two ports, the protocol. `SipHash` puts it in the top byte of the last word.
const LEN: u64 = 13;

impl HashKey {
    pub(crate) fn new(seed: u64) -> Self {
        Self { k0: spread(seed), k1: spread(seed ^ 0x5851_f42d_4c95_7f2d) }
    }

    pub(crate) fn hash(self, key: &FiveTuple) -> u64 {
        let src = u32::from_le_bytes(key.src.octets());
        let dst = u32::from_le_bytes(key.dst.octets());
        let addresses = u64::from(dst) << 32 | u64::from(src);
        let ports = u64::from(key.dst_port) << 16 | u64::from(key.src_port);
        let last = LEN << 56 | (key.protocol as u64) << 32 | ports;
        self.sip13(addresses, last)
    }

    fn sip13(self, first: u64, last: u64) -> u64 {
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        for word in [first, last] {
            v[3] ^= word;
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        for _ in 0..3 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

/// The finaliser of `SplitMix64`: makes two unrelated keys of one seed.
fn spread(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use core::net::Ipv4Addr;
    use wire::Protocol;

    /// The standard library's default hasher is SipHash-1-3 with a zero key.
    #[test]
    fn is_siphash_1_3() {
        let key = FiveTuple {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(198, 51, 100, 7),
            src_port: 0x1234,
            dst_port: 80,
            protocol: Protocol::Tcp,
        };
        let mut reference = std::hash::DefaultHasher::new();
        reference.write(&[192, 0, 2, 1, 198, 51, 100, 7, 0x34, 0x12, 80, 0, 6]);
        assert_eq!(HashKey { k0: 0, k1: 0 }.hash(&key), reference.finish());
    }

    #[test]
    fn the_seed_matters() {
        let key = FiveTuple {
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::LOCALHOST,
            src_port: 1,
            dst_port: 2,
            protocol: Protocol::Udp,
        };
        assert_ne!(HashKey::new(1).hash(&key), HashKey::new(2).hash(&key));
    }
}
