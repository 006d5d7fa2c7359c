//! Connections whose two ends count in different sequence spaces: because the gateway has put bytes in front of the
//! client's stream, or because it has answered the client's SYN with a number of its own.
//!
//! Numbers only: the packets are edited in `stage/splice.rs`. The tracker, the answers made here and everything that looks
//! at a flow see the *client's* numbers: what the backend sends is renumbered before it is tracked, what the client sends
//! after it.
//!
//! A flow says with one bit ([`conntrack::Flow::is_spliced`]) that there is a [`Splice`] in its place here. What is in the
//! place of a flow without the bit is left over from an earlier one and means nothing, so that nothing need be removed when
//! a flow ends, in whatever way. Memory is bounded by the flow table.

use std::time::Duration;

use conntrack::FlowId;

use crate::waits::Waits;

/// Splices of a page: pages are made when a flow in them needs one, and kept.
const PAGE: usize = 64;
/// How long the first wait is for the backend to acknowledge what was put in front; each next one is twice as long.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(200);
/// So many waits, 25.4 s in all; then the backend is taken for one that does not listen.
pub(crate) const WAITS: usize = 7;
/// As long as the stream has not come so far, numbers around its beginning mean its beginning; after that the circle of
/// sequence numbers may come round to them again.
const NEAR_START_BYTES: u32 = 1 << 30;
/// How much beyond a SYN a SYN-ACK is taken for one of the same SYN.
const MAX_SYN_DATA_BYTES: u32 = 65_535;

/// How far what was put in front of the client's stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The backend has not answered the client's SYN.
    Opening,
    /// It has; nothing was sent yet.
    Unsent,
    /// On its way.
    Sent,
    /// The backend has all of it.
    Acknowledged,
}

/// How the windows of one connection are scaled at its ends, where the gateway has answered the SYN for the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scales {
    /// What the client was promised.
    promised: u8,
    /// What the backend does; it may not scale at all.
    backend: Option<u8>,
    /// What the client does.
    client: u8,
}

impl Scales {
    /// `None` if the client does not scale: then nobody does.
    pub(crate) fn new(promised: u8, backend: Option<u8>, client: Option<u8>) -> Option<Self> {
        Some(Self { promised, backend: backend.map(|scale| scale.min(14)), client: client?.min(14) })
    }

    /// A window of the backend, in its own units, as the client must read it. Rounded down, but never to nothing.
    fn for_client(self, window: u16, scale: u8) -> u16 {
        let bytes = u32::from(window) << scale;
        let least = u32::from(window != 0);
        (bytes >> self.promised).clamp(least, u16::MAX.into()) as u16
    }

    /// A window of the client as a backend reads it that does not scale.
    fn for_backend(self, window: u16) -> u16 {
        if self.backend.is_some() { window } else { (u32::from(window) << self.client).min(u16::MAX.into()) as u16 }
    }
}

/// How the numbers of one connection differ between its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Splice {
    /// Bytes that were put in front of the client's stream.
    inserted: u32,
    /// What is added to the backend's sequence numbers for the client.
    pub(crate) backend_shift: u32,
    /// Sequence number of the client's first byte, in the client's space; at the backend, of the first byte inserted.
    start: u32,
    /// The backend's initial sequence number, in its own space.
    backend_isn: u32,
    progress: Progress,
    /// Near its start, see [`NEAR_START_BYTES`].
    near_start: bool,
    /// The backend's window scale.
    scale: u8,
    /// Our sequence number towards the client, until the backend has answered.
    pub(crate) cookie: Option<u32>,
    scales: Option<Scales>,
    /// The newest acknowledgment of the backend that has not gone through the tracker, in the backend's space.
    pub(crate) arriving: u32,
    /// Of the client's newest segment, for what is sent in its name: its window, its clock and ours, as the backend sees
    /// them.
    pub(crate) window: u16,
    pub(crate) timestamps: Option<(u32, u32)>,
    /// When it was last sent.
    pub(crate) sent_at: Duration,
    /// When it is sent again.
    due: Duration,
}

impl Splice {
    /// A connection that has begun with a SYN whose first byte of data would be `start`.
    pub(crate) fn new(inserted: u32, start: u32) -> Self {
        Self {
            inserted,
            backend_shift: 0,
            start,
            backend_isn: 0,
            progress: Progress::Opening,
            near_start: true,
            scale: 0,
            cookie: None,
            scales: None,
            arriving: 0,
            window: 0,
            timestamps: None,
            sent_at: Duration::ZERO,
            due: Duration::ZERO,
        }
    }

