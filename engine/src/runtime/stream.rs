//! All sockets go through one trait, so that TLS can take a plain stream's place without the tasks knowing.

use futures_lite::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use glommio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
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

/// A peer whose machine has gone says nothing, not even that: after so long without a word a link is asked whether anybody is there,
const SILENT_SECONDS: u32 = 2;
/// and after so many questions, a second apart, it is over.
const QUESTIONS: u32 = 3;
/// What a link was given and nobody has acknowledged for so long breaks it, too.
const UNACKNOWLEDGED_MS: u32 = 5_000;

/// Has the kernel break a link to a peer that is not there any more. Without it a listener would hold a dead link for ever, and a sender
/// for a quarter of an hour.
///
/// # Errors
/// When the socket is broken.
pub(crate) fn break_when_silent(stream: &impl AsRawFd) -> std::io::Result<()> {
    // SAFETY: the descriptor is that of `stream`, which is borrowed for as long as the call lasts.
    // WHY: the executor's streams do not lend their descriptor in the type that the safe calls take.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &1)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &QUESTIONS)?;
    setsockopt(&socket, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS)?;
    Ok(())
}

/// Connects within `limit`; small messages leave at once.
pub(crate) async fn connect(addr: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(addr, limit).await.map_err(std::io::Error::from)?;
    stream.set_nodelay(true).map_err(std::io::Error::from)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_silent_link_breaks_within_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        break_when_silent(&stream).unwrap();
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), UNACKNOWLEDGED_MS);
        let idle = getsockopt(&stream, sockopt::TcpKeepIdle).unwrap();
        let asking = getsockopt(&stream, sockopt::TcpKeepInterval).unwrap();
        let times = getsockopt(&stream, sockopt::TcpKeepCount).unwrap();
        assert_eq!((idle, asking, times), (SILENT_SECONDS, 1, QUESTIONS));
    }
}
