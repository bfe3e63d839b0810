//! The form of a row: one figure, its names, and how its value is taken.

use super::collected::Figures;
use crate::runtime::status_board::CorePage;
use synod_net::http::Exposition;
use synod_net::server::InfoValue;
use synod_shard::{GroupStats, GroupStatus};

/// The type of a family of /metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Only rises, until a restart.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by their size.
    Histogram,
}

/// How the value of a figure is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// One number of the node.
    Node(fn(&Figures) -> u64),
    /// One number of the node with decimals.
    Decimal(fn(&Figures) -> f64),
    /// A number of each core; the node's is their sum.
    Core(fn(&CorePage) -> u64),
    /// A number of each group; the node's is their sum.
    Group(fn(&GroupStatus, &GroupStats) -> u64),
    /// Samples with labels of their own, in /metrics only.
    Samples(fn(&Figures, &mut Exposition)),
    /// A text, in INFO only.
    Text(fn(&Figures) -> String),
    /// Fields whose names depend on what there is, in INFO only.
    Fields(fn(&Figures) -> Vec<(String, InfoValue)>),
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The family of /metrics; empty if it is not there.
    pub metric: &'static str,
    /// The type of the family.
    pub kind: Kind,
    /// The labels of the family.
    pub labels: &'static str,
    /// The family that shows the same for the whole node under redis_exporter's name; may be empty.
    pub redis: &'static str,
    /// The section and the field of INFO, if it is there.
    pub info: Option<(&'static str, &'static str)>,
    /// What the figure says, and its unit.
    pub meaning: &'static str,
    /// What is counted or read for it, and where.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that compares the documentation"))]
    pub source: &'static str,
    /// How its value is taken.
    pub measure: Measure,
}

impl Row {
    /// A counter in /metrics.
    pub const fn counter(
        metric: &'static str,
        measure: Measure,
        meaning: &'static str,
        source: &'static str,
    ) -> Self {
        let labels = match measure {
            Measure::Core(_) => "core",
            Measure::Group(_) => "core, group",
            _ => "",
        };
        Self { metric, kind: Kind::Counter, labels, redis: "", info: None, meaning, source, measure }
    }

    /// A gauge in /metrics.
    pub const fn gauge(
        metric: &'static str,
        measure: Measure,
        meaning: &'static str,
        source: &'static str,
    ) -> Self {
        let mut row = Self::counter(metric, measure, meaning, source);
        row.kind = Kind::Gauge;
        row
    }

    /// A histogram in /metrics.
    pub const fn histogram(
        metric: &'static str,
        samples: fn(&Figures, &mut Exposition),
        meaning: &'static str,
        source: &'static str,
    ) -> Self {
        let mut row = Self::counter(metric, Measure::Samples(samples), meaning, source);
        row.kind = Kind::Histogram;
        row
    }

    /// A field of INFO that is not in /metrics.
    pub const fn field(
        section: &'static str,
        field: &'static str,
        measure: Measure,
        meaning: &'static str,
        source: &'static str,
    ) -> Self {
        Self::gauge("", measure, meaning, source).info(section, field)
    }

    /// The same row with these labels.
    pub const fn labels(mut self, labels: &'static str) -> Self {
        self.labels = labels;
        self
    }

    /// The same row, shown under redis_exporter's name too.
    pub const fn redis(mut self, redis: &'static str) -> Self {
        self.redis = redis;
        self
    }

    /// The same row, shown in INFO too.
    pub const fn info(mut self, section: &'static str, field: &'static str) -> Self {
        self.info = Some((section, field));
        self
    }

    /// The number of the whole node, for figures that are one.
    pub fn total(&self, figures: &Figures) -> Option<u64> {
        match self.measure {
            Measure::Node(of) => Some(of(figures)),
            Measure::Core(of) => Some(figures.of_cores(of)),
            Measure::Group(of) => Some(figures.groups().map(|(_, status, stats)| of(status, stats)).sum()),
            _ => None,
        }
    }
}
