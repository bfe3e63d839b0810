//! Clusters of real processes: started, killed, frozen, restarted, and never left behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use synod::exit::Exit;
use synod::identity::{DirState, Identity, inspect};
use synod::node::RunError;
use synod::supervise::{Cluster, ClusterSpec, Maker, PortBlock, Ports};

/// No node takes this long on any machine; it bounds a test that fails.
const LIMIT: Duration = Duration::from_secs(60);

fn spec(nodes: u16) -> ClusterSpec {
    ClusterSpec {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_synod")),
        name: "processes".to_owned(),
        nodes,
        cores: 1,
        ports: Ports::Free,
        cpus: Vec::new(),
        settings: [("cluster.groups", "1"), ("node.segment_mib", "8"), ("node.reserve_mib", "0")]
            .map(|(key, value)| (key, value.to_owned()))
            .into(),
        fresh: false,
        echo: false,
        logs: true,
    }
}

fn identity(dir: &Path) -> Identity {
    match inspect(dir).unwrap() {
        DirState::Formatted(identity) => *identity,
        other => panic!("{other:?}"),
    }
}

/// Waits until no process has the data directory open.
fn wait_unlocked(dir: &Path) {
    let file = File::open(dir).unwrap();
    let (done, wait) = mpsc::channel();
    // The kernel wakes it when the last holder is gone; it is a thread, so that the test can give up.
    std::thread::spawn(move || done.send(file.lock().and_then(|()| file.unlock())));
    wait.recv_timeout(LIMIT).expect("still open").unwrap();
}

#[test]
fn nodes_are_started_killed_frozen_restarted_and_ended() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("cluster");
    let mut cluster = Cluster::start(&dir, Maker::Test, &spec(3)).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let identities: Vec<Identity> = (0..3).map(|index| identity(&cluster.data_dir(index))).collect();
    for (addr, held) in cluster.addresses().iter().zip(0..3) {
        assert!(TcpListener::bind(addr).is_err(), "node {held} listens");
    }

    let status = cluster.kill(1).unwrap();
    assert!(!status.success());
    assert_eq!(cluster.ended_how(1).unwrap(), "signal 9");
    assert!(cluster.ended(0).is_none() && cluster.ended(2).is_none());
    cluster.restart(1).unwrap();
    assert!(matches!(cluster.restart(1), Err(RunError::Failed(_))), "it runs");
    cluster.wait_node_ready(1, LIMIT).unwrap();

    cluster.stop(2).unwrap();
    cluster.cont(2).unwrap();
    assert!(cluster.terminate(0).unwrap().success(), "{}", cluster.tail(0));
    cluster.stop(2).unwrap();
    let (workdir, result) = cluster.shutdown();
    result.unwrap();
    let log = std::fs::read_to_string(dir.join("n2.log")).unwrap();
    assert_eq!(log.matches("synod serving n2").count(), 2, "{log}");
    drop(workdir);

    // The same directory again: the same nodes on other ports.
    let mut cluster = Cluster::start(&dir, Maker::Test, &spec(3)).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let again: Vec<Identity> = (0..3).map(|index| identity(&cluster.data_dir(index))).collect();
    assert_eq!(again, identities);
    let refused = Cluster::start(&dir, Maker::Test, &spec(3)).unwrap_err();
    assert!(refused.to_string().contains("is in use by another process"), "{refused}");
    let data = cluster.data_dir(0);
    drop(cluster);
    wait_unlocked(&data);

    let fewer = Cluster::start(&dir, Maker::Test, &spec(1)).unwrap_err().to_string();
    assert!(fewer.starts_with("--nodes lists the members n1, but"), "{fewer}");
}

#[test]
fn a_node_that_ends_before_it_serves_is_reported_with_its_last_words() {
    let base = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec(1)).unwrap();
    cluster.kill(0).unwrap();
    // Its configuration is invalidated, so that it cannot come back.
    std::fs::write(cluster.config_file(0), "[node]\ncoers = 1\n").unwrap();
    cluster.restart(0).unwrap();
    let failure = cluster.wait_node_ready(0, LIMIT).unwrap_err().to_string();
    assert!(failure.contains("node n1 ended before it served (exit code 10)"), "{failure}");
    assert!(failure.contains("did you mean \"node.cores\"?"), "{failure}");
}

/// Client ports for two nodes whose peer ports, 10000 above, and core ports, 20000 above, are free and reserved
/// too.
fn dev_ports() -> PortBlock {
    PortBlock::reserve_at(2, &[0, 10_000, 20_000]).unwrap()
}

