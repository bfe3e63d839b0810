//! Load on a cluster during an event, and the verdict: report, audit, linearizability.

use crate::cluster::Nodes;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use synod_loadgen::{LoadError, Options, Report};
use synod_tests::check::history::{Fate, Operation, Stamp};
use synod_tests::check::model::{Action, Answer, Datum, Ttl, When};
use synod_tests::check::wgl;

/// Load in the background.
pub struct Load {
    thread: JoinHandle<Result<Report, LoadError>>,
    history: PathBuf,
    started: Instant,
}

/// One line of the history file.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub key: u32,
    pub write: bool,
    pub seq: Option<u64>,
    pub invoke: u64,
    pub complete: Option<u64>,
    pub ok: bool,
    pub fail: bool,
}

/// The load of the fault tests: mixed, modest (three nodes, generator and faults share two cores), and on so
/// few keys that each sees many operations.
pub fn options(nodes: &mut Nodes, duration: Duration) -> Options {
    Options {
        target: nodes.targets(),
        rate: Some(1500),
        duration,
        warmup: Duration::from_millis(500),
        connections: 6,
        inflight: 32,
        value_size: 512.into(),
        read_share: Some(0.4),
        keys: 400,
        history: Some(nodes.dir().join("history.jsonl")),
        ..Options::default()
    }
}

/// Starts the load.
pub fn start(options: Options) -> Load {
    let history = options.history.clone().expect("fault tests record their history");
    let thread = std::thread::spawn(move || {
        synod_loadgen::run(&options, &mut |progress| eprintln!("{}", progress.line()))
    });
    Load { thread, history, started: Instant::now() }
}

impl Load {
    /// Waits until the history shows measured load: keys are written and reads are under way.
    pub fn wait_under_way(&self) {
        while self.started.elapsed() < Duration::from_secs(60) {
            if self.thread.is_finished() {
                return;
            }
            let text = std::fs::read_to_string(&self.history).unwrap_or_default();
            if text.contains("\"op\":\"read\"") {
                return;
            }
            // Polls a file that another thread writes; the result does not depend on how long this takes.
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the load did not get under way");
    }

    /// Waits until this many more operations were answered, or the load is over.
    pub fn wait_more(&self, count: usize) {
        let answered =
            || std::fs::read_to_string(&self.history).unwrap_or_default().matches("\"ok\"").count();
        let enough = answered() + count;
        while answered() < enough && !self.thread.is_finished() {
            assert!(self.started.elapsed() < Duration::from_secs(120), "the load stands still");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The verdict on the run. Returns the report and the history for further checks.
    pub fn finish(self) -> (Report, Vec<Line>) {
        let report =
            self.thread.join().expect("the generator does not panic").expect("the load could be run");
        eprintln!("{}", report.table());
        let lines = parse(&std::fs::read_to_string(&self.history).expect("a history was written"));
        assert!(lines.len() > 1000, "only {} operations were recorded", lines.len());
        assert_eq!(report.unfinished, Vec::<String>::new(), "the figures are not of the whole run");
        let audit = report.audit.as_ref().expect("the audit ran");
        assert!(audit.acked > 0, "nothing was acknowledged");
        assert_eq!(audit.missing, 0, "acknowledged writes are missing");
        for (name, operation) in &report.operations {
            assert_eq!(operation.verify_failures, 0, "{name}: replies contradict what was acknowledged");
        }
        linearizable(&lines);
        (report, lines)
    }
}

fn parse(text: &str) -> Vec<Line> {
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object per line");
            let outcome = value["outcome"].as_str().expect("an outcome");
            assert_ne!(outcome, "corrupt", "a read returned bytes that were never written: {line}");
            Line {
                key: value["key"].as_u64().expect("a key") as u32,
                write: value["op"] == "write",
                seq: value["seq"].as_u64(),
                invoke: value["invoke"].as_u64().expect("an instant"),
                complete: value["complete"].as_u64(),
                ok: outcome == "ok",
                fail: outcome == "fail",
            }
        })
        .collect()
}

/// Checks that every key is a linearizable register.
fn linearizable(lines: &[Line]) {
    // One order over all calls and answers. At equal instants calls come first, which only allows more
    // orders.
    let mut instants: Vec<(u64, bool, usize)> = Vec::with_capacity(lines.len() * 2);
    for (index, line) in lines.iter().enumerate() {
        instants.push((line.invoke, false, index));
        if let Some(complete) = line.complete {
            instants.push((complete, true, index));
        }
    }
    instants.sort_unstable();
    let mut called = vec![None; lines.len()];
    let mut answered = vec![None; lines.len()];
    for (order, &(at, is_answer, index)) in instants.iter().enumerate() {
        let stamp = Stamp { order: order as u64, at };
        *(if is_answer { &mut answered[index] } else { &mut called[index] }) = Some(stamp);
    }
    let mut keys = std::collections::BTreeMap::<u32, Vec<Operation>>::new();
    for (index, line) in lines.iter().enumerate() {
        // Sequences are small in a run this short; the model names blobs by 32 bits.
        let blob = |seq: u64| Datum::Blob(u32::try_from(seq).expect("sequences of a short run are small"));
        let (action, answer) = if line.write {
            let value = blob(line.seq.expect("a write has a sequence"));
            (Action::Set { value, when: When::Always, ttl: Ttl::Clear, return_old: false }, Answer::Done)
        } else {
            let seen = line.seq.unwrap_or(0);
            (Action::Get, if seen == 0 { Answer::Nil } else { Answer::Value(blob(seen)) })
        };
        if line.fail {
            continue; // certainly not executed, or a read that saw nothing
        }
        let fate = match answered[index] {
            Some(stamp) if line.ok => Fate::Answered { stamp, answer },
            _ => Fate::Unknown,
        };
        let called = called[index].expect("every operation was called");
        keys.entry(line.key).or_default().push(Operation {
            client: 0,
            group: 0,
            key: line.key,
            member: 0,
            action,
            called,
            fate,
        });
    }
    let mut keys: Vec<_> = keys.into_iter().collect();
    for (_, operations) in &mut keys {
        operations.sort_by_key(|operation| operation.called);
    }
    if let Err(violation) = wgl::check_all(&keys) {
        panic!("the history is not linearizable: {violation}");
    }
}

/// For writes invoked after `since`: when the last of the groups seen in the history got its first answer.
/// That is how long the slowest group was without writes.
pub fn slowest_recovery(lines: &[Line], since: u64) -> Duration {
    let mut first = std::collections::BTreeMap::<u16, u64>::new();
    for line in lines.iter().filter(|line| line.write && line.ok) {
        let Some(complete) = line.complete.filter(|&complete| complete > since) else { continue };
        let name = format!("load:{:010}", line.key);
        let group = synod_types::group_of(synod_types::bucket_of(name.as_bytes()), 16).get();
        let entry = first.entry(group).or_insert(complete);
        *entry = (*entry).min(complete);
    }
    Duration::from_nanos(first.values().max().map_or(0, |last| last - since))
}
