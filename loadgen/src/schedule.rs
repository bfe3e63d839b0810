//! The planned send times of the open loop. Pure arithmetic: the time of the n-th request does not depend on
//! what happened before it, and no request is skipped. Latency counts from the planned time, so that a stall
//! of the target shows in every request that it delayed, not only in the one that hit it.

use crate::options::Arrivals;
use crate::random::Random;

/// The planned send times of one generator thread: the requests `thread`, `thread + threads`, … of the whole
/// schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    end_ns: u64,
    rate_per_s: u64,
    arrivals: Arrivals,
    stride: u64,
    first: u64,
    /// The number of the next request in the whole schedule.
    index: u64,
    random: Random,
    /// The time of the next request, when arrivals are drawn.
    drawn_ns: u64,
}

/// The time span of a schedule, and one thread's share of it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The time of the first request.
    pub start_ns: u64,
    /// The end: no request is planned at this time or later.
    pub end_ns: u64,
    /// Requests per second of all threads together; not 0.
    pub rate_per_s: u64,
    /// This thread.
    pub thread: u64,
    /// The number of threads.
    pub threads: u64,
}

impl Schedule {
    /// The schedule of one thread.
    ///
    /// # Panics
    /// When the rate is 0 or the thread is not one of the threads.
    pub fn new(span: Span, arrivals: Arrivals, random: Random) -> Self {
        assert!(span.rate_per_s > 0, "an open loop without a rate");
        assert!(span.thread < span.threads, "a thread outside the threads");
        let mut schedule = Self {
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            rate_per_s: span.rate_per_s,
            arrivals,
            stride: span.threads,
            first: span.thread,
            index: span.thread,
            random,
            drawn_ns: span.start_ns,
        };
        if arrivals == Arrivals::Poisson {
            schedule.draw();
        }
        schedule
    }
    /// When the next request is planned; `None` when all were taken.
    pub fn peek(&self) -> Option<u64> {
        let planned_ns = match self.arrivals {
            Arrivals::Constant => {
                let offset = u128::from(self.index) * 1_000_000_000 / u128::from(self.rate_per_s);
                self.start_ns.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
            }
            Arrivals::Poisson => self.drawn_ns,
        };
        (planned_ns < self.end_ns).then_some(planned_ns)
    }
    /// Takes the next request if it is due, and returns its planned time.
    pub fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let planned_ns = self.peek().filter(|&planned_ns| planned_ns <= now_ns)?;
        self.index += self.stride;
        if self.arrivals == Arrivals::Poisson {
            self.draw();
        }
        Some(planned_ns)
    }
    /// How many requests of this thread are planned at or before `now_ns`; with drawn arrivals, how many were
    /// taken.
    pub fn planned_by(&self, now_ns: u64) -> u64 {
        match self.arrivals {
            Arrivals::Poisson => (self.index - self.first) / self.stride,
            Arrivals::Constant => {
                let last_ns = now_ns.min(self.end_ns.saturating_sub(1));
                let Some(offset_ns) = last_ns.checked_sub(self.start_ns) else { return 0 };
                // Request i is planned by then iff i * 10^9 / rate < offset + 1.
                let limit = (u128::from(offset_ns) + 1) * u128::from(self.rate_per_s);
                let whole = u64::try_from(limit.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
                whole.saturating_sub(self.first).div_ceil(self.stride)
            }
        }
    }
    /// Plans no more requests from now on.
    pub fn stop(&mut self, now_ns: u64) {
        self.end_ns = self.end_ns.min(now_ns);
    }
    /// Whether all requests were taken.
    pub fn is_done(&self) -> bool {
        self.peek().is_none()
    }

    fn draw(&mut self) {
        // Each thread is a Poisson process with its share of the rate; together they are one with the whole
        // rate.
        let mean_ns = 1e9 * self.stride as f64 / self.rate_per_s as f64; // both small: exact enough
        let gap_ns = -mean_ns * (1.0 - self.random.unit()).ln();
        self.drawn_ns = self.drawn_ns.saturating_add(gap_ns as u64); // `as` saturates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(schedule: &mut Schedule) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(u64::MAX)).collect()
    }

    fn span(start_ns: u64, end_ns: u64, rate_per_s: u64) -> Span {
        Span { start_ns, end_ns, rate_per_s, thread: 0, threads: 1 }
    }

    fn constant(span: Span) -> Schedule {
        Schedule::new(span, Arrivals::Constant, Random::new(1, 1))
    }

    #[test]
    fn a_second_at_20_000_is_20_000_requests_50_us_apart() {
        let planned = all(&mut constant(span(7, 1_000_000_007, 20_000)));
        assert_eq!(planned.len(), 20_000);
        assert!(planned.iter().enumerate().all(|(n, &at)| at == 7 + n as u64 * 50_000));
    }

    #[test]
    fn a_stall_skips_nothing_and_shifts_nothing() {
        let mut schedule = constant(span(0, 1_000_000_000, 1000));
        assert_eq!(schedule.take_due(0), Some(0));
        assert_eq!(schedule.take_due(999_999), None, "the next is due at 1 ms");
        // Half a second later all requests planned meanwhile are due at once, each with its own time.
        let due: Vec<_> = std::iter::from_fn(|| schedule.take_due(500_000_000)).collect();
        assert_eq!(due, (1..=500).map(|n| n * 1_000_000).collect::<Vec<_>>());
        assert_eq!(schedule.peek(), Some(501_000_000));
    }

    #[test]
    fn stopping_ends_the_plan() {
        let mut schedule = constant(span(0, 1_000_000_000, 1000));
        schedule.stop(2_500_000);
        assert_eq!(all(&mut schedule), [0, 1_000_000, 2_000_000]);
        assert!(schedule.is_done());
    }

    #[test]
    fn poisson_arrivals_have_the_mean_rate_and_order() {
        let span = span(0, 10_000_000_000, 10_000);
        let planned = all(&mut Schedule::new(span, Arrivals::Poisson, Random::new(3, 4)));
        assert!((98_000..102_000).contains(&planned.len()), "{}", planned.len());
        assert!(planned.is_sorted());
        let long_gaps = planned.windows(2).filter(|pair| pair[1] - pair[0] > 200_000).count() as f64;
        let share = long_gaps / planned.len() as f64;
        assert!((share - (-2.0_f64).exp()).abs() < 0.01, "gaps over twice the mean: {share}");
    }

    proptest! {
        #[test]
        fn threads_together_plan_exactly_the_whole(
            rate_per_s in 1_u64..5_000, threads in 1_u64..9, seconds_tenth in 1_u64..30, start_ns in 0_u64..1 << 60,
        ) {
            let whole = span(start_ns, start_ns + seconds_tenth * 100_000_000, rate_per_s);
            let mut parts: Vec<u64> = (0..threads)
                .flat_map(|thread| all(&mut constant(Span { thread, threads, ..whole })))
                .collect();
            parts.sort_unstable();
            let planned = all(&mut constant(whole));
            prop_assert_eq!(planned.len() as u64, (rate_per_s * seconds_tenth).div_ceil(10));
            prop_assert_eq!(parts, planned);
        }

        #[test]
        fn what_is_planned_by_a_time_is_what_can_be_taken_by_then(
            rate_per_s in 1_u64..50_000, threads in 1_u64..5, thread in 0_u64..5, now_ns in 0_u64..400_000_000,
        ) {
            let part = Span { thread: thread % threads, threads, ..span(1000, 300_000_000, rate_per_s) };
            let mut schedule = constant(part);
            let taken = std::iter::from_fn(|| schedule.take_due(now_ns)).count() as u64;
            prop_assert_eq!(schedule.planned_by(now_ns), taken);
        }

        #[test]
        fn the_pace_of_asking_changes_nothing(
            rate_per_s in 1_u64..20_000,
            steps in prop::collection::vec(0_u64..9_000_000, 1..60),
        ) {
            let whole = span(0, 200_000_000, rate_per_s);
            let (mut asked, mut now) = (constant(whole), 0);
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                while let Some(planned) = asked.take_due(now) {
                    prop_assert!(planned <= now);
                    taken.push(planned);
                }
            }
            taken.extend(all(&mut asked));
            prop_assert_eq!(taken, all(&mut constant(whole)));
        }
    }
}
