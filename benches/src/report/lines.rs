//! Figures of lines, as SVG: a panel for each question, a line for each answer, a whisker for each range. The horizontal axis
//! is logarithmic: flows come in powers.

use std::fmt::{self, Write};

use tests::spread::number;

use super::sheet::grouped;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 118.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 34.0;
const COLUMNS: usize = 2;
const COLOURS: [&str; 8] = ["#c0532f", "#4a78a8", "#2a8a4a", "#9aa5ad", "#8a4fb0", "#a8870c", "#b83a68", "#333333"];

/// A place on a line: where, the middle, the lowest and the highest.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Along the horizontal axis; at least 1.
    pub x: f64,
    /// The middle.
    pub y: f64,
    /// Ends of the whisker.
    pub range: (f64, f64),
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// From left to right.
    pub points: Vec<Point>,
}

/// Lines that are to be compared.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown, and the unit.
    pub title: String,
    /// What the horizontal axis is.
    pub across: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
}

/// The SVG text.
///
/// # Errors
/// Never: it is written to a string.
pub fn svg(panels: &[Panel]) -> Result<String, fmt::Error> {
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * panels.len().div_ceil(COLUMNS) as f64);
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>")?;
    for (index, one) in panels.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        writeln!(out, "<g transform=\"translate({x},{y})\">")?;
        panel(&mut out, one)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

/// Where values are drawn.
struct Scale {
    most_x: f64,
    most_y: f64,
}

impl Scale {
    fn of(panel: &Panel) -> Self {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let most_x = points().map(|point| point.x).fold(10.0, f64::max);
        let most_y = points().map(|point| point.range.1).fold(f64::MIN_POSITIVE, f64::max);
        Self { most_x, most_y: most_y * 1.05 }
    }

    fn across(&self, x: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * x.max(1.0).log10() / self.most_x.log10()
    }

    fn up(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / self.most_y
    }
}

fn panel(out: &mut String, panel: &Panel) -> fmt::Result {
    let scale = Scale::of(panel);
    writeln!(out, "<text x=\"6\" y=\"22\" font-weight=\"bold\">{}</text>", panel.title)?;
    axes(out, panel, &scale)?;
    panel.lines.iter().enumerate().try_for_each(|(index, one)| line(out, index, one, &scale))
}

fn axes(out: &mut String, panel: &Panel, scale: &Scale) -> fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let step = round_step(scale.most_y / 5.0);
    for value in (0..=5).map(|n| f64::from(n) * step).filter(|value| *value <= scale.most_y) {
        let y = scale.up(value);
        writeln!(out, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#dddddd\"/>")?;
        let text = if value < 1.0 { number(value) } else { grouped(value as u64) };
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 5.0, y + 4.0)?;
    }
    let mut marks: Vec<f64> = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.x).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for value in marks {
        let text = if value < 1e6 { grouped(value as u64) } else { format!("{} M", value / 1e6) };
        let x = scale.across(value);
        writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 14.0)?;
    }
    writeln!(out, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>", HEIGHT - 6.0, panel.across)
}

/// 1, 2 or 5 times a power of ten, not smaller than the step.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= step).unwrap_or(step)
}

fn line(out: &mut String, index: usize, line: &Line, scale: &Scale) -> fmt::Result {
    let colour = COLOURS[index % COLOURS.len()];
    let at = |point: &Point| format!("{:.1},{:.1}", scale.across(point.x), scale.up(point.y));
    let places: Vec<String> = line.points.iter().map(at).collect();
    writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", places.join(" "))?;
    for point in &line.points {
        let (x, low, high) = (scale.across(point.x), scale.up(point.range.0), scale.up(point.range.1));
        writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\"/>", scale.up(point.y))?;
        writeln!(out, "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\"/>")?;
    }
    let (x, y) = (WIDTH - RIGHT + 8.0, TOP + 8.0 + 16.0 * index as f64);
    writeln!(out, "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>", y - 9.0)?;
    writeln!(out, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 15.0, line.name)
}
