//! Links between peer cores: core i of this node and core i of each other node, one connection per direction.
//!
//! ```text
//!   Links::send ─▶ buffer ─flush─▶ dialer task ──── TCP ────▶ listener task ─▶ Shard
//!                                  hello ▶ ◀ challenge
//!                                  intro ▶ ◀ welcome
//! ```
//! Whoever dials only sends, whoever accepts only receives. A link that breaks is dialled again; what was in its buffer is
//! lost, as the protocol allows, and the shard is told. A link stands for as long as the secret is taken that proved it.

use crate::identity::{HeardBook, SecretBook};
use crate::node::{Member, RunError};
use crate::random::random;
use crate::runtime::clock;
use crate::runtime::complaints::Complaints;
use crate::runtime::core::{self, Running};
use crate::runtime::gather::Gather;
use crate::runtime::notify::Notify;
use crate::runtime::pace::{self, Pace};
use crate::runtime::stream::{self, Stream};
use crate::stop::Stop;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpListener;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use synod_net::peer::{
    self as wire, Acceptor, Answer, Decoder, HANDSHAKE_HEAD_BYTES, Handshake, HandshakeError, Head,
    Initiator, Known, Nonce, PeerSecret, Proved,
};
use synod_types::{CoreId, Incarnation, LogPosition, Mono, Nanos, NodeId};

/// Memory a link keeps for what it encodes.
const OUTBOX_BYTES_KEPT: usize = 1 << 20;
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
const HANDSHAKE_LIMIT: Duration = Duration::from_millis(2000);
/// Connections of one core that have not proved anything yet. Peers come one at a time; many are strangers.
const UNPROVED_MAX: usize = 64;
/// Between two times that what was heard of other nodes' logs is made durable.
const HEARD_INTERVAL: Duration = Duration::from_secs(2);
/// Nobody listens where a peer should be: after so long it is taken for not there.
const ABSENT_FOR: Nanos = Nanos::from_ms(1_000);
/// How long a node that was started waits for its peers to tell it what they know of its log.
const INTRODUCTIONS_MAX: Nanos = Nanos::from_ms(3_000);
const INTRODUCTIONS_LOOK: Duration = Duration::from_millis(5);
/// Between two looks at what is taken for the secret.
const SECRETS_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// What the links of one core share.
#[derive(Clone)]
struct Room {
    running: Running,
    secrets: Arc<SecretBook>,
    heard: Arc<HeardBook>,
    complaints: Rc<Complaints>,
    unproved: Waiting,
    introductions: Introductions,
}

/// Whom a node that was started has tried to reach, so that it learns before its first word whether it is an old copy (P-20).
#[derive(Clone)]
pub(crate) struct Introductions {
    left: Rc<RefCell<BTreeSet<NodeId>>>,
    over: Rc<Cell<bool>>,
    began: Mono,
}

impl Introductions {
    fn to(members: impl Iterator<Item = NodeId>) -> Self {
        let began = clock::mono();
        Self { left: Rc::new(RefCell::new(members.collect())), over: Rc::default(), began }
    }

    /// Waits until everybody was linked to or is not there, for a while.
    pub async fn made(&self, stop: &Stop) {
        while !self.left.borrow().is_empty()
            && clock::mono().since(self.began) < INTRODUCTIONS_MAX
            && !stop.requested()
        {
            glommio::timer::sleep(INTRODUCTIONS_LOOK).await;
        }
    }

    /// The node has begun: what peers say is listened to.
    pub fn end(&self) {
        self.over.set(true);
    }

    async fn ended(&self) {
        while !self.over.get() {
            glommio::timer::sleep(INTRODUCTIONS_LOOK).await;
        }
    }

    /// How it went with one of them. Who is not there may be about to be, and who does not answer may yet.
    fn tried<T>(&self, node: NodeId, link: &Result<T, Broken>) {
        let is_over = match link {
            Ok(_) => true,
            Err(Broken::Absent | Broken::Wrong(_) | Broken::Version(_)) => {
                clock::mono().since(self.began) >= ABSENT_FOR
            }
            Err(Broken::Gone(_)) => false,
        };
        if is_over {
            self.left.borrow_mut().remove(&node);
        }
    }
}

/// Connections that have not proved anything yet, the oldest first: each is told here to make room for others.
type Waiting = Rc<RefCell<VecDeque<Rc<Notify>>>>;