    /// Where it stands.
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// The client's first byte; at the backend, the first one inserted.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// Bytes that were put in front of the client's stream.
    pub(crate) fn inserted(&self) -> usize {
        self.inserted as usize
    }

    /// The client sends another SYN before the backend has answered.
    pub(crate) fn syn(&mut self, start: u32) {
        if self.progress == Progress::Opening {
            self.start = start;
        }
    }

    /// Whether a SYN-ACK acknowledges more than the client's SYN: data, which was taken out of it.
    pub(crate) fn goes_beyond(&self, ack: u32) -> bool {
        self.progress == Progress::Opening && (1..=MAX_SYN_DATA_BYTES).contains(&ack.wrapping_sub(self.start))
    }

    /// Whether a SYN-ACK, with the client's numbers, is the one that has opened the connection.
    pub(crate) fn opened_by(&self, ack: u32, seq: u32) -> bool {
        let known = (self.start, self.backend_isn.wrapping_add(self.backend_shift));
        self.progress != Progress::Opening && known == (ack, seq)
    }

    /// The backend has answered the SYN.
    pub(crate) fn answered(&mut self, start: u32, backend_isn: u32, scale: Option<u8>) {
        if self.opened_by(start, backend_isn.wrapping_add(self.backend_shift)) {
            return;
        }
        let progress = if self.inserted == 0 { Progress::Acknowledged } else { Progress::Unsent };
        let begun =
            Self { backend_isn, progress, scale: scale.unwrap_or(0).min(14), ..Self::new(self.inserted, start) };
        // Windows are not converted any more: both ends have told each other their scales.
        *self = Self { backend_shift: self.backend_shift, ..begun };
    }

    /// A connection that was answered by a cookie: the backend's SYN-ACK is here.
    pub(crate) fn join(&mut self, ack: u32, backend_isn: u32, scale: Option<u8>, scales: Option<Scales>) {
        let Some(cookie) = self.cookie.take() else { return };
        self.answered(ack, backend_isn, scale);
        self.backend_shift = cookie.wrapping_sub(backend_isn);
        self.scales = scales;
    }

    /// A window of the backend in the client's units; those of SYN segments are not scaled.
    pub(crate) fn window_for_client(&self, window: u16, is_syn: bool) -> u16 {
        match self.scales {
            None => window,
            Some(scales) if is_syn => scales.for_client(window, 0),
            Some(scales) => scales.for_client(window, scales.backend.unwrap_or(0)),
        }
    }

    /// A window of the client in the backend's units.
    pub(crate) fn window_for_backend(&self, window: u16) -> u16 {
        self.scales.map_or(window, |scales| scales.for_backend(window))
    }

    /// Number of the client's stream: from the backend's space into the client's. What lies before or within what was
    /// inserted is the stream's beginning.
    pub(crate) fn for_client(&self, number: u32) -> u32 {
        if self.progress == Progress::Opening {
            return number;
        }
        if self.near_start {
            let distance = number.wrapping_sub(self.start).cast_signed();
            if distance <= 0 {
                return number;
            }
            if distance.cast_unsigned() < self.inserted {
                return self.start;
            }
        }
        number.wrapping_sub(self.inserted)
    }

    /// The other way. As long as the backend does not have all that was inserted, what lies before the client's first byte
    /// stays there.
    pub(crate) fn for_backend(&self, number: u32) -> u32 {
        let stays = match self.progress {
            Progress::Opening => true,
            Progress::Acknowledged => false,
            Progress::Unsent | Progress::Sent => self.is_before_start(number),
        };
        if stays { number } else { number.wrapping_add(self.inserted) }
    }

    /// The number that a RST of ours to the backend must have: what the backend expects if it has got all that was sent.
    pub(crate) fn reset_to_backend(&self, number: u32) -> u32 {
        if self.progress == Progress::Unsent { number } else { self.for_backend(number) }
    }

    /// Before the client's first byte, near the connection's beginning.
    pub(crate) fn is_before_start(&self, number: u32) -> bool {
        self.near_start && number.wrapping_sub(self.start).cast_signed() < 0
    }

    /// How much of the backend's window what was inserted still takes, in units of the window field.
    pub(crate) fn window_taken(&self, ack: u32, is_syn: bool) -> u16 {
        if is_syn {
            return self.inserted as u16;
        }
        if matches!(self.progress, Progress::Opening | Progress::Acknowledged) {
            return 0;
        }
        let end = self.start.wrapping_add(self.inserted);
        let missing = end.wrapping_sub(ack);
        if missing > self.inserted { 0 } else { missing.div_ceil(1 << self.scale) as u16 }
    }

