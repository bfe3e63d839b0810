//! What clients of the nodes that stay up see when another one goes: latency, and no error (P-12b, P-21i).

use crate::cluster::Nodes;
use crate::http::metric;
use crate::resp::{RespClient, command};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes that one client sends without waiting.
const PIPELINE: usize = 16;
/// Rounds that each client does once the fault is over.
const ROUNDS_AFTER: usize = 20;

/// Writes one key over and over until told to stop, several at a time, and reads it after each round. Every
/// answer must be the one that an undisturbed server gives. Returns the number of rounds.
fn write_and_read(target: &str, key: &str, stop: &AtomicBool) -> usize {
    let mut client = RespClient::connect(target);
    let (mut round, mut left) = (0, ROUNDS_AFTER);
    while left > 0 {
        left -= usize::from(stop.load(Ordering::Relaxed));
        let mut bytes = Vec::new();
        let value = |at: usize| format!("{round}-{at}");
        for at in 0..PIPELINE {
            bytes.extend(command(&[b"SET", key.as_bytes(), value(at).as_bytes()]));
        }
        client.0.write_all(&bytes).expect("sent");
        for at in 0..PIPELINE {
            let answer = client.line();
            assert_eq!(answer, "+OK", "{key}, write {at} of round {round} at {target}");
        }
        let read = client.get(key).expect("the key is there");
        assert_eq!(read, value(PIPELINE - 1).as_bytes(), "{key} after round {round}: the last write counts");
        round += 1;
    }
    round
}

/// Clients of the nodes other than `victim`, one for each of several groups.
fn begin(targets: &[String], victim: usize, stop: &'static AtomicBool) -> Vec<JoinHandle<usize>> {
    let others = targets.iter().enumerate().filter(|(index, _)| *index != victim);
    let jobs = others.flat_map(|(index, target)| (0..6).map(move |key| (index, key, target.clone())));
    jobs.map(|(index, key, target)| {
        std::thread::spawn(move || write_and_read(&target, &format!("k{index}-{key}"), stop))
    })
    .collect()
}

/// A fault strikes one node in the middle of the load and is over again, or not.
fn strike(name: &str, fault: impl FnOnce(&mut Nodes, usize)) {
    let mut nodes = Nodes::with(name, 2, &[]);
    let targets = nodes.targets();
    let victim = 0;
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let clients = begin(&targets, victim, stop);
    // A second under load, so that the node leads groups with writes under way.
    std::thread::sleep(Duration::from_secs(1));
    fault(&mut nodes, victim);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let rounds = client.join().expect("every answer was right");
        assert!(rounds > ROUNDS_AFTER, "it wrote while the node was up, too");
    }
}

#[test]
fn clients_of_other_nodes_see_no_error_when_a_leader_is_killed() {
    strike("latency-kill", |nodes, victim| {
        nodes.get().kill(victim).expect("it runs");
        std::thread::sleep(Duration::from_secs(2));
    });
}

#[test]
fn clients_of_other_nodes_see_no_error_while_a_leader_stands_still() {
    strike("latency-stop", |nodes, victim| {
        for span_ms in [200, 3_000] {
            nodes.get().stop(victim).expect("it runs");
            std::thread::sleep(Duration::from_millis(span_ms));
            nodes.get().cont(victim).expect("it is stopped");
            std::thread::sleep(Duration::from_secs(1));
        }
        assert!(metric(nodes, "synod_sleeps_total") > 0.0, "it has noticed that it slept");
    });
}
