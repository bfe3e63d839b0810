//! `peers.secret`: the secret that the nodes of a cluster share, in a file for its owner's eyes.
//!
//! Text, so that a person or another tool can put it there: 64 hexadecimal digits, and on a second line those of the secret
//! before it, while both are taken. It may lie outside the data directory (`security.peer_secret_file`); a running node
//! looks at it again and again, so that a secret is replaced without a restart.

use super::{durable, parent_of};
use crate::random::random;
use crate::refusal::Refusal;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use synod_net::peer::{PeerSecret, SECRETS_TEXT_BYTES_MAX, Secrets};

/// The file, in the data directory unless configured elsewhere.
pub const SECRET_FILE: &str = "peers.secret";

/// A secret that nobody knows yet.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn draw() -> Result<PeerSecret, Refusal> {
    random().map(PeerSecret::new).map_err(|error| Refusal::io("draw a secret from", "/dev/urandom", &error))
}

/// Reads `source` as secrets are written down.
///
/// # Errors
/// As [`Secrets::parse`]; as [`ErrorKind::InvalidData`] what is wrong in there.
pub fn read_from(source: impl Read) -> io::Result<Secrets> {
    let mut text = String::new();
    source.take(SECRETS_TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    let whole = text.len() <= SECRETS_TEXT_BYTES_MAX;
    let wrong = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    if whole { Secrets::parse(&text).map_err(wrong) } else { Err(wrong("it is too long".to_owned())) }
}

/// The secrets in `file`; `None` where there is no such file.
///
/// # Errors
/// It cannot be read, or is not as it should be.
pub fn read(file: &Path) -> Result<Option<Secrets>, Refusal> {
    match File::open(file).and_then(read_from) {
        Ok(secrets) => Ok(Some(secrets)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(Refusal::PeerSecretUnusable { path: file.to_owned(), why: error.to_string() })
        }
        Err(error) => Err(Refusal::io("read", file, &error)),
    }
}

/// Puts `secrets` into `file`, durably and for this user alone.
///
/// # Errors
/// It cannot be written; then it is as it was.
pub fn write(file: &Path, secrets: &Secrets) -> Result<(), Refusal> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return Err(Refusal::Usage(format!("{} is no name of a file for a secret", file.display())));
    };
    durable::replace_private_file(parent_of(file), name, secrets.to_text().as_bytes())
}

/// Whether `file` is as it should be, or can be made once `dir` is.
///
/// # Errors
/// It is not, or there is no directory for it.
pub fn check_place(file: &Path, dir: &Path) -> Result<(), Refusal> {
    let parent = parent_of(file);
    if read(file)?.is_none() && parent != dir && !parent.is_dir() {
        return Err(Refusal::NotADirectory { path: parent.to_owned() });
    }
    Ok(())
}

/// Makes `file` with a secret of its own, unless it is there.
///
/// # Errors
/// What is there is not as it should be, or nothing can be written.
pub fn ensure(file: &Path) -> Result<(), Refusal> {
    match read(file)? {
        Some(_) => Ok(()),
        None => write(file, &Secrets::one(draw()?)),
    }
}

/// What a running node takes for the cluster's secret; the same for all of its cores.
#[derive(Debug)]
pub struct SecretBook {
    file: PathBuf,
    /// What is taken while there is no file.
    without: Option<PeerSecret>,
    secrets: RwLock<Secrets>,
}

impl SecretBook {
    /// Opens the book; where there is no file, `without` is taken.
    ///
    /// # Errors
    /// There is neither, or the file is not as it should be.
    pub fn load(file: &Path, without: Option<PeerSecret>) -> Result<Self, Refusal> {
        let secrets = match (read(file)?, &without) {
            (Some(secrets), _) => secrets,
            (None, Some(without)) => Secrets::one(without.clone()),
            (None, None) => return Err(Refusal::NoPeerSecret { path: file.to_owned() }),
        };
        Ok(Self { file: file.to_owned(), without, secrets: RwLock::new(secrets) })
    }

