//! Commands that change how later commands are treated: MULTI, which is refused with everything that follows,
//! ASKING, CLIENT REPLY. Their effect ends where it should, and at the connection's own commands.

use super::*;
use crate::access::Access;

const INSIDE: &str =
    "-ERR not executed: MULTI was refused, as transactions are not supported yet; EXEC or DISCARD ends this|";
const REFUSED: &str =
    "-ERR MULTI is not supported yet: nothing up to EXEC or DISCARD is executed on this connection|";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.|";

/// `<` stands for the answer to MULTI, `~` for the answer to a command inside, `>` for the answer to EXEC.
fn spelled(short: &str) -> String {
    let word = |c: char| match c {
        '<' => REFUSED.to_owned(),
        '~' => INSIDE.to_owned(),
        '>' => ABORTED.to_owned(),
        other => other.to_string(),
    };
    short.chars().map(word).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "|")
}

fn with_password() -> ServerConfig {
    ServerConfig { access: Access::new([&b"pw"[..]], true), ..server() }
}

#[test]
fn nothing_between_a_refused_multi_and_its_end_is_executed() {
    for (lines, want) in [
        ("MULTI\nSET a 1\nINCR n\nEXEC\nEXISTS a n", "<~~>:0|"),
        ("multi\nset a 1\nexec\nexists a", "<~>:0|"),
        ("MULTI\nSET a 1\nDISCARD\nEXISTS a\nSET a 2\nGET a", "<~+OK|:0|+OK|$1|2|"),
        ("MULTI\nSET a 1\nRESET\nEXISTS a", "<~+RESET|:0|"),
        ("MULTI\nSET a 1\nQUIT\nSET a 2", "<~+OK|"),
        ("MULTI\nEXEC\nMULTI\nSET a 1\nEXEC\nSET a 2", "<><~>+OK|"),
        // Commands of all kinds: on many keys, in several steps, about all keys, about the server.
        (
            "MULTI\nMSET a 1 b 2\nDEL a b\nAPPEND a 1\nFLUSHALL\nDBSIZE\nPING\nINFO\nEXEC\nEXISTS a b",
            "<~~~~~~~>:0|",
        ),
        // Errors inside are reported as errors, and do not end the bracket.
        ("MULTI\nSET a\nSET a 1\nEXEC\nEXISTS a", "<-ERR wrong number of arguments for 'set' command|~>:0|"),
        (
            "MULTI\nDISCARD x\nRESET x\nSET a 1\nEXEC\nEXISTS a",
            "<-ERR wrong number of arguments for 'discard' command|\
             -ERR wrong number of arguments for 'reset' command|~>:0|",
        ),
        ("MULTI\nMULTI\nSET a 1\nEXEC\nEXISTS a", "<-ERR MULTI calls can not be nested|~>:0|"),
        ("MULTI x\nSET a 1\nEXEC\nEXISTS a", "-ERR wrong number of arguments for 'multi' command|~>:0|"),
        ("EXEC\nDISCARD\nSET a 1", "-ERR EXEC without MULTI|-ERR DISCARD without MULTI|+OK|"),
        // A connection that wants no replies, or not the one to MULTI, is inside nevertheless.
        ("CLIENT REPLY SKIP\nMULTI\nSET a 1\nEXEC\nEXISTS a", "~>:0|"),
        ("CLIENT REPLY OFF\nMULTI\nSET a 1\nEXEC\nCLIENT REPLY ON\nEXISTS a", "+OK|:0|"),
        ("UNWATCH\nMULTI\nUNWATCH\nWATCH a\nEXEC", "+OK|<~~>"),
    ] {
        assert_eq!(say(lines), spelled(want), "{lines}");
    }
    let unknown = say("MULTI\nFOO\nSET a 1\nEXEC\nEXISTS a");
    assert!(unknown.contains("|-ERR unknown command 'FOO'") && unknown.ends_with(":0|"), "{unknown}");
    assert!(say("WATCH a").starts_with("-ERR WATCH is not supported yet"));
}

#[test]
fn who_may_not_do_anything_yet_is_inside_too_and_is_let_in() {
    let lines = "MULTI\nSET a 1\nAUTH pw\nSET a 1\nEXEC\nEXISTS a";
    let noauth = "-NOAUTH Authentication required.|";
    let want = format!("{noauth}{noauth}+OK|{INSIDE}{ABORTED}:0|");
    assert_eq!(said(&mut connect(with_password()), &mut Toy::default(), lines), want);
    // A client inside learns no more than it would learn outside.
    let want = noauth.repeat(4);
    assert_eq!(said(&mut connect(with_password()), &mut Toy::default(), "MULTI\nGET a\nEXEC\nGET a"), want);
}

/// The number of arguments comes first, then the client's rights, then the bracket, then the subcommand.
#[test]
fn a_wrong_subcommand_is_told_last() {
    let noauth = "-NOAUTH Authentication required.|";
    let arity = "-ERR wrong number of arguments for 'client' command|";
    let unknown = "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.|";
    let lines = "CLIENT\nCLIENT NOPE\nMULTI\nCLIENT\nCLIENT NOPE\nEXEC\nCLIENT NOPE";
    let want = format!("{arity}{unknown}{REFUSED}{arity}{INSIDE}{ABORTED}{unknown}");
    assert_eq!(say(lines), want);
    let want = format!("{arity}{noauth}{noauth}{arity}{noauth}{noauth}{noauth}");
    assert_eq!(said(&mut connect(with_password()), &mut Toy::default(), lines), want);
}

