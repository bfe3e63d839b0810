//! The figures of one system in one round.

use crate::table::milliseconds;
use serde::Serialize;
use synod::bench;
use synod_loadgen::{OperationReport, Report};

/// One phase.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct PhaseFigures {
    /// Successful requests per second.
    pub per_s: f64,
    /// Median latency.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
}

/// One round.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// Writes.
    pub set: PhaseFigures,
    /// Reads.
    pub get: PhaseFigures,
    /// Processor time of the generator per request, which the servers on the same machine cannot use.
    pub generator_cpu_us: Option<f64>,
    /// Acknowledged writes; all of them were read back at the end.
    pub acked: u64,
    /// Faults found, in words; empty if there were none.
    pub faults: Vec<String>,
}

impl Figures {
    /// The line printed after a round.
    pub fn line(&self) -> String {
        let phase = |name, phase: &PhaseFigures| {
            let (p50, p99) = (milliseconds(phase.p50_us as f64), milliseconds(phase.p99_us as f64));
            format!("{name} {:.0}/s, p50 {p50}, p99 {p99}", phase.per_s)
        };
        let faults = if self.faults.is_empty() { "" } else { "; FAULTS, see below" };
        format!("{}; {}; {} writes{faults}", phase("SET", &self.set), phase("GET", &self.get), self.acked)
    }
}

impl From<&Report> for Figures {
    fn from(report: &Report) -> Self {
        let phase = |name| {
            let empty = OperationReport::default();
            let found = report.operations.get(name).unwrap_or(&empty);
            PhaseFigures { per_s: found.achieved_per_s, p50_us: found.p50_us, p99_us: found.p99_us }
        };
        Self {
            set: phase("write"),
            get: phase("read"),
            generator_cpu_us: report.generator.cpu_us_per_request,
            acked: report.audit.as_ref().map_or(0, |audit| audit.acked),
            faults: bench::faults(report),
        }
    }
}
