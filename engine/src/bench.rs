//! `synod bench`: formats and starts a durable cluster on this machine, loads it, shows what came of it, cleans up.
//!
//! The load generator is a library; this adds the cluster under it, the honest heading (machine, filesystem, whether it is
//! durable at all) and the verdict. Its directory is deleted only if it bears the mark of a bench.

use crate::config::Flags;
use crate::dev::own_binary;
use crate::node::RunError;
use crate::preflight;
use crate::refusal::Refusal;
use crate::settle::{Settled, settle};
use crate::stop::Stop;
use crate::supervise::{Cluster, ClusterSpec, Maker, Ports, Workdir};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use synod_loadgen::{LoadError, Options as LoadOptions, Progress, Report};
use synod_types::NodeId;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Where the cluster lives while it runs.
    pub dir: PathBuf,
    /// Number of nodes.
    pub nodes: u16,
    /// Cores of each; as many as the CPUs allow if not said.
    pub cores: Option<u16>,
    /// Leave the data at the end, until the next bench in the same directory.
    pub keep: bool,
    /// Further settings for every node, by key name.
    pub settings: Flags,
    /// The load. With targets, they are loaded and no cluster is started.
    pub load: LoadOptions,
}

const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a disk may take to finish what others left to it.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Within how long leaders are to be where they belong.
const SPREAD_LIMIT: Duration = Duration::from_secs(10);
/// How often a ctrl-c and the death of a node are looked for between two lines.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the bench; an error is also a run that was done and found a fault.
pub fn bench(options: &BenchOptions) -> Result<(), RunError> {
    check_load(&options.load)?;
    let stop =
        Stop::on_signals().map_err(|error| RunError::Failed(format!("cannot take signals: {error}")))?;
    if !options.load.target.is_empty() {
        println!("synod bench: loading {}; {}", options.load.target.join(" "), preflight::describe_machine());
        return judge(&load(options.load.clone(), &stop, show, || None)?, &options.load);
    }

    let (mut cluster, heading) = start(options)?;
    println!("{heading}");
    let outcome = loaded(&mut cluster, options, &stop);
    let tails = if outcome.is_err() && !stop.requested() { cluster.tails() } else { String::new() };
    let (workdir, ended) = cluster.shutdown();
    let outcome = match outcome {
        Ok(()) => ended,
        Err(error) if tails.is_empty() => Err(error),
        Err(error) => Err(RunError::Failed(format!("{error}; the nodes' last lines:\n{tails}"))),
    };
    finish(workdir, outcome, options.keep, stop.requested())
}

fn loaded(cluster: &mut Cluster, options: &BenchOptions, stop: &Stop) -> Result<(), RunError> {
    cluster.wait_ready(READY_LIMIT)?;
    calm(&options.dir, stop)?;
    let before = match cluster.wait_led(SPREAD_LIMIT, || stop.requested()) {
        Ok(leaders) => Some(leaders),
        Err(error) if stop.requested() => return Err(error),
        Err(error) => {
            eprintln!("warning: {error}");
            cluster.leaders()
        }
    };
    println!("leaders: {}", per_node(before.as_deref()));
    let target = cluster.addresses().iter().map(ToString::to_string).collect();
    let load_options = LoadOptions { target, data_dir: Some(options.dir.clone()), ..options.load.clone() };
    let report = load(load_options, stop, show, || cluster.death())?;
    let after = cluster.leaders();
    if after != before {
        println!("leaders moved during the run: {}", per_node(after.as_deref()));
    }
    judge(&report, &options.load)
}

/// How many groups each node leads, in words.
fn per_node(leaders: Option<&[usize]>) -> String {
    let Some(leaders) = leaders else { return "some group has none that serves".to_owned() };
    let counts: Vec<_> = (1..)
        .zip(leaders)
        .map(|(node, count): (u16, _)| format!("{} leads {count}", NodeId::new(node)))
        .collect();
    format!("{} groups", counts.join(", "))
}

/// Waits until the disk under `dir` does nothing that was left to it before.
///
/// # Errors
/// When its filesystem cannot be written to the disk.
pub fn calm(dir: &Path, stop: &Stop) -> Result<(), RunError> {
    let begin = Instant::now();
    let settled = settle(dir, SETTLE_LIMIT, || stop.requested()).map_err(|error| {
        RunError::Failed(format!("cannot write the filesystem of {} to its disk: {error}", dir.display()))
    })?;
    let waited = begin.elapsed().as_secs_f32();
    if settled == Settled::Busy {
        eprintln!(
            "warning: after {waited:.0} s the disk still discards what was deleted; latencies will show it"
        );
    } else if waited >= 1.0 {
        println!("waited {waited:.1} s for the disk to write, and to discard what was deleted");
    }
    Ok(())
}

