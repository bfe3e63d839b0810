//! What clients see of a real node beside the answers to their commands: the limit on connections, probes of
//! silent clients, the time before the log is replayed, the list of clients, and each core's share of the keys.

use crate::cluster::{Nodes, until};
use crate::resp::RespClient;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use synod_net::binary::{FailureCode, PREAMBLE, ResponseBody, ResponseDecoder, encode_ping, encode_request};
use synod_types::{Command, Consistency, Op};

const REFUSED: &str = "-ERR max number of clients reached";

fn connect(target: &str) -> TcpStream {
    let stream = TcpStream::connect(target).expect("the node takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream
}

/// The answer to a request for `path`.
fn http(target: &str, path: &str) -> String {
    let mut stream = connect(target);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer and the end");
    text
}

/// The first answer to these bytes of the binary protocol.
fn binary(stream: &mut TcpStream, bytes: &[u8]) -> ResponseBody {
    stream.write_all(bytes).expect("sent");
    let mut decoder = ResponseDecoder::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(response) = decoder.next().expect("a sound frame") {
            return response.body;
        }
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "the node closed the connection without a word");
        decoder.feed(&piece[..count]);
    }
}

#[test]
fn faces_a_connection_beyond_the_limit_is_told_why_and_an_operator_still_gets_in() {
    let mut nodes = Nodes::with("faces-limit", 1, &[("limits.connections", "4")]);
    nodes.wait_led();
    let target = nodes.targets().remove(0);
    // All at once, which the node accepts before it reads from any of them.
    let mut rush: Vec<RespClient> = (0..40).map(|_| RespClient::connect(&target)).collect();
    let admitted =
        rush.iter_mut().map(|client| client.ask(&[b"PING"])).filter(|said| said == "+PONG").count();
    assert!(admitted <= 4, "{admitted} connections are served");
    drop(rush);
    let mut served = Vec::new();
    // The connections of the wait above may still be closing.
    until("four places", || {
        let mut client = RespClient::connect(&target);
        if client.ask(&[b"PING"]) == "+PONG" {
            served.push(client);
        }
        served.len() == 4
    });
    for _ in 0..10 {
        let mut client = RespClient::connect(&target);
        assert_eq!(client.ask(&[b"PING"]), REFUSED);
        assert_eq!(client.0.read(&mut [0]).expect("the end"), 0);
    }
    // A client that says nothing hears it, too.
    let mut silent = RespClient::connect(&target);
    assert_eq!(silent.line(), REFUSED);

    for page in ["/healthz", "/readyz", "/metrics"] {
        let answer = http(&target, page);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{page}: {answer}");
    }
    let answer = http(&target, "/v1/kv/k");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"), "{answer}");

    // A request that does not come to its end holds its place for a moment only.
    let mut half = connect(&target);
    half.write_all(b"GET /healthz HTTP/1.1\r\n").expect("sent");
    half.read_to_end(&mut Vec::new()).expect("the node ends the connection");

    let mut get = PREAMBLE.to_vec();
    let command = Command::plain(b"k".to_vec(), Op::Get);
    encode_request(&mut get, 1, Consistency::Linearizable, &command);
    let mut stream = connect(&target);
    assert_eq!(binary(&mut stream, &get), ResponseBody::Failed(FailureCode::Unavailable));
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    let mut ping = PREAMBLE.to_vec();
    encode_ping(&mut ping, 1);
    assert_eq!(binary(&mut connect(&target), &ping), ResponseBody::Pong);

    // An operator of this machine finds out who holds the places.
    let mut operator = RespClient::connect(&target);
    assert!(operator.info().contains("connected_clients:"));
    let list = operator.bulk(&[b"CLIENT", b"LIST"]).expect("a list");
    assert!(String::from_utf8_lossy(&list).lines().count() >= 5, "{}", String::from_utf8_lossy(&list));
    assert_eq!(operator.ask(&[b"GET", b"k"]), REFUSED);

    served.pop();
    until("the place is free again", || RespClient::connect(&target).ask(&[b"PING"]) == "+PONG");
    assert_eq!(served[0].ask(&[b"PING"]), "+PONG", "who was served is served on");
}

/// Whether the kernel has a keepalive timer for the connection between these two ports.
fn is_probed(node: u16, client: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let ends = |words: &[&str]| {
        (words[1].ends_with(&format!(":{node:04X}")), words[2].ends_with(&format!(":{client:04X}")))
    };
    let line = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| ends(words) == (true, true))
        .expect("the node's end of the connection");
    // The kind of the timer that runs: 02 is keepalive.
    line[5].starts_with("02:")
}

#[test]
fn faces_a_silent_client_is_probed_unless_that_is_switched_off() {
    for (seconds, is_on) in [("300", true), ("0", false)] {
        let mut nodes = Nodes::with("faces-keepalive", 1, &[("limits.tcp_keepalive_s", seconds)]);
        let target = nodes.targets().remove(0);
        let port: u16 = target.rsplit(':').next().expect("a port").parse().expect("a number");
        let mut client = RespClient::connect(&target);
        assert_eq!(client.ask(&[b"PING"]), "+PONG");
        let own = client.0.local_addr().expect("an address").port();
        // Other timers of the socket run while an answer is not acknowledged.
        until("the timer that was asked for", || is_probed(port, own) == is_on);
        assert_eq!(client.ask(&[b"CONFIG", b"GET", b"tcp-keepalive"]), "*2");
        let told: Vec<String> = (0..4).map(|_| client.line()).collect();
        assert_eq!((told[1].as_str(), told[3].as_str()), ("tcp-keepalive", seconds));
    }
}

/// Stands for a port that nobody listens on.
const CLOSED_PORT: &str = "no open port";

