//! The secret that the nodes of a cluster share: a peer that proves its knowledge may open peer links.
//!
//! Two secrets are accepted while one replaces the other. May not: show a secret, except as digits to a
//! caller that asks for them.

use crate::access::HIDDEN;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use synod_types::ClusterId;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;
/// Bytes of a proof.
pub(super) const MAC_BYTES: usize = 32;
/// The longest text that [`Secrets::parse`] may be given.
pub const SECRETS_TEXT_BYTES_MAX: usize = 1024;

/// One secret. As text it is 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerSecret([u8; SECRET_BYTES]);

impl PeerSecret {
    /// These bytes: they must be random, not chosen.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// Stands in for a secret while nodes that only their own machine can reach are given none. It keeps
    /// clusters apart but keeps no attacker out.
    pub fn of_one_machine(cluster: ClusterId) -> Self {
        let label = [b"synod cluster of one machine\0", cluster.get().to_le_bytes().as_slice()].concat();
        Self(Self([0; SECRET_BYTES]).mac(&label))
    }

    /// Its digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret of these digits.
    ///
    /// # Errors
    /// What is wrong; the text does not contain the given digits.
    pub fn from_hex(digits: &str) -> Result<Self, &'static str> {
        const WHY: &str = "a peer secret is 64 hexadecimal digits";
        let digits = digits.as_bytes();
        if digits.len() != 2 * SECRET_BYTES {
            return Err(WHY);
        }
        let mut bytes = [0; SECRET_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(WHY);
            *byte = (digit(0)? * 16 + digit(1)?) as u8; // two digits are below 256
        }
        if bytes.iter().all(|&byte| byte == bytes[0]) {
            return Err("a peer secret is random, and this one repeats a single byte");
        }
        Ok(Self(bytes))
    }

    /// HMAC-SHA256 (RFC 2104) of `bytes`.
    pub(super) fn mac(&self, bytes: &[u8]) -> [u8; MAC_BYTES] {
        self.keyed(bytes).finalize().into_bytes().into()
    }

    /// Whether `mac` is the MAC of `bytes`, in a time that does not depend on where it differs.
    pub(super) fn made(&self, mac: &[u8], bytes: &[u8]) -> bool {
        self.keyed(bytes).verify_slice(mac).is_ok()
    }

    fn keyed(&self, bytes: &[u8]) -> Hmac<Sha256> {
        // HMAC accepts a key of any length.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(bytes);
        mac
    }
}

impl fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The secrets that a node accepts: one, or two while the new one replaces the old one.
///
/// As text, each is on a line of its own, the current one first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secrets {
    current: PeerSecret,
    old: Option<PeerSecret>,
}

/// Why a secret cannot be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RotateError {
    /// Two are accepted already.
    #[error(
        "two secrets are taken already; forget the old one first (`synod secret retire`), \
         once every node has the current one"
    )]
    UnderWay,
    /// It was the current one before.
    #[error("that is the old secret, which the current one replaced")]
    Backwards,
}

impl Secrets {
    /// One secret.
    pub const fn one(current: PeerSecret) -> Self {
        Self { current, old: None }
    }

    /// Reads their text.
    ///
    /// # Errors
    /// What is wrong and in which line; the message does not contain the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() {
                secrets.push(PeerSecret::from_hex(line).map_err(|why| format!("line {number}: {why}"))?);
            }
        }
        let mut secrets = secrets.into_iter();
        match (secrets.next(), secrets.next(), secrets.next()) {
            (Some(current), Some(old), None) if current == old => {
                Err("both lines are the same secret".to_owned())
            }
            (Some(current), old, None) => Ok(Self { current, old }),
            (None, ..) => Err("it holds no secret".to_owned()),
            (.., Some(_)) => Err("it holds more than two secrets".to_owned()),
        }
    }

    /// Their text.
    pub fn to_text(&self) -> String {
        self.all().map(|secret| secret.to_hex() + "\n").collect()
    }

    /// The secret that proofs use, if the other end accepts it.
    pub fn current(&self) -> &PeerSecret {
        &self.current
    }

    /// The previous secret, while it is accepted.
    pub fn old(&self) -> Option<&PeerSecret> {
        self.old.as_ref()
    }

    /// All accepted secrets, the current one first.
    pub fn all(&self) -> impl Iterator<Item = &PeerSecret> {
        std::iter::once(&self.current).chain(&self.old)
    }

    /// Makes `new` the current secret; the previous one is still accepted. Nothing changes if `new` is
    /// already current.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub fn rotated(&self, new: PeerSecret) -> Result<Self, RotateError> {
        match &self.old {
            _ if new == self.current => Ok(self.clone()),
            Some(old) if new == *old => Err(RotateError::Backwards),
            Some(_) => Err(RotateError::UnderWay),
            None => Ok(Self { current: new, old: Some(self.current.clone()) }),
        }
    }

    /// The current secret alone.
    pub fn retired(&self) -> Self {
        Self::one(self.current.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(first: u8) -> PeerSecret {
        let mut bytes = [7; SECRET_BYTES];
        bytes[0] = first;
        PeerSecret::new(bytes)
    }

    /// RFC 4231, test case 2, with its key padded to our length: HMAC pads keys with zeros itself.
    #[test]
    fn a_proof_is_the_published_function() {
        let mut key = [0; SECRET_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let mac = PeerSecret::new(key).mac(b"what do ya want for nothing?");
        let digits: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn secrets_survive_their_text_and_are_shown_by_nothing_else() {
        let one = Secrets::one(secret(1));
        let two = one.rotated(secret(2)).expect("one is replaced");
        for secrets in [one.clone(), two.clone()] {
            assert_eq!(Secrets::parse(&secrets.to_text()), Ok(secrets.clone()));
            assert_eq!(Secrets::parse(&format!("\r\n {}\r\n", secrets.to_text().trim())), Ok(secrets));
        }
        let shown = format!("{two:?}");
        assert!(!shown.contains("07"), "{shown}");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let good = secret(1).to_hex();
        let short = &good[1..];
        let cases = [
            (String::new(), "it holds no secret"),
            ("\n \n".to_owned(), "it holds no secret"),
            (format!("{good}\n{short}\n"), "line 2: a peer secret is 64 hexadecimal digits"),
            (format!("{good}x"), "line 1: a peer secret is 64 hexadecimal digits"),
            (good.replace("07", "0g"), "line 1: a peer secret is 64 hexadecimal digits"),
            (format!("é{}", &good[2..]), "line 1: a peer secret is 64 hexadecimal digits"),
            ("00".repeat(32), "line 1: a peer secret is random, and this one repeats a single byte"),
            (format!("{good}\n{good}\n"), "both lines are the same secret"),
            (
                [secret(1), secret(2), secret(3)].map(|secret| secret.to_hex()).join("\n"),
                "it holds more than two secrets",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(Secrets::parse(&text), Err(why.to_owned()));
        }
    }

    #[test]
    fn one_secret_replaces_another_in_two_steps() {
        let first = Secrets::one(secret(1));
        let both = first.rotated(secret(2)).expect("one is replaced");
        assert_eq!((both.current(), both.old()), (&secret(2), Some(&secret(1))));
        assert_eq!(both.rotated(secret(2)), Ok(both.clone()), "said twice");
        assert_eq!(both.rotated(secret(1)), Err(RotateError::Backwards));
        assert_eq!(both.rotated(secret(3)), Err(RotateError::UnderWay));
        assert_eq!(both.retired(), Secrets::one(secret(2)));
    }
}
