//! What a run found: the line of each second, the table, the JSON file.

#[cfg(test)]
mod tests;

use crate::error::LoadError;
use crate::histogram::Latencies;
use crate::html;
use crate::options::Options;
use crate::search::SearchReport;
use crate::series::{self, Percentile, SecondReport};
use crate::workload::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The part of a run that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Every key is written once.
    Preload,
    /// Load that is not in the table.
    Warmup,
    /// Measured writes.
    Write,
    /// Measured reads.
    Read,
    /// Measured reads and writes together.
    Mixed,
    /// No more requests are planned; the outstanding ones come in.
    Drain,
    /// Every written key is read back.
    Audit,
}

impl Phase {
    /// Whether its figures are in the table.
    pub const fn is_measured(self) -> bool {
        matches!(self, Self::Write | Self::Read | Self::Mixed)
    }
    /// The word in tables and lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preload => "preload",
            Self::Warmup => "warmup",
            Self::Write => "write",
            Self::Read => "read",
            Self::Mixed => "mixed",
            Self::Drain => "drain",
            Self::Audit => "audit",
        }
    }
}

/// About one second of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The part of the run.
    pub phase: Phase,
    /// Seconds since this part began.
    pub elapsed_s: f64,
    /// Requests per second that were planned; in a closed loop, that were begun.
    pub offered_per_s: f64,
    /// Requests per second that were answered well.
    pub achieved_per_s: f64,
    /// Median latency of this second.
    pub p50_us: u64,
    /// 99th percentile of this second.
    pub p99_us: u64,
    /// Requests that failed in this second: certainly not executed, or reads without an answer.
    pub errors: u64,
    /// Writes of this second whose outcome is not known.
    pub unknown: u64,
    /// Replies of this second that contradict what was acknowledged.
    pub verify_failures: u64,
    /// Requests begun and not answered at its end.
    pub outstanding: u64,
    /// Not a second but a remark, such as what a step of a search found: then the figures are 0.
    #[serde(default)]
    pub note: Option<String>,
}

impl Progress {
    /// A remark.
    pub(crate) fn note(phase: Phase, note: String) -> Self {
        Self {
            phase,
            elapsed_s: 0.0,
            offered_per_s: 0.0,
            achieved_per_s: 0.0,
            p50_us: 0,
            p99_us: 0,
            errors: 0,
            unknown: 0,
            verify_failures: 0,
            outstanding: 0,
            note: Some(note),
        }
    }
    /// The line that a person reads.
    pub fn line(&self) -> String {
        if let Some(note) = &self.note {
            return note.clone();
        }
        let mut line = format!(
            "{:<8}{:>5.0}s  offered {:>8.0}/s  achieved {:>8.0}/s  p50 {:>9}  p99 {:>9}  errors {}",
            self.phase.name(),
            self.elapsed_s,
            self.offered_per_s,
            self.achieved_per_s,
            milliseconds(self.p50_us),
            milliseconds(self.p99_us),
            self.errors,
        );
        // Writing into a String cannot fail.
        if self.unknown > 0 {
            let _ = write!(line, "  unknown {}", self.unknown);
        }
        if self.verify_failures > 0 {
            let _ = write!(line, "  VERIFY FAILURES {}", self.verify_failures);
        }
        line
    }
}

/// What became of one kind of operation in the measured phases.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationReport {
    /// Requests that were planned (closed loop: begun).
    pub offered: u64,
    /// Requests that were answered well.
    pub achieved: u64,
    /// `offered` over the measured time.
    pub offered_per_s: f64,
    /// `achieved` over the measured time.
    pub achieved_per_s: f64,
    /// Median latency, counted from the planned send time.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Requests that failed: certainly not executed, or reads without an answer.
    pub errors: u64,
    /// Writes whose outcome is not known.
    pub unknown: u64,
    /// Replies that contradict what was acknowledged, or whose bytes are not what was written.
    pub verify_failures: u64,
    /// Latency by percentile.
    pub percentiles: Vec<Percentile>,
    /// The measured phase, second by second.
    pub seconds: Vec<SecondReport>,
}

