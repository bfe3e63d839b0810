//! A step of a group's Paxos, and all that follows from it.

use crate::flow::{apply, effects, leadership, read};
use crate::outlet::Out;
use crate::step::Cx;
use synod_paxos as paxos;
use synod_types::Payload;

/// Gives one input to a group's Paxos, and does all that follows from it.
pub(crate) fn drive<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, input: paxos::Input<P>) {
    debug_assert!(cx.common.effects.is_empty(), "effects were left behind");
    tell_room(cx);
    cx.group.paxos.step(input, cx.now, &mut cx.common.effects);
    follow_up(cx);
}

/// After a step of a group: passes its effects on, applies entries that became ready, notices a change of
/// leadership, serves reads.
pub(crate) fn follow_up<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    effects::flush(cx);
    tell_events(cx);
    apply::apply_ready(cx);
    leadership::notice(cx);
    debug_assert!(cx.group.led == cx.group.paxos.leading(), "a change of leadership went unnoticed");
    serve_reads(cx);
}

/// Passes the group's events on. There are hardly ever any.
fn tell_events<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    if cx.group.paxos.has_events() {
        cx.group.paxos.take_events().for_each(|event| cx.out.tell(event));
    }
}

/// A record of the group has its place in the log, so its slot may now be applied if it is chosen.
pub(crate) fn located<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, input: paxos::Input<P>) {
    cx.group.paxos.step(input, cx.now, &mut cx.common.effects);
    debug_assert!(cx.common.effects.is_empty(), "a place asks for something");
    apply::apply_ready(cx);
    serve_reads(cx);
}

fn serve_reads<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    read::serve_confirmed(cx);
    read::serve_applied(cx);
}

/// Tells a group about the log's room, and whether the log is behind, if either has changed since the last
/// time.
pub(crate) fn tell_room<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    let told = (cx.common.journal.space(), cx.common.log_is_behind(cx.now.mono));
    if cx.group.told != told {
        cx.group.told = told;
        let (space, is_behind) = told;
        let input = paxos::Input::Room { space, is_behind };
        cx.group.paxos.step(input, cx.now, &mut cx.common.effects);
        assert!(cx.common.effects.is_empty(), "a change of room asks for something");
    }
}
