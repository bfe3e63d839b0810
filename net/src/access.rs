//! Who is let in: whoever knows a password. There may be none, one, or two while one is being replaced by the other. Without any, clients of
//! other machines are turned away (protected mode), unless that is switched off.
//!
//! What is held is a digest and what is compared are digests, in a time that does not depend on where they differ. May not: show a
//! password to anybody, in whatever way.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::{Choice, ConstantTimeEq};

/// Longest password, bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

type Hashed = [u8; 32];

#[derive(Clone, PartialEq, Eq)]
struct Rules {
    passwords: Vec<Hashed>,
    is_protected: bool,
}

/// What one node wants of its clients. Copies are one, over all cores: what is set on one holds on all from then on.
#[derive(Clone)]
pub struct Access(Arc<RwLock<Rules>>);

impl Default for Access {
    /// No password; protected.
    fn default() -> Self {
        Self::new([], true)
    }
}

impl Access {
    /// These passwords; everybody is let in where there are none, or, if it `is_protected`, everybody on this machine.
    pub fn new<'a>(passwords: impl IntoIterator<Item = &'a [u8]>, is_protected: bool) -> Self {
        let passwords = passwords.into_iter().map(hash).collect();
        Self(Arc::new(RwLock::new(Rules { passwords, is_protected })))
    }

    /// Replaces all passwords by this one, or by none. Who was let in stays.
    pub fn set_password(&self, password: Option<&[u8]>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).passwords =
            password.map(hash).into_iter().collect();
    }

    /// Whether clients of other machines are turned away while there is no password.
    pub fn set_protected(&self, is_protected: bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).is_protected = is_protected;
    }

    /// See [`Access::set_protected`].
    pub fn is_protected(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_protected
    }

    /// Whether a password is wanted.
    pub fn wants_password(&self) -> bool {
        !self.0.read().unwrap_or_else(PoisonError::into_inner).passwords.is_empty()
    }

    /// Whether a client is turned away before it has said anything.
    pub fn turns_away(&self, is_loopback: bool) -> bool {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rules.is_protected && rules.passwords.is_empty() && !is_loopback
    }

    /// Whether `given` is one of the passwords, or none is wanted. Takes the same time for all of one length that are not.
    pub fn admits(&self, given: &[u8]) -> bool {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let given = hash(given);
        let fits = rules.passwords.iter().fold(Choice::from(0), |fits, one| fits | one.ct_eq(&given));
        rules.passwords.is_empty() || fits.into()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let protected = if rules.is_protected { "protected" } else { "not protected" };
        write!(f, "{} passwords, {protected}", rules.passwords.len())
    }
}

/// Two are equal if they let the same in.
impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        let rules = |this: &Self| this.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        rules(self) == rules(other)
    }
}
impl Eq for Access {}

fn hash(password: &[u8]) -> Hashed {
    Sha256::digest(password).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_a_password_is_let_in_and_nobody_is_shown_one() {
        let none = Access::default();
        assert!(!none.wants_password() && none.admits(b"") && none.admits(b"anything"));
        let both = Access::new([&b"new"[..], b"old"], true);
        assert!(both.wants_password() && both.admits(b"new") && both.admits(b"old"));
        for wrong in [&b""[..], b"ne", b"neww", b"New", b"newold"] {
            assert!(!both.admits(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{both:?}"), "2 passwords, protected");
    }

    #[test]
    fn what_is_replaced_holds_no_more_on_any_copy() {
        let all = Access::new([&b"new"[..], b"old"], true);
        let copy = all.clone();
        copy.set_password(Some(b"newer"));
        assert!(all.admits(b"newer") && !all.admits(b"new") && !all.admits(b"old"));
        copy.set_password(None);
        assert!(!all.wants_password() && all.admits(b"old"));
        assert_eq!(all, Access::default());
    }

    #[test]
    fn strangers_are_turned_away_only_where_nothing_else_keeps_them_out() {
        for (passwords, is_protected, is_loopback, turned_away) in [
            (0, true, false, true),
            (0, true, true, false),
            (0, false, false, false),
            (1, true, false, false),
            (1, false, false, false),
        ] {
            let access = Access::new([&b"pw"[..]].into_iter().take(passwords), is_protected);
            assert_eq!(access.turns_away(is_loopback), turned_away, "{access:?} {is_loopback}");
        }
        let access = Access::default();
        access.set_protected(false);
        assert!(!access.turns_away(false) && !access.is_protected());
    }
}
