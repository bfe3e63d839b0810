//! The output to a peer, sent in one piece although it lies in many: encoded bytes, and entries that are not
//! copied.

use futures_lite::io::{AsyncWrite, AsyncWriteExt};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use synod_types::Shared;

/// Maximum number of pieces in one call to the kernel.
const PIECES_MAX: usize = 64;

/// Bytes to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct WriteVec {
    /// The encoded bytes, without the entries.
    bytes: Vec<u8>,
    /// The entries, each with its offset in `bytes`.
    entries: Vec<(usize, Shared)>,
    entry_bytes: usize,
}

impl WriteVec {
    /// The buffer to append encoded bytes to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends an entry without copying it.
    pub fn push(&mut self, entry: Shared) {
        self.entry_bytes += entry.len();
        self.entries.push((self.bytes.len(), entry));
    }

    /// Number of bytes to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.entry_bytes
    }

    /// Removes everything, and keeps up to `kept` bytes of memory.
    pub fn clear(&mut self, kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        self.entries.clear();
        self.entry_bytes = 0;
    }

    /// The pieces, in order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.entries.iter().map(|(at, _)| *at).chain([self.bytes.len()]);
        let starts = [0].into_iter().chain(self.entries.iter().map(|(at, _)| *at));
        let encoded = starts.zip(ends).map(|(start, end)| &self.bytes[start..end]);
        let entries = self.entries.iter().map(|(_, entry)| entry.as_ref()).chain([&[][..]]);
        encoded.zip(entries).flat_map(|(encoded, entry)| [encoded, entry]).filter(|piece| !piece.is_empty())
    }

    /// Writes everything. `socket` is the plain socket under `writer`, if there is one: the socket takes many
    /// pieces in one call.
    ///
    /// # Errors
    /// When the connection is broken; then it is unknown how much was sent.
    pub async fn write<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        socket: Option<RawFd>,
    ) -> io::Result<()> {
        let mut pieces: Vec<IoSlice<'_>> = self.pieces().map(IoSlice::new).collect();
        let mut rest = &mut pieces[..];
        while let Some(first) = rest.first() {
            let sent = match socket {
                Some(socket) if rest.len() > 1 => send(socket, &rest[..rest.len().min(PIECES_MAX)])?,
                _ => None,
            };
            let count = match sent {
                Some(count) => count,
                // There is no room now, or a signal came: this call waits for room.
                None => writer.write(first).await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, count);
        }
        Ok(())
    }
}

/// Sends as much as the socket takes now; `None` if it takes nothing.
fn send(socket: RawFd, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match sendmsg::<()>(socket, pieces, &[], flags, None) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Encoded bytes and entries of the given lengths, and their concatenation.
    fn filled(lengths: &[(bool, usize)]) -> (WriteVec, Vec<u8>) {
        let (mut writes, mut plain, mut next) = (WriteVec::default(), Vec::new(), 0_u8);
        for &(as_entry, len) in lengths {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            plain.extend_from_slice(&bytes);
            if as_entry { writes.push(Shared::new(bytes)) } else { writes.bytes().extend_from_slice(&bytes) }
        }
        (writes, plain)
    }

    /// A writer that blocks its thread, instead of waiting on an executor.
    struct Blocking(UnixStream);

    impl AsyncWrite for Blocking {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(self.0.write(bytes))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn pieces_in_order_are_what_was_put_in(
            lengths in proptest::collection::vec((any::<bool>(), 0_usize..50), 0..20),
        ) {
            let (mut writes, plain) = filled(&lengths);
            prop_assert_eq!(writes.len(), plain.len());
            prop_assert_eq!(writes.pieces().collect::<Vec<_>>().concat(), plain);
            writes.clear(0);
            prop_assert_eq!((writes.len(), writes.pieces().count()), (0, 0));
        }
    }

    #[test]
    fn a_full_socket_gets_the_rest_when_it_is_read() {
        let lengths: Vec<(bool, usize)> = (0..300).map(|at| (at % 3 == 0, 1 + at * 37 % 9000)).collect();
        let (writes, plain) = filled(&lengths);
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let socket = ours.as_raw_fd();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).expect("all of it");
            received
        });
        let mut writer = Blocking(ours);
        futures_lite::future::block_on(writes.write(&mut writer, Some(socket))).expect("sent");
        drop(writer);
        assert_eq!(reader.join().expect("received"), plain);
    }

    #[test]
    fn a_socket_without_a_reader_is_an_error() {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        drop(theirs);
        assert!(send(ours.as_raw_fd(), &[IoSlice::new(b"x")]).is_err());
    }
}
