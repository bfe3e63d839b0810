//! The end of a node that must not go on.

use crate::identity::DataDir;
use crate::refusal::Refusal;
use crate::voice::{self, NodeEvent};
use synod_replica::Failed;
use synod_types::CoreId;

/// Ends the process: any acknowledgement after this would be false. `panic = "abort"` would do the same; this
/// prints the reason first.
pub(crate) fn fatal(why: &str) -> ! {
    voice::say(None, NodeEvent::Fatal { why });
    std::process::exit(1)
}

/// The result of a step. Ends the process if the log has failed.
pub(crate) fn sound<T>(result: Result<T, Failed>) -> T {
    result.unwrap_or_else(|failed| fatal(&failed.to_string()))
}

/// Ends the process and marks its data directory: it is an old copy of the node's data and is refused from
/// now on.
pub(crate) fn condemn(data: &DataDir, me: CoreId, why: String) -> ! {
    if let Err(refusal) = data.condemn(&why) {
        voice::say(Some(me), NodeEvent::NotCondemned { why: &refusal });
    }
    fatal(&Refusal::Condemned { path: data.path().to_owned(), why }.to_string())
}
