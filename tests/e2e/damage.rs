//! A log that lost acknowledged records is detected, and its node does not answer from it; the other nodes go
//! on.

use crate::cluster::Nodes;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use synod_net::client::Client;

const LIMIT: Duration = Duration::from_secs(30);
const PAGE: usize = 4096;

/// The segments of the node's only core, with their bytes, oldest first.
fn segments(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data.join("core-0"))
        .expect("the core has a directory")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(&path).expect("a segment can be read")))
        .collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The position of `value` in the node's log.
pub fn place(data: &Path, value: &[u8]) -> Option<(PathBuf, u64)> {
    segments(data).into_iter().find_map(|(path, bytes)| find(&bytes, value).map(|at| (path, at as u64)))
}

/// Whether the newest block of the log holds only a note: the mark behind the durable records
/// (docs/disk-format.md).
fn is_marked(data: &Path) -> bool {
    let blocks = segments(data).into_iter().rev().find_map(|(_, bytes)| {
        // A segment that is only prepared has no block yet.
        bytes.chunks(PAGE).skip(1).rfind(|page| page.starts_with(b"SBLK")).map(<[u8]>::to_vec)
    });
    // One record, behind the headers of block and frame, of kind 4.
    blocks.is_some_and(|page| page[44..48] == [1, 0, 0, 0] && page[64 + 8] == 4)
}

/// Polls the state of another process; the result does not depend on how long it takes.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LIMIT, "not within {} s: {what}", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Inverts a byte of a file.
pub fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the segment can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[!byte[0]], at).expect("written");
    file.sync_all().expect("synced");
}

fn bytes_of(data: &Path) -> Vec<(PathBuf, u64)> {
    segments(data)
        .into_iter()
        .map(|(path, bytes)| (path, File::open(data).map(|_| crc(&bytes)).expect("the directory is there")))
        .collect()
}

fn crc(bytes: &[u8]) -> u64 {
    u64::from(synod_types::checksum::crc32c(bytes)) | (bytes.len() as u64) << 32
}

/// One bit of the newest acknowledged value is damaged while the node is down. The node refuses to start and
/// changes no file, while the others serve. With the bit restored it starts again and has all data.
#[test]
fn a_node_whose_newest_acknowledged_record_is_damaged_does_not_start() {
    let mut nodes = Nodes::start("damage");
    let victim = 1;
    let targets = nodes.targets();
    let data = nodes.get().data_dir(victim);
    let others = [targets[0].clone(), targets[2].clone()];
    for clean_stop in [false, true] {
        let mut client = Client::connect(&others).expect("connects");
        let value = format!("the last that was acknowledged, clean stop: {clean_stop}");
        for round in 0..20 {
            client.set(format!("before-{round}").as_bytes(), b"something else").expect("a write");
        }
        client.set(b"last", value.as_bytes()).expect("a write");
        until("the follower has the value", || place(&data, value.as_bytes()).is_some());
        if clean_stop {
            assert!(nodes.get().terminate(victim).expect("ended").success());
            assert!(is_marked(&data), "a stop in good order leaves the end of the log marked");
        } else {
            // The node is idle now, so the end is marked without a stop.
            until("the end of the log is marked", || is_marked(&data));
            nodes.get().kill(victim).expect("killed");
        }

        let (path, at) = place(&data, value.as_bytes()).expect("still there");
        flip(&path, at);
        let before = bytes_of(&data);
        nodes.get().restart(victim).expect("the process starts");
        let refusal = nodes.get().wait_node_ready(victim, LIMIT).expect_err("it must not serve").to_string();
        assert!(refusal.contains("acked_block_damaged"), "{refusal}");
        assert!(refusal.contains("acknowledged records may be lost"), "{refusal}");
        assert_eq!(bytes_of(&data), before, "the damaged log was touched");
        assert_eq!(client.get(b"last").expect("the others serve").as_deref(), Some(value.as_bytes()));
        client.set(b"meanwhile", b"taken").expect("the others take writes");

        flip(&path, at);
        nodes.get().restart(victim).expect("the process starts");
        nodes.get().wait_node_ready(victim, LIMIT).expect("it serves again");
        let mut client = Client::connect(&[&targets[victim]]).expect("connects");
        assert_eq!(client.get(b"last").expect("a read").as_deref(), Some(value.as_bytes()));
    }
}
