//! Bars as SVG: a panel for each quantity, a whisker for the range.

use std::fmt::{self, Write as _};

use super::results::Spread;

const BAR: f64 = 18.0;
const LABEL: f64 = 330.0;
const WIDTH: f64 = 300.0;
const TOTAL: f64 = LABEL + WIDTH + 90.0;
const HEAD: f64 = 36.0;

/// One quantity.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// Name and value of each bar; grey for those that others are compared with.
    pub bars: Vec<(String, Spread)>,
}

/// Draws panels, one below the other.
#[must_use]
pub fn svg(panels: &[Panel]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = draw(&mut out, panels);
    out
}

fn draw(out: &mut String, panels: &[Panel]) -> fmt::Result {
    let height_of = |panel: &Panel| HEAD + BAR * panel.bars.len() as f64 + 14.0;
    let height: f64 = panels.iter().map(height_of).sum();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {TOTAL} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{TOTAL}\" height=\"{height}\" fill=\"white\"/>"
    )?;
    let mut y = 0.0;
    for panel in panels {
        writeln!(out, "<g transform=\"translate(0,{y})\">")?;
        writeln!(out, "<text x=\"6\" y=\"22\" font-weight=\"bold\">{}</text>", escape(&panel.title))?;
        let top = panel.bars.iter().map(|(_, spread)| spread.high).fold(f64::MIN_POSITIVE, f64::max);
        for (index, (name, spread)) in panel.bars.iter().enumerate() {
            bar(out, HEAD + BAR * index as f64, name, *spread, top)?;
        }
        writeln!(out, "</g>")?;
        y += height_of(panel);
    }
    writeln!(out, "</svg>")
}

fn bar(out: &mut String, y: f64, name: &str, spread: Spread, top: f64) -> fmt::Result {
    let at = |value: f64| LABEL + WIDTH * value / top;
    let (middle, text) = (y + BAR / 2.0, y + BAR / 2.0 + 4.0);
    let colour = if name.starts_with("bare") || name.starts_with("as shipped") { "#9aa5ad" } else { "#c0532f" };
    writeln!(out, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", LABEL - 6.0, escape(name))?;
    writeln!(
        out,
        "<rect x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        y + 2.0,
        at(spread.median) - LABEL,
        BAR - 4.0
    )?;
    let (low, high) = (at(spread.low), at(spread.high));
    writeln!(out, "<path d=\"M{low:.1} {middle}H{high:.1}\" stroke=\"black\" stroke-width=\"1.5\"/>")?;
    writeln!(out, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", high + 5.0, number(spread.median))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Three or four digits, whatever the size.
#[must_use]
pub fn number(value: f64) -> String {
    match value {
        value if value >= 100_000.0 => format!("{:.0}k", value / 1000.0),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
