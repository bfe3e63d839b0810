//! Client connections of one core: accept, read, write.
//!
//! A reader task feeds received bytes into the connection's entry in the table of clients, and then makes the
//! core execute what the connection asks for. A writer task sends, in one piece per turn, the replies that
//! have gathered in the output buffer. HTTP connections go to `http`.

use crate::node::RunError;
use crate::runtime::clients::OpenedClient;
use crate::runtime::http;
use crate::runtime::notify::Notify;
use crate::runtime::pace;
use crate::runtime::port::CorePort;
use crate::runtime::stream::{self, Stream};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpListener;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use synod_net::server::{Connection, ConnectionConfig};

/// A larger write buffer is freed after use.
const KEEP_BYTES: usize = 1 << 20;

/// Listens on the shared client port and on this core's own port.
pub(crate) fn listen(port: &CorePort) -> Result<(), RunError> {
    let setup = &port.node.setup;
    let own = setup.own();
    let numbers = [Some(own.client_port), own.core_port(port.me)];
    for number in numbers.into_iter().flatten() {
        let addr = SocketAddr::new(setup.listen, number);
        let listener = TcpListener::bind(addr)
            .map_err(|error| RunError::Failed(format!("cannot listen for clients on {addr}: {error}")))?;
        let port = port.clone();
        glommio::spawn_local(async move { accept(port, listener).await }).detach();
    }
    Ok(())
}

async fn accept(port: CorePort, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let limit = port.node.setup.options.connections_max as u64;
                if port.clients(|clients| clients.count()) >= limit {
                    drop(stream); // the kernel's close is the clearest refusal that costs nothing
                    continue;
                }
                let _ = stream.set_nodelay(true); // only a broken socket refuses; the read fails then too
                let address =
                    |addr: glommio::Result<SocketAddr, ()>| addr.map(|a| a.to_string()).unwrap_or_default();
                let (peer, local) = (stream.peer_addr(), stream.local_addr());
                let is_loopback = peer.as_ref().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
                let addresses = Addresses { peer: address(peer), is_loopback, local: address(local) };
                let port = port.clone();
                glommio::spawn_local(async move { serve(port, stream, addresses).await }).detach();
            }
            Err(error) => {
                eprintln!("synod: core {}: accept of a client failed: {error}", port.me.get());
                // Out of descriptors: give other connections time to close theirs.
                glommio::timer::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The addresses of a connection.
struct Addresses {
    peer: String,
    is_loopback: bool,
    local: String,
}

/// Serves one connection to its end.
async fn serve<S: Stream>(port: CorePort, stream: S, addresses: Addresses) {
    let Addresses { peer: peer_address, is_loopback, local: local_address } = addresses;
    let server = port.server();
    // Connection numbers are unique over the node's cores.
    let (cores, me) = (u64::from(port.node.setup.cores()), u64::from(port.me.get()));
    let OpenedClient { connection, write, read, pace } = port.clients(|clients| {
        clients.open(|number| {
            let id = number * cores + me;
            Connection::new(ConnectionConfig { server, id, peer_address, is_loopback, local_address })
        })
    });
    let (mut reader, mut writer) = stream::split(stream);
    let reading = read_loop(&port, connection, &mut reader, read);
    let writing = write_loop(&port, connection, &mut writer, write);
    // The first of the two to end ends the connection. After the client's end of input the reader never ends,
    // so the writer ends the connection after the last reply (see there).
    pace.watch(futures_lite::future::or(reading, writing)).await;
    if let Some(first) = port.clients(|clients| clients.take_http(connection)) {
        // Boxed: otherwise every other connection would carry its size.
        Box::pin(http::serve(&port, is_loopback, first, reader, writer)).await;
    }
    port.clients(|clients| clients.close(connection));
}

async fn read_loop<S: Stream>(
    port: &CorePort,
    connection: u64,
    reader: &mut stream::ReadEnd<S>,
    wake: Rc<Notify>,
) {
    loop {
        let mut room = loop {
            match port.clients(|clients| clients.lend(connection)) {
                Some(room) => break room,
                None => wake.notified().await,
            }
        };
        match reader.read(&mut room).await {
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

async fn write_loop<S: Stream>(
    port: &CorePort,
    connection: u64,
    writer: &mut stream::WriteEnd<S>,
    wake: Rc<Notify>,
) {
    let mut buffer = Vec::new();
    // Whether the connection was asked for more work since the last wake.
    let mut gone_on = true;
    loop {
        let ended = port.clients(|clients| clients.take_output(connection, &mut buffer));
        if !buffer.is_empty() {
            if writer.write_all(&buffer).await.is_err() {
                return;
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
