//! The kernel's queue in front of a TUN device: what comes while it is full is dropped, and only the interface's counters say so.

use std::fs;

/// Of the calling thread's network namespace.
const COUNTERS: &str = "/proc/thread-self/net/dev";
/// Behind the name: eight columns of what was received, then bytes, packets, errors and drops of what was sent to the device.
const DROPPED: usize = 11;

/// Packets dropped since the interface was made; 0 when nothing can be learned.
pub(super) fn dropped(interface: &str) -> u64 {
    fs::read_to_string(COUNTERS).ok().and_then(|text| column(&text, interface)).unwrap_or_default()
}

fn column(text: &str, interface: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    rest.split_whitespace().nth(DROPPED)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::column;

    #[test]
    fn the_drops_of_one_interface() {
        // As Linux 6.18 prints it.
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:       1       2    3    4    5     6          7         8        9       10   11   12   13    14      15         16\n  \
            sg0:    1000      20    0    0    0     0          0         0     3000      40    0  207    0     0       0          0\n \
            sg01:      0       0    0    0    0     0          0         0        0       0    0    9    0     0       0          0\n";
        assert_eq!((column(text, "sg0"), column(text, "sg01"), column(text, "lo")), (Some(207), Some(9), Some(12)));
        assert_eq!(column(text, "sg"), None);
    }
}
