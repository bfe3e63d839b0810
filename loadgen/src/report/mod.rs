//! The report of a run: the line for each second, the table, the JSON file.

#[cfg(test)]
mod tests;

use crate::duration::milliseconds;
use crate::histogram::Latencies;
use crate::offer::ProbeReport;
use crate::options::Options;
use crate::phase::Phase;
use crate::search::SearchReport;
use crate::series::{self, Percentile, SecondReport};
use crate::workload::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// About one second of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The part of the run.
    pub phase: Phase,
    /// Seconds since this part began.
    pub elapsed_s: f64,
    /// Requests planned per second; in a closed loop, requests begun.
    pub offered_per_s: f64,
    /// Requests answered successfully per second.
    pub achieved_per_s: f64,
    /// Median latency of this second.
    pub p50_us: u64,
    /// 99th percentile of this second.
    pub p99_us: u64,
    /// Requests that failed in this second: certainly not executed, or reads without an answer.
    pub errors: u64,
    /// Writes of this second whose outcome is unknown.
    pub unknown: u64,
    /// Replies of this second that contradict what was acknowledged.
    pub verify_failures: u64,
    /// Requests begun and not answered at the end of this second.
    pub outstanding: u64,
    /// Set if this is not a second but a remark, such as the result of a search step; the figures are then 0.
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
    /// The line for display.
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

/// The results of one kind of operation in the measured phases.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationReport {
    /// Requests that were planned (closed loop: begun).
    pub offered: u64,
    /// Requests that were answered successfully.
    pub achieved: u64,
    /// `offered` divided by the measured time.
    pub offered_per_s: f64,
    /// Requests answered successfully within the measured time, those of the warm-up included, per second.
    pub achieved_per_s: f64,
    /// Median latency, counted from the planned send time.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The longest latency.
    pub max_us: u64,
    /// Requests that failed: certainly not executed, or reads without an answer.
    pub errors: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Replies that contradict what was acknowledged, or whose bytes are not those that were written.
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

/// The result of the audit, which reads every written key back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditReport {
    /// Keys that were read back: all that were written in this run.
    pub keys: u64,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Keys that do not hold a legal value: the sum of the four kinds below. 0 on a correct cluster.
    pub missing: u64,
    /// Keys that hold nothing, or a value of an earlier run, although a write was known to have taken effect.
    pub absent: u64,
    /// Keys that hold a write that was overwritten before.
    pub stale: u64,
    /// Keys that hold a write that was never issued, was certainly not executed, or was executed twice.
    pub invented: u64,
    /// Keys whose bytes are not those of any write.
    pub corrupt: u64,
    /// Keys that could not be read within the bounds of the run, so that their value is not known.
    pub unread: u64,
}

impl AuditReport {
    /// Whether every key was read back and holds a legal value.
    pub fn passed(&self) -> bool {
        self.missing == 0 && self.unread == 0
    }
}

/// The generator's own figures. If the generator was late, the other figures say little about the target.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorReport {
    /// How long after its planned time a request was sent, median. Waiting for the limit on outstanding
    /// requests counts.
    pub late_p50_us: u64,
    /// The same, 99th percentile.
    pub late_p99_us: u64,
    /// The same, longest.
    pub late_max_us: u64,
    /// How late requests were taken from the schedule, 99th percentile, without the time spent waiting for
    /// the target: the generator's own lateness.
    pub own_late_p99_us: u64,
    /// Whether the generator was the bottleneck; see [`crate::saturation`].
    pub saturated: bool,
    /// The reason, in words.
    pub warning: Option<String>,
    /// Set if lateness is the greater part of a 99th percentile: what it means, in words.
    pub lateness: Option<String>,
    /// Processor time divided by elapsed time, of the busiest generator thread and phase; `null` if the
    /// system does not report it.
    pub cpu_share: Option<f64>,
    /// Processor time of the generator threads per request of warm-up and measured phases; `null` if the
    /// system does not report it.
    pub cpu_us_per_request: Option<f64>,
    /// Reconnections.
    pub reconnects: u64,
    /// Keys that were drawn and skipped because a write of the key was in flight; at most one write of a key
    /// may be. If there are many, the load was less skewed than requested.
    pub keys_redrawn: u64,
    /// Requests that were sent again; each time counts.
    pub retries: u64,
    /// Replies that came after their request was given up.
    pub replies_late: u64,
}

