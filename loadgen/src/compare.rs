//! Two reports side by side, with an interval for each ratio.
//!
//! The compared figures are means over the seconds of a measured phase. Neighbouring seconds are correlated
//! (a flush, a snapshot or a noisy neighbour lasts longer than one second). So the interval comes from a
//! moving-block bootstrap (Künsch 1989; Liu and Singh 1992): both series are rebuilt many times from blocks
//! of neighbouring seconds drawn with replacement, and the middle 95 % of the ratios of their means are the
//! interval. The seed is fixed: the same files give the same answer.

use crate::random::Random;
use crate::report::Report;
use crate::series::SecondReport;
use std::fmt::Write as _;

/// How often the series are rebuilt: each end of the interval rests on the 50 most extreme ratios on its
/// side.
const RESAMPLES: usize = 2000;
/// With fewer seconds than this, their variation cannot be estimated.
const SECONDS_LEAST: usize = 5;
/// The name of a figure with its unit, and the function that reads the figure.
type Metric = (&'static str, fn(&SecondReport) -> f64);
/// The figures that are compared for each operation.
const METRICS: [Metric; 3] = [
    ("achieved/s", |second| second.achieved_per_s),
    ("p50 us", |second| second.p50_us as f64),
    ("p99 us", |second| second.p99_us as f64),
];

/// One figure of one operation in both reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The operation.
    pub operation: String,
    /// The figure and its unit.
    pub metric: &'static str,
    /// Its mean over the seconds of the first report.
    pub a: f64,
    /// The same in the second report.
    pub b: f64,
    /// `b / a` with the 95 % interval; `None` when there are too few seconds, or `a` is 0.
    pub ratio: Option<Ratio>,
}

/// A ratio and its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratio {
    /// The ratio of the means.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// What the interval says, in words.
    pub fn verdict(self) -> &'static str {
        if self.low > 1.0 {
            "b is higher"
        } else if self.high < 1.0 {
            "b is lower"
        } else {
            "no difference shown"
        }
    }
}

/// The comparison of two reports.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// One row for each operation and figure.
    pub rows: Vec<Row>,
    /// What makes the runs hard to compare: different options, operations that only one of them has.
    pub remarks: Vec<String>,
}

/// Compares the operations that both reports have.
pub fn compare(a: &Report, b: &Report) -> Comparison {
    let mut rows = Vec::new();
    let mut remarks = differences(a, b);
    for (name, of_a) in &a.operations {
        let Some(of_b) = b.operations.get(name) else {
            remarks.push(format!("{name} is in a only"));
            continue;
        };
        for (metric, value) in METRICS {
            // Seconds without answers have no latency, but they count in the throughput.
            let values = |seconds: &[SecondReport]| -> Vec<f64> {
                let told = seconds.iter().filter(|second| metric == "achieved/s" || second.p99_us > 0);
                told.map(value).collect()
            };
            let (a, b) = (values(&of_a.seconds), values(&of_b.seconds));
            let ratio = bootstrap(&a, &b);
            rows.push(Row { operation: name.clone(), metric, a: mean(&a), b: mean(&b), ratio });
        }
    }
    remarks.extend(
        b.operations
            .keys()
            .filter(|name| !a.operations.contains_key(*name))
            .map(|name| format!("{name} is in b only")),
    );
    for (name, report) in [("a", a), ("b", b)] {
        for warning in report.generator.warning.iter().chain(&report.generator.lateness) {
            remarks.push(format!("in {name} {warning}"));
        }
    }
    Comparison { rows, remarks }
}

impl Comparison {
    /// The table for display.
    pub fn table(&self) -> String {
        // Writing into a String cannot fail.
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:<17} {:<10} {:>12} {:>12} {:>7}  {:<16} means over seconds",
            "", "", "a", "b", "b/a", "95 % interval"
        );
        for row in &self.rows {
            let (ratio, interval, verdict) = match row.ratio {
                None => ("-".to_owned(), "-".to_owned(), "too few seconds to say"),
                Some(ratio) => (
                    format!("{:.3}", ratio.value),
                    format!("{:.3} to {:.3}", ratio.low, ratio.high),
                    ratio.verdict(),
                ),
            };
            let _ = writeln!(
                out,
                "{:<17} {:<10} {:>12.1} {:>12.1} {ratio:>7}  {interval:<16} {verdict}",
                row.operation, row.metric, row.a, row.b
            );
        }
        self.remarks.iter().for_each(|remark| _ = writeln!(out, "note: {remark}"));
        out
    }
    /// The operations whose p99 is with confidence more than `limit` times as long in b.
    pub fn slower_than(&self, limit: f64) -> Vec<&str> {
        let slow = |row: &&Row| row.metric == "p99 us" && row.ratio.is_some_and(|ratio| ratio.low > limit);
        self.rows.iter().filter(slow).map(|row| row.operation.as_str()).collect()
    }
}

