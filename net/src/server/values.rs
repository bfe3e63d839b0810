//! The reply to MGET: its values are written in order as they become known.
//!
//! ```text
//!            written │ known, the next to be written │ some are known │ not asked
//!  values ───────────┴───────────────────────────────┴────────────────┴──────────▶ count
//! ```
//! The reply is all or nothing while that is cheap: nothing is written before all values are known or so many
//! bytes of them wait that the reply must begin. An error that comes before is the whole reply, and no further
//! part is asked. An error that comes later stands in the array, in the place of its value.
//!
//! The reply always comes to its end. When it is its turn, nothing comes behind it while parts are not asked.
//! Its first unknown value is asked and will come, or else all that was asked is known. Then it is written,
//! or fewer bytes wait than hold further parts back, as soon as the output has left.

use super::counts::CommandCounts;
use super::parked::{PIECES_BYTES, ParkedBytes};
use super::shapes::write_error;
use crate::resp::reply::{Proto, Writer};
use std::collections::VecDeque;
use synod_types::{ErrorKind, Reply};

/// Most values written in one call: nils add little to the output, which would not fill soon.
const VALUES_AT_ONCE: usize = 4096;
/// Values of a short reply, which is written in one piece.
const SHORT_COUNT_MAX: usize = 1024;
/// There is room for so many values at first.
const ROOM_MAX: usize = 1024;

/// The values of one MGET.
#[derive(Debug)]
pub(super) struct Values {
    /// The number of values; after an early error that of the parts asked before it.
    count: usize,
    /// The number of values already written.
    written: usize,
    /// Parts that were asked and are not written, in order.
    parts: VecDeque<Part>,
    /// How many of them are known, from the first one on.
    known: usize,
    /// Bytes of the values that wait.
    bytes: usize,
    /// The reply begins when this many bytes wait.
    begin_bytes: usize,
    has_begun: bool,
    is_muted: bool,
    /// The error that is the whole reply, or the first one in the array.
    error: Option<ErrorKind>,
}

/// One value.
#[derive(Debug)]
enum Part {
    Asked,
    Nil,
    Value(Box<[u8]>),
    Failed(ErrorKind),
}

impl Values {
    /// The reply to an MGET of `count` keys, on a connection where `soft_bytes` that wait hold further parts
    /// back. A muted reply is not written.
    pub(super) fn new(count: usize, soft_bytes: usize, is_muted: bool) -> Self {
        Self {
            count,
            written: 0,
            parts: VecDeque::with_capacity(count.min(ROOM_MAX)),
            known: 0,
            bytes: 0,
            begin_bytes: PIECES_BYTES.min(soft_bytes / 2),
            has_begun: false,
            is_muted,
            error: None,
        }
    }

    /// Whether it has further parts to ask.
    pub(super) fn wants_part(&self) -> bool {
        self.written + self.parts.len() < self.count
    }

    /// The next part is asked.
    pub(super) fn ask(&mut self) {
        assert!(self.wants_part(), "all parts are asked");
        self.parts.push_back(Part::Asked);
    }

    /// Whether `part` is asked and not known.
    pub(super) fn is_open(&self, part: usize) -> bool {
        part.checked_sub(self.written).is_some_and(|at| matches!(self.parts.get(at), Some(Part::Asked)))
    }

    /// Whether `part` is the first one that is not known.
    pub(super) fn is_next(&self, part: usize) -> bool {
        part == self.written + self.known
    }

    /// What waits in it.
    pub(super) fn parked(&self) -> ParkedBytes {
        let memory = size_of::<Self>() + self.parts.capacity() * size_of::<Part>() + self.bytes;
        ParkedBytes { bytes: self.bytes, memory }
    }

    /// Whether some of it would be written if it were its turn.
    pub(super) fn is_writable(&self) -> bool {
        if self.known == 0 || self.is_complete() {
            return self.known > 0;
        }
        self.has_begun || (!self.is_muted && self.error.is_none() && self.bytes >= self.begin_bytes)
    }

