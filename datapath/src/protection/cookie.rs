//! SYN cookies: a whole SYN in the 32 bits of our own initial sequence number, so that nothing need be remembered until the
//! client has shown that it hears us.
//!
//! ```text
//! 31      24 23                       0
//! +---------+--------------------------+
//! | offer^  | code over all the rest   |
//! +---------+--------------------------+
//! ```
//! The offer (class of the MSS, SACK, window scale) is hidden by a keyed hash of addresses, ports, the client's own sequence
//! number and the time; the code is a keyed hash of the same and the offer. Time counts in slots of 64 seconds; a cookie is good
//! in its own slot and the next one. Who does not know the key guesses a code once in eight million tries, for each number that
//! the client may have begun with: a segment is tried with two of them, so one segment in four million passes.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use wire::{FiveTuple, TcpOffer};

const SLOT_SECONDS: u64 = 64;
/// How long the youngest cookie may be good.
pub(super) const LIFETIME: Duration = Duration::from_secs(2 * SLOT_SECONDS);
const CODE: u32 = 0x00ff_ffff;
/// What a SYN may say of its MSS, rounded down: these are kept. The last ones are Ethernet's with and without tunnels.
const MSS_CLASSES: [u16; 8] = [216, 536, 1024, 1220, 1360, 1400, 1440, 1460];
/// RFC 9293, 3.7.1: of who does not say.
const DEFAULT_MSS: u16 = 536;
const NO_SCALE: u8 = 15;
const MAX_SCALE: u8 = 14;

/// The keys, from the operating system's randomness, new with every process.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    hide: RandomState,
    code: RandomState,
}

impl Cookies {
    /// The cookie for a SYN of `client` with this sequence number.
    pub(super) fn bake(&self, client: &FiveTuple, isn: u32, offer: TcpOffer, now: Duration) -> u32 {
        self.at(client, isn, pack(offer), slot(now))
    }

    /// What the SYN said that got this cookie; `None` if it is none of ours, or too old.
    pub(super) fn read(&self, client: &FiveTuple, isn: u32, cookie: u32, now: Duration) -> Option<TcpOffer> {
        let newest = slot(now);
        [newest, newest.wrapping_sub(1)].into_iter().find_map(|slot| {
            let packed = (cookie >> 24) as u8 ^ self.mask(client, isn, slot);
            (self.at(client, isn, packed, slot) == cookie).then(|| unpack(packed))
        })
    }

    fn at(&self, client: &FiveTuple, isn: u32, packed: u8, slot: u64) -> u32 {
        let code = self.code.hash_one((words(client), isn, slot, packed)) as u32 & CODE;
        u32::from(packed ^ self.mask(client, isn, slot)) << 24 | code
    }

    fn mask(&self, client: &FiveTuple, isn: u32, slot: u64) -> u8 {
        self.hide.hash_one((words(client), isn, slot)) as u8
    }
}

fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT_SECONDS
}

fn words(client: &FiveTuple) -> [u32; 3] {
    let ports = u32::from(client.src_port) << 16 | u32::from(client.dst_port);
    [client.src.to_bits(), client.dst.to_bits(), ports]
}

/// Three bits of MSS, one of SACK, four of window scale.
fn pack(offer: TcpOffer) -> u8 {
    let mss = offer.mss.unwrap_or(DEFAULT_MSS);
    let class = MSS_CLASSES.iter().rposition(|class| *class <= mss).unwrap_or(0) as u8;
    let scale = offer.window_scale.map_or(NO_SCALE, |scale| scale.min(MAX_SCALE));
    class << 5 | u8::from(offer.sack_permitted) << 4 | scale
}

fn unpack(packed: u8) -> TcpOffer {
    let scale = packed & 0x0f;
    TcpOffer {
        mss: MSS_CLASSES.get(usize::from(packed >> 5)).copied(),
        sack_permitted: packed & 0x10 != 0,
        window_scale: (scale != NO_SCALE).then_some(scale),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use wire::Protocol;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn client(n: u32, port: u16) -> FiveTuple {
        let dst = Ipv4Addr::new(198, 18, 0, 1);
        FiveTuple { src: n.into(), dst, src_port: port, dst_port: 8080, protocol: Protocol::Tcp }
    }

    fn offer(mss: u16, sack_permitted: bool, window_scale: Option<u8>) -> TcpOffer {
        TcpOffer { mss: Some(mss), sack_permitted, window_scale }
    }

    #[test]
    fn an_mss_is_rounded_down_and_never_up() {
        let kept = |mss| unpack(pack(TcpOffer { mss, ..TcpOffer::default() })).mss.unwrap();
        for (said, expected) in
            [(1460, 1460), (1459, 1440), (8960, 1460), (1400, 1400), (536, 536), (535, 216), (1, 216)]
        {
            assert_eq!(kept(Some(said)), expected, "{said}");
        }
        assert_eq!(kept(None), 536);
    }

    #[test]
    fn a_cookie_ages() {
        let (cookies, who, said) = (Cookies::default(), client(7, 40_000), offer(1460, true, Some(7)));
        let before = Duration::from_secs(64 * 1000 - 1);
        let start = before + Duration::from_secs(1);
        let cookie = cookies.bake(&who, 99, said, start);
        let read = |after: u64| cookies.read(&who, 99, cookie, start + Duration::from_secs(after));
        assert_eq!((read(0), read(127), read(128)), (Some(said), Some(said), None));
        assert_eq!(cookies.read(&who, 99, cookie, before), None, "of tomorrow");
    }

    #[test]
    fn another_process_has_other_keys() {
        let who = client(7, 40_000);
        let cookie = Cookies::default().bake(&who, 99, offer(1460, true, None), MINUTE);
        assert_eq!(Cookies::default().read(&who, 99, cookie, MINUTE), None);
    }

    /// One in eight million (24 bits, two slots): of a hundred thousand guesses none passes.
    #[test]
    fn guesses_do_not_pass() {
        let (cookies, who) = (Cookies::default(), client(7, 40_000));
        let passed = (0..100_000u32).filter(|n| cookies.read(&who, 99, n.wrapping_mul(0x9e37_79b9), MINUTE).is_some());
        assert!(passed.count() <= 1);
    }

    proptest! {
        #[test]
        fn what_was_said_comes_back(
            n: u32, port: u16, isn: u32, class in 0usize..8, sack: bool, scale in prop::option::of(0u8..=14), seconds: u32,
        ) {
            let (cookies, who, said) = (Cookies::default(), client(n, port), offer(MSS_CLASSES[class], sack, scale));
            let now = Duration::from_secs(seconds.into());
            let cookie = cookies.bake(&who, isn, said, now);
            prop_assert_eq!(cookies.read(&who, isn, cookie, now), Some(said));
            prop_assert_eq!(cookies.read(&who, isn.wrapping_add(1), cookie, now), None);
            prop_assert_eq!(cookies.read(&client(n ^ 1, port), isn, cookie, now), None);
            prop_assert_eq!(cookies.read(&client(n, port ^ 1), isn, cookie, now), None);
        }
    }
}
