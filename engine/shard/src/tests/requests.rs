//! P-12: who executes a request, what it waits for, and that its answer is the truth.

use super::lab::*;
use crate::Input;
use synod_types::{NodeId, PeerMessage};

/// P-12f: a forwarder that restarts must not take the answer to a request of its former life for the answer to a new one:
/// it would acknowledge a write that was never executed.
#[test]
fn an_answer_to_a_forward_from_before_a_restart_answers_nobody() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.request(2, set("old", "1"));
    let forwarded = lab.take(|packet| matches!(packet.message, PeerMessage::Forward { .. }));
    assert_eq!(forwarded.len(), 1);
    let PeerMessage::Forward { id, .. } = forwarded[0].message else { unreachable!() };

    // n1 has the command and n2 dies; n1 answers when n2 is back and has just forwarded something else.
    lab.crash(2);
    lab.start(2);
    lab.run_ms(100);
    let new = lab.request(2, set("new", "1"));
    let reply = synod_types::Reply::Done { version: Default::default() };
    lab.step(2, Input::Peer { from: NodeId::new(1), message: PeerMessage::ForwardReply { id, reply } });
    assert_eq!(lab.reply(new), None, "the answer to another request");
}