/// Deletes what the run left, unless it is wanted or may explain a failure.
fn finish(
    workdir: Workdir,
    outcome: Result<(), RunError>,
    keep: bool,
    interrupted: bool,
) -> Result<(), RunError> {
    let path = workdir.path().display().to_string();
    if keep {
        println!("synod bench: the data is kept in {path}, until the next bench there");
    } else if outcome.is_ok() || interrupted {
        workdir.remove()?;
    } else {
        eprintln!("synod bench: data and output of the nodes are left in {path}, until the next bench there");
    }
    outcome
}

/// Everything of the load that can be refused, before a cluster is started for it.
fn check_load(load: &LoadOptions) -> Result<(), Refusal> {
    let mut options = load.clone();
    if options.target.is_empty() {
        // The cluster's addresses take this place.
        options.target.push("127.0.0.1:1".to_owned());
    }
    options.check().map_err(|error| Refusal::Usage(error.to_string()))?;
    for file in load.json.iter().chain(&load.history).chain(&load.hdr).chain(&load.html) {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        if dir.is_some_and(|dir| !dir.is_dir()) || file.is_dir() {
            return Err(Refusal::Usage(format!(
                "cannot write {}: there is no such directory, or it is one",
                file.display()
            )));
        }
    }
    Ok(())
}

/// The setting that says how much log space is written in advance.
const RESERVE: &str = "node.reserve_mib";
/// A closed loop offers what it can; more than this is not expected of two cores.
const CLOSED_PER_S: u64 = 60_000;
/// No more than this is written in advance, MiB per core.
const RESERVE_MIB_MAX: u64 = 4096;

/// What one core's log will hold of this load: every node logs every write.
fn reserve_mib(load: &LoadOptions, cores: u16) -> u64 {
    let rate = if load.closed { CLOSED_PER_S } else { load.rate };
    // A search does not know its rates before: what a step or three of them write; later ones take recycled segments.
    let length = if load.find_max { load.step * 3 } else { load.duration };
    let seconds = length.as_secs() + load.warmup.as_secs() + 1;
    let writes = u64::from(load.keys) + rate * seconds;
    // Headers and padding of small batches.
    let bytes = writes * (load.value_size.mean().ceil() as u64 + 512);
    // A bench of no cores is refused like any such cluster, with everything else in view.
    ((bytes >> 20) / u64::from(cores.max(1)) + 128).min(RESERVE_MIB_MAX)
}

fn start(options: &BenchOptions) -> Result<(Cluster, String), RunError> {
    let spec = cluster_spec(options, own_binary()?);
    let filesystem =
        preflight::filesystem(&options.dir).map_or_else(|error| error.to_string(), |fs| fs.to_string());
    let heading = format!(
        "synod bench: {} nodes x {} cores{}; {}; {} on {filesystem}",
        spec.nodes,
        spec.cores,
        if spec.cpus.is_empty() { ", not pinned" } else { ", pinned" },
        preflight::describe_machine(),
        options.dir.display(),
    );
    Ok((Cluster::start(&options.dir, Maker::Bench, &spec)?, heading))
}

/// The cluster that a bench with these options loads, made of `binary`.
pub fn cluster_spec(options: &BenchOptions, binary: PathBuf) -> ClusterSpec {
    let cpus = preflight::allowed_cpus();
    let per_node = cpus.len() / usize::from(options.nodes.max(1));
    // No machine has 65536 CPUs for each of its nodes; the configuration says what is too many.
    let cores = options.cores.unwrap_or(per_node.max(1) as u16);
    let wanted = usize::from(options.nodes) * usize::from(cores);
    let mut settings = options.settings.clone();
    // The log space of the whole run is written by format, as it would be on a node that recycles segments in its steady
    // state; else the run would measure the writing of zeros beside its own.
    settings.entry(RESERVE).or_insert_with(|| reserve_mib(&options.load, cores).to_string());
    ClusterSpec {
        binary,
        name: "bench".to_owned(),
        nodes: options.nodes,
        cores,
        ports: Ports::Free,
        cpus: if wanted <= cpus.len() { cpus[..wanted].to_vec() } else { Vec::new() },
        settings,
        // What an earlier bench left is deleted, once nothing can be refused any more.
        fresh: true,
        echo: false,
        logs: true,
    }
}

