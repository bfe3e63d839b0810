//! Redis itself as the oracle: it and a cluster get the same random commands, and the replies must be the
//! same bytes.
//!
//! There is one connection to a node and one to Redis. The keys are few and share a hash tag, so that
//! commands on several keys may name any of them. Intended differences (docs/redis.md) are not tested:
//! decimals that are not exact in binary, the order of SCAN and KEYS, and remaining times. If Redis is not
//! installed, the test's last line says so.

use crate::cluster::Nodes;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Commands per protocol version.
const COMMANDS: usize = 3000;
/// After this many differences the two states have certainly diverged.
const DIFFERENCES_MAX: usize = 12;

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        // The process has ended already or is ending: nothing is left to do either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_redis() -> Option<(Redis, String)> {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
        .args(["--proto-max-bulk-len", "1048576"])
        .stdout(Stdio::null())
        .spawn();
    Some((Redis(child.ok()?), format!("127.0.0.1:{port}")))
}

struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    fn open(address: &str) -> Self {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect(address) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
                    return Self { reader: BufReader::new(stream) };
                }
                Err(error) => assert!(Instant::now() < until, "{address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ask(&mut self, words: &[String]) -> String {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.reader.get_mut().write_all(bytes.as_bytes()).expect("sent");
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a reply");
        let (mark, rest) = line.split_at(1);
        let count = rest.trim_end().parse::<i64>().unwrap_or(0).max(0) as usize;
        match mark {
            "$" if !rest.starts_with('-') => {
                let mut bytes = vec![0; count + 2];
                self.reader.read_exact(&mut bytes).expect("a bulk");
                line.push_str(&String::from_utf8_lossy(&bytes));
            }
            "*" | "~" => (0..count).for_each(|_| line.push_str(&self.reply())),
            "%" => (0..2 * count).for_each(|_| line.push_str(&self.reply())),
            _ => {}
        }
        line
    }
}

