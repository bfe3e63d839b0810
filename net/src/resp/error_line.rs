//! The error lines that more than one command answers with, in Redis's own words, and the way client bytes
//! are quoted in them.

use std::borrow::Cow;

/// An error line, prefix included.
pub type ErrorLine = Cow<'static, str>;

/// The arguments do not match the command's syntax.
pub const SYNTAX: ErrorLine = Cow::Borrowed("ERR syntax error");
/// An argument is no 64-bit integer.
pub const NOT_AN_INTEGER: ErrorLine = Cow::Borrowed("ERR value is not an integer or out of range");

/// Most client bytes that one error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// The error for an expiry out of range.
pub fn bad_expiry(name: &str) -> ErrorLine {
    format!("ERR invalid expire time in '{name}' command").into()
}

/// The error for a wrong number of arguments.
pub fn wrong_arity(name: &str) -> ErrorLine {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// The error for a command this server does not know, with its arguments.
pub fn unknown_command<'a>(name: &[u8], arguments: impl Iterator<Item = &'a [u8]>) -> ErrorLine {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", lossy(name));
    let mut room = QUOTED_BYTES_MAX;
    for arg in arguments {
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
pub fn unknown_subcommand(container: &str, given: &[u8]) -> ErrorLine {
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