/// Runs `synod dev` in `dir` and waits until its nodes serve.
fn dev(dir: &Path, block: &PortBlock) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_synod"))
        .args([
            "dev",
            "--nodes",
            "2",
            "--set",
            "cluster.groups=1",
            "--set",
            "node.reserve_mib=0",
            "--base-port",
            &block.base().to_string(),
        ])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let seen: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("synod dev: try")).collect();
    assert!(seen.iter().any(|line| line.starts_with("n2 | synod serving n2")), "{seen:?}");
    // The pipe must be read to its end, or the child would fail to write to it.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn signal(child: &Child, signal: Signal) {
    // The child is not reaped yet, so the pid still belongs to it.
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn dev_ends_in_good_order_on_ctrl_c_and_keeps_the_data() {
    let base = tempfile::tempdir().unwrap();
    let block = dev_ports();
    let first = base.path().join("synod-data/n1");
    let mut child = dev(base.path(), &block);
    let before = identity(&first);
    signal(&child, Signal::SIGINT);
    assert!(child.wait().unwrap().success());
    wait_unlocked(&first);

    let mut child = dev(base.path(), &block);
    assert_eq!(identity(&first), before);
    signal(&child, Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn nodes_die_with_a_killed_parent() {
    let base = tempfile::tempdir().unwrap();
    let block = dev_ports();
    let mut child = dev(base.path(), &block);
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    for node in ["n1", "n2"] {
        wait_unlocked(&base.path().join("synod-data").join(node));
    }
}

#[test]
fn bench_refuses_a_directory_that_is_not_its_own() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("thesis.tex"), "x").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_synod")).args(["bench", "--dir"]).arg(base.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(Exit::Usage.code().into()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("holds thesis.tex and was not made by synod bench"), "{said}");
    assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
}

#[test]
fn a_node_that_is_stopped_at_once_comes_back() {
    let base = tempfile::tempdir().unwrap();
    let spec = ClusterSpec { cores: 2, ..spec(1) };
    for _ in 0..3 {
        let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec).unwrap();
        cluster.wait_ready(LIMIT).unwrap();
        cluster.shutdown().1.unwrap();
    }
}

/// Runs `synod` with `args` and returns exit code, output and error output.
fn synod(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_synod")).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn keys_are_set_read_and_removed_from_the_command_line() {
    let base = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec(1)).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let target = cluster.addresses()[0].to_string();
    let ask = |args: &[&str]| synod(&[args, &["--target", &target, "--timeout", "60s"]].concat());
    let ok = |out: &str| (Some(0), out.to_owned(), String::new());
    let ends = |exit: Exit, why: &str| (Some(exit.code().into()), String::new(), format!("synod: {why}\n"));

    assert_eq!(ask(&["get", "k"]), ends(Exit::Absent, "there is no such key"));
    assert_eq!(ask(&["set", "k", "v"]), ok("OK\n"));
    assert_eq!(ask(&["get", "k"]), ok("v\n"));
    assert_eq!(ask(&["get", "k", "--consistency", "quorum"]), ok("v\n"));
    let unmet = ends(Exit::ConditionUnmet, "not set: the condition does not hold");
    assert_eq!(ask(&["set", "k", "w", "--nx"]), unmet);
    assert_eq!(ask(&["set", "none", "w", "--xx"]), unmet);
    assert_eq!(ask(&["set", "l", "w", "--ex", "1h"]), ok("OK\n"));
    assert_eq!(ask(&["set", "empty"]), ok("OK\n"), "standard input is empty");
    assert_eq!(ask(&["get", "empty"]), ok("\n"));
    assert_eq!(ask(&["del", "k", "l", "m"]), ok("2\n"));
    let (code, table, _) = ask(&["status"]);
    assert_eq!(code, Some(0));
    assert!(
        table.contains(&target) && table.lines().any(|line| line.starts_with("g1     n1       leads")),
        "{table}"
    );

    assert_eq!(ask(&["get", ""]).0, Some(1), "an empty key is no key");
    let (code, _, why) = synod(&["get", "k", "--target", "nowhere"]);
    assert_eq!(
        (code, why.as_str()),
        (Some(2), "synod: --target: 'nowhere' is not an address: host:port is wanted\n")
    );
    cluster.kill(0).unwrap();
    let (code, _, why) = synod(&["get", "k", "--target", &target, "--timeout", "200ms"]);
    assert_eq!(code, Some(Exit::NoServer.code().into()));
    assert!(why.starts_with(&format!("synod: no answer from {target}")), "{why}");
}

/// Asks `synod status` again and again until it says what is wanted.
fn status_until(args: &[&str], wanted: impl Fn(Option<i32>, &str) -> bool) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (code, said, why) = synod(args);
        if wanted(code, &said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{code:?} {said}{why}");
    }
}