impl OperationReport {
    /// Fills in the latencies.
    pub(crate) fn set_latencies(&mut self, latencies: &Latencies) {
        self.p50_us = latencies.quantile_us(0.5);
        self.p90_us = latencies.quantile_us(0.9);
        self.p99_us = latencies.quantile_us(0.99);
        self.p999_us = latencies.quantile_us(0.999);
        self.max_us = latencies.max_us();
        self.percentiles = series::percentiles(latencies);
    }
}

/// What the audit found when it read every written key back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditReport {
    /// Keys that were read back: all that were written in this run.
    pub keys: u64,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Keys that do not hold what they must: the sum of the four kinds below. 0 unless an acknowledged write was lost.
    pub missing: u64,
    /// Keys that hold nothing, or what an earlier run left, although a write was acknowledged.
    pub absent: u64,
    /// Keys that hold a write older than the last acknowledged one.
    pub stale: u64,
    /// Keys that hold a write that was never issued, was certainly not executed, or was executed twice.
    pub invented: u64,
    /// Keys whose bytes are not those of any write.
    pub corrupt: u64,
    /// Keys that could not be read within the bounds of the run, so that nothing is known of them.
    pub unread: u64,
}

impl AuditReport {
    /// Whether every acknowledged write was found.
    pub fn passed(&self) -> bool {
        self.missing == 0 && self.unread == 0
    }
}

/// How the generator itself did: figures of a generator that is late say little about its target.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorReport {
    /// How long after its planned time a request left, median. Waiting for the cap on outstanding requests counts.
    pub late_p50_us: u64,
    /// The same, 99th percentile.
    pub late_p99_us: u64,
    /// The same, longest.
    pub late_max_us: u64,
    /// How late requests were taken from the schedule, 99th percentile, waiting for the target left out: the generator's own.
    pub own_late_p99_us: u64,
    /// Whether the generator was the bottleneck: see [`crate::saturation`].
    pub saturated: bool,
    /// Why, in words.
    pub warning: Option<String>,
    /// Processor time over the time that passed, of the busiest generator thread and phase, where the system tells.
    pub cpu_share: Option<f64>,
    /// Processor time of the generator threads per measured request, where the system tells.
    pub cpu_us_per_request: Option<f64>,
    /// Connections that were made anew.
    pub reconnects: u64,
    /// Keys that were drawn and passed over because a write of the key was under way: at most one write of a key is. Where
    /// they are many, the load was less skewed than was asked for.
    pub keys_redrawn: u64,
    /// Requests that were sent again, each time counted.
    pub retries: u64,
    /// Replies that came after their request had been given up.
    pub replies_late: u64,
}

/// Everything a run found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout: 1.
    pub schema: u32,
    /// By operation, `write`, `read`, `insert` and `read_modify_write`; only those that were measured.
    pub operations: BTreeMap<String, OperationReport>,
    /// What the searches of `--find-max` found; then `operations` are those of the best steps.
    #[serde(default)]
    pub find_max: Vec<SearchReport>,
    /// What the audit found; `null` when it was not asked for.
    pub audit: Option<AuditReport>,
    /// Leader changes during the run over all groups; `null` when no node could be asked.
    pub leader_changes: Option<u64>,
    /// Processor model and count.
    pub cpu: String,
    /// Kernel release.
    pub kernel: String,
    /// Filesystem of the data directory; `unknown` without one.
    pub filesystem: String,
    /// Durability mode of the cluster.
    pub durability: String,
    /// Failed attempts and requests by kind, in all phases, retried ones too.
    pub error_kinds: BTreeMap<String, u64>,
    /// Replies of all phases, audit excepted, that contradict what was acknowledged.
    pub verify_failures: u64,
    /// The first findings of verification and audit, in words.
    pub findings: Vec<String>,
    /// What did not end within the bounds of the run or broke off, in words: then the figures are not of the whole run.
    #[serde(default)]
    pub unfinished: Vec<String>,
    /// The generator itself.
    pub generator: GeneratorReport,
    /// What the run was told.
    pub options: Options,
}

/// Findings beyond this many are counted but not described.
pub const FINDINGS_MAX: usize = 50;

