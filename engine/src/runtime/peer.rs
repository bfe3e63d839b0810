//! Links between peer cores: core i of this node and core i of each other node, one connection per direction.
//!
//! ```text
//!   Links::send ─▶ buffer ─flush─▶ dialer task ──── TCP ────▶ listener task ─▶ Shard
//!                                  hello ▶ ◀ welcome
//! ```
//! Whoever dials only sends, whoever accepts only receives. A link that breaks is dialled again; what was in its buffer is
//! lost, as the protocol allows, and the shard is told.

use crate::node::{Member, RunError};
use crate::runtime::core::Running;
use crate::runtime::gather::Gather;
use crate::runtime::notify::Notify;
use crate::runtime::pace::{self, Pace};
use crate::runtime::stream::{self, Stream};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpListener;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use synod_net::peer::{
    self as wire, Decoder, HANDSHAKE_BYTES, Handshake, HandshakeFrame, Known, decode_handshake,
};
use synod_types::{GroupMessage, Incarnation, NodeId, PeerMessage, Shared};

/// Bytes a link may hold for a peer that does not take them. Beyond it, bulk is dropped (P-14): the peer pulls later.
const LINK_BULK_BYTES_MAX: usize = 32 << 20;
/// Beyond this even small messages are dropped.
const LINK_BYTES_MAX: usize = 40 << 20;
/// Memory a link keeps for what it encodes.
const OUTBOX_BYTES_KEPT: usize = 1 << 20;
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const HANDSHAKE_LIMIT: Duration = Duration::from_millis(2000);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// The outgoing links of one core.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<Link>,
    unsent: Vec<u64>,
}

#[derive(Debug)]
struct Link {
    node: NodeId,
    connected: bool,
    outbox: Gather,
    dirty: bool,
    wake: Rc<Notify>,
}

impl Links {
    /// Unconnected links to `peers`.
    pub fn new(peers: impl Iterator<Item = NodeId>) -> Self {
        let links = peers
            .map(|node| Link {
                node,
                connected: false,
                outbox: Gather::default(),
                dirty: false,
                wake: Rc::new(Notify::default()),
            })
            .collect();
        Self { links, unsent: Vec::new() }
    }

    /// Encodes a message into its link's buffer, or drops it: links may lose messages.
    pub fn send(&mut self, to: NodeId, message: &PeerMessage<Shared>) {
        let Some(at) = self.links.iter().position(|link| link.node == to) else { return };
        let link = &mut self.links[at];
        let is_accept = matches!(message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. });
        let is_learn = matches!(message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. });
        let limit = if is_accept || is_learn { LINK_BULK_BYTES_MAX } else { LINK_BYTES_MAX };
        if !link.connected || link.outbox.len() > limit {
            // A forwarded request, or a question, would wait for an answer in vain.
            if let PeerMessage::Forward { id, .. } | PeerMessage::ReadIndex { id, .. } = message {
                self.unsent.push(*id);
            }
            return;
        }
        link.dirty = true;
        let is_bulk =
            is_accept || matches!(message, PeerMessage::Forward { .. } | PeerMessage::ForwardReply { .. });
        if !is_bulk {
            wire::encode(link.outbox.bytes(), message);
        } else if let Some(payload) = wire::encode_head(link.outbox.bytes(), message) {
            link.outbox.push(payload);
        }
    }

    /// What has gathered for a peer, in exchange for an empty buffer.
    fn take(&mut self, node: NodeId, empty: &mut Gather) {
        std::mem::swap(&mut self.link(node).outbox, empty);
    }

    /// The link to a peer begins, or ends: what has gathered is lost.
    fn reset(&mut self, node: NodeId, connected: bool) -> Rc<Notify> {
        let link = self.link(node);
        link.connected = connected;
        link.outbox = Gather::default();
        Rc::clone(&link.wake)
    }

    /// The peers that are linked to.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.links.iter().filter(|link| link.connected).map(|link| link.node)
    }

    /// The number of a forwarded request that was dropped.
    pub fn take_unsent(&mut self) -> Option<u64> {
        self.unsent.pop()
    }

    /// Wakes the writers of links that have something to send.
    pub fn flush(&mut self) {
        for link in &mut self.links {
            if std::mem::take(&mut link.dirty) {
                link.wake.notify();
            }
        }
    }

    fn link(&mut self, node: NodeId) -> &mut Link {
        self.links.iter_mut().find(|link| link.node == node).expect("a link per peer, made at start")
    }
}

