//! Every number that a RESP command takes, at its ends: 0, -1, the largest and the smallest, and one past
//! each. The answers are Redis's.

use super::*;
use synod_types::{ExpiryTest, IfEqualAction};

/// The ends of a signed number, and one past each.
const ENDS: [&str; 6] =
    ["0", "-1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"];

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range|";
const EXTEND: &str = "a4e8783852e6b949f9ef3a97212805108459a890";
const REACQUIRE: &str = "1cac51482acf5858da00f6d685d68f886cd6b6b2";

/// The answer with one group, so that any keys may go together, and a key `h` with the value `abc`.
fn answered(line: &str) -> String {
    let server = ServerConfig { info: ServerInfo { group_count: 1, ..ServerInfo::default() }, ..server() };
    let mut toy = Toy::default();
    toy.values.insert(b"h".to_vec(), b"abc".to_vec());
    said(&mut connect(server), &mut toy, line)
}

fn asked(line: &str) -> Option<Op> {
    let mut connection = connect(server());
    connection.received(format!("{line}\r\n").as_bytes());
    match connection.next() {
        Some(Ask::Command { command, .. }) => Some(command.op),
        Some(other) => panic!("{line}: {other:?}"),
        None => None,
    }
}

#[test]
fn times_at_their_ends_are_no_times_or_refused() {
    let template = [
        "SET h v EX @",
        "SET h v PX @",
        "SET h v EXAT @",
        "SET h v PXAT @",
        "SET h v IFEQ abc EX @",
        "SETEX h @ v",
    ];
    let template =
        template.into_iter().chain(["PSETEX h @ v", "GETEX h EX @", "GETEX h PX @", "GETEX h EXAT @"]);
    for line in
        template.chain(["GETEX h PXAT @", "MSETEX 1 h v EX @", "MSETEX 1 h v PX @", "MSETEX 1 h v EXAT @"])
    {
        let name = line.split(' ').next().expect("a name").to_lowercase();
        let bad = format!("-ERR invalid expire time in '{name}' command|");
        for number in ENDS {
            let line = line.replace('@', number);
            let want = match number {
                "9223372036854775808" | "-9223372036854775809" => NOT_AN_INTEGER,
                // As a time in milliseconds it is valid; as a span it is refused where it is added to a
                // clock.
                "9223372036854775807" if line.contains("PX") || line.starts_with("PS") => continue,
                _ => &bad,
            };
            assert_eq!(answered(&line), want, "{line}");
            assert_eq!(asked(&line), None, "{line}");
        }
        // Seconds that do not fit as milliseconds.
        if !line.contains("PX") && !line.starts_with("PS") {
            let line = line.replace('@', "9223372036854776");
            assert_eq!(answered(&line), bad, "{line}");
            assert!(asked(&line.replace("776", "775")).is_some(), "{line}");
        }
    }
    for (line, want) in [
        ("SET h v PX 9223372036854775807", Expiry::After(i64::MAX as u64)),
        ("SET h v PXAT 9223372036854775807", Expiry::At(WallMs(i64::MAX as u64))),
        ("SET h v EX 9223372036854775", Expiry::After(9_223_372_036_854_775_000)),
        ("PSETEX h 9223372036854775807 v", Expiry::After(i64::MAX as u64)),
    ] {
        let Some(Op::Set { expiry, .. }) = asked(line) else { panic!("{line}") };
        assert_eq!(expiry, want, "{line}");
    }
}

#[test]
fn expire_deletes_with_zero_and_less_as_in_redis() {
    let gone = Expiry::At(WallMs(1));
    let largest = i64::MAX as u64;
    for (name, absolute, milliseconds) in [
        ("EXPIRE", false, false),
        ("PEXPIRE", false, true),
        ("EXPIREAT", true, false),
        ("PEXPIREAT", true, true),
    ] {
        let bad = format!("-ERR invalid expire time in '{}' command|", name.to_lowercase());
        let of = |ms| if absolute { Expiry::At(WallMs(ms)) } else { Expiry::After(ms) };
        for number in ENDS {
            let (line, tested) = (format!("{name} h {number}"), format!("{name} h {number} XX"));
            let want = match number {
                "0" | "-1" => Ok(gone),
                "9223372036854775807" if milliseconds => Ok(of(largest)),
                "-9223372036854775808" if milliseconds => Ok(gone),
                "9223372036854775808" | "-9223372036854775809" => Err(NOT_AN_INTEGER),
                _ => Err(bad.as_str()),
            };
            match want {
                Ok(expiry) => {
                    assert_eq!(asked(&line), Some(Op::SetExpiry(expiry)), "{line}");
                    let test = ExpiryTest::Set;
                    assert_eq!(asked(&tested), Some(Op::SetExpiryIf { expiry, test }), "{line}");
                }
                Err(error) => {
                    assert_eq!(answered(&line), error, "{line}");
                    assert_eq!(answered(&tested), error, "{line}");
                }
            }
        }
        let (most, more) = (format!("{name} h 9223372036854775"), format!("{name} h 9223372036854776"));
        let unit = if milliseconds { 1 } else { 1000 };
        assert_eq!(asked(&most), Some(Op::SetExpiry(of(9_223_372_036_854_775 * unit))));
        assert_eq!(asked(&more).is_none(), !milliseconds, "{more}");
        let least = format!("{name} h -9223372036854776");
        assert_eq!(asked(&least).is_none(), !milliseconds, "{least}");
    }
}

