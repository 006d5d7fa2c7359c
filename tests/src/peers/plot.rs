//! The figure of the page: a panel for each quantity, a bar for each contestant, a whisker for the range.

use crate::peers::contestant::Contestant;
use crate::peers::page::{Column, SHOWN};
use crate::peers::results::{Results, Spread};
use std::fmt::{self, Write};

const BAR: f64 = 18.0;
const LABEL: f64 = 140.0;
const WIDTH: f64 = 240.0;
const PANEL_WIDTH: f64 = LABEL + WIDTH + 90.0;
const PANEL_HEIGHT: f64 = 36.0 + BAR * Contestant::ALL.len() as f64 + 14.0;
const COLUMNS: usize = 2;

/// The SVG text.
///
/// # Errors
/// Never: it is written to a string.
pub fn svg(results: &Results) -> Result<String, fmt::Error> {
    let rows = SHOWN.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL_WIDTH * COLUMNS as f64, PANEL_HEIGHT * rows as f64);
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>")?;
    for (index, column) in SHOWN.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * PANEL_WIDTH, (index / COLUMNS) as f64 * PANEL_HEIGHT);
        writeln!(out, "<g transform=\"translate({x},{y})\">")?;
        panel(&mut out, results, column)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

fn panel(out: &mut String, results: &Results, column: &Column) -> fmt::Result {
    writeln!(out, "<text x=\"6\" y=\"22\" font-weight=\"bold\">{}</text>", column.title)?;
    let bars: Vec<_> = Contestant::ALL
        .into_iter()
        .filter_map(|contestant| Some((contestant, column.spread(results, contestant)?)))
        .filter(|(_, spread)| spread.max > 0.0)
        .collect();
    let top = bars.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    for (index, (contestant, spread)) in bars.iter().enumerate() {
        bar(out, index, *contestant, *spread, top)?;
    }
    Ok(())
}

fn bar(out: &mut String, index: usize, contestant: Contestant, spread: Spread, top: f64) -> fmt::Result {
    let y = 36.0 + BAR * index as f64;
    let at = |value: f64| LABEL + WIDTH * value / top;
    let color = match contestant {
        Contestant::AfXdp | Contestant::Tun => "#c0532f",
        Contestant::Direct | Contestant::Routing => "#9aa5ad",
        _ => "#4a78a8",
    };
    let (middle, text) = (y + BAR / 2.0, y + BAR / 2.0 + 4.0);
    writeln!(out, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABEL - 6.0, contestant.name())?;
    writeln!(
        out,
        "<rect x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>",
        y + 2.0,
        at(spread.median) - LABEL,
        BAR - 4.0
    )?;
    writeln!(
        out,
        "<path d=\"M{:.1} {middle}H{:.1}\" stroke=\"black\" stroke-width=\"1.5\"/>",
        at(spread.min),
        at(spread.max)
    )?;
    writeln!(out, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", at(spread.max) + 5.0, number(spread.median))
}

/// Three or four digits, whatever the size.
#[must_use]
pub fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
