//! The probe: a short closed loop before the measured phases, on the same keys and with the mix of the first
//! of them, so that its writes are in the ledgers and the audit covers them too.

use super::find::phase_of;
use crate::clock::{monotonic_ns, nanos};
use crate::driver::{Measured, Order, Pace};
use crate::error::LoadError;
use crate::fleet::{Fleet, HEAD_START};
use crate::host::HostSample;
use crate::offer::{Limit, ProbeReport};
use crate::options::Options;
use crate::report::Progress;
use crate::workload::Mix;
use std::time::Duration;

/// The first part, in which queues fill, is not measured.
const WARMUP: Duration = Duration::from_millis(300);
/// Length of the measured part: long enough for a few dozen flushes of a slow disk.
const LENGTH: Duration = Duration::from_millis(1500);

/// Runs the probe.
pub(super) fn perform(
    options: &Options,
    mix: Mix,
    fleet: &mut Fleet<'_>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<ProbeReport, LoadError> {
    let start_ns = monotonic_ns() + nanos(HEAD_START);
    let measured_ns = start_ns + nanos(WARMUP);
    let end_ns = measured_ns + nanos(LENGTH);
    let order = Order::Load { mix, pace: Pace::Probe, start_ns, measured_ns, end_ns };
    let before = HostSample::take(options.data_dir.as_deref());
    let measured = fleet.perform(order, HEAD_START + WARMUP + LENGTH, progress)?;
    let host = before.until(&HostSample::take(options.data_dir.as_deref()));
    Ok(ProbeReport { host, limit: Limit::of(&host), ..figures(&measured, mix) })
}

fn figures(measured: &Measured, mix: Mix) -> ProbeReport {
    let counted = &measured.measured;
    let span_s = measured.measured_ns.iter().max().map_or(0.0, |&ns| ns as f64 / 1e9);
    let achieved: u64 = counted.iter().map(|kind| kind.achieved_in_time).sum();
    let slowest =
        |quantile| counted.iter().map(|kind| kind.latencies.quantile_us(quantile)).max().unwrap_or(0);
    ProbeReport {
        phase: phase_of(mix).name().to_owned(),
        achieved_per_s: if span_s > 0.0 { achieved as f64 / span_s } else { 0.0 },
        seconds: span_s,
        p50_us: slowest(0.5),
        p99_us: slowest(0.99),
        errors: counted.iter().map(|kind| kind.errors + kind.unknown + kind.verify_failures).sum(),
        ..ProbeReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;

    #[test]
    fn the_figures_are_those_of_all_operations_together() {
        let mut measured = Measured::default();
        for (kind, us) in [(Kind::Read, 100), (Kind::Write, 900)] {
            let tally = &mut measured.measured[kind.index()];
            (tally.achieved_in_time, tally.errors) = (3000, 2);
            tally.latencies.record_ns(us * 1000);
            measured.measured_ns[kind.index()] = 1_500_000_000;
        }
        let probe = figures(&measured, Mix::ReadShare(0.5));
        assert_eq!((probe.achieved_per_s, probe.seconds, probe.errors), (4000.0, 1.5, 4));
        assert_eq!((probe.phase.as_str(), probe.p50_us, probe.p99_us), ("mixed", 900, 900));
        assert_eq!(figures(&Measured::default(), Mix::ReadShare(0.5)).achieved_per_s, 0.0);
    }
}
