//! curl, one process per request, against keys over HTTP.

use crate::cluster::Nodes;
use crate::leaders::{Leaders, nodes_led};
use crate::run::{Script, expect_known, survive_a_killed_leader, targets};
use crate::tools::missing;
use crate::worker::{Store, Turns, work};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_net::client::Client;

/// An answer as curl reports it.
#[derive(Debug)]
struct Answer {
    status: u16,
    etag: String,
    body: String,
}

impl Answer {
    /// The error in it: status, code and message, as docs/http.md promises them.
    fn error(&self) -> String {
        let json: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let part = |name: &str| json["error"][name].as_str().unwrap_or("(none)").to_owned();
        format!("HTTP {} {}: {}", self.status, part("code"), part("message"))
    }
}

/// Sends one request. `Err` is curl's own message if there was no answer.
fn curl(target: &str, key: &str, arguments: &[&str]) -> Result<Answer, String> {
    let url = format!("http://{target}/v1/kv/{key}");
    let output = Command::new("curl")
        .args(["-sS", "-m", "8", "-w", "\n%{http_code} %header{etag}"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8(output.stdout).expect("what was written is text");
    let (body, tail) = text.rsplit_once('\n').expect("a line of its own for the status");
    let (status, etag) = tail.split_once(' ').expect("a status and perhaps an ETag");
    Ok(Answer { status: status.parse().expect("a number"), etag: etag.to_owned(), body: body.to_owned() })
}

/// One node at a time.
struct Curl(Turns);

impl Curl {
    fn ask(&mut self, key: &str, arguments: &[&str]) -> Result<Answer, String> {
        let answer = curl(self.0.now(), key, arguments);
        if answer.is_err() {
            self.0.pass();
        }
        answer
    }
}

impl Store for Curl {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let answer = self.ask(key, &["-X", "PUT", "--data-binary", value])?;
        if answer.status == 204 { Ok(()) } else { Err(answer.error()) }
    }
    fn get(&mut self, key: &str) -> Result<Option<String>, String> {
        let answer = self.ask(key, &[])?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(answer.error()),
        }
    }
}

#[test]
fn keys_are_put_got_deleted_and_compared() {
    if missing("curl", "curl") {
        return;
    }
    let mut nodes = Nodes::start("curl");
    nodes.wait_led();
    let targets = nodes.targets();
    let at = |node: usize, arguments: &[&str]| curl(&targets[node], "one/key", arguments).expect("answered");
    assert_eq!(at(0, &[]).error(), "HTTP 404 no_such_key: the key does not exist");
    let made = at(0, &["-X", "PUT", "-H", "If-None-Match: *", "--data-binary", "first"]);
    assert_eq!((made.status, made.body.as_str()), (201, ""));
    let got = at(1, &[]);
    assert_eq!((got.status, &got.etag, got.body.as_str()), (200, &made.etag, "first"));
    assert!(made.etag.starts_with('"') && made.etag.ends_with('"'), "{}", made.etag);
    let fits = format!("If-Match: {}", made.etag);
    let next = at(2, &["-X", "PUT", "-H", &fits, "--data-binary", "second"]);
    assert_eq!(next.status, 204);
    assert_ne!(next.etag, made.etag);
    let late = at(1, &["-X", "PUT", "-H", &fits, "--data-binary", "third"]);
    assert!(late.error().starts_with("HTTP 412 precondition_failed: "), "{late:?}");
    assert_eq!(at(0, &["-H", &format!("If-None-Match: {}", next.etag)]).status, 304);
    assert_eq!(at(0, &["-X", "DELETE", "-H", &fits]).status, 412);
    assert_eq!(at(1, &[]).body, "second");
    assert_eq!(at(2, &["-X", "DELETE"]).status, 204);
    assert_eq!(at(0, &["-X", "DELETE"]).status, 404);
    assert_eq!(at(1, &[]).status, 404);
}

/// What docs/http.md types and what it is answered: the lines with `$` of its blocks marked `sh run`, each with
/// the lines that follow it.
fn session_of_the_document() -> Vec<(String, String)> {
    let document = include_str!("../../docs/http.md");
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut is_session = false;
    for line in document.lines() {
        match (line.strip_prefix("```"), line.strip_prefix("$ ")) {
            (Some(kind), _) => is_session = kind == "sh run",
            (None, Some(command)) if is_session => steps.push((command.to_owned(), String::new())),
            (None, None) if is_session => {
                let (_, answer) = steps.last_mut().expect("a session begins with a command");
                answer.push_str(line);
                answer.push('\n');
            }
            _ => {}
        }
    }
    steps
}