    /// Where it is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Looks at the file again; says whether it has changed. What cannot be read changes nothing. Blocks.
    ///
    /// # Errors
    /// As [`SecretBook::load`].
    pub fn refresh(&self) -> Result<bool, Refusal> {
        let found = Self::load(&self.file, self.without.clone())?
            .secrets
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = *secrets != found;
        *secrets = found;
        Ok(has_changed)
    }

    /// What is taken now.
    pub fn secrets(&self) -> Secrets {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `secret` is taken now.
    pub fn takes(&self, secret: &PeerSecret) -> bool {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).all().any(|taken| taken == secret)
    }

    /// Whether others than its owner can read the file, or write it.
    pub fn is_open_to_others(&self) -> bool {
        std::fs::metadata(&self.file).is_ok_and(|meta| meta.permissions().mode() & 0o066 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::ClusterId;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SECRET_FILE);
        assert_eq!(read(&file), Ok(None));
        let missing = SecretBook::load(&file, None).unwrap_err();
        assert_eq!(missing, Refusal::NoPeerSecret { path: file.clone() });
        ensure(&file).unwrap();
        let made = read(&file).unwrap().expect("it is there");
        ensure(&file).unwrap();
        assert_eq!(read(&file), Ok(Some(made.clone())), "what is there stays");
        let book = SecretBook::load(&file, None).unwrap();
        assert!(!book.is_open_to_others());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(book.is_open_to_others());
        // What was left by somebody who was interrupted, for all to read.
        let left = dir.path().join(format!("{SECRET_FILE}.tmp"));
        std::fs::write(&left, "").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, &made).unwrap();
        assert!(!book.is_open_to_others(), "whatever its rights were before");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
        assert!(read(&file).unwrap() != Some(Secrets::one(draw().unwrap())), "no two are the same");
    }

    #[test]
    fn nodes_of_one_machine_need_none_and_take_one_that_they_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SECRET_FILE);
        let [ours, others] = [1, 2].map(|id| PeerSecret::of_one_machine(ClusterId::new(id)));
        assert!(ours != others);
        let book = SecretBook::load(&file, Some(ours.clone())).unwrap();
        assert!(book.takes(&ours) && !book.takes(&others));
        ensure(&file).unwrap();
        assert_eq!(book.refresh(), Ok(true));
        assert!(!book.takes(&ours));
        std::fs::write(&file, "").unwrap();
        assert!(SecretBook::load(&file, Some(ours)).is_err(), "a file that is no good is not passed over");
    }

    #[test]
    fn a_running_node_takes_what_is_in_the_file_and_keeps_what_it_has_when_that_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SECRET_FILE);
        ensure(&file).unwrap();
        let book = SecretBook::load(&file, None).unwrap();
        let first = book.secrets();
        assert_eq!(book.refresh(), Ok(false));
        for text in ["", "Rosebud-0451", &"ab".repeat(2000)] {
            std::fs::write(&file, text).unwrap();
            let sentence = book.refresh().unwrap_err().to_string();
            assert!(sentence.contains("peers.secret") && !sentence.contains("Rosebud"), "{sentence}");
            assert_eq!(book.secrets(), first);
        }
        std::fs::write(&file, [0xFF, 0xFE]).unwrap();
        assert!(matches!(book.refresh(), Err(Refusal::PeerSecretUnusable { .. })), "no text");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(book.refresh(), Err(Refusal::NoPeerSecret { path: file.clone() }));
        assert!(book.takes(first.current()));

        let second = first.rotated(draw().unwrap()).unwrap();
        write(&file, &second).unwrap();
        assert_eq!(book.refresh(), Ok(true));
        assert!(book.takes(first.current()) && book.takes(second.current()));
        write(&file, &second.retired()).unwrap();
        assert_eq!(book.refresh(), Ok(true));
        assert!(!book.takes(first.current()) && book.takes(second.current()));
    }
}
