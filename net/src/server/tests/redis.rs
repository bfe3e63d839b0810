//! The remaining commands of Redis clients: derived values, several keys, all keys, administration; in RESP2
//! and RESP3.

use super::*;
use synod_types::operand::{
    SCAN_END, pairs, put_scan_key, set_scan_next, split_compared, start_scan_page, version_bytes,
};
use synod_types::{Compare, ExpiryTest, bucket_of, group_of};

impl Toy {
    /// The commands that the first tests do not need.
    pub(super) fn execute_more(
        &mut self,
        command: &Command<Shared>,
        old: Option<Vec<u8>>,
        held: Version,
        version: Version,
    ) -> Reply<Vec<u8>> {
        let key = command.key.as_ref().to_vec();
        let value_of =
            |old: Option<Vec<u8>>| old.map_or(Reply::Nil, |value| Reply::Value { value, version: held });
        let compares = |wanted: &[u8], compare| match compare {
            Compare::Equal => old.as_deref() == Some(wanted),
            Compare::NotEqual => old.as_deref() != Some(wanted),
            Compare::Version => old.is_some() && version_bytes(held) == wanted,
            _ => {
                let digest = old.as_ref().map(|old| xxhash_rust::xxh3::xxh3_64(old).to_le_bytes());
                (digest.is_some_and(|digest| digest == wanted)) == (compare == Compare::DigestEqual)
            }
        };
        match &command.op {
            Op::GetDelete => value_of(self.values.remove(&key)),
            Op::GetExpire(_) => value_of(old),
            Op::SetExpiryIf { .. } | Op::Copy { .. } if old.is_none() => Reply::Int(0),
            Op::SetExpiryIf { test, .. } => {
                Reply::Int(i64::from(matches!(test, ExpiryTest::Unset | ExpiryTest::Earlier)))
            }
            Op::ExpireTime => Reply::Int(if old.is_some() { 1_700_000_000_500 } else { -2 }),
            Op::CountKeys => Reply::Int(self.values.keys().filter(|key| self.group(key) == 1).count() as i64),
            Op::SetIf { compare, return_old, .. } => {
                let (wanted, _, value) = split_compared(command.operand.as_ref()).expect("well formed");
                let holds = compares(wanted, *compare);
                if holds {
                    self.values.insert(key, value.to_vec());
                }
                match *return_old {
                    true => value_of(old),
                    false if holds => Reply::Done { version },
                    false => Reply::Skipped,
                }
            }
            Op::DeleteIf { compare } => {
                let holds = old.is_some() && compares(command.operand.as_ref(), *compare);
                if holds {
                    self.values.remove(&key);
                }
                Reply::Int(i64::from(holds))
            }
            Op::SetMany { condition, .. } => {
                let packed = command.operand.as_ref();
                let there = pairs(packed).any(|pair| self.values.contains_key(pair.key));
                if *condition == Condition::IfAbsent && there {
                    return Reply::Int(0);
                }
                for pair in pairs(packed) {
                    self.values.insert(pair.key.to_vec(), pair.value.to_vec());
                }
                Reply::Int(1)
            }
            Op::Rename { replace } | Op::Copy { replace } => {
                let target = command.operand.as_ref();
                let Some(old) = old else { return Reply::Nil };
                if self.values.contains_key(target) && !replace {
                    return Reply::Int(0);
                }
                if matches!(command.op, Op::Rename { .. }) {
                    self.values.remove(&key);
                }
                self.values.insert(target.to_vec(), old);
                Reply::Int(1)
            }
            Op::Flush => {
                self.values.clear();
                Reply::Done { version }
            }
            // All keys are given to the first group that asks: this tests how pages are walked.
            Op::Scan { position, count } => {
                let mut page = Vec::new();
                start_scan_page(&mut page);
                let from = (*position & 0xFFFF_FFFF) as usize;
                let found: Vec<_> = self.values.keys().skip(from).take(*count as usize).collect();
                found.iter().for_each(|key| put_scan_key(&mut page, key));
                let next = from + found.len();
                set_scan_next(
                    &mut page,
                    if next >= self.values.len() { SCAN_END } else { 1 << 32 | next as u64 },
                );
                Reply::Value { value: page, version }
            }
            Op::RandomKey { .. } => value_of(self.values.keys().next().cloned()),
            other => panic!("{other:?}"),
        }
    }

