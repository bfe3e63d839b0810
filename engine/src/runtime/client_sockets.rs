//! Client connections of one core: accept, read, write.
//!
//! A reader task feeds received bytes into the connection's entry in the table of clients, and then makes the
//! core execute what the connection asks for. A writer task sends, in one piece per turn, the replies that
//! have gathered in the output buffer. HTTP connections go to `http`.

use crate::node::RunError;
use crate::runtime::clients::OpenedClient;
use crate::runtime::early_clients::ClientListener;
use crate::runtime::http::{self, HttpClient};
use crate::runtime::notify::Notify;
use crate::runtime::pace;
use crate::runtime::port::CorePort;
use crate::runtime::stream::{self, Stream};
use crate::sys;
use crate::voice::{self, NodeEvent};
use futures_lite::io::{AsyncRead, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use nix::sys::socket::MsgFlags;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;
use synod_net::ReadBuffer;
use synod_net::server::{CONNECTION_REFUSED, Connection, ConnectionConfig, Service};

/// A larger write buffer is freed after use.
const KEEP_BYTES: usize = 8 << 10;
/// The socket is given so much at a time: after each piece the client is known to take part.
const PIECE_BYTES: usize = 256 << 10;
/// Before the connection of a client is ended for the sake of a stop, more may come of what it sends in pieces.
const PIECES_WITHIN: Duration = Duration::from_millis(5);
/// How long a client beyond the limit may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// The listeners of a core; it accepts no more clients once this is dropped.
pub(crate) struct Doors {
    _accepting: Vec<glommio::Task<()>>,
}

/// Takes over the listeners of the shared client port and of this core's own port.
///
/// # Errors
/// When they cannot be taken over.
pub(crate) fn listen(port: &CorePort) -> Result<Doors, RunError> {
    let mut accepting = Vec::new();
    for ClientListener { socket, is_core_port, .. } in port.node.early_clients.take_over(port.me)? {
        let listener: TcpListener = sys::adopt(socket.into());
        let port = port.clone();
        accepting.push(glommio::spawn_local(async move { accept(port, listener, is_core_port).await }));
    }
    Ok(Doors { _accepting: accepting })
}

async fn accept(port: CorePort, listener: TcpListener, is_core_port: bool) {
    loop {
        match listener.accept().await {
            Ok(stream) => admit(&port, stream, is_core_port),
            Err(error) => {
                let failed = NodeEvent::AcceptFailed { of: "client", why: &error };
                voice::say(Some(port.me), failed);
                // Out of descriptors: give other connections time to close theirs.
                glommio::timer::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Gives a new connection a task, or turns it away.
fn admit(port: &CorePort, stream: TcpStream, is_core_port: bool) {
    let options = &port.node.setup.options;
    let address = |addr: glommio::Result<SocketAddr, ()>| addr.map(|a| a.to_string()).unwrap_or_default();
    let (peer, local) = (stream.peer_addr(), stream.local_addr());
    let is_loopback = peer.as_ref().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
    let limit = options.connections_max as u64;
    let server = port.server();
    // Connection numbers are unique over the node's cores.
    let (cores, me) = (u64::from(port.node.setup.cores()), u64::from(port.me.get()));
    // Its place is taken here and not in its task: before that runs, more connections may be accepted.
    let opened = port.clients(|clients| {
        clients.admit(limit, is_loopback, |number, service| {
            Connection::new(ConnectionConfig {
                server: Rc::clone(&server),
                id: number * cores + me,
                peer_address: address(peer),
                is_loopback,
                local_address: address(local),
                is_core_port,
                service,
            })
        })
    });
    let Some((service, opened)) = opened else {
        server.counts.turned_away();
        // There is not even a place to wait for its first bytes. A new socket has room for one line; if it is
        // broken already, nobody reads it.
        let _ = nix::sys::socket::send(stream.as_raw_fd(), CONNECTION_REFUSED, MsgFlags::MSG_DONTWAIT);
        return;
    };
    // Only a broken socket refuses; the read fails then too.
    let _ = stream.set_nodelay(true);
    let _ = stream::probe_when_silent(&stream, options.tcp_keepalive_s);
    if service == Service::Spare {
        limit_patience(port, opened.connection);
    }
    let port = port.clone();
    glommio::spawn_local(async move { serve(port, stream, is_loopback, opened).await }).detach();
}

/// Ends the wait for the first bytes of a connection beyond the limit.
fn limit_patience(port: &CorePort, connection: u64) {
    let port = port.clone();
    glommio::spawn_local(async move {
        glommio::timer::sleep(PATIENCE).await;
        port.clients(|clients| clients.give_up_waiting(connection));
    })
    .detach();
}

/// Serves one connection to its end.
async fn serve<S: Stream>(port: CorePort, stream: S, is_loopback: bool, opened: OpenedClient) {
    let OpenedClient { connection, write, read, kill, pace } = opened;
    let socket = stream.plain_socket();
    let (mut reader, mut writer) = stream::split(stream);
    let reading = read_loop(&port, connection, &mut reader, &read);
    let writing = write_loop(&port, connection, (&mut writer, socket), write);
    // The first of the two to end ends the connection. After the client's end of input the reader never ends,
    // so the writer ends the connection after the last reply (see there).
    let serving = futures_lite::future::or(reading, writing);
    pace.watch(futures_lite::future::or(serving, kill.notified())).await;
    if let Some((first, service)) = port.clients(|clients| clients.take_http(connection)) {
        // Boxed: otherwise every other connection would carry its size.
        let client = HttpClient { connection, is_loopback, service, memory: read };
        let serving = http::serve(&port, client, first, reader, writer);
        Box::pin(futures_lite::future::or(serving, kill.notified())).await;
    }
    port.close(connection);
}

async fn read_loop<S: Stream>(
    port: &CorePort,
    connection: u64,
    reader: &mut stream::ReadEnd<S>,
    wake: &Notify,
) {
    loop {
        let (room, result) = read(port, connection, reader, wake).await;
        match result {
            // An end of input or a broken socket: outstanding replies are sent if possible, then the writer
            // ends the connection.
            Ok(0) | Err(_) => {
                port.client_gone(connection);
                std::future::pending::<()>().await;
            }
            Ok(count) => {
                let after = port.client_sent(connection, room, count);
                if after.http {
                    return;
                }
                if after.rests {
                    pace::rest().await;
                }
            }
        }
    }
}

/// Reads once there is memory to read into. A connection that has nothing to read lends none.
async fn read<S: Stream>(
    port: &CorePort,
    connection: u64,
    reader: &mut stream::ReadEnd<S>,
    wake: &Notify,
) -> (ReadBuffer, std::io::Result<usize>) {
    poll_fn(|context| {
        loop {
            if let Some(mut room) = port.clients(|clients| clients.lend(connection)) {
                return match Pin::new(&mut *reader).poll_read(context, &mut room) {
                    Poll::Ready(result) => Poll::Ready((room, result)),
                    Poll::Pending => {
                        port.clients(|clients| clients.put(connection, room, 0));
                        Poll::Pending
                    }
                };
            }
            ready!(wake.poll_notified(context));
        }
    })
    .await
}

async fn write_loop<S: Stream>(
    port: &CorePort,
    connection: u64,
    (writer, socket): (&mut stream::WriteEnd<S>, Option<RawFd>),
    wake: Rc<Notify>,
) {
    let mut buffer = Vec::new();
    // Whether the connection was asked for more work since the last wake.
    let mut gone_on = true;
    loop {
        if port.clients(|clients| clients.may_end(connection)) {
            glommio::timer::sleep(PIECES_WITHIN).await;
            if !socket.is_some_and(stream::has_unread) {
                port.clients(|clients| clients.end_idle(connection));
            }
        }
        let ended = port.clients(|clients| clients.take_output(connection, &mut buffer));
        if let Some(socket) = socket.filter(|_| ended && buffer.len() <= PIECE_BYTES) {
            let taken = stream::send_last(socket, &buffer);
            if taken == buffer.len() {
                if port.node.stopping_for().is_some() {
                    stream::linger(socket).await;
                }
                return;
            }
            buffer.drain(..taken);
        }
        if !buffer.is_empty() {
            for piece in buffer.chunks(PIECE_BYTES) {
                if writer.write_all(piece).await.is_err() {
                    return;
                }
                port.clients(|clients| clients.sends_on(connection));
            }
            buffer.clear();
            if buffer.capacity() > KEEP_BYTES {
                buffer = Vec::new();
            }
            // There is room again: commands that waited in the input may be executed.
            let rests = port.clients(|clients| {
                clients.sent(connection);
                clients.rests(connection)
            });
            if rests {
                pace::rest().await;
            }
            port.go_on(connection);
            gone_on = true;
            continue;
        }
        if ended {
            // Everything is sent. The client sees the close after the last reply.
            let _ = writer.close().await;
            return;
        }
        // A reply without output may be what the next step of a command, or a delayed read, waited for.
        if !std::mem::replace(&mut gone_on, true) {
            // The socket of a client that waits is not read, so it does not tell that the client is gone. A read for
            // it would take the room of others. (What it has sent is executed up to there; a write that it has
            // begun, to its end.)
            let waits = port.clients(|clients| clients.waits_with_read(connection));
            if waits && socket.is_some_and(|socket| sys::is_hung_up(&socket)) {
                return;
            }
            if port.clients(|clients| clients.rests(connection)) {
                pace::rest().await;
            }
            port.go_on(connection);
            continue;
        }
        wake.notified().await;
        gone_on = false;
    }
}
