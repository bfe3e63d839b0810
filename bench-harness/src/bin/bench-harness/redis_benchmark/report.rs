//! The table of ratios.

use super::tool::{Test, ToolFigures};
use crate::stats::Spread;
use crate::table::table;
use serde::Serialize;

/// A server under measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// Redis, one node.
    Redis,
    /// Synod, with all requests sent to one node.
    SynodOneNode,
    /// Synod, with every master getting the requests for what it leads.
    SynodCluster,
}

impl Contestant {
    /// All contestants.
    pub const ALL: [Self; 3] = [Self::Redis, Self::SynodOneNode, Self::SynodCluster];
    /// The contestants that are Synod.
    const OURS: [Self; 2] = [Self::SynodOneNode, Self::SynodCluster];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis, one node, appendfsync always",
            Self::SynodOneNode => "Synod, three nodes, one of them asked",
            Self::SynodCluster => "Synod, three nodes, --cluster",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Measured {
    /// The contestant.
    pub contestant: Contestant,
    /// The test.
    pub test: Test,
    /// Requests per pipeline.
    pub depth: u32,
    /// The round, from 0.
    pub round: usize,
    /// The figures.
    pub figures: ToolFigures,
}

/// The ratio that a test should reach.
const fn wanted(test: Test, depth: u32) -> Option<f64> {
    match (test, depth) {
        (Test::Set, 1) => Some(1.0),
        (Test::Get, 1) => Some(0.9),
        (Test::Set, 16) => Some(1.5),
        (Test::Get, 16) => Some(1.0),
        _ => None,
    }
}

/// All measurements.
#[derive(Clone, Debug)]
pub struct Table {
    heading: String,
    redis_is_missing: bool,
    measured: Vec<Measured>,
    failures: Vec<String>,
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    test: Test,
    depth: u32,
    contestant: Contestant,
    requests_per_s: Option<Spread>,
    redis_requests_per_s: Option<Spread>,
    ratio: Option<Spread>,
    wanted: Option<f64>,
}

/// The content of the JSON file.
#[derive(Clone, Debug, Serialize)]
pub struct Json {
    schema: u32,
    heading: String,
    rows: Vec<Row>,
    measured: Vec<Measured>,
    failures: Vec<String>,
}

impl Table {
    /// A table without measurements.
    pub fn new(heading: String, redis_is_missing: bool) -> Self {
        Self { heading, redis_is_missing, measured: Vec::new(), failures: Vec::new() }
    }
    /// Adds a measurement.
    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }
    /// Adds a failure, in words.
    pub fn failed(&mut self, what: String) {
        self.failures.push(what);
    }
    /// The failures.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Requests per second of each round.
    fn each(&self, contestant: Contestant, test: Test, depth: u32) -> Vec<Option<f64>> {
        let rounds = self.measured.iter().map(|measured| measured.round + 1).max().unwrap_or(0);
        let of_round = |round| {
            let found = self.measured.iter().find(|measured| {
                (measured.contestant, measured.test, measured.depth, measured.round)
                    == (contestant, test, depth, round)
            });
            found.map(|measured| measured.figures.rps)
        };
        (0..rounds).map(of_round).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let mut kinds: Vec<(u32, Test)> =
            self.measured.iter().map(|measured| (measured.depth, measured.test)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let row = |(depth, test), contestant| {
            let (own, redis) =
                (self.each(contestant, test, depth), self.each(Contestant::Redis, test, depth));
            Row {
                test,
                depth,
                contestant,
                requests_per_s: Spread::of(own.iter().flatten().copied()),
                redis_requests_per_s: Spread::of(redis.iter().flatten().copied()),
                ratio: Spread::of_ratios(&own, &redis),
                wanted: wanted(test, depth),
            }
        };
        kinds.iter().flat_map(|&kind| Contestant::OURS.map(|contestant| row(kind, contestant))).collect()
    }

    /// The table for the terminal.
    pub fn text(&self) -> String {
        let redis_missing = if self.redis_is_missing { "not installed" } else { "not measured" };
        let rows = self.rows().into_iter().map(|row| {
            let show = |spread: Option<Spread>, decimals, missing: &str| {
                spread.map_or_else(|| missing.to_owned(), |spread| spread.show(decimals))
            };
            let wanted = row.wanted.map_or(String::new(), |wanted| {
                let met =
                    row.ratio.map_or("", |ratio| if ratio.median >= wanted { ", met" } else { ", MISSED" });
                format!(">= {wanted:.1}{met}")
            });
            vec![
                format!("{} -P {}, {}", row.test.name(), row.depth, row.contestant.name()),
                show(row.requests_per_s, 0, "not measured"),
                show(row.redis_requests_per_s, 0, redis_missing),
                show(row.ratio, 2, ""),
                wanted,
            ]
        });
        let heading = ["requests/s: median (least to most)", "Synod", "Redis", "Synod / Redis", "wanted"];
        let mut out = table(&heading, &rows.collect::<Vec<_>>());
        out += "\nSET: Synod answers when a majority of 3 nodes has the write on its disk; Redis (1 node, appendfsync \
                always) when its own disk has it.\nGET: Synod answers linearizably; Redis from its only node.\nOne \
                of them asked: with node.leadership = follow.\n";
        if self.redis_is_missing {
            out += "Redis: not installed (apt package redis-server)\n";
        }
        out
    }

    /// All measurements, for a file.
    pub fn json(&self) -> Json {
        Json {
            schema: 1,
            heading: self.heading.clone(),
            rows: self.rows(),
            measured: self.measured.clone(),
            failures: self.failures.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(contestant: Contestant, test: Test, depth: u32, rates: &[f64]) -> Vec<Measured> {
        let one = |(round, &rps)| {
            let figures = ToolFigures { rps, p50_latency_ms: 1.0, p99_latency_ms: 2.0 };
            Measured { contestant, test, depth, round, figures }
        };
        rates.iter().enumerate().map(one).collect()
    }

    #[test]
    fn ratios_are_compared_with_what_is_wanted() {
        let mut all = Table::new("heading".to_owned(), false);
        for (contestant, test, depth, rates) in [
            (Contestant::Redis, Test::Set, 1, [100.0, 200.0]),
            (Contestant::SynodOneNode, Test::Set, 1, [50.0, 100.0]),
            (Contestant::SynodCluster, Test::Set, 1, [120.0, 240.0]),
            (Contestant::Redis, Test::Get, 16, [100.0, 100.0]),
            (Contestant::SynodOneNode, Test::Get, 16, [90.0, 98.0]),
            (Contestant::SynodOneNode, Test::Set, 2, [7.0, 7.0]),
        ] {
            measured(contestant, test, depth, &rates).into_iter().for_each(|one| all.add(one));
        }
        let text = all.text();
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains("-P"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let expected = [
            "| SET -P 1, Synod, three nodes, one of them asked | 75 (50 to 100) | 150 (100 to 200) | 0.50 \
             | >= 1.0, MISSED |",
            "| SET -P 1, Synod, three nodes, --cluster | 180 (120 to 240) | 150 (100 to 200) | 1.20 | >= 1.0, met |",
            "| SET -P 2, Synod, three nodes, one of them asked | 7 | not measured | | |",
            "| SET -P 2, Synod, three nodes, --cluster | not measured | not measured | | |",
            "| GET -P 16, Synod, three nodes, one of them asked | 94 (90 to 98) | 100 | 0.94 (0.90 to 0.98) \
             | >= 1.0, MISSED |",
            "| GET -P 16, Synod, three nodes, --cluster | not measured | 100 | | >= 1.0 |",
        ];
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn a_missing_redis_is_named() {
        let mut all = Table::new("heading".to_owned(), true);
        measured(Contestant::SynodOneNode, Test::Set, 1, &[5.0]).into_iter().for_each(|one| all.add(one));
        let text = all.text();
        assert!(text.contains("| not installed |"), "{text}");
        assert!(text.contains("not installed (apt package redis-server)"), "{text}");
    }
}
