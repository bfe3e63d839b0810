//! The RESP wire format: this generator's requests, and the replies to them.

use synod_types::limits::VALUE_BYTES_MAX;

/// A longer line of a reply counts as malformed.
const LINE_BYTES_MAX: usize = 64 << 10;

/// One reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RespReply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer,
    Bulk(&'a [u8]),
    Nil,
}

/// Splits a stream into replies. Holds at most one value and the bytes received with it.
#[derive(Debug, Default)]
pub(super) struct RespReader {
    bytes: Vec<u8>,
    /// Bytes before this index are consumed.
    at: usize,
}

impl RespReader {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }
    /// The next reply, if it is complete; an error if the bytes are not a reply to GET, SET, PING or AUTH.
    pub(super) fn next_reply(&mut self) -> Result<Option<RespReply<'_>>, &'static str> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') else {
            return if rest.len() < LINE_BYTES_MAX { Ok(None) } else { Err("malformed answer") };
        };
        let line = rest[..length].strip_suffix(b"\r").ok_or("malformed answer")?;
        let (&mark, text) = line.split_first().ok_or("malformed answer")?;
        let after = length + 1;
        let (taken, reply) = match mark {
            b'+' => (after, RespReply::Simple(text)),
            b'-' => (after, RespReply::Error(text)),
            b':' => (after, RespReply::Integer),
            b'_' => (after, RespReply::Nil),
            b'$' | b'*' if text == b"-1" => (after, RespReply::Nil),
            b'$' => {
                let size = std::str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
                let size = size.filter(|&size| size <= VALUE_BYTES_MAX).ok_or("malformed answer")?;
                let Some(value) = rest.get(after..after + size + 2) else { return Ok(None) };
                let value = value.strip_suffix(b"\r\n").ok_or("malformed answer")?;
                (after + size + 2, RespReply::Bulk(value))
            }
            _ => return Err("malformed answer"),
        };
        self.at += taken;
        Ok(Some(reply))
    }
}

/// Appends a request.
pub(crate) fn encode(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let head = |out: &mut Vec<u8>, mark: u8, count: usize| {
        out.push(mark);
        out.extend_from_slice(count.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    head(out, b'*', parts.len());
    for part in parts {
        head(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut RespReader) -> Result<Vec<String>, &'static str> {
        let mut found = Vec::new();
        while let Some(reply) = reader.next_reply()? {
            found.push(format!("{reply:?}"));
        }
        Ok(found)
    }

    #[test]
    fn requests_are_arrays_of_bulks() {
        let mut out = Vec::new();
        encode(&mut out, &[b"SET", b"k", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn every_kind_of_reply_is_cut_out() {
        let mut reader = RespReader::default();
        reader.feed(b"+OK\r\n-ERR no\r\n:7\r\n$4\r\na\r\nb\r\n$-1\r\n_\r\n*-1\r\n$0\r\n\r\n");
        let expected = [
            RespReply::Simple(b"OK"),
            RespReply::Error(b"ERR no"),
            RespReply::Integer,
            RespReply::Bulk(b"a\r\nb"),
            RespReply::Nil,
            RespReply::Nil,
            RespReply::Nil,
            RespReply::Bulk(b""),
        ];
        assert_eq!(all(&mut reader), Ok(expected.iter().map(|reply| format!("{reply:?}")).collect()));
    }

    #[test]
    fn what_is_no_reply_or_too_long_is_an_error() {
        let bad: [&[u8]; 7] =
            [b"HTTP/1.1\r\n", b"\r\n", b"+OK\n", b"$x\r\n", b"$9999999999\r\n", b"$1\r\nabc", b"*2\r\n"];
        for bytes in bad {
            let mut reader = RespReader::default();
            reader.feed(bytes);
            assert!(reader.next_reply().is_err(), "{bytes:?} was taken");
        }
        let mut reader = RespReader::default();
        reader.feed(&vec![b'+'; LINE_BYTES_MAX]);
        assert!(reader.next_reply().is_err(), "a line without end");
    }

    proptest! {
        #[test]
        fn tearing_changes_nothing(cuts in proptest::collection::vec(1_usize..9, 0..60)) {
            let stream = b"+OK\r\n$11\r\nhello\r\nbyte\r\n-BUSY x\r\n$-1\r\n:12\r\n+PONG\r\n";
            let mut whole = RespReader::default();
            whole.feed(stream);
            let (mut torn, mut found, mut at) = (RespReader::default(), Vec::new(), 0);
            for cut in cuts.into_iter().chain([stream.len()]) {
                let end = (at + cut).min(stream.len());
                torn.feed(&stream[at..end]);
                at = end;
                found.extend(all(&mut torn).expect("sound"));
            }
            prop_assert_eq!(Ok(found), all(&mut whole));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = RespReader::default();
            reader.feed(&bytes);
            let _ = all(&mut reader);
        }
    }
}
