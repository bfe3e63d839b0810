//! The reply to MGET: in order, whatever order its values come in, whole or with errors in it, and with no
//! more memory than is needed.

use super::*;

/// From this many waiting bytes on the reply begins, if the output has room for them.
const BEGIN_BYTES: usize = 256 << 10;

#[derive(Clone, Debug)]
enum Outcome {
    Nil,
    Value(usize),
    Error(ErrorKind),
}

impl Outcome {
    fn bytes(&self) -> usize {
        if let Self::Value(len) = self { *len } else { 0 }
    }

    fn written(&self) -> Vec<u8> {
        match self {
            Self::Nil => b"$-1\r\n".to_vec(),
            Self::Value(len) => {
                [format!("${len}\r\n").as_bytes(), &vec![b'v'; *len], b"\r\n".as_slice()].concat()
            }
            Self::Error(kind) => format!("-{}\r\n", super::super::shapes::error_text(*kind, "")).into_bytes(),
        }
    }
}

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    let kind = prop::sample::select(vec![ErrorKind::Unknown, ErrorKind::NoLeader, ErrorKind::ReadFailed]);
    let sound = prop_oneof![
        2 => Just(Outcome::Nil),
        4 => (0_usize..3000).prop_map(Outcome::Value),
        2 => (0_usize..200_000).prop_map(Outcome::Value),
    ];
    let faulty = prop_oneof![20 => sound.clone(), 1 => kind.prop_map(Outcome::Error)];
    prop_oneof![prop::collection::vec(sound, 1..80), prop::collection::vec(faulty, 1..80)]
}

fn mget(count: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..count).map(|key| key.to_string()).collect();
    let words: Vec<&[u8]> =
        [b"MGET".as_slice()].into_iter().chain(keys.iter().map(String::as_bytes)).collect();
    bulk_command(&words)
}

/// A shell that answers in any order.
struct Shell {
    connection: Connection,
    limits: Limits,
    outcomes: Vec<Outcome>,
    /// Open asks and their keys.
    open: Vec<(Tag, Vec<u8>)>,
    sent: Vec<u8>,
    random: u64,
    /// Replies are brought only if they are the next ones.
    is_short: bool,
}

