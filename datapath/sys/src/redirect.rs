//! What an interface can do with XDP: a question over generic netlink, which the kernel answers since 6.3.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use crate::{link, os};

/// From linux/netdev.h: the family, its one command of ours, that command's attributes, and flags in the last of them.
const FAMILY_NAME: &[u8] = b"netdev\0";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 1 << 2;
const NETDEV_XDP_ACT_XSK_ZEROCOPY: u64 = 1 << 3;

/// The family of the questions about families.
const CONTROL: u16 = libc::GENL_ID_CTRL as u16;
const CTRL_CMD_GETFAMILY: u8 = libc::CTRL_CMD_GETFAMILY as u8;
const CTRL_ATTR_FAMILY_ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
const CTRL_ATTR_FAMILY_NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;

const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLA_TYPE_MASK: u16 = libc::NLA_TYPE_MASK.cast_unsigned() as u16;

/// `struct nlmsghdr`, and with `struct genlmsghdr` behind it.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
/// `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// The kernel makes no single answer longer than this (`NLMSG_GOODSIZE`).
const LONGEST_ANSWER: usize = 8192;

/// Whether the interface sends frames that an XDP program of another interface redirects to it (`NETDEV_XDP_ACT_NDO_XMIT`), as
/// it is configured now. Some drivers do only while they have an XDP program of their own, and a veth only while its peer has one
/// or has GRO on. `None`: this kernel does not tell (before 6.3).
///
/// The kernel goes by the same flag, so `Some(false)` means that it drops such frames. `Some(true)` is no promise: a veth keeps
/// the flag while its peer is down, and does not notice when its peer's GRO changes meanwhile.
///
/// Asks in the calling thread's network namespace, and needs no rights.
///
/// # Errors
/// `ENODEV` when there is no such interface in this network namespace; else whatever kept the kernel from answering.
pub fn takes_redirects(interface: &str) -> io::Result<Option<bool>> {
    Ok(features(interface)?.map(sends_redirected))
}

fn sends_redirected(features: u64) -> bool {
    features & NETDEV_XDP_ACT_NDO_XMIT != 0
}

/// Whether the interface's driver can write into the memory of `AF_XDP` sockets (`NETDEV_XDP_ACT_XSK_ZEROCOPY`). `None`: this kernel
/// does not tell (before 6.3).
///
/// # Errors
/// As [`takes_redirects`].
pub fn has_zero_copy(interface: &str) -> io::Result<Option<bool>> {
    Ok(features(interface)?.map(|features| features & NETDEV_XDP_ACT_XSK_ZEROCOPY != 0))
}

/// The interface's `NETDEV_XDP_ACT_*` flags.
fn features(interface: &str) -> io::Result<Option<u64>> {
    let index = link::index(interface)?;
    let socket = open()?;
    let name = Question { family: CONTROL, command: CTRL_CMD_GETFAMILY, attribute: CTRL_ATTR_FAMILY_NAME, sequence: 1 };
    let family = match name.ask(&socket, FAMILY_NAME).and_then(|answer| family_in(name.attributes(&answer)?)) {
        Ok(family) => family,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let device = Question { family, command: NETDEV_CMD_DEV_GET, attribute: NETDEV_A_DEV_IFINDEX, sequence: 2 };
    let answer = device.ask(&socket, &index.to_ne_bytes())?;
    features_in(device.attributes(&answer)?)
}

/// A generic netlink socket of the calling thread's network namespace.
fn open() -> io::Result<UdpSocket> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    let fd = os::check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_GENERIC) })?;
    // SAFETY: opened just now, and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Not UDP, but the standard library's `send` and `recv` are those of any socket of messages; without an address they go to
    // the kernel.
    let socket = UdpSocket::from(fd);
    // The answer is there when `send` returns; should it ever not be, we do not hang.
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// A request with one attribute.
struct Question {
    family: u16,
    command: u8,
    attribute: u16,
    sequence: u32,
}