#[test]
fn milliseconds_of_lock_scripts_are_positive() {
    for number in ENDS {
        for (line, want) in [
            (format!("EVALSHA {REACQUIRE} 1 h t {number}"), IfEqualAction::ExpireAfter(i64::MAX as u64)),
            (format!("EVALSHA {EXTEND} 1 h t {number} 0"), IfEqualAction::ExtendBy(i64::MAX as u64)),
            (format!("EVALSHA {EXTEND} 1 h t {number} 1"), IfEqualAction::RenewFor(i64::MAX as u64)),
        ] {
            if number == "9223372036854775807" {
                let Some(Op::IfEqual { then }) = asked(&line) else { panic!("{line}") };
                assert_eq!(then, want, "{line}");
            } else {
                assert_eq!(
                    answered(&line),
                    format!("-ERR '{number}' is no number of milliseconds|"),
                    "{line}"
                );
            }
        }
        let line = format!("EVALSHA {REACQUIRE} {number} h t 1");
        assert_eq!(answered(&line), "-ERR this script takes one key and 2 arguments|", "{line}");
    }
}

#[test]
fn every_other_number_at_its_ends_is_answered_as_redis_answers() {
    const NO: &str = NOT_AN_INTEGER;
    const SYNTAX: &str = "-ERR syntax error|";
    const DB: &str = "-ERR DB index is out of range|";
    const WIDE: &str = "-ERR value is out of range, value must between -2147483648 and 2147483647|";
    const OFFSET: &str = "-ERR offset is out of range|";
    const LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)|";
    const KEYS: &str = "-ERR invalid numkeys value|";
    const KILL: &str = "-ERR client-id should be greater than 0|";
    const ID: &str = "-ERR Invalid client ID|";
    const COUNT: &str = "-ERR count should be greater than or equal to -1|";
    const LATE: &str = "-ERR timeout is not an integer or out of range|";
    const NEGATIVE: &str = "-ERR timeout is negative|";
    const LOCAL: &str = "-ERR value is out of range, value must between 0 and 1|";
    const POSITIVE: &str = "-ERR value is out of range, must be positive|";
    const PROTO: &str = "-NOPROTO unsupported protocol version|";
    const NO_PROTO: &str = "-ERR Protocol version is not an integer or out of range|";
    const SLOT: &str = "-ERR Invalid slot|";
    const SLOTS: &str = "-ERR Invalid slot or number of keys|";
    const PAGE: &str = "*2|$1|0|*1|$1|h|";
    const END: &str = "*2|$1|0|*0|";
    const AOF: &str = "*2|:1|:1|";
    // The answers to 0, -1, the largest, one more, the smallest, one less.
    for (line, want) in [
        ("INCRBY n @", [":0|", ":-1|", ":9223372036854775807|", NO, ":-9223372036854775808|", NO]),
        ("DECRBY n @", [":0|", ":1|", ":-9223372036854775807|", NO, "-ERR decrement would overflow|", NO]),
        ("GETRANGE h @ -1", ["$3|abc|", "$1|c|", "$0||", NO, "$3|abc|", NO]),
        ("GETRANGE h 0 @", ["$1|a|", "$3|abc|", "$3|abc|", NO, "$1|a|", NO]),
        ("SUBSTR h @ @", ["$1|a|", "$1|c|", "$0||", NO, "$1|a|", NO]),
        ("SETRANGE h @ x", [":3|", OFFSET, LONG, NO, OFFSET, NO]),
        ("SETRANGE h @ \"\"", [":3|", OFFSET, ":3|", NO, OFFSET, NO]),
        ("SCAN 0 COUNT @", [SYNTAX, SYNTAX, PAGE, NO, SYNTAX, NO]),
        ("COPY h c DB @", [":1|", DB, WIDE, NO, WIDE, NO]),
        ("SELECT @", ["+OK|", DB, WIDE, NO, WIDE, NO]),
        ("MSETEX @ a 1", [KEYS, KEYS, KEYS, KEYS, KEYS, KEYS]),
        ("CLIENT KILL ID @", [KILL, KILL, ":0|", KILL, KILL, KILL]),
        ("CLIENT UNBLOCK @", [":0|", ":0|", ":0|", NO, ":0|", NO]),
        ("CLIENT LIST ID @", ["$0||", "$0||", "$0||", ID, "$0||", ID]),
        ("SLOWLOG GET @", ["*0|", "*0|", "*0|", COUNT, COUNT, COUNT]),
        ("ACL LOG @", ["*0|", "*0|", "*0|", NO, "*0|", NO]),
        ("MEMORY USAGE h SAMPLES @", [":68|", SYNTAX, ":68|", NO, SYNTAX, NO]),
        ("WAIT @ 1", [":1|", ":1|", ":1|", NO, ":1|", NO]),
        ("WAIT 1 @", [":1|", NEGATIVE, ":1|", LATE, NEGATIVE, LATE]),
        ("WAITAOF @ 1 1", [AOF, LOCAL, LOCAL, NO, LOCAL, NO]),
        ("WAITAOF 1 @ 1", [AOF, POSITIVE, AOF, POSITIVE, POSITIVE, POSITIVE]),
        ("WAITAOF 1 1 @", [AOF, NEGATIVE, AOF, LATE, NEGATIVE, LATE]),
        ("HELLO @", [PROTO, PROTO, PROTO, NO_PROTO, PROTO, NO_PROTO]),
        ("CLUSTER COUNTKEYSINSLOT @", [":0|", SLOT, SLOT, NO, SLOT, NO]),
        ("CLUSTER GETKEYSINSLOT @ 1", ["*0|", SLOTS, SLOTS, NO, SLOTS, NO]),
        ("CLUSTER GETKEYSINSLOT 0 @", ["*0|", SLOTS, "*0|", NO, SLOTS, NO]),
    ] {
        for (number, want) in ENDS.iter().zip(want) {
            let line = line.replace('@', number);
            assert_eq!(answered(&line), want, "{line}");
        }
    }
    // Numbers of other widths.
    for (line, want) in [
        ("SCAN 18446744073709551615", END),
        ("SCAN 18446744073709551616", "-ERR invalid cursor|"),
        ("SCAN -1", "-ERR invalid cursor|"),
        ("COPY h c DB 2147483647", DB),
        ("COPY h c DB 2147483648", WIDE),
        ("MSETEX 2147483647 a 1", "-ERR wrong number of arguments for 'msetex' command|"),
        ("MSETEX 2147483648 a 1", KEYS),
        ("WAITAOF 2 1 1", LOCAL),
        ("CLUSTER COUNTKEYSINSLOT 16383", ":0|"),
        ("CLUSTER COUNTKEYSINSLOT 16384", SLOT),
        ("CLUSTER GETKEYSINSLOT 16384 1", SLOTS),
        ("SCAN 0 COUNT 4294967296", PAGE),
        ("CLIENT UNBLOCK 1 NOW", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR|"),
        ("ACL LOG RESET", "+OK|"),
        ("INCRBYFLOAT n 9223372036854775808", "$19|9223372036854775808|"),
        ("INCRBYFLOAT n 1e309", "-ERR value is not a valid float|"),
        ("SET n 1.7e308\nINCRBYFLOAT n 1.7e308", "+OK|-ERR increment would produce NaN or Infinity|"),
        (
            "INCRBY n -9223372036854775808\nDECR n",
            ":-9223372036854775808|-ERR increment or decrement would overflow|",
        ),
    ] {
        assert_eq!(answered(line), want, "{line}");
    }
    assert!(
        answered("CLIENT LIST ID 0 7").starts_with('$') && answered("CLIENT LIST ID 0 7").contains("id=7 ")
    );
    assert_eq!(answered("CLIENT KILL ID 7"), ":0|"); // SKIPME is yes
}

/// Lengths in the protocol itself.
#[test]
fn lengths_at_their_ends_break_the_connection_or_are_nothing() {
    const COUNT: &str = "-ERR Protocol error: invalid multibulk length|";
    const BULK: &str = "-ERR Protocol error: invalid bulk length|";
    let number = |line: &str, number: &str| line.replace('@', number);
    for (at, want) in ["+PONG|", "+PONG|", COUNT, COUNT, "+PONG|", COUNT].into_iter().enumerate() {
        let line = number("*@\nPING", ENDS[at]);
        assert_eq!(answered(&line), want, "{line}");
    }
    for end in &ENDS[1..] {
        let line = number("*1\n$@\nPING", end);
        assert_eq!(answered(&line), BULK, "{line}");
    }
    assert_eq!(answered("*65537"), COUNT);
    assert_eq!(answered("*1\n$536870913"), BULK);
}