impl Shell {
    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) as usize % below.max(1)
    }

    fn ask(&mut self) {
        while let Some(ask) = self.connection.next() {
            match ask {
                Ask::Command { tag, command, .. } => self.open.push((tag, command.key.as_ref().to_vec())),
                Ask::Pause => {}
                other => panic!("{other:?}"),
            }
            assert!(self.open.len() <= self.limits.open_asks_max);
        }
    }

    /// Answers an open ask or sends what there is. Returns whether there was anything to do.
    fn step(&mut self) -> bool {
        self.ask();
        self.check_memory();
        let ready: Vec<usize> = (0..self.open.len())
            .filter(|&at| !self.is_short || self.connection.is_next(self.open[at].0))
            .collect();
        if ready.is_empty() || self.draw(4) == 0 {
            let had_output = !self.connection.out().is_empty();
            self.sent.append(self.connection.out());
            assert!(had_output || !ready.is_empty() || self.open.is_empty(), "nothing goes on");
            return had_output || !ready.is_empty();
        }
        let at = ready[self.draw(ready.len())];
        let (tag, key) = self.open.swap_remove(at);
        let outcome = match std::str::from_utf8(&key).expect("ASCII").parse::<usize>() {
            Ok(key) => self.outcomes[key].clone(),
            Err(_) => Outcome::Nil, // the GET before it
        };
        let value = vec![b'v'; outcome.bytes()];
        self.connection.reply(
            tag,
            match outcome {
                Outcome::Nil => Reply::Nil,
                Outcome::Value(_) => Reply::Value { value: &value, version: Version::default() },
                Outcome::Error(kind) => Reply::Error(kind),
            },
        );
        true
    }

    fn check_memory(&mut self) {
        let longest = self.outcomes.iter().map(Outcome::bytes).max().unwrap_or(0);
        let in_flight = if self.is_short { 2 } else { self.limits.open_asks_max + 1 };
        let waiting = self.limits.out_bytes_soft.max(BEGIN_BYTES) + in_flight * longest;
        let bound = 2 * waiting + (600 << 10); // buffers grow to twice their size; the arguments, and the input
        let held = self.connection.held_bytes();
        assert!(held <= bound, "{held} bytes are held, not {bound}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn values_come_out_in_order_however_they_come_in(
        outcomes in outcomes(),
        soft in prop::sample::select(vec![1000_usize, 64 << 10, 1 << 20]),
        open_asks_max in prop::sample::select(vec![1_usize, 4, 1024]),
        random in any::<u64>(),
        is_short in any::<bool>(),
        is_behind in any::<bool>(),
    ) {
        let limits = Limits { out_bytes_soft: soft, open_asks_max, ..Limits::default() };
        let mut connection = connect(ServerConfig { limits, ..server() });
        let before = if is_behind { b"GET before\r\n".as_slice() } else { b"" };
        connection.received(&[before, &mget(outcomes.len()), b"PING\r\n"].concat());
        let mut shell = Shell {
            connection, limits, outcomes: outcomes.clone(), open: Vec::new(), sent: Vec::new(), random, is_short,
        };
        while shell.step() {}
        let sent = shell.sent.strip_prefix(if is_behind { b"$-1\r\n".as_slice() } else { b"" });
        let sent = sent.and_then(|sent| sent.strip_suffix(b"+PONG\r\n")).expect("between two replies");
        let values: Vec<u8> = outcomes.iter().flat_map(Outcome::written).collect();
        let whole = [format!("*{}\r\n", outcomes.len()).into_bytes(), values].concat();
        let errors: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Error(_))).collect();
        let total: usize = outcomes.iter().map(Outcome::bytes).sum();
        let is_refused = errors.iter().any(|error| error.written() == sent);
        let may_begin = errors.is_empty() || total >= BEGIN_BYTES.min(soft / 2);
        prop_assert!(is_refused || (may_begin && sent == whole), "{}", String::from_utf8_lossy(sent));
        prop_assert!(shell.connection.wants_read());
        shell.connection.shrink();
        prop_assert_eq!(shell.connection.held_bytes(), 0, "nothing is left behind");
    }
}

/// A connection that was asked for `count` values, and the tags of those that it asks for.
fn asked(limits: Limits, count: usize) -> (Connection, Vec<Tag>) {
    let mut connection = connect(ServerConfig { limits, ..server() });
    connection.received(&mget(count));
    let tags = tags_of(&mut connection);
    (connection, tags)
}

fn bring(connection: &mut Connection, tag: Tag, value: &[u8]) {
    connection.reply(tag, Reply::Value { value, version: Version::default() });
}

#[test]
fn a_long_reply_begins_before_all_is_known_and_a_late_error_stands_in_it() {
    let (mut connection, tags) = asked(Limits::default(), 5);
    let long = vec![b'v'; 200 << 10];
    bring(&mut connection, tags[0], &long);
    bring(&mut connection, tags[2], b"2");
    assert!(connection.out().is_empty(), "an error could still be the whole reply");
    bring(&mut connection, tags[1], &long);
    let sent = core::mem::take(connection.out());
    assert!(sent.starts_with(b"*5\r\n$204800\r\n") && sent.len() > 400 << 10, "{}", sent.len());
    connection.reply(tags[4], Reply::Error(ErrorKind::NoLeader));
    assert_eq!(connection.next(), None, "the rest is written when the socket has taken something");
    assert_eq!(core::mem::take(connection.out()), b"$1\r\n2\r\n");
    assert!(connection.wants_read());
    bring(&mut connection, tags[3], b"3");
    let rest = String::from_utf8(core::mem::take(connection.out())).expect("ASCII");
    assert!(rest.starts_with("$1\r\n3\r\n-CLUSTERDOWN "), "{rest}");
    assert_eq!(rest.matches('\n').count(), 3);
}