/// What one connection to a node that may not run is told: nothing, if it finds no open port.
fn ping(target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(target).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(b"PING\r\n").ok()?;
    let (mut text, mut piece) = (String::new(), [0; 256]);
    while !text.ends_with("\r\n") {
        // The connection that is open when loading ends is closed.
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return Some("closed".to_owned()),
            Ok(count) => text.push_str(&String::from_utf8_lossy(&piece[..count])),
        }
    }
    Some(text.trim_end().to_owned())
}

#[test]
fn faces_a_node_that_starts_says_loading_and_never_closes_its_port_again() {
    let mut nodes = Nodes::start("faces-loading");
    nodes.wait_led();
    let targets = nodes.targets();
    let mut client = RespClient::connect(&targets[1]);
    for number in 0..64 {
        assert_eq!(client.set(&format!("k{number}"), &vec![b'v'; 256 << 10]), "+OK");
    }
    let target = targets[0].clone();
    nodes.get().kill(0).expect("killed");
    let told = std::thread::scope(|scope| {
        // It ends by itself, whatever becomes of the node.
        let asking = scope.spawn(|| {
            let started = Instant::now();
            let mut told: Vec<String> = Vec::new();
            while started.elapsed() < Duration::from_secs(60)
                && told.last().is_none_or(|line| line != "+PONG")
            {
                let line = ping(&target).unwrap_or_else(|| CLOSED_PORT.to_owned());
                if told.last() != Some(&line) {
                    told.push(line);
                }
            }
            told
        });
        nodes.get().restart(0).expect("it starts");
        nodes.get().wait_node_ready(0, Duration::from_secs(60)).expect("it serves");
        asking.join().expect("a thread that asks")
    });
    assert_eq!(told.last().map(String::as_str), Some("+PONG"), "{told:?}");
    let loading = "-LOADING Synod is loading the dataset in memory";
    let begun = told.iter().position(|line| line == loading).unwrap_or_else(|| panic!("{told:?}"));
    let since = &told[begun..];
    assert!(since.iter().all(|line| ["+PONG", "closed", loading].contains(&line.as_str())), "{told:?}");
    // What remained of the killed process may have taken connections, but answered none.
    assert!(told[..begun].iter().all(|line| [CLOSED_PORT, "closed"].contains(&line.as_str())), "{told:?}");
}

#[test]
fn faces_the_list_of_clients_names_every_connection_of_the_core() {
    let mut nodes = Nodes::start("faces-clients");
    let target = nodes.targets().remove(0);
    let mut other = RespClient::connect(&target);
    assert_eq!(other.ask(&[b"CLIENT", b"SETNAME", b"the-other"]), "+OK");
    assert_eq!(other.ask(&[b"GET", b"k"]), "$-1");
    let mut client = RespClient::connect(&target);
    let mut list = |words: &[&[u8]]| {
        let text = client.bulk(&[&[b"CLIENT".as_slice(), b"LIST"][..], words].concat()).expect("a list");
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = list(&[]);
    let its = lines.iter().find(|line| line.contains(" name=the-other ")).expect("the other connection");
    let address = other.0.local_addr().expect("an address");
    assert!(its.contains(&format!(" addr={address} ")) && its.contains(" cmd=get "), "{its}");
    let id = its.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).expect("an id").to_owned();
    assert!(lines.iter().any(|line| line.contains(" cmd=client|list ")), "{lines:?}");
    let only = list(&[b"ID", id.as_bytes()]);
    assert!(only.len() == 1 && only[0].contains("the-other"), "{only:?}");
    assert_eq!(list(&[b"TYPE", b"pubsub"]), Vec::<String>::new());
}

/// The keys that a whole SCAN at one address returns, each with how often it came.
fn scanned(target: &str) -> BTreeMap<Vec<u8>, u32> {
    let mut client = RespClient::connect(target);
    let (mut found, mut cursor) = (BTreeMap::new(), "0".to_owned());
    loop {
        assert_eq!(client.ask(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"50"]), "*2");
        client.line();
        cursor = client.line();
        let count: usize = client.line()[1..].parse().expect("a count");
        for _ in 0..count {
            client.line();
            *found.entry(client.line().into_bytes()).or_default() += 1;
        }
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn faces_the_ports_of_all_cores_together_show_every_key_once() {
    for cores in [1, 2] {
        let mut nodes = Nodes::with("faces-scan", cores, &[("node.leadership", "stay")]);
        nodes.wait_led();
        let targets = nodes.targets();
        let mut client = RespClient::connect(&targets[0]);
        let keys: Vec<String> = (0..300).map(|number| format!("key:{number}")).collect();
        for key in &keys {
            // A crowded machine may lose a lease, and the outcome is unknown then: the same again is harmless.
            while client.set(key, b"v") != "+OK" {}
        }
        let members = nodes.get().members().to_vec();
        let ports = members.iter().flat_map(|member| {
            (0..cores).map(move |core| format!("{}:{}", member.host, member.core_port_base + core))
        });
        let (mut all, mut sum) = (BTreeMap::<Vec<u8>, u32>::new(), 0);
        for port in ports {
            let share = scanned(&port);
            let count: usize = RespClient::connect(&port).ask(&[b"DBSIZE"])[1..].parse().expect("a count");
            assert_eq!(count, share.len(), "{port}");
            sum += count;
            for (key, times) in share {
                *all.entry(key).or_default() += times;
            }
        }
        assert_eq!((all.len(), sum), (300, 300), "{cores} cores");
        assert!(all.values().all(|times| *times == 1), "{all:?}");
        for target in &targets {
            assert_eq!(scanned(target).len(), 300, "the shared port shows all keys");
        }
    }
}
