//! `LossyWriter`: writes lines to an output without ever waiting for its reader.
//!
//! ```text
//!   the output takes a line now    ─▶ written, after "12 lines were lost" if some were
//!   its pipe is full, or it stands ─▶ lost and counted
//! ```
//! A node that waits for a paused pager or for a log shipper that hangs would neither serve nor keep its leases:
//! the line is worth less than the node.

use super::line::{Format, Line, Value};
use crate::sys;
use std::io::Write;
use std::os::fd::AsFd;
use tracing::Level;

/// Counts what its output does not take.
#[derive(Debug, Default)]
pub(super) struct LossyWriter {
    lost: u64,
}

impl LossyWriter {
    /// Writes a line, if `output` takes it now. Callers must exclude each other: between the question whether there
    /// is room and the write, nobody else may fill it.
    pub fn write(&mut self, output: &mut (impl Write + AsFd), line: &Line, format: Format) {
        self.report(output, line.at_ms, line.node, format);
        // If the report found no room, there is none for a later line: it would hide the loss.
        if self.lost > 0 || !put(output, line, format) {
            self.lost += 1;
        }
    }

    /// Says how many lines were lost, if any were and `output` takes it now.
    pub fn report(&mut self, output: &mut (impl Write + AsFd), now_ms: u64, node: u16, format: Format) {
        if self.lost == 0 {
            return;
        }
        let lost = self.lost;
        let mut line = Line::new(now_ms, Level::WARN, "node", node);
        line.event = "lines_lost".to_owned();
        line.message = format!("{lost} lines were lost because the output was not read");
        line.fields.push(("lost", Value::Unsigned(lost)));
        if put(output, &line, format) {
            self.lost = 0;
        }
    }

    /// Whether lines were lost that are still to be reported.
    pub fn owes(&self) -> bool {
        self.lost > 0
    }
}

/// Writes a line unless that would wait. Returns whether the output had room.
fn put(output: &mut (impl Write + AsFd), line: &Line, format: Format) -> bool {
    if !sys::is_writable(output) {
        return false;
    }
    // A pipe that is writable takes as much as a line may have at once. An error means that nobody will ever
    // read the output again, or that its disk is full: a node does not stop for that.
    let _ = output.write_all(line.render(format).as_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::line::LINE_BYTES_MAX;
    use std::io::{PipeReader, Read, pipe};

    fn line(message: &str) -> Line {
        let mut line = Line::new(0, Level::INFO, "node", 1);
        line.message = message.to_owned();
        line
    }

    fn read(reader: &mut PipeReader, count: usize) -> String {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_output_that_is_not_read_is_not_waited_for() {
        let (mut reader, mut output) = pipe().unwrap();
        let mut filled = 0;
        while sys::is_writable(&output) {
            output.write_all(&[b'x'; LINE_BYTES_MAX]).unwrap();
            filled += LINE_BYTES_MAX;
        }
        let mut writer = LossyWriter::default();
        for _ in 0..3 {
            writer.write(&mut output, &line("nobody reads this"), Format::Text);
        }
        writer.report(&mut output, 0, 1, Format::Text);
        assert!(writer.owes(), "there was still no room");
        assert!(!read(&mut reader, filled).contains("nobody"));

        writer.write(&mut output, &line("heard"), Format::Text);
        assert!(!writer.owes());
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let said: Vec<&str> = text.lines().map(|line| line.split_once("n1: ").unwrap().1).collect();
        assert_eq!(said, ["3 lines were lost because the output was not read", "heard"]);
    }

    #[test]
    fn an_output_whose_reader_is_gone_is_no_loss_to_report() {
        let (reader, mut output) = pipe().unwrap();
        drop(reader);
        let mut writer = LossyWriter::default();
        writer.write(&mut output, &line("nobody will read this"), Format::Text);
        assert!(!writer.owes());
    }
}