#[test]
fn after_an_early_error_no_further_value_is_asked_for_or_kept() {
    let limits = Limits { open_asks_max: 3, ..Limits::default() };
    let (mut connection, tags) = asked(limits, 100);
    let before = connection.held_bytes();
    bring(&mut connection, tags[0], &[b'v'; 100 << 10]);
    assert!(connection.held_bytes() > before);
    tags_of(&mut connection).into_iter().for_each(|tag| connection.reply(tag, Reply::Nil));
    connection.reply(tags[2], Reply::Error(ErrorKind::NoLeader));
    assert!(connection.held_bytes() <= before);
    assert_eq!(tags_of(&mut connection), []);
    bring(&mut connection, tags[1], &[b'v'; 100 << 10]);
    assert!(connection.out().starts_with(b"-CLUSTERDOWN ") && connection.out().len() < 200);
    assert!(connection.wants_read());
}

#[test]
fn values_are_not_asked_for_while_the_client_does_not_read() {
    let limits = Limits { out_bytes_soft: 1 << 20, open_asks_max: 4, ..Limits::default() };
    let (mut connection, mut open) = asked(limits, 1000);
    let long = vec![b'v'; 100 << 10];
    let mut brought = 0;
    while let Some(tag) = open.pop() {
        bring(&mut connection, tag, &long);
        brought += 1;
        open.extend(tags_of(&mut connection));
    }
    assert!((10..=15).contains(&brought), "{brought} values of 100 KiB");
    assert!(connection.held_bytes() < 2 << 20, "{}", connection.held_bytes());
    for _ in 0..4 {
        connection.out().clear();
        open.extend(tags_of(&mut connection));
    }
    assert!(!open.is_empty(), "it goes on when the client reads");
}

#[test]
fn a_reply_that_is_not_wanted_keeps_no_values() {
    let mut connection = connect(server());
    connection.received(&[b"CLIENT REPLY OFF\r\n", mget(20).as_slice(), b"CLIENT REPLY ON\r\n"].concat());
    let tags = tags_of(&mut connection);
    assert_eq!(tags.len(), 20);
    for &tag in tags.iter().rev() {
        bring(&mut connection, tag, &[b'v'; 100 << 10]);
        assert!(connection.held_bytes() < 100 << 10);
    }
    assert_eq!(connection.next(), None);
    assert_eq!(connection.out(), b"+OK\r\n");
}

#[test]
fn next_is_the_first_value_that_has_not_come_of_the_first_reply() {
    let mut connection = connect(server());
    connection.received(b"MGET a b c\r\nGET d\r\n");
    let tags = tags_of(&mut connection);
    let next = |connection: &Connection| tags.iter().map(|tag| connection.is_next(*tag)).collect::<Vec<_>>();
    assert_eq!(next(&connection), [true, false, false, false]);
    bring(&mut connection, tags[1], b"b");
    assert_eq!(next(&connection), [true, false, false, false]);
    bring(&mut connection, tags[0], b"a");
    assert_eq!(next(&connection), [false, false, true, false]);
    bring(&mut connection, tags[2], b"c");
    assert!(connection.is_next(tags[3]));
}

#[test]
fn late_errors_are_counted_as_lines_and_once_as_a_failure() {
    let config = server();
    let counts = config.counts.clone();
    let mut connection = connect(config);
    connection.received(&mget(4));
    let tags = tags_of(&mut connection);
    bring(&mut connection, tags[0], &vec![b'v'; 300 << 10]);
    connection.out().clear();
    tags[1..].iter().for_each(|tag| connection.reply(*tag, Reply::Error(ErrorKind::NoLeader)));
    let totals = counts.totals();
    assert_eq!(totals.errors.get("CLUSTERDOWN"), Some(&3));
    assert_eq!(totals.commands.get("mget").map(|totals| (totals.calls, totals.failed)), Some((1, 1)));
}
