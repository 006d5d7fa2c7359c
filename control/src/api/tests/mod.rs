//! The API over a real socket, with friendly and with hostile clients. Requests are written by hand: nothing of ours
//! stands between the test and the bytes.

mod changed;
mod connection;
mod reading;
mod refused;
mod socket;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::api::fake::Served;

/// Sends bytes, and reads until the gateway closes.
fn raw(served: &Served, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A gateway that has heard enough closes while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Status and body of one request.
fn ask(served: &Served, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let answer = raw(served, format!("{head}{body}").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    (status, serde_json::from_str(body).unwrap())
}

fn get(served: &Served, path: &str) -> (u16, Value) {
    ask(served, "GET", path, "")
}

/// What a GET gives, as it came over the socket.
fn text(served: &Served, path: &str) -> String {
    let answer = raw(served, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// All services, for "nothing has changed".
fn services(served: &Served) -> Value {
    get(served, "/v1/services").1
}
