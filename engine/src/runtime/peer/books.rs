//! Periodic tasks beside the links, once per node: checking the peer secret's file, and saving the book of
//! other nodes' log positions.

use crate::identity::{HeardBook, SecretBook};
use crate::voice::{self, NodeEvent};
use std::sync::Arc;
use std::time::Duration;

/// Interval between two checks of the secret's file.
const SECRETS_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between two saves of other nodes' log positions.
const HEARD_INTERVAL: Duration = Duration::from_secs(2);

/// Warns if users other than the owner can read or write the peer secret.
pub(crate) fn warn_if_open(secrets: &SecretBook) {
    if secrets.is_open_to_others() {
        voice::say(None, NodeEvent::SecretOpen { file: secrets.file() });
    }
}

/// Takes over the secrets of the file whenever they change.
pub(super) async fn watch_secrets(secrets: Arc<SecretBook>) {
    loop {
        glommio::timer::sleep(SECRETS_INTERVAL).await;
        let book = Arc::clone(&secrets);
        match glommio::executor().spawn_blocking(move || book.refresh()).await {
            Ok(false) => {}
            Ok(true) => {
                voice::say(None, NodeEvent::SecretChanged { file: secrets.file() });
                warn_if_open(&secrets);
            }
            Err(refusal) => voice::say(None, NodeEvent::SecretKept { why: &refusal }),
        }
    }
}

/// Makes the reported log positions of other nodes durable.
pub(super) async fn keep_heard(heard: Arc<HeardBook>) {
    loop {
        glommio::timer::sleep(HEARD_INTERVAL).await;
        let book = Arc::clone(&heard);
        if let Err(refusal) = glommio::executor().spawn_blocking(move || book.flush()).await {
            voice::say(None, NodeEvent::PositionsNotKept { why: &refusal });
        }
    }
}
