//! One trait for all sockets, so that TLS can replace a plain stream without changes to the tasks.

use crate::sys;
use futures_lite::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use glommio::net::TcpStream;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A two-way byte stream of this executor.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The socket that takes exactly the bytes written to this stream; `None` if the stream changes them on
    /// the way. Valid while the stream, or a half of it, lives.
    fn plain_socket(&self) -> Option<RawFd>;
}
impl Stream for TcpStream {
    fn plain_socket(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }
}

/// The reading end.
pub(crate) type ReadEnd<S> = ReadHalf<S>;
/// The writing end.
pub(crate) type WriteEnd<S> = WriteHalf<S>;

/// Splits a stream into its two ends, each for a task of its own.
pub(crate) fn split<S: Stream>(stream: S) -> (ReadEnd<S>, WriteEnd<S>) {
    futures_lite::io::split(stream)
}

/// A peer whose machine is gone does not even close its connection. After this long without received data,
/// the kernel starts to probe the link.
const SILENT_SECONDS: u32 = 2;
/// After this many unanswered probes, one second apart, the kernel breaks the link.
const QUESTIONS: u32 = 3;
/// After this many unanswered probes the connection of a client is broken.
const CLIENT_PROBES: u32 = 3;
/// The kernel also breaks a link when sent data stays unacknowledged for this long.
const UNACKNOWLEDGED_MS: u32 = 5_000;

/// Makes the kernel break a link to a peer that is gone. Without it a listener would keep a dead link
/// forever, and a sender for a quarter of an hour.
///
/// # Errors
/// When the socket is broken.
pub(crate) fn break_when_silent(stream: &impl AsRawFd) -> std::io::Result<()> {
    let socket = sys::descriptor(stream);
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &1)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &QUESTIONS)?;
    setsockopt(&socket, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS)?;
    Ok(())
}

/// Makes the kernel probe the machine of a client that has been silent for `seconds`, and break the connection
/// when nothing answers: three probes, a third of that time apart, as in Redis. A client whose machine or
/// network is gone would count against the limit on connections for ever. 0 probes nothing.
///
/// # Errors
/// When the socket is broken.
pub(crate) fn probe_when_silent(stream: &impl AsRawFd, seconds: u32) -> std::io::Result<()> {
    if seconds == 0 {
        return Ok(());
    }
    let socket = sys::descriptor(stream);
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &seconds)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &(seconds / CLIENT_PROBES).max(1))?;
    setsockopt(&socket, sockopt::TcpKeepCount, &CLIENT_PROBES)?;
    Ok(())
}

/// After the last answer a client has this long to close its end.
const LINGER_LOOKS: u32 = 50;
const LINGER_LOOK: Duration = Duration::from_millis(5);
/// Reads of one look.
const LINGER_READS: usize = 64;

/// Whether bytes have come that were not read.
pub(crate) fn has_unread(socket: RawFd) -> bool {
    recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).is_ok_and(|count| count > 0)
}

/// Sends the last bytes, and with them the end of the stream: a client that has its answer knows then that there will
/// be no other. Returns how many bytes the socket took; the end is sent only behind all of them.
pub(crate) fn send_last(socket: RawFd, bytes: &[u8]) -> usize {
    let more = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
    let flags = more | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    // A socket that takes nothing, or is broken, shows it again when it is written to.
    let taken = if bytes.is_empty() { 0 } else { send(socket, bytes, flags).unwrap_or(0) };
    if taken == bytes.len() {
        // Only a broken socket refuses.
        let _ = shutdown(socket, Shutdown::Write);
    }
    taken
}

/// Waits for the end of the client's stream, for a while. What it still sends is not looked at: to close the socket
/// with bytes unread could destroy the answer that is on its way.
pub(crate) async fn linger(socket: RawFd) {
    let mut scrap = [0; 4096];
    for _ in 0..LINGER_LOOKS {
        let read = std::iter::repeat_with(|| recv(socket, &mut scrap, MsgFlags::MSG_DONTWAIT));
        match read.take(LINGER_READS).find(|result| !matches!(result, Ok(1..))) {
            None | Some(Err(nix::errno::Errno::EAGAIN)) => glommio::timer::sleep(LINGER_LOOK).await,
            Some(_) => return,
        }
    }
}

/// Connects within `limit`. Small messages are sent without delay.
pub(crate) async fn connect(addr: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(addr, limit).await.map_err(std::io::Error::from)?;
    stream.set_nodelay(true).map_err(std::io::Error::from)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::{QUESTIONS, SILENT_SECONDS, UNACKNOWLEDGED_MS, sockopt, sys};
    use super::{break_when_silent, has_unread, probe_when_silent, send_last};
    use nix::sys::socket::getsockopt;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

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

    #[test]
    fn a_client_that_leaves_its_answers_unread_has_hung_up_and_one_that_sends_no_more_has_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        assert!(!sys::is_hung_up(&served));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(served.read(&mut [0]).unwrap(), 0, "its end of input");
        assert!(!sys::is_hung_up(&served), "it still reads");
        served.write_all(b"an answer").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
        assert!(sys::is_hung_up(&served));
    }

    #[test]
    fn the_last_bytes_and_the_end_come_together() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        assert!(!has_unread(served.as_raw_fd()));
        client.write_all(b"asked").unwrap();
        while !has_unread(served.as_raw_fd()) {
            std::thread::yield_now();
        }
        assert_eq!(send_last(served.as_raw_fd(), b"answered"), 8);
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"answered");
        assert_eq!(send_last(served.as_raw_fd(), b"too late"), 0, "nothing is sent behind the end");
    }

    #[test]
    fn a_silent_client_is_probed_after_the_time_that_was_set() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for (seconds, wanted) in [(300, Some((300, 100, 3))), (1, Some((1, 1, 3))), (0, None)] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            probe_when_silent(&stream, seconds).unwrap();
            assert_eq!(getsockopt(&stream, sockopt::KeepAlive).unwrap(), wanted.is_some());
            let Some(wanted) = wanted else { continue };
            let idle = getsockopt(&stream, sockopt::TcpKeepIdle).unwrap();
            let interval = getsockopt(&stream, sockopt::TcpKeepInterval).unwrap();
            let count = getsockopt(&stream, sockopt::TcpKeepCount).unwrap();
            assert_eq!((idle, interval, count), wanted);
        }
    }
}
