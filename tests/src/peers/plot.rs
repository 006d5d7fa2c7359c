//! The figure of the page: a panel for each quantity, a bar for each contestant, a whisker for the range.

use crate::bars::{self, Bar, Layout, Panel};
use crate::peers::contestant::Contestant;
use crate::peers::page::{Column, SHOWN};
use crate::peers::results::Results;

/// The SVG text.
#[must_use]
pub fn svg(results: &Results) -> String {
    bars::svg(&SHOWN.iter().map(|column| panel(results, column)).collect::<Vec<_>>(), &Layout::PAIRS)
}

fn panel(results: &Results, column: &Column) -> Panel {
    let bars = Contestant::ALL.into_iter().filter_map(|contestant| {
        let spread = column.spread(results, contestant)?;
        (spread.high > 0.0).then(|| Bar { label: contestant.name().to_owned(), spread, color: color(contestant) })
    });
    Panel { title: column.title.to_owned(), bars: bars.collect() }
}

const fn color(contestant: Contestant) -> &'static str {
    match contestant {
        Contestant::AfXdp | Contestant::Workers | Contestant::Generic | Contestant::Tun => "#c0532f",
        Contestant::Direct | Contestant::Routing => "#9aa5ad",
        _ => "#4a78a8",
    }
}
