//! Plots as SVG text: a frame with axes, and lines, bars, dots in it. Colours are classes of the page's style.

use std::fmt::Write as _;

/// A plot under way.
pub(super) struct Plot {
    svg: String,
    x: Scale,
    y: Scale,
}

/// Values along one direction of the picture.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        self.from + (value - self.least) / (self.most - self.least) * (self.to - self.from)
    }
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// What the axes say.
pub(super) struct Axes<'a> {
    /// For who cannot see the plot.
    pub(super) title: &'a str,
    /// The values from left to right.
    pub(super) x: (f64, f64),
    /// What they are.
    pub(super) x_label: &'a str,
    /// The values from bottom to top.
    pub(super) y: (f64, f64),
    /// How numbers on the axes are written.
    pub(super) write: fn(f64) -> String,
    /// The ticks of x and what they say; chosen by the numbers if empty.
    pub(super) x_ticks: Vec<(f64, String)>,
}

impl Plot {
    pub(super) fn new(axes: &Axes<'_>) -> Self {
        let y_step = step(axes.y.1 - axes.y.0, 5.0);
        let top = axes.y.0 + (((axes.y.1 - axes.y.0) / y_step).ceil()).max(1.0) * y_step;
        let x = Scale { least: axes.x.0, most: axes.x.1, from: LEFT, to: WIDTH - RIGHT };
        let y = Scale { least: axes.y.0, most: top, from: HEIGHT - BOTTOM, to: TOP };
        let mut svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", axes.title);
        for value in ticks(axes.y.0, top, y_step) {
            let at = y.at(value);
            let _ = write!(svg, "<path class=grid d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<text x={:.1} y={:.1} class=end>{}</text>",
                LEFT - 7.0,
                at + 3.5,
                (axes.write)(value)
            );
        }
        let x_ticks = if axes.x_ticks.is_empty() {
            let x_step = step(axes.x.1 - axes.x.0, 7.0);
            let first = (axes.x.0 / x_step).ceil() * x_step;
            ticks(first, axes.x.1, x_step).into_iter().map(|value| (value, (axes.write)(value))).collect()
        } else {
            axes.x_ticks.clone()
        };
        for (value, said) in x_ticks {
            let (at, below) = (x.at(value), HEIGHT - BOTTOM + 16.0);
            let _ = write!(svg, "<text x={at:.1} y={below} class=mid>{said}</text>");
        }
        let (middle, bottom) = (0.5 * (LEFT + WIDTH - RIGHT), HEIGHT - 8.0);
        let _ = write!(svg, "<text x={middle} y={bottom} class=\"mid label\">{}</text>", axes.x_label);
        let _ = write!(svg, "<path class=axis d=\"M{LEFT} {:.1}H{:.1}\"/>", y.from, WIDTH - RIGHT);
        Self { svg, x, y }
    }

    /// A line through points.
    pub(super) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x.at(x), self.y.at(y));
        }
        let _ = write!(self.svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &str, x: f64, y: f64) {
        let (x, y) = (self.x.at(x), self.y.at(y));
        let _ = write!(self.svg, "<circle class=\"dot {class}\" cx={x:.1} cy={y:.1} r=3.2 />");
    }

    /// A bar between two values of x.
    pub(super) fn bar(&mut self, class: &str, x: (f64, f64), y: f64) {
        let (left, right) = (self.x.at(x.0), self.x.at(x.1));
        let (top, bottom) = (self.y.at(y.max(self.y.least)), self.y.from);
        let (width, height) = (right - left, bottom - top);
        let _ = write!(
            self.svg,
            "<rect class=\"bar {class}\" x={left:.1} y={top:.1} width={width:.1} height={height:.1} />"
        );
    }

    /// An upright line with a word beside it.
    pub(super) fn mark(&mut self, x: f64, word: &str) {
        let at = self.x.at(x);
        let _ = write!(self.svg, "<path class=mark d=\"M{at:.1} {TOP}V{:.1}\"/>", self.y.from);
        let _ = write!(self.svg, "<text x={:.1} y={:.1}>{word}</text>", at + 5.0, TOP + 9.0);
    }

    /// A level line.
    pub(super) fn level(&mut self, y: f64) {
        let at = self.y.at(y);
        let _ = write!(self.svg, "<path class=mark d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT);
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// A step of 1, 2 or 5 times a power of ten, so that about as many fit.
fn step(span: f64, about: f64) -> f64 {
    if span <= 0.0 || !span.is_finite() {
        return 1.0;
    }
    let rough = span / about;
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn ticks(first: f64, last: f64, step: f64) -> Vec<f64> {
    let count = ((last - first) / step + 1e-9).floor().max(0.0) as u32;
    (0..=count).map(|index| first + f64::from(index) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_numbers() {
        for (span, expected) in [(100.0, 20.0), (7.0, 2.0), (0.07, 0.02), (1.0, 0.2), (0.0, 1.0)] {
            assert!((step(span, 5.0) - expected).abs() < 1e-12 * expected, "{span}: {}", step(span, 5.0));
        }
        assert_eq!(ticks(0.0, 6.0, 2.0), [0.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn a_plot_of_nothing_has_no_nan() {
        let axes = Axes {
            title: "nothing",
            x: (0.0, 1.0),
            x_label: "",
            y: (0.0, 0.0),
            write: |value| value.to_string(),
            x_ticks: Vec::new(),
        };
        let mut plot = Plot::new(&axes);
        plot.bar("m0", (0.0, 0.5), 0.0);

        let svg = plot.finish();

        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
