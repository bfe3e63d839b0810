//! What is said on a connection over RESP: GET and SET, to any server that speaks it. Replies come in the
//! order of the requests, so a connection remembers its requests. There are no sessions: a write whose
//! connection breaks has an unknown outcome. There are no versions either.

use super::answer::{Heard, NO_REQUEST, OpAnswer, WRONG_KIND};
use super::link::{Link, LinkState};
use super::op::OpId;
use super::resp_wire::{RespReply, encode};
use crate::admission::NotAdmitted;
use synod_net::access::Secret;
use synod_types::ErrorKind;

/// Greets a server after connecting: it must accept the password, if there is one, and answer PING before it
/// gets operations.
pub(super) fn greet(link: &mut Link, password: Option<&Secret>, now_ns: u64) {
    assert!(link.state == LinkState::Probing, "greeted on a link that is not probing");
    if let Some(password) = password {
        link.note_asked(now_ns);
        link.asked.push_back(OpId::AUTH);
        encode(&mut link.out, &[b"AUTH", password.bytes()]);
    }
    link.note_asked(now_ns);
    link.asked.push_back(OpId::CONTROL);
    encode(&mut link.out, &[b"PING"]);
}

/// The meaning of a reply.
pub(super) fn hear<'a>(link: &mut Link, reply: RespReply<'a>, now_ns: u64) -> Heard<'a> {
    let asked = link.asked.pop_front();
    let is_auth = asked == Some(OpId::AUTH);
    if let RespReply::Error(text) = reply {
        let why = if is_auth { NotAdmitted::of_reply_to_auth(text) } else { NotAdmitted::of_reply(text) };
        if let Some(why) = why {
            return Heard::NotAdmitted(why);
        }
    }
    let Some(asked) = asked else { return Heard::Broken(NO_REQUEST) };
    if asked & OpId::CONTROL == 0 {
        return Heard::Answer(OpId::from_wire(asked), answer_of(reply));
    }
    link.note_told(now_ns);
    match reply {
        RespReply::Simple(b"OK") if is_auth => Heard::Nothing,
        RespReply::Simple(b"PONG") if !is_auth => {
            link.come_up();
            Heard::Nothing
        }
        RespReply::Error(text) if error_of(text) == OpAnswer::Error(ErrorKind::Busy) => Heard::Broken("busy"),
        _ => Heard::Broken(WRONG_KIND),
    }
}

fn answer_of(reply: RespReply<'_>) -> OpAnswer<'_> {
    match reply {
        RespReply::Simple(b"OK") => OpAnswer::Done(None),
        RespReply::Nil => OpAnswer::Nil,
        RespReply::Bulk(bytes) => OpAnswer::Value { bytes, version: None },
        RespReply::Error(text) => error_of(text),
        RespReply::Simple(_) | RespReply::Integer => OpAnswer::Absurd,
    }
}

/// The meaning of an error reply by its first word, as Redis and compatible servers use it.
fn error_of(text: &[u8]) -> OpAnswer<'static> {
    match text.split(|&byte| byte == b' ').next().unwrap_or_default() {
        b"UNKNOWN" => OpAnswer::Error(ErrorKind::Unknown),
        b"CLUSTERDOWN" | b"MASTERDOWN" => OpAnswer::Error(ErrorKind::NoLeader),
        b"BUSY" | b"LOADING" | b"TRYAGAIN" => OpAnswer::Error(ErrorKind::Busy),
        b"ERR" => OpAnswer::Refused("error reply ERR"),
        b"OOM" => OpAnswer::Refused("error reply OOM"),
        b"MOVED" | b"ASK" => OpAnswer::Refused("error reply MOVED or ASK: the server shards its keys"),
        b"READONLY" => OpAnswer::Refused("error reply READONLY"),
        b"WRONGTYPE" => OpAnswer::Refused("error reply WRONGTYPE"),
        b"MISCONF" => OpAnswer::Refused("error reply MISCONF"),
        b"NOREPLICAS" => OpAnswer::Refused("error reply NOREPLICAS"),
        b"NOPERM" => OpAnswer::Refused("error reply NOPERM"),
        _ => OpAnswer::Obscure("obscure error reply"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probing() -> Link {
        let mut link = Link::new(0);
        link.state = LinkState::Probing;
        greet(&mut link, Some(&Secret::new(b"Rosebud".to_vec())), 1);
        link
    }

    #[test]
    fn a_link_comes_up_with_pong_and_not_before() {
        let mut link = probing();
        assert!(matches!(hear(&mut link, RespReply::Simple(b"OK"), 2), Heard::Nothing));
        assert_eq!(link.state, LinkState::Probing);
        assert!(matches!(hear(&mut link, RespReply::Simple(b"PONG"), 3), Heard::Nothing));
        assert_eq!((link.state, link.control_open), (LinkState::Up, 0));
        assert!(matches!(hear(&mut link, RespReply::Nil, 4), Heard::Broken(NO_REQUEST)));
        assert!(matches!(hear(&mut probing(), RespReply::Simple(b"PONG"), 2), Heard::Broken(WRONG_KIND)));
        assert!(matches!(hear(&mut probing(), RespReply::Error(b"LOADING x"), 2), Heard::Broken("busy")));
    }

    #[test]
    fn replies_answer_the_requests_in_their_order() {
        let mut link = Link::new(0);
        link.asked.extend([7, 8]);
        let first = hear(&mut link, RespReply::Bulk(b"v"), 1);
        let value = OpAnswer::Value { bytes: b"v", version: None };
        assert!(matches!(first, Heard::Answer(id, answer) if id == OpId::from_wire(7) && answer == value));
        let second = hear(&mut link, RespReply::Error(b"OOM no"), 1);
        assert!(matches!(second, Heard::Answer(id, OpAnswer::Refused(_)) if id == OpId::from_wire(8)));
    }

    #[test]
    fn only_known_errors_prove_that_nothing_was_executed() {
        assert_eq!(error_of(b"BUSY script"), OpAnswer::Error(ErrorKind::Busy));
        assert_eq!(error_of(b"ERR"), OpAnswer::Refused("error reply ERR"));
        assert_eq!(error_of(b"EXECABORT x"), OpAnswer::Obscure("obscure error reply"));
        assert_eq!(error_of(b""), OpAnswer::Obscure("obscure error reply"));
    }
}
