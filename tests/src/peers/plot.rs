//! The figure of the page: a panel for each quantity, a bar for each contestant, a whisker for the range.

pub use crate::bars::number;
use crate::bars::{self, Bar, Panel};
use crate::peers::contestant::Contestant;
use crate::peers::page::{Column, SHOWN};
use crate::peers::results::Results;
use std::fmt;

/// The SVG text.
///
/// # Errors
/// Never: it is written to a string.
pub fn svg(results: &Results) -> Result<String, fmt::Error> {
    bars::svg(&SHOWN.iter().map(|column| panel(results, column)).collect::<Vec<_>>())
}

fn panel(results: &Results, column: &Column) -> Panel {
    let bars = Contestant::ALL.into_iter().filter_map(|contestant| {
        let spread = column.spread(results, contestant)?;
        (spread.max > 0.0).then(|| Bar { label: contestant.name().to_owned(), spread, color: color(contestant) })
    });
    Panel { title: column.title.to_owned(), bars: bars.collect() }
}

const fn color(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::AfXdp | Contestant::Tun => "#c0532f",
        Contestant::Direct | Contestant::Routing => "#9aa5ad",
        _ => "#4a78a8",
    }
}