    /// A segment of the backend that was tracked acknowledges this, in the backend's space.
    pub(crate) fn hear(&mut self, ack: u32) {
        let distance = ack.wrapping_sub(self.start);
        if self.progress == Progress::Opening || distance.cast_signed() < 0 {
            return;
        }
        if distance >= NEAR_START_BYTES {
            self.near_start = false;
        }
        if self.progress == Progress::Sent && distance >= self.inserted {
            self.progress = Progress::Acknowledged;
        }
    }

    /// Takes over what the client's newest segment says, as the backend sees it.
    pub(crate) fn follow(&mut self, window: u16, timestamps: Option<(u32, u32)>) {
        self.window = window;
        let older = |new: u32, old: u32| new.wrapping_sub(old).cast_signed() < 0;
        match (timestamps, self.timestamps) {
            (Some((value, _)), Some((known, _))) if older(value, known) => {}
            (Some(_), _) => self.timestamps = timestamps,
            (None, _) => {}
        }
    }
}

/// The splices of one worker's flows, and which of them wait for the backend.
pub(crate) struct Splices {
    pages: Vec<Option<Box<[Splice; PAGE]>>>,
    waits: Waits<WAITS>,
}

impl Splices {
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), waits: Waits::new(std::array::from_fn(|n| FIRST_WAIT * (1 << n))) }
    }

    /// Puts a splice beside a flow. The flow's bit is the caller's.
    pub(crate) fn insert(&mut self, id: FlowId, splice: Splice) {
        let page = id.slot() / PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        if let Some(place) = self.pages.get_mut(page) {
            place.get_or_insert_with(|| Box::new([splice; PAGE]))[id.slot() % PAGE] = splice;
        }
    }

    /// The splice of a flow that has one.
    pub(crate) fn get(&self, id: FlowId) -> Option<&Splice> {
        self.pages.get(id.slot() / PAGE)?.as_ref()?.get(id.slot() % PAGE)
    }

    /// As [`Splices::get`], to write to.
    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut Splice> {
        self.pages.get_mut(id.slot() / PAGE)?.as_mut()?.get_mut(id.slot() % PAGE)
    }

    /// What was inserted has been sent. The first time, the waiting begins.
    pub(crate) fn sent(&mut self, id: FlowId, now: Duration) {
        let Some(splice) = self.get_mut(id) else { return };
        splice.sent_at = now;
        if splice.progress == Progress::Unsent {
            splice.progress = Progress::Sent;
            self.wait(id, 0, now);
        }
    }

    /// Begins the wait after so many; false after the last one.
    fn wait(&mut self, id: FlowId, waited: usize, now: Duration) -> bool {
        let Some(next) = self.waits.begin(id, waited, now) else { return false };
        if let Some(splice) = self.get_mut(id) {
            splice.due = next;
        }
        true
    }

    /// A flow whose wait is over, while the backend has not acknowledged what was inserted; to be asked again until it
    /// says `None`. `is_spliced` tells whether the flow in that place has a splice at all.
    pub(crate) fn overdue(&mut self, now: Duration, is_spliced: impl Fn(FlowId) -> bool) -> Option<Overdue> {
        while let Some(over) = self.waits.over(now) {
            let waits = |splice: &Splice| splice.progress == Progress::Sent && splice.due == over.due;
            if is_spliced(over.id) && self.get(over.id).is_some_and(waits) {
                let again = self.wait(over.id, over.waited, now);
                return Some(if again { Overdue::Repeat(over.id) } else { Overdue::Over(over.id) });
            }
        }
        None
    }
}

