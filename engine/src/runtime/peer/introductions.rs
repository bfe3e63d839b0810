//! The peers that a starting node has tried to reach, so that it learns before its first message whether its
//! data is an old copy (P-20).

use super::handshake::LinkFailure;
use crate::runtime::clock;
use crate::stop::Stop;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use synod_types::{Mono, Nanos, NodeId};

/// If no process listens at a peer's address for this long, the peer counts as absent.
const ABSENT_FOR: Nanos = Nanos::from_ms(1_000);
/// How long a starting node waits for its peers to tell it what they know of its log.
const INTRODUCTIONS_MAX: Nanos = Nanos::from_ms(3_000);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The introductions of one core; clones share their state.
#[derive(Clone)]
pub(crate) struct Introductions {
    left: Rc<RefCell<BTreeSet<NodeId>>>,
    over: Rc<Cell<bool>>,
    began: Mono,
}

impl Introductions {
    /// Begins introductions to these nodes.
    pub(super) fn to(members: impl Iterator<Item = NodeId>) -> Self {
        let began = clock::mono();
        Self { left: Rc::new(RefCell::new(members.collect())), over: Rc::default(), began }
    }

    /// Waits until every peer is linked or absent, for a limited time.
    pub async fn made(&self, stop: &Stop) {
        while !self.left.borrow().is_empty()
            && clock::mono().since(self.began) < INTRODUCTIONS_MAX
            && !stop.requested()
        {
            glommio::timer::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The node has begun to serve: messages of peers are processed from now on.
    pub fn end(&self) {
        self.over.set(true);
    }

    /// Whether the node has begun to serve.
    pub(super) fn are_over(&self) -> bool {
        self.over.get()
    }

    /// Waits until the node has begun to serve.
    pub(super) async fn ended(&self) {
        while !self.are_over() {
            glommio::timer::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Notes the result of an attempt to link to a peer. A peer that is absent may be starting, and a peer
    /// that does not answer may still answer.
    pub(super) fn tried<T>(&self, node: NodeId, link: &Result<T, LinkFailure>) {
        let is_over = match link {
            Ok(_) => true,
            Err(
                LinkFailure::Absent
                | LinkFailure::Wrong(_)
                | LinkFailure::Refused { .. }
                | LinkFailure::Version(_),
            ) => clock::mono().since(self.began) >= ABSENT_FOR,
            Err(LinkFailure::Gone(_)) => false,
        };
        if is_over {
            self.left.borrow_mut().remove(&node);
        }
    }
}
