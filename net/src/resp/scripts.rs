//! The scripts that this server answers without a script engine: the three of redis-py's `Lock`, recognized
//! by the SHA-1 of their text.
//!
//! Each becomes one command that compares the lock's value with the caller's token and acts only on its
//! owner's lock. So it is as atomic and as durable as every other write. Clients that send the digest, the
//! text, or load the text first all get the same result. Nothing is stored, so `SCRIPT FLUSH` forgets
//! nothing.

use super::error_line::{ErrorLine, lossy};
use super::number::parse_i64;
use super::parser::Args;
use sha1::{Digest, Sha1};
use synod_types::IfEqualAction;

/// The answer to an unknown digest: clients then send the text.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// The answer to any other text.
pub const NO_ENGINE: &str =
    "ERR this server runs no Lua; of scripts it knows only the published ones of redis-py's Lock";

/// A known script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Script {
    /// Deletes the lock. Arguments: the token.
    Release,
    /// Gives more time to a lock that expires. Arguments: the token, milliseconds, and `0` to add them to the
    /// time left or anything else to count them from now.
    Extend,
    /// Lets the lock expire this many milliseconds from now. Arguments: the token, milliseconds.
    Reacquire,
}

/// The scripts by the SHA-1 of their text, in lower-case hexadecimal.
const KNOWN: [(&str, Script); 3] = [
    ("c3f8721cbb97f72bc19e972846bd7aaf91901658", Script::Release),
    ("a4e8783852e6b949f9ef3a97212805108459a890", Script::Extend),
    ("1cac51482acf5858da00f6d685d68f886cd6b6b2", Script::Reacquire),
];

/// The script with this digest, in upper or lower case.
pub fn by_digest(digest: &[u8]) -> Option<Script> {
    KNOWN.iter().find(|(known, _)| digest.eq_ignore_ascii_case(known.as_bytes())).map(|(_, script)| *script)
}

/// The script with this text, and its digest.
pub fn by_text(text: &[u8]) -> Option<(Script, String)> {
    let digest: String = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Some((by_digest(digest.as_bytes())?, digest))
}

/// A parsed call of a script: the key, the value to compare with, and the action if they are equal.
pub type ScriptCall<'a> = (&'a [u8], &'a [u8], IfEqualAction);

/// Parses `EVAL script numkeys key token …`.
///
/// # Errors
/// The error line to answer with.
pub fn eval<'a>(args: &Args<'a>) -> Result<ScriptCall<'a>, ErrorLine> {
    let (script, _) = by_text(args.get(1)).ok_or(NO_ENGINE)?;
    call(script, args)
}

/// Parses `EVALSHA sha1 numkeys key token …`.
///
/// # Errors
/// The error line to answer with.
pub fn eval_sha<'a>(args: &Args<'a>) -> Result<ScriptCall<'a>, ErrorLine> {
    call(by_digest(args.get(1)).ok_or(NO_SCRIPT)?, args)
}

fn call<'a>(script: Script, args: &Args<'a>) -> Result<ScriptCall<'a>, ErrorLine> {
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
        _ => Err(ErrorLine::from(format!("ERR '{}' is no number of milliseconds", lossy(args.get(5))))),
    };
    let then = match script {
        Script::Release => IfEqualAction::Delete,
        Script::Reacquire => IfEqualAction::ExpireAfter(milliseconds()?),
        Script::Extend if args.get(6) == b"0" => IfEqualAction::ExtendBy(milliseconds()?),
        Script::Extend => IfEqualAction::RenewFor(milliseconds()?),
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
        // The test vector of the standard, to make sure that the hash is the right one.
        let digest: String = Sha1::digest(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