/// What to do about a flow whose backend has not acknowledged in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Send it again.
    Repeat(FlowId),
    /// It was sent often enough.
    Over(FlowId),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const INSERTED: u32 = 28;

    /// A splice whose header was sent and, if `acknowledged`, has arrived.
    fn splice(start: u32, scale: u8, acknowledged: bool) -> Splice {
        let mut splice = Splice::new(INSERTED, start);
        splice.answered(start, 5000, Some(scale));
        splice.progress = Progress::Sent;
        if acknowledged {
            splice.hear(start.wrapping_add(INSERTED));
        }
        splice
    }

    #[test]
    fn numbers_go_there_and_back_round_the_circle() {
        for start in [0, 1, 1000, u32::MAX, u32::MAX - 10, 0x8000_0000] {
            let mut splice = splice(start, 0, true);
            // Further than the circle goes round, in steps of less than the nearness.
            let mut sent = start;
            for _ in 0..12 {
                for near in [0, 1, 27, 28, 29, 70_000] {
                    let number = sent.wrapping_add(near);
                    assert_eq!(splice.for_client(splice.for_backend(number)), number, "from {start}");
                }
                sent = sent.wrapping_add(0x2000_0000);
                splice.hear(splice.for_backend(sent));
            }
            assert!(!splice.near_start && splice.progress == Progress::Acknowledged);
        }
    }

    #[test]
    fn what_is_inserted_is_the_beginning_for_the_client() {
        for start in [1000u32, u32::MAX - 10] {
            let splice = splice(start, 0, false);
            let seen = |n: u32| splice.for_client(start.wrapping_add(n)).wrapping_sub(start);
            assert_eq!([0, 1, 27, 28, 29, 100].map(seen), [0, 0, 0, 0, 1, 72]);
            let before = start.wrapping_sub(1);
            assert_eq!((splice.for_client(before), splice.for_backend(before)), (before, before));
            assert_eq!(splice.for_backend(start), start.wrapping_add(INSERTED));
        }
        let opening = Splice::new(INSERTED, 1000);
        assert_eq!((opening.for_client(77), opening.for_backend(77)), (77, 77), "nothing was agreed on yet");
    }

    #[test]
    fn the_window_lacks_what_is_missing_of_it_rounded_up() {
        let taken = |scale, ack| splice(1000, scale, false).window_taken(ack, false);
        assert_eq!([1000, 1001, 1027, 1028, 1029, 999].map(|ack| taken(0, ack)), [28, 27, 1, 0, 0, 0]);
        assert_eq!([1000, 1020, 1027, 1028].map(|ack| taken(4, ack)), [2, 1, 1, 0]);
        assert_eq!(taken(14, 1000), 1);
        assert_eq!(splice(1000, 7, false).window_taken(1000, true), 28, "that of a SYN-ACK is not scaled");
        assert_eq!(splice(1000, 0, true).window_taken(1000, false), 0);
    }

    #[test]
    fn a_syn_ack_may_not_go_beyond_its_syn() {
        let mut splice = Splice::new(INSERTED, 1001);
        assert_eq!(
            [1000, 1001, 1002, 66_536, 66_537].map(|ack| splice.goes_beyond(ack)),
            [false, false, true, true, false]
        );
        splice.syn(5001);
        assert!(!splice.goes_beyond(1001) && splice.goes_beyond(5002));
        splice.answered(5001, 9, None);
        assert!(!splice.goes_beyond(5002) && splice.opened_by(5001, 9) && !splice.opened_by(5001, 10));
    }

    #[test]
    fn old_clocks_are_not_taken_over() {
        let mut splice = Splice::new(INSERTED, 1);
        for (stamps, known) in [(Some((5, 1)), 5), (Some((4, 2)), 5), (None, 5), (Some((6, 3)), 6)] {
            splice.follow(100, stamps);
            assert_eq!(splice.timestamps.unwrap().0, known);
        }
    }

    #[test]
    fn waits_double_and_end() {
        // Places come from a table.
        let mut conntrack = conntrack::Conntrack::new(1, conntrack::Timeouts::default(), 1);
        let tuple = wire::FiveTuple {
            src: [192, 0, 2, 1].into(),
            dst: [192, 0, 2, 2].into(),
            src_port: 1,
            dst_port: 2,
            protocol: wire::Protocol::Tcp,
        };
        let backend = std::net::SocketAddrV4::new([192, 0, 2, 3].into(), 3);
        let open = conntrack::Open {
            original: tuple,
            backend,
            snat: None,
            service: 0,
            backend_id: 0,
            generation: 0,
            client: conntrack::ClientLink::default(),
        };
        let id = conntrack.open(&open, Duration::ZERO).unwrap().id;
        let mut splices = Splices::new();
        let mut one = Splice::new(INSERTED, 1000);
        one.answered(1000, 1, None);
        splices.insert(id, one);
        splices.sent(id, Duration::ZERO);
        let mut ends = Vec::new();
        for millis in (0..30_000).step_by(50) {
            let now = Duration::from_millis(millis);
            if let Some(overdue) = splices.overdue(now, |_| true) {
                ends.push((millis, overdue == Overdue::Over(id)));
            }
        }
        let expected = [200, 600, 1400, 3000, 6200, 12_600, 25_400].map(|millis| (millis, millis == 25_400));
        assert_eq!(ends, expected);
        // A flow that has taken the place of one that waited.
        splices.sent(id, Duration::ZERO);
        splices.insert(id, Splice::new(INSERTED, 7));
        assert_eq!(splices.overdue(Duration::from_mins(1), |_| true), None);
    }
}
