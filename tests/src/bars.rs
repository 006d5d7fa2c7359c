//! Figures of bars, as SVG: a panel for each quantity, a bar for each value, a whisker for its range.
#![expect(clippy::cast_precision_loss, reason = "a few bars")]

use crate::peers::results::Spread;
use std::fmt::{self, Write};

const BAR: f64 = 18.0;
const LABEL: f64 = 140.0;
const WIDTH: f64 = 240.0;
const PANEL_WIDTH: f64 = LABEL + WIDTH + 90.0;
const COLUMNS: usize = 2;

/// A bar.
pub struct Bar {
    /// What stands before it.
    pub label: String,
    /// Its length, and the whisker.
    pub spread: Spread,
    /// As SVG has it.
    pub color: &'static str,
}

/// Bars that are to be compared.
pub struct Panel {
    /// What is compared, and the unit.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

fn panel_height(bars: usize) -> f64 {
    36.0 + BAR * bars as f64 + 14.0
}

/// The SVG text: two panels beside one another.
///
/// # Errors
/// Never: it is written to a string.
pub fn svg(panels: &[Panel]) -> Result<String, fmt::Error> {
    let width = PANEL_WIDTH * COLUMNS as f64;
    let heights = panels.chunks(COLUMNS).map(|row| {
        let most = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
        panel_height(most)
    });
    let height: f64 = heights.clone().sum();
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>")?;
    let mut y = 0.0;
    for (row, height) in panels.chunks(COLUMNS).zip(heights) {
        for (column, one) in row.iter().enumerate() {
            writeln!(out, "<g transform=\"translate({},{y})\">", column as f64 * PANEL_WIDTH)?;
            panel(&mut out, one)?;
            writeln!(out, "</g>")?;
        }
        y += height;
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

fn panel(out: &mut String, panel: &Panel) -> fmt::Result {
    writeln!(out, "<text x=\"6\" y=\"22\" font-weight=\"bold\">{}</text>", panel.title)?;
    let top = panel.bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    panel.bars.iter().enumerate().try_for_each(|(index, one)| bar(out, index, one, top))
}

fn bar(out: &mut String, index: usize, bar: &Bar, top: f64) -> fmt::Result {
    let Bar { label, spread, color } = bar;
    let y = 36.0 + BAR * index as f64;
    let at = |value: f64| LABEL + WIDTH * value / top;
    let (middle, text) = (y + BAR / 2.0, y + BAR / 2.0 + 4.0);
    writeln!(out, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{label}</text>", LABEL - 6.0)?;
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
