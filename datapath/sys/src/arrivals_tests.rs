//! Joined packets from the kernel in memory, and worse ones.

use crate::joined::tests::{FOUR, assert_right_when_finished, four, pieces_of_four};

use super::*;

/// More than the longest chain takes, and its pieces.
const MANY: usize = 256;

fn cutting(fill_target: usize) -> Queue<FakeKernel> {
    let mut queue = queue(16, fill_target).cutting(FOUR);
    queue.kernel.fill_size = MANY;
    queue
}

fn filled(frames: usize, fill_target: usize) -> (FramePool, Queue<FakeKernel>) {
    let (mut pool, mut queue) = (pool(frames), cutting(fill_target));
    queue.restock(&mut pool);
    (pool, queue)
}

/// One descriptor of a packet arrives, with these bytes. Says where.
fn arrive(queue: &mut Queue<FakeKernel>, pool: &mut FramePool, bytes: &[u8], options: u32) -> u64 {
    let chunk = queue.kernel.fill.pop_front().expect("a chunk to receive into");
    let mut frame = pool.reclaim(u64::from(chunk) * SIZE as u64, queue.tags.fill).unwrap();
    assert!(frame.fill(bytes));
    let lent = pool.lend(frame, queue.tags.fill).unwrap();
    let address = lent.address as u64;
    queue.kernel.received.push_back(Descriptor { address, len: lent.len, options });
    address
}

/// A packet arrives in chunks that end where the `cuts` say.
fn arrive_in(queue: &mut Queue<FakeKernel>, pool: &mut FramePool, packet: &[u8], cuts: &[usize]) {
    let mut start = 0;
    for end in cuts {
        arrive(queue, pool, &packet[start..*end], CONTINUED);
        start = *end;
    }
    arrive(queue, pool, &packet[start..], 0);
}

fn take(queue: &mut Queue<FakeKernel>, pool: &mut FramePool, limit: usize) -> Vec<Vec<u8>> {
    let mut burst = Vec::new();
    let count = queue.rx(pool, &mut burst, limit);
    assert!(count == burst.len() && count <= limit);
    assert_conserved(queue, pool, count);
    let packets = burst.iter().map(|frame| frame.bytes().to_vec()).collect();
    pool.put_all(burst);
    packets
}

fn assert_nothing_lost(queue: &Queue<FakeKernel>, pool: &FramePool) {
    assert_eq!((queue.dropped, queue.bad_descriptors), (0, 0));
    assert!(!queue.has_work());
    assert_conserved(queue, pool, 0);
}

#[test]
fn a_joined_packet_is_cut_however_it_lies() {
    let cuts: [&[usize]; 6] = [&[], &[66], &[67, 68, 73], &[66, 66, 71], &[70, 74], &[69, 75, 76]];
    for cuts in cuts {
        let (mut pool, mut queue) = filled(FRAMES, 8);
        arrive_in(&mut queue, &mut pool, &four(), cuts);
        assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four(), "parted at {cuts:?}");
        // The chunks go home with the next call at the latest.
        assert!(take(&mut queue, &mut pool, 64).is_empty());
        assert_eq!(queue.kernel.fill.len(), 8);
        assert_nothing_lost(&queue, &pool);
    }
}

#[test]
fn packets_keep_their_order_whatever_the_limit() {
    for limit in 1..8 {
        let (mut pool, mut queue) = filled(FRAMES, 16);
        let mut expected = Vec::new();
        for n in 0..3_u8 {
            arrive(&mut queue, &mut pool, &[n; 60], 0);
            expected.push(vec![n; 60]);
            arrive_in(&mut queue, &mut pool, &four(), &[68, 70]);
            expected.extend(pieces_of_four());
        }
        let mut got = Vec::new();
        while got.len() < expected.len() {
            let some = take(&mut queue, &mut pool, limit);
            assert!(some.len() == limit || got.len() + some.len() == expected.len(), "a limit of {limit}");
            got.extend(some);
            assert!(queue.has_work() || got.len() == expected.len());
        }
        assert_eq!(got, expected);
        assert!(take(&mut queue, &mut pool, limit).is_empty());
        assert_nothing_lost(&queue, &pool);
    }
}