impl Question {
    /// Sends the question and gives the message that came back.
    fn ask(&self, socket: &UdpSocket, value: &[u8]) -> io::Result<Vec<u8>> {
        socket.send(&self.request(value))?;
        let mut answer = vec![0; LONGEST_ANSWER];
        let len = socket.recv(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }

    fn request(&self, value: &[u8]) -> Vec<u8> {
        let attribute_len = ATTRIBUTE_HEADER + value.len();
        let len = HEADERS + attribute_len.next_multiple_of(4);
        let mut request = Vec::with_capacity(len);
        request.extend((len as u32).to_ne_bytes());
        request.extend(self.family.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        // The sender, which the kernel knows.
        request.extend([0; 4]);
        // The command, the family's version, and two bytes that the kernel reserves.
        request.extend([self.command, 1, 0, 0]);
        request.extend((attribute_len as u16).to_ne_bytes());
        request.extend(self.attribute.to_ne_bytes());
        request.extend(value);
        request.resize(len, 0);
        request
    }

    /// The attributes in the answer to this question, or the error that is the answer.
    fn attributes<'a>(&self, answer: &'a [u8]) -> io::Result<&'a [u8]> {
        let len = u32::from_ne_bytes(field(answer, 0)?) as usize;
        let answer = answer.get(..len).ok_or_else(malformed)?;
        let kind = u16::from_ne_bytes(field(answer, 4)?);
        if u32::from_ne_bytes(field(answer, 8)?) != self.sequence {
            return Err(malformed());
        }
        if kind == NLMSG_ERROR {
            // Negative; zero is an acknowledgement, and we asked for none.
            let code = i32::from_ne_bytes(field(answer, HEADER)?).checked_neg().filter(|code| *code > 0);
            return Err(code.map_or_else(malformed, io::Error::from_raw_os_error));
        }
        if kind != self.family {
            return Err(malformed());
        }
        answer.get(HEADERS..).ok_or_else(malformed)
    }
}

fn family_in(attributes: &[u8]) -> io::Result<u16> {
    let id = attribute(attributes, CTRL_ATTR_FAMILY_ID)?.ok_or_else(malformed)?;
    Ok(u16::from_ne_bytes(id.try_into().map_err(|_| malformed())?))
}

fn features_in(attributes: &[u8]) -> io::Result<Option<u64>> {
    let Some(features) = attribute(attributes, NETDEV_A_DEV_XDP_FEATURES)? else { return Ok(None) };
    Ok(Some(u64::from_ne_bytes(features.try_into().map_err(|_| malformed())?)))
}