#[test]
fn status_says_whether_a_cluster_is_healthy_and_who_is_refused_and_why() {
    let base = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec(3)).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let targets: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let target = targets.join(",");
    let check = ["status", "--check", "--target", &target, "--timeout", "1s"];
    let is_well = |code: Option<i32>, said: &str| code == Some(0) && !said.contains("answer:");
    assert_eq!(status_until(&check, is_well), "healthy: 1 groups are led, 3 of 3 members answer\n");

    // A node comes back with an empty disk: it is refused by both others, and named with the reason.
    cluster.kill(1).unwrap();
    let gone = status_until(&check, |code, said| code == Some(0) && said.contains("n2 does not answer"));
    assert!(gone.starts_with("healthy: 1 groups are led, 2 of 3 members answer"), "{gone}");
    std::fs::remove_dir_all(cluster.data_dir(1)).unwrap();
    let config = cluster.config_file(1).display().to_string();
    assert_eq!(synod(&["format", "--config", &config]).0, Some(0));
    cluster.restart(1).unwrap();
    cluster.wait_node_ready(1, LIMIT).unwrap();
    let table = ["status", "--target", &target, "--timeout", "1s"];
    let why = "the peer's node id is known with another incarnation (its disk was replaced or reset)";
    let named =
        status_until(&table, |_, said| said.contains("n2 is refused by n1") && said.contains("by n3"));
    for by in ["n1", "n3"] {
        assert!(named.contains(&format!("\nn2 is refused by {by}: {why}\n")), "{named}");
    }
    let (code, json, _) = synod(&["status", "--json", "--target", &target, "--timeout", "1s"]);
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 3);
    let refused = json["refused"].as_array().unwrap();
    assert!(refused.iter().any(|one| one["node"] == 2 && one["by"] == 1 && one["why"] == why), "{json}");

    // One of three is no quorum.
    cluster.kill(2).unwrap();
    let first = ["status", "--check", "--target", &targets[0], "--timeout", "1s"];
    status_until(&first, |code, _| code == Some(Exit::Unhealthy.code().into()));
    let (_, said, why) = synod(&first);
    assert!(said.is_empty() && why.starts_with("synod: not healthy: "), "{said}{why}");
    assert!(
        why.contains("n1 leads and is not heard by") || why.contains("no node leads and serves"),
        "{why}"
    );
    assert!(why.contains("n2 is refused by n1"), "{why}");
}

#[test]
fn without_a_quorum_a_request_is_not_executed() {
    let base = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec(3)).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let leaders = cluster.wait_led(LIMIT, || false).unwrap();
    let leader = leaders.iter().position(|groups| *groups > 0).unwrap();
    let target = cluster.addresses()[leader].to_string();
    (0..3).filter(|index| *index != leader).for_each(|index| cluster.stop(index).unwrap());
    // A node answers "no leader" after its patience, 4 seconds.
    let (code, _, why) =
        synod(&["get", "k", "--consistency", "quorum", "--target", &target, "--timeout", "6s"]);
    assert_eq!(code, Some(Exit::NotReady.code().into()), "{why}");
    assert!(why.starts_with("synod: not executed: "), "{why}");
    // A write ends in its session's opening, before the node's patience is over: a server was reached all the same.
    let (code, _, why) = synod(&["set", "k", "v", "--target", &target, "--timeout", "2s"]);
    assert_eq!(code, Some(Exit::NotReady.code().into()), "{why}");
    assert!(why.starts_with("synod: not executed: NoLeader"), "{why}");
    // Frozen nodes do not end by themselves.
    (0..3).filter(|index| *index != leader).for_each(|index| cluster.cont(index).unwrap());
}

#[test]
fn a_client_without_the_password_is_turned_away() {
    let base = tempfile::tempdir().unwrap();
    let mut spec = spec(1);
    spec.settings.insert("security.password", "Rosebud".to_owned());
    let mut cluster = Cluster::start(&base.path().join("cluster"), Maker::Test, &spec).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let target = cluster.addresses()[0].to_string();
    let (code, _, why) = synod(&["get", "k", "--target", &target, "--timeout", "60s"]);
    assert_eq!(code, Some(Exit::NotAdmitted.code().into()), "{why}");
    assert!(why.contains("SYNOD_PASSWORD") && !why.contains("Rosebud"), "{why}");
}

#[test]
fn a_bench_reports_and_cleans_up() {
    let base = tempfile::tempdir().unwrap();
    let (dir, json) = (base.path().join("bench"), base.path().join("report.json"));
    let load = "--nodes 1 --cores 1 --rate 200 --duration 500ms --warmup 0s --keys 50 --value-size 64 --connections 2 \
                --set cluster.groups=1 --set node.segment_mib=8 --set node.reserve_mib=0";
    let mut args = vec!["bench", "--dir", dir.to_str().unwrap(), "--json", json.to_str().unwrap()];
    args.extend(load.split_whitespace());
    let (code, table, why) = synod(&args);
    assert_eq!(code, Some(0), "{table}{why}");
    assert!(
        table.starts_with("synod bench: 1 nodes x 1 cores") && table.contains("audit   passed"),
        "{table}"
    );
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["audit"]["missing"], 0);
    assert!(!dir.exists(), "its own directory is gone");

    let again = |args: &[&str]| {
        let (code, table, why) = synod(args);
        assert_eq!(code, Some(0), "{table}{why}");
    };
    args.push("--keep");
    again(&args);
    assert!(dir.join("n1/synod.id").exists(), "kept");
    // Kept data belongs to a bench, so the next bench may replace it.
    args.pop();
    again(&args);
    assert!(!dir.exists());
}

