//! The error lines that more than one command answers with, in Redis's own words, and the way client bytes
//! are quoted in them.

use super::parser::Args;
use std::borrow::Cow;

/// An error line, prefix included.
pub type Refusal = Cow<'static, str>;

/// The arguments do not match the command's syntax.
pub const SYNTAX: Refusal = Cow::Borrowed("ERR syntax error");
/// An argument is no 64-bit integer.
pub const NOT_AN_INTEGER: Refusal = Cow::Borrowed("ERR value is not an integer or out of range");

/// Most client bytes that one error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// The error for an expiry out of range.
pub fn bad_expiry(name: &str) -> Refusal {
    format!("ERR invalid expire time in '{name}' command").into()
}

/// The error for a wrong number of arguments.
pub fn wrong_arity(name: &str) -> Refusal {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// The error for a command this server does not know.
pub fn unknown_command(args: &Args<'_>) -> Refusal {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", lossy(args.get(0)));
    let mut room = QUOTED_BYTES_MAX;
    for arg in args.iter_from(1) {
        if room == 0 {
            break;
        }
        let shown = &arg[..arg.len().min(room)];
        text.push_str(&format!("'{}' ", lossy(shown)));
        room = room.saturating_sub(shown.len() + 3);
    }
    text.into()
}

/// The error for a subcommand that the command called `container` does not have.
pub fn unknown_subcommand(container: &str, given: &[u8]) -> Refusal {
    let container = container.to_ascii_uppercase();
    format!("ERR unknown subcommand '{}'. Try {container} HELP.", lossy(given)).into()
}

/// Client bytes in a form that an error may quote.
pub fn lossy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(shortened(bytes));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The client bytes that an error quotes: the first ones.
pub fn shortened(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(QUOTED_BYTES_MAX)]
}
