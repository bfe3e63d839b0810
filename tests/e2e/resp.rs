//! A blocking RESP client that shows every answer as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A command as an array of bulk strings.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A connection.
pub struct RespClient(pub TcpStream);

impl RespClient {
    /// Connects; an answer is waited for at most 20 s.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the node takes clients");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        Self(stream)
    }

    /// The next line of an answer, without its line break.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).expect("an answer");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// The first line of the answer to a command.
    pub fn ask(&mut self, parts: &[&[u8]]) -> String {
        self.0.write_all(&command(parts)).expect("sent");
        self.line()
    }

    /// The bulk string that a command is answered with.
    ///
    /// # Errors
    /// The first line of any other answer.
    pub fn bulk(&mut self, parts: &[&[u8]]) -> Result<Vec<u8>, String> {
        self.0.write_all(&command(parts)).expect("sent");
        self.read_bulk()
    }

    /// The next bulk string of an answer.
    ///
    /// # Errors
    /// The first line of any other answer.
    pub fn read_bulk(&mut self) -> Result<Vec<u8>, String> {
        let head = self.line();
        let len: usize = head.strip_prefix('$').and_then(|len| len.parse().ok()).ok_or(head)?;
        let mut bytes = vec![0; len + 2];
        self.0.read_exact(&mut bytes).expect("the bytes");
        bytes.truncate(len);
        Ok(bytes)
    }

    /// The answer to a SET.
    pub fn set(&mut self, key: &str, value: &[u8]) -> String {
        self.ask(&[b"SET", key.as_bytes(), value])
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The first line of any other answer.
    pub fn get(&mut self, key: &str) -> Result<Vec<u8>, String> {
        self.bulk(&[b"GET", key.as_bytes()])
    }

    /// The text of INFO.
    pub fn info(&mut self) -> String {
        String::from_utf8_lossy(&self.bulk(&[b"INFO"]).expect("a bulk string")).into_owned()
    }
}
