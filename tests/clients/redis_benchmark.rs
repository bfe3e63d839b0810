//! redis-benchmark, plain and `--cluster`.

use crate::cluster::Nodes;
use crate::leaders::{Leaders, nodes_led};
use crate::relay::Relays;
use crate::run::{
    Moved, Patience, busiest, expect_known, targets_from, through_a_failover, until_a_leader_is_killed,
};
use crate::tools::{missing, output, port};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;
use synod_net::client::Client;
use synod_types::CoreId;

/// How long it may take until writes go on.
const LIMIT: Duration = Duration::from_secs(60);
/// Acknowledged writes in each phase.
const MORE: usize = 3000;

#[test]
fn redis_benchmark_cluster() {
    if missing("redis-benchmark", "redis-tools") || missing("redis-cli", "redis-tools") {
        return;
    }
    for (name, cores, redirect) in [("bench-proxy", 1, "proxy"), ("bench-moved", 2, "moved")] {
        // It calls a cluster of one master invalid.
        let mut nodes = nodes_led(Leaders::OnSeveral, name, cores, redirect);
        let target = nodes.targets().remove(0);
        let text = output(
            Command::new("redis-benchmark")
                .args(["-p", port(&target), "--cluster", "-t", "set,get,incr", "-d", "512"])
                .args(["-c", "24", "-P", "4", "-n", "3000", "-r", "1000", "-q"]),
        );
        assert!(text.contains(" master nodes"), "{text}");
        for test in ["SET", "GET", "INCR"] {
            assert!(text.contains(&format!("{test}: ")), "{test} did not finish: {text}");
        }
        assert!(!text.to_lowercase().contains("error"), "{text}");
    }
}

/// The tool, told to run without end, and its output.
struct Bench {
    child: Child,
    said: Vec<JoinHandle<String>>,
}

