//! The peers' secret on real nodes: strangers at a peer port, and a secret that is replaced while the nodes
//! serve.

use crate::cluster::{Nodes, binary, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use synod::identity::{self, DirState, Identity};
use synod_net::client::{Client, ClientConfig, TcpDial};
use synod_net::peer::{
    Acceptor, HANDSHAKE_HEAD_BYTES, Handshake, HandshakeError, Head, Initiator, PEER_VERSION, PeerSecret,
    Secrets,
};
use synod_types::{CoreId, Nanos};

fn identity(nodes: &mut Nodes, index: usize) -> Identity {
    match identity::inspect(&nodes.get().data_dir(index)).expect("a data directory") {
        DirState::Formatted(identity) => *identity,
        other => panic!("{other:?}"),
    }
}

/// The handshake with which `who` introduces itself to `target`.
fn facts(nodes: &mut Nodes, who: usize, target: usize) -> Handshake {
    let identity = identity(nodes, who);
    Handshake {
        cluster: identity.facts.cluster,
        facts: identity.facts.hash64(),
        node: identity.node,
        incarnation: identity.incarnation,
        core: CoreId::new(0),
        core_count: identity.cores,
        target: nodes.node(target),
    }
}

/// A caller at a peer port.
struct Caller {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Caller {
    fn at(nodes: &mut Nodes, index: usize) -> Self {
        let port = nodes.get().members()[index].peer_port;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a peer port takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        Self { stream, heard: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("an answer");
        self.heard.extend_from_slice(&bytes);
        bytes
    }

    fn frame(&mut self) -> (Head, Vec<u8>) {
        let bytes = self.hear(HANDSHAKE_HEAD_BYTES);
        let head = Head::decode(bytes.first_chunk().expect("a head")).expect("a sound head");
        let tail = self.hear(head.tail_bytes());
        (head, tail)
    }

    /// No more bytes come: the node has closed the connection.
    fn turned_away(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty(), "something more is said: {rest:02x?}");
        self.heard
    }
}

/// A handshake as a node would make it; returns the answer of the node called.
fn shake(
    nodes: &mut Nodes,
    index: usize,
    ours: Handshake,
    secrets: Secrets,
) -> Result<Handshake, HandshakeError> {
    let mut caller = Caller::at(nodes, index);
    let mut out = Vec::new();
    let initiator = Initiator::hello(ours, secrets, [7; 32], &mut out);
    caller.say(&out);
    out.clear();
    let (challenge, tail) = caller.frame();
    let introduced = initiator.on_challenge(&challenge, &tail, &mut out)?;
    caller.say(&out);
    let (answer, tail) = caller.frame();
    introduced.on_answer(&answer, &tail).map(|answer| answer.theirs)
}

#[test]
fn a_stranger_with_all_facts_is_told_a_version_and_no_more() {
    let mut nodes = Nodes::start("strangers");
    let (ours, theirs) = (facts(&mut nodes, 2, 0), facts(&mut nodes, 0, 2));
    let text = fs::read_to_string(nodes.dir().join("peers.secret")).expect("the cluster has a secret");
    let right = Secrets::parse(&text).expect("a secret");
    assert_eq!(shake(&mut nodes, 0, ours, right.clone()), Ok(theirs), "or this test proves nothing");
    // Any number of connections that a caller holds open keeps no other caller out.
    let silent: Vec<Caller> = (0..80).map(|_| Caller::at(&mut nodes, 0)).collect();
    assert_eq!(shake(&mut nodes, 0, ours, right), Ok(theirs));
    silent.into_iter().for_each(|caller| assert!(caller.turned_away().is_empty()));

    let wrong = || Secrets::one(PeerSecret::new(*b"a guess, one of very many others"));
    assert_eq!(shake(&mut nodes, 0, ours, wrong()), Err(HandshakeError::OtherSecret));
    let mut heard = Vec::new();

    // The caller reports that it has another secret.
    let mut caller = Caller::at(&mut nodes, 0);
    let mut out = Vec::new();
    let stranger = Initiator::hello(ours, wrong(), [1; 32], &mut out);
    caller.say(&out);
    out.clear();
    let (challenge, tail) = caller.frame();
    assert!(stranger.on_challenge(&challenge, &tail, &mut out).is_err());
    caller.say(&out);
    heard.push(caller.turned_away());

    // The caller introduces itself even so, with a made-up proof.
    let mut caller = Caller::at(&mut nodes, 0);
    let (mut hello, mut made_up) = (Vec::new(), Vec::new());
    let stranger = Initiator::hello(ours, wrong(), [1; 32], &mut hello);
    caller.say(&hello);
    caller.frame();
    let head = Head::decode(hello.first_chunk().expect("a head")).expect("a sound head");
    Acceptor::challenge(&head, wrong(), [2; 32], &mut made_up).expect("a challenge");
    let (challenge, tail) = made_up.split_at(HANDSHAKE_HEAD_BYTES);
    let challenge = Head::decode(challenge.first_chunk().expect("a head")).expect("a sound head");
    let mut intro = Vec::new();
    stranger.on_challenge(&challenge, tail, &mut intro).expect("its own secret");
    caller.say(&intro);
    let refusal = caller.hear(HANDSHAKE_HEAD_BYTES);
    assert_eq!(refusal[10..16], [3, 0, 10, 0, 0, 0], "a refusal, OtherSecret, nothing behind it");
    heard.push(caller.turned_away());

    // The caller speaks another version.
    let mut caller = Caller::at(&mut nodes, 0);
    hello[8] += 1;
    caller.say(&hello);
    let refusal = caller.hear(HANDSHAKE_HEAD_BYTES);
    assert_eq!(refusal[8..10], PEER_VERSION.to_le_bytes());
    assert_eq!(refusal[10..16], [3, 0, 1, 0, 0, 0], "a refusal, VersionMismatch, nothing behind it");
    heard.push(caller.turned_away());

    // The caller speaks another protocol, or says nothing.
    let mut caller = Caller::at(&mut nodes, 0);
    caller.say(&[b'x'; HANDSHAKE_HEAD_BYTES]);
    heard.push(caller.turned_away());
    heard.push(Caller::at(&mut nodes, 0).turned_away());

    let secret_of =
        |part: &[u8]| heard.iter().any(|heard| heard.windows(part.len()).any(|bytes| bytes == part));
    assert!(!secret_of(&theirs.cluster.get().to_le_bytes()), "the cluster");
    assert!(!secret_of(&theirs.facts.to_le_bytes()), "its facts");
    for index in 0..3 {
        let incarnation = identity(&mut nodes, index).incarnation;
        assert!(!secret_of(&incarnation.get().to_le_bytes()), "an incarnation");
    }
    let log = fs::read_to_string(nodes.dir().join("n1.log")).expect("a log");
    assert!(log.contains("peer connection from 127.0.0.1 closed"), "{log}");
}

/// Nodes made one by one, as people do to try a cluster out: without a secret they accept each other, as long
/// as no other machine can reach them.
#[test]
fn nodes_of_one_machine_need_no_secret_until_they_are_given_one() {
    let mut nodes = Nodes::start("machine");
    nodes.wait_led();
    let file = nodes.dir().join("peers.secret");
    let given = fs::read_to_string(&file).expect("the cluster has a secret");
    for index in 0..3 {
        nodes.get().kill(index).expect("killed");
    }
    fs::remove_file(&file).expect("removed");
    (0..3).for_each(|index| nodes.get().restart(index).expect("restarted"));
    nodes.get().wait_ready(Duration::from_secs(60)).expect("they serve");
    nodes.wait_led();
    let caller = facts(&mut nodes, 1, 2);
    let with = Secrets::parse(&given).expect("a secret");
    assert_eq!(shake(&mut nodes, 2, caller, with.clone()), Err(HandshakeError::OtherSecret));
    fs::write(&file, given).expect("written");
    for node in 1..=3 {
        taken(nodes.dir(), node, 1);
    }
    assert!(shake(&mut nodes, 2, caller, with).is_ok());
    works_without(&mut nodes, 0, "given");
}

fn secret(dir: &Path, words: &[&str], config: &Path, given: &str) -> String {
    let mut command = Command::new(binary());
    command.arg("secret").args(words).arg("--config").arg(config).current_dir(dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(given.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Waits until a node has loaded its secret file this many times.
fn taken(dir: &Path, node: u16, times: usize) {
    until("the node looks at its secret", || {
        let log = fs::read_to_string(dir.join(format!("n{node}.log"))).expect("a log");
        log.matches("is taken for the peers' secret now").count() == times
    });
}

fn restart(nodes: &mut Nodes, index: usize) {
    nodes.get().restart(index).expect("restarted");
    nodes.get().wait_node_ready(index, Duration::from_secs(60)).expect("it serves");
}

/// Waits until these nodes accept a write.
fn serve(targets: &[String], key: &str) {
    let config =
        || ClientConfig { attempts_max: 3, deadline: Nanos::from_ms(5_000), ..ClientConfig::default() };
    let connect = || Client::connect_with(targets, config(), Box::new(TcpDial));
    until("two nodes serve", || {
        connect().is_ok_and(|mut client| client.set(key.as_bytes(), b"written").is_ok())
    });
}

/// Whether a node is linked to all others.
fn is_linked(target: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(target) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(b"CLUSTER NODES\r\nQUIT\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.matches(" connected").count() == 3
}

/// Two nodes are a cluster only if they are linked: the third is killed and comes back, and then all are
/// linked again.
fn works_without(nodes: &mut Nodes, index: usize, key: &str) {
    nodes.get().kill(index).expect("killed");
    let mut others = nodes.targets();
    others.remove(index);
    serve(&others, key);
    restart(nodes, index);
    let targets = nodes.targets();
    until("all are linked", || targets.iter().all(|target| is_linked(target)));
}

#[test]
fn the_secret_is_replaced_while_the_nodes_serve() {
    let mut nodes = Nodes::start("secrets");
    nodes.wait_led();
    let dir = nodes.dir().to_owned();
    let configs = [0, 1, 2].map(|index| nodes.get().config_file(index));
    // The third node has a file of its own, as on a machine of its own.
    fs::copy(dir.join("peers.secret"), dir.join("n3.secret")).expect("copied");
    let text = fs::read_to_string(&configs[2]).expect("a configuration");
    let text = text.replace("peer_secret_file = \"peers.secret\"", "peer_secret_file = \"n3.secret\"");
    assert!(text.contains("n3.secret"), "{text}");
    fs::write(&configs[2], text).expect("written");
    nodes.get().kill(2).expect("killed");
    restart(&mut nodes, 2);
    let old = secret(&dir, &["show"], &configs[2], "");
    let caller = facts(&mut nodes, 1, 2);
    let with = |text: &str| Secrets::parse(text).expect("a secret");

    // The first two nodes accept both secrets, the third only the old one.
    let new = secret(&dir, &["rotate"], &configs[0], "");
    taken(&dir, 1, 1);
    taken(&dir, 2, 1);
    works_without(&mut nodes, 1, "first");
    works_without(&mut nodes, 0, "second");

    // All accept both; then the first two only the new one; then all only the new one.
    assert_eq!(secret(&dir, &["rotate", "--from", "-"], &configs[2], &new), new);
    taken(&dir, 3, 1);
    assert!(
        shake(&mut nodes, 2, caller, with(&old)).is_ok() && shake(&mut nodes, 2, caller, with(&new)).is_ok()
    );
    secret(&dir, &["retire"], &configs[0], "");
    taken(&dir, 1, 2);
    taken(&dir, 2, 2);
    until("links that the old one proved end", || {
        let log = fs::read_to_string(dir.join("n1.log")).expect("a log");
        log.contains("the secret by which n3 proved itself is no longer accepted")
    });
    works_without(&mut nodes, 1, "third");
    secret(&dir, &["retire"], &configs[2], "");
    taken(&dir, 3, 2);
    assert_eq!(shake(&mut nodes, 2, caller, with(&old)), Err(HandshakeError::OtherSecret));
    works_without(&mut nodes, 0, "fourth");

    // The third node gets a secret that no other node has: the links made with the old one end, it reports
    // why, and the two others serve.
    let theirs = secret(&dir, &["rotate"], &configs[2], "");
    secret(&dir, &["retire"], &configs[2], "");
    until("the nodes part", || {
        let log = fs::read_to_string(dir.join("n3.log")).expect("a log");
        log.contains("no link to n1: handshake: the peer has another peer secret")
            && !log.contains(theirs.trim())
    });
    let both: Vec<String> = nodes.targets().into_iter().take(2).collect();
    serve(&both, "fifth");
    // When it gets the right secret it comes back, without a restart.
    secret(&dir, &["rotate", "--from", "-"], &configs[2], &new);
    secret(&dir, &["retire"], &configs[2], "");
    works_without(&mut nodes, 0, "sixth");
    works_without(&mut nodes, 1, "seventh");

    let mut client = Client::connect(&nodes.targets()).expect("they take clients");
    for key in ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"] {
        assert_eq!(client.get(key.as_bytes()).expect("a read").as_deref(), Some(&b"written"[..]), "{key}");
    }
    for node in 1..=3 {
        let log = fs::read_to_string(dir.join(format!("n{node}.log"))).expect("a log");
        assert!(![&old, &new, &theirs].iter().any(|secret| log.contains(secret.trim())), "shown: {log}");
    }
}