    fn group(&self, key: &[u8]) -> u16 {
        group_of(bucket_of(key), 1).get()
    }
}

/// The output with one group, so that any keys may go together.
fn tell(lines: &str) -> String {
    let server = ServerConfig { info: ServerInfo { group_count: 1, ..ServerInfo::default() }, ..server() };
    said(&mut connect(server), &mut Toy::default(), lines)
}

#[test]
fn values_are_read_in_part_compared_and_derived_as_in_redis() {
    for (line, want) in [
        (
            "SET k Hello\nGETRANGE k 1 3\nSUBSTR k -3 -1\nGETRANGE k 3 1\nGETRANGE k 0 -1\nGETRANGE k 9 12",
            "+OK|$3|ell|$3|llo|$0||$5|Hello|$0||",
        ),
        ("GETRANGE none 0 -1\nGETRANGE none a 1", "$0||-ERR value is not an integer or out of range|"),
        ("GETDEL k\nSET k v\nGETDEL k\nGET k", "$-1|+OK|$1|v|$-1|"),
        (
            "SET k v\nGETEX k\nGETEX k EX 10\nGETEX k PERSIST\nGETEX k PERSIST EX 1\nGETEX k EX 0",
            "+OK|$1|v|$1|v|$1|v|-ERR syntax error|-ERR invalid expire time in 'getex' command|",
        ),
        ("APPEND k a\nAPPEND k bc\nGET k", ":1|:3|$3|abc|"),
        (
            "SETRANGE k 2 x\nSETRANGE k 0 y\nSTRLEN k\nSETRANGE k -1 x\nSETRANGE n 5 \"\"\nEXISTS n",
            ":3|:3|:3|-ERR offset is out of range|:0|:0|",
        ),
        ("SETRANGE k 1048576 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)|"),
        (
            "SET n 10.50\nINCRBYFLOAT n 0.1\nINCRBYFLOAT n -5\nINCRBYFLOAT n x",
            "+OK|$4|10.6|$3|5.6|-ERR value is not a valid float|",
        ),
        ("SET n x\nINCRBYFLOAT n 1", "+OK|-ERR value is not a valid float|"),
        ("SET k v\nSET k w IFEQ x\nSET k w IFEQ v\nGET k", "+OK|$-1|+OK|$1|w|"),
        ("SET k v IFEQ v\nSET k v IFNE x\nSET k w IFNE v GET\nSET k w IFNE q GET", "$-1|+OK|$1|v|$1|v|"),
        (
            "SET k v IFEQ v NX\nSET k v NX IFEQ v\nSET k v IFEQ",
            "-ERR syntax error|-ERR syntax error|-ERR syntax error|",
        ),
        (
            "SET k v\nDELEX k IFEQ w\nDELEX k IFNE w\nDELEX k\nDELEX k FOO x\nDELEX k IFEQ",
            "+OK|:0|:1|:0|-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE|\
             -ERR wrong number of arguments for 'delex' command|",
        ),
        ("SET k v\nDELIFEQ k w\nDELIFEQ k v\nDELIFEQ k v", "+OK|:0|:1|:0|"),
        (
            "DIGEST k\nSET k \"Hello world\"\nDIGEST k\nDELEX k IFDEQ b6acb9d84a38ff74\nDELEX k IFDEQ x",
            "$-1|+OK|$16|b6acb9d84a38ff74|:1|-ERR must be exactly 16 hexadecimal characters|",
        ),
        (
            "SET k v\nEXPIRE k 1 NX\nEXPIRE k 1 GT\nEXPIRE k 1 XX LT\nEXPIRE k 1 NX XX\nEXPIRE k 1 GT LT",
            "+OK|:1|:0|:0|-ERR NX and XX, GT or LT options at the same time are not compatible|\
             -ERR GT and LT options at the same time are not compatible|",
        ),
        ("EXPIRETIME k\nSET k v\nEXPIRETIME k\nPEXPIRETIME k", ":-2|+OK|:1700000001|:1700000000500|"),
        (
            "OBJECT ENCODING k\nSET k 12\nOBJECT ENCODING k\nOBJECT REFCOUNT k\nOBJECT IDLETIME k",
            "$-1|+OK|$3|int|:1|:0|",
        ),
        (
            "SET k v\nOBJECT ENCODING k\nOBJECT FOO k\nOBJECT ENCODING",
            "+OK|$6|embstr|-ERR unknown subcommand 'FOO'. Try OBJECT HELP.|\
             -ERR wrong number of arguments for 'object|encoding' command|",
        ),
    ] {
        assert_eq!(tell(line), want, "{line}");
    }
    assert!(tell("SET k v\nOBJECT FREQ k").contains("-ERR An LFU maxmemory policy is not selected"));
}

