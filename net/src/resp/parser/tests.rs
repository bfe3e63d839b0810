//! The parser compared with a twin that sees all bytes at once, and its caps to the byte.

use super::*;
use proptest::prelude::*;

const CAPS: Caps = Caps { bulk_bytes: 40, command_bytes: 120, arguments: 6, trusted: true };

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Command(Vec<Vec<u8>>),
    Refused(String),
    Broken(String),
}

/// The parser under test, fed in pieces.
fn run(bytes: &[u8], mut cuts: impl Iterator<Item = usize>, caps: &Caps) -> Vec<Event> {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    let mut rest = bytes;
    loop {
        loop {
            let used = match parser.parse(&buffer, caps) {
                Step::More { used } => {
                    buffer.drain(..used);
                    break;
                }
                Step::Empty { used } => used,
                Step::Command { used, args } => {
                    events.push(Event::Command(args.iter_from(0).map(<[u8]>::to_vec).collect()));
                    used
                }
                Step::Refused { used, error } => {
                    events.push(Event::Refused(error));
                    used
                }
                Step::Broken { error } => {
                    events.push(Event::Broken(error.into_owned()));
                    return events;
                }
            };
            buffer.drain(..used);
        }
        if rest.is_empty() {
            return events;
        }
        let (head, tail) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        buffer.extend_from_slice(head);
        rest = tail;
    }
}

/// The dumb twin: sees all the bytes at once, keeps no state, copies everything.
fn twin(mut bytes: &[u8], caps: &Caps) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match twin_one(&mut bytes, caps) {
            None => return events,
            Some(Ok(Event::Command(args))) if args.is_empty() => {}
            Some(Ok(event)) => events.push(event),
            Some(Err(error)) => {
                events.push(Event::Broken(format!("ERR Protocol error: {error}")));
                return events;
            }
        }
    }
}

fn twin_one(bytes: &mut &[u8], caps: &Caps) -> Option<Result<Event, String>> {
    if bytes.first()? != &b'*' {
        return twin_inline(bytes);
    }
    let count = match twin_line(bytes, "mbulk")? {
        Ok(line) => line,
        Err(error) => return Some(Err(error)),
    };
    let count = match parse_i64(&count[1..]) {
        Some(count) if count <= 0 => return Some(Ok(Event::Command(Vec::new()))),
        Some(count) if count as usize <= caps.arguments => count,
        _ => return Some(Err("invalid multibulk length".into())),
    };
    if !caps.trusted && count > 10 {
        return Some(Err("unauthenticated multibulk length".into()));
    }
    let mut args = Vec::new();
    let mut refused = None;
    let mut size = format!("*{count}__").len();
    for _ in 0..count {
        if bytes.first()? != &b'$' {
            let got = if bytes[0].is_ascii_graphic() { bytes[0] as char } else { '?' };
            return Some(Err(format!("expected '$', got '{got}'")));
        }
        let line = match twin_line(bytes, "bulk")? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        size += line.len() + 2;
        let len = match parse_i64(&line[1..]) {
            Some(len) if (0..=512 << 20).contains(&len) => len as usize,
            _ => return Some(Err("invalid bulk length".into())),
        };
        if !caps.trusted && len > 16384 {
            return Some(Err("unauthenticated bulk length".into()));
        }
        if refused.is_none() && len > caps.bulk_bytes {
            let limit = caps.bulk_bytes;
            refused = Some(format!("ERR argument too long: {len} bytes, the limit is {limit}"));
        }
        if refused.is_none() && size + len + 2 > caps.command_bytes {
            refused = Some(format!("ERR command too long: the limit is {} bytes", caps.command_bytes));
        }
        size += len + 2;
        let body = bytes.get(..len)?;
        let end = &bytes[len..bytes.len().min(len + 2)];
        if !b"\r\n".starts_with(end) {
            return Some(Err("expected a line break after a bulk".into()));
        }
        args.push(body.to_vec());
        *bytes = bytes.get(len + 2..)?;
    }
    Some(Ok(match refused {
        Some(error) => Event::Refused(error),
        None => Event::Command(args),
    }))
}

fn twin_line<'a>(bytes: &mut &'a [u8], what: &str) -> Option<Result<&'a [u8], String>> {
    let text = &bytes[..bytes.len().min(32)];
    for end in 0..text.len().saturating_sub(1) {
        if &text[end..end + 2] == b"\r\n" {
            let line = &bytes[..end];
            *bytes = &bytes[end + 2..];
            return Some(Ok(line));
        }
    }
    if text.len() == 32 { Some(Err(format!("too big {what} count string"))) } else { None }
}