/// Listens for peers and dials them, if there are any. What they say is listened to once their introductions have ended.
pub(crate) fn listen(running: &Running) -> Result<Introductions, RunError> {
    let setup = &running.node.setup;
    let introductions = Introductions::to(setup.peers().map(|member| member.id));
    let Some(secrets) = setup.peer_secrets.clone() else { return Ok(introductions) };
    let addr = std::net::SocketAddr::new(setup.listen, setup.own().peer_port(running.me));
    let listener = TcpListener::bind(addr)
        .map_err(|error| RunError::Failed(format!("cannot listen for peers on {addr}: {error}")))?;
    let room = Room {
        running: running.clone(),
        secrets,
        heard: Arc::clone(&setup.heard),
        complaints: Rc::default(),
        unproved: Rc::default(),
        introductions: introductions.clone(),
    };
    if running.me == CoreId::new(0) {
        let (secrets, heard) = (room.clone(), room.clone());
        glommio::spawn_local(async move { secrets.watch_secrets().await }).detach();
        glommio::spawn_local(async move { heard.keep_heard().await }).detach();
    }
    let accepting = room.clone();
    glommio::spawn_local(async move { accepting.accept(listener).await }).detach();
    for member in setup.peers() {
        let (room, member) = (room.clone(), member.clone());
        glommio::spawn_local(async move { dial(room, member).await }).detach();
    }
    Ok(introductions)
}

/// One of the connections that have not proved anything yet.
struct Unproved {
    all: Waiting,
    make_room: Rc<Notify>,
}

impl Unproved {
    /// One more; where they are too many, the oldest has to go. An honest peer needs milliseconds, whoever holds the others.
    fn new(all: &Waiting) -> Self {
        let make_room = Rc::new(Notify::default());
        let mut waiting = all.borrow_mut();
        if waiting.len() >= UNPROVED_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.notify();
        }
        waiting.push_back(Rc::clone(&make_room));
        Self { all: Rc::clone(all), make_room }
    }
}

impl Drop for Unproved {
    fn drop(&mut self) {
        self.all.borrow_mut().retain(|one| !Rc::ptr_eq(one, &self.make_room));
    }
}

impl Room {
    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    let from = stream.peer_addr().map_or_else(
                        |_| "somewhere".to_owned(), // gone already
                        |addr| addr.ip().to_string(),
                    );
                    let unproved = Unproved::new(&self.unproved);
                    let room = self.clone();
                    glommio::spawn_local(async move {
                        // Only a broken socket refuses; the read will say so.
                        let _ = stream.set_nodelay(true);
                        let _ = stream::break_when_silent(&stream);
                        let pace = Pace::default();
                        if let Err(why) = pace.watch(receive(&room, stream, unproved, &pace)).await {
                            room.complain(format!("peer connection from {from} closed: {why}"));
                        }
                    })
                    .detach();
                }
                Err(error) => {
                    self.complain(format!("accept of a peer failed: {error}"));
                    glommio::timer::sleep(RETRY_MAX).await; // out of descriptors: give others time to close theirs
                }
            }
        }
    }

    /// Takes what the file says, when it says something else.
    async fn watch_secrets(&self) {
        // Its own, so that no stranger can keep it from being heard.
        let complaints = Complaints::default();
        loop {
            glommio::timer::sleep(SECRETS_INTERVAL).await;
            let secrets = Arc::clone(&self.secrets);
            match glommio::executor().spawn_blocking(move || secrets.refresh()).await {
                Ok(false) => {}
                Ok(true) => {
                    let file = self.secrets.file().display();
                    eprintln!("synod: what is in {file} is taken for the peers' secret now");
                    super::warn_if_open(&self.secrets);
                }
                Err(refusal) => complaints.say(format!("the peers' secret stays as it was: {refusal}")),
            }
        }
    }

    /// Makes durable what was heard of other nodes' logs.
    async fn keep_heard(&self) {
        let complaints = Complaints::default();
        loop {
            glommio::timer::sleep(HEARD_INTERVAL).await;
            let heard = Arc::clone(&self.heard);
            if let Err(refusal) = glommio::executor().spawn_blocking(move || heard.flush()).await {
                complaints.say(format!("what is known of other nodes' logs is not durable: {refusal}"));
            }
        }
    }

    /// Ends when `secret` is not taken any more.
    async fn until_retired(&self, secret: &PeerSecret) {
        while self.secrets.takes(secret) {
            glommio::timer::sleep(SECRETS_INTERVAL).await;
        }
    }

    fn complain(&self, line: String) {
        self.complaints.say(format!("core {}: {line}", self.running.me.get()));
    }
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
    if running.node.setup.peer_book.get(node) == Some(incarnation) {
        return Ok(()); // as nearly always: no need to wait for whoever blocks on a disk
    }
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