#[test]
fn several_keys_go_together_or_are_refused() {
    for (line, want) in [
        ("MSETNX a 1 b 2\nMSETNX b 3 c 4\nMGET a b c", ":1|:0|*3|$1|1|$1|2|$-1|"),
        ("MSETNX a", "-ERR wrong number of arguments for 'msetnx' command|"),
        ("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command|"),
        ("MSETEX 2 a 1 b 2 EX 10\nMSETEX 2 a 1 b 2 NX\nMGET a b", ":1|:0|*2|$1|1|$1|2|"),
        (
            "MSETEX 0 a 1\nMSETEX 2 a 1 b\nMSETEX 1 a 1 FOO\nMSETEX 1 a 1 EX 0",
            "-ERR invalid numkeys value|-ERR wrong number of arguments for 'msetex' command|\
             -ERR syntax error|-ERR invalid expire time in 'msetex' command|",
        ),
        ("RENAME a b\nSET a 1\nRENAME a b\nGET b\nRENAMENX b b", "-ERR no such key|+OK|+OK|$1|1|:0|"),
        (
            "COPY a b\nSET a 1\nCOPY a b\nCOPY a b\nCOPY a b REPLACE\nCOPY a a\nCOPY a b DB 1",
            ":0|+OK|:1|:0|:1|-ERR source and destination objects are the same|-ERR DB index is out of range|",
        ),
    ] {
        assert_eq!(tell(line), want, "{line}");
    }
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot|";
    for line in ["MSETNX a 1 b 2", "RENAME a b", "COPY a b", "MSETEX 2 a 1 b 2"] {
        assert_eq!(say(line), cross, "{line}");
    }
    assert_eq!(say("MSETNX {x}a 1 {x}b 2\nRENAME {x}a {x}c\nEXISTS {x}c"), ":1|+OK|:1|");
}

