//! A connection's two ends as the byte stream that hyper reads and writes. It begins with the bytes that were
//! already read to detect the protocol.

use super::alarm::Alarm;
use crate::runtime::port::CorePort;
use crate::runtime::stream::{ReadEnd, Stream, WriteEnd};
use futures_lite::io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Bytes per read.
const READ_BYTES: usize = 16 << 10;

/// The byte stream of one connection; see the module.
pub(super) struct HttpStream<S> {
    /// The bytes read before hyper took over; those before `at` have been delivered.
    first: Vec<u8>,
    at: usize,
    reader: ReadEnd<S>,
    writer: WriteEnd<S>,
    /// The socket reads into initialised memory and hyper offers uninitialised memory: one copy avoids unsafe
    /// code.
    buffer: Box<[u8]>,
    port: CorePort,
    connection: u64,
    alarm: Alarm,
}

impl<S> HttpStream<S> {
    pub(super) fn new(
        (first, reader, writer): (Vec<u8>, ReadEnd<S>, WriteEnd<S>),
        port: CorePort,
        connection: u64,
        alarm: Alarm,
    ) -> Self {
        Self { first, at: 0, reader, writer, buffer: vec![0; READ_BYTES].into(), port, connection, alarm }
    }
}

impl<S: Stream> Read for HttpStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.first.len() {
            let len = into.remaining().min(this.first.len() - this.at);
            into.put_slice(&this.first[this.at..this.at + len]);
            this.at += len;
            if this.at == this.first.len() {
                (this.first, this.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        let len = into.remaining().min(this.buffer.len());
        let count = ready!(Pin::new(&mut this.reader).poll_read(context, &mut this.buffer[..len]))?;
        into.put_slice(&this.buffer[..count]);
        this.port.clients(|clients| clients.http_moves(this.connection, count, 0));
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Write for HttpStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(&mut this.writer).poll_write(context, bytes);
        this.alarm.note_write(written.is_pending());
        if let Poll::Ready(Ok(count)) = written {
            this.port.clients(|clients| clients.http_moves(this.connection, 0, count));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(context)
    }
}