/// Options that differ between the runs and matter to the figures.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let fields = |report: &Report| match serde_json::to_value(&report.options) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (offered_a, offered_b) = (a.offered_rate, b.offered_rate);
    let (a, b) = (fields(a), fields(b));
    let rates = offered_a.zip(offered_b).filter(|(a, b)| a != b);
    let rates = rates.map(|(a, b)| format!("the runs offered different rates: a {a}/s, b {b}/s"));
    let names_of_files = ["target", "json", "html", "hdr", "history", "data_dir"];
    a.iter()
        .filter(|(name, value)| !names_of_files.contains(&name.as_str()) && b.get(*name) != Some(value))
        .map(|(name, value)| {
            let other = b.get(name).unwrap_or(&serde_json::Value::Null);
            format!("the runs were told different things: {name} {value} and {other}")
        })
        .chain(rates)
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn bootstrap(a: &[f64], b: &[f64]) -> Option<Ratio> {
    if a.len().min(b.len()) < SECONDS_LEAST || mean(a) <= 0.0 {
        return None;
    }
    let mut random = Random::new(0xb007, 0);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| (resampled_mean(b, &mut random), resampled_mean(a, &mut random)))
        .filter(|(_, a)| *a > 0.0)
        .map(|(b, a)| b / a)
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ratios.get((share * (ratios.len() as f64 - 1.0)).round() as usize).copied();
    Some(Ratio { value: mean(b) / mean(a), low: at(0.025)?, high: at(0.975)? })
}

/// The mean of a series rebuilt from blocks of neighbours. A block is twice the cube root of the length: this
/// growth minimises the error of the variance (Künsch 1989), and the factor allows for correlation over a few
/// seconds.
fn resampled_mean(values: &[f64], random: &mut Random) -> f64 {
    let count = values.len();
    let block = ((2.0 * (count as f64).cbrt()).round() as usize).clamp(1, count.div_ceil(2));
    let (mut sum, mut taken) = (0.0, 0);
    while taken < count {
        let start = random.below((count - block + 1) as u64) as usize; // below the length
        let length = block.min(count - taken);
        sum += values[start..start + length].iter().sum::<f64>();
        taken += length;
    }
    sum / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::OperationReport;

    /// Seconds around `p99_us`, each correlated by `rho` with the one before.
    fn seconds(count: usize, p99_us: f64, rho: f64, seed: u64) -> Vec<SecondReport> {
        let mut random = Random::new(seed, 0);
        let mut noise = 0.0;
        (1..=count)
            .map(|at| {
                // The sum of twelve draws is about normal, with deviation 1.
                let fresh: f64 = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
                noise = rho * noise + (1.0 - rho * rho).sqrt() * fresh;
                let p99_us = (p99_us * (1.0 + 0.1 * noise)).max(1.0) as u64;
                SecondReport {
                    at_s: at as f64,
                    offered_per_s: 1000.0,
                    achieved_per_s: 1000.0,
                    p50_us: 100,
                    p99_us,
                }
            })
            .collect()
    }

    fn report(seconds: Vec<SecondReport>) -> Report {
        let mut report = Report::default();
        report.operations.insert("write".into(), OperationReport { seconds, ..OperationReport::default() });
        report
    }

    fn p99(a: Vec<SecondReport>, b: Vec<SecondReport>) -> Option<Ratio> {
        compare(&report(a), &report(b))
            .rows
            .iter()
            .find(|row| row.metric == "p99 us")
            .expect("compared")
            .ratio
    }

    #[test]
    fn a_known_difference_is_shown_and_none_is_not() {
        let ratio = p99(seconds(60, 10_000.0, 0.3, 1), seconds(60, 13_000.0, 0.3, 2)).expect("enough");
        assert!(ratio.low < 1.3 && 1.3 < ratio.high && ratio.low > 1.15, "{ratio:?}");
        assert_eq!(ratio.verdict(), "b is higher");
        let ratio = p99(seconds(60, 10_000.0, 0.3, 3), seconds(60, 8_000.0, 0.3, 4)).expect("enough");
        assert_eq!(ratio.verdict(), "b is lower");
        let one = seconds(60, 10_000.0, 0.3, 5);
        assert_eq!(p99(one.clone(), one).map(Ratio::verdict), Some("no difference shown"));
        assert_eq!(p99(seconds(4, 1.0, 0.0, 1), seconds(60, 1.0, 0.0, 1)), None);
    }

    #[test]
    fn intervals_cover_the_truth_even_when_seconds_resemble_each_other() {
        // A plain bootstrap, which draws seconds one by one, covers about two thirds here.
        let rounds = 200;
        let covered = (0..rounds)
            .filter(|&round| {
                let (a, b) = (seconds(60, 1e4, 0.6, 100 + round), seconds(60, 1e4, 0.6, 900 + round));
                p99(a, b).is_some_and(|ratio| ratio.low <= 1.0 && 1.0 <= ratio.high)
            })
            .count();
        assert!(covered >= 164, "{covered} of {rounds}: less than 82 %");
        assert!(covered < 200, "an interval that always covers says nothing");
    }

    #[test]
    fn the_same_files_give_the_same_answer_and_remarks_name_what_differs() {
        let (mut a, mut b) = (report(seconds(20, 1e4, 0.3, 1)), report(seconds(20, 2e4, 0.3, 2)));
        assert_eq!(compare(&a, &b), compare(&a, &b));
        assert!(compare(&a, &b).remarks.is_empty());
        b.options.rate = Some(5);
        (a.offered_rate, b.offered_rate) = (Some(20_000), Some(5));
        b.operations.insert("read".into(), OperationReport::default());
        b.generator.warning = Some("the generator was slow".into());
        let compared = compare(&a, &b);
        let text = compared.table();
        for word in [
            "rate null and 5",
            "the runs offered different rates: a 20000/s, b 5/s",
            "read is in b only",
            "in b the generator was slow",
            "no difference shown",
            "b is higher",
        ] {
            assert!(text.contains(word), "{word} is missing: {text}");
        }
        assert_eq!(compared.slower_than(1.5), ["write"]);
        assert!(compared.slower_than(2.5).is_empty());
    }
}
