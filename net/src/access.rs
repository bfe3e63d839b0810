//! Admission of clients by password. There may be no password, one, or two while one replaces the other.
//! Without any, clients of other machines are turned away (protected mode), unless protected mode is off.
//!
//! Only digests of passwords are stored. Digests are compared in a time that does not depend on where they
//! differ. May not: reveal a password in any way.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use subtle::{Choice, ConstantTimeEq};

/// Longest password, bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Stands for a password, or any secret, where settings are shown.
pub const HIDDEN: &str = "********";

/// The answer to a client of another machine while no password is set: Redis' words, as far as they are true
/// here.
pub(crate) const PROTECTED: &str = "DENIED Redis is running in protected mode because protected mode is \
     enabled and no password is set for the default user. In this mode connections are only accepted from \
     the loopback interface. Set security.password in the node's configuration, or send CONFIG SET \
     requirepass from this machine; or switch protected mode off, with security.protected_mode = \"no\" \
     or CONFIG SET protected-mode no, if only your own machines can reach this port.";

/// Checks that `given` may become a password.
///
/// # Errors
/// The reason why it may not; the text does not contain the given bytes.
pub fn check_password(given: &[u8]) -> Result<(), &'static str> {
    match given {
        b"none" => Err("none is the word for no password"),
        _ if given == HIDDEN.as_bytes() => Err("that stands for a password and is none"),
        _ if (1..=PASSWORD_BYTES_MAX).contains(&given.len()) => Ok(()),
        _ => Err("a password is a string of 1 to 1024 bytes"),
    }
}
const _: () = assert!(PASSWORD_BYTES_MAX == 1024); // as the text says

/// A password as it was given, in owned or borrowed bytes. Only [`Secret::bytes`] shows them; `Debug` does
/// not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<B = Vec<u8>>(B);

impl<B: AsRef<[u8]>> Secret<B> {
    /// These bytes.
    pub fn new(bytes: B) -> Self {
        Self(bytes)
    }
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<B> fmt::Debug for Secret<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

type Hashed = [u8; 32];

#[derive(Clone, PartialEq, Eq)]
struct Rules {
    passwords: Vec<Hashed>,
    is_protected: bool,
}

/// The treatment of a client before it has shown a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is let in.
    Open,
    /// It must show a password first.
    WantsPassword,
    /// It is turned away, whatever it sends.
    TurnedAway,
}

/// A setting that may be changed while the node runs.
#[derive(Clone, Copy)]
pub enum Change<'a> {
    /// All passwords are replaced by this one, or by none.
    Password(Option<&'a [u8]>),
    /// See [`Access::is_protected`].
    Protected(bool),
}

/// The admission rules of one node. Clones share one state on all cores: a change made through one holds for
/// all from then on.
#[derive(Clone)]
pub struct Access(Arc<RwLock<Rules>>);

impl Default for Access {
    /// No password; protected.
    fn default() -> Self {
        Self::new([], true)
    }
}