#[test]
fn all_keys_are_walked_counted_and_flushed() {
    for (line, want) in [
        ("MSET a 1 b 2 c 3\nSCAN 0 COUNT 2", "+OK|*2|$10|4294967298|*2|$1|a|$1|b|"),
        ("MSET a 1 b 2 c 3\nSCAN 4294967298 COUNT 2 MATCH c*", "+OK|*2|$1|0|*1|$1|c|"),
        ("MSET a 1 b 2\nSCAN 0 TYPE hash\nSCAN 0 TYPE string MATCH A", "+OK|*2|$1|0|*0|*2|$1|0|*0|"),
        (
            "SCAN x\nSCAN 0 COUNT 0\nSCAN 0 COUNT\nSCAN 0 COUNT x",
            "-ERR invalid cursor|-ERR syntax error|-ERR syntax error|-ERR value is not an integer or out of range|",
        ),
        ("SCAN 18446744073709551615", "*2|$1|0|*0|"),
        ("MSET ka 1 kb 2 x 3\nKEYS k*\nKEYS K*\nDBSIZE", "+OK|*2|$2|ka|$2|kb|*0|:3|"),
        ("RANDOMKEY\nSET a 1\nRANDOMKEY", "$-1|+OK|$1|a|"),
        ("SET a 1\nFLUSHALL\nGET a\nFLUSHDB ASYNC\nFLUSHALL NOW", "+OK|+OK|$-1|+OK|-ERR syntax error|"),
        // A command after a job is executed after it.
        ("SET a 1\nAPPEND a 2\nGET a\nFLUSHALL\nGET a", "+OK|:2|$2|12|+OK|$-1|"),
    ] {
        assert_eq!(tell(line), want, "{line}");
    }
}

#[test]
fn monitors_and_administrators_get_true_answers_or_clear_words() {
    for (line, want) in [
        (
            "WAIT 1 100\nWAITAOF 1 1 0\nWAIT x 1\nWAIT 1 -1",
            ":1|*2|:1|:1|-ERR value is not an integer or out of range|-ERR timeout is negative|",
        ),
        (
            "SLOWLOG GET\nSLOWLOG LEN\nSLOWLOG RESET\nSLOWLOG FOO",
            "*0|:0|+OK|-ERR unknown subcommand 'FOO'. Try SLOWLOG HELP.|",
        ),
        ("LATENCY LATEST\nLATENCY HISTORY x\nLATENCY RESET\nLATENCY HISTOGRAM", "*0|*0|:0|*0|"),
        ("ROLE\nLASTSAVE", "*3|$6|master|:0|*0|:12|"),
        ("ACL WHOAMI\nACL USERS\nACL CAT nope", "$7|default|*1|$7|default|-ERR Unknown category 'nope'|"),
        ("FUNCTION FLUSH\nFUNCTION LIST", "+OK|*0|"),
        (
            "SET k vvvv\nMEMORY USAGE k\nMEMORY USAGE x\nMEMORY USAGE k SAMPLES x",
            "+OK|:69|$-1|-ERR value is not an integer or out of range|",
        ),
        (
            "CONFIG RESETSTAT\nCONFIG SET save \"\"\nCONFIG SET save 1",
            "+OK|+OK|-ERR CONFIG SET failed (possibly related to argument 'save') - can't set immutable config|",
        ),
        ("CONFIG SET foo 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'|"),
        (
            "COMMAND GETKEYS MSET a 1 b 2\nCOMMAND GETKEYS PING\nCOMMAND GETKEYS NOPE",
            "*2|$1|a|$1|b|-ERR The command has no key arguments|-ERR Invalid command specified|",
        ),
        (
            "COMMAND GETKEYS MSETEX 2 a 1 b 2\nCOMMAND GETKEYS COPY a b\nCOMMAND GETKEYS GET",
            "*2|$1|a|$1|b|*2|$1|a|$1|b|-ERR Invalid number of arguments specified for command|",
        ),
        ("COMMAND LIST FILTERBY PATTERN *range", "*2|$8|getrange|$8|setrange|"),
        (
            "CLIENT KILL 1.2.3.4:5\nCLIENT KILL ID 9\nCLIENT KILL FOO 1",
            "-ERR No such client|:0|-ERR syntax error|",
        ),
        ("CLIENT KILL ID 7 SKIPME no\nPING", ":1|"),
        ("CLIENT REPLY SKIP\nPING\nECHO a", "$1|a|"),
        ("CLIENT REPLY OFF\nSET k v\nGET k\nAPPEND k w\nCLIENT REPLY ON\nGET k", "+OK|$2|vw|"),
        (
            "CLIENT REPLY MAYBE\nCLIENT TRACKING OFF\nCLIENT UNPAUSE\nCLIENT GETREDIR",
            "-ERR syntax error|+OK|+OK|:-1|",
        ),
    ] {
        assert_eq!(tell(line), want, "{line}");
    }
    for line in ["DEBUG SLEEP 1", "SHUTDOWN", "MONITOR", "CLIENT PAUSE 1", "CLIENT TRACKING ON"] {
        assert!(tell(line).starts_with("-ERR "), "{line}");
    }
}