/// A small random generator of its own: the run is the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % count
    }
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
    fn key(&mut self) -> String {
        format!("{{o}}{}", self.below(5))
    }
    fn value(&mut self) -> String {
        match self.below(8) {
            0 => "x".repeat(self.below(5000) as usize),
            1..=3 => format!("{}", self.below(2000) as i64 - 1000),
            // Exact in binary too: Redis shows the rounding noise of others.
            4 => format!("{}.{}", self.below(50), self.of(&["5", "25", "75"])),
            5 => String::new(),
            _ => format!("value-{}-that-is-longer-than-the-index-keeps", self.below(100)),
        }
    }
    fn number(&mut self) -> String {
        self.of(&["0", "1", "-1", "3", "-3", "7", "100", "x", "9223372036854775807", "-9223372036854775808"])
            .to_owned()
    }
    fn span(&mut self) -> String {
        self.of(&["1000", "2000", "100000", "0", "-5", "x", "9223372036854775807"]).to_owned()
    }

    fn command(&mut self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let name = self.of(&[
            "GET",
            "SET",
            "SET",
            "SET",
            "SETNX",
            "GETSET",
            "GETDEL",
            "GETEX",
            "APPEND",
            "SETRANGE",
            "GETRANGE",
            "SUBSTR",
            "STRLEN",
            "INCR",
            "DECR",
            "INCRBY",
            "DECRBY",
            "INCRBYFLOAT",
            "MGET",
            "MSET",
            "MSETNX",
            "DEL",
            "UNLINK",
            "EXISTS",
            "TOUCH",
            "TYPE",
            "EXPIRE",
            "PEXPIRE",
            "EXPIREAT",
            "PERSIST",
            "RENAME",
            "RENAMENX",
            "COPY",
            "TTL",
            "EXPIRETIME",
            "OBJECT",
            "DBSIZE",
            "SCAN",
            "RANDOMKEY",
            "FLUSHALL",
            "KEYS",
            "SETEX",
        ]);
        words.push(name.to_owned());
        match name {
            "SET" => {
                words.extend([self.key(), self.value()]);
                if self.below(2) == 0 {
                    let option = self.of(&["NX", "XX", "GET", "KEEPTTL", "EX", "FOO"]);
                    words.push(option.to_owned());
                    if option == "EX" && self.below(5) > 0 {
                        words.push(self.span());
                    }
                    if self.below(4) == 0 {
                        words.push(self.of(&["XX", "GET", "KEEPTTL"]).to_owned());
                    }
                }
            }
            "SETNX" | "GETSET" | "APPEND" => words.extend([self.key(), self.value()]),
            "SETEX" => words.extend([self.key(), self.span(), self.value()]),
            "GETEX" => {
                words.push(self.key());
                let option = self.of(&["", "PERSIST", "FOO"]);
                words.extend((!option.is_empty()).then(|| option.to_owned()));
            }
            "SETRANGE" => {
                words.extend([
                    self.key(),
                    self.of(&["0", "3", "40", "-1", "x", "2000000"]).to_owned(),
                    self.value(),
                ]);
            }
            "GETRANGE" | "SUBSTR" => words.extend([self.key(), self.number(), self.number()]),
            "INCRBY" | "DECRBY" => words.extend([self.key(), self.number()]),
            "INCRBYFLOAT" => {
                let key = self.key();
                words.extend([key, self.of(&["1", "-2", "100", "x", "", "1e2"]).to_owned()]);
            }
            "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
                (0..=self.below(3)).for_each(|_| words.push(self.key()));
            }
            "MSET" | "MSETNX" => {
                for _ in 0..=self.below(3) {
                    words.extend([self.key(), self.value()]);
                }
                if self.below(10) == 0 {
                    words.pop();
                }
            }
            "EXPIRE" | "PEXPIRE" => {
                words.push(self.key());
                let span =
                    if name == "EXPIRE" { self.span() } else { self.of(&["900000", "0", "x"]).to_owned() };
                words.push(span);
                for _ in 0..self.below(3) {
                    words.push(self.of(&["NX", "XX", "GT", "LT", "FOO"]).to_owned());
                }
            }
            "EXPIREAT" => words.extend([self.key(), self.of(&["4102444800", "1", "-1", "x"]).to_owned()]),
            "RENAME" | "RENAMENX" => words.extend([self.key(), self.key()]),
            "COPY" => {
                words.extend([self.key(), self.key()]);
                if self.below(2) == 0 {
                    words.push(self.of(&["REPLACE", "FOO"]).to_owned());
                }
            }
            "OBJECT" => words.extend([self.of(&["REFCOUNT", "FOO"]).to_owned(), "{o}none".to_owned()]),
            "SCAN" => {
                words.extend(["0", "COUNT", "1000", "MATCH"].map(str::to_owned));
                words.push(self.of(&["*o}1", "nothing*", "{o}[3-3]"]).to_owned());
            }
            "KEYS" => words.push(self.of(&["*o}2", "{O}2", "{o}?x"]).to_owned()),
            "RANDOMKEY" | "FLUSHALL" | "DBSIZE" => {}
            _ => words.push(self.key()),
        }
        if self.below(60) == 0 && words.len() > 1 {
            words.pop();
        }
        words
    }
}

/// A reply without the parts in which the two servers may differ.
fn plain(words: &[String], reply: String) -> String {
    match (words[0].as_str(), reply.as_bytes().first()) {
        ("RANDOMKEY", Some(b'$')) if !reply.starts_with("$-1") => "a key".to_owned(),
        // Quotes the case of a subcommand's name, or names the place to look for help.
        ("OBJECT", Some(b'-')) => reply.to_ascii_lowercase(),
        _ => reply,
    }
}

/// Keys and patterns are made of the bytes with a meaning in patterns, and of a few others.
const GLOB_BYTES: &[&str] = &["a", "b", "c", "[", "]", "^", "-", "\\", "*", "?"];
const GLOB_KEYS: usize = 400;
const GLOB_PATTERNS: usize = 2000;

