//! Odd and slow clients, and busy ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{get, raw};
use crate::api::fake::Fake;

#[test]
fn noise_is_closed_and_the_next_one_is_served() {
    let served = Fake::new().serve();
    for noise in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\r\n\r\n\r\n", b"GET\r\n\r\n", &[0; 4096]] {
        let answer = raw(&served, &[noise, b"\r\n\r\n"].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(100_000));
    assert!(!raw(&served, headers.as_bytes()).starts_with("HTTP/1.1 200"));
    assert_eq!(get(&served, "/v1/status").0, 200);
}

#[test]
fn slow_clients_hold_nobody_up_and_are_sent_away() {
    let served = Fake::new().serve();
    let start = sys::clock::now();
    let dawdlers: Vec<UnixStream> = (0..40)
        .map(|n| {
            let mut stream = UnixStream::connect(&served.path).unwrap();
            let begun: &[u8] = if n % 2 == 0 {
                b"GET /v1/sta"
            } else {
                b"POST /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            };
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    assert_eq!(get(&served, "/v1/status").0, 200);
    assert!(sys::clock::now().saturating_sub(start) < Duration::from_secs(2), "a slow client held us up");
    for (n, mut stream) in dawdlers.into_iter().enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 408 "), n % 2 == 1, "{answer}");
    }
}

#[test]
fn a_connection_may_ask_many_times() {
    let served = Fake::new().serve();
    let one = "GET /v1/flows/count HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /v1/flows/count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = raw(&served, format!("{}{last}", one.repeat(20)).as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 21);
}
