//! Links between peer cores: core i of this node and core i of each other node, two connections per direction: one
//! for heartbeats, one for the rest.
//!
//! ```text
//!   PeerLinks::send ─▶ buffer ─flush─▶ dial ───── TCP ────▶ accept ─▶ PeerInbox ─▶ CorePort::peer_messages
//!                                        hello ▶ ◀ challenge
//!                                        intro ▶ ◀ welcome
//! ```
//! The dialling side only sends, the accepting side only receives. A broken link is dialled again. The
//! content of its buffer is lost, as the protocol allows, and the shard is told. A link lasts while the
//! secret that proved it is accepted.

mod accept;
mod books;
mod context;
mod dial;
mod handshake;
mod introductions;
mod unproved;

pub(crate) use books::warn_if_open;

use crate::node::RunError;
use crate::runtime::port::CorePort;
use context::PeerContext;
use glommio::net::TcpListener;
use introductions::Introductions;
use std::sync::Arc;
use synod_types::CoreId;
use unproved::Waiting;

/// Listens for peers and dials them, if there are any. Messages of peers are processed only after the
/// introductions have ended.
pub(crate) fn listen(port: &CorePort) -> Result<Introductions, RunError> {
    let setup = &port.node.setup;
    let introductions = Introductions::to(setup.peers().map(|member| member.id));
    let Some(secrets) = setup.peer_secrets.clone() else { return Ok(introductions) };
    let addr = std::net::SocketAddr::new(setup.listen, setup.own().peer_port(port.me));
    let listener = TcpListener::bind(addr)
        .map_err(|error| RunError::Failed(format!("cannot listen for peers on {addr}: {error}")))?;
    let context = PeerContext {
        port: port.clone(),
        secrets,
        heard: Arc::clone(&setup.heard),
        unproved: Waiting::default(),
        introductions: introductions.clone(),
    };
    if port.me == CoreId::new(0) {
        glommio::spawn_local(books::watch_secrets(Arc::clone(&context.secrets))).detach();
        glommio::spawn_local(books::keep_heard(Arc::clone(&context.heard))).detach();
    }
    glommio::spawn_local(accept::accept(context.clone(), listener)).detach();
    for member in setup.peers() {
        glommio::spawn_local(dial::dial(context.clone(), member.clone())).detach();
        glommio::spawn_local(dial::dial_urgent(context.clone(), member.clone())).detach();
    }
    Ok(introductions)
}
