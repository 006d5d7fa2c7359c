//! Port 0, as IPVS means it: what comes to no port that a service names, in whatever order they stand.

use crate::config::Listen;
use crate::config::rules::overlap;

/// Whether it is to be all ports.
pub fn is_all(listen: &Listen) -> bool {
    listen.ports == (1..=u16::MAX)
}

/// The ports of `all` that none of the others names.
pub fn remaining(all: &Listen, named: &[Listen]) -> Vec<Listen> {
    named
        .iter()
        .filter(|other| !is_all(other))
        .fold(vec![all.clone()], |left, other| left.into_iter().flat_map(|piece| without(piece, other)).collect())
}

/// What stands before the other's ports, and behind them.
fn without(piece: Listen, other: &Listen) -> Vec<Listen> {
    if !overlap(&piece, other) {
        return vec![piece];
    }
    let (first, last) = (*piece.ports.start(), *piece.ports.end());
    let before = other.ports.start().checked_sub(1).map(|end| first..=end);
    let behind = other.ports.end().checked_add(1).map(|begin| begin..=last);
    let left = before.into_iter().chain(behind).filter(|ports| !ports.is_empty());
    left.map(|ports| Listen { ports, ..piece.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::listen;

    #[test]
    fn pieces_are_cut_wherever_they_meet() {
        let left = |named: &[&str]| {
            let named: Vec<_> = named.iter().map(|text| listen(text).unwrap()).collect();
            let left = remaining(&listen("192.0.2.1:1-65535").unwrap(), &named);
            left.iter().map(|listen| format!("{}-{}", listen.ports.start(), listen.ports.end())).collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), ["1-65535"]);
        assert_eq!(
            left(&["192.0.2.1:1", "192.0.2.1:65535", "192.0.2.1:80-90", "192.0.2.1:85-99"]),
            ["2-79", "100-65534"]
        );
        assert_eq!(left(&["192.0.2.1:80/udp", "192.0.2.2:80", "192.0.2.1:1-65535"]), ["1-65535"]);
        assert_eq!(left(&["192.0.2.1:1-40000", "192.0.2.1:40001-65535"]), [""; 0]);
    }
}
