//! The usual Redis tools, against any node. If they are not installed, the test's last line says so.

use crate::cluster::Nodes;
use crate::http::metric;
use std::io::Write;
use std::process::{Command, Stdio};

fn missing(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        synod_tests::not_checked(&format!("{tool} is not installed here (package redis-tools)"));
    }
    !found
}

fn port(target: &str) -> &str {
    target.rsplit(':').next().expect("host:port")
}

fn cli(target: &str, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", port(target)]).args(words).output().expect("runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn redis_cli_one_shot_and_interactive_at_any_node() {
    if missing("redis-cli") {
        return;
    }
    let mut nodes = Nodes::start("cli");
    nodes.wait_led();
    let targets = nodes.targets();
    for (index, target) in targets.iter().enumerate() {
        for number in 0..20 {
            let (key, value) = (format!("key:{index}:{number}"), format!("value-{number}"));
            assert_eq!(cli(target, &["set", &key, &value]), "OK");
            // Every other node finds it.
            assert_eq!(cli(&targets[(index + 1) % 3], &["get", &key]), value);
        }
        assert_eq!(cli(target, &["incr", "counter"]), format!("{}", index + 1));
    }
    assert_eq!(cli(&targets[0], &["set", "counter", "x", "nx"]), "");
    assert_eq!(cli(&targets[0], &["del", "counter", "key:0:0", "nothing"]), "2");
    assert_eq!(cli(&targets[1], &["-3", "ping"]), "PONG");
    let mut shell = Command::new("redis-cli")
        .args(["-p", port(&targets[2])])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    shell
        .stdin
        .take()
        .expect("piped")
        .write_all(
            b"ping\nset a 1 ex 100\nget a\nttl a\nhello 3\ncommand count\ninfo server\nconfig get save\ndbsize\n\
              quit\n",
        )
        .expect("sent");
    let output = shell.wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("PONG\nOK\n1\n"), "{text}");
    assert!(!text.contains("ERR"), "{text}");
}

#[test]
fn redis_benchmark_at_any_node() {
    if missing("redis-benchmark") {
        return;
    }
    for attempt in 1.. {
        // Leaders move to their places meanwhile, and clients must not notice.
        let mut nodes = Nodes::start("redis-benchmark");
        nodes.wait_led();
        let texts: Vec<_> = nodes.targets().iter().map(|target| benchmark(target)).collect();
        let lost = metric(&mut nodes, "synod_leaderships_lost_total");
        let failed = texts.iter().find_map(|text| text.as_ref().err());
        match failed {
            None => break,
            // The tool breaks off at the first error; if the machine stood still for a lease, there may be
            // one.
            Some(text) if lost > 0.0 && attempt < 4 => {
                eprintln!("{lost} leaderships were lost: once more; {text}")
            }
            Some(text) => panic!("{lost} leaderships were lost; {text}"),
        }
    }
}

/// Runs the tool against one node.
fn benchmark(target: &str) -> Result<(), String> {
    let output = Command::new("redis-benchmark")
        .args(["-p", port(target), "-t", "ping_inline,ping_mbulk,set,get,incr"])
        .args(["-d", "4096", "-c", "64", "-P", "16", "-n", "4000", "-r", "1000", "-q"])
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
    let text = text + &String::from_utf8_lossy(&output.stderr);
    let is_whole = |test: &&str| text.contains(&format!("{test}: "));
    let all = ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"].iter().all(is_whole);
    let good = output.status.success() && all && !text.to_lowercase().contains("error");
    if good { Ok(()) } else { Err(text) }
}
