//! Line charts as SVG text: one frame, axes with given ticks, a line for each series. No script and no
//! external resource.

use super::escape::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// The colours, in the order of the series; they repeat after the last one.
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"];

/// One axis: its ends, and the places that are labelled.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis from 0 to a round number at or above `most`.
    pub(super) fn linear(label: &'static str, most: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| step * 6.0 >= most).unwrap_or(10.0 * power);
        let count = (most / step).ceil() as u32; // six at most
        let ticks = (0..=count).map(|tick| f64::from(tick) * step);
        let digits = if step < 1.0 { -step.log10().floor() as usize } else { 0 }; // small: the step is > 0
        let ticks = ticks.map(|value| (value, format!("{value:.digits$}"))).collect();
        Self { label, least: 0.0, most: f64::from(count) * step, ticks }
    }
    /// An axis of latencies in microseconds on a logarithmic scale, from the power of ten below `least_us` to
    /// the one above `most_us`. Values are logarithms.
    pub(super) fn latency(label: &'static str, least_us: f64, most_us: f64) -> Self {
        let least = least_us.max(1.0).log10().floor();
        let most = most_us.max(10.0).log10().ceil().max(least + 1.0);
        let ticks = (least as i32..=most as i32)
            .map(|power| {
                let us = 10_f64.powi(power);
                let text = match us {
                    us if us < 1e3 => format!("{us:.0} us"),
                    us if us < 1e6 => format!("{:.0} ms", us / 1e3),
                    us => format!("{:.0} s", us / 1e6),
                };
                (f64::from(power), text)
            })
            .collect();
        Self { label, least, most, ticks }
    }
    /// An axis of percentiles on the scale `log10(1 / (1 - quantile))`, up to `decades` powers of ten. Values
    /// are on that scale.
    pub(super) fn percentile(label: &'static str, decades: f64) -> Self {
        let most = decades.max(1.0);
        let text = |decade: u32| match decade {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            more => format!("99.{} %", "9".repeat(more as usize - 2)),
        };
        let ticks = (0..=most as u32).map(|decade| (f64::from(decade), text(decade))).collect();
        Self { label, least: 0.0, most, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.least) / (self.most - self.least)).clamp(0.0, 1.0)
    }
}

/// Whether a line shows what was measured or what was offered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    /// Measured.
    Solid,
    /// Offered: dashed and drawn on top, so that a line at the same place stays visible below it.
    Dashed,
}

/// A named line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) stroke: Stroke,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws a chart.
pub(super) fn svg(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let place_x = |value| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let place_y = |value| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    // Writing into a String cannot fail.
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"18\">{0}</text>\n",
        escape(title)
    );
    for (value, text) in &x.ticks {
        let at = place_x(*value);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"></line>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            escape(text)
        );
    }
    for (value, text) in &y.ticks {
        let at = place_y(*value);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"></line>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            escape(text)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"tick\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <text class=\"tick\" x=\"4\" y=\"18\">{}</text>",
        HEIGHT - 8.0,
        escape(x.label),
        escape(y.label)
    );
    let mut drawn: Vec<_> = lines.iter().enumerate().collect();
    drawn.sort_by_key(|(_, line)| line.stroke == Stroke::Dashed);
    for (index, line) in drawn {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<_> =
            line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", place_x(x), place_y(y))).collect();
        let at = 260.0 + 150.0 * index as f64; // few lines
        let dashes = match line.stroke {
            Stroke::Solid => "",
            Stroke::Dashed => " stroke-dasharray=\"6 6\"",
        };
        let _ = writeln!(
            out,
            "<polyline stroke=\"{colour}\"{dashes} points=\"{}\"></polyline>\
             <text x=\"{at}\" y=\"18\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            escape(&line.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::linear("", 23_400.0);
        assert_eq!((axis.most, axis.ticks.len(), axis.ticks[1].1.as_str()), (25_000.0, 6, "5000"));
        assert_eq!(Axis::linear("", 0.0).ticks.len(), 6);
        assert_eq!(Axis::linear("", 2.9).ticks[1].1, "0.5");
        assert_eq!(Axis::linear("", 0.1).ticks[1].1, "0.02");
        assert!(Axis::linear("", f64::NAN).most > 0.0);
        let axis = Axis::latency("", 150.0, 23_000.0);
        let texts: Vec<_> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["100 us", "1 ms", "10 ms", "100 ms"]);
        let axis = Axis::percentile("", 4.3);
        let texts: Vec<_> = axis.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn points_lie_where_they_belong_and_never_outside() {
        let (x, y) = (Axis::linear("x", 10.0), Axis::linear("y", 10.0));
        let points = vec![(0.0, 0.0), (10.0, 10.0), (5.0, 99.0)];
        let text = svg("t", &x, &y, &[Line { name: "one".into(), stroke: Stroke::Solid, points }]);
        assert!(text.contains("points=\"80.0,274.0 840.0,34.0 460.0,34.0\""), "{text}");
    }
}