/// Why a handshake broke off.
enum Broken {
    /// Nobody listens there.
    Absent,
    /// The other end is not there any more, or says nothing.
    Gone(String),
    /// It is there and speaks another version.
    Version(HandshakeError),
    /// It is there and something is wrong: worth a line.
    Wrong(String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("nobody listens there"),
            Self::Gone(why) => write!(f, "handshake: {why}"),
            Self::Version(error) => write!(f, "handshake: {error}"),
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

impl From<HandshakeError> for Broken {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Version { .. } => Self::Version(error),
            other => Self::Wrong(format!("handshake: {other}")),
        }
    }
}

async fn read_frame<S: Stream>(stream: &mut S) -> Result<(Head, Vec<u8>), Broken> {
    let gone = |error: std::io::Error| Broken::Gone(error.to_string());
    let mut bytes = [0; HANDSHAKE_HEAD_BYTES];
    stream.read_exact(&mut bytes).await.map_err(gone)?;
    let head = Head::decode(&bytes)?;
    let mut tail = vec![0; head.tail_bytes()];
    stream.read_exact(&mut tail).await.map_err(gone)?;
    Ok((head, tail))
}

async fn write_all<S: Stream>(stream: &mut S, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|error| format!("handshake: {error}"))
}

/// Sends what there is to say, and leaves `out` empty.
async fn send<S: Stream>(stream: &mut S, out: &mut Vec<u8>) -> Result<(), Broken> {
    let sent = stream.write_all(out).await.map_err(|error| Broken::Gone(error.to_string()));
    out.clear();
    sent
}

/// The kernel's generator is no disk: it does not keep this thread waiting.
fn nonce() -> Result<Nonce, Broken> {
    random().map_err(|error| Broken::Wrong(format!("cannot draw random bytes: {error}")))
}

/// The accepting side: judge who comes, then take messages until the link ends.
async fn receive<S: Stream>(
    room: &Room,
    mut stream: S,
    unproved: Unproved,
    pace: &Pace,
) -> Result<(), String> {
    let proof = async { Ok(prove(room, &mut stream).await) };
    let crowded = async {
        unproved.make_room.notified().await;
        Err("it proved nothing, and others want its place".to_owned())
    };
    let proof = within(HANDSHAKE_LIMIT, "the handshake", proof);
    let proved = futures_lite::future::or(crowded, proof).await?.map_err(|broken| broken.to_string())?;
    drop(unproved);
    let running = &room.running;
    let theirs = *proved.theirs();
    let secret = proved.secret().clone();
    let mine = ours(running, theirs.node);
    let mut answer = Vec::new();
    if let Err(refusal) = mine.judge(&theirs, known(running, theirs.node)) {
        proved.refuse(&mine, refusal, &mut answer);
        // The refusal is a courtesy; the connection closes either way.
        let _ = within(HANDSHAKE_LIMIT, "the refusal", write_all(&mut stream, &answer)).await;
        return Err(format!("{} was refused: {refusal}", theirs.node));
    }
    learn(running, theirs.node, theirs.incarnation).await?;
    let heard = room.heard.about(theirs.node, theirs.incarnation, running.me);
    proved.welcome(&mine, heard, &mut answer);
    within(HANDSHAKE_LIMIT, "the welcome", write_all(&mut stream, &answer)).await?;
    let retired = async {
        room.until_retired(&secret).await;
        Err(format!(
            "the secret by which {} proved itself is not taken any more; it may come again",
            theirs.node
        ))
    };
    let messages = async {
        room.introductions.ended().await;
        take_messages(running, theirs.node, heard, stream, pace).await
    };
    futures_lite::future::or(messages, retired).await
}

/// The accepting side of a handshake, up to the proof of who has come.
async fn prove<S: Stream>(room: &Room, stream: &mut S) -> Result<Proved, Broken> {
    let mut out = Vec::new();
    let (hello, _) = match read_frame(stream).await {
        Err(broken @ Broken::Version(_)) => {
            wire::refuse_version(&mut out);
            send(stream, &mut out).await?;
            return Err(broken);
        }
        frame => frame?,
    };
    let acceptor = Acceptor::challenge(&hello, room.secrets.secrets(), nonce()?, &mut out)?;
    send(stream, &mut out).await?;
    let (intro, tail) = read_frame(stream).await?;
    let proved = acceptor.on_intro(&intro, &tail, &mut out);
    if proved.is_err() {
        let _ = send(stream, &mut out).await; // a courtesy, as above
    }
    Ok(proved?)
}

