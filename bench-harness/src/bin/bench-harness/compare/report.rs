//! The tables and the JSON of a comparison.

use super::options::CompareOptions;
use super::system::System;
use crate::figures::{Figures, PhaseFigures};
use crate::output::describe_machine;
use crate::stats::Spread;
use crate::table::{milliseconds, table};
use serde::Serialize;

/// A system and its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Entrant {
    /// The system.
    pub system: System,
    /// Its version, as it reports it.
    pub version: Option<String>,
    /// Why it takes no part.
    pub absent: Option<String>,
    /// The figures of each round, or its error.
    pub rounds: Vec<Result<Figures, String>>,
}

impl Entrant {
    /// One figure, round by round.
    fn each(&self, figure: impl Fn(&Figures) -> f64) -> Vec<Option<f64>> {
        self.rounds.iter().map(|round| round.as_ref().ok().map(&figure)).collect()
    }
    fn median(&self, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        Spread::of(self.each(figure).into_iter().flatten()).map(|spread| spread.median)
    }
}

/// A ratio of two systems.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    phase: &'static str,
    above: System,
    below: System,
    requests_per_s: Spread,
}

/// All results.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    schema: u32,
    machine: String,
    connections: u32,
    inflight: u32,
    keys: u32,
    value_size: u32,
    duration_s: f64,
    warmup_s: f64,
    durability: Vec<(System, &'static str)>,
    systems: Vec<Entrant>,
    ratios: Vec<Ratio>,
}

type PhaseOf = fn(&Figures) -> PhaseFigures;
const PHASES: [(&str, PhaseOf); 2] = [("SET", |figures| figures.set), ("GET", |figures| figures.get)];

impl Comparison {
    /// The comparison of these rounds.
    pub fn new(options: &CompareOptions, systems: Vec<Entrant>) -> Self {
        let ours = |entrant: &&Entrant| matches!(entrant.system, System::Synod | System::SynodResp);
        let mut ratios = Vec::new();
        for (phase, of) in PHASES {
            for above in systems.iter().filter(ours) {
                for below in systems.iter().filter(|below| below.system != above.system) {
                    let per_s = |entrant: &Entrant| entrant.each(|figures| of(figures).per_s);
                    let spread = Spread::of_ratios(&per_s(above), &per_s(below));
                    ratios.extend(spread.map(|requests_per_s| Ratio {
                        phase,
                        above: above.system,
                        below: below.system,
                        requests_per_s,
                    }));
                }
            }
        }
        Self {
            schema: 1,
            machine: describe_machine(&options.tools.dir),
            connections: options.connections,
            inflight: options.inflight,
            keys: options.keys,
            value_size: options.value_size,
            duration_s: options.duration.as_secs_f64(),
            warmup_s: options.warmup.as_secs_f64(),
            durability: systems.iter().map(|entrant| (entrant.system, entrant.system.durability())).collect(),
            systems,
            ratios,
        }
    }

    /// The tables for the terminal.
    pub fn text(&self) -> String {
        let phases = PHASES.map(|(phase, of)| self.phase_table(phase, of));
        format!("{}\n{}\n{}", phases[0], phases[1], self.promises_table())
    }

    fn phase_table(&self, phase: &str, of: PhaseOf) -> String {
        let title = format!("{phase} {} B", self.value_size);
        let mut heading = vec![title.as_str(), "requests/s", "p50", "p99"];
        let above = [(System::Synod, "Synod binary / it"), (System::SynodResp, "Synod RESP / it")];
        let above: Vec<_> =
            above.into_iter().filter(|(ours, _)| self.systems.iter().any(|e| e.system == *ours)).collect();
        heading.extend(above.iter().map(|(_, title)| *title));
        let rows = self.systems.iter().map(|entrant| {
            let name = entrant.system.name().to_owned();
            let Some(rate) = Spread::of(entrant.each(|figures| of(figures).per_s).into_iter().flatten())
            else {
                let why = entrant.absent.clone().unwrap_or_else(|| "failed in every round".to_owned());
                let mut row = vec![name, why];
                row.resize(heading.len(), String::new());
                return row;
            };
            let latency = |of_phase: fn(PhaseFigures) -> u64| {
                let median = entrant.median(|figures| of_phase(of(figures)) as f64);
                milliseconds(median.unwrap_or_default())
            };
            let mut row =
                vec![name, rate.show(0), latency(|phase| phase.p50_us), latency(|phase| phase.p99_us)];
            for (ours, _) in &above {
                let ratio = self.ratios.iter().find(|ratio| {
                    ratio.phase == phase && ratio.above == *ours && ratio.below == entrant.system
                });
                row.push(ratio.map_or(String::new(), |ratio| ratio.requests_per_s.show(2)));
            }
            row
        });
        table(&heading, &rows.collect::<Vec<_>>())
    }