#[test]
fn the_session_of_the_document_runs_as_it_stands() {
    if missing("curl", "curl") {
        return;
    }
    let mut nodes = Nodes::start("curl-session");
    nodes.wait_led();
    let target = nodes.targets().remove(0);
    let steps = session_of_the_document();
    assert!(steps.len() >= 10, "docs/http.md has no session: {steps:?}");
    // One shell for all of it, because later lines use the variables of earlier ones.
    let end = "-- end of a step --";
    let script: String = steps.iter().map(|(command, _)| format!("{command}\necho '{end}'\n")).collect();
    let script = script.replace("127.0.0.1:6379", &target);
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<&str> = text.split_inclusive(&format!("{end}\n")).collect();
    assert_eq!(answers.len(), steps.len(), "{text}");
    for ((command, wanted), answer) in steps.iter().zip(answers) {
        let answer = answer.trim_end_matches(&format!("{end}\n"));
        assert_eq!(answer, wanted, "$ {command}");
    }
}

/// The outcome of the increments of one counter.
#[derive(Default)]
struct Increments {
    acked: BTreeSet<u64>,
    unknown: u64,
    stopped: bool,
}

/// Adds 1 by compare and set until told to stop. No number may be acknowledged twice.
fn increment(mut curl: Curl, told: &Mutex<Increments>) {
    let tell = || told.lock().unwrap_or_else(PoisonError::into_inner);
    let rest = |error: &str| {
        expect_known("curl", error);
        std::thread::sleep(Duration::from_millis(20));
    };
    while !tell().stopped {
        let seen = match curl.ask("counter", &[]) {
            Ok(seen) if seen.status == 200 || seen.status == 404 => seen,
            Ok(other) => {
                rest(&other.error());
                continue;
            }
            Err(error) => {
                rest(&error);
                continue;
            }
        };
        let (number, condition) = match seen.status {
            200 => (seen.body.parse::<u64>().expect("a number"), format!("If-Match: {}", seen.etag)),
            _ => (0, "If-None-Match: *".to_owned()),
        };
        let text = (number + 1).to_string();
        match curl.ask("counter", &["-X", "PUT", "-H", &condition, "--data-binary", &text]) {
            Ok(put) if put.status == 204 || put.status == 201 => {
                assert!(tell().acked.insert(number + 1), "{} was acknowledged twice", number + 1);
            }
            Ok(put) if put.status == 412 => {} // the other client was faster
            Ok(put) => {
                tell().unknown += u64::from(put.status == 504);
                rest(&put.error());
            }
            Err(error) => {
                tell().unknown += 1;
                rest(&error);
            }
        }
    }
}

#[test]
fn no_put_and_no_compare_and_set_is_lost_when_a_leader_is_killed() {
    nothing_is_lost(Leaders::Elected);
}

#[test]
fn no_put_and_no_compare_and_set_is_lost_when_the_leader_of_all_is_killed() {
    nothing_is_lost(Leaders::OnOneNode);
}

fn nothing_is_lost(leaders: Leaders) {
    if missing("curl", "curl") {
        return;
    }
    let mut nodes = nodes_led(leaders, "curl-killed", 1, "proxy");
    let targets = targets(&mut nodes);
    let told = Arc::new(Mutex::new(Increments::default()));
    let adders: Vec<_> = (0..2)
        .map(|turn| {
            let (mut turns, told) = (Turns::new(targets.clone()), Arc::clone(&told));
            (0..turn).for_each(|_| turns.pass());
            std::thread::spawn(move || increment(Curl(turns), &told))
        })
        .collect();
    let store = Curl(Turns::new(targets));
    let script = Script::spawn("curl", move |stopped, account| work("curl", store, stopped, account));
    survive_a_killed_leader(&mut nodes, vec![script]);
    told.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
    for adder in adders {
        adder.join().expect("nothing was acknowledged twice and every error is a known one");
    }
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let last = Client::connect(&nodes.targets()).expect("connects").get(b"counter").expect("a read");
    let last: u64 = String::from_utf8(last.expect("written")).expect("text").parse().expect("a number");
    let acked = told.acked.len() as u64;
    eprintln!("counter at {last}: {acked} acknowledged, {} uncertain", told.unknown);
    assert!(acked >= 20, "hardly anything was written: {acked}");
    assert!(told.acked.last() <= Some(&last), "an acknowledged increment is lost");
    assert!((acked..=acked + told.unknown).contains(&last), "what is neither acknowledged nor uncertain");
}
