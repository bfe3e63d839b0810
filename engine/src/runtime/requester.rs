//! `Requester`: the party that awaits a reply of this core.

use synod_net::server::Tag;
use synod_types::{CoreId, RequestId};

/// The party that awaits a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester {
    /// A connection of this core.
    Connection {
        /// The connection.
        connection: u64,
        /// Its tag for the request.
        tag: Tag,
        /// The bytes that the request counts for while it is under way.
        bytes: u32,
    },
    /// An HTTP request of this core.
    Http {
        /// Its number among the waiting requests.
        waiter: u64,
        /// The bytes that the request counts for while it is under way.
        bytes: u32,
    },
    /// Another core of this node.
    Core {
        /// The other core.
        core: CoreId,
        /// Its number for the request.
        id: RequestId,
        /// The longest value for which it has reserved room.
        room: u32,
    },
}
