//! A file name that was not made durable is gone after a power cut, and its file with it. So this test traces
//! a node's system calls while it makes its directory, goes through several segments, and opens them again:
//! each file is flushed before it gets its name, and each name before anything depends on it.

use crate::cluster::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Call {
    Flush(String),
    Rename(String, String),
}

/// The calls that succeeded, in order; names relative to `root`.
fn calls(trace: &str, root: &Path) -> Vec<Call> {
    let root = format!("{}/", root.display());
    let short = |name: &str| name.strip_prefix(&root).unwrap_or(name).to_owned();
    let call = |line: &str| {
        let (_, line) = line.split_once(' ')?;
        let line = line.trim_start();
        if !line.ends_with("= 0") {
            return None;
        }
        if line.starts_with("fsync(") || line.starts_with("fdatasync(") {
            let (_, rest) = line.split_once('<')?;
            return Some(Call::Flush(short(rest.split_once('>')?.0)));
        }
        if line.starts_with("rename") {
            let mut names = line.split('"').skip(1).step_by(2);
            return Some(Call::Rename(short(names.next()?), short(names.next()?)));
        }
        None
    };
    // A call that another thread interrupted is printed in two parts: the first has its arguments, the second
    // its result.
    let mut whole: Vec<String> = Vec::new();
    let mut begun: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for line in trace.lines() {
        let thread = line.split(' ').next().unwrap_or_default().to_owned();
        if let Some(first) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, first.to_owned());
        } else if let Some((_, rest)) = line.split_once(" resumed>") {
            let first = begun.remove(&thread).unwrap_or_default();
            whole.push(format!("{first}{rest}"));
        } else {
            whole.push(line.to_owned());
        }
    }
    whole.iter().filter_map(|line| call(line)).collect()
}

fn parent(name: &str) -> String {
    name.rsplit_once('/').map_or_else(|| ".".to_owned(), |(dir, _)| dir.to_owned())
}

/// The fault of a run, if there is one. `opened` are the segments that existed when it began.
fn fault(calls: &[Call], opened: &BTreeSet<String>) -> Option<String> {
    let mut flushed: BTreeSet<&str> = BTreeSet::new();
    let mut pending: Vec<(String, String)> = Vec::new();
    let mut unseen = opened.clone();
    for call in calls {
        match call {
            Call::Flush(name) => {
                unseen.remove(name);
                pending.retain(|(dir, _)| dir != name);
                if let Some((_, renamed)) = pending.iter().find(|(_, renamed)| renamed == name) {
                    return Some(format!("{renamed} is written on before its new name is durable"));
                }
                flushed.insert(name);
            }
            Call::Rename(from, to) => {
                if let Some(name) = unseen.first() {
                    return Some(format!("{name} was read and not flushed before {from} became {to}"));
                }
                if let Some((_, name)) = pending.first() {
                    return Some(format!("the name {name} is not durable when {from} becomes {to}"));
                }
                if !to.ends_with(".tmp") && !flushed.remove(from.as_str()) {
                    return Some(format!("{from} became {to} and was not flushed"));
                }
                pending.push((parent(to), to.clone()));
            }
        }
    }
    if let Some(name) = unseen.first() {
        return Some(format!("{name} was read and never flushed"));
    }
    // The last name may still be on its way to the disk when the node is told to stop.
    None
}

struct Traced {
    child: Child,
    port: u16,
}

impl Traced {
    fn start(root: &Path, trace: &Path) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let (port, peers) = (free(), free());
        let mut child = Command::new("strace")
            .args(["-f", "-y", "-qq", "-e", "trace=rename,renameat,renameat2,fsync,fdatasync", "-o"])
            .arg(trace)
            .arg(binary())
            .args(["serve", "--data-dir"])
            .arg(root.join("data"))
            .args(["--segment-mib", "4", "--reserve-mib", "4", "--cores", "1", "--groups", "1"])
            .args(["--client-port", &port.to_string(), "--peer-port", &peers.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("strace runs");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let serves = said.by_ref().map_while(Result::ok).any(|line| line.starts_with("synod serving"));
        assert!(serves, "the node serves");
        std::thread::spawn(move || said.for_each(drop));
        Self { child, port }
    }

    fn set(&self, key: &str, value: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the node takes clients");
        let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
        stream.write_all(&[head.as_bytes(), value, b"\r\n"].concat()).expect("sent");
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).expect("an answer");
        assert_eq!(reply, "+OK\r\n");
    }

    /// Ends the node cleanly, and its tracer with it.
    fn stop(mut self) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id()));
        for pid in children.expect("a tracer has a child").split_whitespace() {
            let pid = Pid::from_raw(pid.parse().expect("a number"));
            kill(pid, Signal::SIGTERM).expect("the node that this test's tracer started");
        }
        assert!(self.child.wait().expect("it ends").success());
    }
}

fn segments(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir.join("data/core-0")).expect("the log's directory");
    names
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".seg"))
        .map(|name| format!("data/core-0/{name}"))
        .collect()
}

#[test]
fn every_name_is_durable_before_anything_rests_on_it() {
    if Command::new("strace").arg("-V").output().is_err() {
        return synod_tests::not_checked("strace is not installed here (package strace)");
    }
    let room = tempfile::tempdir_in(binary().parent().expect("a directory")).expect("a directory on a disk");
    let root = room.path().canonicalize().expect("a path");
    let trace = root.join("trace");
    let run = |writes: usize| {
        let node = Traced::start(&root, &trace);
        for number in 0..writes {
            node.set(&format!("key{number}"), &vec![b'x'; 500_000]);
        }
        node.stop();
        calls(&std::fs::read_to_string(&trace).expect("a trace"), &root)
    };
    let first = run(24);
    let made: BTreeSet<String> = segments(&root);
    let renamed =
        first.iter().filter(|call| matches!(call, Call::Rename(_, to) if to.ends_with(".seg"))).count();
    assert!(made.len() >= 3 && renamed >= 3, "{first:#?}");
    assert_eq!(fault(&first, &BTreeSet::new()), None, "{first:#?}");
    let begun = first.iter().position(|call| *call == Call::Flush("data/core-0.begun".into()));
    let begun = begun.expect("it is noted that the log was begun");
    // Another thread makes segments meanwhile.
    let soon = first.iter().skip(begun + 1).take(4);
    assert!(
        soon.clone().any(|call| *call == Call::Flush("data".into())),
        "the name of the note is durable: {first:#?}"
    );

    let second = run(0);
    assert_eq!(fault(&second, &made), None, "{second:#?}");

    // Each of these flushes is needed: without it the run is found faulty.
    for (run, opened) in [(&first, BTreeSet::new()), (&second, made)] {
        let last_rename =
            run.iter().rposition(|call| matches!(call, Call::Rename(..))).expect("names were given");
        let mut needed = 0;
        for at in 0..=(last_rename + 1).min(run.len() - 1) {
            let mut less = run.clone();
            let taken = less.remove(at);
            if matches!(taken, Call::Flush(_)) {
                needed += usize::from(fault(&less, &opened).is_some());
            }
        }
        // One for each segment that existed, or a file and a name for each one that was made.
        assert!(needed >= opened.len().max(4), "{needed} flushes are seen to be needed");
    }
}