#[test]
fn nothing_is_asked_and_nothing_is_lost() {
    let (mut pool, mut queue) = filled(FRAMES, 8);
    arrive_in(&mut queue, &mut pool, &four(), &[70]);
    assert!(take(&mut queue, &mut pool, 0).is_empty() && queue.has_work());
    assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four());
}

#[test]
fn a_packet_that_is_none_too_long_is_put_together() {
    let (mut pool, mut queue) = filled(FRAMES, 8);
    let packet: Vec<u8> = (0..75).collect();
    arrive_in(&mut queue, &mut pool, &packet, &[1, 1, 40]);
    arrive(&mut queue, &mut pool, &packet, 0);
    assert_eq!(take(&mut queue, &mut pool, 64), [packet.clone(), packet]);
    assert!(take(&mut queue, &mut pool, 64).is_empty());
    assert_nothing_lost(&queue, &pool);
}

#[test]
fn the_rest_of_a_packet_is_waited_for() {
    let (mut pool, mut queue) = filled(FRAMES, 8);
    let packet = four();
    arrive(&mut queue, &mut pool, &packet[..70], CONTINUED);
    assert!(take(&mut queue, &mut pool, 64).is_empty() && !queue.has_work());
    arrive(&mut queue, &mut pool, &packet[70..], 0);
    assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four());
}

#[test]
fn a_long_packet_that_cannot_be_cut_is_dropped_and_counted() {
    let (mut pool, mut queue) = filled(FRAMES, 8);
    arrive(&mut queue, &mut pool, &[0; 76], 0);
    arrive_in(&mut queue, &mut pool, &four(), &[65]);
    arrive(&mut queue, &mut pool, &[7; 60], 0);
    assert_eq!(take(&mut queue, &mut pool, 64), [[7; 60]]);
    assert_eq!((queue.dropped, queue.bad_descriptors, queue.filled), (2, 0, 8));
}

#[test]
fn a_piece_longer_than_a_frame_is_dropped_and_counted() {
    let (mut pool, mut queue) = (pool(FRAMES), cutting(8));
    queue = queue.cutting(JoinedLimits { longest: 1500, piece: 3000, tunnel_port: None });
    queue.restock(&mut pool);
    arrive(&mut queue, &mut pool, &[1; 1000], CONTINUED);
    arrive(&mut queue, &mut pool, &[1; 1000], 0);
    let mut packet = four();
    packet.resize(2000, 0);
    packet[16..18].copy_from_slice(&1986_u16.to_be_bytes());
    packet[24..26].copy_from_slice(&(0xb2a0_u16 - (1986 - 62)).to_be_bytes());
    packet[50..52].copy_from_slice(&(0x884b_u16 + 1924).to_be_bytes());
    arrive_in(&mut queue, &mut pool, &packet, &[1700]);
    arrive(&mut queue, &mut pool, &[7; 60], 0);
    assert_eq!(take(&mut queue, &mut pool, 64), [[7; 60]]);
    assert_eq!((queue.dropped, queue.bad_descriptors), (2, 0));
    // It was the frame that was too small.
    queue = queue.cutting(JoinedLimits { longest: 1500, piece: 1500, tunnel_port: None });
    arrive_in(&mut queue, &mut pool, &packet, &[1700]);
    assert_eq!(take(&mut queue, &mut pool, 64).iter().map(Vec::len).collect::<Vec<_>>(), [1514, 66 + 486]);
}

#[test]
fn a_finished_checksum_must_be_right() {
    let mut packet = four();
    // 884b and the sum of the segment's words with an empty field, complemented.
    packet[50..52].fill(0);
    let sum =
        packet[34..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>() + 0x884b;
    let checksum = !((sum % 0x1_0000 + sum / 0x1_0000) as u16);
    packet[50..52].copy_from_slice(&checksum.to_be_bytes());
    let (mut pool, mut queue) = filled(FRAMES, 16);
    arrive_in(&mut queue, &mut pool, &packet, &[67, 70, 73]);
    assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four());
    // Bytes behind the packet do not count.
    packet.push(9);
    arrive_in(&mut queue, &mut pool, &packet, &[67, 70, 73]);
    assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four());
    assert_eq!(queue.dropped, 0);
    for at in [34, 66, 70, 75] {
        packet[at] ^= 1;
        arrive_in(&mut queue, &mut pool, &packet, &[67, 70]);
        assert!(take(&mut queue, &mut pool, 64).is_empty());
        packet[at] ^= 1;
    }
    assert_eq!((queue.dropped, queue.filled), (4, 16));
}

