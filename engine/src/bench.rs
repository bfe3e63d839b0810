//! `synod bench`: formats and starts a durable cluster on this machine, loads it, reports the result and
//! cleans up.
//!
//! The load generator is a library; it also probes what this machine holds now. This file adds the cluster
//! under it, a heading (machine, filesystem, whether it is durable at all) and the verdict. The directory is
//! deleted only if its marker says that a bench made it.

use crate::config::Flags;
use crate::config::settings::RESERVE_MIB;
use crate::dev::own_binary;
use crate::disk_quiesce::{Quiesced, quiesce};
use crate::exit::Exit;
use crate::node::RunError;
use crate::output::{eprintln, println};
use crate::preflight;
use crate::refusal::Refusal;
use crate::stop::Stop;
use crate::supervise::{Cluster, ClusterSpec, Maker, Ports, Workdir};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use synod_loadgen::{LoadError, Options as LoadOptions, Progress, Report, write_files};
use synod_types::NodeId;

/// The options of one bench.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The directory of the cluster while it runs.
    pub dir: PathBuf,
    /// Number of nodes.
    pub nodes: u16,
    /// Cores per node; `None` for as many as the CPUs allow.
    pub cores: Option<u16>,
    /// Keep the data at the end, until the next bench in the same directory.
    pub keep: bool,
    /// Further settings for every node, by key name.
    pub settings: Flags,
    /// The load. If it names targets, they are loaded and no cluster is started.
    pub load: LoadOptions,
}

const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a disk may take to finish the work left by earlier writes and deletions.
const QUIESCE_LIMIT: Duration = Duration::from_secs(60);
/// How long leaders may take to reach their places.
const SPREAD_LIMIT: Duration = Duration::from_secs(10);
/// Interval between two checks for ctrl-c and for the death of a node.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the bench. An error may also mean that the run completed and found a fault.
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
    let is_failed = outcome.as_ref().is_err_and(|error| error.exit() == Exit::Failed);
    let is_interrupted = stop.requested() && !is_fault(&outcome);
    let tails = if is_failed && !is_interrupted { cluster.tails() } else { String::new() };
    let (workdir, ended) = cluster.shutdown();
    finish(workdir, verdict(outcome, ended, &tails), options.keep, is_interrupted)
}

/// Whether the run was completed and judged as faulty. Its data is evidence, even if a stop was requested since:
/// the report itself requests one when nobody reads it.
fn is_fault(outcome: &Result<(), RunError>) -> bool {
    matches!(outcome, Err(RunError::Ended { exit: Exit::Failed, .. }))
}

