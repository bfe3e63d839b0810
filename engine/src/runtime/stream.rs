//! All sockets go through one trait, so that TLS can take a plain stream's place without the tasks knowing.

use futures_lite::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use glommio::net::TcpStream;
use std::net::SocketAddr;
use std::time::Duration;

/// A two-way byte stream of this executor.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}
impl Stream for TcpStream {}

/// The reading end.
pub(crate) type Reader<S> = ReadHalf<S>;
/// The writing end.
pub(crate) type Writer<S> = WriteHalf<S>;

/// Cuts a stream into its two ends, each for a task of its own.
pub(crate) fn split<S: Stream>(stream: S) -> (Reader<S>, Writer<S>) {
    futures_lite::io::split(stream)
}

/// Connects within `limit`; small messages leave at once.
pub(crate) async fn connect(addr: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(addr, limit).await.map_err(std::io::Error::from)?;
    stream.set_nodelay(true).map_err(std::io::Error::from)?;
    Ok(stream)
}