impl Access {
    /// Accepts these passwords. Without any, every client is let in; if `is_protected`, only clients on this
    /// machine.
    pub fn new<'a>(passwords: impl IntoIterator<Item = &'a [u8]>, is_protected: bool) -> Self {
        let passwords = passwords.into_iter().map(hash).collect();
        Self(Arc::new(RwLock::new(Rules { passwords, is_protected })))
    }

    /// Makes all changes at once: no client is checked in between. Clients that were let in before stay.
    pub fn change<'a>(&self, changes: impl IntoIterator<Item = Change<'a>>) {
        let mut rules = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Password(password) => rules.passwords = password.map(hash).into_iter().collect(),
                Change::Protected(is_protected) => rules.is_protected = is_protected,
            }
        }
    }

    /// The treatment of a client that has not shown a password yet.
    pub fn admission(&self, is_loopback: bool) -> Admission {
        self.read(|rules| rules.admission(is_loopback))
    }

    /// Whether a client that shows `given` is let in. All wrong passwords of one length take the same time.
    pub fn admits(&self, is_loopback: bool, given: &[u8]) -> bool {
        self.read(|rules| match rules.admission(is_loopback) {
            Admission::TurnedAway => false,
            Admission::Open => true,
            Admission::WantsPassword => {
                let given = hash(given);
                rules.passwords.iter().fold(Choice::from(0), |fits, one| fits | one.ct_eq(&given)).into()
            }
        })
    }

    /// Whether there is a password.
    pub fn wants_password(&self) -> bool {
        self.read(|rules| !rules.passwords.is_empty())
    }

    /// Whether clients of other machines are turned away while there is none.
    pub fn is_protected(&self) -> bool {
        self.read(|rules| rules.is_protected)
    }

    fn read<T>(&self, look: impl FnOnce(&Rules) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rules {
    fn admission(&self, is_loopback: bool) -> Admission {
        match (self.passwords.is_empty(), self.is_protected && !is_loopback) {
            (false, _) => Admission::WantsPassword,
            (true, true) => Admission::TurnedAway,
            (true, false) => Admission::Open,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, is_protected) = self.read(|rules| (rules.passwords.len(), rules.is_protected));
        write!(f, "{count} passwords, {}", if is_protected { "protected" } else { "not protected" })
    }
}

/// Two are equal if they hold the same rules.
impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        self.read(Clone::clone) == other.read(Clone::clone)
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
    fn what_stands_for_a_password_or_for_none_is_no_password() {
        for good in [&b"x"[..], b"None", &[0xFF; 1024]] {
            assert_eq!(check_password(good), Ok(()), "{good:?}");
        }
        for bad in [&b""[..], b"none", b"********", &[b'x'; 1025]] {
            assert!(check_password(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let (owned, lent) = (Secret::new(b"Rosebud".to_vec()), Secret::new(&b"Rosebud"[..]));
        assert_eq!((owned.bytes(), lent.bytes()), (&b"Rosebud"[..], &b"Rosebud"[..]));
        assert_eq!(format!("{owned:?} {lent:?} {:?}", Some(&owned)), "******** ******** Some(********)");
    }

    #[test]
    fn a_client_with_a_password_is_let_in_and_none_is_ever_shown() {
        let none = Access::default();
        assert!(!none.wants_password() && none.admits(true, b"") && none.admits(true, b"anything"));
        let both = Access::new([&b"new"[..], b"old"], true);
        assert!(both.wants_password() && both.admits(false, b"new") && both.admits(true, b"old"));
        for wrong in [&b""[..], b"ne", b"neww", b"New", b"newold"] {
            assert!(!both.admits(true, wrong), "{wrong:?}");
        }
        assert_eq!(format!("{both:?}"), "2 passwords, protected");
    }

    #[test]
    fn what_is_replaced_holds_no_more_on_any_copy() {
        let all = Access::new([&b"new"[..], b"old"], true);
        let copy = all.clone();
        copy.change([Change::Password(Some(b"newer"))]);
        assert!(all.admits(true, b"newer") && !all.admits(true, b"new") && !all.admits(true, b"old"));
        copy.change([Change::Password(None)]);
        assert!(!all.wants_password() && all.admits(true, b"old"));
        assert_eq!(all, Access::default());
        copy.change([Change::Protected(false), Change::Password(Some(b"pw"))]);
        assert_eq!(format!("{all:?}"), "1 passwords, not protected");
    }

    #[test]
    fn strangers_are_turned_away_only_where_nothing_else_keeps_them_out() {
        use Admission::{Open, TurnedAway, WantsPassword};
        for (passwords, is_protected, is_loopback, want) in [
            (0, true, false, TurnedAway),
            (0, true, true, Open),
            (0, false, false, Open),
            (1, true, false, WantsPassword),
            (1, true, true, WantsPassword),
            (1, false, false, WantsPassword),
        ] {
            let access = Access::new([&b"pw"[..]].into_iter().take(passwords), is_protected);
            assert_eq!(access.admission(is_loopback), want, "{access:?} {is_loopback}");
            assert_eq!(access.admits(is_loopback, b"pw"), want != TurnedAway);
            assert_eq!(access.admits(is_loopback, b"other"), want == Open);
        }
    }
}
