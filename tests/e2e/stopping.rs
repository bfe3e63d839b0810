//! A planned stop (P-17g): a node that is told to stop hands over, answers what it was asked, and lets its clients
//! go, and nobody gets an error.

use crate::cluster::Nodes;
use crate::load;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(20);
/// Rounds at most: where the machine stands still for a lease, leaders change by themselves.
const ROUNDS_MAX: u32 = 4;

/// Whether the other end has closed the connection.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let seen = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    match seen {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// A client as plain as those in a pool: it asks one thing after the other, and looks whether its connection is
/// closed before it asks. Returns how many answers it got, how often it connected, and what went wrong.
fn ask_until(address: &str, is_over: &AtomicBool) -> (u64, u64, Vec<String>) {
    let (mut answers, mut connects, mut wrong) = (0, 0, Vec::new());
    while !is_over.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_read_timeout(Some(WITHIN)).expect("a socket");
        connects += 1;
        while !is_over.load(Ordering::SeqCst) && !is_closed(&stream) {
            let key = answers % 50;
            let asked = stream.write_all(format!("INCR stopping{key}\r\n").as_bytes());
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                answer.push(byte[0]);
            }
            if answer.starts_with(b"-LOADING") {
                std::thread::sleep(Duration::from_millis(5)); // it has just been started
                break;
            }
            if asked.is_err() || !answer.starts_with(b":") || !answer.ends_with(b"\r\n") {
                wrong.push(format!("{address}: {asked:?}, {:?}", String::from_utf8_lossy(&answer)));
                break;
            }
            answers += 1;
        }
    }
    (answers, connects, wrong)
}

/// Stops and starts one node after the other. Returns what they have said.
fn roll(nodes: &mut Nodes) -> String {
    let mut said = String::new();
    for index in 0..3 {
        nodes.wait_led();
        let began = Instant::now();
        nodes.get().terminate(index).expect("it stops");
        said += &nodes.get().tail(index);
        eprintln!("{index}: {} ms", began.elapsed().as_millis());
        nodes.get().restart(index).expect("it starts");
        nodes.get().wait_ready(WITHIN).expect("it takes clients");
    }
    said
}

/// A rolling restart under load. Returns what the nodes said, and what clients noticed.
fn round(nodes: &mut Nodes) -> (String, Vec<String>) {
    let targets = nodes.targets();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            targets.iter().map(|address| scope.spawn(|| ask_until(address, &is_over))).collect();
        let load = load::start(load::options(nodes, Duration::from_secs(10)));
        load.wait_under_way();
        let mut said = roll(nodes);
        is_over.store(true, Ordering::SeqCst);
        let mut noticed = Vec::new();
        for client in clients {
            let (answers, connects, wrong) = client.join().expect("a client does not panic");
            assert!(answers > 0 && connects >= 2, "{answers} answers on {connects} connections");
            noticed.extend(wrong);
        }
        let (report, _) = load.finish();
        for (name, operation) in &report.operations {
            if operation.errors + operation.unknown > 0 {
                noticed.push(format!("{name}: {} errors, {} unknown", operation.errors, operation.unknown));
            }
        }
        said += &nodes.get().tails();
        (said, noticed)
    })
}

#[test]
fn a_rolling_restart_is_seen_by_nobody() {
    let mut nodes = Nodes::start("stopping");
    nodes.wait_led();
    for _ in 0..ROUNDS_MAX {
        let (said, noticed) = round(&mut nodes);
        if said.contains("has made no progress for a lease") || said.contains("this core did nothing for") {
            continue;
        }
        assert_eq!(noticed, Vec::<String>::new(), "{said}");
        assert_eq!(said.matches("has handed over the groups that it led").count(), 3, "{said}");
        assert!(!said.contains("are not answered"), "{said}");
        return;
    }
    panic!("the machine stood still in every round");
}
