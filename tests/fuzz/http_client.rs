//! Checks the answers on an HTTP connection as a client sees them: one per request, in order, as docs/http.md
//! describes them.

use std::collections::BTreeMap;

/// A request that was understood, and the answer the server meant to give.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Exchange {
    pub is_head: bool,
    /// Whether it asked for `100 Continue`.
    pub expects: bool,
    /// The command it led to, if any.
    pub asked: String,
    /// 0 while there is no answer.
    pub status: u16,
    pub body: Vec<u8>,
}

/// The statuses the service may answer.
const STATUSES: [u16; 14] = [200, 201, 204, 304, 400, 401, 404, 405, 408, 412, 413, 500, 503, 504];
/// The statuses hyper answers by itself, before it closes, to bytes that are no request.
const BROKEN: [u16; 3] = [400, 414, 431];
/// The error codes by status.
const CODES: [(u16, &[&str]); 10] = [
    (
        400,
        &[
            "bad_key",
            "key_too_long",
            "bad_query",
            "bad_ttl",
            "bad_condition",
            "bad_header",
            "bad_body",
            "malformed",
        ],
    ),
    (401, &["unauthorized"]),
    (404, &["no_such_key", "no_such_path"]),
    (405, &["method_not_allowed"]),
    (408, &["body_timeout"]),
    (412, &["precondition_failed"]),
    (413, &["value_too_long"]),
    (500, &["read_failed", "internal"]),
    (503, &["no_leader", "busy"]),
    (504, &["unknown"]),
];

/// Reads all bytes sent and compares them with the exchanges. The output `may_break_off` where hyper gives a
/// connection up: after a broken request it drops the bytes that the client has not taken by then.
pub(super) fn check_answers(exchanges: &[Exchange], sent: &[u8], may_break_off: bool) {
    let mut rest = sent;
    for (number, exchange) in exchanges.iter().enumerate() {
        assert!(exchange.status != 0, "request {number} has no answer: {exchange:?}");
        let head = next_head(&mut rest, exchange.expects);
        if !head.is_some_and(|head| check(exchange, &head, &mut rest)) {
            assert!(may_break_off, "the answer of request {number} was not sent: {exchange:?}");
            return;
        }
    }
    let told = exchanges.iter().any(|exchange| exchange.expects);
    if let Some(head) = next_head(&mut rest, told) {
        assert!(BROKEN.contains(&head.status), "an answer to no request: {head:?}");
        assert_eq!(head.field("content-length"), Some("0"));
    }
    assert!(
        rest.is_empty() || may_break_off,
        "bytes that are no answer: {:?}",
        String::from_utf8_lossy(rest)
    );
}

/// Takes a body and compares the answer; false if the body is not whole.
fn check(exchange: &Exchange, head: &Head, rest: &mut &[u8]) -> bool {
    let &Exchange { is_head, status, ref body, .. } = exchange;
    assert!(STATUSES.contains(&status), "a status that no document names: {exchange:?}");
    assert_eq!(head.status, status, "{exchange:?}");
    let is_bare = is_head || matches!(status, 204 | 304);
    let announced: Option<usize> =
        head.field("content-length").map(|len| len.parse().expect("a length is a number"));
    assert!(head.field("transfer-encoding").is_none(), "whole bodies have a length");
    if status == 204 || (status == 304 && body.is_empty()) {
        assert!(matches!(announced, None | Some(0)));
    } else {
        assert_eq!(announced, Some(body.len()), "{exchange:?}");
    }
    if !is_bare {
        let Some((got, after)) = rest.split_at_checked(body.len()) else { return false };
        assert_eq!(got, body, "{exchange:?}");
        *rest = after;
    }
    let wants = |name: &str| assert!(head.field(name).is_some(), "{status} without {name}");
    match status {
        201 | 304 => wants("etag"),
        401 => wants("www-authenticate"),
        405 => wants("allow"),
        503 => wants("retry-after"),
        _ => {}
    }
    if status >= 400 {
        assert_eq!(head.field("content-type"), Some("application/json"));
        let error: serde_json::Value = serde_json::from_slice(body).expect("errors are JSON");
        let (code, message) = (&error["error"]["code"], &error["error"]["message"]);
        let codes = CODES.iter().find(|(of, _)| *of == status).map_or(&[][..], |(_, codes)| codes);
        assert!(code.as_str().is_some_and(|code| codes.contains(&code)), "{status} {code}");
        assert!(message.as_str().is_some_and(|message| !message.is_empty()));
    }
    true
}

#[derive(Debug)]
struct Head {
    status: u16,
    fields: BTreeMap<String, String>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// The next whole head, skipping `100 Continue`, which only `may_go_on` allows.
fn next_head(rest: &mut &[u8], may_go_on: bool) -> Option<Head> {
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = str::from_utf8(&rest[..end]).expect("heads are ASCII");
        *rest = &rest[end + 4..];
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").or(first.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|status| status.get(..3)?.parse().ok()).expect("a status line");
        let mut fields = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a field has a name");
            let name = name.to_ascii_lowercase();
            // The only field sent that is a list, with one line for each way to give a password.
            let is_list = name == "www-authenticate";
            let before = fields.insert(name.clone(), value.to_owned());
            assert!(before.is_none_or(|before| is_list && before != value), "{name} stands twice");
        }
        if status != 100 {
            return Some(Head { status, fields });
        }
        assert!(may_go_on, "the client did not ask to be told to go on");
    }
    None
}
