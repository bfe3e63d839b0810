//! What is said on a connection over the binary protocol besides the operations themselves: the greeting,
//! the question for the leaders, and the meaning of a response.

use super::answer::{Heard, OpAnswer, WRONG_KIND, failure_name};
use super::link::{Link, LinkState};
use super::op::OpId;
use crate::admission::NotAdmitted;
use synod_net::ProtocolError;
use synod_net::access::Secret;
use synod_net::binary::{self, FailureCode, ResponseBody, ResponseBodyRef, ResponseRef};
use synod_types::Reply;

/// Greets a server after connecting. The link gets operations when the server has answered once.
pub(super) fn greet(link: &mut Link, index: usize, password: Option<&Secret>, now_ns: u64) {
    link.out.extend_from_slice(&binary::PREAMBLE);
    if let Some(password) = password {
        link.note_asked(now_ns);
        binary::encode_auth(&mut link.out, OpId::AUTH, password.bytes());
    }
    ask_topology(link, index, now_ns);
}

/// Asks for the leaders.
pub(super) fn ask_topology(link: &mut Link, index: usize, now_ns: u64) {
    assert!(
        matches!(link.state, LinkState::Probing | LinkState::Up),
        "asked on a link that is not connected"
    );
    link.note_asked(now_ns);
    binary::encode_topology(&mut link.out, OpId::CONTROL | index as u64);
}

/// The meaning of a response.
pub(super) fn hear<'a>(link: &mut Link, response: ResponseRef<'a>, now_ns: u64) -> Heard<'a> {
    let ResponseRef { id, body } = response;
    if let ResponseBodyRef::Other(ResponseBody::Failed(failure), _) = &body
        && let Some(why) = NotAdmitted::of_failure(*failure)
    {
        return Heard::NotAdmitted(why);
    }
    if id == OpId::AUTH {
        link.note_told(now_ns);
        return hear_auth(&body);
    }
    if link.state == LinkState::Probing {
        link.come_up();
    }
    if id & OpId::CONTROL != 0 {
        link.note_told(now_ns);
        return hear_control(body);
    }
    if let (0, ResponseBodyRef::Other(ResponseBody::Failed(failure), _)) = (id, &body) {
        return Heard::Broken(failure_name(*failure));
    }
    Heard::Answer(OpId::from_wire(id), answer_of(body))
}

/// The meaning of the answer to AUTH. The request sent behind it is answered next.
fn hear_auth(body: &ResponseBodyRef<'_>) -> Heard<'static> {
    match body {
        ResponseBodyRef::Other(ResponseBody::Ok, _) => Heard::Nothing,
        // The password is longer than any password may be.
        ResponseBodyRef::Reply(Reply::Error(_), _) => Heard::NotAdmitted(NotAdmitted::PasswordWrong),
        ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => Heard::Broken(failure_name(*failure)),
        _ => Heard::Broken(WRONG_KIND),
    }
}

/// The meaning of the answer to the question for the leaders.
fn hear_control(body: ResponseBodyRef<'_>) -> Heard<'static> {
    match body {
        ResponseBodyRef::Other(ResponseBody::Topology(view), _) => Heard::Topology(view),
        ResponseBodyRef::Other(ResponseBody::Failed(FailureCode::Unavailable), _) => Heard::Nothing,
        ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => Heard::Broken(failure_name(failure)),
        _ => Heard::Broken(WRONG_KIND),
    }
}

fn answer_of(body: ResponseBodyRef<'_>) -> OpAnswer<'_> {
    match body {
        ResponseBodyRef::Reply(reply, _) => match reply {
            Reply::Error(kind) => OpAnswer::Error(kind),
            Reply::Done { version } => OpAnswer::Done(Some(version)),
            Reply::Nil => OpAnswer::Nil,
            Reply::Value { value, version } => OpAnswer::Value { bytes: value, version: Some(version) },
            Reply::Session(session) => OpAnswer::Session(session),
            Reply::Skipped | Reply::Int(_) => OpAnswer::Absurd,
        },
        ResponseBodyRef::Other(ResponseBody::Failed(failure), _) => OpAnswer::Failed(failure),
        ResponseBodyRef::Other(..) => OpAnswer::Absurd,
    }
}

/// The name of bytes that are no response, among the errors of a report.
pub(super) fn protocol_error_name(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::Checksum => "damaged answer",
        _ => "malformed answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::ErrorKind;

    fn probing() -> Link {
        let mut link = Link::new(0);
        link.state = LinkState::Probing;
        greet(&mut link, 3, Some(&Secret::new(b"Rosebud".to_vec())), 1);
        link
    }

    fn failed(id: u64, failure: FailureCode) -> ResponseRef<'static> {
        ResponseRef { id, body: ResponseBodyRef::Other(ResponseBody::Failed(failure), "") }
    }

    #[test]
    fn a_link_comes_up_with_the_first_answer_behind_auth() {
        let mut link = probing();
        assert_eq!(link.control_open, 2);
        let ok = ResponseRef { id: OpId::AUTH, body: ResponseBodyRef::Other(ResponseBody::Ok, "") };
        assert!(matches!(hear(&mut link, ok, 2), Heard::Nothing));
        assert_eq!(link.state, LinkState::Probing);
        let unavailable = failed(OpId::CONTROL | 3, FailureCode::Unavailable);
        assert!(matches!(hear(&mut link, unavailable, 3), Heard::Nothing));
        assert_eq!((link.state, link.control_open), (LinkState::Up, 0));
    }

    #[test]
    fn a_refusal_of_the_generator_is_not_an_answer() {
        let heard = hear(&mut probing(), failed(OpId::AUTH, FailureCode::AuthFailed), 2);
        assert!(matches!(heard, Heard::NotAdmitted(NotAdmitted::PasswordWrong)));
        let heard = hear(&mut probing(), failed(0, FailureCode::Version), 2);
        assert!(matches!(heard, Heard::Broken("version refused")));
    }

    #[test]
    fn what_answers_an_operation_carries_its_id() {
        let id = OpId::from_wire(7 << 32);
        let body = ResponseBodyRef::Reply(Reply::Error(ErrorKind::Busy), "");
        let heard = hear(&mut probing(), ResponseRef { id: id.to_wire(), body }, 2);
        let Heard::Answer(of, answer) = heard else { panic!("{heard:?}") };
        assert_eq!((of, answer), (id, OpAnswer::Error(ErrorKind::Busy)));
        let heard = hear(&mut probing(), failed(id.to_wire(), FailureCode::Unavailable), 2);
        assert!(matches!(heard, Heard::Answer(_, OpAnswer::Failed(FailureCode::Unavailable))));
    }
}
