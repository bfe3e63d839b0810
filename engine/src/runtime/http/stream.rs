//! A connection's two ends as the byte stream hyper reads and writes, begun with what was read to tell the protocols apart.

use super::alarm::Alarm;
use crate::runtime::core::Running;
use crate::runtime::stream::{Reader, Stream, Writer};
use futures_lite::io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Read at once.
const READ_BYTES: usize = 16 << 10;

/// See the module.
pub(super) struct HttpStream<S> {
    /// What was read before hyper came; those before `at` are given.
    first: Vec<u8>,
    at: usize,
    reader: Reader<S>,
    writer: Writer<S>,
    /// The socket reads into initialised memory, hyper offers memory that is not: one copy instead of unsafe code.
    buffer: Box<[u8]>,
    running: Running,
    alarm: Alarm,
}

impl<S> HttpStream<S> {
    pub(super) fn new(
        first: Vec<u8>,
        reader: Reader<S>,
        writer: Writer<S>,
        running: Running,
        alarm: Alarm,
    ) -> Self {
        Self { first, at: 0, reader, writer, buffer: vec![0; READ_BYTES].into(), running, alarm }
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
        this.running.with_quiet(|core| core.io.clients.input_bytes += count as u64);
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
            this.running.with_quiet(|core| core.io.clients.output_bytes += count as u64);
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
