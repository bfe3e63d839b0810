//! Refusals of a group that has too much waiting, and what the operator hears of them.

use crate::outlet::Out;
use crate::request::Request;
use crate::step::Cx;
use synod_types::{ErrorKind, Event, Payload};

/// Refuses a request for which the group has no room.
pub(crate) fn refuse<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>, request: &Request<P>) {
    if cx.group.overload.refuse(cx.now.mono) {
        cx.out.tell(Event::OverloadBegun { group: cx.group.id });
    }
    request.refuse(ErrorKind::Busy, cx.out);
}

/// Handles a tick.
pub(crate) fn tick<P: Payload>(cx: &mut Cx<'_, P, impl Out<P>>) {
    if let Some(refused) = cx.group.overload.end_if_over(cx.now.mono) {
        cx.out.tell(Event::OverloadEnded { group: cx.group.id, refused });
    }
}
