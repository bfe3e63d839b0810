//! redis-cli in the modes that need more than a command and its reply.

use crate::cluster::Nodes;
use crate::leaders::{Leaders, nodes_led};
use crate::relay::Relays;
use crate::run::{
    Moved, Patience, Script, busiest, expect_known, survive_a_killed_leader, targets, targets_from,
    through_a_failover, until_a_leader_is_killed, value_of,
};
use crate::tools::{cli, missing, output, wait_led_at};
use crate::worker::{Store, Turns, work};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_net::client::Client;

/// Keys written with `--pipe`.
const PIPED: usize = 1000;
/// Keys that `--scan` and `--bigkeys` must find.
const FOUND: usize = 400;
/// How long a mode may take to go on or to end.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn redis_cli_pipe_stat_and_latency() {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    let mut nodes = Nodes::start("cli-modes");
    let target = nodes.targets().remove(1);
    let mut pipe =
        cli(&target).arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    let mut stdin = pipe.stdin.take().expect("piped");
    for number in 0..PIPED {
        write!(stdin, "SET piped:{number} {number}\r\n").expect("sent");
    }
    drop(stdin);
    let mut text = String::new();
    pipe.stdout.take().expect("piped").read_to_string(&mut text).expect("read");
    assert!(pipe.wait().expect("ends").success(), "{text}");
    assert!(text.contains(&format!("errors: 0, replies: {PIPED}")), "{text}");
    assert_eq!(output(cli(&target).args(["get", "piped:999"])).trim(), "999");

    let latency = output(cli(&target).args(["--latency", "--raw", "-i", "1"]));
    let figures: Vec<f64> = latency.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    assert!(figures.len() == 4 && figures[3] > 10.0, "min, max, average, samples: {latency}");

    let mut stat = cli(&target).args(["--stat", "-i", "0.05"]).stdout(Stdio::piped()).spawn().expect("runs");
    let lines = BufReader::new(stat.stdout.take().expect("piped")).lines();
    let lines: Vec<String> = lines.map_while(Result::ok).take(6).collect();
    let _ = stat.kill();
    let _ = stat.wait();
    let keys = |line: &String| line.split_whitespace().next().and_then(|word| word.parse::<usize>().ok());
    assert!(lines.iter().filter_map(keys).any(|count| count == PIPED), "{lines:?}");
}

#[test]
fn redis_cli_follows_moved_and_finds_the_cluster_in_order() {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    let mut nodes = Nodes::with("cli-cluster", 2, &[("node.redirect", "moved")]);
    let targets = nodes.targets();
    wait_led_at(&targets[0]);
    let mut moved = 0;
    for number in 0..30 {
        let (key, value) = (format!("key:{number}"), format!("value:{number}"));
        assert_eq!(output(cli(&targets[0]).args(["-c", "set", &key, &value])).trim(), "OK");
        assert_eq!(output(cli(&targets[1]).args(["-c", "get", &key])).trim(), value);
        let plain = output(cli(&targets[2]).args(["get", &key]));
        assert!(plain.starts_with("MOVED ") || plain.trim() == value, "{plain}");
        moved += usize::from(plain.starts_with("MOVED "));
    }
    // A key with further operands, and a command that derives the new value, are redirected in the same way.
    for words in [&["set", "key:1", "value:1", "ifeq", "value:1"][..], &["append", "key:1", ""]] {
        let said: Vec<String> = targets.iter().map(|target| output(cli(target).args(words))).collect();
        assert!(said.iter().any(|text| text.starts_with("MOVED ")), "{words:?}: {said:?}");
        assert!(!said.iter().any(|text| text.contains("ERR")), "{words:?}: {said:?}");
        let followed = output(cli(&targets[0]).arg("-c").args(words));
        assert!(!followed.contains("MOVED"), "{words:?}: {followed}");
    }
    // Every node lists the keys of a slot, also if another node leads it.
    let slot = output(cli(&targets[0]).args(["cluster", "keyslot", "{tag}"]));
    for number in 0..5 {
        output(cli(&targets[0]).args(["-c", "set", &format!("{{tag}}{number}"), "x"]));
    }
    for target in &targets {
        assert_eq!(output(cli(target).args(["cluster", "countkeysinslot", slot.trim()])).trim(), "5");
        let named = output(cli(target).args(["cluster", "getkeysinslot", slot.trim(), "100"]));
        let mut named: Vec<&str> = named.split_whitespace().collect();
        named.sort_unstable();
        assert_eq!(named, ["{tag}0", "{tag}1", "{tag}2", "{tag}3", "{tag}4"]);
        let two = output(cli(target).args(["cluster", "getkeysinslot", slot.trim(), "2"]));
        assert_eq!(two.split_whitespace().count(), 2, "{two}");
    }
    // Six cores share the keys, and the core that was asked serves only its own.
    assert!(moved > 0, "nothing moved");
    let check = output(Command::new("redis-cli").args(["--cluster", "check", &targets[0]]));
    for part in ["[OK] All nodes agree about slots configuration", "[OK] All 16384 slots covered"] {
        assert!(check.contains(part), "{part}: {check}");
    }
}

