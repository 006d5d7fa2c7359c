//! What runs in containers: says who it is and who asks, over HTTP and UDP on one port.

use crate::Outcome;
use crate::traffic::stay;
use nix::sys::signal::{SigSet, Signal};
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Requests that are being answered.
static BUSY: AtomicUsize = AtomicUsize::new(0);
/// How long requests in progress may hold up the end.
const GRACE: Duration = Duration::from_secs(5);
/// Between two lines of one who speaks on and on.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until SIGTERM; then what is in progress is finished.
///
/// # Errors
/// The address is taken.
pub fn serve(listen: SocketAddrV4) -> Outcome {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTERM);
    // Threads inherit the mask: the signal comes to `wait` alone.
    stop.thread_block()?;
    let (listener, socket) = (TcpListener::bind(listen)?, UdpSocket::bind(listen)?);
    std::thread::spawn(move || answer_datagrams(&socket));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            BUSY.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                // A client that is gone is its own affair.
                let _ = answer(stream);
                BUSY.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    println!("ready");
    stop.wait()?;
    let end = crate::clock::now() + GRACE;
    while BUSY.load(Ordering::SeqCst) > 0 && crate::clock::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn greeting(peer: SocketAddr) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("I am {}, you are {peer}\n", name.trim())
}

/// `/hold/MILLISECONDS` waits before it answers; `/stay` speaks on and on.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?;
    stream.set_read_timeout(Some(GRACE))?;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            len => request.extend(&piece[..len]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    if request.starts_with("GET /stay ") {
        // In the container's log: what happened at this end.
        println!("{}: {}", greeting(peer).trim(), stay(&mut stream, peer));
        return Ok(());
    }
    let hold = request.split("/hold/").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    std::thread::sleep(Duration::from_millis(hold.unwrap_or(0)));
    let body = greeting(peer);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes())
}

/// Speaks until the peer is gone; how it went.
fn stay(stream: &mut TcpStream, peer: SocketAddr) -> String {
    loop {
        if let Err(error) = stream.write_all(greeting(peer).as_bytes()) {
            return stay::word(&error);
        }
        std::thread::sleep(BREATH);
    }
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(greeting(peer).as_bytes(), peer);
        }
    }
}
