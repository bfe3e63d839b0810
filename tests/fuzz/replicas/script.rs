//! Bytes as a script: every choice is a byte, most choices lead to the ends of the legal range, and a long
//! value is a length and a seed. Missing bytes are zeros, so that every script has an end.

use synod_types::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{
    Command, Condition, Consistency, Expiry, IfEqualAction, Namespace, Op, SessionId, SessionStamp, Version,
    WallMs,
};

/// Roughly the bytes that one script may have written: a run should take milliseconds.
const BYTES_MAX: usize = 12 << 20;
/// Wall-clock time at which a cluster begins.
pub(super) const WALL_MS: u64 = 1_700_000_000_000;

/// The commands of RESP; a command is drawn as often as it stands here.
const NAMES: &[&str] = &[
    "SET",
    "SET",
    "SET",
    "APPEND",
    "SETRANGE",
    "APPEND",
    "SETRANGE",
    "GET",
    "GETSET",
    "SETNX",
    "SETEX",
    "PSETEX",
    "INCR",
    "DECR",
    "INCRBY",
    "DECRBY",
    "INCRBYFLOAT",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "PERSIST",
    "TTL",
    "PTTL",
    "EXPIRETIME",
    "PEXPIRETIME",
    "STRLEN",
    "TYPE",
    "DEL",
    "UNLINK",
    "EXISTS",
    "MGET",
    "MSET",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "DIGEST",
    "OBJECT",
    "MEMORY",
    "DELEX",
    "DELIFEQ",
    "RENAME",
    "RENAMENX",
    "COPY",
    "COPY",
    "MSETNX",
    "MSETEX",
    "SCAN",
    "KEYS",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHALL",
    "EVALSHA",
    "CLUSTER",
    "PING",
    "TOUCH",
];

/// A script while it is read.
pub(super) struct Script<'a> {
    rest: &'a [u8],
    bytes_left: usize,
    /// Sessions and versions that clients were told, for later use: the last few, newest last.
    pub(super) sessions: Vec<SessionId>,
    pub(super) versions: Vec<Version>,
    sequence: u64,
}