/// The end of the bench, from the outcome of the load and the end of the nodes.
fn verdict(outcome: Result<(), RunError>, ended: Result<(), RunError>, tails: &str) -> Result<(), RunError> {
    let explained = |why: String| format!("{why}; the nodes' last lines:\n{tails}");
    match (outcome, ended) {
        (Ok(()), ended) => ended,
        // That a node ended badly is worse than noise, and may be the reason for it.
        (Err(RunError::Ended { exit: Exit::NoisyHost, .. }), Err(worse)) => Err(worse),
        (Err(error), _) if tails.is_empty() => Err(error),
        (Err(RunError::Ended { exit, why }), _) => Err(RunError::Ended { exit, why: explained(why) }),
        (Err(error), _) => Err(RunError::Failed(explained(error.to_string()))),
    }
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

/// The number of groups that each node leads, in words.
fn per_node(leaders: Option<&[usize]>) -> String {
    let Some(leaders) = leaders else { return "some group has none that serves".to_owned() };
    let counts: Vec<_> = (1..)
        .zip(leaders)
        .map(|(node, count): (u16, _)| format!("{} leads {count}", NodeId::new(node)))
        .collect();
    format!("{} groups", counts.join(", "))
}

/// Waits until the disk under `dir` has finished all work left from before.
///
/// # Errors
/// When its filesystem cannot be written to the disk.
pub fn calm(dir: &Path, stop: &Stop) -> Result<(), RunError> {
    let begin = Instant::now();
    let quiesced = quiesce(dir, QUIESCE_LIMIT, || stop.requested()).map_err(|error| {
        RunError::Failed(format!("cannot write the filesystem of {} to its disk: {error}", dir.display()))
    })?;
    let waited = begin.elapsed().as_secs_f32();
    if quiesced == Quiesced::Busy {
        eprintln!(
            "warning: after {waited:.0} s the disk still discards what was deleted; latencies will show it"
        );
    } else if waited >= 1.0 {
        println!("waited {waited:.1} s for the disk to write, and to discard what was deleted");
    }
    Ok(())
}

/// Deletes the data of the run, unless it is to be kept or may explain a failure.
fn finish(
    workdir: Workdir,
    outcome: Result<(), RunError>,
    keep: bool,
    interrupted: bool,
) -> Result<(), RunError> {
    let path = workdir.path().display().to_string();
    if keep {
        println!("synod bench: the data is kept in {path}, until the next bench there");
    } else if matches!(outcome, Ok(()) | Err(RunError::Ended { exit: Exit::NoisyHost, .. })) || interrupted {
        workdir.remove()?;
    } else {
        eprintln!("synod bench: data and output of the nodes are left in {path}, until the next bench there");
    }
    outcome
}

/// Checks everything in the load options that can be refused, before a cluster is started for them.
fn check_load(load: &LoadOptions) -> Result<(), Refusal> {
    let mut options = load.clone();
    if options.target.is_empty() {
        // A placeholder for the addresses of the cluster.
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

/// A closed loop sends as fast as it can; more than this is not expected of two cores.
const CLOSED_PER_S: u64 = 60_000;
/// What a probe of two seconds writes if the default rate can just be held. A faster machine writes more; its
/// later segments are recycled ones.
const PROBE_WRITES: u64 = 60_000;
/// At most this much is written in advance, in MiB per core.
const RESERVE_MIB_MAX: u64 = 4096;

/// The size of one core's log under this load, in MiB: every node logs every write.
fn reserve_mib(load: &LoadOptions, cores: u16) -> u64 {
    let rate = if load.closed { CLOSED_PER_S } else { load.rate_asked() };
    // A search does not know its rates in advance. This reserves the writes of about three steps; later steps
    // take recycled segments.
    let length = if load.find_max { load.step * 3 } else { load.duration };
    let seconds = length.as_secs() + load.warmup.as_secs() + 1;
    let probed = if load.wants_probe() { PROBE_WRITES } else { 0 };
    let writes = u64::from(load.keys) + rate * seconds + probed;
    // 512 bytes for headers and for the padding of small batches.
    let bytes = writes * (load.value_size.mean().ceil() as u64 + 512);
    // `max(1)`: a bench with no cores is refused later, with everything else in view.
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

/// The cluster that a bench with these options starts from `binary`.
pub fn cluster_spec(options: &BenchOptions, binary: PathBuf) -> ClusterSpec {
    let cpus = preflight::allowed_cpus();
    let per_node = cpus.len() / usize::from(options.nodes.max(1));
    // No machine has 65536 CPUs for each of its nodes. The configuration check refuses too large a number.
    let cores = options.cores.unwrap_or(per_node.max(1) as u16);
    let wanted = usize::from(options.nodes) * usize::from(cores);
    let mut settings = options.settings.clone();
    // `format` writes the log space of the whole run in advance. A node in steady state recycles segments in
    // the same way; without this the run would also measure the writing of zeros.
    settings.entry(RESERVE_MIB.row.name).or_insert_with(|| reserve_mib(&options.load, cores).to_string());
    ClusterSpec {
        binary,
        name: "bench".to_owned(),
        nodes: options.nodes,
        cores,
        ports: Ports::Free,
        cpus: if wanted <= cpus.len() { cpus[..wanted].to_vec() } else { Vec::new() },
        settings,
        // The data of an earlier bench is deleted, once nothing more can be refused.
        fresh: true,
        echo: false,
        logs: true,
    }
}

enum LoadNews {
    Second(Progress),
    Done(Box<Result<Report, LoadError>>),
}

fn show(progress: &Progress) {
    println!("{}", progress.line());
}

/// Runs the load on a thread of its own, so that this one can check for ctrl-c and `trouble` while it shows
/// the progress.
///
/// # Errors
/// [`RunError`] when the load could not run, or was interrupted by a signal or by `trouble`.
pub fn load(
    options: LoadOptions,
    stop: &Stop,
    show: impl Fn(&Progress),
    mut trouble: impl FnMut() -> Option<String>,
) -> Result<Report, RunError> {
    let (news, inbox) = mpsc::channel();
    std::thread::spawn(move || {
        let seconds = news.clone();
        // If the receiver is gone, the caller has given up the run.
        let result = synod_loadgen::run(&options, &mut |progress| {
            _ = seconds.send(LoadNews::Second(progress.clone()))
        });
        let _ = news.send(LoadNews::Done(Box::new(result)));
    });
    loop {
        match inbox.recv_timeout(LOOK_INTERVAL) {
            Ok(LoadNews::Second(progress)) => show(&progress),
            Ok(LoadNews::Done(result)) => {
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

/// Prints the report. Returns an error if the report has faults, or cannot be written to its files.
///
/// That is not [`RunError::Failed`], with which a command ends quietly when nobody reads its output any more:
/// a fault must never end as success.
fn judge(report: &Report, options: &LoadOptions) -> Result<(), RunError> {
    println!("\n{}", report.table());
    let written = write_files(report, options);
    let mut faults = faults(report);
    faults.extend(written.err().map(|error| format!("cannot write {error}")));
    if !faults.is_empty() {
        return Err(RunError::Ended { exit: Exit::Failed, why: faults.join(", ") });
    }
    match report.noise() {
        Some(noise) => {
            Err(RunError::Ended { exit: Exit::NoisyHost, why: format!("host too noisy: {noise}") })
        }
        None => Ok(()),
    }
}

/// The faults of a report, in words; empty if all is well.
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
    use synod_loadgen::search::SearchReport;
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
    fn a_noisy_host_fails_the_run_only_if_there_is_no_fault() {
        let search = SearchReport { noise: Some("p99 was 1 ms and 9 ms".into()), ..SearchReport::default() };
        let mut report = Report { find_max: vec![search], ..Report::default() };
        let options = LoadOptions::default();
        let error = judge(&report, &options).unwrap_err();
        assert_eq!(error.exit(), Exit::NoisyHost);
        assert_eq!(error.to_string(), "host too noisy: p99 was 1 ms and 9 ms");
        report.verify_failures = 1;
        let fault = judge(&report, &options);
        assert!(is_fault(&fault), "a closed output must not make a success of it: {fault:?}");
        assert_eq!(judge(&Report::default(), &options), Ok(()));
    }

    #[test]
    fn a_report_that_cannot_be_written_is_a_fault() {
        let base = tempfile::tempdir().unwrap();
        let json = Some(base.path().join("no/such/dir.json"));
        let judged = judge(&Report::default(), &LoadOptions { json, ..LoadOptions::default() });
        assert!(is_fault(&judged), "{judged:?}");
        assert!(judged.unwrap_err().to_string().starts_with("cannot write "));
    }

    #[test]
    fn a_node_that_ended_badly_counts_more_than_noise_and_less_than_a_fault() {
        let end = |exit| Err(RunError::Ended { exit, why: "why".to_owned() });
        let bad = || Err(RunError::Failed("n1 ended with signal 6".to_owned()));
        assert_eq!(verdict(Ok(()), Ok(()), ""), Ok(()));
        assert_eq!(verdict(Ok(()), bad(), ""), bad());
        assert_eq!(verdict(end(Exit::NoisyHost), Ok(()), ""), end(Exit::NoisyHost));
        assert_eq!(verdict(end(Exit::NoisyHost), bad(), ""), bad());
        assert_eq!(verdict(end(Exit::Failed), bad(), ""), end(Exit::Failed));
        let explained = verdict(end(Exit::Failed), Ok(()), "n1 | last");
        assert!(is_fault(&explained), "{explained:?}");
        assert!(explained.unwrap_err().to_string().ends_with("last lines:\nn1 | last"));
    }

    #[test]
    fn log_space_is_reserved_for_the_probe_too() {
        let load = |rate| LoadOptions { rate, ..LoadOptions::default() };
        let (probed, named) = (reserve_mib(&load(None), 1), reserve_mib(&load(Some(20_000)), 1));
        // Both are rounded to whole MiB.
        assert!((probed - named).abs_diff((PROBE_WRITES * (4096 + 512)) >> 20) <= 1, "{probed} {named}");
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
            LoadOptions { rate: Some(0), ..LoadOptions::default() },
            LoadOptions { json: Some(base.path().join("no/such/dir.json")), ..LoadOptions::default() },
            LoadOptions { target: vec!["nowhere".to_owned()], ..LoadOptions::default() },
        ] {
            let error = bench(&options(load)).unwrap_err();
            assert!(matches!(error, RunError::Refused(_)), "{error}");
        }
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
