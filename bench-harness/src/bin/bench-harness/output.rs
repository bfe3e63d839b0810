//! Parts common to all reports: the line about the machine, and the JSON file.

use serde::Serialize;
use std::path::Path;
use synod::node::RunError;
use synod::preflight;

/// The machine, the filesystem of the data, and a warning if the figures would mean nothing.
pub fn describe_machine(dir: &Path) -> String {
    // The directory may not exist yet; one above it does.
    let existing = std::path::absolute(dir).unwrap_or_default();
    let existing = existing.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let filesystem =
        preflight::filesystem(existing).map_or_else(|error| error.to_string(), |found| found.to_string());
    let warning = if cfg!(debug_assertions) { "; WARNING: not a release build" } else { "" };
    format!("{}; {filesystem}{warning}", preflight::describe_machine())
}

/// Writes a report as JSON.
pub fn write_json(path: &Path, what: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(what).expect("plain data with text keys");
    std::fs::write(path, text + "\n")
        .map_err(|error| RunError::Failed(format!("cannot write {}: {error}", path.display())))
}
