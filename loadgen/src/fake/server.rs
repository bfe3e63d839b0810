//! The fake cluster on real sockets: one listener for each node on a port of the system's choosing, one thread for each
//! connection.

use super::{After, FakeCluster, Faults, ServerEnd};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A fake cluster that listens until it is dropped.
pub(crate) struct FakeServers {
    shared: Arc<Shared>,
    targets: Vec<String>,
    acceptors: Vec<JoinHandle<()>>,
}

struct Shared {
    cluster: Mutex<FakeCluster>,
    /// By node: takes no more connections, and answers nothing on those it has.
    down: Vec<AtomicBool>,
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
        let shared = Arc::new(Shared {
            cluster: Mutex::new(FakeCluster::new(places, group_count, seed)),
            down: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
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
        Self { shared, targets: ports.iter().map(|port| format!("127.0.0.1:{port}")).collect(), acceptors }
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
    /// The node breaks its connections and takes no more, until it is up again.
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
        self.shared.ended.store(true, Ordering::SeqCst);
        // A connection wakes the acceptor, which sees that it is to end.
        self.targets.iter().for_each(|target| drop(TcpStream::connect(target)));
        for (_, stream) in lock(&self.shared.streams).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.acceptors.drain(..).for_each(|acceptor| drop(acceptor.join()));
    }
}

fn accept(shared: &Arc<Shared>, node: u16, listener: &TcpListener) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
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

fn serve(shared: &Shared, node: u16, mut stream: TcpStream) {
    let (mut end, mut buffer, mut out) = (ServerEnd::default(), vec![0; 64 << 10], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        out.clear();
        let delay = Duration::from_millis(lock(&shared.cluster).faults.delay_ms);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let after = end.feed(&mut lock(&shared.cluster), node, &buffer[..count], &mut out);
        if stream.write_all(&out).is_err() || after == After::Break {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// A test that failed while it held the lock is not made worse by another that looks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
