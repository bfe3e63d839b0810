//! The binary protocol on a connection: requests become asks, and replies go out as they come. The tag is the
//! client's own request id, so all that is kept of requests is their count.

use super::ask::{Ask, LocalAnswer, LocalQuery, Tag};
use super::config::{ConnectionConfig, Limits, ServerConfig, Service};
use super::lend::own;
use crate::access::{Admission, PROTECTED};
use crate::binary::{self, Decoded, FailureCode, Request};
use std::ops::Range;
use synod_types::{Command, Consistency, ErrorKind, GroupId, Op, Reply, Shared};

/// The answer to a connection beyond the limit.
pub(super) const OVER_LIMIT_TEXT: &str =
    "max number of clients reached; close some or raise limits.connections";
const LOADING_TEXT: &str = "this node replays its log; nothing was executed, ask another node or retry";
const LEAVING_TEXT: &str = "the node is about to stop";

/// State of a connection that speaks the binary protocol.
#[derive(Debug)]
pub(super) struct BinaryConnection {
    authenticated: bool,
    open: usize,
    /// Where in the input the operand of the last command lies. The connection fills it in.
    pub(super) lent: Option<Range<usize>>,
}

impl BinaryConnection {
    pub(super) fn new(authenticated: bool) -> Self {
        Self { authenticated, open: 0, lent: None }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The length of the request that `input` begins with, once its header is there; 0 before that. A client
    /// that was not let in yet claims nothing.
    pub(super) fn wanted(&self, input: &[u8]) -> usize {
        if self.authenticated { binary::frame_bytes(input).unwrap_or(0) } else { 0 }
    }

    pub(super) fn is_full(&self, limits: &Limits, out_len: usize) -> bool {
        self.open >= limits.open_asks_max || out_len >= limits.out_bytes_soft
    }

    /// Parses requests until one needs the shell, the output is full or the input ends. Returns the number of
    /// bytes used.
    pub(super) fn parse(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        out: &mut Vec<u8>,
        draining: &mut bool,
    ) -> (Option<Ask>, usize) {
        let mut used = 0;
        while !*draining && !self.is_full(&config.server.limits, out.len()) {
            let (frame, id, decoded) = match binary::split(&input[used..]).and_then(|frame| match frame {
                None => Ok(None),
                Some(frame) => binary::decode_request(frame).map(|(id, decoded)| Some((frame, id, decoded))),
            }) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    binary::encode_failure(out, 0, FailureCode::Protocol, &error.to_string());
                    *draining = true;
                    break;
                }
            };
            used += frame.len();
            match decoded {
                Decoded::Refused(kind, text) => {
                    binary::encode_reply(out, id, &Reply::<&[u8]>::Error(kind), text);
                }
                Decoded::Request(request) => {
                    if let Some(ask) = self.dispatch(config, id, request, input, out, draining) {
                        self.open += 1;
                        return (Some(ask), used);
                    }
                }
            }
        }
        (None, used)
    }

    fn dispatch(
        &mut self,
        config: &ConnectionConfig,
        id: u64,
        request: Request<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
        draining: &mut bool,
    ) -> Option<Ask> {
        if !self.authenticated {
            match config.server.access.admission(config.is_loopback) {
                // Clients that were let in stay: a client that is turned away later relies on it that nothing
                // was executed.
                Admission::Open => self.authenticated = true,
                Admission::WantsPassword => {}
                Admission::TurnedAway => {
                    // The client was asked for a password that has since been removed.
                    binary::encode_failure(out, 0, FailureCode::Protected, PROTECTED);
                    *draining = true;
                    return None;
                }
            }
        }
        if let Request::Auth { password } = request {
            if config.server.access.admits(config.is_loopback, password.bytes()) {
                self.authenticated = true;
                binary::encode_ok(out, id);
            } else {
                binary::encode_failure(out, id, FailureCode::AuthFailed, "wrong password");
                *draining = true; // one guess per connection
            }
            return None;
        }
        if !self.authenticated {
            binary::encode_failure(out, id, FailureCode::AuthRequired, "authenticate first");
            return None;
        }
        config.server.counts.asked();
        let tag = Tag::new(id);
        if config.service != Service::Full && refuse(config.service, id, &request, out, draining) {
            if config.service == Service::Spare {
                config.server.counts.turned_away();
            }
            return None;
        }
        match request {
            Request::Command { consistency, command } => {
                let command = own(command, input, &mut self.lent);
                Some(Ask::Command { tag, group: None, consistency, command })
            }
            Request::OpenSession { group } => self.open_session(config, tag, group, out),
            Request::Topology => Some(Ask::Local { tag, query: LocalQuery::Topology }),
            Request::Status => Some(Ask::Local { tag, query: LocalQuery::Status }),
            Request::Hello { .. } => {
                binary::encode_hello_answer(out, id, &config.server.info);
                None
            }
            Request::Ping => {
                binary::encode_pong(out, id);
                None
            }
            Request::Auth { .. } => None, // answered above
        }
    }

    fn open_session(
        &mut self,
        config: &ConnectionConfig,
        tag: Tag,
        group: GroupId,
        out: &mut Vec<u8>,
    ) -> Option<Ask> {
        if group == GroupId::SYSTEM || group.get() > config.server.info.group_count {
            let reply = Reply::<&[u8]>::Error(ErrorKind::Malformed);
            binary::encode_reply(out, tag.get(), &reply, "no such data group");
            return None;
        }
        let command = Command::plain(Shared::default(), Op::OpenSession);
        Some(Ask::Command { tag, group: Some(group), consistency: Consistency::default(), command })
    }

    pub(super) fn reply(&mut self, server: &ServerConfig, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        let Some(open) = self.open.checked_sub(1) else { return };
        self.open = open;
        match reply {
            Reply::Error(ErrorKind::NoSpace) => {
                let notice = server.notice.text();
                let text = if notice.is_empty() { "no space left for the log" } else { &notice };
                binary::encode_reply(out, tag.get(), &reply, text);
            }
            reply => binary::encode_reply(out, tag.get(), &reply, ""),
        }
    }

    pub(super) fn answer(&mut self, out: &mut Vec<u8>, tag: Tag, answer: &LocalAnswer) {
        let Some(open) = self.open.checked_sub(1) else { return };
        self.open = open;
        let id = tag.get();
        match answer {
            LocalAnswer::Topology(topology) => binary::encode_topology_answer(out, id, topology),
            LocalAnswer::Status(status) => binary::encode_status_answer(out, id, status),
            LocalAnswer::Unavailable(text) => binary::encode_failure(out, id, FailureCode::Unavailable, text),
            LocalAnswer::Info(_)
            | LocalAnswer::Done
            | LocalAnswer::Text(_)
            | LocalAnswer::Int(_)
            | LocalAnswer::Cluster(_)
            | LocalAnswer::Time { .. } => {
                binary::encode_failure(out, id, FailureCode::Unavailable, "no such answer");
            }
        }
    }
}

