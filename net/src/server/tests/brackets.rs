//! Commands that change what becomes of those behind them: ASKING, CLIENT REPLY. What they ask for ends where it should.

use super::*;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "|")
}

#[test]
fn a_command_too_long_to_be_taken_is_a_command_too() {
    let long = bulk_command(&[b"SET", b"k", &vec![b'v'; synod_types::limits::VALUE_BYTES_MAX + 1]]);
    let sent = |lines: &[&[u8]]| {
        let bytes = lines.concat();
        text(&converse(&mut connect(server()), &mut Toy::default(), &bytes, core::iter::empty()).1)
    };
    // Its error is the one that SKIP leaves out, and the next reply is written.
    assert_eq!(sent(&[b"CLIENT REPLY SKIP\r\n", &long, b"PING\r\n"]), "+PONG|");
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
