//! A relay between a tool and the nodes that keeps a ledger: which writes were sent, which were acknowledged,
//! and what failed.
//!
//! redis-benchmark and `redis-cli --pipe` do not say which of their writes were acknowledged. The relay sees
//! every request and every reply, so that nothing has to be guessed from counts. It enters a request before
//! it passes it on, and a reply likewise.

use crate::run::expect_known;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use synod_net::client::Client;
use synod_net::resp::parser::{Caps, Parser, Step};

type Bytes = Vec<u8>;
/// Unanswered requests of one connection, and when each was passed on.
type Open = Mutex<VecDeque<(Instant, Vec<Bytes>)>>;
/// A connection that may have ended: its target, and its open requests.
type Known = (String, Weak<Open>);

/// The values written under one key by SET.
#[derive(Debug, Default)]
struct Sets {
    sent: BTreeSet<Bytes>,
    acked: bool,
}

/// The INCRs of one counter.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    acked: BTreeSet<i64>,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    sets: BTreeMap<Bytes, Sets>,
    counts: BTreeMap<Bytes, Counts>,
    /// Acknowledged writes.
    pub acked: usize,
    /// Redirections: not executed, and no failure.
    pub moved: usize,
    /// Error replies, with the count of each.
    pub errors: BTreeMap<String, u64>,
    /// Observations that must never be made.
    wrong: Vec<String>,
}

impl Ledger {
    fn sent(&mut self, request: &[Bytes]) {
        match request {
            [name, key, value] if name.eq_ignore_ascii_case(b"SET") => {
                self.sets.entry(key.clone()).or_default().sent.insert(value.clone());
            }
            [name, key] if name.eq_ignore_ascii_case(b"INCR") => {
                self.counts.entry(key.clone()).or_default().sent += 1;
            }
            _ => {}
        }
    }

    fn answered(&mut self, request: Option<&[Bytes]>, reply: &[u8]) {
        let Some(request) = request else {
            return self.wrong.push(format!("a reply to nothing: {}", String::from_utf8_lossy(reply)));
        };
        let line = String::from_utf8_lossy(reply).lines().next().unwrap_or_default().to_owned();
        if line.starts_with("-MOVED ") {
            self.moved += 1;
            return;
        }
        if let Some(error) = line.strip_prefix('-') {
            *self.errors.entry(error.to_owned()).or_default() += 1;
            return;
        }
        match request {
            [name, key, _] if name.eq_ignore_ascii_case(b"SET") => {
                if line != "+OK" {
                    self.wrong.push(format!("SET is answered {line}"));
                }
                self.sets.entry(key.clone()).or_default().acked = true;
                self.acked += 1;
            }
            [name, key] if name.eq_ignore_ascii_case(b"INCR") => {
                let number = line.strip_prefix(':').and_then(|digits| digits.parse().ok());
                let fresh = number
                    .is_some_and(|number| self.counts.entry(key.clone()).or_default().acked.insert(number));
                if !fresh {
                    self.wrong
                        .push(format!("INCR {} is answered {line}, again", String::from_utf8_lossy(key)));
                }
                self.acked += 1;
            }
            _ => {}
        }
    }

    /// Checks that all acknowledged writes are there, that nothing is there that was never sent, and that
    /// every error is a known one.
    pub fn audit(&self, client: &mut Client) {
        assert!(self.wrong.is_empty(), "{:?}", &self.wrong[..self.wrong.len().min(10)]);
        self.errors.keys().for_each(|error| expect_known("the tool", error));
        for (key, sets) in &self.sets {
            let name = String::from_utf8_lossy(key);
            match client.get(key).expect("a read") {
                Some(found) => {
                    assert!(sets.sent.contains(&found), "{name} holds what no client wrote: {found:?}")
                }
                None => assert!(!sets.acked, "an acknowledged write of {name} is lost"),
            }
        }
        for (key, counts) in &self.counts {
            let name = String::from_utf8_lossy(key);
            let found = client.get(key).expect("a read").unwrap_or_else(|| b"0".to_vec());
            let found: i64 = String::from_utf8_lossy(&found).parse().expect("a counter");
            assert!(counts.acked.last().is_none_or(|last| *last <= found), "{name} fell back to {found}");
            let bounds = counts.acked.len() as i64..=counts.sent as i64; // each INCR adds 1
            assert!(bounds.contains(&found), "{name} is {found}, which is not in {bounds:?}");
        }
    }
}

/// Relays, one per node or core.
pub struct Relays {
    /// The relay's address for each target, both as `host:port`.
    places: BTreeMap<String, String>,
    ledger: Arc<Mutex<Ledger>>,
    /// Connections that may still be open.
    connections: Arc<Mutex<Vec<Known>>>,
}

