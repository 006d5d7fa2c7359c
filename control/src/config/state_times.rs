//! `[service.timeouts]`: a service's own idle times by state, with the words of `[timeouts]`.

use std::collections::BTreeMap;
use std::time::Duration;

use conntrack::{Idle, State};
use wire::Protocol;

use super::report::{At, Complaint, Fault, Report, suggest};
use super::section::Section;
use super::{Listen, settings, value};
use crate::config::node::Value;

/// The table's name.
pub const KEY: &str = "timeouts";

/// What each state is called.
const STATES: [(&str, State); State::ALL.len()] = [
    ("tcp_syn_sent", State::SynSent),
    ("tcp_syn_received", State::SynReceived),
    ("tcp_established", State::Established),
    ("tcp_fin_wait", State::FinWait),
    ("tcp_close_wait", State::CloseWait),
    ("tcp_last_ack", State::LastAck),
    ("tcp_time_wait", State::TimeWait),
    ("tcp_close", State::Close),
    ("tcp_syn_sent2", State::SynSent2),
    ("tcp_reset", State::Reset),
    ("udp", State::UdpNew),
    ("udp_stream", State::UdpStream),
];

/// The times that a service has of its own, by state number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateTimes([Option<Duration>; State::ALL.len()]);

/// What shall be other, by state number: `None` leaves it, `Some(None)` takes it away.
#[expect(clippy::option_option, reason = "None leaves it as it is, Some(None) takes it away")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateTimesChange([Option<Option<Duration>>; State::ALL.len()]);

impl StateTimesChange {
    /// With the change.
    pub fn apply(&self, to: StateTimes) -> StateTimes {
        StateTimes(std::array::from_fn(|state| self.0[state].unwrap_or(to.0[state])))
    }
}

impl StateTimes {
    /// For the tables. `timeout` is one time for all open states; what is said of a state itself comes first.
    pub fn idle(&self, timeout: Option<Duration>) -> Idle {
        Idle::by_state(|state| self.0[state as usize].or_else(|| timeout.filter(|_| state.is_open())))
    }

    /// As the API shows them: those that are set, by name.
    pub fn show(&self) -> BTreeMap<String, String> {
        let set = STATES.iter().filter_map(|(key, state)| Some((*key, self.0[*state as usize]?)));
        set.map(|(key, time)| (key.to_owned(), value::show_duration(time))).collect()
    }

    /// Sets the time of the state that `key` names.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), Complaint> {
        let state = state(key)?;
        self.0[state as usize] = Some(settings::timeout(value::duration(text)?)?);
        Ok(())
    }

    /// All that is wrong with them in a service that listens there.
    pub fn faults(&self, listens: &[Listen]) -> Vec<Fault> {
        let set = STATES.iter().filter(|(_, state)| self.0[*state as usize].is_some());
        set.filter_map(|(key, state)| {
            let protocol = match state {
                State::UdpNew | State::UdpStream => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            if listens.is_empty() || listens.iter().any(|listen| listen.protocol == protocol) {
                return None;
            }
            let (name, other) =
                if protocol == Protocol::Udp { ("UDP", "tcp_…") } else { ("TCP", "udp and udp_stream") };
            let message = format!("`{key}` means nothing to a service that does not listen on {name}");
            Some((*key, Complaint::hinted(message, format!("its flows have the states {other}"))))
        })
        .collect()
    }

    /// The first of them, for callers that want one.
    pub fn fault(&self, listens: &[Listen]) -> Option<Complaint> {
        self.faults(listens).into_iter().next().map(|(_, complaint)| complaint)
    }
}

fn state(key: &str) -> Result<State, Complaint> {
    let found = STATES.iter().find(|(known, _)| *known == key);
    found.map(|(_, state)| *state).ok_or_else(|| {
        let known: Vec<&str> = STATES.iter().map(|(key, _)| *key).collect();
        Complaint::hinted(format!("there is no state `{key}`"), suggest(key, &known))
    })
}

/// Reads the table; null takes all times away.
pub fn read(section: &mut Section<'_>, report: &mut Report) -> StateTimesChange {
    let mut change = StateTimesChange::default();
    if section.find(KEY).is_some_and(|found| matches!(found.value, Value::Null)) {
        return StateTimesChange([Some(None); State::ALL.len()]);
    }
    let Some(mut table) = section.table(KEY, report) else { return change };
    for (key, state) in STATES {
        change.0[state as usize] = table.nullable(key, report, settings::read_timeout);
    }
    table.close(report);
    change
}

/// Where each of its keys stands.
pub fn places(section: &mut Section<'_>) -> Vec<(&'static str, At)> {
    let table = section.node(KEY).and_then(|(node, at)| Section::open(node, at, &mut Report::default()));
    let Some(mut table) = table else { return Vec::new() };
    STATES.iter().filter_map(|(key, _)| Some((*key, table.find(key)?.at))).collect()
}

/// `tcp_syn_sent=5s`: a name and its time, as the API takes them; `tcp_syn_sent=default` takes it away.
pub fn assignment(text: &str) -> Result<(String, Option<String>), Complaint> {
    let hint = "e.g. tcp_syn_sent=5s";
    let (key, time) =
        text.split_once('=').ok_or_else(|| Complaint::hinted(format!("`{text}` is not a state and its time"), hint))?;
    state(key)?;
    if time == "default" {
        return Ok((key.to_owned(), None));
    }
    let time = settings::timeout(value::duration(time)?)?;
    Ok((key.to_owned(), Some(value::show_duration(time))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_word() {
        for (place, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(STATES.iter().filter(|(_, other)| *other == state).count(), 1, "{state}");
            assert_eq!(STATES[place].1, state);
        }
    }

    #[test]
    fn the_state_itself_comes_before_the_shorthand() {
        let mut times = StateTimes::default();
        assert_eq!(times.idle(None), Idle::default());
        let minute = Duration::from_mins(1);
        assert_eq!(times.idle(Some(minute)), Idle::new(minute));
        times.set("udp", "3s").unwrap();
        times.set("tcp_time_wait", "30s").unwrap();
        let wanted = |state| match state {
            State::UdpNew => Some(Duration::from_secs(3)),
            State::TimeWait => Some(Duration::from_secs(30)),
            state => state.is_open().then_some(minute),
        };
        assert_eq!(times.idle(Some(minute)), Idle::by_state(wanted));
    }

    #[test]
    fn assignments_name_a_state_and_a_time() {
        assert_eq!(assignment("udp=120s").unwrap(), ("udp".to_owned(), Some("2m".to_owned())));
        assert_eq!(assignment("udp=default").unwrap(), ("udp".to_owned(), None));
        for wrong in ["udp", "udp=", "udp=0s", "tcp_syn_snet=5s", "=5s"] {
            assert!(assignment(wrong).is_err(), "{wrong}");
        }
    }
}
