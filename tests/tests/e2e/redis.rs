//! The Redis tools people have, against any node. Where they are not installed, the test's last line says so.

use crate::cluster::Nodes;
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
    let targets = nodes.targets();
    for (index, target) in targets.iter().enumerate() {
        for number in 0..20 {
            let (key, value) = (format!("key:{index}:{number}"), format!("value-{number}"));
            assert_eq!(cli(target, &["set", &key, &value]), "OK");
            // Any other node finds it.
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
        .write_all(b"ping\nset a 1 ex 100\nget a\nttl a\nhello 3\ncommand count\ninfo server\nconfig get save\ndbsize\nquit\n")
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
    // It breaks off at the first error, and a machine this busy may lose a lease while a leader is moving.
    let mut nodes = Nodes::with("redis-benchmark", 1, &[("node.leadership", "stay")]);
    nodes.wait_led();
    for target in nodes.targets() {
        let output = Command::new("redis-benchmark")
            .args(["-p", port(&target), "-t", "ping_inline,ping_mbulk,set,get,incr"])
            .args(["-d", "4096", "-c", "64", "-P", "16", "-n", "4000", "-r", "1000", "-q"])
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "\n");
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"] {
            assert!(text.contains(&format!("{test}: ")), "{test} did not finish: {text}");
        }
        assert!(!text.to_lowercase().contains("error"), "{text}");
    }
}