enum News {
    Second(Progress),
    Done(Box<Result<Report, LoadError>>),
}

fn show(progress: &Progress) {
    println!("{}", progress.line());
}

/// Runs the load on a thread of its own, so that this one can heed ctrl-c and `trouble` while it shows the progress.
///
/// # Errors
/// [`RunError`] when the load could not be done, or was broken off because of a signal or of `trouble`.
pub fn load(
    options: LoadOptions,
    stop: &Stop,
    show: impl Fn(&Progress),
    mut trouble: impl FnMut() -> Option<String>,
) -> Result<Report, RunError> {
    let (news, inbox) = mpsc::channel();
    std::thread::spawn(move || {
        let seconds = news.clone();
        // A receiver that is gone has given the run up.
        let result =
            synod_loadgen::run(&options, &mut |progress| _ = seconds.send(News::Second(progress.clone())));
        let _ = news.send(News::Done(Box::new(result)));
    });
    loop {
        match inbox.recv_timeout(LOOK_INTERVAL) {
            Ok(News::Second(progress)) => show(&progress),
            Ok(News::Done(result)) => {
                return (*result).map_err(|error| match error {
                    LoadError::Options(sentence) => RunError::Refused(Refusal::Usage(sentence)),
                    error => RunError::Failed(error.to_string()),
                });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(RunError::Failed("the load generator ended without a report".to_owned()));
            }
        }
        if stop.requested() {
            return Err(RunError::Failed("interrupted".to_owned()));
        }
        if let Some(what) = trouble() {
            return Err(RunError::Failed(what));
        }
    }
}

/// Prints the report and says whether it is a good one.
fn judge(report: &Report, options: &LoadOptions) -> Result<(), RunError> {
    println!("\n{}", report.table());
    report.write_files(options).map_err(|error| RunError::Failed(format!("cannot write {error}")))?;
    let faults = faults(report);
    if faults.is_empty() { Ok(()) } else { Err(RunError::Failed(faults.join(", "))) }
}

/// What makes a report a bad one, in words; none if all is well.
pub fn faults(report: &Report) -> Vec<String> {
    let sum = |count: fn(&synod_loadgen::OperationReport) -> u64| report.operations.values().map(count).sum();
    let audit = report.audit.clone().unwrap_or_default();
    let counts: [(u64, &str); 5] = [
        (sum(|operation| operation.errors), "requests failed"),
        (sum(|operation| operation.unknown), "writes have an unknown outcome"),
        (report.verify_failures, "replies contradict what was acknowledged"),
        (audit.missing, "keys do not hold what was acknowledged"),
        (audit.unread, "keys could not be read back"),
    ];
    let counted =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    report.unfinished.iter().cloned().chain(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_loadgen::{AuditReport, OperationReport};

    #[test]
    fn every_kind_of_fault_fails_the_run() {
        assert_eq!(faults(&Report::default()), Vec::<String>::new());
        let mut bad = Report {
            verify_failures: 3,
            unfinished: vec!["a thread stands still".into()],
            ..Report::default()
        };
        bad.operations.insert(
            "write".to_owned(),
            OperationReport { errors: 1, unknown: 2, ..OperationReport::default() },
        );
        bad.audit = Some(AuditReport { missing: 4, unread: 5, ..AuditReport::default() });
        let wanted = [
            "a thread stands still",
            "1 requests failed",
            "2 writes have an unknown outcome",
            "3 replies contradict what was acknowledged",
            "4 keys do not hold what was acknowledged",
            "5 keys could not be read back",
        ];
        assert_eq!(faults(&bad), wanted);
    }

    #[test]
    fn loads_that_cannot_be_are_refused_before_a_cluster_is_started() {
        let base = tempfile::tempdir().unwrap();
        let options = |load| BenchOptions {
            dir: base.path().join("bench"),
            nodes: 3,
            cores: None,
            keep: false,
            settings: Flags::new(),
            load,
        };
        for load in [
            LoadOptions { rate: 0, ..LoadOptions::default() },
            LoadOptions { json: Some(base.path().join("no/such/dir.json")), ..LoadOptions::default() },
            LoadOptions { target: vec!["nowhere".to_owned()], ..LoadOptions::default() },
        ] {
            let error = bench(&options(load)).unwrap_err();
            assert!(matches!(error, RunError::Refused(_)), "{error}");
        }
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
