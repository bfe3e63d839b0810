//! The report as one self-contained HTML file: no script, no external style sheet, no external image. Every
//! text that comes from outside is escaped.

mod chart;
mod escape;

use crate::report::{OperationReport, Report};
use crate::series::SecondReport;
use chart::{Axis, Line, Stroke, svg};
use escape::escape;
use std::fmt::Write as _;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:900px;padding:0 1em;color:#222;\
background:#fff}h1{font-size:1.5em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;width:100%}\
th,td{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\
svg{width:100%;height:auto;font-size:12px}.grid{stroke:#ddd}.tick{fill:#666}.title{font-weight:600}\
polyline{fill:none;stroke-width:1.6}.warning{background:#fff3cd;padding:.6em 1em;border-left:4px solid #e0a800}\
.bad{background:#f8d7da;padding:.6em 1em;border-left:4px solid #c82333}pre{font-size:12px;white-space:pre-wrap;\
overflow-wrap:anywhere}";

/// The page.
pub fn page(report: &Report) -> String {
    // Writing into a String cannot fail.
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>loadgen report</title>\
         <style>{STYLE}</style></head><body>\n<h1>loadgen report</h1>\n"
    );
    for what in &report.unfinished {
        let _ = writeln!(out, "<p class=\"bad\">Unfinished: {}</p>", escape(what));
    }
    if let Some(line) = report.probe_line() {
        let class = if report.is_lowered() { " class=\"warning\"" } else { "" };
        let _ = writeln!(out, "<p{class}>{}</p>", escape(&line));
    }
    for warning in report.generator.warning.iter().chain(&report.generator.lateness) {
        let _ = writeln!(out, "<p class=\"warning\">Warning: {}</p>", escape(warning));
    }
    if !report.is_sound() {
        let _ = writeln!(out, "<p class=\"bad\">Verification or audit FAILED</p>");
    }
    table(&mut out, report);
    for search in &report.find_max {
        let objectives: Vec<_> = report.options.slo.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "<h2>{}</h2>\n<pre>", escape(&search.line(&objectives.join(" "))));
        search.steps.iter().for_each(|step| _ = writeln!(out, "{}", escape(&step.line())));
        out.push_str("</pre>\n");
    }
    out.push_str("<h2>Latency by percentile</h2>\n");
    out.push_str(&percentile_chart(report));
    for (name, operation) in &report.operations {
        let _ = writeln!(out, "<h2>{} over time</h2>", escape(name));
        out.push_str(&throughput_chart(operation));
        out.push_str(&latency_chart(operation));
    }
    let _ = writeln!(out, "<h2>In words</h2>\n<pre>{}</pre>", escape(report.table().trim_end()));
    let options = serde_json::to_string_pretty(&report.options).expect("options are plain data");
    let _ = writeln!(out, "<h2>Options</h2>\n<pre>{}</pre>", escape(&options));
    out.push_str("</body></html>\n");
    out
}

fn table(out: &mut String, report: &Report) {
    out.push_str("<table><thead><tr>");
    let heads = [
        "",
        "offered/s",
        "achieved/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "errors",
        "unknown",
    ];
    heads.iter().for_each(|head| _ = write!(out, "<th>{head}</th>"));
    out.push_str("</tr></thead><tbody>\n");
    for (name, operation) in &report.operations {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{:.0}</td><td>{:.0}</td>",
            escape(name),
            operation.offered_per_s,
            operation.achieved_per_s
        );
        for us in [operation.p50_us, operation.p90_us, operation.p99_us, operation.p999_us, operation.max_us]
        {
            let _ = write!(out, "<td>{:.3}</td>", us as f64 / 1e3);
        }
        let _ = writeln!(out, "<td>{}</td><td>{}</td></tr>", operation.errors, operation.unknown);
    }
    out.push_str("</tbody></table>\n");
}

fn percentile_chart(report: &Report) -> String {
    let place = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    // The maximum has the percentile 100, which is infinitely far on this axis; it is drawn at the end of the
    // axis.
    let finite = |operation: &OperationReport| {
        operation
            .percentiles
            .iter()
            .map(|point| place(point.percentile))
            .filter(|x| x.is_finite())
            .fold(0.0, f64::max)
    };
    let most = report.operations.values().map(finite).fold(1.0, f64::max);
    let lines: Vec<_> = report
        .operations
        .iter()
        .map(|(name, operation)| {
            let point =
                |point: &crate::series::Percentile| (place(point.percentile).min(most), log_us(point.us));
            Line {
                name: name.clone(),
                stroke: Stroke::Solid,
                points: operation.percentiles.iter().map(point).collect(),
            }
        })
        .collect();
    let all_us = || {
        report.operations.values().flat_map(|operation| operation.percentiles.iter().map(|point| point.us))
    };
    let y = latency_axis(all_us().min(), all_us().max());
    svg("latency by percentile", &Axis::percentile("percentile", most), &y, &lines)
}