impl<'a> Script<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let (sessions, versions) = (Vec::new(), Vec::new());
        Self { rest: data, bytes_left: BYTES_MAX, sessions, versions, sequence: 0 }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&first, rest)) => {
                self.rest = rest;
                first
            }
            None => 0,
        }
    }

    pub(super) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A length at one of the limits of values; short once the script has used its share.
    fn len(&mut self) -> usize {
        let near = usize::from(self.byte());
        let len = match self.below(18) {
            0 => 0,
            1 => 1,
            2 => near,
            3 => 20 + near % 5,     // the most that the index itself holds
            4 => 2046 + near % 4,   // around the least that is not copied out of the input
            5 => (64 << 10) - near, // the most that is read at once
            6 => BATCH_BYTES_MAX - near,
            7 => (256 << 10) - near,
            8 => VALUE_BYTES_MAX / 2 + near - 128,
            9..=11 => VALUE_BYTES_MAX - near % 48,
            12 => VALUE_BYTES_MAX,
            13 => VALUE_BYTES_MAX + 1,
            14 => VALUE_BYTES_MAX + near,
            15 => usize::from(self.u16()),
            _ => 30 + near,
        };
        self.spend(len)
    }

    /// A length that, with `there` bytes used, just fills `limit`, stays just below it, or exceeds it.
    fn rest_of(&mut self, limit: usize, there: usize) -> usize {
        let near = usize::from(self.below(32));
        let len = (limit + 4).saturating_sub(there + near);
        self.spend(len)
    }

    /// `len`, or a small length if `len` is more than this run may still use.
    fn spend(&mut self, len: usize) -> usize {
        let len = if len > self.bytes_left { len % 64 } else { len };
        self.bytes_left = self.bytes_left.saturating_sub(len);
        len
    }

    /// A value that, together with `there` bytes, is about as long as a value may be; or any value.
    fn value_beside(&mut self, there: usize) -> Vec<u8> {
        match self.below(3) {
            0 => {
                let (len, seed) = (self.rest_of(VALUE_BYTES_MAX, there), self.byte());
                filled(len, seed)
            }
            _ => self.value(),
        }
    }

    /// A key: one of few, of one group or the other; mostly the same one.
    fn key(&mut self) -> Vec<u8> {
        let choice = self.byte();
        if choice >= 144 {
            return b"{a}0".to_vec();
        }
        // {a} lies in one group of two, {b} in the other.
        let tag = if choice & 1 == 0 { "{a}" } else { "{b}" };
        let mut key = format!("{tag}{}", choice >> 1 & 3).into_bytes();
        match choice >> 3 {
            0 => key.clear(),
            1 => key = vec![b'k'],
            2 => key.resize(KEY_BYTES_MAX - 1, b'.'),
            3 | 4 => key.resize(KEY_BYTES_MAX, b'.'),
            5 => key.resize(KEY_BYTES_MAX + 1, b'.'),
            6 => key.resize(255 + usize::from(choice & 7), b'.'),
            7 => key.extend_from_slice(b"\0\r\n\xff"),
            _ => {}
        }
        key
    }

    /// A value: a number, or bytes of some length.
    fn value(&mut self) -> Vec<u8> {
        match self.byte() {
            choice @ 0..48 => match choice % 6 {
                0 => b"3.5e1".to_vec(),
                1 => b"1.7e308".to_vec(),
                2 => b"-0".to_vec(),
                3 => b" 1".to_vec(),
                _ => self.number().to_string().into_bytes(),
            },
            seed => {
                let len = self.len();
                filled(len, seed)
            }
        }
    }

    /// A number at one of the limits of numbers.
    fn number(&mut self) -> i64 {
        let near = i64::from(self.byte());
        match self.below(16) {
            0 => 0,
            1 => 1,
            2 => -1,
            3 => i64::MAX - near % 3,
            4 => i64::MIN + near % 3,
            5 => i64::MAX / 1000 + near % 3 - 1,
            6 => i64::MAX - WALL_MS as i64 - near * 50,
            7 => WALL_MS as i64 + near * 20,
            8 => WALL_MS as i64 / 1000 + near % 8,
            9 => i64::from(u32::MAX) + near % 3 - 1,
            10 => -near,
            11 => near * 10,
            12 => 1 << (near % 63),
            _ => near,
        }
    }

    fn text(&mut self) -> Vec<u8> {
        self.number().to_string().into_bytes()
    }

    /// EX, PX, EXAT, PXAT or KEEPTTL; often none of them.
    fn expiry_words(&mut self) -> Vec<Vec<u8>> {
        match self.below(9) {
            0 => vec![b"EX".to_vec(), self.text()],
            1 => vec![b"PX".to_vec(), self.text()],
            2 => vec![b"EXAT".to_vec(), self.text()],
            3 => vec![b"PXAT".to_vec(), self.text()],
            4 => vec![b"KEEPTTL".to_vec()],
            _ => Vec::new(),
        }
    }

    /// A comparison and its operand.
    fn wanted_words(&mut self) -> Vec<Vec<u8>> {
        let digest = |value: &[u8]| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(value)).into_bytes();
        match self.below(4) {
            0 => vec![b"IFEQ".to_vec(), self.value()],
            1 => vec![b"IFNE".to_vec(), self.value()],
            2 => vec![b"IFDEQ".to_vec(), digest(&self.value())],
            _ => vec![b"IFDNE".to_vec(), digest(&self.value())],
        }
    }

    /// A number of keys or pairs at one of its limits.
    fn count(&mut self) -> usize {
        match self.below(8) {
            0 => 0,
            1 => BATCH_COMMANDS_MAX + usize::from(self.below(3)) - 1,
            2 => 1023 + usize::from(self.below(4)),
            _ => 1 + usize::from(self.below(4)),
        }
    }

    /// Keys and values. If there are many, they are short.
    fn pairs(&mut self) -> Vec<Vec<u8>> {
        let count = self.count();
        if count <= 4 {
            let mut pairs = Vec::new();
            let mut there = 0;
            for _ in 0..count {
                let key = self.key();
                let value = self.value_beside(there + 12 + key.len());
                there += 12 + key.len() + value.len();
                pairs.extend([key, value]);
            }
            return pairs;
        }
        let count = self.spend(count * 64) / 64;
        (0..count).flat_map(|at| [format!("{{a}}{at}").into_bytes(), b"some value".to_vec()]).collect()
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        let count = self.count();
        if count <= 4 {
            return (0..count).map(|_| self.key()).collect();
        }
        (0..count).map(|at| format!("{{a}}{}", at % 9).into_bytes()).collect()
    }

    /// One command of RESP, its name first.
    pub(super) fn words(&mut self) -> Vec<Vec<u8>> {
        let name = self.pick(NAMES);
        let mut words = vec![name.as_bytes().to_vec()];
        words.extend(self.arguments(name));
        words
    }

    fn arguments(&mut self, name: &str) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        match name {
            "SET" => return self.set_arguments(),
            "APPEND" => {
                let there = self.pick(&[0, 1, 22, 23, 30, VALUE_BYTES_MAX / 2, VALUE_BYTES_MAX - 100]);
                words.extend([self.key(), self.value_beside(there)]);
            }
            "GETSET" | "SETNX" | "DELIFEQ" => words.extend([self.key(), self.value()]),
            "SETRANGE" => return self.set_range_arguments(),
            "SETEX" | "PSETEX" => words.extend([self.key(), self.text(), self.value()]),
            "INCRBY" | "DECRBY" => words.extend([self.key(), self.text()]),
            "INCRBYFLOAT" => words.extend([self.key(), self.value()]),
            "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => {
                words.extend([self.key(), self.text()]);
                let tests: &[&[&str]] =
                    &[&[], &["NX"], &["XX"], &["GT"], &["LT"], &["XX", "LT"], &["NX", "XX"]];
                words.extend(self.pick(tests).iter().map(|word| word.as_bytes().to_vec()));
            }
            "DEL" | "UNLINK" | "EXISTS" | "MGET" | "TOUCH" => words.extend(self.keys()),
            "MSET" | "MSETNX" => words.extend(self.pairs()),
            "MSETEX" => return self.set_many_arguments(),
            "GETEX" => {
                words.push(self.key());
                match self.below(4) {
                    0 => words.push(b"PERSIST".to_vec()),
                    _ => words.extend(self.expiry_words()),
                }
            }
            "GETRANGE" => words.extend([self.key(), self.text(), self.text()]),
            "OBJECT" => {
                let what = self.pick(&["ENCODING", "REFCOUNT", "IDLETIME", "FREQ"]);
                words.extend([what.as_bytes().to_vec(), self.key()]);
            }
            "MEMORY" => words.extend([b"USAGE".to_vec(), self.key()]),
            "DELEX" => {
                words.push(self.key());
                if self.below(3) > 0 {
                    words.extend(self.wanted_words());
                }
            }
            "RENAME" | "RENAMENX" => words.extend([self.key(), self.key()]),
            "COPY" => {
                words.extend([self.key(), self.key()]);
                if self.below(2) == 0 {
                    words.push(b"REPLACE".to_vec());
                }
            }
            "SCAN" => {
                let cursor = self.pick(&[0, 1, 1 << 48, 5 << 48, u64::MAX]);
                words.extend([cursor.to_string().into_bytes(), b"COUNT".to_vec(), self.text()]);
            }
            "KEYS" => words.push(b"*".to_vec()),
            "RANDOMKEY" | "DBSIZE" | "FLUSHALL" | "PING" => {}
            "EVALSHA" => return self.script_arguments(),
            "CLUSTER" => return self.slot_arguments(),
            _ => words.push(self.key()),
        }
        words
    }

    fn set_arguments(&mut self) -> Vec<Vec<u8>> {
        let key = self.key();
        let options = match self.below(6) {
            0 => vec![b"NX".to_vec()],
            1 => vec![b"XX".to_vec()],
            2 | 3 => self.wanted_words(),
            _ => Vec::new(),
        };
        let there = options.get(1).map_or(0, Vec::len);
        let mut words = vec![key, self.value_beside(there)];
        words.extend(options);
        if self.below(3) == 0 {
            words.push(b"GET".to_vec());
        }
        words.extend(self.expiry_words());
        words
    }

    fn set_range_arguments(&mut self) -> Vec<Vec<u8>> {
        let (key, value) = (self.key(), self.value());
        let offset = match self.below(4) {
            0 => self.number(),
            1 => self.len() as i64,
            _ => self.rest_of(VALUE_BYTES_MAX, value.len()) as i64,
        };
        vec![key, offset.to_string().into_bytes(), value]
    }

    fn set_many_arguments(&mut self) -> Vec<Vec<u8>> {
        let pairs = self.pairs();
        let mut words = vec![(pairs.len() / 2).to_string().into_bytes()];
        words.extend(pairs);
        match self.below(4) {
            0 => words.push(b"NX".to_vec()),
            1 => words.push(b"XX".to_vec()),
            _ => {}
        }
        words.extend(self.expiry_words());
        words
    }

    fn script_arguments(&mut self) -> Vec<Vec<u8>> {
        let (digest, wanted) = self.pick(&[
            ("c3f8721cbb97f72bc19e972846bd7aaf91901658", 1),
            ("a4e8783852e6b949f9ef3a97212805108459a890", 3),
            ("1cac51482acf5858da00f6d685d68f886cd6b6b2", 2),
        ]);
        let mut words = vec![digest.as_bytes().to_vec(), b"1".to_vec(), self.key(), self.value()];
        for _ in 1..wanted {
            words.push(self.text());
        }
        words
    }

    fn slot_arguments(&mut self) -> Vec<Vec<u8>> {
        let slot = self.pick(&[0, 3300, 15495, 16383, 16384]);
        let slot = i64::to_string(&slot).into_bytes();
        match self.below(2) {
            0 => vec![b"COUNTKEYSINSLOT".to_vec(), slot],
            _ => vec![b"GETKEYSINSLOT".to_vec(), slot, self.text()],
        }
    }

    fn version(&mut self) -> Version {
        let choice = usize::from(self.byte());
        match choice % 8 {
            0 => Version::default(),
            1 => Version { slot: synod_types::Slot::new(u64::MAX), position: u32::MAX },
            _ => self.versions.get(choice / 8 % self.versions.len().max(1)).copied().unwrap_or_default(),
        }
    }

    fn expiry(&mut self) -> Expiry {
        let number = self.number().cast_unsigned();
        match self.below(6) {
            0 => Expiry::At(WallMs(number)),
            1 => Expiry::After(number),
            2 => Expiry::At(WallMs(u64::MAX - number % 2)),
            3 => Expiry::Keep,
            _ => Expiry::None,
        }
    }

    fn stamp(&mut self) -> SessionStamp {
        let choice = usize::from(self.byte());
        let session = match choice % 8 {
            0..=2 => return SessionStamp::default(),
            3 => SessionId::new(u64::MAX),
            _ => match self.sessions.get(choice / 8 % self.sessions.len().max(1)) {
                Some(&session) => session,
                None => return SessionStamp::default(),
            },
        };
        let sequence = match self.below(12) {
            0 => 0,
            1 => u64::MAX,
            2 => self.sequence, // the same one again
            3 => self.sequence.saturating_sub(3),
            _ => {
                self.sequence += 1;
                self.sequence
            }
        };
        let lowest_open = match self.below(6) {
            0 => sequence,
            1 => sequence.saturating_add(1),
            2 => sequence.saturating_sub(2),
            _ => 0,
        };
        SessionStamp { session, sequence, lowest_open }
    }

    /// One command of the binary protocol.
    pub(super) fn command(&mut self) -> (Consistency, Command<Vec<u8>>) {
        let consistency = if self.below(4) == 0 { Consistency::Quorum } else { Consistency::Linearizable };
        let namespace = Namespace::new(self.pick(&[0, 0, 0, 1, u16::MAX]));
        let (stamp, key) = (self.stamp(), self.key());
        let mut operand = Vec::new();
        let op = match self.below(12) {
            0 => Op::Get,
            1 => Op::Exists,
            2 => Op::Ttl,
            3 => Op::Delete,
            4 => Op::IncrementBy(self.number()),
            5 => Op::SetExpiry(self.expiry()),
            6 => Op::DeleteIfVersion(self.version()),
            7 | 8 => {
                let milliseconds = self.number().cast_unsigned();
                let then = match self.below(4) {
                    0 => IfEqualAction::Delete,
                    1 => IfEqualAction::ExpireAfter(milliseconds),
                    2 => IfEqualAction::RenewFor(milliseconds),
                    _ => IfEqualAction::ExtendBy(milliseconds),
                };
                operand = self.value();
                Op::IfEqual { then }
            }
            _ => {
                operand = self.value();
                let condition = match self.below(5) {
                    0 => Condition::IfAbsent,
                    1 => Condition::IfPresent,
                    2 => Condition::IfVersion(self.version()),
                    _ => Condition::Always,
                };
                let value_crc = synod_types::checksum::crc32c(&operand);
                let (expiry, return_old) = (self.expiry(), self.below(3) == 0);
                Op::Set { value_crc, condition, expiry, return_old }
            }
        };
        (consistency, Command { namespace, key, op, operand, stamp })
    }
}

/// Bytes that differ by place and by seed.
fn filled(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}