/// The keys in a reply to KEYS, sorted: each server has an order of its own.
fn sorted_keys(reply: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = reply.split("\r\n").skip(2).step_by(2).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn patterns_mean_what_they_mean_to_redis() {
    let Some((_redis, redis_address)) = start_redis() else {
        synod_tests::not_checked("redis-server is not installed here (package redis-server)");
        return;
    };
    let mut nodes = Nodes::start("globs");
    let target = nodes.targets().remove(0);
    let (mut ours, mut theirs) = (Wire::open(&target), Wire::open(&redis_address));
    let mut draw = Draw(20_261_128);
    let word = |draw: &mut Draw, len_max: u64| -> String {
        (0..=draw.below(len_max)).map(|_| draw.of(GLOB_BYTES)).collect()
    };
    let mut filling = vec!["MSET".to_owned()];
    for _ in 0..GLOB_KEYS {
        filling.extend([word(&mut draw, 5), "v".to_owned()]);
    }
    assert_eq!((ours.ask(&filling), theirs.ask(&filling)), ("+OK\r\n".to_owned(), "+OK\r\n".to_owned()));
    let (mut differences, mut found) = (Vec::new(), 0);
    for _ in 0..GLOB_PATTERNS {
        let asked = ["KEYS".to_owned(), word(&mut draw, 7)];
        let (got, want) = (ours.ask(&asked), theirs.ask(&asked));
        let (got, want) = (sorted_keys(&got), sorted_keys(&want));
        found += want.len();
        if got != want {
            differences.push(format!("{}: {got:?}, Redis {want:?}", asked[1]));
        }
    }
    assert!(found > 5 * GLOB_PATTERNS, "{found} keys found: patterns that fit nothing show nothing");
    differences.truncate(DIFFERENCES_MAX);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let Some((_redis, redis_address)) = start_redis() else {
        synod_tests::not_checked("redis-server is not installed here (package redis-server)");
        return;
    };
    let mut nodes = Nodes::start("oracle");
    let target = nodes.targets().remove(0);
    let (mut ours, mut theirs) = (Wire::open(&target), Wire::open(&redis_address));
    for proto in ["2", "3"] {
        let hello = ["HELLO", proto].map(str::to_owned);
        ours.ask(&hello);
        theirs.ask(&hello);
        let mut draw = Draw(20_261_121 + u64::from(proto == "3"));
        let mut differences: Vec<String> = Vec::new();
        for step in 0..COMMANDS {
            let mut words = draw.command();
            if words[0] == "FLUSHALL" && !step.is_multiple_of(7) {
                words = vec!["DBSIZE".to_owned()];
            }
            let (got, want) = (ours.ask(&words), theirs.ask(&words));
            let (got, want) = (plain(&words, got), plain(&words, want));
            if got != want {
                differences
                    .push(format!("step {step}: {:.200}: {got:.200?}, Redis {want:.200?}", words.join(" ")));
                if differences.len() == DIFFERENCES_MAX {
                    break;
                }
            }
        }
        assert!(differences.is_empty(), "RESP{proto}:\n{}", differences.join("\n"));
    }
}

/// Every number of a command at 0, -1, both ends of 64 bits and one past each, and at the point where seconds
/// no longer fit as milliseconds. Only commands that Redis has are tested here;
/// `net/src/server/tests/numbers.rs` has the rest.
#[test]
fn numbers_at_their_ends_are_answered_as_redis_answers_them() {
    let Some((_redis, redis_address)) = start_redis() else {
        synod_tests::not_checked("redis-server is not installed here (package redis-server)");
        return;
    };
    let mut nodes = Nodes::start("oracle-numbers");
    let target = nodes.targets().remove(0);
    let (mut ours, mut theirs) = (Wire::open(&target), Wire::open(&redis_address));
    let numbers = [
        "0",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "9223372036854775",
        "9223372036854776",
        "-9223372036854775",
        "-9223372036854776",
        "2147483648",
    ];
    let times =
        ["SET @ v EX #", "SET @ v PX #", "SET @ v EXAT #", "SET @ v PXAT #", "SETEX @ # v", "PSETEX @ # v"];
    let kept = ["GETEX @ EX #", "GETEX @ PX #", "GETEX @ EXAT #", "GETEX @ PXAT #"];
    let expire =
        ["EXPIRE @ #", "PEXPIRE @ #", "EXPIREAT @ #", "PEXPIREAT @ #", "EXPIRE @none #", "EXPIRE @ # XX"];
    let others = [
        "INCRBY @n #",
        "DECRBY @n #",
        "GETRANGE @ # -1",
        "GETRANGE @ 0 #",
        "SUBSTR @ # #",
        "SETRANGE @ # x",
        "SCAN 0 COUNT # MATCH @",
        "COPY @ @c DB #",
        "SELECT #",
        "HELLO #",
        "CLIENT KILL ID #",
        "CLIENT UNBLOCK #",
        "SLOWLOG GET #",
        "ACL LOG #",
        "MEMORY USAGE @none SAMPLES #",
    ];
    let mut differences = Vec::new();
    for line in times.iter().chain(&kept).chain(&expire).chain(&others) {
        for number in numbers {
            let line = line.replace('@', "{o}").replace('#', number);
            // With reads before and after, so that the effects of the command on its keys are seen, too.
            for line in ["DEL {o}n {o}c", "SET {o} abc", &line, "GET {o}", "EXISTS {o}n {o}c"] {
                let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                let (got, want) = (ours.ask(&words), theirs.ask(&words));
                if got != want {
                    differences.push(format!("{line}: {got:?}, Redis {want:?}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
