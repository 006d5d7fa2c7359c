//! Figures of bars, as SVG: a panel for each quantity, a bar for each value, a whisker for its range.
#![expect(clippy::cast_precision_loss, reason = "a few bars")]

use crate::spread::{Spread, number};
use std::fmt::{self, Write};

const BAR: f64 = 18.0;
const HEAD: f64 = 36.0;

/// Where things stand.
pub struct Layout {
    /// Room for the labels.
    label: f64,
    /// The longest bar.
    width: f64,
    /// Panels beside one another.
    columns: usize,
}

impl Layout {
    /// Two panels beside one another, with short labels.
    pub const PAIRS: Layout = Layout { label: 140.0, width: 240.0, columns: 2 };
    /// One below the other, with long labels.
    pub const COLUMN: Layout = Layout { label: 330.0, width: 300.0, columns: 1 };

    fn panel_width(&self) -> f64 {
        self.label + self.width + 90.0
    }
}

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

/// The SVG text.
#[must_use]
pub fn svg(panels: &[Panel], layout: &Layout) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut out, panels, layout);
    out
}

fn draw(out: &mut String, panels: &[Panel], layout: &Layout) -> fmt::Result {
    let width = layout.panel_width() * layout.columns as f64;
    let rows = || panels.chunks(layout.columns);
    let height: f64 = rows().map(height_of).sum();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>")?;
    let mut y = 0.0;
    for row in rows() {
        for (column, one) in row.iter().enumerate() {
            writeln!(out, "<g transform=\"translate({},{y})\">", column as f64 * layout.panel_width())?;
            panel(out, one, layout)?;
            writeln!(out, "</g>")?;
        }
        y += height_of(row);
    }
    writeln!(out, "</svg>")
}

fn height_of(row: &[Panel]) -> f64 {
    let most = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    HEAD + BAR * most as f64 + 14.0
}

fn panel(out: &mut String, panel: &Panel, layout: &Layout) -> fmt::Result {
    writeln!(out, "<text x=\"6\" y=\"22\" font-weight=\"bold\">{}</text>", escape(&panel.title))?;
    let top = panel.bars.iter().map(|bar| bar.spread.high).fold(f64::MIN_POSITIVE, f64::max);
    let at = |value: f64| layout.label + layout.width * value / top;
    panel.bars.iter().enumerate().try_for_each(|(index, one)| bar(out, HEAD + BAR * index as f64, one, at))
}

/// `at`: where a value is, across.
fn bar(out: &mut String, y: f64, bar: &Bar, at: impl Fn(f64) -> f64) -> fmt::Result {
    let Bar { label, spread: Spread { median, low, high }, color } = bar;
    let (left, middle, text) = (at(0.0), y + BAR / 2.0, y + BAR / 2.0 + 4.0);
    writeln!(out, "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>", left - 6.0, escape(label))?;
    writeln!(
        out,
        "<rect x=\"{left}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>",
        y + 2.0,
        at(*median) - left,
        BAR - 4.0
    )?;
    let (low, high) = (at(*low), at(*high));
    writeln!(out, "<path d=\"M{low:.1} {middle}H{high:.1}\" stroke=\"black\" stroke-width=\"1.5\"/>")?;
    writeln!(out, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", high + 5.0, number(*median))
}

/// Text as SVG may hold it.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