#[test]
fn resp3_has_its_own_nils_maps_and_texts() {
    let three = |line: &str| {
        let all = tell(&format!("HELLO 3\n{line}"));
        all.split_once("modules|*0|").expect("hello").1.to_owned()
    };
    for (line, want) in [
        ("GETDEL k", "_|"),
        ("SET k v IFEQ x", "_|"),
        ("DIGEST k\nRANDOMKEY\nOBJECT ENCODING k\nMEMORY USAGE k", "_|_|_|_|"),
        ("LATENCY HISTOGRAM\nMEMORY STATS", "%0|%0|"),
        (
            "MEMORY DOCTOR",
            "=84|txt:The index lives in memory, values in the log; the cache never passes its budget.|",
        ),
        ("SET k 1\nINCRBYFLOAT k 0.5\nSCAN 0", "+OK|$3|1.5|*2|$1|0|*1|$1|k|"),
    ] {
        assert_eq!(three(line), want, "{line}");
    }
}

/// The next ask of a connection whose asks the test answers itself.
fn asked(connection: &mut Connection, line: &str) -> (Tag, Op) {
    connection.received(line.as_bytes());
    next_ask(connection)
}

fn next_ask(connection: &mut Connection) -> (Tag, Op) {
    let (tag, command) = next_command(connection);
    (tag, command.op)
}

fn next_command(connection: &mut Connection) -> (Tag, Command<Shared>) {
    match connection.next() {
        Some(Ask::Command { tag, command, .. }) => (tag, command),
        other => panic!("{other:?}"),
    }
}

fn sent(connection: &mut Connection) -> String {
    String::from_utf8(std::mem::take(connection.out())).expect("ASCII")
}

/// A derived value as long as a value may be is written together with the version it was made from, and that
/// is still a valid command; one byte more is refused as Redis refuses it.
#[test]
fn the_longest_derived_value_is_a_command_and_a_longer_one_is_refused() {
    use synod_types::limits::VALUE_BYTES_MAX;
    let version = Version { slot: Slot::new(5), position: 1 };
    let refusal = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    let old = vec![b'a'; VALUE_BYTES_MAX - 6];
    for (line, old, len) in [
        ("SETRANGE k 1048570 abcdef\r\n", &old[..1], Some(VALUE_BYTES_MAX)),
        ("SETRANGE k 1048560 abcdef\r\n", &old[..1], Some(VALUE_BYTES_MAX - 10)),
        ("SETRANGE k 1048571 abcdef\r\n", &old[..1], None),
        ("APPEND k abcdef\r\n", &old[..], Some(VALUE_BYTES_MAX)),
        ("APPEND k abcdefg\r\n", &old[..], None),
    ] {
        let mut connection = connect(server());
        let (tag, _) = asked(&mut connection, line);
        connection.reply(tag, Reply::Value { value: old, version });
        let Some(len) = len else {
            assert!(connection.next().is_none());
            assert_eq!(sent(&mut connection), refusal, "{line}");
            continue;
        };
        let (_, command) = next_command(&mut connection);
        assert_eq!((command.key.as_ref(), command.check()), (&b"k"[..], Ok(())), "{line}");
        let Op::SetIf { compare: Compare::Version, .. } = command.op else { panic!("{command:?}") };
        assert_eq!(split_compared(command.operand.as_ref()).expect("well formed").2.len(), len);
        connection.reply(tag, Reply::Done { version });
        assert!(connection.next().is_none());
        assert_eq!(sent(&mut connection), format!(":{len}\r\n"));
    }
}

