//! What the sweep tries: one setting at a time away from what the program ships with.

use super::gateway::Tuning;

/// How the gateway's interfaces put interrupts off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deferral {
    /// `napi_defer_hard_irqs`: empty polls before interrupts come back.
    pub times: u32,
    /// `gro_flush_timeout`: nanoseconds from one poll to the next meanwhile.
    pub nanoseconds: u32,
}

/// One point of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which setting.
    pub setting: &'static str,
    /// Its value here.
    pub value: &'static str,
    /// The worker's side.
    pub tuning: Tuning,
    /// The interfaces' side.
    pub deferral: Deferral,
}

/// All points; the first one is what the program ships with, the base of all ratios.
#[must_use]
pub fn all() -> Vec<Point> {
    let base = Tuning::default();
    let ring = |size| Tuning { rx: size, tx: size, fill: size, ..base };
    let budget = |busy_poll| Tuning { busy_poll, ..base };
    let turns = |empty_turns| Tuning { empty_turns, ..base };
    let put_off = |micros: u32| Deferral { times: 2, nanoseconds: micros * 1000 };
    let on_time = Deferral::default();
    [
        ("as shipped", "rings 2048, 1024, 2048; burst 64; 2 empty turns", base, on_time),
        ("rings (rx, tx, fill)", "256 each", ring(256), on_time),
        ("rings (rx, tx, fill)", "1024 each", ring(1024), on_time),
        ("rings (rx, tx, fill)", "4096 each", ring(4096), on_time),
        ("burst", "16", Tuning { burst: 16, ..base }, on_time),
        ("burst", "32", Tuning { burst: 32, ..base }, on_time),
        ("packets of one wake-up", "32", Tuning { tx_budget: 32, ..base }, on_time),
        ("empty turns before sleep", "1", turns(1), on_time),
        ("empty turns before sleep", "16", turns(16), on_time),
        ("empty turns before sleep", "256", turns(256), on_time),
        ("empty turns before sleep", "never sleeps", turns(u32::MAX), on_time),
        ("interrupts put off", "20 µs", base, put_off(20)),
        ("interrupts put off", "100 µs", base, put_off(100)),
        ("busy-polling asked for", "budget 64", budget(64), on_time),
        ("busy-polling asked for", "budget 64, interrupts put off 100 µs", budget(64), put_off(100)),
    ]
    .map(|(setting, value, tuning, deferral)| Point { setting, value, tuning, deferral })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches as _};

    #[test]
    fn the_first_is_the_base_and_no_two_are_alike() {
        let all = all();
        assert_eq!((all[0].tuning, all[0].deferral), (Tuning::default(), Deferral::default()));
        for (index, point) in all.iter().enumerate() {
            let same = |other: &Point| (other.tuning, other.deferral) == (point.tuning, point.deferral);
            assert!(!all[..index].iter().any(same), "{point:?} comes twice");
        }
    }

    #[test]
    fn every_tuning_survives_the_command_line() {
        for point in all() {
            let command = Tuning::augment_args(Command::new("gateway").no_binary_name(true));
            let matches = command.try_get_matches_from(point.tuning.words()).unwrap();
            assert_eq!(Tuning::from_arg_matches(&matches).unwrap(), point.tuning);
        }
    }
}
