//! Access control on real nodes: passwords on every protocol, two passwords while one is replaced, and
//! clients on another machine.

use crate::cluster::{Nodes, binary};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;
use synod_loadgen::{Options, Protocol};
use synod_net::access::Secret;

/// A node's answer to `bytes`, up to the text `until` or to the end of the connection.
fn said(target: &str, bytes: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(target).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(bytes.as_bytes()).expect("sent");
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(until) {
        let count = stream.read(&mut piece).expect("an answer");
        if count == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    text
}

fn synod(words: &[&str], target: &str, password: Option<&str>) -> Output {
    let mut command = Command::new(binary());
    command.args(words).args(["--target", target]).env_remove("SYNOD_PASSWORD");
    if let Some(password) = password {
        command.env("SYNOD_PASSWORD", password);
    }
    command.output().expect("the binary runs")
}

#[test]
fn every_face_of_every_node_wants_the_password_and_takes_the_old_one_too() {
    let (new, old) = ("Rosebud-0451", "Xanadu-1941");
    let settings = [("security.password", new), ("security.password_old", old)];
    let mut nodes = Nodes::with("passwords", 1, &settings);
    let targets = nodes.targets();
    for target in &targets {
        let noauth = "-NOAUTH Authentication required.\r\n";
        assert_eq!(said(target, "SET k v\r\n", "\r\n"), noauth);
        assert_eq!(said(target, "AUTH wrong\r\nGET k\r\n", noauth).matches("-WRONGPASS").count(), 1);
        let get = "GET /v1/kv/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        assert!(said(target, &format!("{get}\r\n"), "\u{0}").starts_with("HTTP/1.1 401 "));
        let bearer = said(target, &format!("{get}Authorization: Bearer wrong\r\n\r\n"), "\u{0}");
        assert!(bearer.starts_with("HTTP/1.1 401 "), "{bearer}");
        let probe = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert!(said(target, probe, "\u{0}").starts_with("HTTP/1.1 200 "));
        for (given, hint) in
            [(None, "give it in the variable SYNOD_PASSWORD"), (Some("wrong"), "another password")]
        {
            let refused = synod(&["get", "k"], target, given);
            let text = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && text.contains(hint), "{text}");
        }
    }
    for (number, (target, password)) in targets.iter().zip([new, old, new]).enumerate() {
        let key = format!("k{number}");
        let set = synod(&["set", &key, "v"], target, Some(password));
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        assert_eq!(said(target, &format!("AUTH {password}\r\nGET {key}\r\n"), "v\r\n"), "+OK\r\n$1\r\nv\r\n");
        let get = format!("GET /v1/kv/{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let got = said(target, &format!("{get}Authorization: Bearer {password}\r\n\r\n"), "\u{0}");
        assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("\r\n\r\nv"), "{got}");
    }
    load_wants_it_too(&targets, new);
    // No log of a node shows a password.
    let mut logs = 0;
    for entry in std::fs::read_dir(nodes.dir()).expect("the directory can be listed").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(entry.path()).expect("a log");
            assert!(log.contains("synod serving") && !log.contains(new) && !log.contains(old), "{log}");
            logs += 1;
        }
    }
    assert_eq!(logs, targets.len(), "every node's log was looked at");
}

