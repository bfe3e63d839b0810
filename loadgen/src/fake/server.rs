//! The fake cluster on real sockets: one listener for each node, on a port chosen by the system, and one
//! thread for each connection.

use super::{After, FakeCluster, Faults, ServerEnd};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A fake cluster that listens until it is dropped.
pub(crate) struct FakeServers {
    shared: Arc<ServerState>,
    targets: Vec<String>,
    acceptors: Vec<JoinHandle<()>>,
    /// Connections that fill the accept queues of unreachable nodes.
    callers: Vec<TcpStream>,
}

/// How a process that is stopped, killed or cut off appears from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Connections are accepted, but nothing is read or answered.
    Deaf,
    /// An answer ends in the middle of a frame, and nothing follows.
    HalfFrame,
    /// The request is executed, and the connection breaks in the middle of the answer.
    HangUp,
    /// Connections break, and no new one can be made.
    Unreachable,
}

struct ServerState {
    cluster: Mutex<FakeCluster>,
    /// By node: whether it accepts no more connections, and answers nothing on those it has.
    down: Vec<AtomicBool>,
    /// The trouble of all nodes; it stays to the end.
    trouble: Mutex<Option<Trouble>>,
    /// Notified at the end.
    end: Condvar,
    ended: AtomicBool,
    streams: Mutex<Vec<(u16, TcpStream)>>,
}

impl FakeServers {
    pub(crate) fn start(nodes: u16, group_count: u16, seed: u64) -> Self {
        let listeners: Vec<_> =
            (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").expect("some port is free")).collect();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("a listener has an address").port())
            .collect();
        let places = ports.iter().map(|&port| ("127.0.0.1".to_owned(), port)).collect();
        let shared = Arc::new(ServerState {
            cluster: Mutex::new(FakeCluster::new(places, group_count, seed)),
            down: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            trouble: Mutex::new(None),
            end: Condvar::new(),
            ended: AtomicBool::new(false),
            streams: Mutex::new(Vec::new()),
        });
        let acceptors = (1..)
            .zip(listeners)
            .map(|(node, listener)| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || accept(&shared, node, &listener))
            })
            .collect();
        let targets = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self { shared, targets, acceptors, callers: Vec::new() }
    }
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.clone()
    }
    pub(crate) fn cluster(&self) -> MutexGuard<'_, FakeCluster> {
        lock(&self.shared.cluster)
    }
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.cluster().faults = faults;
    }
    /// Brings trouble to all nodes; it stays.
    pub(crate) fn bring(&mut self, trouble: Trouble) {
        if lock(&self.shared.trouble).replace(trouble).is_some() || trouble != Trouble::Unreachable {
            return;
        }
        // No thread accepts connections from the queue now; once it is full, the system accepts no more of
        // them.
        for target in &self.targets {
            let addr = target.parse().expect("an address");
            while let Ok(caller) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
                self.callers.push(caller);
            }
        }
        for (_, stream) in lock(&self.shared.streams).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
    /// Takes a node down or brings it up. A node that is down breaks its connections and accepts no new ones.
    pub(crate) fn set_down(&self, node: u16, down: bool) {
        self.shared.down[usize::from(node) - 1].store(down, Ordering::SeqCst);
        if down {
            for (_, stream) in lock(&self.shared.streams).iter().filter(|(of, _)| *of == node) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for FakeServers {
    fn drop(&mut self) {
        {
            let _looking = lock(&self.shared.trouble);
            self.shared.ended.store(true, Ordering::SeqCst);
        }
        self.shared.end.notify_all();
        // A connection wakes the acceptor, which then sees that it must end.
        for target in &self.targets {
            let addr = target.parse().expect("an address");
            drop(TcpStream::connect_timeout(&addr, Duration::from_secs(2)));
        }
        for (_, stream) in lock(&self.shared.streams).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.acceptors.drain(..).for_each(|acceptor| drop(acceptor.join()));
    }
}

fn accept(shared: &Arc<ServerState>, node: u16, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if *lock(&shared.trouble) == Some(Trouble::Unreachable) {
            return wait_for_end(shared);
        }
        if shared.down[usize::from(node) - 1].load(Ordering::SeqCst) {
            continue;
        }
        stream.set_nodelay(true).expect("a TCP socket has the option");
        let kept = stream.try_clone().expect("a socket can be cloned");
        lock(&shared.streams).push((node, kept));
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(&shared, node, stream));
    }
}

fn serve(shared: &ServerState, node: u16, mut stream: TcpStream) {
    let (mut end, mut buffer, mut out) = (ServerEnd::default(), vec![0; 64 << 10], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        out.clear();
        let delay = Duration::from_millis(lock(&shared.cluster).faults.delay_ms);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let after = end.feed(&mut lock(&shared.cluster), node, &buffer[..count], &mut out);
        let trouble = *lock(&shared.trouble);
        if trouble.is_some() {
            let half = if trouble == Some(Trouble::Deaf) { 0 } else { out.len() / 2 };
            let _ = stream.write_all(&out[..half]);
            if trouble != Some(Trouble::HangUp) {
                wait_for_end(shared);
            }
            break;
        }
        if stream.write_all(&out).is_err() || after == After::Break {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn wait_for_end(shared: &ServerState) {
    let looking = lock(&shared.trouble);
    let ended = |_: &mut Option<Trouble>| !shared.ended.load(Ordering::SeqCst);
    drop(shared.end.wait_while(looking, ended).unwrap_or_else(PoisonError::into_inner));
}

/// Ignores poisoning: a test that failed while it held the lock must not cause further failures.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
