//! Echo servers.

use crate::Outcome;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

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
