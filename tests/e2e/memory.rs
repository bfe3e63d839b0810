//! What clients may make a node hold: big pipelines, answers that nobody reads and commands that do not come
//! whole make their own connections wait, and nobody else.

use crate::cluster::{Nodes, until};
use crate::http::metric;
use crate::resp::{RespClient, command};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What the clients of a core share in these tests.
const CLIENTS_MIB: usize = 16;
/// One connection may be beyond the bound.
const HELD_MAX: u64 = 20 << 20;

fn start(name: &str) -> Nodes {
    Nodes::with(name, 1, &[("limits.clients_mib", &CLIENTS_MIB.to_string()), ("node.cache_mib", "8")])
}

/// A number that a node shows in INFO.
fn figure(client: &mut RespClient, field: &str) -> u64 {
    let info = client.info();
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the field");
    value.trim().parse().expect("a number")
}

/// A connection that sends without waiting.
fn connect(target: &str) -> TcpStream {
    let stream = TcpStream::connect(target).expect("the node takes clients");
    stream.set_nonblocking(true).expect("it can be set");
    stream
}

/// Sends as much as the node takes now. False once it has closed the connection.
fn push(stream: &mut TcpStream, bytes: &[u8], sent: &mut usize) -> bool {
    while *sent < bytes.len() {
        match stream.write(&bytes[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

#[test]
fn commands_that_do_not_come_whole_hold_up_nobody_and_are_told_why_they_end() {
    let mut nodes = start("halves");
    let target = nodes.targets().remove(0);
    let mut whole = command(&[b"SET", b"half", &vec![b'v'; MIB]]);
    whole.truncate(whole.len() - 10);
    let mut halves: Vec<(TcpStream, usize, bool)> = (0..60).map(|_| (connect(&target), 0, true)).collect();
    let mut other = RespClient::connect(&target);
    let mut large = RespClient::connect(&target);
    let value = vec![b'w'; MIB];
    let mut most = 0;
    until("those that wait for the memory get it", || {
        for (stream, sent, is_open) in &mut halves {
            *is_open &= push(stream, &whole, sent);
        }
        assert_eq!(other.set("small", b"v"), "+OK", "small commands go on");
        most = most.max(figure(&mut other, "client_bytes"));
        halves.iter().filter(|(_, sent, _)| *sent == whole.len()).count() == halves.len()
    });
    assert!(most > 8 << 20 && most < HELD_MAX, "{most} bytes were held");
    assert_eq!(large.set("large", &value), "+OK", "a large command waits for its turn");
    let mut said = String::new();
    halves[0].0.set_nonblocking(false).expect("it can be set");
    halves[0].0.read_to_string(&mut said).expect("an end");
    assert!(said.starts_with("-ERR the rest of the command does not come"), "{said}");
    assert!(metric(&mut nodes, "synod_clients_closed_total") > 0.0);
    drop(halves);
    let since = Instant::now();
    until("the memory is given back", || {
        let held = figure(&mut other, "client_bytes");
        if since.elapsed() > Duration::from_secs(25) {
            let list = other.bulk(&[b"CLIENT", b"LIST"]);
            panic!(
                "{held} bytes are held: {:?}",
                list.map(|list| String::from_utf8_lossy(&list).into_owned())
            );
        }
        held < MIB as u64
    });
    assert!(nodes.get().death().is_none());
}

#[test]
fn answers_that_nobody_reads_wait_and_come_whole_when_they_are_read() {
    let mut nodes = start("unread");
    let targets = nodes.targets();
    let mut other = RespClient::connect(&targets[0]);
    let value: Vec<u8> = (0..MIB).map(|index| (index % 251) as u8).collect();
    let keys: Vec<String> = (0..6).map(|key| format!("large{key}")).collect();
    for key in &keys {
        assert_eq!(other.set(key, &value), "+OK");
    }
    // Some of the keys are led at other nodes, and none fits into the cache with the others.
    let mut readers: Vec<TcpStream> = (0..8).map(|_| connect(&targets[0])).collect();
    let reads: Vec<u8> = (0..200).flat_map(|at| command(&[b"GET", keys[at % 6].as_bytes()])).collect();
    let mut most = vec![0; targets.len()];
    let mut watchers: Vec<RespClient> = targets.iter().map(|target| RespClient::connect(target)).collect();
    for reader in &mut readers {
        let mut sent = 0;
        assert!(push(reader, &reads, &mut sent) && sent == reads.len(), "the requests are short");
    }
    let (mut deferred, mut commands) = (0, 0);
    until("as much is held as may be", || {
        for (watcher, most) in watchers.iter_mut().zip(&mut most) {
            *most = figure(watcher, "client_bytes").max(*most);
        }
        assert_eq!(other.set("small", b"v"), "+OK");
        deferred = figure(&mut other, "reads_deferred").max(deferred);
        commands = figure(&mut other, "command_bytes").max(commands);
        most[0] > 8 << 20 && deferred > 0 && commands > 0
    });
    assert!(most.iter().all(|most| *most < HELD_MAX), "{most:?}");
    assert_eq!(figure(&mut other, "client_bytes_max"), (CLIENTS_MIB as u64) << 20);
    // Whoever reads gets everything, in order.
    let mut reader = readers.pop().expect("eight");
    reader.set_nonblocking(false).expect("it can be set");
    let mut got = vec![0; MIB + "$1048576\r\n\r\n".len()];
    for at in 0..200 {
        reader.read_exact(&mut got).expect("an answer");
        assert!(got.starts_with(b"$1048576\r\n") && got[10..10 + MIB] == value, "answer {at}");
    }
    let many: Vec<&[u8]> =
        [&b"MGET"[..]].into_iter().chain((0..60).map(|at| keys[at % 6].as_bytes())).collect();
    let mut several = RespClient::connect(&targets[1]);
    assert_eq!(several.ask(&many), "*60");
    for _ in 0..60 {
        assert_eq!(several.read_bulk().as_ref(), Ok(&value));
    }
    drop(readers);
    // Also that of a connection which has sent long values and sends short commands now.
    until("the memory is given back", || figure(&mut other, "client_bytes") < MIB as u64);
    assert!(nodes.get().death().is_none());
}