impl Report {
    /// Whether all of it was done and what was done is sound.
    pub fn passed(&self) -> bool {
        self.unfinished.is_empty() && self.is_sound()
    }
    /// Whether no reply contradicted what was acknowledged and, where there was an audit, nothing is missing.
    pub fn is_sound(&self) -> bool {
        self.verify_failures == 0 && self.audit.as_ref().is_none_or(AuditReport::passed)
    }

    /// The table that a person reads.
    pub fn table(&self) -> String {
        // Writing into a String cannot fail.
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:<17} {:>11} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
            "", "offered/s", "achieved/s", "p50", "p90", "p99", "p99.9", "max", "errors", "unknown", "verify"
        );
        // In the order of the phases, not of the alphabet.
        let in_order = Kind::ALL.iter().filter_map(|kind| self.operations.get_key_value(kind.name()));
        for (name, operation) in in_order {
            let _ = writeln!(
                out,
                "{:<17} {:>11.0} {:>11.0} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
                name,
                operation.offered_per_s,
                operation.achieved_per_s,
                milliseconds(operation.p50_us),
                milliseconds(operation.p90_us),
                milliseconds(operation.p99_us),
                milliseconds(operation.p999_us),
                milliseconds(operation.max_us),
                operation.errors,
                operation.unknown,
                if operation.verify_failures == 0 {
                    "ok".into()
                } else {
                    operation.verify_failures.to_string()
                },
            );
        }
        for search in &self.find_max {
            let objectives: Vec<_> = self.options.slo.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "{}", search.line(&objectives.join(" ")));
        }
        let _ = match &self.audit {
            None => writeln!(out, "audit   not asked for"),
            Some(audit) => writeln!(
                out,
                "audit   {}: {} keys read back, {} acknowledged writes, {} missing{}",
                if audit.passed() { "passed" } else { "FAILED" },
                audit.keys,
                audit.acked,
                audit.missing,
                if audit.unread == 0 {
                    String::new()
                } else {
                    format!(", {} could not be read", audit.unread)
                },
            ),
        };
        let changes = self.leader_changes.map_or("unknown".to_owned(), |count| count.to_string());
        let _ = writeln!(out, "leader changes {changes}; durability {}", self.durability);
        let generator = &self.generator;
        let cpu = generator.cpu_us_per_request.map_or("unknown".to_owned(), |us| format!("{us:.1} us"));
        let _ = writeln!(
            out,
            "generator: cpu {cpu} per request; sent late p50 {} p99 {} max {}; {} retries, {} reconnects",
            milliseconds(generator.late_p50_us),
            milliseconds(generator.late_p99_us),
            milliseconds(generator.late_max_us),
            generator.retries,
            generator.reconnects,
        );
        if let Some(warning) = &generator.warning {
            let _ = writeln!(out, "WARNING {warning}");
        }
        for what in &self.unfinished {
            let _ = writeln!(out, "UNFINISHED {what}");
        }
        let _ = writeln!(out, "{}; kernel {}; filesystem {}", self.cpu, self.kernel, self.filesystem);
        if !self.error_kinds.is_empty() {
            let kinds: Vec<_> =
                self.error_kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let _ = writeln!(out, "errors by kind, retried ones too: {}", kinds.join(", "));
        }
        for finding in &self.findings {
            let _ = writeln!(out, "FOUND {finding}");
        }
        out
    }

    /// Writes the files that the options ask for: JSON and HTML.
    ///
    /// # Errors
    /// [`LoadError::File`] with the first that could not be written.
    pub fn write_files(&self, options: &Options) -> Result<(), LoadError> {
        let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
            None => Ok(()),
            Some(path) => std::fs::write(path, text())
                .map_err(|source| LoadError::File { what: format!("report {}", path.display()), source }),
        };
        write(&options.json, &|| self.json())?;
        write(&options.html, &|| html::page(self))
    }

    /// The JSON file.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain data with text keys");
        text.push('\n');
        text
    }
}

/// Microseconds as a person reads them.
fn milliseconds(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{:03} ms", us / 1000, us % 1000),
        10_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}