impl Bench {
    fn start(target: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("redis-benchmark")
            .args(["-p", port(target), "-t", "set,incr", "-d", "64", "-r", "200"])
            .args(["-c", "8", "-P", "4", "-n", "2000", "-l", "-q"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        let out = read_all(child.stdout.take().expect("piped"));
        let complaints = read_all(child.stderr.take().expect("piped"));
        Self { child, said: vec![out, complaints] }
    }

    /// Its exit status and last words, if it has ended.
    fn ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.child.try_wait().expect("it is ours")?;
        let said: Vec<String> = self.said.drain(..).map(|said| said.join().expect("text")).collect();
        let lines: Vec<&str> = said
            .iter()
            .flat_map(|said| said.split(['\r', '\n']))
            .filter(|line| !line.trim().is_empty())
            .collect();
        let mut words: Vec<&str> = lines.iter().copied().filter(|line| is_complaint(line)).collect();
        if words.is_empty() {
            words.extend(lines.last());
        }
        Some((status, words.join("; ")))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether the line reports a failure. A warning (a leader moved, a master has no slots) is not a failure.
fn is_complaint(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["error", "could not", "failed"].iter().any(|word| lower.contains(word))
}

/// A tool that is started again whenever it stops. It stops at the first error reply and at the first lost
/// connection.
struct Stubborn<'a> {
    relays: &'a Relays,
    /// The targets it connects to, in turn.
    targets: Vec<String>,
    arguments: &'a [&'a str],
    bench: Bench,
    /// Why it stopped, for each stop.
    stops: Vec<String>,
}

impl<'a> Stubborn<'a> {
    fn start(relays: &'a Relays, targets: Vec<String>, arguments: &'a [&'a str]) -> Self {
        let bench = Bench::start(relays.of(&targets[0]), arguments);
        Self { relays, targets, arguments, bench, stops: Vec::new() }
    }

    /// Waits for more acknowledged writes.
    fn go_on(&mut self, what: &str) {
        let (before, mut patience) = (self.relays.ledger().acked, Patience::of(LIMIT));
        while self.relays.ledger().acked < before + MORE {
            let acked = self.relays.ledger().acked - before;
            assert!(
                patience.wait(),
                "{what}: {acked} in {LIMIT:?}, stopped by {:?}, not answered {:?}",
                self.stops,
                self.relays.owed()
            );
            if let Some((status, words)) = self.bench.ended() {
                assert!(status.code() == Some(1), "{status}, and not because of an error: {words}");
                words.split("; ").for_each(|words| expect_known("redis-benchmark", words));
                self.stops.push(words);
                self.targets.rotate_left(1);
                self.bench = Bench::start(self.relays.of(&self.targets[0]), self.arguments);
            }
        }
    }
}

/// Runs the tool through a failover; all acknowledged writes must be there afterwards.
fn survives(
    nodes: &mut Nodes,
    victim: usize,
    relays: &Relays,
    targets: Vec<String>,
    arguments: &[&str],
) -> Result<Vec<String>, Moved> {
    let mut tool = Stubborn::start(relays, targets, arguments);
    through_a_failover(nodes, |_| victim, |what| tool.go_on(what))?;
    let stops = std::mem::take(&mut tool.stops);
    drop(tool);
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    let ledger = relays.ledger();
    let (acked, moved, errors) = (ledger.acked, ledger.moved, &ledger.errors);
    eprintln!(
        "{arguments:?}: {acked} acknowledged, {moved} redirected, errors {errors:?}, stopped by {stops:?}"
    );
    ledger.audit(&mut client);
    Ok(stops)
}

#[test]
fn redis_benchmark_loses_nothing_when_the_leader_behind_its_node_is_killed() {
    if missing("redis-benchmark", "redis-tools") {
        return;
    }
    until_a_leader_is_killed(|| {
        let mut nodes = nodes_led(Leaders::OnOneNode, "bench-killed", 1, "proxy");
        let victim = busiest(&mut nodes);
        let survivors = targets_from(&mut nodes, victim).split_off(1);
        let relays = Relays::start(&survivors);
        survives(&mut nodes, victim, &relays, survivors, &[]).map(drop)
    });
}

#[test]
fn redis_benchmark_says_that_its_own_node_was_killed() {
    if missing("redis-benchmark", "redis-tools") {
        return;
    }
    until_a_leader_is_killed(|| {
        let mut nodes = nodes_led(Leaders::OnOneNode, "bench-own-node", 1, "proxy");
        let victim = busiest(&mut nodes);
        let targets = targets_from(&mut nodes, victim);
        let relays = Relays::start(&targets);
        let stops = survives(&mut nodes, victim, &relays, targets, &[])?;
        assert!(!stops.is_empty(), "its connections were cut");
        Ok(())
    });
}

fn cluster_loses_nothing(leaders: Leaders, name: &str, cores: u16, redirect: &str) {
    if missing("redis-benchmark", "redis-tools") || missing("redis-cli", "redis-tools") {
        return;
    }
    until_a_leader_is_killed(|| {
        let mut nodes = nodes_led(leaders, name, cores, redirect);
        let victim = busiest(&mut nodes);
        let targets = targets_from(&mut nodes, victim);
        let topology = Client::connect(&targets).expect("connects").topology().expect("told");
        let mut places = targets.clone();
        for node in topology.nodes.iter().filter(|node| node.has_core_ports()) {
            let place = |core| format!("{}:{}", node.host, node.port_of(CoreId::new(core)));
            places.extend((0..node.core_count).map(place));
        }
        let relays = Relays::start(&places);
        let stops = survives(&mut nodes, victim, &relays, targets, &["--cluster"])?;
        assert!(!stops.is_empty(), "the connections to a master were cut");
        Ok(())
    });
}

#[test]
fn redis_benchmark_cluster_loses_nothing_when_a_leader_is_killed() {
    // It calls a cluster of one master invalid, so there have to be several.
    cluster_loses_nothing(Leaders::OnSeveral, "bench-proxy-killed", 1, "proxy");
    cluster_loses_nothing(Leaders::OnSeveral, "bench-moved-killed", 2, "moved");
}

#[test]
fn redis_benchmark_cluster_loses_nothing_when_the_leader_of_all_is_killed() {
    // The two cores of one node are two masters.
    cluster_loses_nothing(Leaders::OnOneNode, "bench-moved-killed", 2, "moved");
}
