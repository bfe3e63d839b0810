//! The text format of Prometheus: families of samples with help, type and labels.

use core::fmt::{Display, Write};

/// Collects families. Each family is begun once and its samples follow directly, as the format requires.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: String,
}

impl Exposition {
    /// The media type of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }
    /// Begins a family of counters, which only rise (until a restart).
    pub fn counter(&mut self, name: &str, help: &str) {
        self.begin(name, "counter", help);
    }
    /// Begins a family of gauges, which rise and fall.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.begin(name, "gauge", help);
    }
    /// Begins a family of histograms.
    pub fn histogram(&mut self, name: &str, help: &str) {
        self.begin(name, "histogram", help);
    }

    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a sample to the family begun last.
    pub fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a histogram to the family begun last: counts per bucket (not cumulative) with the upper bounds of
    /// all buckets but the last one, which has none.
    pub fn buckets(
        &mut self,
        labels: &[(&str, &dyn Display)],
        bounds: impl IntoIterator<Item = f64>,
        counts: &[u64],
        sum: impl Display,
    ) {
        let mut total = 0;
        for (bound, count) in bounds.into_iter().zip(counts) {
            total += count;
            self.line("_bucket", labels, Some(&bound), total);
        }
        let total: u64 = counts.iter().sum();
        self.line("_bucket", labels, Some(&"+Inf"), total);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, total);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &dyn Display)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let all = labels.iter().map(|&(name, value)| (name, value)).chain(bound.map(|bound| ("le", bound)));
        let mut open = '{';
        for (name, value) in all {
            let _ = write!(self.text, "{open}{name}=\"");
            escape(&mut self.text, &value.to_string());
            self.text.push('"');
            open = ',';
        }
        if open == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}