fn throughput_chart(operation: &OperationReport) -> String {
    let line = |name: &str, stroke, of: fn(&SecondReport) -> f64| Line {
        name: name.to_owned(),
        stroke,
        points: operation.seconds.iter().map(|second| (second.at_s, of(second))).collect(),
    };
    let lines = [
        line("offered/s", Stroke::Dashed, |second| second.offered_per_s),
        line("achieved/s", Stroke::Solid, |second| second.achieved_per_s),
    ];
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
    svg("throughput", &time_axis(operation), &Axis::linear("requests/s", most), &lines)
}

fn latency_chart(operation: &OperationReport) -> String {
    // A second without answers has no latency.
    let told = || operation.seconds.iter().filter(|second| second.p99_us > 0);
    let line = |name: &str, of: fn(&SecondReport) -> u64| Line {
        name: name.to_owned(),
        stroke: Stroke::Solid,
        points: told().map(|second| (second.at_s, log_us(of(second)))).collect(),
    };
    let lines = [line("p50", |second| second.p50_us), line("p99", |second| second.p99_us)];
    let (least, most) = (told().map(|second| second.p50_us).min(), told().map(|second| second.p99_us).max());
    svg("latency", &time_axis(operation), &latency_axis(least, most), &lines)
}

fn time_axis(operation: &OperationReport) -> Axis {
    Axis::linear("seconds", operation.seconds.last().map_or(1.0, |second| second.at_s))
}

fn latency_axis(least_us: Option<u64>, most_us: Option<u64>) -> Axis {
    Axis::latency("latency", least_us.unwrap_or(1) as f64, most_us.unwrap_or(1) as f64)
}

fn log_us(us: u64) -> f64 {
    (us.max(1) as f64).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latencies;

    fn sample() -> Report {
        let mut report = Report::default();
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|us| latencies.record_ns(us * 1000));
        let mut operation = OperationReport { achieved_per_s: 1000.0, ..OperationReport::default() };
        operation.set_latencies(&latencies);
        let second = |at: u32| SecondReport {
            at_s: f64::from(at),
            offered_per_s: 1000.0,
            achieved_per_s: 900.0,
            p50_us: 500,
            p99_us: 20_000,
        };
        operation.seconds = (1..=7).map(second).collect();
        report.operations.insert("write".into(), operation.clone());
        report.operations.insert("read".into(), operation);
        report
    }

    /// Asserts that every opened tag is closed, in order.
    fn assert_balanced(page: &str) {
        let mut open = Vec::new();
        for piece in page.split('<').skip(1) {
            let (tag, _) = piece.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '\n']).next().expect("a tag has a name");
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "at </{name}>"),
                None if ["!doctype", "meta"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        for report in [sample(), Report::default()] {
            let page = page(&report);
            assert_balanced(&page);
            for word in ["http:", "https:", "src=", "href=", "<script", "@import", "url("] {
                assert!(!page.contains(word), "{word} is in the page");
            }
        }
        let page = page(&sample());
        let lines: Vec<_> =
            page.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("")).collect();
        assert_eq!(lines.len(), 2 + 2 * 4, "percentiles of two operations, four lines over time for each");
        let numbers = lines.iter().flat_map(|line| line.split([' ', ','])).map(str::parse::<f64>);
        assert!(numbers.into_iter().all(|number| number.is_ok_and(f64::is_finite)));
        assert_eq!(lines[2].split(' ').count(), 7, "a point for each second");
    }

    #[test]
    fn a_lowered_rate_is_a_warning_at_the_top() {
        let mut report = sample();
        (report.asked_rate, report.offered_rate) = (Some(20_000), Some(20_000));
        report.probe = Some(crate::offer::ProbeReport { achieved_per_s: 8_434.0, ..Default::default() });
        assert!(page(&report).contains("<p>probe    the target answers 8434"), "no warning");
        report.offered_rate = Some(6_300);
        let page = page(&report);
        assert!(page.contains("<p class=\"warning\">probe    the target answers 8434"), "a warning");
        assert!(page.contains("so 6300/s are offered"));
        assert_balanced(&page);
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let mut report = sample();
        report.options.key_prefix = "<script>alert('x')</script>&\"".into();
        report.findings.push("</pre><img src=x onerror=alert(1)>".into());
        report.generator.warning = Some("<b>slow</b>".into());
        report.generator.lateness = Some("<b>late</b>".into());
        report.unfinished.push("<b>half</b>".into());
        let operation = report.operations["write"].clone();
        report.operations.insert("<i>\"".into(), operation);
        let page = page(&report);
        assert_balanced(&page);
        for bad in ["<script", "<img", "<b>", "<i>"] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("&lt;b&gt;slow"));
    }
}
