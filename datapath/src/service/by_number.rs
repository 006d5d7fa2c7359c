//! A map from 32-bit numbers that the operator or control gave: ids of backends, addresses of tunnel endpoints. Every packet asks
//! it, and a general map's keyed hash costs four times as much ([why](../../../docs/decisions/023-a-map-of-numbers.md)). Who sends packets
//! chooses none of its keys, so its hash need not be secret.

/// Near the golden ratio of 2³²: numbers that follow one another lie far apart.
const SPREAD: u32 = 0x9e37_79b9;

/// Open addressing, never more than half full, so that every search ends at an empty place.
#[derive(Debug)]
pub(super) struct ByNumber<V> {
    places: Vec<Option<(u32, V)>>,
    len: usize,
    /// The upper bits of a product are the place: as many as places have.
    shift: u32,
}

impl<V> ByNumber<V> {
    pub(super) fn new() -> Self {
        Self::with_room(0)
    }

    /// So many numbers come: nothing need move for them.
    pub(super) fn with_room(numbers: usize) -> Self {
        Self::with_bits((numbers * 2).next_power_of_two().trailing_zeros().max(4))
    }

    fn with_bits(bits: u32) -> Self {
        Self { places: (0..1 << bits).map(|_| None).collect(), len: 0, shift: u32::BITS - bits }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&V> {
        let mut at = self.home(number);
        loop {
            let (held, value) = self.places.get(at)?.as_ref()?;
            if *held == number {
                return Some(value);
            }
            at = self.next(at);
        }
    }

    #[inline]
    pub(super) fn contains(&self, number: u32) -> bool {
        self.get(number).is_some()
    }

    /// False, and nothing is changed, when the number is there already.
    pub(super) fn insert(&mut self, number: u32, value: V) -> bool {
        if self.contains(number) {
            return false;
        }
        if (self.len + 1) * 2 > self.places.len() {
            self.grow();
        }
        self.put(number, value);
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        self.places.iter().flatten().map(|(number, value)| (*number, value))
    }

    fn grow(&mut self) {
        let larger = Self::with_bits(u32::BITS - self.shift + 1);
        for (number, value) in std::mem::replace(self, larger).places.into_iter().flatten() {
            self.put(number, value);
        }
    }

    fn put(&mut self, number: u32, value: V) {
        let mut at = self.home(number);
        while self.places[at].is_some() {
            at = self.next(at);
        }
        self.places[at] = Some((number, value));
        self.len += 1;
    }

    #[inline]
    fn home(&self, number: u32) -> usize {
        (number.wrapping_mul(SPREAD) >> self.shift) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Numbers that begin in one place, too: those whose product with the constant has its upper bits zero.
        #[test]
        fn does_what_a_general_map_does(
            numbers in proptest::collection::vec(prop_oneof![any::<u32>(), 0..40_u32, (0..40_u32).prop_map(|n| (n * 7).wrapping_mul(INVERSE))], 0..300)
        ) {
            let (mut ours, mut model) = (ByNumber::new(), HashMap::new());
            for (value, number) in numbers.iter().enumerate() {
                prop_assert_eq!(ours.insert(*number, value), !model.contains_key(number));
                model.entry(*number).or_insert(value);
            }
            for number in numbers.iter().copied().chain(0..50) {
                prop_assert_eq!(ours.get(number), model.get(&number));
            }
            let mut all: Vec<_> = ours.iter().map(|(number, value)| (number, *value)).collect();
            let mut expected: Vec<_> = model.into_iter().collect();
            all.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(all, expected);
        }
    }

    /// Of the constant, modulo 2³².
    const INVERSE: u32 = 0x144c_bc89;

    #[test]
    fn the_inverse_is_one() {
        assert_eq!(INVERSE.wrapping_mul(SPREAD), 1);
    }
}