/// The load generator gives the password on all of its connections, over both protocols, and ends at once if
/// it is refused.
fn load_wants_it_too(targets: &[String], password: &str) {
    for protocol in [Protocol::Binary, Protocol::Resp] {
        let with = |given: Option<&str>| Options {
            target: targets.to_vec(),
            protocol,
            password: given.map(|given| Secret::new(given.as_bytes().to_vec())),
            rate: Some(200),
            duration: Duration::from_millis(500),
            warmup: Duration::ZERO,
            connections: 6,
            value_size: 100.into(),
            read_share: Some(0.5),
            keys: 50,
            key_prefix: format!("{protocol:?}:"),
            ..Options::default()
        };
        let report = synod_loadgen::run(&with(Some(password)), &mut |_| {}).expect("it is let in");
        assert!(report.passed(), "{protocol:?}: {:?} {:?}", report.findings, report.error_kinds);
        for (given, why) in [(None, "wants a password"), (Some("wrong"), "refuses the password")] {
            let error = synod_loadgen::run(&with(given), &mut |_| {}).expect_err("it is not let in");
            let said = error.to_string();
            assert!(said.contains(why) && said.contains("SYNOD_PASSWORD"), "{said}");
        }
    }
    let target = targets.join(",");
    let arguments = ["bench", "--duration=200ms", "--warmup=0", "--rate=100", "--keys=20"];
    let loaded = synod(&arguments, &target, Some(password));
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let refused = synod(&arguments, &target, None);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("set SYNOD_PASSWORD"), "{said}");
}

/// A script for a network namespace of its own, in which the node's machine has an address besides loopback.
const ELSEWHERE: &str = r#"
set -e
ip link set lo up
ip address add 10.77.0.1/32 dev lo
"$SYNOD" serve --data-dir "$DIR/n1" --listen 0.0.0.0 --client-port 7001 --cores 1 \
    --reserve-mib 0 --segment-mib 4 $MORE \
    >"$DIR/out" 2>"$DIR/err" &
trap 'kill $!; wait $! || true' EXIT
for _ in $(seq 600); do grep -q "synod serving" "$DIR/out" && break; sleep 0.05; done
grep -q "synod serving" "$DIR/out"
"$SYNOD" set --target 127.0.0.1:7001 near v
printf 'far: '
"$SYNOD" set --target 10.77.0.1:7001 far v 2>&1 || true
exec 3<>/dev/tcp/10.77.0.1/7001
printf 'PING\r\n' >&3
printf 'resp: '
head -n 1 <&3
exec 3<>/dev/tcp/10.77.0.1/7001
printf 'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3
printf 'http: '
head -n 1 <&3
exec 3<>/dev/tcp/10.77.0.1/7001
printf 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3
printf 'probe: '
head -n 1 <&3
printf 'warned: '
grep -c "without a password" "$DIR/err" || true
"#;

/// The output of [`ELSEWHERE`], or nothing if networks cannot be made here.
fn elsewhere(more: &str) -> Option<String> {
    let dir = tempfile::tempdir().expect("a directory");
    // A user's own namespace needs no rights; if that is not allowed, root can do without it.
    for flags in [&["--user", "--map-root-user", "--net"][..], &["--net"]] {
        let probe = Command::new("unshare").args(flags).args(["ip", "link", "set", "lo", "up"]).output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            continue;
        }
        let output = Command::new("unshare")
            .args(flags)
            .args(["bash", "-c", ELSEWHERE])
            .env("SYNOD", binary())
            .env("DIR", dir.path())
            .env("MORE", more)
            .output()
            .expect("bash runs");
        let err = std::fs::read_to_string(dir.path().join("err")).unwrap_or_default();
        assert!(output.status.success(), "{}\n{err}", String::from_utf8_lossy(&output.stderr));
        return Some(String::from_utf8(output.stdout).expect("text"));
    }
    assert!(std::env::var_os("CI").is_none(), "under CI networks must be made: unshare and ip are wanted");
    println!("NOT CHECKED: no network can be made here (unshare, ip)");
    None
}

#[test]
fn a_node_without_a_password_turns_other_machines_away_unless_told_not_to() {
    let Some(said) = elsewhere("") else { return };
    for line in [
        "OK\n",
        "far: synod: the node has no password and accepts only clients on its own machine (protected mode)\n",
        "resp: -DENIED Redis is running in protected mode",
        "http: HTTP/1.1 403 ",
        "probe: HTTP/1.1 200 ",
        "warned: 1\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let said = elsewhere("--protected-mode no").expect("as before");
    for line in ["far: OK\n", "resp: +PONG", "http: HTTP/1.1 200 ", "warned: 1\n"] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