/// Starts one node, kills it with a write in its log, starts it again and stops it. Returns what it wrote
/// after the kill.
fn log_after_a_kill(format: &str) -> Vec<String> {
    let base = tempfile::tempdir().unwrap();
    let mut spec = spec(1);
    spec.settings.insert("log.format", format.to_owned());
    let dir = base.path().join("cluster");
    let mut cluster = Cluster::start(&dir, Maker::Test, &spec).unwrap();
    cluster.wait_ready(LIMIT).unwrap();
    let target = cluster.addresses()[0].to_string();
    let (code, _, why) = synod(&["set", "k", "v", "--target", &target, "--timeout", "60s"]);
    assert_eq!(code, Some(0), "{why}");
    cluster.kill(0).unwrap();
    let file = dir.join("n1.log");
    let before = std::fs::read_to_string(&file).unwrap().lines().count();
    cluster.restart(0).unwrap();
    cluster.wait_node_ready(0, LIMIT).unwrap();
    // It is elected only after it serves.
    let (code, _, why) = synod(&["get", "k", "--target", &target, "--timeout", "60s"]);
    assert_eq!(code, Some(0), "{why}");
    assert!(cluster.terminate(0).unwrap().success(), "{}", cluster.tail(0));
    let (_workdir, result) = cluster.shutdown();
    result.unwrap();
    let log = std::fs::read_to_string(file).unwrap();
    log.lines().skip(before).filter(|line| !line.starts_with("synod serving")).map(str::to_owned).collect()
}

#[test]
fn a_start_says_what_was_replayed_and_a_stop_which_signal_came() {
    let lines = log_after_a_kill("text");
    let find = |what: &str| {
        let found = lines.iter().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no line says {what}: {lines:#?}"))
    };
    for line in &lines {
        let (time, rest) = line.split_at(24);
        assert!(time.starts_with("20") && time.ends_with('Z') && rest[7..].starts_with("n1"), "{line}");
    }
    assert!(find(" starts on ").contains("(start 2 of this node)"), "{lines:#?}");
    assert!(find("opens its log").contains("INFO  n1 core 0: "), "{lines:#?}");
    let replayed = find("replayed ");
    assert!(!replayed.contains("replayed 0 records"), "{replayed}");
    find("INFO  n1 core 0 group 1: elected leader in round ");
    find(": serves, ");
    find("stops: SIGTERM");
    find("has written its log");
    assert!(lines.last().unwrap().contains("has stopped, in "), "{lines:#?}");
}

#[test]
fn the_same_in_json_is_an_object_per_line() {
    let lines = log_after_a_kill("json");
    let parse = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let objects: Vec<serde_json::Value> = lines.iter().map(parse).collect();
    let find = |name: &str| {
        let found = objects.iter().find(|object| object["event"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {lines:#?}"))
    };
    for object in &objects {
        assert_eq!(object["node"], 1, "{object}");
        assert!(object["time"].is_string() && object["level"].is_string() && object["message"].is_string());
    }
    let replayed = find("log_replayed");
    assert_eq!(replayed["core"], 0);
    assert!(replayed["records"].as_u64() > Some(0) && replayed["took_ms"].is_u64(), "{replayed}");
    let is_won = |object: &&serde_json::Value| object["event"] == "election_won" && object["group"] == 1;
    let won = objects.iter().find(is_won).unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(won["ballot"].is_string() && won["slot"].is_u64(), "{won}");
    assert_eq!(find("node_stopping")["cause"], "SIGTERM");
    assert_eq!(find("log_closed")["clean"], true);
    assert_eq!(objects.last().unwrap()["event"], "node_stopped");
}

#[test]
fn a_level_or_a_format_that_does_not_exist_is_refused_with_what_would_be_right() {
    for (flag, value, why) in [
        (
            "--log-level",
            "loud",
            "--log-level: 'loud' is no level of the log; use error, warn, info, debug or trace",
        ),
        ("--log-level", "pier=info", "--log-level: 'pier' is no module of the log; use client, clock"),
        (
            "--log-format",
            "xml",
            "--log-format: 'xml' is no log format; use text, which is one line for people",
        ),
    ] {
        let (code, out, said) = synod(&["serve", flag, value]);
        assert_eq!((code, out.as_str()), (Some(10), ""), "{said}");
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
}