fn twin_inline(bytes: &mut &[u8]) -> Option<Result<Event, String>> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    if end.unwrap_or(bytes.len()) > 64 << 10 {
        return Some(Err("too big inline request".into()));
    }
    let line = &bytes[..end?];
    *bytes = &bytes[end? + 1..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // Character by character; `quote` is the quote that is open.
    let mut args: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut closed = false;
    let mut at = 0;
    while at < line.len() {
        let byte = line[at];
        at += 1;
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C | 0);
        match quote {
            None if blank => {
                args.extend(word.take());
                closed = false;
            }
            None if closed => return Some(Err("unbalanced quotes in request".into())),
            None if byte == b'"' || byte == b'\'' => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            None => word.get_or_insert_default().push(byte),
            Some(open) if byte == open => {
                quote = None;
                closed = true;
            }
            Some(open) => {
                let next = line.get(at).copied();
                let word = word.get_or_insert_default();
                match (open, byte, next) {
                    (b'\'', b'\\', Some(b'\'')) => {
                        word.push(b'\'');
                        at += 1;
                    }
                    (b'"', b'\\', Some(next)) => {
                        let digits = line.get(at + 1..at + 3).and_then(|digits| {
                            let text = std::str::from_utf8(digits).ok()?;
                            text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(text)
                        });
                        match (next, digits) {
                            (b'x', Some(digits)) => {
                                word.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
                                at += 3;
                            }
                            _ => {
                                word.push(match next {
                                    b'n' => 10,
                                    b'r' => 13,
                                    b't' => 9,
                                    b'b' => 8,
                                    b'a' => 7,
                                    other => other,
                                });
                                at += 1;
                            }
                        }
                    }
                    _ => word.push(byte),
                }
            }
        }
    }
    if quote.is_some() {
        return Some(Err("unbalanced quotes in request".into()));
    }
    args.extend(word);
    Some(Ok(Event::Command(args)))
}

fn bulk_command(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Mostly valid requests around every cap, with malformed input between them.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..45), 0..8)
            .prop_map(|args| bulk_command(&args)),
        3 => "[a-z \"'\\\\x0-9]{0,30}(\r\n|\n)".prop_map(String::into_bytes),
        1 => "[*$+:0-9\r\n -]{0,40}".prop_map(String::into_bytes),
        1 => Just(b"*-1\r\n*0\r\n\r\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_parser_agrees_with_its_twin_however_the_bytes_are_cut(
        stream in streams(), cuts in prop::collection::vec(1_usize..20, 0..60), trusted in any::<bool>(),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let caps = Caps { trusted, ..CAPS };
        let mut stream = stream;
        if let (Some((at, value)), false) = (flip, stream.is_empty()) {
            let index = at.index(stream.len());
            stream[index] = value;
        }
        let want = twin(&stream, &caps);
        prop_assert_eq!(&run(&stream, core::iter::empty(), &caps), &want);
        prop_assert_eq!(&run(&stream, cuts.into_iter(), &caps), &want);
        prop_assert_eq!(&run(&stream, core::iter::repeat(1), &caps), &want);
    }

    #[test]
    fn random_bytes_agree_with_the_twin(stream in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(run(&stream, core::iter::repeat(7), &CAPS), twin(&stream, &CAPS));
    }
}

#[test]
fn an_oversized_bulk_is_skipped_without_being_buffered() {
    let caps = Caps { bulk_bytes: 100, command_bytes: 1000, arguments: 10, trusted: true };
    let mut parser = Parser::new();
    let mut buffer = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n".to_vec();
    let mut sent = 0;
    while sent < 1_000_000 {
        match parser.parse(&buffer, &caps) {
            Step::More { used } => assert_eq!(used, buffer.len(), "nothing of a refused command is kept"),
            other => panic!("{other:?}"),
        }
        let chunk = (1_000_000 - sent).min(777);
        buffer = vec![b'v'; chunk];
        sent += chunk;
    }
    buffer.extend_from_slice(b"\r\n*1\r\n$4\r\nPING\r\n");
    let used = match parser.parse(&buffer, &caps) {
        Step::Refused { used, error } => {
            assert_eq!(error, "ERR argument too long: 1000000 bytes, the limit is 100");
            used
        }
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(parser.parse(&buffer[used..], &caps), Step::Command { args, .. } if args.get(0) == b"PING")
    );
}

#[test]
fn the_caps_are_exact() {
    let event = |args: &[Vec<u8>], caps: &Caps| run(&bulk_command(args), core::iter::empty(), caps).pop();
    let caps = Caps { bulk_bytes: 40, command_bytes: 1000, arguments: 3, trusted: true };
    assert!(matches!(event(&[vec![0; 40]], &caps), Some(Event::Command(_))));
    assert!(matches!(event(&[vec![0; 41]], &caps), Some(Event::Refused(_))));
    assert!(matches!(event(&vec![vec![]; 3], &caps), Some(Event::Command(_))));
    assert!(matches!(event(&vec![vec![]; 4], &caps), Some(Event::Broken(_))));
    let whole = bulk_command(&[vec![0; 20], vec![0; 20]]).len();
    let caps = Caps { command_bytes: whole, ..caps };
    assert!(matches!(event(&[vec![0; 20], vec![0; 20]], &caps), Some(Event::Command(_))));
    assert!(matches!(event(&[vec![0; 20], vec![0; 21]], &caps), Some(Event::Refused(_))));
    let line = |len: usize| [vec![b'a'; len], b"\n".to_vec()].concat();
    assert!(matches!(run(&line(64 << 10), core::iter::empty(), &CAPS)[..], [Event::Command(_)]));
    assert!(matches!(run(&line((64 << 10) + 1), core::iter::empty(), &CAPS)[..], [Event::Broken(_)]));
}

#[test]
fn senseless_lengths_break_the_connection_at_once() {
    for (stream, error) in [
        ("*9999999999999\r\n", "invalid multibulk length"),
        ("*x\r\n", "invalid multibulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\n$1\r\nabc", "expected a line break after a bulk"),
        ("*11111111111111111111111111111111", "too big mbulk count string"),
        ("a \"b\r\n", "unbalanced quotes in request"),
    ] {
        let events = run(stream.as_bytes(), core::iter::empty(), &CAPS);
        assert_eq!(events, [Event::Broken(format!("ERR Protocol error: {error}"))], "{stream:?}");
    }
}
