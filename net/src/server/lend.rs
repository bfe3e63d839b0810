//! Long operands stay where they were received. A command owns a copy of its key and of a short operand; of a
//! long operand only the place is noted.

use std::ops::Range;
use synod_types::{Command, Shared};

/// Operands from this length on are not copied out of the input.
const LEND_BYTES_MIN: usize = 2 << 10;

/// The command with key and operand in memory of its own. A long operand that lies in `input` is left out,
/// and its place is noted in `lent`; the connection fills it in without a copy.
pub(super) fn own(command: Command<&[u8]>, input: &[u8], lent: &mut Option<Range<usize>>) -> Command<Shared> {
    let operand = command.operand;
    *lent = place_in(input, operand).filter(|_| operand.len() >= LEND_BYTES_MIN);
    let (key, operand) = if lent.is_some() || operand.is_empty() {
        (Shared::new(command.key.to_vec()), Shared::default())
    } else {
        let mut bytes = Vec::with_capacity(command.key.len() + operand.len());
        bytes.extend_from_slice(command.key);
        bytes.extend_from_slice(operand);
        let both = Shared::new(bytes);
        (both.slice(0, command.key.len()), both.slice(command.key.len(), operand.len()))
    };
    Command { namespace: command.namespace, key, op: command.op, operand, stamp: command.stamp }
}

/// The range of `part` within `whole`, if it lies there.
fn place_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