/// Some keys with values of many lengths, one of them by far the longest.
fn fill(nodes: &mut Nodes) -> (BTreeSet<String>, usize) {
    nodes.wait_led();
    let mut client = Client::connect(&nodes.targets()).expect("connects");
    let mut bytes = 0;
    let mut set = |key: String, len: usize| {
        client.set(key.as_bytes(), &vec![b'v'; len]).expect("written");
        bytes += len;
        key
    };
    let mut keys: BTreeSet<String> =
        (0..FOUND).map(|number| set(format!("user:{number}"), number % 97)).collect();
    keys.insert(set("blob:of all".to_owned(), 70_001));
    (keys, bytes)
}

#[test]
fn redis_cli_scan_and_bigkeys_see_every_key_and_its_size() {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    let mut nodes = Nodes::start("cli-keys");
    let (keys, bytes) = fill(&mut nodes);
    let targets = targets(&mut nodes);
    let scan = |target: &str, pattern: &str| {
        let text = output(cli(target).args(["--scan", "--pattern", pattern]));
        let named: Vec<String> = text.lines().map(|line| line.trim_matches('"').to_owned()).collect();
        let found: BTreeSet<String> = named.iter().cloned().collect();
        (named.len(), found)
    };
    for target in &targets {
        assert_eq!(scan(target, "*"), (keys.len(), keys.clone()), "each once while leaders stay");
        let some: BTreeSet<String> = keys.iter().filter(|key| key.starts_with("user:1")).cloned().collect();
        assert_eq!(scan(target, "user:1*"), (some.len(), some));
        let text = output(cli(target).arg("--bigkeys"));
        let key_bytes: usize = keys.iter().map(String::len).sum();
        let mean = |total: usize| format!("{:.2}", total as f64 / keys.len() as f64);
        for part in [
            format!("Sampled {} keys in the keyspace!", keys.len()),
            format!("Total key length in bytes is {key_bytes} (avg len {})", mean(key_bytes)),
            "Biggest string found '\"blob:of all\"' has 70001 bytes".to_owned(),
            format!("{} strings with {bytes} bytes (100.00% of keys, avg size {})", keys.len(), mean(bytes)),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
    }
    // While a leader is replaced, a scan reports an error; a scan that succeeds has seen every key.
    let victim = busiest(&mut nodes);
    let survivor = targets_from(&mut nodes, victim).remove(1);
    nodes.get().kill(victim).expect("killed");
    let mut patience = Patience::of(LIMIT);
    for arguments in [&["--scan"][..], &["--bigkeys"]] {
        loop {
            let told = cli(&survivor).args(arguments).output().expect("runs");
            let text = String::from_utf8_lossy(&told.stdout).into_owned();
            let complaint = String::from_utf8_lossy(&told.stderr).into_owned();
            if told.status.success() {
                let found: BTreeSet<&str> = text.lines().map(|line| line.trim_matches('"')).collect();
                let whole =
                    arguments[0] == "--bigkeys" || keys.iter().all(|key| found.contains(key.as_str()));
                assert!(whole, "{} of {} keys: {text}{complaint}", found.len(), keys.len());
                let big = arguments[0] == "--scan" || text.contains("'\"blob:of all\"' has 70001 bytes");
                assert!(big, "{text}{complaint}");
                break;
            }
            expect_known("redis-cli", &format!("{text}{complaint}"));
            assert!(patience.wait(), "{arguments:?} does not come through: {text}{complaint}");
        }
    }
}

/// `redis-cli --stat` and the lines it has written. Into a pipe it writes them in batches.
struct Stat {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Stat {
    fn start(target: &str) -> Self {
        let mut command = cli(target);
        command.args(["--stat", "-i", "0.05"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("runs");
        let from = BufReader::new(child.stdout.take().expect("piped")).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in from.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for more lines than can have been buffered, and returns them.
    fn wait_more(&self, what: &str) -> Vec<String> {
        let (before, mut patience) = (self.lines().len(), Patience::of(LIMIT));
        loop {
            let lines = self.lines();
            if lines.len() >= before + 120 {
                return lines[before..].to_vec();
            }
            assert!(patience.wait(), "{what}: nothing more after {before} lines, {:?}", lines.last());
        }
    }
}

impl Drop for Stat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn redis_cli_stat_and_latency_go_on_while_a_leader_is_replaced() {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    until_a_leader_is_killed(stat_and_latency_go_on);
}

fn stat_and_latency_go_on() -> Result<(), Moved> {
    let mut nodes = nodes_led(Leaders::OnOneNode, "cli-watch", 1, "proxy");
    let (keys, _) = fill(&mut nodes);
    let victim = busiest(&mut nodes);
    let targets = targets_from(&mut nodes, victim);
    let (of_victim, of_survivor) = (Stat::start(&targets[0]), Stat::start(&targets[1]));
    let keys_of = |line: &String| line.split_whitespace().next().and_then(|word| word.parse::<usize>().ok());
    through_a_failover(
        &mut nodes,
        |_| victim,
        |what| {
            let lines = of_survivor.wait_more(what);
            assert!(lines.iter().filter_map(keys_of).any(|count| count == keys.len()), "{what}: {lines:?}");
            let latency = output(cli(&targets[1]).args(["--latency", "--raw", "-i", "1"]));
            let figures: Vec<f64> =
                latency.split_whitespace().map(|word| word.parse().expect("a number")).collect();
            assert!(figures.len() == 4 && figures[3] > 10.0, "{what}: min, max, average, samples: {latency}");
        },
    )?;
    // The tool whose own node died connects again once the node is back.
    let lines = of_victim.wait_more("at the node that was killed");
    assert!(lines.iter().filter_map(keys_of).any(|count| count == keys.len()), "{lines:?}");
    for line in of_victim.lines().iter().filter(|line| keys_of(line).is_none()) {
        let is_head = line.contains("----- data ------") || line.starts_with("keys ");
        assert!(is_head || line.contains("Reconnecting"), "{line:?}");
    }
    Ok(())
}

#[test]
fn redis_cli_pipe_counts_its_errors_and_loses_nothing_when_a_leader_is_killed() {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    until_a_leader_is_killed(pipe_loses_nothing);
}

fn pipe_loses_nothing() -> Result<(), Moved> {
    let mut nodes = nodes_led(Leaders::OnOneNode, "cli-pipe-killed", 1, "proxy");
    let victim = busiest(&mut nodes);
    let survivor = targets_from(&mut nodes, victim).remove(1);
    let relays = Relays::start(std::slice::from_ref(&survivor));
    let mut pipe = cli(relays.of(&survivor))
        .arg("--pipe")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let (mut stdin, stopped) = (pipe.stdin.take().expect("piped"), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stopped);
    let feeder = std::thread::spawn(move || {
        let mut sent = 0_u64;
        while !told.load(Ordering::Relaxed) {
            for _ in 0..10 {
                sent += 1;
                write!(stdin, "SET piped:{sent} {}\r\n", value_of(sent)).expect("it reads");
            }
            std::thread::sleep(Duration::from_millis(4)); // so that the ledger stays small enough to audit
        }
        sent
    });
    let outcome = through_a_failover(
        &mut nodes,
        |_| victim,
        |what| {
            let (before, mut patience) = (relays.ledger().acked, Patience::of(LIMIT));
            while relays.ledger().acked < before + 1000 {
                assert!(patience.wait(), "{what}: {} acknowledged", relays.ledger().acked);
                assert!(pipe.try_wait().expect("it is ours").is_none(), "{what}: its connection was not cut");
                std::thread::sleep(Duration::from_millis(20));
            }
        },
    );
    stopped.store(true, Ordering::Relaxed);
    let sent = feeder.join().expect("all was taken");
    let output = pipe.wait_with_output().expect("ends");
    let (text, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ledger = relays.ledger();
    let errors: u64 = ledger.errors.values().sum();
    eprintln!("--pipe: {sent} sent, {} acknowledged, errors {:?}", ledger.acked, ledger.errors);
    assert!(text.contains(&format!("errors: {errors}, replies: {sent}")), "{text}{complaints}");
    assert_eq!(output.status.success(), errors == 0, "{text}{complaints}");
    assert_eq!(ledger.acked as u64 + errors, sent, "each command was answered");
    complaints
        .lines()
        .filter(|line| !line.is_empty())
        .for_each(|line| expect_known("redis-cli --pipe", line));
    ledger.audit(&mut Client::connect(&nodes.targets()).expect("connects"));
    outcome
}

/// One process per command, asking one node at a time.
struct OneShot {
    turns: Turns,
    follow: bool,
}

impl OneShot {
    fn ask(&mut self, words: &[&str]) -> Result<String, String> {
        let mut command = cli(self.turns.now());
        // -e: an error reply also sets the exit status.
        let output = command.arg("-e").args(self.follow.then_some("-c")).args(words).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(text);
        }
        self.turns.pass();
        Err(format!("{text} {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Store for OneShot {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match self.ask(&["set", key, value])? {
            text if text == "OK" => Ok(()),
            text => Err(text),
        }
    }
    fn get(&mut self, key: &str) -> Result<Option<String>, String> {
        let text = self.ask(&["get", key])?;
        Ok((!text.is_empty()).then_some(text))
    }
}

fn one_shot(name: &str, targets: &[String], follow: bool) -> Script {
    let (store, prefix) = (OneShot { turns: Turns::new(targets.to_vec()), follow }, name.to_owned());
    Script::spawn(name, move |stopped, account| work(&prefix, store, stopped, account))
}

fn nodes_forward(leaders: Leaders) {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    let mut nodes = nodes_led(leaders, "cli-proxy", 1, "proxy");
    let targets = targets(&mut nodes);
    let scripts = vec![one_shot("plain", &targets, false), one_shot("cluster", &targets, true)];
    survive_a_killed_leader(&mut nodes, scripts);
}

fn every_core_says_moved(leaders: Leaders) {
    if missing("redis-cli", "redis-tools") {
        return;
    }
    let mut nodes = nodes_led(leaders, "cli-moved", 2, "moved");
    let targets = targets(&mut nodes);
    survive_a_killed_leader(&mut nodes, vec![one_shot("cluster", &targets, true)]);
}

#[test]
fn redis_cli_plain_and_cluster_lose_nothing_where_nodes_forward() {
    nodes_forward(Leaders::Elected);
}

#[test]
fn redis_cli_plain_and_cluster_lose_nothing_where_nodes_forward_and_one_leads_all() {
    nodes_forward(Leaders::OnOneNode);
}

#[test]
fn redis_cli_cluster_loses_nothing_where_every_core_says_moved() {
    every_core_says_moved(Leaders::Elected);
}

#[test]
fn redis_cli_cluster_loses_nothing_where_every_core_says_moved_and_one_leads_all() {
    every_core_says_moved(Leaders::OnOneNode);
}
