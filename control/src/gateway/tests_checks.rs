//! Health checks as the wire sees them.

use std::time::Duration;

use super::tests_running::{CONFIG, Running, running_on};
use crate::operations::Operations;

/// Outer Ethernet, IPv4, UDP, VXLAN; inner Ethernet and IPv4.
const TCP_AT: usize = 14 + 20 + 8 + 8 + 14 + 20;
const SYN: u8 = 2;
const RST: u8 = 4;

/// The source port of the next TCP segment in a tunnel with this flag.
fn next_with(running: &mut Running, flag: u8) -> u16 {
    for _ in 0..2_000 {
        while let Some(frame) = running.ends[0].collect() {
            let Some(tcp) = frame.get(TCP_AT..).filter(|tcp| tcp.len() >= 20) else { continue };
            if tcp[13] & flag != 0 {
                return u16::from_be_bytes([tcp[0], tcp[1]]);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no segment with the flag {flag}");
}

fn checked(timeout: &str) -> String {
    format!("{CONFIG}[service.check]\ntype = \"tcp\"\ntimeout = \"{timeout}\"\n")
}

#[test]
fn a_check_that_is_given_up_ends_with_a_reset() {
    let name = "gateway::tests_checks::a_check_that_is_given_up_ends_with_a_reset";
    running_on(name, &checked("2s"), |running| {
        let port = next_with(running, SYN);
        running.write(&checked("1999ms"));
        running.gateway.reload().unwrap();
        assert_eq!(next_with(running, RST), port);
    });
}
