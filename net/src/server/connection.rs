//! The connection: tells the protocols apart by their first bytes and hands over to the one spoken.

use super::binary::BinaryFace;
use super::{Ask, ConnectionConfig, LocalAnswer, Tag};
use crate::binary::{self, Failure, PREAMBLE};
use synod_types::Reply;

/// Which protocol is spoken.
#[derive(Debug)]
enum Face {
    /// Not enough bytes to tell.
    Undecided,
    /// The binary protocol.
    Binary(BinaryFace),
}

/// The server side of one client connection; see the module's contract.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
    face: Face,
    /// Bytes received; those before `at` are parsed.
    input: Vec<u8>,
    at: usize,
    /// Bytes to send.
    out: Vec<u8>,
    /// The client will send no more.
    ended: bool,
    /// Nothing more is parsed: the client left, said goodbye or broke the protocol.
    draining: bool,
    close_told: bool,
}

impl Connection {
    /// A connection at its first byte.
    pub fn new(config: ConnectionConfig) -> Self {
        Self {
            config,
            face: Face::Undecided,
            input: Vec::new(),
            at: 0,
            out: Vec::new(),
            ended: false,
            draining: false,
            close_told: false,
        }
    }

    /// Takes bytes as they come from the socket.
    pub fn received(&mut self, bytes: &[u8]) {
        if self.draining {
            return;
        }
        self.input.drain(..self.at);
        self.at = 0;
        self.input.extend_from_slice(bytes);
    }

    /// The client has shut down its sending side: what it sent is still executed and answered, then the connection ends.
    pub fn received_end(&mut self) {
        self.ended = true;
    }

    /// What is to be done next.
    // Not an iterator: it goes on after it gave nothing.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Ask> {
        let ask = if self.draining { None } else { self.parse() };
        if ask.is_some() {
            return ask;
        }
        if self.closing() && !self.close_told {
            self.close_told = true;
            return Some(Ask::Close);
        }
        None
    }

    /// Answers an `Ask::Command`.
    pub fn reply(&mut self, tag: Tag, reply: Reply<&[u8]>) {
        match &mut self.face {
            Face::Undecided => {}
            Face::Binary(face) => face.reply(&self.config.server.limits, &mut self.out, tag, reply),
        }
    }

    /// Answers an `Ask::Local`.
    pub fn answer(&mut self, tag: Tag, answer: LocalAnswer) {
        match &mut self.face {
            Face::Undecided => {}
            Face::Binary(face) => face.answer(&mut self.out, tag, &answer),
        }
    }

    /// What is to be sent. Swap it with an empty buffer, or drain what the socket took.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether the socket should be read: false while too much is open or waits to be sent.
    pub fn wants_read(&self) -> bool {
        !self.draining && !self.ended && !self.is_full()
    }

    /// Whether all is answered and the connection is to be closed once `out` is sent.
    pub fn closing(&self) -> bool {
        self.draining && self.open() == 0
    }

    fn open(&self) -> usize {
        match &self.face {
            Face::Undecided => 0,
            Face::Binary(face) => face.open(),
        }
    }

    fn is_full(&self) -> bool {
        let limits = &self.config.server.limits;
        self.open() >= limits.open_asks_max || self.out.len() >= limits.out_bytes_soft
    }

    fn parse(&mut self) -> Option<Ask> {
        if matches!(self.face, Face::Undecided) {
            self.sniff();
        }
        if self.is_full() || self.draining {
            return None;
        }
        let ask = match &mut self.face {
            Face::Undecided => None,
            Face::Binary(face) => {
                let input = &self.input[self.at..];
                let (ask, used) = face.parse(&self.config, input, &mut self.out, &mut self.draining);
                self.at += used;
                ask
            }
        };
        if ask.is_none() && self.ended && !self.is_full() {
            self.draining = true; // what is left is no whole request
        }
        ask
    }

    /// Decides by the first bytes which protocol is spoken.
    fn sniff(&mut self) {
        let input = &self.input[self.at..];
        let Some(&first) = input.first() else {
            self.draining = self.ended;
            return;
        };
        if first == PREAMBLE[0] {
            let Some(preamble) = input.first_chunk::<8>() else { return };
            self.at += preamble.len();
            if preamble[..6] != PREAMBLE[..6] {
                self.fail(Failure::Protocol, "the connection opens with neither RESP nor the preamble");
            } else if *preamble != PREAMBLE {
                self.fail(Failure::Version, "this server speaks version 1 of the binary protocol");
            } else {
                self.face = Face::Binary(BinaryFace::new(&self.config.server));
            }
            return;
        }
        self.fail(Failure::Protocol, "unknown protocol");
    }

    fn fail(&mut self, failure: Failure, text: &str) {
        binary::encode_failure(&mut self.out, 0, failure, text);
        self.draining = true;
    }
}