/// Listens for peers and dials them.
pub(crate) fn listen(running: &Running) -> Result<(), RunError> {
    let setup = &running.node.setup;
    let addr = std::net::SocketAddr::new(setup.listen, setup.own().peer_port(running.me));
    let listener = TcpListener::bind(addr)
        .map_err(|error| RunError::Failed(format!("cannot listen for peers on {addr}: {error}")))?;
    let accepting = running.clone();
    glommio::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    let running = accepting.clone();
                    glommio::spawn_local(async move {
                        // Only a broken socket refuses; the read will say so.
                        let _ = stream.set_nodelay(true);
                        let _ = stream::break_when_silent(&stream);
                        let pace = Pace::default();
                        if let Err(why) = pace.watch(receive(&running, stream, &pace)).await {
                            eprintln!("synod: core {}: peer connection closed: {why}", running.me.get());
                        }
                    })
                    .detach();
                }
                Err(error) => {
                    eprintln!("synod: core {}: accept of a peer failed: {error}", running_name(&accepting));
                    glommio::timer::sleep(RETRY_MAX).await; // out of descriptors: give others time to close theirs
                }
            }
        }
    })
    .detach();
    for member in setup.peers() {
        let (running, member) = (running.clone(), member.clone());
        glommio::spawn_local(async move { dial(running, member).await }).detach();
    }
    Ok(())
}

fn running_name(running: &Running) -> u16 {
    running.me.get()
}

fn ours(running: &Running, target: NodeId) -> Handshake {
    let setup = &running.node.setup;
    Handshake {
        cluster: setup.identity().facts.cluster,
        facts: setup.facts_hash(),
        node: setup.node(),
        incarnation: setup.identity().incarnation,
        core: running.me,
        core_count: setup.cores(),
        target,
    }
}

fn known(running: &Running, node: NodeId) -> Known {
    let setup = &running.node.setup;
    if !setup.peers().any(|member| member.id == node) {
        return Known::Stranger;
    }
    setup.peer_book.get(node).map_or(Known::Unseen, Known::As)
}

/// Makes a peer's incarnation durable before anything it says counts.
async fn learn(running: &Running, node: NodeId, incarnation: Incarnation) -> Result<(), String> {
    let book = Arc::clone(&running.node.setup.peer_book);
    // The first meeting blocks on a flush.
    glommio::executor()
        .spawn_blocking(move || book.check_or_learn(node, incarnation))
        .await
        .map_err(|refusal| refusal.to_string())
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = async {
        glommio::timer::sleep(limit).await;
        Err(format!("{what} took longer than {} ms", limit.as_millis()))
    };
    futures_lite::future::or(work, late).await
}

async fn read_handshake<S: Stream>(stream: &mut S) -> Result<HandshakeFrame, String> {
    let mut bytes = [0; HANDSHAKE_BYTES];
    stream.read_exact(&mut bytes).await.map_err(|error| format!("handshake: {error}"))?;
    decode_handshake(&bytes).map_err(|error| format!("handshake: {error}"))
}

async fn write_all<S: Stream>(stream: &mut S, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|error| format!("handshake: {error}"))
}

/// The accepting side: judge the hello, then take messages until the link ends.
async fn receive<S: Stream>(running: &Running, mut stream: S, pace: &Pace) -> Result<(), String> {
    let hello = within(HANDSHAKE_LIMIT, "the handshake", read_handshake(&mut stream)).await?;
    let HandshakeFrame::Hello(theirs) = hello else {
        return Err("the first frame is not a hello".to_owned());
    };
    let mine = ours(running, theirs.node);
    let mut answer = Vec::new();
    if let Err(refusal) = mine.judge(&theirs, known(running, theirs.node)) {
        wire::encode_refusal(&mut answer, &mine, refusal);
        // The refusal is a courtesy; the connection closes either way.
        let _ = within(HANDSHAKE_LIMIT, "the refusal", write_all(&mut stream, &answer)).await;
        return Err(format!("{} was refused: {refusal}", theirs.node));
    }
    learn(running, theirs.node, theirs.incarnation).await?;
    wire::encode_welcome(&mut answer, &mine);
    within(HANDSHAKE_LIMIT, "the welcome", write_all(&mut stream, &answer)).await?;
    let from = theirs.node;
    let mut decoder = Decoder::new();
    loop {
        let mut room = decoder.lend();
        let count = match stream.read(&mut room).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            // A peer that was killed resets its links; that is no news to anybody but the election.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(format!("{from}: {error}")),
        };
        decoder.put(room, count);
        let broken = |error| format!("{from} sent what is no message that this node takes: {error}");
        while running.with(|core| core.peer_messages(from, &mut decoder, pace)).map_err(broken)? {
            pace::rest().await;
        }
    }
}

