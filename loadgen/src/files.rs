//! The files that a report is written to.

use crate::error::LoadError;
use crate::html;
use crate::options::Options;
use crate::report::Report;
use std::path::PathBuf;

/// Writes the files that the options ask for: JSON and HTML.
///
/// # Errors
/// [`LoadError::File`] for the first file that could not be written.
pub fn write_files(report: &Report, options: &Options) -> Result<(), LoadError> {
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        None => Ok(()),
        Some(path) => std::fs::write(path, text())
            .map_err(|source| LoadError::File { what: format!("report {}", path.display()), source }),
    };
    write(&options.json, &|| report.json())?;
    write(&options.html, &|| html::page(report))
}
