//! The scripts this server answers without a script engine: the three of redis-py's `Lock`, known by the SHA-1 of their text.
//!
//! Each becomes one command that compares the lock's value with the caller's token and acts only on its owner's lock. So it
//! is as atomic and as durable as every other write. Clients that send the digest, the text, or load the text first all find
//! the same thing; nothing is stored, so `SCRIPT FLUSH` forgets nothing.

use super::number::parse_i64;
use super::parser::Args;
use super::plan::{Refusal, lossy};
use sha1::{Digest, Sha1};
use synod_types::Then;

/// What is answered to a digest nobody knows: clients then send the text.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// What is answered to any other text.
pub const NO_ENGINE: &str =
    "ERR this server runs no Lua; of scripts it knows only the published ones of redis-py's Lock";

/// A script that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Script {
    /// Deletes the lock. Arguments: the token.
    Release,
    /// Gives a lock that expires more time. Arguments: the token, milliseconds, and `0` to add them to the time left or
    /// anything else to count them from now.
    Extend,
    /// Has the lock expire so many milliseconds from now. Arguments: the token, milliseconds.
    Reacquire,
}

/// By the SHA-1 of its text, in lower-case hexadecimal.
const KNOWN: [(&str, Script); 3] = [
    ("c3f8721cbb97f72bc19e972846bd7aaf91901658", Script::Release),
    ("a4e8783852e6b949f9ef3a97212805108459a890", Script::Extend),
    ("1cac51482acf5858da00f6d685d68f886cd6b6b2", Script::Reacquire),
];

/// The script with this digest, in any case.
pub fn by_digest(digest: &[u8]) -> Option<Script> {
    KNOWN.iter().find(|(known, _)| digest.eq_ignore_ascii_case(known.as_bytes())).map(|(_, script)| *script)
}

/// The script with this text, and its digest.
pub fn by_text(text: &[u8]) -> Option<(Script, String)> {
    let digest: String = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Some((by_digest(digest.as_bytes())?, digest))
}

/// Key, value to compare with, and what is done then, of `EVAL|EVALSHA script numkeys key token …`.
///
/// # Errors
/// The error line to answer with.
pub fn call<'a>(script: Script, args: &Args<'a>) -> Result<(&'a [u8], &'a [u8], Then), Refusal> {
    let wanted = match script {
        Script::Release => 1,
        Script::Reacquire => 2,
        Script::Extend => 3,
    };
    if parse_i64(args.get(2)) != Some(1) || args.len() != 4 + wanted {
        return Err(format!("ERR this script takes one key and {wanted} arguments").into());
    }
    let milliseconds = || match parse_i64(args.get(5)).map(u64::try_from) {
        Some(Ok(ms @ 1..)) => Ok(ms),
        _ => Err(Refusal::from(format!("ERR '{}' is no number of milliseconds", lossy(args.get(5))))),
    };
    let then = match script {
        Script::Release => Then::Delete,
        Script::Reacquire => Then::ExpireAfter(milliseconds()?),
        Script::Extend if args.get(6) == b"0" => Then::ExtendBy(milliseconds()?),
        Script::Extend => Then::RenewFor(milliseconds()?),
    };
    Ok((args.get(3), args.get(4), then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_known_in_any_case_and_texts_by_their_digest() {
        for (digest, script) in KNOWN {
            assert_eq!(by_digest(digest.as_bytes()), Some(script));
            assert_eq!(by_digest(digest.to_ascii_uppercase().as_bytes()), Some(script));
        }
        assert_eq!(by_digest(b""), None);
        assert_eq!(by_digest(&KNOWN[0].0.as_bytes()[..39]), None);
        assert_eq!(by_text(b"return 1"), None);
        // The test vector of the standard, so that the hash is the right one.
        let digest: String = Sha1::digest(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
