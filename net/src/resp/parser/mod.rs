//! The request parser: arrays of bulk strings and inline commands, incremental, hard-capped.
//!
//! ```text
//!  input   ...│*3␍␊$3␍␊SET␍␊$1␍␊k␍␊$4096␍␊vvvvvvv              (more to come)
//!             └ start of the command              └ progress: never looked at twice
//! ```
//! A bulk over its cap is not buffered: its bytes are skipped as they stream in, the command is refused as a
//! whole, and the connection stays open. Malformed input breaks the connection.

use super::number::parse_i64;
use std::borrow::Cow;

/// Longest inline command, as in Redis.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Longest bulk that is skipped instead of counting as malformed: Redis's proto-max-bulk-len.
pub const SKIP_BYTES_MAX: i64 = 512 << 20;
/// Longest `*…` or `$…` line: a mark, 20 digits and a line break, with some margin.
const HEAD_BYTES_MAX: usize = 32;
/// Bounds before the client has authenticated, as in Redis.
const UNTRUSTED_ARGUMENTS_MAX: usize = 10;
const UNTRUSTED_BULK_BYTES_MAX: usize = 16 << 10;

/// Caps of the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Longest argument that is kept.
    pub bulk_bytes: usize,
    /// Longest command, protocol bytes included.
    pub command_bytes: usize,
    /// Most arguments.
    pub arguments: usize,
    /// Whether the client has authenticated; before that the caps are much lower.
    pub trusted: bool,
}

/// The arguments of one command; the first is its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// Arguments at `ranges` (start, length) of `bytes`.
    ///
    /// # Panics
    /// In [`Args::get`] when a range lies outside of `bytes`.
    pub fn new(bytes: &'a [u8], ranges: &'a [(u32, u32)]) -> Self {
        Self { bytes, ranges }
    }
    /// The number of arguments, the name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    /// The argument at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, index: usize) -> &'a [u8] {
        let (start, len) = self.ranges[index];
        &self.bytes[start as usize..start as usize + len as usize]
    }
    /// All arguments from `index` on.
    pub fn iter_from(self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        (index..self.len()).map(move |index| self.get(index))
    }
    /// The position and length of each argument.
    pub fn ranges(&self) -> &'a [(u32, u32)] {
        self.ranges
    }
    /// The bytes that the ranges refer to.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What the parser found at the front of the input.
#[derive(Debug)]
pub enum Step<'a> {
    /// More bytes are needed. The first `used` bytes are consumed and must not be passed again.
    More {
        /// Bytes consumed.
        used: usize,
    },
    /// Nothing to execute (an empty line, an empty array).
    Empty {
        /// Bytes consumed.
        used: usize,
    },
    /// A command.
    Command {
        /// Bytes consumed.
        used: usize,
        /// Its arguments, at least one.
        args: Args<'a>,
    },
    /// A command over a cap; its bytes are skipped. Answer with this error and go on.
    Refused {
        /// Bytes consumed.
        used: usize,
        /// The error line.
        error: String,
    },
    /// Malformed input: answer with this error and close.
    Broken {
        /// The error line.
        error: Cow<'static, str>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum ParserState {
    #[default]
    Start,
    /// In an inline command; its first `progress` bytes hold no line break.
    Inline,
    /// Before the `$` line of the next argument.
    BulkHead,
    /// In an argument of which `left` bytes are still missing, or still to be skipped.
    BulkBody { len: usize, left: usize },
    /// Before the line break that ends an argument.
    BulkEnd,
}

/// The parser's state within a command that is not complete.
#[derive(Debug, Default)]
pub struct Parser {
    state: ParserState,
    /// Bytes of the current command that were parsed and not yet reported as used.
    progress: usize,
    /// Bytes of the current command so far, without skipped ones.
    kept: usize,
    /// Arguments still to come.
    missing: usize,
    /// Arguments so far, from the start of the command.
    ranges: Vec<(u32, u32)>,
    /// Why the current command will not be executed.
    refused: Option<String>,
    /// Arguments of an inline command, unquoted.
    unquoted: Vec<u8>,
}

/// Whether a step of the state machine can go on.
enum Flow {
    Next,
    NeedMore,
    Done,
    Empty,
    Break(Cow<'static, str>),
}

impl Parser {
    /// A parser at the start of a command.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory held between two calls.
    pub fn held_bytes(&self) -> usize {
        self.unquoted.capacity() + self.ranges.capacity() * size_of::<(u32, u32)>()
    }