#[test]
fn a_derived_value_is_made_anew_when_another_write_came_between() {
    let version = |slot| Version { slot: Slot::new(slot), position: 1 };
    let mut connection = connect(server());
    let (tag, op) = asked(&mut connection, "APPEND k b\r\nPING\r\n");
    assert_eq!(op, Op::Get);
    assert!(connection.next().is_none() && !connection.wants_read());
    connection.reply(tag, Reply::Value { value: b"a", version: version(5) });
    let (_, command) = next_command(&mut connection);
    let Op::SetIf { compare: Compare::Version, expiry: Expiry::Keep, return_old: false, value_crc } =
        command.op
    else {
        panic!("{command:?}")
    };
    let (wanted, _, value) = split_compared(command.operand.as_ref()).expect("well formed");
    assert_eq!((wanted, value), (version_bytes(version(5)).as_slice(), b"ab".as_slice()));
    assert_eq!(value_crc, synod_types::checksum::crc32c(b"ab"));
    connection.reply(tag, Reply::Skipped);
    assert_eq!(next_ask(&mut connection).1, Op::Get);
    connection.reply(tag, Reply::Nil);
    let (_, op) = next_ask(&mut connection);
    assert!(matches!(op, Op::Set { condition: Condition::IfAbsent, expiry: Expiry::None, .. }), "{op:?}");
    assert_eq!(sent(&mut connection), "");
    connection.reply(tag, Reply::Done { version: version(7) });
    assert!(connection.next().is_none());
    assert_eq!(sent(&mut connection), ":1\r\n+PONG\r\n");
    // A client that has stopped sending gets everything that it asked for.
    let (tag, _) = asked(&mut connection, "APPEND k b\r\nSET z 1\r\n");
    connection.received_end();
    assert!(connection.next().is_none() && !connection.closing());
    connection.reply(tag, Reply::Error(ErrorKind::NoLeader));
    assert!(matches!(next_ask(&mut connection).1, Op::Set { .. }));
    let mut connection = connect(server());
    // An unknown write stays unknown; a client whose writes never get through is told that nothing was
    // executed.
    let (tag, _) = asked(&mut connection, "APPEND k b\r\n");
    connection.reply(tag, Reply::Nil);
    next_ask(&mut connection);
    connection.reply(tag, Reply::Error(ErrorKind::Unknown));
    assert!(sent(&mut connection).starts_with("-UNKNOWN "));
    let (tag, _) = asked(&mut connection, "APPEND k b\r\n");
    let mut tries = 0;
    while sent(&mut connection).is_empty() {
        connection.reply(tag, Reply::Nil);
        next_ask(&mut connection);
        connection.reply(tag, Reply::Skipped);
        tries += 1;
        let _ = connection.next();
        assert!(tries < 1000);
    }
    assert_eq!(tries, 128);
}

#[test]
fn a_flush_of_every_group_is_unknown_if_one_part_is() {
    let done = Reply::Done { version: Version::default() };
    let mut connection = connect(server());
    let run = |connection: &mut Connection, replies: &[Reply<&[u8]>]| {
        let (tag, op) = asked(connection, "FLUSHALL\r\n");
        assert_eq!(op, Op::Flush);
        for (at, reply) in replies.iter().enumerate() {
            connection.reply(tag, *reply);
            let groups = connection.next();
            assert_eq!(groups.is_some(), at + 1 < replies.len());
        }
        sent(connection)
    };
    assert_eq!(run(&mut connection, &[done; 4]), "+OK\r\n");
    let no_leader = Reply::Error(ErrorKind::NoLeader);
    assert!(run(&mut connection, &[no_leader]).starts_with("-CLUSTERDOWN "));
    assert!(run(&mut connection, &[done, no_leader]).starts_with("-UNKNOWN some groups"));
    assert!(run(&mut connection, &[Reply::Error(ErrorKind::Unknown)]).starts_with("-UNKNOWN "));
}
