//! The accepting side of links: checks the dialling node, then receives messages until the link ends.

use super::context::PeerContext;
use super::handshake::{HANDSHAKE_LIMIT, prove, within, write_all};
use super::unproved::Unproved;
use crate::runtime::pace::{self, TaskPace};
use crate::runtime::peer_inbox::PeerInbox;
use crate::runtime::port::CorePort;
use crate::runtime::stream::{self, Stream};
use crate::voice::NodeEvent;
use futures_lite::io::AsyncReadExt;
use glommio::net::TcpListener;
use std::time::Duration;

/// Pause after a failed accept.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Accepts connections forever.
pub(super) async fn accept(context: PeerContext, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let from = stream.peer_addr().map_or_else(
                    |_| "somewhere".to_owned(), // the connection is gone already
                    |addr| addr.ip().to_string(),
                );
                let unproved = context.unproved.enter();
                let context = context.clone();
                glommio::spawn_local(async move {
                    // Only a broken socket refuses this, and the read will fail too.
                    let _ = stream.set_nodelay(true);
                    let _ = stream::break_when_silent(&stream);
                    let pace = TaskPace::default();
                    if let Err(why) = pace.watch(receive(&context, &from, stream, unproved, &pace)).await {
                        context.say(NodeEvent::PeerClosed { from: &from, why: &why });
                    }
                })
                .detach();
            }
            Err(error) => {
                context.say(NodeEvent::AcceptFailed { of: "peer", why: &error });
                // Out of descriptors: give other connections time to close theirs.
                glommio::timer::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn receive<S: Stream>(
    context: &PeerContext,
    from: &str,
    mut stream: S,
    unproved: Unproved,
    pace: &TaskPace,
) -> Result<(), String> {
    let proof = async { Ok(prove(&context.secrets, &mut stream).await) };
    let crowded = async {
        unproved.crowded_out().await;
        Err("it proved nothing, and others want its place".to_owned())
    };
    let proof = within(HANDSHAKE_LIMIT, "the handshake", proof);
    let proved = futures_lite::future::or(crowded, proof).await?.map_err(|broken| broken.to_string())?;
    drop(unproved);
    let theirs = *proved.theirs();
    let secret = proved.secret().clone();
    let mine = context.ours(theirs.node);
    let mut answer = Vec::new();
    if let Err(refusal) = mine.judge(&theirs, context.known(theirs.node)) {
        proved.refuse(&mine, refusal, &mut answer);
        // The refusal only informs the peer; the connection closes either way.
        let _ = within(HANDSHAKE_LIMIT, "the refusal", write_all(&mut stream, &answer)).await;
        let why = refusal.to_string();
        context.say(NodeEvent::MemberRefused { peer: theirs.node, from, why: &why });
        return Ok(());
    }
    context.learn(theirs.node, theirs.incarnation).await?;
    let heard = context.heard.about(theirs.node, theirs.incarnation, context.port.me);
    proved.welcome(&mine, heard, &mut answer);
    within(HANDSHAKE_LIMIT, "the welcome", write_all(&mut stream, &answer)).await?;
    let retired = async {
        context.until_retired(&secret).await;
        Err(format!(
            "the secret by which {} proved itself is no longer accepted; it may come again",
            theirs.node
        ))
    };
    let messages = async {
        context.introductions.ended().await;
        take_messages(&context.port, PeerInbox::new(theirs.node, heard), stream, pace).await
    };
    futures_lite::future::or(messages, retired).await
}

/// Receives messages until the link ends.
async fn take_messages<S: Stream>(
    port: &CorePort,
    mut inbox: PeerInbox,
    mut stream: S,
    pace: &TaskPace,
) -> Result<(), String> {
    let from = inbox.from;
    loop {
        let mut room = inbox.lend();
        let count = match stream.read(&mut room).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            // A peer that was killed resets its links. Only the election cares about that.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(format!("{from}: {error}")),
        };
        inbox.put(room, count);
        let broken = |error| format!("{from} sent a message that this node does not take: {error}");
        while port.peer_messages(&mut inbox, pace).map_err(broken)? {
            pace::rest().await;
        }
    }
}
