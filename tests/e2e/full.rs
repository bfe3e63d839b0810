//! Disks on which a log gets no further segment. A directory in the way of the segment's temporary file
//! stands in for a full disk: it needs no privileges, and is as easily taken away again.

use crate::cluster::Nodes;
use crate::resp::RespClient;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const VALUE_BYTES: usize = 100 << 10;

/// The status and body of an HTTP page.
fn page(target: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(target).expect("the node takes clients");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").to_owned(), body.to_owned())
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "not within {} s: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(name: &str) -> Nodes {
    let mut nodes = Nodes::with(name, 1, &[("node.segment_mib", "4"), ("node.reserve_mib", "0")]);
    nodes.wait_led();
    nodes
}

/// Keeps a node's log from getting another segment; returns the path to remove afterwards.
fn fill(nodes: &mut Nodes, index: usize) -> PathBuf {
    let core = nodes.get().data_dir(index).join("core-0");
    until("the segments ahead are made", || core.join("0000000003.seg").exists());
    let stray = core.join("0000000004.tmp");
    std::fs::create_dir(&stray).expect("a directory");
    stray
}

fn value(round: usize) -> Vec<u8> {
    (0..VALUE_BYTES).map(|index| (index * 7 + round) as u8).collect()
}

/// All three disks are full. Writes are refused with the right error, reads go on for many leases, and probes
/// and metrics report it. When there is room again, everything works as before without a restart, and no
/// write is lost.
#[test]
fn full_disks_refuse_writes_serve_reads_and_are_got_over() {
    let mut nodes = start("full");
    let targets = nodes.targets();
    let strays: Vec<PathBuf> = (0..targets.len()).map(|index| fill(&mut nodes, index)).collect();
    let mut clients: Vec<RespClient> = targets.iter().map(|target| RespClient::connect(target)).collect();
    let mut acknowledged = Vec::new();
    let mut refusals = [0; 3];
    let started = Instant::now();
    let mut round = 0;
    while refusals.iter().any(|&count| count < 5) {
        assert!(started.elapsed() < LIMIT, "{refusals:?} writes were refused, {} taken", acknowledged.len());
        let via = round % 3;
        let asked = Instant::now();
        let answer = clients[via].set(&format!("k{round}"), &value(round));
        assert!(asked.elapsed() < Duration::from_secs(10), "{answer} took {:?}", asked.elapsed());
        match answer.as_str() {
            "+OK" => acknowledged.push(round),
            refused if refused.starts_with("-BUSY ") => {
                assert!(refused.ends_with("; nothing was executed"), "{refused}");
                assert!(refused.to_lowercase().contains("no space left"), "{refused}");
                refusals[via] += 1;
            }
            // The write was under way when the disks filled up: it is decided when there is room.
            unknown => assert!(unknown.starts_with("-UNKNOWN "), "{unknown}"),
        }
        round += 1;
    }
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    // Longer than any lease: leaders stay.
    let full_since = Instant::now();
    while full_since.elapsed() < Duration::from_secs(3) {
        for (via, client) in clients.iter_mut().enumerate() {
            let key = acknowledged[via * 3];
            assert_eq!(client.get(&format!("k{key}")).as_ref(), Ok(&value(key)));
        }
    }
    // Two full disks leave no quorum for a write, so the third disk may keep some room.
    let is_full = |target: &str| page(target, "/readyz").0 == "503";
    until("two probes say it", || targets.iter().filter(|target| is_full(target)).count() >= 2);
    for (index, target) in targets.iter().enumerate().filter(|(_, target)| is_full(target)) {
        let (_, body) = page(target, "/readyz");
        assert!(body.contains("\"cores_full\":[0]") && body.contains("0000000004.tmp"), "{body}");
        let metrics = page(target, "/metrics").1;
        for family in ["synod_log_full", "synod_log_failing"] {
            assert!(metrics.contains(&format!("\n{family}{{core=\"0\"}} 1\n")), "{family}");
        }
        let info = clients[index].info();
        assert!(info.contains("aof_last_write_status:err\r\n") && info.contains("log_full:1\r\n"), "{info}");
        assert!(info.contains("log_failing:1\r\n"), "{info}");
        let refused = clients[index].set("refused", b"x");
        assert!(refused.contains("0000000004.tmp") && refused.contains(" bytes free in "), "{refused}");
        let said = nodes.get().tail(index);
        assert!(said.contains("no segment can be made") && said.contains("writes are refused"), "{said}");
    }
    strays.iter().for_each(|stray| std::fs::remove_dir(stray).expect("removed"));
    let freed = Instant::now();
    for (via, client) in clients.iter_mut().enumerate() {
        until("writes are taken", || client.set(&format!("after-{via}"), &value(via)) == "+OK");
    }
    assert!(freed.elapsed() < Duration::from_secs(15), "{:?}", freed.elapsed());
    for target in &targets {
        until("it is ready", || page(target, "/readyz").0 == "200");
        until("its log is well again", || {
            let info = RespClient::connect(target).info();
            ["aof_last_write_status:ok", "log_full:0", "log_failing:0"].iter().all(|well| info.contains(well))
        });
    }
    for key in acknowledged {
        assert_eq!(clients[key % 3].get(&format!("k{key}")).as_ref(), Ok(&value(key)), "k{key}");
    }
    assert!(clients[0].get("refused").is_err(), "what was refused was not executed");
}

/// One disk is full, on a node that led its share. The other nodes take over, and clients of that node are
/// served as before.
#[test]
fn a_node_with_a_full_disk_leads_nothing_and_serves_its_clients() {
    let mut nodes = start("one-full");
    let targets = nodes.targets();
    let full = nodes.node(0);
    let stray = fill(&mut nodes, 0);
    let mut clients: Vec<RespClient> = targets.iter().map(|target| RespClient::connect(target)).collect();
    let mut round = 0;
    let mut write = |clients: &mut Vec<RespClient>| {
        let answer = clients[round % 3].set(&format!("k{}", round % 40), &value(round));
        assert_eq!(answer, "+OK", "write {round}");
        round += 1;
    };
    let started = Instant::now();
    while page(&targets[0], "/readyz").0 == "200" {
        assert!(started.elapsed() < LIMIT, "its disk fills up");
        write(&mut clients);
    }
    // As many writes again as filled the disk.
    (0..200).for_each(|_| write(&mut clients));
    let mut client = synod_net::client::Client::connect(&targets).expect("connects");
    let status = client.status_of(full).expect("it answers");
    let led: Vec<_> = status.groups.iter().filter(|group| group.serving && group.group.get() > 0).collect();
    assert!(led.is_empty(), "{led:?}");
    assert!(clients[0].get("k7").is_ok());
    std::fs::remove_dir(&stray).expect("removed");
    until("it is ready", || page(&targets[0], "/readyz").0 == "200");
    (0..20).for_each(|_| write(&mut clients));
}
