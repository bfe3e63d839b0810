//! `peers.secret`: the secret that the nodes of a cluster share, in a file that only its owner may read.
//!
//! The file is text, so that a person or another tool can write it: 64 hexadecimal digits, and on a second
//! line those of the previous secret while both are accepted. It may lie outside the data directory
//! (`security.peer_secret_file`). A running node checks it repeatedly, so that a secret is replaced without a
//! restart.

use super::durable::{self, parent_of};
use crate::random::random;
use crate::refusal::Refusal;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use synod_net::peer::{PeerSecret, SECRETS_TEXT_BYTES_MAX, Secrets};

/// The name of the file, in the data directory unless another path is configured.
pub const SECRET_FILE: &str = "peers.secret";

/// Draws a new random secret.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn draw() -> Result<PeerSecret, Refusal> {
    random().map(PeerSecret::new).map_err(|error| Refusal::io("draw a secret from", "/dev/urandom", &error))
}

/// Parses the text of a secret file from `source`.
///
/// # Errors
/// The errors of reading; [`ErrorKind::InvalidData`] with the fault if [`Secrets::parse`] refuses the text.
pub fn read_from(source: impl Read) -> io::Result<Secrets> {
    let mut text = String::new();
    source.take(SECRETS_TEXT_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    let whole = text.len() <= SECRETS_TEXT_BYTES_MAX;
    let wrong = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    if whole { Secrets::parse(&text).map_err(wrong) } else { Err(wrong("it is too long".to_owned())) }
}

/// The secrets in `file`; `None` if there is no such file.
///
/// # Errors
/// The file cannot be read, or its content is invalid.
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

/// Writes `secrets` into `file`, durably and readable by its owner only.
///
/// # Errors
/// The file cannot be written; its old content stays.
pub fn write(file: &Path, secrets: &Secrets) -> Result<(), Refusal> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return Err(Refusal::Usage(format!("{} is no name of a file for a secret", file.display())));
    };
    durable::replace_private_file(parent_of(file), name, secrets.to_text().as_bytes())
}

/// Checks that `file` is valid, or can be created once `dir` exists.
///
/// # Errors
/// It is not valid, or there is no directory for it.
pub fn check_place(file: &Path, dir: &Path) -> Result<(), Refusal> {
    let parent = parent_of(file);
    if read(file)?.is_none() && parent != dir && !parent.is_dir() {
        return Err(Refusal::NotADirectory { path: parent.to_owned() });
    }
    Ok(())
}

/// Creates `file` with a new secret, unless it exists.
///
/// # Errors
/// The existing file is invalid, or nothing can be written.
pub fn ensure(file: &Path) -> Result<(), Refusal> {
    match read(file)? {
        Some(_) => Ok(()),
        None => write(file, &Secrets::one(draw()?)),
    }
}

/// The secrets that a running node accepts, shared by all of its cores.
#[derive(Debug)]
pub struct SecretBook {
    file: PathBuf,
    /// The secret that is accepted while there is no file.
    without: Option<PeerSecret>,
    secrets: RwLock<Secrets>,
}

impl SecretBook {
    /// Opens the book. If there is no file, `without` is accepted.
    ///
    /// # Errors
    /// There is neither a file nor `without`, or the file is invalid.
    pub fn load(file: &Path, without: Option<PeerSecret>) -> Result<Self, Refusal> {
        let secrets = match (read(file)?, &without) {
            (Some(secrets), _) => secrets,
            (None, Some(without)) => Secrets::one(without.clone()),
            (None, None) => return Err(Refusal::NoPeerSecret { path: file.to_owned() }),
        };
        Ok(Self { file: file.to_owned(), without, secrets: RwLock::new(secrets) })
    }

    /// The path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file again and returns whether it has changed. A file that cannot be read changes nothing.
    /// Blocks.
    ///
    /// # Errors
    /// Those of [`SecretBook::load`].
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

    /// The secrets that are accepted now.
    pub fn secrets(&self) -> Secrets {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `secret` is accepted now.
    pub fn takes(&self, secret: &PeerSecret) -> bool {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).all().any(|taken| taken == secret)
    }

    /// Whether users other than its owner can read or write the file.
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
        // A leftover of an interrupted write, readable by everyone.
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
