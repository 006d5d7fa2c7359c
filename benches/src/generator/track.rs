//! What became of numbered packets: lost, out of order, twice.

use super::flows::Rotation;

/// Judges the numbers of one stream. Exact: it remembers every number.
#[derive(Debug)]
pub struct Tracker {
    rotation: Rotation,
    /// One bit for each number.
    seen: Vec<u64>,
    /// By flow: one more than the highest place that has arrived.
    next: Vec<u32>,
    unique: u64,
    duplicates: u64,
    reordered: u64,
    strange: u64,
}

impl Tracker {
    /// For packets whose flows follow this rotation.
    #[must_use]
    pub fn new(rotation: Rotation) -> Tracker {
        let next = vec![0; rotation.flows() as usize];
        Tracker { rotation, seen: Vec::new(), next, unique: 0, duplicates: 0, reordered: 0, strange: 0 }
    }

    /// A packet with this number has arrived; numbers below `issued` exist.
    pub fn accept(&mut self, number: u64, issued: u64) {
        if number >= issued {
            self.strange += 1;
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.unique += 1;
        // RFC 4737 §3.3: reordered is what comes after one that was sent later. Only within a flow does order matter.
        let (place, flow) = self.rotation.place(number);
        if let Some(next) = self.next.get_mut(flow) {
            if place < u64::from(*next) {
                self.reordered += 1;
            } else {
                *next = place as u32 + 1;
            }
        }
    }

    /// Different packets that have arrived.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Further copies of packets that had arrived.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came after a later one of their flow.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Numbers that were never given out: damaged packets.
    #[must_use]
    pub fn strange(&self) -> u64 {
        self.strange
    }
}

#[cfg(test)]
mod tests {
    use super::super::flows::Order;
    use super::*;

    fn judged(flows: u64, numbers: &[u64]) -> (u64, u64, u64, u64) {
        let mut tracker = Tracker::new(Rotation::new(flows, Order::InTurn));
        for number in numbers {
            tracker.accept(*number, 1000);
        }
        (tracker.unique(), tracker.duplicates(), tracker.reordered(), tracker.strange())
    }

    #[test]
    fn one_flow() {
        assert_eq!(judged(1, &[0, 1, 2, 3]), (4, 0, 0, 0));
        assert_eq!(judged(1, &[0, 2, 3]), (3, 0, 0, 0));
        assert_eq!(judged(1, &[0, 1, 1, 2, 0]), (3, 2, 0, 0));
        // The example of RFC 4737 §3.3.1: 1,2,3,7,8,4,5,6 has three reordered packets.
        assert_eq!(judged(1, &[1, 2, 3, 7, 8, 4, 5, 6]), (8, 0, 3, 0));
        assert_eq!(judged(1, &[5, 1000, 1001]), (1, 0, 0, 2));
    }

    #[test]
    fn order_between_flows_does_not_matter() {
        assert_eq!(judged(2, &[1, 0, 3, 2]), (4, 0, 0, 0));
        assert_eq!(judged(2, &[2, 1, 0, 3]), (4, 0, 1, 0));
    }
}
