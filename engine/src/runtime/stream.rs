//! All sockets go through one trait, so that TLS can take a plain stream's place without the tasks knowing.

use futures_lite::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use glommio::net::TcpStream;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A two-way byte stream of this executor.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The socket that takes the very bytes written to this stream; none where they are changed on the way. Good for as long
    /// as the stream, or a half of it, lives.
    fn plain_socket(&self) -> Option<RawFd>;
}
impl Stream for TcpStream {
    fn plain_socket(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }
}

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
