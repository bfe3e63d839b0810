//! A refused request is refused as a whole, over the real sockets of a real cluster.

use crate::cluster::Nodes;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

struct Resp(BufReader<TcpStream>);

impl Resp {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the node takes clients");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        Self(BufReader::new(stream))
    }
    /// Sends all commands in one piece, as the pipelines of clients do.
    fn send(&mut self, commands: &[String]) {
        let bulk = |word: &str| format!("${}\r\n{word}\r\n", word.len());
        let command = |line: &String| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("*{}\r\n{}", words.len(), words.into_iter().map(bulk).collect::<String>())
        };
        let bytes: String = commands.iter().map(command).collect();
        self.0.get_mut().write_all(bytes.as_bytes()).expect("sent");
    }
    /// The next reply: its line, or the bytes of a bulk string.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply");
        let line = line.trim_end();
        let Some(len) = line.strip_prefix('$').filter(|len| !len.starts_with('-')) else {
            return line.to_owned();
        };
        let mut bytes = vec![0; len.parse::<usize>().expect("a length") + 2];
        self.0.read_exact(&mut bytes).expect("the bytes");
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }
}

/// Requests for other cores and nodes are answered at their own pace; the outcome of MULTI must not depend on
/// it.
#[test]
fn a_transaction_fails_as_a_whole_and_on_its_own_connection() {
    let mut nodes = Nodes::with_cores("refused", 2);
    for (round, target) in nodes.targets().into_iter().enumerate() {
        let (mut client, mut other) = (Resp::connect(&target), Resp::connect(&target));
        // Keys of many groups, led by all cores of all nodes.
        let keys: Vec<String> = (0..40).map(|number| format!("refused:{round}:{number}")).collect();
        let before = keys.iter().map(|key| format!("SET {key} before"));
        let inside = keys.iter().flat_map(|key| [format!("SET {key} inside"), format!("INCR {key}:n")]);
        let after = keys.iter().flat_map(|key| [format!("GET {key}"), format!("EXISTS {key}:n")]);
        let mut all: Vec<String> = before.collect();
        all.push("MULTI".to_owned());
        all.extend(inside);
        all.push("EXEC".to_owned());
        all.extend(after);
        client.send(&all);
        other.send(&["MULTI".to_owned(), "DISCARD".to_owned(), "PING".to_owned()]);

        for key in &keys {
            assert_eq!(client.reply(), "+OK", "{key} before");
        }
        assert!(client.reply().starts_with("-ERR MULTI is not supported yet"));
        for key in keys.iter().flat_map(|key| [key, key]) {
            let reply = client.reply();
            assert!(reply.starts_with("-ERR not executed"), "{key}: {reply}");
        }
        assert_eq!(client.reply(), "-EXECABORT Transaction discarded because of previous errors.");
        for key in &keys {
            assert_eq!((client.reply().as_str(), client.reply().as_str()), ("before", ":0"), "{key}");
        }
        assert!(other.reply().starts_with("-ERR MULTI is not supported yet"));
        assert_eq!((other.reply().as_str(), other.reply().as_str()), ("+OK", "+PONG"));

        // A transaction left open concerns only its own connection.
        client.send(&["MULTI".to_owned()]);
        client.reply();
        other.send(&[format!("SET {} other", keys[0]), format!("GET {}", keys[0])]);
        assert_eq!((other.reply().as_str(), other.reply().as_str()), ("+OK", "other"));
        client.send(&[format!("DEL {}", keys[0]), "RESET".to_owned(), format!("GET {}", keys[0])]);
        assert!(client.reply().starts_with("-ERR not executed"));
        assert_eq!((client.reply().as_str(), client.reply().as_str()), ("+RESET", "other"));
    }
}

/// Expiry times that would delete a key under an OK.
#[test]
fn a_time_of_nothing_deletes_nothing() {
    let mut nodes = Nodes::start("nothing");
    let target = nodes.targets().remove(0);
    let mut client = Resp::connect(&target);
    client.send(&["SET k kept".to_owned()]);
    assert_eq!(client.reply(), "+OK");
    for refused in ["SET k v EX 0", "SET k v PX -1", "SET k v PXAT 0", "GETEX k EX 0", "SETEX k 0 v"] {
        client.send(&[refused.to_owned()]);
        assert!(client.reply().starts_with("-ERR invalid expire time"), "{refused}");
    }
    let said = std::process::Command::new(crate::cluster::binary())
        .args(["set", "k", "v", "--ex", "0", "--target", &target])
        .output()
        .expect("runs");
    assert_eq!((said.status.code(), said.stdout.as_slice()), (Some(2), &b""[..]));
    // The client library leaves the refusal to the node.
    let mut library = synod_net::client::Client::connect(&[&target]).expect("connects");
    let refused = library.expire(b"k", Duration::ZERO).expect_err("refused").to_string();
    assert!(refused.contains("BadExpiry") && refused.contains("0 ms"), "{refused}");
    client.send(&["GET k".to_owned(), "TTL k".to_owned(), "EXPIRE k 0".to_owned(), "EXISTS k".to_owned()]);
    assert_eq!((client.reply().as_str(), client.reply().as_str()), ("kept", ":-1"));
    // EXPIRE with 0, Redis's own way to say DEL, still works.
    assert_eq!((client.reply().as_str(), client.reply().as_str()), (":1", ":0"));
}
