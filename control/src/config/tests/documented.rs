//! `docs/config.md` is true: its example works and shows every key, its defaults are the defaults.

use std::time::Duration;

use super::super::value::duration;
use super::{BASE, parse_text};

const GUIDE: &str = include_str!("../../../../docs/config.md");

fn example() -> &'static str {
    let (_, behind) = GUIDE.split_once("```toml\n").unwrap();
    behind.split_once("```").unwrap().0
}

#[test]
fn the_example_works() {
    let loaded = parse_text(example()).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config.services.len(), 2);
}

/// The keys in the first column of the tables.
fn keys_in_tables() -> Vec<&'static str> {
    let cells = GUIDE.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.filter(|cell| cell.contains('`')).map(|cell| cell.trim_matches(['*', '`'])).collect()
}

#[test]
fn every_key_of_the_example_is_explained() {
    let keys = keys_in_tables();
    let shown = example().lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key.trim());
    let unexplained: Vec<&str> = shown.filter(|key| !keys.contains(key)).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn the_defaults_of_timeouts_are_true() {
    let rows = GUIDE
        .lines()
        .filter(|line| line.starts_with("| `tcp_") || line.starts_with("| `udp") || line.starts_with("| `icmp"));
    let mut count = 0;
    let defaults = format!("{:?}", parse_text(BASE).unwrap().config.timeouts);
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let default: Duration = duration(&cells[1].replace(' ', "")).unwrap();
        let text = format!("{}: {default:?}", cells[0]);
        assert!(defaults.contains(&text), "{text} in {defaults}");
        count += 1;
    }
    assert_eq!(count, 13);
}
