//! The dialling side of links: connects, introduces this node and sends messages; again after every break.

use super::context::PeerContext;
use super::handshake::{HANDSHAKE_LIMIT, LinkFailure, introduce, within};
use crate::node::Member;
use crate::runtime::clock;
use crate::runtime::fatal;
use crate::runtime::links::{RefusedLink, Way};
use crate::runtime::port::CorePort;
use crate::runtime::stream::{self, Stream};
use crate::runtime::write_vec::WriteVec;
use crate::voice::NodeEvent;
use futures_lite::io::AsyncReadExt;
use std::cell::Cell;
use std::time::Duration;
use synod_net::peer::{LinkRefusal, PeerSecret, Welcomed};
use synod_types::{LogPosition, NodeId};

/// Memory that a link keeps for encoded messages.
const OUTBOX_BYTES_KEPT: usize = 1 << 20;
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// Keeps a link to `member` up forever.
pub(super) async fn dial(context: PeerContext, member: Member) {
    let port = context.port.clone();
    let mut pause = RETRY_FIRST;
    let last_said = Cell::new(None::<String>);
    let mut down_since = None;
    loop {
        let link = establish(&context, &member).await;
        context.introductions.tried(member.id, &link);
        port.link_tried(member.id, link.as_ref().err().and_then(LinkFailure::refused));
        match link {
            Ok((stream, secret)) => {
                pause = RETRY_FIRST;
                last_said.set(None);
                let up_since = clock::mono();
                let down_ms = down_since.map(|since| up_since.since(since).as_ms());
                context.say(NodeEvent::LinkUp { peer: member.id, down_ms });
                let retired = async {
                    context.until_retired(&secret).await;
                    "the secret that proved it is no longer accepted".to_owned()
                };
                let serving = serve_link(&port, (member.id, Way::Bulk), stream);
                let why = futures_lite::future::or(serving, retired).await;
                port.link_down(member.id, Way::Bulk, context.introductions.are_over());
                let now = clock::mono();
                down_since = Some(now);
                let up_ms = now.since(up_since).as_ms();
                context.say(NodeEvent::LinkLost { peer: member.id, up_ms, why: &why });
            }
            Err(LinkFailure::Gone(_) | LinkFailure::Absent) => {}
            Err(broken) => {
                let why = broken.to_string();
                let said = last_said.take();
                if said.as_ref() != Some(&why) {
                    context.say(NodeEvent::LinkFailed { peer: member.id, why: &why });
                }
                last_said.set(Some(why));
                pause = RETRY_MAX;
            }
        }
        glommio::timer::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Keeps the urgent way of a link to `member` up forever. What is wrong with a peer is said by the other way.
pub(super) async fn dial_urgent(context: PeerContext, member: Member) {
    let port = context.port.clone();
    loop {
        if let Ok((stream, secret)) = establish(&context, &member).await {
            let serving = async { drop(serve_link(&port, (member.id, Way::Urgent), stream).await) };
            futures_lite::future::or(serving, context.until_retired(&secret)).await;
            port.link_down(member.id, Way::Urgent, false);
        }
        glommio::timer::sleep(RETRY_MAX).await;
    }
}

async fn establish(
    context: &PeerContext,
    member: &Member,
) -> Result<(glommio::net::TcpStream, PeerSecret), LinkFailure> {
    let core = context.port.me;
    let addr = if member.host.parse::<std::net::IpAddr>().is_ok() {
        member.peer_addr(core)
    } else {
        let member = member.clone();
        glommio::executor().spawn_blocking(move || member.peer_addr(core)).await
    };
    let addr = addr.map_err(|error| LinkFailure::Wrong(format!("{}: {error}", member.host)))?;
    let gone = |error: std::io::Error| LinkFailure::Gone(error.to_string());
    let connected = stream::connect(addr, CONNECT_LIMIT).await;
    let mut stream = connected.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => LinkFailure::Absent,
        _ => gone(error),
    })?;
    stream::break_when_silent(&stream).map_err(gone)?;
    let mine = context.ours(member.id);
    let introduce = async { Ok(introduce(mine, &context.secrets, &mut stream).await) };
    let Welcomed { theirs, secret, heard } =
        within(HANDSHAKE_LIMIT, "the handshake", introduce).await.map_err(LinkFailure::Gone)??;
    if theirs.node != member.id {
        let why = format!("{} answers at its address; check the addresses", theirs.node);
        return Err(LinkFailure::Refused { link: RefusedLink::Here(LinkRefusal::WrongTarget), why });
    }
    let judged = context.ours(member.id).judge(&theirs, context.known(theirs.node));
    judged.map_err(|refusal| LinkFailure::Refused {
        link: RefusedLink::Here(refusal),
        why: refusal.to_string(),
    })?;
    context.learn(theirs.node, theirs.incarnation).await.map_err(LinkFailure::Wrong)?;
    // This checks the log as it is durable now, after the position was reported.
    if !context.port.log_holds(heard) {
        condemn(&context.port, theirs.node, heard);
    }
    Ok((stream, secret))
}

/// This node's data is an old copy: it has made promises and written records that it does not know. It must
/// send nothing more, now and in the future (P-20).
fn condemn(port: &CorePort, by: NodeId, heard: LogPosition) -> ! {
    let why = format!(
        "{by} has known block {} of the log of core {} as durable, and this log, which ends at block {}, has \
         not got that block",
        heard.sequence,
        port.me.get(),
        port.log_position().sequence
    );
    fatal::condemn(&port.node.setup.data, port.me, why)
}

/// Sends gathered messages until the link breaks. Returns the reason.
async fn serve_link<S: Stream>(port: &CorePort, (node, way): (NodeId, Way), stream: S) -> String {
    let wake = port.link_up(node, way);
    let socket = stream.plain_socket();
    let (mut reader, mut writer) = stream::split(stream);
    // The peer sends nothing on this connection; a read that ends shows that the connection is dead.
    let watch = async {
        let mut byte = [0];
        // Data, end or error: in each case the link is useless.
        match reader.read(&mut byte).await {
            Ok(0) => "the peer closed it".to_owned(),
            Ok(_) => "the peer sent something on a link that it only reads".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let send = async {
        let mut outbox = WriteVec::default();
        loop {
            wake.notified().await;
            loop {
                port.take_outbox(node, way, &mut outbox);
                if outbox.len() == 0 {
                    break;
                }
                if let Err(error) = outbox.write(&mut writer, socket).await {
                    return error.to_string();
                }
                // One burst must not keep its memory forever.
                outbox.clear(OUTBOX_BYTES_KEPT);
            }
        }
    };
    futures_lite::future::or(watch, send).await
}