/// The dialling side: connect, introduce, send what gathers; again and again.
async fn dial(running: Running, member: Member) {
    let mut pause = RETRY_FIRST;
    let last_said = Cell::new(None::<String>);
    loop {
        match establish(&running, &member).await {
            Ok(stream) => {
                pause = RETRY_FIRST;
                last_said.set(None);
                serve_link(&running, member.id, stream).await;
                running.with(|core| {
                    core.io.links.reset(member.id, false);
                    core.link_lost(member.id);
                });
            }
            Err(Failure::Unreachable) => {}
            Err(Failure::Refused(why)) => {
                let said = last_said.take();
                if said.as_ref() != Some(&why) {
                    eprintln!("synod: core {}: no link to {}: {why}", running.me.get(), member.id);
                }
                last_said.set(Some(why));
                pause = RETRY_MAX;
            }
        }
        glommio::timer::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

enum Failure {
    /// Nobody answers: normal while nodes come and go.
    Unreachable,
    /// Somebody answers and something is wrong: worth a line.
    Refused(String),
}

async fn establish(running: &Running, member: &Member) -> Result<glommio::net::TcpStream, Failure> {
    let core = running.me;
    let addr = if member.host.parse::<std::net::IpAddr>().is_ok() {
        member.peer_addr(core)
    } else {
        let member = member.clone();
        glommio::executor().spawn_blocking(move || member.peer_addr(core)).await
    };
    let addr = addr.map_err(|error| Failure::Refused(format!("{}: {error}", member.host)))?;
    let mut stream = stream::connect(addr, CONNECT_LIMIT).await.map_err(|_| Failure::Unreachable)?;
    stream::break_when_silent(&stream).map_err(|_| Failure::Unreachable)?;
    let mine = ours(running, member.id);
    let mut hello = Vec::new();
    wire::encode_hello(&mut hello, &mine);
    within(HANDSHAKE_LIMIT, "the hello", write_all(&mut stream, &hello))
        .await
        .map_err(|_| Failure::Unreachable)?;
    let answer = within(HANDSHAKE_LIMIT, "the handshake", read_handshake(&mut stream))
        .await
        .map_err(|_| Failure::Unreachable)?;
    match answer {
        HandshakeFrame::Welcome(theirs) => {
            mine.judge(&theirs, known(running, member.id))
                .map_err(|refusal| Failure::Refused(refusal.to_string()))?;
            learn(running, member.id, theirs.incarnation).await.map_err(Failure::Refused)?;
            Ok(stream)
        }
        HandshakeFrame::Refused(refusal) => Err(Failure::Refused(refusal.to_string())),
        HandshakeFrame::Hello(_) => Err(Failure::Refused("it answers a hello with a hello".to_owned())),
    }
}

/// Sends what gathers until the link breaks.
async fn serve_link<S: Stream>(running: &Running, node: NodeId, stream: S) {
    let wake = running.with(|core| core.io.links.reset(node, true));
    let socket = stream.plain_socket();
    let (mut reader, mut writer) = stream::split(stream);
    // The peer says nothing on this connection; a read that ends is how its death is noticed.
    let watch = async {
        let mut byte = [0];
        let _ = reader.read(&mut byte).await; // data, end or error: either way the link is of no more use
    };
    let send = async {
        let mut outbox = Gather::default();
        loop {
            wake.notified().await;
            loop {
                running.with_quiet(|core| core.io.links.take(node, &mut outbox));
                if outbox.len() == 0 {
                    break;
                }
                if outbox.write(&mut writer, socket).await.is_err() {
                    return;
                }
                // One burst must not pin its memory for ever.
                outbox.clear(OUTBOX_BYTES_KEPT);
            }
        }
    };
    futures_lite::future::or(watch, send).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::{Ballot, Command, Condition, EntryBuilder, Expiry, GroupId, Op, Payload, Slot, WallMs};

    fn accept(slot: u64, payload: &Shared) -> PeerMessage<Shared> {
        let ballot = Ballot::new(3, NodeId::new(1));
        let (slot, chosen, payload) = (Slot::new(slot), Slot::new(1), payload.clone());
        PeerMessage::Group {
            group: GroupId::new(2),
            message: GroupMessage::Accept { ballot, slot, chosen, payload },
        }
    }

    fn frames(outbox: &Gather) -> Vec<PeerMessage<Shared>> {
        let mut decoder = Decoder::new();
        outbox.pieces().for_each(|piece| decoder.feed(piece));
        std::iter::from_fn(|| decoder.next().expect("whole frames")).collect()
    }

    fn entry(value: &[u8]) -> Shared {
        let mut builder = EntryBuilder::<Vec<u8>>::new();
        let value_crc = synod_types::checksum::crc32c(value);
        let op = Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false };
        builder.push(Command::new(b"key".to_vec(), op, value.to_vec()));
        Shared::new(builder.finish(Ballot::ZERO, WallMs(7))).sealed()
    }

    #[test]
    fn each_peer_gets_the_messages_meant_for_it() {
        let [a, b] = [2, 3].map(NodeId::new);
        let mut links = Links::new([a, b].into_iter());
        links.reset(a, true);
        links.reset(b, true);
        let (short, long) = (entry(b"short"), entry(&[7; 5000]));
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        let mut send = |links: &mut Links, to: NodeId, message: PeerMessage<Shared>| {
            links.send(to, &message);
            if to == a { to_a.push(message) } else { to_b.push(message) }
        };
        send(&mut links, a, accept(1, &short));
        send(&mut links, b, accept(1, &short));
        send(&mut links, b, accept(2, &long));
        send(&mut links, b, PeerMessage::Beats(Vec::new()));
        send(&mut links, a, accept(2, &long));
        send(&mut links, a, accept(3, &long));
        for (node, expected) in [(a, to_a), (b, to_b)] {
            let mut sent = Gather::default();
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected);
            assert!(sent.pieces().any(|piece| std::ptr::eq(piece, long.as_ref())), "an entry was copied");
            links.take(node, &mut sent);
            links.take(node, &mut sent);
            assert_eq!(frames(&sent), expected, "what was taken is given back in exchange");
        }
    }
}
