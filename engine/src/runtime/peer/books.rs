//! Periodic tasks beside the links, once per node: checking the peer secret's file, and saving the book of
//! other nodes' log positions.

use crate::identity::{HeardBook, SecretBook};
use crate::runtime::complaints::Complaints;
use std::sync::Arc;
use std::time::Duration;

/// Interval between two checks of the secret's file.
const SECRETS_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between two saves of other nodes' log positions.
const HEARD_INTERVAL: Duration = Duration::from_secs(2);

/// Warns if users other than the owner can read or write the peer secret.
pub(crate) fn warn_if_open(secrets: &SecretBook) {
    if secrets.is_open_to_others() {
        let file = secrets.file().display();
        eprintln!(
            "synod: others can read or write {file}, and so be any node of the cluster; chmod 600 \
             {file}"
        );
    }
}

/// Takes over the secrets of the file whenever they change.
pub(super) async fn watch_secrets(secrets: Arc<SecretBook>) {
    // Separate complaints, so that lines about strangers cannot suppress these lines.
    let complaints = Complaints::default();
    loop {
        glommio::timer::sleep(SECRETS_INTERVAL).await;
        let book = Arc::clone(&secrets);
        match glommio::executor().spawn_blocking(move || book.refresh()).await {
            Ok(false) => {}
            Ok(true) => {
                let file = secrets.file().display();
                eprintln!("synod: the content of {file} is taken for the peers' secret now");
                warn_if_open(&secrets);
            }
            Err(refusal) => complaints.say(format!("the peers' secret stays as it was: {refusal}")),
        }
    }
}

/// Makes the reported log positions of other nodes durable.
pub(super) async fn keep_heard(heard: Arc<HeardBook>) {
    let complaints = Complaints::default();
    loop {
        glommio::timer::sleep(HEARD_INTERVAL).await;
        let book = Arc::clone(&heard);
        if let Err(refusal) = glommio::executor().spawn_blocking(move || book.flush()).await {
            complaints.say(format!("the known positions of other nodes' logs are not durable: {refusal}"));
        }
    }
}