#[test]
fn an_empty_pool_costs_the_rest_of_a_packet_and_no_frame() {
    let (mut pool, mut queue) = filled(FRAMES, 8);
    arrive_in(&mut queue, &mut pool, &four(), &[66, 67]);
    let mut hoarded = packets(&mut pool, FRAMES);
    pool.put(hoarded.pop().unwrap());
    let mut burst = Vec::new();
    queue.rx(&mut pool, &mut burst, 64);
    assert!(burst.iter().all(|frame| frame.headroom() == 256));
    // One frame from the pool; the chunk of the headers and that of one byte came home in time for the others.
    assert_eq!(burst.iter().map(Frame::bytes).collect::<Vec<_>>(), pieces_of_four());
    assert_eq!(queue.dropped, 0);
    hoarded.append(&mut burst);

    arrive_in(&mut queue, &mut pool, &four(), &[]);
    hoarded.extend(packets(&mut pool, FRAMES));
    pool.put(hoarded.pop().unwrap());
    queue.rx(&mut pool, &mut burst, 64);
    assert_eq!(burst.iter().map(Frame::bytes).collect::<Vec<_>>(), pieces_of_four()[..1]);
    assert_eq!((queue.dropped, queue.bad_descriptors), (1, 0));
    assert_conserved(&queue, &pool, burst.len() + hoarded.len());
    pool.put_all(burst.into_iter().chain(hoarded));

    take(&mut queue, &mut pool, 64);
    arrive_in(&mut queue, &mut pool, &four(), &[70]);
    assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four(), "all is well again");
    assert_eq!(queue.dropped, 1);
}

#[test]
fn sixty_four_descriptors_are_a_packet_and_one_more_is_none() {
    for (continued, dropped) in [(63, 0), (64, 1), (200, 1)] {
        let (mut pool, mut queue) = filled(2 * MANY, 240);
        let packet = four();
        arrive(&mut queue, &mut pool, &packet[..70], CONTINUED);
        for _ in 1..continued {
            arrive(&mut queue, &mut pool, &[], CONTINUED);
        }
        arrive(&mut queue, &mut pool, &packet[70..], 0);
        arrive(&mut queue, &mut pool, &[7; 60], 0);
        let mut got = Vec::new();
        for _ in 0..6 {
            got.extend(take(&mut queue, &mut pool, 64));
        }
        let mut expected = if dropped == 0 { pieces_of_four().to_vec() } else { Vec::new() };
        expected.push(vec![7; 60]);
        assert_eq!(got, expected, "{continued} continued");
        assert_eq!((queue.dropped, queue.bad_descriptors), (dropped, 0));
        assert!(!queue.has_work());
        assert_conserved(&queue, &pool, 0);
    }
}

#[test]
fn a_packet_that_takes_all_chunks_and_never_ends_is_dropped() {
    let (mut pool, mut queue) = filled(8, 8);
    while !queue.kernel.fill.is_empty() {
        arrive(&mut queue, &mut pool, &[1; 60], CONTINUED);
    }
    for _ in 0..3 {
        assert!(take(&mut queue, &mut pool, 64).is_empty());
    }
    assert_eq!((queue.dropped, queue.kernel.fill.len(), queue.has_work()), (1, 7, false));
    // Its end comes late and goes the same way.
    arrive(&mut queue, &mut pool, &[1; 60], 0);
    arrive(&mut queue, &mut pool, &[2; 60], 0);
    assert_eq!(take(&mut queue, &mut pool, 64), [[2; 60]]);
    assert_eq!(queue.dropped, 1);
}