    /// Bytes from the start of the current command to the end of the argument that has begun, as far as they
    /// are not reported as used; 0 if that is not known, or if the command is not kept anyway.
    pub fn wanted(&self) -> usize {
        match self.state {
            _ if self.refused.is_some() => 0,
            ParserState::BulkBody { len, .. } => self.progress + len + 2,
            ParserState::BulkEnd => self.progress + 2,
            ParserState::Start | ParserState::Inline | ParserState::BulkHead => 0,
        }
    }

    /// Frees the memory that is kept for the next command, unless one has begun.
    pub fn shrink(&mut self) {
        if self.state == ParserState::Start {
            self.ranges = Vec::new();
            self.unquoted = Vec::new();
        }
    }

    /// Parses `input`, which begins with the byte after those reported as used so far.
    pub fn parse<'a>(&'a mut self, input: &'a [u8], caps: &Caps) -> Step<'a> {
        debug_assert!(self.progress <= input.len(), "input shrank");
        loop {
            let flow = match self.state {
                ParserState::Start => self.on_start(input, caps),
                ParserState::Inline => self.on_inline(input),
                ParserState::BulkHead => self.on_bulk_head(input, caps),
                ParserState::BulkBody { len, left } => self.on_bulk_body(input, len, left),
                ParserState::BulkEnd => self.on_bulk_end(input),
            };
            match flow {
                Flow::Next => {}
                Flow::NeedMore => {
                    // Nothing of a refused command is kept.
                    let used = if self.refused.is_some() { core::mem::take(&mut self.progress) } else { 0 };
                    return Step::More { used };
                }
                Flow::Empty => return Step::Empty { used: self.finish() },
                Flow::Break(error) => return Step::Broken { error },
                Flow::Done => break,
            }
        }
        let inline = self.state == ParserState::Inline;
        let used = self.finish();
        if let Some(error) = self.refused.take() {
            return Step::Refused { used, error };
        }
        let bytes = if inline { self.unquoted.as_slice() } else { &input[..used] };
        if self.ranges.is_empty() {
            return Step::Empty { used };
        }
        Step::Command { used, args: Args::new(bytes, &self.ranges) }
    }

    /// Returns to the start of a command. The bytes of this command are returned as used.
    fn finish(&mut self) -> usize {
        self.state = ParserState::Start;
        self.kept = 0;
        core::mem::take(&mut self.progress)
    }

    fn on_start(&mut self, input: &[u8], caps: &Caps) -> Flow {
        debug_assert!(self.refused.is_none() && self.kept == 0);
        self.ranges.clear();
        // One huge command must not hold its memory until the connection ends.
        self.ranges.shrink_to(1024);
        match input.get(self.progress) {
            None => return Flow::NeedMore,
            Some(b'*') => {}
            Some(_) => {
                self.state = ParserState::Inline;
                return Flow::Next;
            }
        }
        let line = match head_line(&input[self.progress..]) {
            Ok(Some(line)) => line,
            Ok(None) => return Flow::NeedMore,
            Err(TooLong) => return Flow::Break("ERR Protocol error: too big mbulk count string".into()),
        };
        self.advance(line.len() + 2);
        let count = match parse_i64(&line[1..]) {
            Some(count) if count <= 0 => return Flow::Empty,
            Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
            None => return Flow::Break("ERR Protocol error: invalid multibulk length".into()),
        };
        if count > caps.arguments {
            return Flow::Break("ERR Protocol error: invalid multibulk length".into());
        }
        if !caps.trusted && count > UNTRUSTED_ARGUMENTS_MAX {
            return Flow::Break("ERR Protocol error: unauthenticated multibulk length".into());
        }
        self.missing = count;
        self.state = ParserState::BulkHead;
        Flow::Next
    }

    fn on_bulk_head(&mut self, input: &[u8], caps: &Caps) -> Flow {
        let rest = &input[self.progress..];
        match rest.first() {
            None => return Flow::NeedMore,
            Some(b'$') => {}
            Some(&byte) => {
                let got = char::from(if byte.is_ascii_graphic() { byte } else { b'?' });
                return Flow::Break(format!("ERR Protocol error: expected '$', got '{got}'").into());
            }
        }
        let line = match head_line(rest) {
            Ok(Some(line)) => line,
            Ok(None) => return Flow::NeedMore,
            Err(TooLong) => return Flow::Break("ERR Protocol error: too big bulk count string".into()),
        };
        let len = match parse_i64(&line[1..]) {
            Some(len @ 0..=SKIP_BYTES_MAX) => len as usize, // bounded by the pattern
            _ => return Flow::Break("ERR Protocol error: invalid bulk length".into()),
        };
        if !caps.trusted && len > UNTRUSTED_BULK_BYTES_MAX {
            return Flow::Break("ERR Protocol error: unauthenticated bulk length".into());
        }
        self.advance(line.len() + 2);
        if len > caps.bulk_bytes {
            self.refuse(|| format!("ERR argument too long: {len} bytes, the limit is {}", caps.bulk_bytes));
        } else if self.kept + len + 2 > caps.command_bytes {
            self.refuse(|| format!("ERR command too long: the limit is {} bytes", caps.command_bytes));
        }
        self.state = ParserState::BulkBody { len, left: len };
        Flow::Next
    }

