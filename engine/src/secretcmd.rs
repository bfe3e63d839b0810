//! `synod secret`: shows the secret that the nodes of a cluster share, and replaces it while they run.
//!
//! ```text
//!            every node takes     rotate, node by node      retire, node by node
//!   old  ──▶ old              ──▶ new and old           ──▶ new
//! ```
//! While nodes are at different steps, any two of them have a secret in common, as long as no node retires
//! the old secret before every node has the new one. A running node checks its file every second. A link
//! whose secret is no longer accepted ends.

use crate::config::Config;
use crate::identity::secret;
use crate::node::RunError;
use crate::output::{self, eprintln};
use crate::refusal::Refusal;
use std::fs::File;
use std::io;
use std::path::Path;
use synod_net::peer::Secrets;

/// Prints the secret, and the previous one while both are accepted.
///
/// # Errors
/// When there is no secret.
pub fn show(config: &Config) -> Result<(), RunError> {
    output::write(taken(config)?.to_text().as_bytes())
}

/// Makes another secret the current one: the one in `from`, or a new one. The previous secret stays accepted.
/// Prints the current secret for the other nodes.
///
/// # Errors
/// When two secrets are accepted already, or the file cannot be read or written.
pub fn rotate(config: &Config, from: Option<&Path>) -> Result<(), RunError> {
    let file = &config.peer_secret_file;
    let new = match from {
        None => secret::draw()?,
        // Only the first line of another node's file counts.
        Some(path) => given(path)?.current().clone(),
    };
    let now = secret::read(file)?;
    let then = match &now {
        None => Secrets::one(new),
        Some(secrets) => secrets
            .rotated(new)
            .map_err(|why| Refusal::SecretNotReplaced { path: file.clone(), why: why.to_string() })?,
    };
    if now.as_ref() != Some(&then) {
        secret::write(file, &then)?;
    }
    output::write(format!("{}\n", then.current().to_hex()).as_bytes())?;
    eprintln!(
        "synod: {} holds this secret now{}; a running node takes it within seconds",
        file.display(),
        if then.old().is_some() { ", and the one before it until `synod secret retire`" } else { "" }
    );
    Ok(())
}

/// Keeps the current secret only.
///
/// # Errors
/// When there is no secret, or the file cannot be written.
pub fn retire(config: &Config) -> Result<(), RunError> {
    let secrets = taken(config)?;
    if secrets.old().is_some() {
        secret::write(&config.peer_secret_file, &secrets.retired())?;
    }
    eprintln!("synod: {} holds one secret now", config.peer_secret_file.display());
    Ok(())
}

fn taken(config: &Config) -> Result<Secrets, Refusal> {
    let file = &config.peer_secret_file;
    secret::read(file)?.ok_or_else(|| Refusal::NoPeerSecret { path: file.clone() })
}

/// The secrets in the file `path`, or on standard input for `-`.
fn given(path: &Path) -> Result<Secrets, Refusal> {
    let read = if path == Path::new("-") {
        secret::read_from(io::stdin().lock())
    } else {
        File::open(path).and_then(secret::read_from)
    };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            Refusal::PeerSecretUnusable { path: path.to_owned(), why: error.to_string() }
        }
        _ => Refusal::io("read", path, &error),
    })
}