#[test]
fn lies_in_a_chain_are_counted_and_the_packet_dropped() {
    let lies: [fn(u64) -> Descriptor; 4] = [
        |_| Descriptor { address: u64::MAX, len: 5, options: CONTINUED },
        |_| Descriptor { address: (FRAMES * SIZE) as u64 - 1, len: 5, options: CONTINUED },
        |chunk| Descriptor { address: chunk, len: 1793, options: CONTINUED },
        |chunk| Descriptor { address: chunk, len: u32::MAX, options: CONTINUED },
    ];
    for (place, lie) in (0..4_u64).flat_map(|n| (0..3).map(move |place| (place, lies[n as usize]))) {
        let (mut pool, mut queue) = filled(FRAMES, 8);
        let packet = four();
        let bounds = [0, 66, 71, 76];
        for (n, range) in bounds.windows(2).enumerate() {
            let address = arrive(&mut queue, &mut pool, &packet[range[0]..range[1]], u32::from(n < 2));
            if n == place {
                let told = queue.kernel.received.back_mut().unwrap();
                *told = Descriptor { options: told.options, ..lie(address) };
            }
        }
        arrive(&mut queue, &mut pool, &[7; 60], 0);
        let got = take(&mut queue, &mut pool, 64);
        assert_eq!(got.last().unwrap(), &[7; 60]);
        assert!(got.len() <= 3 && got[..got.len() - 1] == pieces_of_four()[..got.len() - 1]);
        assert_eq!((queue.dropped, queue.bad_descriptors), (1, 1), "place {place}");
        assert_conserved(&queue, &pool, 0);
    }
}

#[test]
fn what_waits_is_the_kernels_when_the_queue_goes() {
    let memory = Box::leak(vec![0_u8; FRAMES * SIZE].into_boxed_slice());
    let gone = std::sync::Arc::default();
    let owner = Owner(std::sync::Arc::clone(&gone));
    // SAFETY: leaked just now, for this pool alone.
    let mut pool = unsafe { FramePool::umem(NonNull::from(memory).cast(), FRAMES, SIZE, owner) }.unwrap();
    let mut queue = cutting(8);
    queue.restock(&mut pool);
    arrive_in(&mut queue, &mut pool, &four(), &[66, 68]);
    assert_eq!(take(&mut queue, &mut pool, 1), pieces_of_four()[..1]);
    drop(queue);
    drop(pool);
    assert!(gone.load(std::sync::atomic::Ordering::Relaxed), "a frame was left");
}

#[test]
fn what_waits_has_its_place_from_the_start() {
    let (mut pool, mut queue) = filled(2 * MANY, 240);
    for _ in 0..200 {
        arrive(&mut queue, &mut pool, &four(), 0);
    }
    let (mut got, mut longest) = (0, 0);
    while got < 600 {
        got += take(&mut queue, &mut pool, 1).len();
        longest = longest.max(queue.arrivals.as_ref().unwrap().held());
    }
    assert_eq!(longest, 128, "no more, so that no place is ever made");
}

/// A joined packet with so much data, its checksums right, the TCP one unfinished.
fn joined_packet(data: &[u8]) -> Vec<u8> {
    let mut packet = [&four()[..66], data].concat();
    let grown = data.len() as u16 - 10;
    let plus = |a: u16, b: u16| u16::try_from((u32::from(a) + u32::from(b)) % 0xffff).unwrap();
    packet[16..18].copy_from_slice(&(62 + grown).to_be_bytes());
    packet[24..26].copy_from_slice(&(!plus(!0xb2a0, grown)).to_be_bytes());
    packet[50..52].copy_from_slice(&plus(0x884b, grown).to_be_bytes());
    packet
}

proptest! {
    #[test]
    fn pieces_bear_the_packets_data(
        len in 2_000..30_000_usize,
        chunk in 66..1_792_usize,
        piece in 100..1_500_usize,
        limit in 1..64_usize,
    ) {
        let data: Vec<u8> = (0..len).map(|n| (n * 31 + n / 253) as u8).collect();
        let packet = joined_packet(&data);
        let chunk = chunk.max(packet.len() / 60);
        let (mut pool, mut queue) = (pool(2 * MANY), cutting(100));
        queue = queue.cutting(JoinedLimits { longest: 1500, piece, tunnel_port: None });
        queue.restock(&mut pool);
        let cuts: Vec<usize> = (1..packet.len().div_ceil(chunk)).map(|n| n * chunk).collect();
        arrive_in(&mut queue, &mut pool, &packet, &cuts);
        let mut got = take(&mut queue, &mut pool, limit);
        while queue.has_work() {
            got.extend(take(&mut queue, &mut pool, limit));
        }
        prop_assert_eq!(got.len(), len.div_ceil(piece - 52));
        let mut sequence = 0xffff_fffe_u32;
        for made in &got {
            assert_right_when_finished(made, 14);
            prop_assert_eq!(&made[38..42], sequence.to_be_bytes());
            prop_assert!(made.len() <= piece + 14);
            sequence = sequence.wrapping_add(made.len() as u32 - 66);
        }
        prop_assert_eq!(got.iter().flat_map(|made| made[66..].to_vec()).collect::<Vec<u8>>(), data);
        assert_nothing_lost(&queue, &pool);
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// As many chunks with a packet of ours, cut into equal parts; a byte of it is changed.
    Joined(usize, usize, u8),
    Forge(u64, u32, u32),
    Continued(usize),
    Receive(usize),
    Send(usize),
    Free,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..6_usize, 0..76_usize, prop_oneof![Just(0), any::<u8>()]).prop_map(|(n, at, by)| Step::Joined(n, at, by)),
        (0..(FRAMES * SIZE + SIZE) as u64, prop_oneof![any::<u32>(), 0..2000_u32], 0..2_u32)
            .prop_map(|(address, len, options)| Step::Forge(address, len, options)),
        (1..80_usize).prop_map(Step::Continued),
        (0..70_usize).prop_map(Step::Receive),
        (1..40_usize).prop_map(Step::Send),
        Just(Step::Free),
    ]
}

