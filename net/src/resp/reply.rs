//! Writes replies, RESP2 and RESP3.

use super::number::put_i64;
use crate::wire::make_room;

/// The version of RESP on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proto {
    /// Every connection starts with it.
    #[default]
    Resp2,
    /// After HELLO 3.
    Resp3,
}

impl Proto {
    /// Its number in HELLO.
    pub const fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Writes replies of one protocol version into a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Self {
        Self { out, proto }
    }
    /// A simple string. It must not hold line breaks.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "line break in a simple string");
        self.line(b'+', text.as_bytes());
    }
    /// An error line, prefix included ("ERR …"). Line breaks become blanks, because client bytes may be
    /// quoted in it.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }
    /// An integer.
    pub fn int(&mut self, number: i64) {
        self.head(b':', number);
    }
    /// A length or a count.
    pub fn count(&mut self, count: usize) {
        self.int(i64::try_from(count).unwrap_or(i64::MAX));
    }
    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        make_room(self.out, bytes.len() + 16);
        self.head(b'$', bytes.len() as i64); // a buffer's length fits i64
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }
    /// Nil.
    pub fn nil(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n".as_slice(),
            Proto::Resp3 => b"_\r\n",
        });
    }
    /// Nil, in the form of an array in RESP2.
    pub fn nil_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n".as_slice(),
            Proto::Resp3 => b"_\r\n",
        });
    }
    /// The head of an array; `count` items follow.
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count as i64); // counts of items in memory
    }
    /// The head of a set; `count` items follow. An array in RESP2.
    pub fn set(&mut self, count: usize) {
        let mark = if self.proto == Proto::Resp3 { b'~' } else { b'*' };
        self.head(mark, count as i64); // counts of items in memory
    }
    /// The head of a map; `count` pairs follow. A flat array in RESP2.
    pub fn map(&mut self, count: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', 2 * count as i64), // counts of items in memory
            Proto::Resp3 => self.head(b'%', count as i64),
        }
    }
    /// A text for humans: a verbatim string, in RESP2 a bulk string.
    pub fn verbatim(&mut self, text: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                self.head(b'=', text.len() as i64 + 4); // a text's length fits i64
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn head(&mut self, mark: u8, number: i64) {
        self.out.push(mark);
        put_i64(self.out, number);
        self.out.extend_from_slice(b"\r\n");
    }
    fn line(&mut self, mark: u8, text: &[u8]) {
        self.out.push(mark);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, proto);
        writer.simple("OK");
        writer.error("ERR bad 'a\r\nb'");
        writer.int(-5);
        writer.bulk(b"x\r\ny");
        writer.nil();
        writer.nil_array();
        writer.array(0);
        writer.set(1);
        writer.map(2);
        writer.verbatim("hi");
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn both_versions_byte_by_byte() {
        let shared = "+OK\r\n-ERR bad 'a  b'\r\n:-5\r\n$4\r\nx\r\ny\r\n";
        let two = format!("{shared}$-1\r\n*-1\r\n*0\r\n*1\r\n*4\r\n$2\r\nhi\r\n");
        let three = format!("{shared}_\r\n_\r\n*0\r\n~1\r\n%2\r\n=6\r\ntxt:hi\r\n");
        assert_eq!(written(Proto::Resp2), two);
        assert_eq!(written(Proto::Resp3), three);
    }
}