/// Takes messages until the link ends.
async fn take_messages<S: Stream>(
    running: &Running,
    from: NodeId,
    heard: LogPosition,
    mut stream: S,
    pace: &Pace,
) -> Result<(), String> {
    let mut decoder = Decoder::new();
    // What it was told, and then has said, of its log.
    let heard = Cell::new(heard);
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
        while running.with(|core| core.peer_messages(from, &heard, &mut decoder, pace)).map_err(broken)? {
            pace::rest().await;
        }
    }
}

/// The dialling side: connect, introduce, send what gathers; again and again.
async fn dial(room: Room, member: Member) {
    let running = room.running.clone();
    let mut pause = RETRY_FIRST;
    let last_said = Cell::new(None::<String>);
    loop {
        let link = establish(&room, &member).await;
        room.introductions.tried(member.id, &link);
        match link {
            Ok((stream, secret)) => {
                pause = RETRY_FIRST;
                last_said.set(None);
                let retired = room.until_retired(&secret);
                futures_lite::future::or(serve_link(&running, member.id, stream), retired).await;
                let has_begun = room.introductions.over.get();
                running.with(|core| {
                    core.io.links.reset(member.id, false);
                    if has_begun {
                        core.link_lost(member.id);
                    }
                });
            }
            Err(Broken::Gone(_) | Broken::Absent) => {}
            Err(broken) => {
                let why = broken.to_string();
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

async fn establish(room: &Room, member: &Member) -> Result<(glommio::net::TcpStream, PeerSecret), Broken> {
    let core = room.running.me;
    let addr = if member.host.parse::<std::net::IpAddr>().is_ok() {
        member.peer_addr(core)
    } else {
        let member = member.clone();
        glommio::executor().spawn_blocking(move || member.peer_addr(core)).await
    };
    let addr = addr.map_err(|error| Broken::Wrong(format!("{}: {error}", member.host)))?;
    let gone = |error: std::io::Error| Broken::Gone(error.to_string());
    let connected = stream::connect(addr, CONNECT_LIMIT).await;
    let mut stream = connected.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Broken::Absent,
        _ => gone(error),
    })?;
    stream::break_when_silent(&stream).map_err(gone)?;
    let introduce = async { Ok(introduce(room, member, &mut stream).await) };
    let Answer { theirs, secret, heard } =
        within(HANDSHAKE_LIMIT, "the handshake", introduce).await.map_err(Broken::Gone)??;
    if theirs.node != member.id {
        return Err(Broken::Wrong(format!("{} answers at its address; check the addresses", theirs.node)));
    }
    let running = &room.running;
    let judged = ours(running, member.id).judge(&theirs, known(running, theirs.node));
    judged.map_err(|refusal| Broken::Wrong(refusal.to_string()))?;
    learn(running, theirs.node, theirs.incarnation).await.map_err(Broken::Wrong)?;
    // Of what is durable at this moment, which is after it was said.
    if !running.with_quiet(|core| core.replica.wal().holds(heard)) {
        condemn(running, theirs.node, heard);
    }
    Ok((stream, secret))
}

/// This node's data is an old copy: it has promised, and written, what it does not know of. It says nothing more, now and later.
fn condemn(running: &Running, by: NodeId, heard: LogPosition) -> ! {
    let own = running.with_quiet(|core| core.replica.wal().position());
    let why = format!(
        "{by} has known block {} of the log of core {} as durable, and this log, which ends at block {}, has not got that block",
        heard.sequence,
        running.me.get(),
        own.sequence
    );
    core::condemn(&running.node.setup.data, running.me, why)
}

/// The dialling side of a handshake: who answers.
async fn introduce<S: Stream>(room: &Room, member: &Member, stream: &mut S) -> Result<Answer, Broken> {
    let mine = ours(&room.running, member.id);
    let mut out = Vec::new();
    let initiator = Initiator::hello(mine, room.secrets.secrets(), nonce()?, &mut out);
    send(stream, &mut out).await?;
    let (challenge, tail) = read_frame(stream).await?;
    let introduced = initiator.on_challenge(&challenge, &tail, &mut out);
    if introduced.is_err() {
        let _ = send(stream, &mut out).await; // a courtesy, as above
    }
    let introduced = introduced?;
    send(stream, &mut out).await?;
    let (answer, tail) = read_frame(stream).await?;
    Ok(introduced.on_answer(&answer, &tail)?)
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