/// The value of the first attribute of this kind.
fn attribute(mut rest: &[u8], wanted: u16) -> io::Result<Option<&[u8]>> {
    while !rest.is_empty() {
        let len = usize::from(u16::from_ne_bytes(field(rest, 0)?));
        let kind = u16::from_ne_bytes(field(rest, 2)?);
        // Nothing is shorter than its own header, so every turn gets ahead.
        let value = rest.get(ATTRIBUTE_HEADER..len).ok_or_else(malformed)?;
        if kind & NLA_TYPE_MASK == wanted {
            return Ok(Some(value));
        }
        // The last one may lack its padding.
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(None)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about XDP features makes no sense")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAMILY: u16 = 0x1d;
    const DEVICE: Question =
        Question { family: FAMILY, command: NETDEV_CMD_DEV_GET, attribute: NETDEV_A_DEV_IFINDEX, sequence: 2 };

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let len = (HEADER + body.len()) as u32;
        let header = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 2], &sequence.to_ne_bytes(), &[0; 4]];
        [&header.concat(), body].concat()
    }

    /// An attribute that claims to be of length `len`, its value padded.
    fn claiming(len: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn honest(kind: u16, value: &[u8]) -> Vec<u8> {
        claiming((ATTRIBUTE_HEADER + value.len()) as u16, kind, value)
    }

    fn index() -> Vec<u8> {
        honest(NETDEV_A_DEV_IFINDEX, &7_u32.to_ne_bytes())
    }

    fn padding() -> Vec<u8> {
        honest(2, &[])
    }

    fn features(bits: u64) -> Vec<u8> {
        honest(NETDEV_A_DEV_XDP_FEATURES, &bits.to_ne_bytes())
    }

    fn answer(attributes: &[Vec<u8>]) -> Vec<u8> {
        message(FAMILY, 2, &[vec![NETDEV_CMD_DEV_GET, 1, 0, 0], attributes.concat()].concat())
    }

    fn told(answer: &[u8]) -> io::Result<Option<bool>> {
        Ok(features_in(DEVICE.attributes(answer)?)?.map(sends_redirected))
    }

    fn is_malformed<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
    }

    #[test]
    fn a_redirect_question_is_laid_out_as_the_kernel_wants_it() {
        let question = Question { family: CONTROL, command: CTRL_CMD_GETFAMILY, attribute: 2, sequence: 1 };
        let request = question.request(FAMILY_NAME);
        assert_eq!(request[..4], 32_u32.to_ne_bytes());
        assert_eq!((&request[4..6], &request[6..8]), (&16_u16.to_ne_bytes()[..], &1_u16.to_ne_bytes()[..]));
        assert_eq!((&request[8..12], &request[12..20]), (&1_u32.to_ne_bytes()[..], &[0, 0, 0, 0, 3, 1, 0, 0][..]));
        assert_eq!((&request[20..22], &request[22..24]), (&11_u16.to_ne_bytes()[..], &2_u16.to_ne_bytes()[..]));
        assert_eq!(&request[24..], b"netdev\0\0");
    }

    #[test]
    fn redirect_answers_are_read_in_any_order() {
        for (bits, takes) in [(0, false), (3, false), (4, true), (0x47, true), (u64::MAX, true), (!4, false)] {
            let orders = [
                vec![index(), features(bits)],
                vec![index(), padding(), features(bits)],
                vec![features(bits), padding(), index()],
                vec![honest(99, b"odd"), features(bits), honest(100, &[0; 24])],
                // The flag that says "nested" is no part of the kind.
                vec![honest(NETDEV_A_DEV_XDP_FEATURES | 0x8000, &u64::to_ne_bytes(bits))],
            ];
            for attributes in orders {
                assert_eq!(told(&answer(&attributes)).unwrap(), Some(takes), "{bits:#x} {attributes:?}");
            }
        }
        for silent in [vec![], vec![index(), padding()]] {
            assert_eq!(told(&answer(&silent)).unwrap(), None);
        }
        // What follows the first message is not looked at.
        assert_eq!(told(&[answer(&[features(4)]), vec![0xff; 5]].concat()).unwrap(), Some(true));
    }

    #[test]
    fn a_truncated_redirect_answer_is_an_error() {
        let whole = answer(&[index(), padding(), features(4)]);
        for len in 0..whole.len() {
            assert!(is_malformed(told(&whole[..len])), "{len} bytes");
            // The same, from a sender who adapts the length in the header.
            let mut shorter = whole[..len].to_vec();
            let fits = len >= 4;
            if fits {
                shorter[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            }
            // Whole attributes make sense, but say nothing.
            let whole_attributes = [HEADERS, HEADERS + 8, HEADERS + 12].contains(&len);
            match told(&shorter) {
                Ok(told) => assert!(told.is_none() && whole_attributes, "{len} bytes"),
                error => assert!(is_malformed(error) && !whole_attributes, "{len} bytes"),
            }
        }
    }

    #[test]
    fn a_hostile_redirect_answer_is_an_error() {
        // Shorter than their headers, longer than the message, or of another size than their type.
        for len in [0, 1, 3, 13, 4096, u16::MAX] {
            for kind in [NETDEV_A_DEV_XDP_FEATURES, 99] {
                assert!(is_malformed(told(&answer(&[claiming(len, kind, &[4; 8])]))), "{len} {kind}");
            }
        }
        for value in [&[][..], &[4; 4], &[4; 7], &[4; 16]] {
            assert!(is_malformed(told(&answer(&[honest(NETDEV_A_DEV_XDP_FEATURES, value)]))), "{value:?}");
        }
        for len in [0, 4, 15, 19, 10_000, u32::MAX] {
            let mut bytes = answer(&[features(4)]);
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(is_malformed(told(&bytes)), "{len}");
        }
        let body = [vec![1, 1, 0, 0], features(4)].concat();
        assert!(is_malformed(told(&message(FAMILY, 1, &body))), "the answer to another question");
        assert!(is_malformed(told(&message(FAMILY + 1, 2, &body))), "the answer of another family");
        assert!(is_malformed(told(&message(libc::NLMSG_DONE as u16, 2, &body))));
    }

    #[test]
    fn an_error_for_a_redirect_answer_is_that_error() {
        let error = |code: i32| told(&message(NLMSG_ERROR, 2, &[&code.to_ne_bytes()[..], &[0; 16]].concat()));
        for code in [libc::ENOENT, libc::ENODEV, libc::EPERM] {
            assert_eq!(error(-code).unwrap_err().raw_os_error(), Some(code));
        }
        for nonsense in [0, libc::ENOENT, i32::MIN, i32::MAX] {
            assert!(is_malformed(error(nonsense)), "{nonsense}");
        }
        assert!(is_malformed(told(&message(NLMSG_ERROR, 2, &[0xff; 3]))));
    }

    #[test]
    fn a_redirect_family_is_a_short_number() {
        let id = |value: &[u8]| family_in(&[honest(2, FAMILY_NAME), honest(1, value)].concat());
        assert_eq!(id(&FAMILY.to_ne_bytes()).unwrap(), FAMILY);
        assert!(is_malformed(id(&[])) && is_malformed(id(&[1])) && is_malformed(id(&[1; 4])));
        assert!(is_malformed(family_in(&honest(2, FAMILY_NAME))));
    }

    #[test]
    fn redirects_to_loopback_are_none_and_to_what_is_not_there_an_error() {
        assert_ne!(takes_redirects("lo").unwrap(), Some(true));
        for nonsense in ["", "nosuch0", "a-name-longer-than-the-kernel-takes"] {
            assert_eq!(takes_redirects(nonsense).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn no_redirect_answer_makes_us_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..96),
            body in prop::collection::vec(0..12_u8, 0..64),
        ) {
            let _ = told(&bytes);
            // Those that get past the headers.
            for kind in [FAMILY, NLMSG_ERROR] {
                let _ = told(&message(kind, 2, &body));
            }
            let _ = family_in(&body);
        }
    }
}
