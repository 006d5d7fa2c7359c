//! Plots as inline SVG: lines over two axes, no script, colours from the page's style.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// An axis.
pub struct Axis {
    /// What it shows.
    pub label: &'static str,
    /// Lowest and highest value, in the axis' own scale.
    pub range: (f64, f64),
    /// Where to put marks, and what they say.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to `most`, with five marks.
    #[must_use]
    pub fn linear(label: &'static str, most: f64, text: impl Fn(f64) -> String) -> Axis {
        let most = if most > 0.0 { most * 1.05 } else { 1.0 };
        let step = round_step(most / 5.0);
        let marks = (0..=5).map(|n| f64::from(n) * step).filter(|at| *at <= most).map(|at| (at, text(at))).collect();
        Axis { label, range: (0.0, most), marks }
    }

    /// Powers of ten; values are given as their logarithms.
    #[must_use]
    pub fn powers(label: &'static str, least: f64, most: f64, text: impl Fn(f64) -> String) -> Axis {
        let (low, high) = (least.max(1.0).log10().floor(), most.max(10.0).log10().ceil());
        let marks = (low as i32..=high as i32).map(|power| (f64::from(power), text(10_f64.powi(power)))).collect();
        Axis { label, range: (low, high.max(low + 1.0)), marks }
    }

    fn part(&self, value: f64) -> f64 {
        ((value - self.range.0) / (self.range.1 - self.range.0)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, not smaller than the step.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= step).unwrap_or(step)
}

/// A line of a plot, or, with `dots`, single points.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the axes' own scales.
    pub points: Vec<(f64, f64)>,
    /// Points instead of a line.
    pub dots: bool,
}

/// Draws lines over two axes.
#[must_use]
pub fn draw(x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    let across = |value: f64| LEFT + x.part(value) * (WIDTH - LEFT - RIGHT);
    let up = |value: f64| HEIGHT - BOTTOM - y.part(value) * (HEIGHT - TOP - BOTTOM);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (at, text) in &y.marks {
        let at = up(*at);
        // Writing to a String cannot fail.
        let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, at + 4.0);
    }
    for (at, text) in &x.marks {
        let at = across(*at);
        let _ = write!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 16.0);
    }
    let _ = write!(svg, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>", HEIGHT - 6.0, x.label);
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", HEIGHT - 6.0, y.label);
    for (index, line) in lines.iter().enumerate() {
        let points = line.points.iter().map(|(x, y)| (across(*x), up(*y)));
        draw_line(&mut svg, index % 6, line.dots, points);
    }
    svg + "</svg>" + &legend(lines)
}

fn draw_line(svg: &mut String, colour: usize, dots: bool, points: impl Iterator<Item = (f64, f64)>) {
    if dots {
        for (x, y) in points {
            let _ = write!(svg, "<circle class=\"d{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
        }
        return;
    }
    let list: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(svg, "<polyline class=\"c{colour}\" points=\"{}\"/>", list.join(" "));
}

fn legend(lines: &[Line]) -> String {
    let mut text = String::from("<p class=\"legend\">");
    for (index, line) in lines.iter().enumerate() {
        let _ = write!(text, "<span class=\"k{}\">{}</span>", index % 6, super::html::escape(&line.name));
    }
    text + "</p>"
}
