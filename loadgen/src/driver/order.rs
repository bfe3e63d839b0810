//! What a driver is told to do, and the order in progress.

use super::op::Stage;
use crate::phase::Phase;
use crate::schedule::Schedule;
use crate::workload::{Kind, Mix};

/// One part of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// Make connections and open sessions.
    Open {
        /// The deadline; after it the order has failed.
        until_ns: u64,
    },
    /// Write every key once.
    Preload {
        /// No write is begun after this time.
        until_ns: u64,
    },
    /// Offer load.
    Load {
        /// The mix of operations.
        mix: Mix,
        /// When its requests begin.
        pace: Pace,
        /// When the load begins.
        start_ns: u64,
        /// When the warm-up ends.
        measured_ns: u64,
        /// When the load ends.
        end_ns: u64,
    },
    /// Read every written key back.
    Audit {
        /// The deadline of all reads.
        until_ns: u64,
    },
}

/// When the requests of a phase of load begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// At planned times.
    Open {
        /// Requests per second of all threads together.
        rate_per_s: u64,
    },
    /// When a reply comes.
    Closed,
    /// Like `Closed`, with fewer requests outstanding, and no part of the measured phases: the probe.
    Probe,
}

/// The mix and the times of a phase of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadTimes {
    pub(super) mix: Mix,
    pub(super) is_probe: bool,
    pub(super) measured_ns: u64,
    pub(super) end_ns: u64,
}

impl LoadTimes {
    /// The stage of an operation that is planned at this time.
    pub(super) fn stage_at(&self, planned_ns: u64) -> Stage {
        if planned_ns >= self.measured_ns { Stage::Measured } else { Stage::Warmup }
    }
}

/// The state of an open loop.
#[derive(Debug)]
pub(super) struct OpenLoop {
    pub(super) schedule: Schedule,
    /// A request that was taken from the schedule but not begun, because no key was free.
    pub(super) held: Option<(u64, Kind)>,
    /// Up to this time the schedule waited for the target, not for this thread.
    pub(super) blocked_until_ns: u64,
}

/// The order in progress.
#[derive(Debug)]
pub(super) enum Active {
    Idle,
    Open {
        until_ns: u64,
    },
    Preload {
        until_ns: u64,
        next: u32,
    },
    Load {
        times: LoadTimes,
        /// `None` in the closed loop.
        open_loop: Option<OpenLoop>,
    },
    Audit {
        until_ns: u64,
        keys: Vec<u32>,
        next: usize,
    },
}

impl Active {
    /// The phase of the run at this time; `None` if there is no order.
    pub(super) fn phase_at(&self, now_ns: u64) -> Option<Phase> {
        let phase = match self {
            Self::Idle => return None,
            Self::Open { .. } | Self::Preload { .. } => Phase::Preload,
            Self::Audit { .. } => Phase::Audit,
            // To the end, so that its late answers are not taken for those of a measured phase.
            Self::Load { times, .. } if times.is_probe => Phase::Probe,
            Self::Load { times, .. } if now_ns < times.measured_ns => Phase::Warmup,
            Self::Load { times, .. } if now_ns >= times.end_ns => Phase::Drain,
            Self::Load { times, .. } => match times.mix {
                Mix::Only(Kind::Write) => Phase::Write,
                Mix::Only(Kind::Read) => Phase::Read,
                Mix::Only(_) | Mix::ReadShare(_) | Mix::Ycsb(_) => Phase::Mixed,
            },
        };
        Some(phase)
    }
    /// Whether this is the measured time of a phase of load.
    pub(super) fn is_measured_at(&self, now_ns: u64) -> bool {
        matches!(self, Self::Load { times, .. } if (times.measured_ns..times.end_ns).contains(&now_ns))
    }
    /// How many requests the schedule has planned by this time; `None` if there is no schedule.
    pub(super) fn planned_by(&self, now_ns: u64) -> Option<u64> {
        match self {
            Self::Load { open_loop: Some(open_loop), .. } => Some(open_loop.schedule.planned_by(now_ns)),
            _ => None,
        }
    }
    /// Stops beginning operations of load and preload.
    pub(super) fn stop(&mut self, now_ns: u64) {
        match self {
            Self::Load { times, open_loop } => {
                times.end_ns = times.end_ns.min(now_ns);
                times.measured_ns = times.measured_ns.min(times.end_ns);
                if let Some(open_loop) = open_loop {
                    open_loop.held = None;
                    open_loop.schedule.stop(now_ns);
                }
            }
            Self::Preload { until_ns, .. } => *until_ns = (*until_ns).min(now_ns),
            Self::Idle | Self::Open { .. } | Self::Audit { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(mix: Mix) -> Active {
        let times = LoadTimes { mix, is_probe: false, measured_ns: 100, end_ns: 200 };
        Active::Load { times, open_loop: None }
    }

    #[test]
    fn a_probe_is_a_phase_of_its_own_until_its_last_answer() {
        let mix = Mix::Only(Kind::Write);
        let times = LoadTimes { mix, is_probe: true, measured_ns: 100, end_ns: 200 };
        let active = Active::Load { times, open_loop: None };
        assert_eq!([99, 100, 200].map(|now_ns| active.phase_at(now_ns)), [Some(Phase::Probe); 3]);
        assert_eq!(
            [99, 100, 200].map(|now_ns| active.is_measured_at(now_ns)),
            [false, true, false],
            "but it is measured"
        );
    }

    #[test]
    fn a_load_warms_up_is_measured_and_drains() {
        let active = load(Mix::Only(Kind::Write));
        let phases = [99, 100, 199, 200].map(|now_ns| active.phase_at(now_ns));
        let expected = [Phase::Warmup, Phase::Write, Phase::Write, Phase::Drain];
        assert_eq!(phases, expected.map(Some));
        assert_eq!(load(Mix::Only(Kind::Read)).phase_at(150), Some(Phase::Read));
        assert_eq!(load(Mix::ReadShare(1.0)).phase_at(150), Some(Phase::Mixed));
        assert_eq!(Active::Idle.phase_at(150), None);
        assert_eq!(
            [99, 100, 199, 200].map(|now_ns| active.is_measured_at(now_ns)),
            [false, true, true, false]
        );
    }

    #[test]
    fn a_stopped_load_ends_at_once() {
        let mut active = load(Mix::ReadShare(0.5));
        active.stop(150);
        assert_eq!(active.phase_at(150), Some(Phase::Drain));
        active.stop(50);
        assert_eq!([40, 50].map(|now_ns| active.phase_at(now_ns)), [Some(Phase::Warmup), Some(Phase::Drain)]);
        let mut preload = Active::Preload { until_ns: 100, next: 0 };
        preload.stop(70);
        assert!(matches!(preload, Active::Preload { until_ns: 70, .. }));
    }
}