    fn promises_table(&self) -> String {
        let rows = self.systems.iter().map(|entrant| {
            let cpu = entrant.median(|figures| figures.generator_cpu_us.unwrap_or(f64::NAN));
            let version = entrant.version.as_deref().or(entrant.absent.as_deref()).unwrap_or_default();
            vec![
                entrant.system.name().to_owned(),
                entrant.system.durability().to_owned(),
                entrant.system.reads().to_owned(),
                cpu.filter(|us| us.is_finite()).map_or(String::new(), |us| format!("{us:.0} us/request")),
                version.split(" sha=").next().unwrap_or_default().to_owned(),
            ]
        });
        let heading = ["system", "an acknowledged write is", "a read is", "generator's CPU", "version"];
        table(&heading, &rows.collect::<Vec<_>>())
    }

    /// All faults, each with its system and round.
    pub fn faults(&self) -> Vec<String> {
        let mut out = Vec::new();
        for entrant in &self.systems {
            for (round, found) in (1..).zip(&entrant.rounds) {
                let faults = match found {
                    Ok(figures) => figures.faults.clone(),
                    Err(error) => vec![error.clone()],
                };
                out.extend(
                    faults.iter().map(|fault| format!("{} in round {round}: {fault}", entrant.system.name())),
                );
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: CompareOptions,
    }

    fn entrant(system: System, rates: &[f64]) -> Entrant {
        let figures = |&per_s| {
            let phase = PhaseFigures { per_s, p50_us: 1500, p99_us: 20_000 };
            Ok(Figures { set: phase, get: phase, generator_cpu_us: Some(9.6), ..Figures::default() })
        };
        let rounds = rates.iter().map(figures).collect();
        Entrant { system, version: Some("it 1.0 sha=0".to_owned()), absent: None, rounds }
    }

    #[test]
    fn tables_name_ratios_durability_and_absent_systems() {
        let options = Line::try_parse_from(["compare"]).expect("nothing is required").options;
        let absent = Entrant {
            absent: Some("not installed (apt package etcd-server)".to_owned()),
            version: None,
            ..entrant(System::Etcd, &[])
        };
        let mut redis = entrant(System::Redis, &[50.0, 100.0, 100.0]);
        redis.rounds[2] = Err("the disk is full".to_owned());
        let systems = vec![entrant(System::Synod, &[100.0, 300.0, 200.0]), redis, absent];
        let comparison = Comparison::new(&options, systems);
        let text = comparison.text();
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("| {start}")));
            line.unwrap_or_else(|| panic!("{start}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("SET 4096 B"), "| SET 4096 B | requests/s | p50 | p99 | Synod binary / it |");
        assert_eq!(line("Synod, b"), "| Synod, binary protocol | 200 (100 to 300) | 1.50 ms | 20.0 ms | |");
        // 100/50 and 300/100; the round in which Redis failed has no ratio.
        assert!(line("Redis, a").ends_with("| 75 (50 to 100) | 1.50 ms | 20.0 ms | 2.50 (2.00 to 3.00) |"));
        assert_eq!(line("etcd"), "| etcd | not installed (apt package etcd-server) | | | |");
        assert!(text.contains("1 node, on its disk before the answer"), "{text}");
        assert!(text.contains("10 us/request") && !text.contains("sha="), "{text}");
        assert_eq!(comparison.faults(), ["Redis, appendfsync always in round 3: the disk is full"]);
        let json = serde_json::to_value(&comparison).expect("plain data");
        assert_eq!(json["ratios"][0]["requests_per_s"]["median"], 2.5);
    }
}
