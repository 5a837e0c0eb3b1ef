//! Files given with a task: found, named as they will stand in the workspace, uploaded.
//!
//! Invariant: nothing is sent before every name and size is known to be fine.
use crate::app::App;
use crate::client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::print::text::clean_line;
use futures_util::stream;
use maos_api::Client;
use maos_api::files::{Attachment, bad_name};
use maos_api::limits::{ATTACHMENTS_MAX, FILE_BYTES_MAX};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Deepest folder that is looked into.
const FOLDERS_DEEP_MAX: usize = 32;

const FIX: &str = "maos task submit --help";

/// A file to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    path: PathBuf,
    bytes: u64,
}

/// The files that were named, and those in the folders that were named, by their names in the workspace.
pub(super) fn find(app: &App, given: &[PathBuf]) -> Result<BTreeMap<String, Found>, CliError> {
    let (mut files, mut left_out) = (BTreeMap::new(), 0_usize);
    for path in given {
        let name = name_of(path);
        add(path, &name, 0, &mut files, &mut left_out)?;
    }
    if left_out > 0 {
        app.ui.note(&format!("{left_out} hidden files and links in folders were left out; name a file to attach it"));
    }
    Ok(files)
}

/// The last part of a path: a file stands at the top of the workspace, a folder in its own name. What is in `.` stands at the top.
fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn add(path: &Path, name: &str, depth: usize, files: &mut BTreeMap<String, Found>, left_out: &mut usize) -> Result<(), CliError> {
    let shown = clean_line(&path.display().to_string());
    let failed = |e: std::io::Error| CliError::usage(format!("cannot read {shown}"), FIX).because(e.to_string());
    let meta = std::fs::metadata(path).map_err(failed)?;
    if meta.is_dir() {
        if depth > FOLDERS_DEEP_MAX {
            return Err(CliError::usage(format!("{shown} is more than {FOLDERS_DEEP_MAX} folders deep"), FIX));
        }
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let part = entry.file_name().to_string_lossy().into_owned();
            if part.starts_with('.') || entry.file_type().map_err(failed)?.is_symlink() {
                *left_out += 1;
                continue;
            }
            let below = if name.is_empty() { part } else { format!("{name}/{part}") };
            add(&entry.path(), &below, depth + 1, files, left_out)?;
        }
        return Ok(());
    }
    if !meta.is_file() {
        return Err(CliError::usage(format!("{shown} is neither a file nor a folder"), FIX));
    }
    if let Some(why) = bad_name(name) {
        return Err(CliError::usage(format!("{shown} cannot be attached"), FIX).because(format!("its name {why}")));
    }
    if meta.len() > FILE_BYTES_MAX {
        let why = format!("it has {} MiB; at most {} MiB are allowed", meta.len() >> 20, FILE_BYTES_MAX >> 20);
        return Err(CliError::usage(format!("{shown} is too large to be attached"), FIX).because(why));
    }
    if let Some(other) = files.insert(name.to_owned(), Found { path: path.to_owned(), bytes: meta.len() }) {
        let why = format!("{} and {shown} would both be '{name}'", clean_line(&other.path.display().to_string()));
        return Err(CliError::usage("two attached files have the same name", FIX).because(why));
    }
    if files.len() > ATTACHMENTS_MAX {
        return Err(CliError::usage(format!("more than {ATTACHMENTS_MAX} files to attach"), FIX));
    }
    Ok(())
}

/// Uploads them.
pub(super) async fn upload(app: &App, client: &Client, files: BTreeMap<String, Found>) -> Result<Vec<Attachment>, CliError> {
    let mut out = Vec::with_capacity(files.len());
    for (name, found) in files {
        let file = tokio::fs::File::open(&found.path).await.map_err(|e| CliError::io(format!("read {}", found.path.display()), &e, FIX))?;
        // A file that grows meanwhile is sent as it was when it was found.
        let chunks = stream::try_unfold(file.take(found.bytes), |mut file| async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            let n = file.read(&mut chunk).await?;
            chunk.truncate(n);
            Ok::<_, std::io::Error>((n > 0).then_some((chunk, file)))
        });
        let uploaded = client.upload_file(chunks, found.bytes).await.map_err(client::error)?;
        if uploaded.bytes != found.bytes {
            let message = format!("{} became shorter while it was sent", found.path.display());
            return Err(CliError::new(Exit::Failure, "file-changed", message, FIX));
        }
        out.push(Attachment { name, file_id: uploaded.file_id });
    }
    if app.ui.err_tty && !out.is_empty() {
        app.ui.note(&format!("Attached {}", if out.len() == 1 { clean_line(&out[0].name) } else { format!("{} files", out.len()) }));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_workspace() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(
            [name("data.csv"), name("./a/b.csv"), name("/tmp/x/c.csv"), name("../d.csv"), name(".")],
            ["data.csv", "b.csv", "c.csv", "d.csv", ""]
        );
    }
}
