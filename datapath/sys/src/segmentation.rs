//! What the kernel and a TUN device tell each other of a packet that stands for many segments: `struct virtio_net_hdr`.

use crate::Frame;

/// Length of the header in front of every packet of a TUN device.
pub(crate) const HEADER_LEN: usize = 10;

/// The checksum is the kernel's to finish (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const UNFINISHED: u8 = 1;
/// The packet is to be cut into TCP segments over IPv4 (`VIRTIO_NET_HDR_GSO_TCPV4`).
const TCP_OVER_IPV4: u8 = 1;
/// CWR is for the first segment only (`VIRTIO_NET_HDR_GSO_ECN`), a flag beside the kind.
const ECN: u8 = 0x80;
/// Where in a TCP header the checksum stands.
const TCP_CHECKSUM: u16 = 16;
/// Flag "don't fragment" in the header's sixth byte, and in the word that begins there.
const DONT_FRAGMENT: (u8, u16) = (0x40, 0x4000);

/// How an IPv4 packet with TCP inside is to be cut by the kernel or the card that sends it; its TCP checksum field holds the sum
/// of the pseudo header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Where in the packet the TCP header begins.
    pub tcp_offset: u16,
    /// Where in the packet the data begin.
    pub data_offset: u16,
    /// Bytes of data in each segment but the last; not zero.
    pub data_len: u16,
    /// CWR is set.
    pub cwr: bool,
}

impl Segmentation {
    /// Puts the order in front of the packet, for a device that [cuts segments](crate::Device::cuts_segments). It stays apart
    /// from packets by its first four bits, which are no IP version. False when there is no headroom.
    pub fn put_before(self, frame: &mut Frame) -> bool {
        let kind = if self.cwr { TCP_OVER_IPV4 | ECN } else { TCP_OVER_IPV4 };
        let mut header = [0; HEADER_LEN];
        (header[0], header[1]) = (UNFINISHED, kind);
        let numbers = [self.data_offset, self.data_len, self.tcp_offset, TCP_CHECKSUM];
        for (field, number) in header[2..].chunks_exact_mut(2).zip(numbers) {
            field.copy_from_slice(&number.to_ne_bytes());
        }
        put(frame, header)
    }

    /// What stands in front of a packet.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Segmentation> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().filter(|header| is_header(*header))?;
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        (header[1] & !ECN == TCP_OVER_IPV4).then(|| Segmentation {
            tcp_offset: number(6),
            data_offset: number(2),
            data_len: number(4),
            cwr: header[1] & ECN != 0,
        })
    }
}

/// Puts a header in front of a packet that has none: it is as it is. False when there is no headroom.
pub(crate) fn complete(frame: &mut Frame) -> bool {
    is_header(frame.bytes()) || put(frame, [0; HEADER_LEN])
}

fn is_header(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 4 == 0)
}

fn put(frame: &mut Frame, header: [u8; HEADER_LEN]) -> bool {
    let fits = frame.grow_front(HEADER_LEN);
    if fits && let Some(room) = frame.bytes_mut().first_chunk_mut() {
        *room = header;
    }
    fits
}

/// Takes the header off a received packet. "Don't fragment" is said of the segments, whose lengths are not this one's: it is
/// cleared in a packet that stands for many. False: there is no header.
pub(crate) fn take_off(frame: &mut Frame) -> bool {
    let Some(header) = frame.bytes().first_chunk::<HEADER_LEN>().copied() else { return false };
    frame.trim_front(HEADER_LEN);
    if header[1] & !ECN != 0 {
        allow_cuts(frame.bytes_mut());
    }
    true
}

/// Clears DF of an IPv4 packet.
fn allow_cuts(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<20>() else { return };
    let (bit, word) = DONT_FRAGMENT;
    if header[0] >> 4 == 4 && header[6] & bit != 0 {
        header[6] &= !bit;
        // What the sum lost, its complement gains (RFC 1624), with the carry.
        let (sum, carry) = u16::from_be_bytes([header[10], header[11]]).overflowing_add(word);
        [header[10], header[11]] = (sum + u16::from(carry)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FramePool;

    /// An IPv4 header with DF, as Linux sends it.
    const WITH_DF: [u8; 20] =
        [0x45, 0, 0, 0x3c, 0x1c, 0x46, 0x40, 0, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10, 0x0a, 0x63, 0xac, 0x10, 0x0a, 0x0c];

    fn sum(header: &[u8]) -> u32 {
        let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        words.fold(0, |sum, word| (sum + word) % 0x1_0000 + (sum + word) / 0x1_0000)
    }

    #[test]
    fn an_order_is_what_the_kernel_reads() {
        let mut pool = FramePool::heap(1, 2048);
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&WITH_DF));
        let order = Segmentation { tcp_offset: 20, data_offset: 52, data_len: 1398, cwr: false };
        assert!(order.put_before(&mut frame));
        let number = |at: usize| u16::from_ne_bytes([frame.bytes()[at], frame.bytes()[at + 1]]);
        // include/uapi/linux/virtio_net.h: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
        assert_eq!((frame.bytes()[0], frame.bytes()[1]), (1, 1));
        assert_eq!([number(2), number(4), number(6), number(8)], [52, 1398, 20, 16]);
        assert_eq!(Segmentation::read(frame.bytes()), Some(order));
        assert!(complete(&mut frame) && frame.len() == 30, "one header is enough");
        let cwr = Segmentation { cwr: true, ..order };
        frame.trim_front(HEADER_LEN);
        assert!(cwr.put_before(&mut frame));
        assert_eq!((frame.bytes()[1], Segmentation::read(frame.bytes())), (0x81, Some(cwr)));
        pool.put(frame);
    }

    #[test]
    fn plain_packets_get_a_header_that_says_nothing() {
        let mut pool = FramePool::heap(1, 2048);
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&WITH_DF));
        assert!(complete(&mut frame));
        assert_eq!(
            (&frame.bytes()[..10], &frame.bytes()[10..], Segmentation::read(frame.bytes())),
            (&[0; 10][..], &WITH_DF[..], None)
        );
        assert!(take_off(&mut frame));
        assert_eq!(frame.bytes(), WITH_DF, "DF of a packet that is one stays");
        frame.truncate(9);
        assert!(!take_off(&mut frame), "shorter than a header");
        pool.put(frame);
    }

    #[test]
    fn what_stands_for_many_may_be_cut() {
        let mut pool = FramePool::heap(1, 2048);
        // Every value of the checksum, so that every carry is among them.
        for id in 0..=u16::MAX {
            let mut packet = WITH_DF;
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            packet[10..12].fill(0);
            let checksum = !(sum(&packet) as u16);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(&packet) && put(&mut frame, [1, 1, 52, 0, 0, 5, 20, 0, 16, 0]));
            assert!(take_off(&mut frame));
            assert_eq!((frame.bytes()[6], sum(frame.bytes())), (0, 0xffff), "identification {id}");
            pool.put(frame);
        }
    }
}