impl Relays {
    /// Starts a relay for each of `targets`. They last as long as the process: an unused connection costs
    /// nothing.
    pub fn start(targets: &[String]) -> Self {
        let listen = |target: &String| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let at = listener.local_addr().expect("bound").to_string();
            ((target.clone(), at), (listener, target.clone()))
        };
        let (places, listeners): (BTreeMap<_, _>, Vec<_>) = targets.iter().map(listen).unzip();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let connections = Arc::new(Mutex::new(Vec::new()));
        for (listener, target) in listeners {
            let (ledger, places) = (Arc::clone(&ledger), places.clone());
            let connections = Arc::clone(&connections);
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    // If the node is gone, the tool sees its connection closed.
                    let Ok(server) = TcpStream::connect(&target) else { continue };
                    let open = Arc::new(Open::default());
                    let known: Known = (target.clone(), Arc::downgrade(&open));
                    connections.lock().unwrap_or_else(PoisonError::into_inner).push(known);
                    relay(client, server, &places, &open, &ledger);
                }
            });
        }
        Self { places, ledger, connections }
    }

    /// The relay's address for `target`.
    pub fn of(&self, target: &str) -> &str {
        &self.places[target]
    }

    /// For a message: how many answers each node owes, and for how long it has owed the oldest.
    pub fn owed(&self) -> Vec<String> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = connections.iter().filter_map(|(target, open)| {
            let open = open.upgrade()?;
            let open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let (since, request) = open.front()?;
            let words: Vec<_> = request.iter().take(2).map(|word| String::from_utf8_lossy(word)).collect();
            Some(format!("{target}: {} for {:?}, first {}", open.len(), since.elapsed(), words.join(" ")))
        });
        owed.collect()
    }

    /// The ledger in its current state.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes bytes on in both directions, in threads of its own.
fn relay(
    client: TcpStream,
    server: TcpStream,
    places: &BTreeMap<String, String>,
    open: &Arc<Open>,
    ledger: &Arc<Mutex<Ledger>>,
) {
    let (mut from, mut to) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
    let (asked, books) = (Arc::clone(open), Arc::clone(ledger));
    std::thread::spawn(move || {
        let (mut parser, mut held, mut buffer) = (Parser::new(), Vec::new(), [0; 16 << 10]);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            held.extend_from_slice(&buffer[..count]);
            book_requests(&mut parser, &mut held, &asked, &books);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write); // the answers to what was sent still come
    });
    let (mut from, mut to) = (server, client);
    let (places, open, books) = (places.clone(), Arc::clone(open), Arc::clone(ledger));
    std::thread::spawn(move || {
        let (mut held, mut buffer) = (Vec::new(), [0; 16 << 10]);
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            held.extend_from_slice(&buffer[..count]);
            let mut out = Vec::new();
            while let Some(len) = reply_len(&held) {
                let reply: Bytes = held.drain(..len).collect();
                let request = open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let request = request.map(|(_, request)| request);
                let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                books.answered(request.as_deref(), &reply);
                out.extend_from_slice(&readdressed(reply, &places));
            }
            if to.write_all(&out).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn book_requests(parser: &mut Parser, held: &mut Bytes, open: &Open, ledger: &Mutex<Ledger>) {
    let caps = Caps { bulk_bytes: 1 << 20, command_bytes: 2 << 20, arguments: 1 << 16, trusted: true };
    loop {
        let used = match parser.parse(held, &caps) {
            Step::More { used } => {
                held.drain(..used);
                return;
            }
            Step::Command { used, args } => {
                let request: Vec<Bytes> = args.iter_from(0).map(<[u8]>::to_vec).collect();
                ledger.lock().unwrap_or_else(PoisonError::into_inner).sent(&request);
                open.lock().unwrap_or_else(PoisonError::into_inner).push_back((Instant::now(), request));
                used
            }
            Step::Empty { used } => used,
            other => {
                let wrong = format!("the tool does not speak RESP: {other:?}");
                ledger.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(wrong);
                return;
            }
        };
        held.drain(..used);
    }
}

/// The length of the reply at the front, if it is whole.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = || std::str::from_utf8(&bytes[1..line]).ok()?.parse::<i64>().ok();
    let head = line + 2;
    match bytes[0] {
        b'$' => {
            let whole = usize::try_from(number()?).map_or(head, |len| head + len + 2);
            (whole <= bytes.len()).then_some(whole)
        }
        b'*' => (0..number()?).try_fold(head, |at, _| Some(at + reply_len(&bytes[at..])?)),
        _ => Some(head),
    }
}

/// CLUSTER NODES and MOVED name addresses. They are replaced by the relay's, or a cluster client would bypass
/// it.
fn readdressed(reply: Bytes, places: &BTreeMap<String, String>) -> Bytes {
    let Some(body) = (match reply.first() {
        Some(b'-') if reply.starts_with(b"-MOVED ") => Some(&reply[1..reply.len() - 2]),
        Some(b'$') => reply.windows(2).position(|pair| pair == b"\r\n").map(|line| &reply[line + 2..]),
        _ => None,
    }) else {
        return reply;
    };
    let text = String::from_utf8_lossy(body).trim_end_matches("\r\n").to_owned();
    let mut told = text.clone();
    for (target, relay) in places {
        told = told.replace(&format!("{target}@"), &format!("{relay}@"));
        if let Some(front) = told.strip_suffix(target).filter(|_| reply[0] == b'-') {
            told = format!("{front}{relay}");
        }
    }
    match reply[0] {
        _ if told == text => reply,
        b'-' => format!("-{told}\r\n").into_bytes(),
        _ => format!("${}\r\n{told}\r\n", told.len()).into_bytes(),
    }
}