/// The kernel does what the step says, as far as it has chunks.
fn act(step: &Step, queue: &mut Queue<FakeKernel>, pool: &mut FramePool) {
    match *step {
        Step::Joined(parts, at, by) => {
            let mut packet = four();
            packet[at] ^= by;
            // Forged chunks may be in the fill ring that are somebody else's by now: only true ones are written to.
            if queue.kernel.fill.len() >= parts
                && queue.kernel.fill.iter().all(|chunk| is_lent(*chunk, queue.tags, pool))
            {
                let cuts: Vec<usize> = (1..parts).map(|n| n * 76 / parts).collect();
                arrive_in(queue, pool, &packet, &cuts);
            }
        }
        Step::Forge(address, len, options) => queue.kernel.received.push_back(Descriptor { address, len, options }),
        Step::Continued(count) => {
            for _ in 0..count.min(queue.kernel.fill.len()) {
                assert!(queue.kernel.arrive(60));
                queue.kernel.received.back_mut().unwrap().options = CONTINUED;
            }
        }
        Step::Receive(_) | Step::Send(_) | Step::Free => {}
    }
}

fn is_lent(chunk: u32, tags: Tags, pool: &mut FramePool) -> bool {
    let frame = pool.reclaim(u64::from(chunk) * SIZE as u64, tags.fill);
    frame.is_some_and(|frame| pool.lend(frame, tags.fill).is_ok())
}

proptest! {
    #[test]
    fn frames_are_conserved_whatever_arrives(steps in prop::collection::vec(step(), 1..80)) {
        let (mut pool, mut queue) = filled(FRAMES, 24);
        let mut burst: Vec<Frame> = Vec::new();
        for step in steps {
            act(&step, &mut queue, &mut pool);
            match step {
                Step::Receive(limit) => {
                    let before = burst.len();
                    prop_assert_eq!(queue.rx(&mut pool, &mut burst, limit), burst.len() - before);
                    prop_assert!(burst.len() - before <= limit);
                }
                Step::Send(count) => {
                    let mut out: Vec<Frame> = burst.drain(..count.min(burst.len())).collect();
                    queue.tx(&mut pool, &mut out);
                }
                Step::Free => pool.put_all(burst.drain(..)),
                _ => {}
            }
            assert_conserved(&queue, &pool, burst.len());
            let mut chunks: Vec<u32> = burst.iter().map(Frame::index).collect();
            chunks.sort_unstable();
            chunks.dedup();
            prop_assert_eq!(chunks.len(), burst.len(), "two frames of one chunk");
        }
        // No wedge: what there is comes to an end, and the next packets get through.
        pool.put_all(burst.drain(..));
        for _ in 0..100 {
            take(&mut queue, &mut pool, 64);
        }
        prop_assert!(!queue.has_work());
        queue.kernel.received.push_back(Descriptor { address: u64::MAX, len: 0, options: 0 });
        take(&mut queue, &mut pool, 64);
        queue.kernel.fill.retain(|chunk| is_lent(*chunk, queue.tags, &mut pool));
        if !queue.kernel.fill.is_empty() {
            arrive(&mut queue, &mut pool, &four(), 0);
            prop_assert_eq!(take(&mut queue, &mut pool, 64), pieces_of_four());
        }
    }
}
