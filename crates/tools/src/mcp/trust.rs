//! Project files (`.mcp.json`) name programs to run, so they count only after the operator said so, and only as they were then.
//!
//! Invariant: the bytes whose digest was compared are the bytes that are used.
use crate::mcp::config::{FILE_BYTES_MAX, read_text};
use crate::mcp::names::hex_digest;
use crate::private_file;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of a project's file.
const PROJECT_FILE: &str = ".mcp.json";

/// Trusted files: path and SHA-256 of the content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Trusted {
    files: BTreeMap<PathBuf, String>,
}

/// Trusts a project's file as it is now; `path` is the file or its folder. Gives the file and its text.
///
/// # Errors
/// A sentence: it cannot be read, or our record cannot be written.
pub fn trust(record: &Path, path: &Path) -> Result<(PathBuf, String), String> {
    let file = if path.is_dir() { path.join(PROJECT_FILE) } else { path.to_owned() };
    let file = file.canonicalize().map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
    let text = read_text(&file).and_then(|t| t.ok_or_else(|| "does not exist".to_owned()));
    let text = text.map_err(|e| format!("{} {e}", file.display()))?;
    let digest = hex_digest(text.as_bytes());
    let written = private_file::update(record, |trusted: &mut Trusted| {
        trusted.files.insert(file.clone(), digest);
        (true, ())
    });
    written.map_err(|e| format!("{} cannot be written: {e}", record.display()))?;
    Ok((file, text))
}

/// The texts of all trusted files that have not changed since.
pub(super) fn trusted_texts(record: &Path) -> (Vec<(PathBuf, String)>, Vec<Problem>) {
    let (mut texts, mut problems) = (Vec::new(), Vec::new());
    let trusted: Trusted = match private_file::read(record) {
        Ok(trusted) => trusted,
        Err(e) => return (texts, vec![Problem::error(record, "", format!("no project file is used: {e}"))]),
    };
    for (file, digest) in trusted.files {
        match read_text(&file) {
            Ok(Some(text)) if hex_digest(text.as_bytes()) == digest => texts.push((file, text)),
            Ok(Some(_)) => {
                let text = format!("has changed since it was trusted and is not used; look at it, then: maos mcp trust {}", file.display());
                problems.push(Problem::warning(&file, "", text));
            }
            Ok(None) => problems.push(Problem::warning(&file, "", "was trusted but is gone")),
            Err(text) => problems.push(Problem::warning(&file, "", format!("{text} (at most {FILE_BYTES_MAX} bytes)"))),
        }
    }
    (texts, problems)
}