/// Answers a request that a connection is not served. Returns whether it did.
fn refuse(service: Service, id: u64, request: &Request<'_>, out: &mut Vec<u8>, draining: &mut bool) -> bool {
    let is_on_keys = matches!(request, Request::Command { .. } | Request::OpenSession { .. });
    let is_about_the_node = matches!(request, Request::Topology | Request::Status);
    match service {
        Service::Spare if is_on_keys => {
            binary::encode_failure(out, 0, FailureCode::Unavailable, OVER_LIMIT_TEXT);
            *draining = true;
        }
        // The core that would know a leader does not run yet: to the client it is as if there were none.
        Service::Loading if is_on_keys => {
            let error = Reply::<&[u8]>::Error(ErrorKind::NoLeader);
            binary::encode_reply(out, id, &error, LOADING_TEXT);
        }
        Service::Loading if is_about_the_node => {
            binary::encode_failure(out, id, FailureCode::Unavailable, LOADING_TEXT);
        }
        // The client asks another node, which opens or knows its session.
        Service::Leaving if is_on_keys || is_about_the_node => {
            binary::encode_failure(out, id, FailureCode::Unavailable, LEAVING_TEXT);
        }
        Service::Full | Service::Spare | Service::Loading | Service::Leaving => return false,
    }
    true
}