    fn on_bulk_body(&mut self, input: &[u8], len: usize, left: usize) -> Flow {
        let there = input.len() - self.progress;
        if self.refused.is_some() {
            let skipped = there.min(left);
            self.progress += skipped;
            if skipped < left {
                self.state = ParserState::BulkBody { len, left: left - skipped };
                return Flow::NeedMore;
            }
        } else {
            if there < len {
                return Flow::NeedMore;
            }
            // Offsets within one command, which is capped far below 4 GiB.
            self.ranges.push((self.progress as u32, len as u32));
            self.advance(len);
        }
        self.state = ParserState::BulkEnd;
        Flow::Next
    }

    fn on_bulk_end(&mut self, input: &[u8]) -> Flow {
        match &input[self.progress..] {
            [] | [b'\r'] => return Flow::NeedMore,
            [b'\r', b'\n', ..] => {}
            _ => return Flow::Break("ERR Protocol error: expected a line break after a bulk".into()),
        }
        self.advance(2);
        self.missing -= 1;
        if self.missing == 0 {
            return Flow::Done;
        }
        self.state = ParserState::BulkHead;
        Flow::Next
    }

    fn on_inline(&mut self, input: &[u8]) -> Flow {
        let scanned = self.progress;
        let Some(found) = input[scanned..].iter().position(|&byte| byte == b'\n') else {
            self.progress = input.len();
            if self.progress > INLINE_BYTES_MAX {
                return Flow::Break("ERR Protocol error: too big inline request".into());
            }
            return Flow::NeedMore;
        };
        let end = scanned + found;
        if end > INLINE_BYTES_MAX {
            return Flow::Break("ERR Protocol error: too big inline request".into());
        }
        self.progress = end + 1;
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        if unquote(line, &mut self.unquoted, &mut self.ranges) {
            Flow::Done
        } else {
            Flow::Break("ERR Protocol error: unbalanced quotes in request".into())
        }
    }

    fn advance(&mut self, count: usize) {
        self.progress += count;
        if self.refused.is_none() {
            self.kept += count;
        }
    }

    /// Marks the command as refused; the first reason counts. From here on its bytes are reported as used at
    /// once.
    fn refuse(&mut self, reason: impl FnOnce() -> String) {
        if self.refused.is_none() {
            self.refused = Some(reason());
        }
    }
}

struct TooLong;

/// The first line without its line break, if it is complete.
fn head_line(input: &[u8]) -> Result<Option<&[u8]>, TooLong> {
    let window = &input[..input.len().min(HEAD_BYTES_MAX)];
    match window.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Ok(Some(&input[..end])),
        None if window.len() == HEAD_BYTES_MAX => Err(TooLong),
        None => Ok(None),
    }
}

/// Splits an inline command at blanks; quotes and escapes work as in redis-cli. Returns false if a quote
/// stays open or is not followed by a blank.
fn unquote(line: &[u8], bytes: &mut Vec<u8>, ranges: &mut Vec<(u32, u32)>) -> bool {
    bytes.clear();
    ranges.clear();
    let is_blank = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0B || byte == 0;
    let mut rest = line;
    loop {
        while let [blank, tail @ ..] = rest
            && is_blank(*blank)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return true;
        }
        let start = bytes.len();
        loop {
            match rest {
                [] => break,
                [blank, ..] if is_blank(*blank) => break,
                [quote @ (b'"' | b'\''), tail @ ..] => {
                    let Some(after) = unquote_one(*quote, tail, bytes) else { return false };
                    rest = after;
                    if rest.first().is_some_and(|&byte| !is_blank(byte)) {
                        return false;
                    }
                    break;
                }
                [plain, tail @ ..] => {
                    bytes.push(*plain);
                    rest = tail;
                }
            }
        }
        // An inline command is at most 64 KiB.
        ranges.push((start as u32, (bytes.len() - start) as u32));
    }
}

/// Unquotes up to the closing quote. Returns the rest behind it.
fn unquote_one<'a>(quote: u8, mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [end, tail @ ..] if *end == quote => return Some(tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                bytes.push(b'\'');
                rest = tail;
            }
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [plain, tail @ ..] => {
                bytes.push(*plain);
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10, // the caller has checked that it is a hex digit
    }
}

#[cfg(test)]
mod tests;