#[test]
fn what_was_sent_before_is_executed_and_answered_in_its_turn() {
    let mut connection = connect(server());
    connection.received(b"SET a 1\r\nMGET a b\r\nMULTI\r\nSET a 2\r\nEXEC\r\nGET a\r\n");
    let tags = tags_of(&mut connection);
    assert_eq!(tags.len(), 4, "one SET, two parts of MGET, one GET");
    assert!(connection.out().is_empty(), "errors wait for the replies before them");
    let version = Version::default();
    for tag in tags[1..].iter().rev() {
        connection.reply(*tag, Reply::Value { value: b"1", version });
    }
    connection.reply(tags[0], Reply::Done { version });
    let want = spelled("+OK|*2|$1|1|$1|1|<~>$1|1|");
    assert_eq!(text(connection.out()), want);
}

#[test]
fn a_job_before_ends_first_and_one_inside_never_begins() {
    let lines = "APPEND a 1\nMULTI\nAPPEND a 2\nFLUSHALL\nEXEC\nGET a";
    assert_eq!(say(lines), spelled(":1|<~~>$1|1|"));
}

#[test]
fn a_refused_multi_is_the_connections_own() {
    let mut toy = Toy::default();
    let (mut inside, mut other) = (connect(server()), connect(server()));
    assert_eq!(said(&mut inside, &mut toy, "MULTI"), REFUSED);
    assert_eq!(said(&mut other, &mut toy, "SET a 1\nEXEC"), "+OK|-ERR EXEC without MULTI|");
    assert_eq!(said(&mut inside, &mut toy, "SET a 2\nGET a"), INSIDE.repeat(2));
    assert_eq!(said(&mut connect(server()), &mut toy, "GET a"), "$1|1|");
}

#[test]
fn a_pipeline_as_clients_send_it_fails_as_a_whole_however_it_is_cut() {
    // One piece of bytes, as redis-py's pipeline sends it.
    let parts: [&[&[u8]]; 5] =
        [&[b"MULTI"], &[b"SET", b"a", b"1"], &[b"SET", b"b", b"2"], &[b"EXEC"], &[b"EXISTS", b"a"]];
    let bytes: Vec<u8> = parts.iter().flat_map(|part| bulk_command(part)).collect();
    for size in 1..=bytes.len() {
        let mut toy = Toy::default();
        let (asks, sent) = converse(&mut connect(server()), &mut toy, &bytes, core::iter::repeat(size));
        assert_eq!(text(&sent), spelled("<~~>:0|"), "pieces of {size}");
        assert_eq!((asks.len(), toy.values.len()), (1, 0), "pieces of {size}");
    }
}

#[test]
fn a_command_too_long_to_be_taken_is_a_command_too() {
    let long = bulk_command(&[b"SET", b"k", &vec![b'v'; synod_types::limits::VALUE_BYTES_MAX + 1]]);
    let sent = |lines: &[&[u8]]| {
        let bytes = lines.concat();
        text(&converse(&mut connect(server()), &mut Toy::default(), &bytes, core::iter::empty()).1)
    };
    // SKIP leaves its error out, and the next reply is written.
    assert_eq!(sent(&[b"CLIENT REPLY SKIP\r\n", &long, b"PING\r\n"]), "+PONG|");
    // It is inside like the others.
    let inside = sent(&[b"MULTI\r\n", &long, b"SET a 1\r\nEXEC\r\nEXISTS a\r\n"]);
    assert!(inside.ends_with(&spelled("~>:0|")), "{inside}");
}

#[test]
fn asking_is_for_the_next_command_only_even_if_that_is_an_error() {
    let long = bulk_command(&[b"SET", b"k", &vec![b'v'; synod_types::limits::VALUE_BYTES_MAX + 1]]);
    for between in [&b"FOO\r\n"[..], b"GET\r\n", b"PING\r\n", b"SET k v EX 0\r\n", &long] {
        let mut connection = connect(server());
        connection.received(&[b"ASKING\r\n", between, b"GET k\r\n"].concat());
        let tags = tags_of(&mut connection);
        assert!(connection.redirect(tags[0], synod_types::bucket_of(b"k"), "host", 1));
    }
    let mut connection = connect(server());
    connection.received(b"ASKING\r\nGET k\r\n");
    let tags = tags_of(&mut connection);
    assert!(!connection.redirect(tags[0], synod_types::bucket_of(b"k"), "host", 1));
}

proptest! {
    #[test]
    fn the_commands_outside_are_executed_and_no_others(kinds in prop::collection::vec(0_u8..9, 0..60)) {
        let words = ["SET k 1", "GET k", "MULTI", "EXEC", "DISCARD", "DEL a b", "NONSENSE", "SET k", "RESET"];
        let lines: Vec<&str> = kinds.iter().map(|kind| words[usize::from(*kind)]).collect();
        // The slow twin: counts the expected asks by hand.
        let (mut inside, mut wanted) = (false, 0);
        for line in &lines {
            match *line {
                "MULTI" => inside = true,
                "EXEC" | "DISCARD" | "RESET" => inside = false,
                "SET k 1" | "GET k" if !inside => wanted += 1,
                "DEL a b" if !inside => wanted += 2,
                _ => {}
            }
        }
        let bytes = lines.join("\r\n") + "\r\n";
        let (asks, sent) =
            converse(&mut connect(server()), &mut Toy::default(), bytes.as_bytes(), core::iter::empty());
        prop_assert_eq!(asks.len(), wanted);
        let replies = text(&sent).split('|').filter(|line| line.starts_with(['+', '-', ':', '$'])).count();
        prop_assert_eq!(replies, lines.len());
    }
}
