//! redis-cli and redis-benchmark in the modes that need more than a command and its reply.

use crate::cluster::Nodes;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Keys written with `--pipe`.
const PIPED: usize = 1000;

fn missing(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("NOT CHECKED: {tool} is not installed here (package redis-tools)");
    }
    !found
}

fn port(target: &str) -> &str {
    target.rsplit(':').next().expect("host:port")
}

fn cli(target: &str) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", port(target)]).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Waits until every group has a leader; whether more than one master leads any.
fn is_spread(target: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let info = output(cli(target).args(["cluster", "info"]));
        if info.contains("cluster_state:ok") {
            return !info.lines().any(|line| line.trim() == "cluster_size:1");
        }
        assert!(Instant::now() < until, "some group has no leader: {info}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn redis_cli_pipe_stat_and_latency() {
    if missing("redis-cli") {
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
    if missing("redis-cli") {
        return;
    }
    let mut nodes = Nodes::with("cli-cluster", 2, &[("node.redirect", "moved")]);
    let targets = nodes.targets();
    is_spread(&targets[0]);
    let mut moved = 0;
    for number in 0..30 {
        let (key, value) = (format!("key:{number}"), format!("value:{number}"));
        assert_eq!(output(cli(&targets[0]).args(["-c", "set", &key, &value])).trim(), "OK");
        assert_eq!(output(cli(&targets[1]).args(["-c", "get", &key])).trim(), value);
        let plain = output(cli(&targets[2]).args(["get", &key]));
        assert!(plain.starts_with("MOVED ") || plain.trim() == value, "{plain}");
        moved += usize::from(plain.starts_with("MOVED "));
    }
    // Six cores share the keys, and the one that was asked serves only its own.
    assert!(moved > 0, "nothing moved");
    let check = output(Command::new("redis-cli").args(["--cluster", "check", &targets[0]]));
    for part in ["[OK] All nodes agree about slots configuration", "[OK] All 16384 slots covered"] {
        assert!(check.contains(part), "{part}: {check}");
    }
}

#[test]
fn redis_benchmark_cluster() {
    if missing("redis-benchmark") || missing("redis-cli") {
        return;
    }
    for (name, cores, redirect) in [("bench-proxy", 1, "proxy"), ("bench-moved", 2, "moved")] {
        let mut nodes = Nodes::with(name, cores, &[("node.redirect", redirect)]);
        let target = nodes.targets().remove(0);
        if !is_spread(&target) {
            // It calls a cluster of one master invalid.
            eprintln!("NOT CHECKED: redis-benchmark --cluster: all groups happen to be led by one node");
            return;
        }
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