    /// Takes the reply to `part`, which is open.
    pub(super) fn take(&mut self, part: usize, reply: Reply<&[u8]>) {
        assert!(self.is_open(part), "a part is answered once");
        let is_kept = !self.is_muted && (self.has_begun || self.error.is_none());
        let part_now = match reply {
            Reply::Nil => Part::Nil,
            Reply::Value { value, .. } if is_kept => Part::Value(value.into()),
            Reply::Value { .. } => Part::Nil,
            Reply::Error(kind) => Part::Failed(kind),
            _ => Part::Failed(ErrorKind::Unknown), // not an answer to this question
        };
        match &part_now {
            Part::Value(value) => self.bytes += value.len(),
            Part::Failed(kind) if !self.has_begun => self.fail(*kind),
            Part::Asked | Part::Nil | Part::Failed(_) => {}
        }
        self.parts[part - self.written] = part_now;
        self.skip_known();
    }

    /// Whether a value of `part` needs not wait: the reply has begun, and it is the next one.
    pub(super) fn is_due(&self, part: usize) -> bool {
        self.has_begun && part == self.written && self.is_open(part)
    }

    /// Writes a value that is due.
    pub(super) fn write_due(&mut self, out: &mut Vec<u8>, proto: Proto, value: &[u8]) {
        assert!(self.is_due(self.written), "it is this value's turn");
        Writer::new(out, proto).bulk(value);
        self.parts.pop_front();
        self.written += 1;
        self.skip_known();
    }

    /// Writes what can be written now that it is its turn, a longer reply in pieces. Returns whether that was
    /// the end.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        proto: Proto,
        counts: &CommandCounts,
        name: &'static str,
    ) -> bool {
        if !self.is_writable() {
            return self.written == self.count;
        }
        if self.is_muted {
            return true; // what is muted is writable when it is complete
        }
        if let (false, Some(kind)) = (self.has_begun, self.error) {
            assert!(self.is_complete(), "an early error waits for the parts that were asked");
            write_counted(out, proto, kind, counts);
            counts.failed(name);
            return true;
        }
        let is_short = !self.has_begun
            && self.is_complete()
            && self.count <= SHORT_COUNT_MAX
            && self.bytes <= PIECES_BYTES;
        if !self.has_begun {
            self.has_begun = true;
            Writer::new(out, proto).array(self.count);
        }
        let end = self.written + VALUES_AT_ONCE;
        while self.known > 0 && (is_short || (out.len() < PIECES_BYTES && self.written < end)) {
            self.write_first(out, proto, counts, name);
        }
        self.written == self.count
    }

    /// Writes the first value, which is known.
    fn write_first(&mut self, out: &mut Vec<u8>, proto: Proto, counts: &CommandCounts, name: &'static str) {
        let Some(part) = self.parts.pop_front() else { return };
        assert!(!matches!(part, Part::Asked), "a value is written when it is known");
        match part {
            Part::Value(value) => {
                self.bytes -= value.len();
                Writer::new(out, proto).bulk(&value);
            }
            Part::Failed(kind) => {
                write_counted(out, proto, kind, counts);
                if self.error.replace(kind).is_none() {
                    counts.failed(name); // once for the whole command
                }
            }
            Part::Nil | Part::Asked => Writer::new(out, proto).nil(),
        }
        self.known -= 1;
        self.written += 1;
    }

    /// An error comes before anything is written: it will be the whole reply.
    fn fail(&mut self, kind: ErrorKind) {
        let is_first = self.error.is_none();
        // An unknown outcome outweighs every other error; otherwise the first error counts.
        if is_first || kind == ErrorKind::Unknown {
            self.error = Some(kind);
        }
        if is_first {
            self.count = self.parts.len();
            for part in self.parts.iter_mut().filter(|part| matches!(part, Part::Value(_))) {
                *part = Part::Nil;
            }
            self.bytes = 0;
        }
    }

    fn is_complete(&self) -> bool {
        self.written + self.known == self.count
    }

    fn skip_known(&mut self) {
        while self.parts.get(self.known).is_some_and(|part| !matches!(part, Part::Asked)) {
            self.known += 1;
        }
    }
}

fn write_counted(out: &mut Vec<u8>, proto: Proto, kind: ErrorKind, counts: &CommandCounts) {
    let before = out.len();
    write_error(&mut Writer::new(out, proto), kind, "");
    counts.error(&out[before..]);
}