/// Everything that a run found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout: 1.
    pub schema: u32,
    /// By operation (`write`, `read`, `insert`, `read_modify_write`); only those that were measured.
    pub operations: BTreeMap<String, OperationReport>,
    /// The rate that was wanted, in requests per second: that of `--rate`, or the usual one; `null` in the
    /// closed loop.
    #[serde(default)]
    pub asked_rate: Option<u64>,
    /// The rate that was offered in the measured phases: less than `asked_rate` if the probe showed that it
    /// cannot be held; `null` in the closed loop and with `--find-max`.
    #[serde(default)]
    pub offered_rate: Option<u64>,
    /// The probe that decided about the rate; `null` if there was none.
    #[serde(default)]
    pub probe: Option<ProbeReport>,
    /// The results of the searches of `--find-max`; `operations` are then those of the best steps.
    #[serde(default)]
    pub find_max: Vec<SearchReport>,
    /// The result of the audit; `null` if it was not requested.
    pub audit: Option<AuditReport>,
    /// Leader changes during the run, over all groups; `null` if no node answered both before and after it.
    pub leader_changes: Option<u64>,
    /// Processor model and count.
    pub cpu: String,
    /// Kernel release.
    pub kernel: String,
    /// Filesystem of the data directory; `unknown` without one.
    pub filesystem: String,
    /// Durability mode of the cluster.
    pub durability: String,
    /// Failed attempts and requests by kind, in all phases, including retried ones.
    pub error_kinds: BTreeMap<String, u64>,
    /// Replies that contradict what was acknowledged, in all phases except the audit.
    pub verify_failures: u64,
    /// The first findings of verification and audit, in words.
    pub findings: Vec<String>,
    /// Parts that did not end within the bounds of the run or failed, in words. If there are any, the figures
    /// do not cover the whole run.
    #[serde(default)]
    pub unfinished: Vec<String>,
    /// The generator itself.
    pub generator: GeneratorReport,
    /// The options of the run.
    pub options: Options,
}

impl Report {
    /// Whether the run is complete and sound.
    pub fn passed(&self) -> bool {
        self.unfinished.is_empty() && self.is_sound()
    }
    /// Whether no reply contradicted what was acknowledged and, if there was an audit, it passed.
    pub fn is_sound(&self) -> bool {
        self.verify_failures == 0 && self.audit.as_ref().is_none_or(AuditReport::passed)
    }

    /// Why a search gave no figure because of the host, if one did.
    pub fn noise(&self) -> Option<&str> {
        self.find_max.iter().find_map(|search| search.noise.as_deref())
    }
    /// The sentence about the probe, if there was one.
    pub fn probe_line(&self) -> Option<String> {
        let probe = self.probe.as_ref()?;
        Some(probe.line(self.asked_rate?, self.offered_rate?))
    }
    /// Whether less was offered than was wanted.
    pub fn is_lowered(&self) -> bool {
        self.offered_rate.zip(self.asked_rate).is_some_and(|(offered, asked)| offered < asked)
    }

    /// The table for display.
    pub fn table(&self) -> String {
        // Writing into a String cannot fail, here and below.
        let mut out = String::new();
        self.write_operations(&mut out);
        if let Some(line) = self.probe_line() {
            let _ = writeln!(out, "{line}");
        }
        for search in &self.find_max {
            let objectives: Vec<_> = self.options.slo.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "{}", search.line(&objectives.join(" ")));
        }
        self.write_audit(&mut out);
        let changes = self.leader_changes.map_or("unknown".to_owned(), |count| count.to_string());
        let _ = writeln!(out, "leader changes {changes}; durability {}", self.durability);
        self.write_generator(&mut out);
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

    /// One line for each kind of operation, below a heading.
    fn write_operations(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{:<17} {:>11} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
            "", "offered/s", "achieved/s", "p50", "p90", "p99", "p99.9", "max", "errors", "unknown", "verify"
        );
        // In the order of the phases, not in alphabetical order.
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
    }

    fn write_audit(&self, out: &mut String) {
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
    }

    /// What the generator itself took, and a warning if it was the bottleneck.
    fn write_generator(&self, out: &mut String) {
        let generator = &self.generator;
        let cpu = generator.cpu_us_per_request.map_or("unknown".to_owned(), |us| format!("{us:.1} us"));
        let _ = writeln!(
            out,
            "generator: cpu {cpu} per request; sent late p50 {} p99 {} max {}, of which its own p99 {}; {} retries, {} \
             reconnects",
            milliseconds(generator.late_p50_us),
            milliseconds(generator.late_p99_us),
            milliseconds(generator.late_max_us),
            milliseconds(generator.own_late_p99_us),
            generator.retries,
            generator.reconnects,
        );
        for warning in generator.warning.iter().chain(&generator.lateness) {
            let _ = writeln!(out, "WARNING {warning}");
        }
    }

    /// The JSON file.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is plain data with text keys");
        text.push('\n');
        text
    }
}
