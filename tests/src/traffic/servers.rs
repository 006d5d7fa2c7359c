//! Echo servers.

use crate::Outcome;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

/// Larger than any datagram.
const BUFFER: usize = 65_536;

/// Sends every datagram back to where it came from.
///
/// # Errors
/// The address is taken.
pub fn udp_echo(listen: SocketAddr) -> Outcome {
    let socket = UdpSocket::bind(listen)?;
    println!("ready");
    let mut buffer = vec![0; BUFFER];
    loop {
        // An ICMP error from an earlier answer shows up here; it concerns no one else.
        if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], peer);
        }
    }
}

/// As [`udp_echo`], on all addresses at once: the answer comes from the one that was asked, not from the first.
///
/// # Errors
/// The port is taken.
pub fn udp_echo_everywhere(port: u16) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    setsockopt(&socket, Ipv4PacketInfo, &true)?;
    println!("ready");
    let mut buffer = vec![0; BUFFER];
    let mut control = nix::cmsg_space!(nix::libc::in_pktinfo);
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let Ok(message) = received else { continue };
        let asked = message.cmsgs()?.find_map(|part| match part {
            ControlMessageOwned::Ipv4PacketInfo(asked) => Some(asked),
            _ => None,
        });
        let (len, peer) = (message.bytes, message.address);
        if let Some(asked) = asked {
            let from = [ControlMessage::Ipv4PacketInfo(&asked)];
            let _ =
                sendmsg(socket.as_raw_fd(), &[IoSlice::new(&buffer[..len])], &from, MsgFlags::empty(), peer.as_ref());
        }
    }
}

/// Sends every byte back on its connection.
///
/// # Errors
/// The address is taken.
pub fn tcp_echo(listen: SocketAddr) -> Outcome {
    let listener = TcpListener::bind(listen)?;
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || echo_until_end(stream));
    }
    Ok(())
}

fn echo_until_end(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return println!("closed"),
            Ok(len) if stream.write_all(&buffer[..len]).is_ok() => {}
            // The log shows how a connection ended: a reset reads "Connection reset by peer".
            Ok(_) => return println!("write failed"),
            Err(error) => return println!("ended: {error}"),
        }
    }
}
