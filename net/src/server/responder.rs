//! The way of the reply to the command at hand: into the output, or behind the replies that are still open.

use super::slots::Slots;
use crate::resp::reply::{Proto, Writer};

/// Writes the reply to one command.
pub(super) struct Responder<'a> {
    slots: &'a mut Slots,
    out: &'a mut Vec<u8>,
}

impl<'a> Responder<'a> {
    pub(super) fn new(slots: &'a mut Slots, out: &'a mut Vec<u8>) -> Self {
        Self { slots, out }
    }

    /// Writes the reply in its turn. `write` is not called if no reply is wanted, so it must have no side
    /// effects.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        self.slots.write(self.out, write);
    }
    /// `+OK`
    pub(super) fn ok(&mut self) {
        self.write(|writer| writer.simple("OK"));
    }
    /// An error line, prefix included.
    pub(super) fn error(&mut self, text: &str) {
        self.write(|writer| writer.error(text));
    }
    /// A number.
    pub(super) fn int(&mut self, number: i64) {
        self.write(|writer| writer.int(number));
    }

    /// The protocol version in use.
    pub(super) fn proto(&self) -> Proto {
        self.slots.proto()
    }
    /// Sets the protocol version; this reply is the first one in it.
    pub(super) fn speak(&mut self, proto: Proto) {
        self.slots.speak(proto);
    }
    /// Makes sure that this reply is written, even if CLIENT REPLY turned replies off.
    pub(super) fn unmute(&mut self) {
        self.slots.mute(false);
    }
}
