//! One connection as the client core sees it.

use crate::binary::ResponseDecoder;
use std::collections::BTreeMap;
use synod_types::{GroupId, Nanos};

/// `span` after `at`.
pub(super) fn after(at: Nanos, span: Nanos) -> Nanos {
    Nanos(at.0.saturating_add(span.0))
}

/// The purpose of a request on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The password.
    Auth,
    /// The topology, for routing.
    Topology,
    /// A session for writes in this group.
    OpenSession(GroupId),
    /// An operation of the caller.
    Operation(u64),
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) purpose: Purpose,
    pub(super) sent_at: Nanos,
}

/// Whether a link can be used.
#[derive(Debug)]
pub(super) enum LinkState {
    /// Not usable before this time: connecting failed or the connection broke.
    Down { until: Nanos },
    /// The caller was asked to connect.
    Connecting,
    /// Connected.
    Up(Box<ResponseDecoder>),
}

/// A connection, established or wanted.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: LinkState,
    pub(super) requests: BTreeMap<u64, Pending>,
    /// Failures since the last answer, for growing pauses.
    pub(super) failures: u32,
    /// The server has nothing to give at the moment: it gets no new request, and the connection is closed
    /// once those under way are answered.
    pub(super) is_leaving: bool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            state: LinkState::Down { until: Nanos::ZERO },
            requests: BTreeMap::new(),
            failures: 0,
            is_leaving: false,
        }
    }
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up(_))
    }
    /// Whether it is up and may be used.
    pub(super) fn is_usable(&self) -> bool {
        self.is_up() && !self.is_leaving
    }
    /// Whether it is of no use now: it is about to be closed, or is down and no attempt is allowed yet.
    pub(super) fn is_barred(&self, now: Nanos) -> bool {
        self.is_leaving || matches!(self.state, LinkState::Down { until } if until > now)
    }
}
