//! Results as files: the text and every artifact below one folder, or one artifact on stdout.
//!
//! Invariant: nothing is written outside the folder, whatever names a task gave its files: names are checked, and no link inside the
//! folder is followed.
use super::results::text_of;
use crate::app::App;
use crate::client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::print::text::{CleanWriter, clean_line};
use futures_util::{Stream, StreamExt};
use maos_api::files::{Artifact, bad_name};
use maos_api::tasks::Results;
use maos_api::{Client, ClientError};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

/// File of the result's text.
const TEXT_FILE: &str = "result.md";
/// The same, when a task made a file of that name itself.
const TEXT_FILE_BESIDE: &str = "result-text.md";

/// Writes result and artifacts below `dir`; prints what was written, one path a line.
pub(super) async fn save(app: &App, client: &Client, results: &Results, dir: &Path) -> Result<(), CliError> {
    let fix = format!("maos task results {} --output DIR", results.task_id);
    std::fs::create_dir_all(dir).map_err(|e| CliError::io(format!("create the folder {}", dir.display()), &e, fix.clone()))?;
    // Links above and in the name of the folder are the person's own; below it there must be none.
    let root = std::fs::canonicalize(dir).map_err(|e| CliError::io(format!("find the folder {}", dir.display()), &e, fix.clone()))?;
    let mut written = String::new();
    let mut refused = Vec::new();
    for artifact in &results.artifacts {
        match below(&root, &artifact.name) {
            Ok(path) => {
                let content = open(client, &results.task_id, artifact).await?;
                let file = create(&path).map_err(|e| CliError::io(format!("write {}", path.display()), &e, fix.clone()))?;
                if let Err(error) = copy(content, file).await {
                    // A part of a file could be taken for the whole.
                    drop(std::fs::remove_file(&path));
                    return Err(error);
                }
                written.push_str(&format!("{}\n", dir.join(&artifact.name).display()));
            }
            Err(why) => refused.push(format!("'{}' {why}", clean_line(&artifact.name))),
        }
    }
    if let Some(text) = text_of(results) {
        let own = results.artifacts.iter().any(|a| a.name == TEXT_FILE);
        let name = if own { TEXT_FILE_BESIDE } else { TEXT_FILE };
        let path = below(&root, name).map_err(|why| CliError::new(Exit::Failure, "unsafe-path", format!("{name} {why}"), fix.clone()))?;
        let failed = |e: std::io::Error| CliError::io(format!("write {}", path.display()), &e, fix.clone());
        create(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        written.push_str(&format!("{}\n", dir.join(name).display()));
    }
    app.ui.out(&written)?;
    match refused.as_slice() {
        [] => Ok(()),
        names => {
            Err(CliError::new(Exit::Failure, "unsafe-path", "files with unsafe names were not written", fix).because(names.join("; ")))
        }
    }
}

/// Prints one artifact: as it is, but on a terminal so that it cannot steer it.
pub(super) async fn print_one(app: &App, client: &Client, results: &Results, name: &str) -> Result<(), CliError> {
    let Some(artifact) = results.artifacts.iter().find(|a| a.name == name) else {
        let fix = format!("maos task results {} -o json", results.task_id);
        let names: Vec<String> = results.artifacts.iter().map(|a| clean_line(&a.name)).collect();
        let closest = crate::print::suggest::closest(name, names.iter().map(String::as_str)).map(str::to_owned);
        let why = if names.is_empty() { "it made no files".to_owned() } else { format!("files: {}", names.join(", ")) };
        let message = format!("{} has no file '{}'", results.task_id, clean_line(name));
        return Err(CliError::new(Exit::NotFound, "artifact-not-found", message, fix).because(why).similar(closest));
    };
    let content = open(client, &results.task_id, artifact).await?;
    if !app.ui.out_tty {
        return copy(content, std::io::stdout().lock()).await;
    }
    let mut terminal = CleanWriter::new(std::io::stdout().lock());
    copy(content, &mut terminal).await?;
    terminal.end().map_err(write_failed)
}

async fn open(
    client: &Client,
    task: &str,
    artifact: &Artifact,
) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + Send + 'static + use<>, CliError> {
    client.artifact(task, &artifact.name, artifact.bytes).await.map_err(client::error)
}

async fn copy(content: impl Stream<Item = Result<Vec<u8>, ClientError>>, mut to: impl Write) -> Result<(), CliError> {
    let mut content = pin!(content);
    while let Some(chunk) = content.next().await {
        to.write_all(&chunk.map_err(client::error)?).map_err(write_failed)?;
    }
    to.flush().map_err(write_failed)
}

fn write_failed(error: std::io::Error) -> CliError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => CliError::silent(Exit::BrokenPipe),
        _ => CliError::io("write the file", &error, "maos task results --help"),
    }
}

/// The path of a name below the folder, whose parents then exist. The error says why not.
fn below(root: &Path, name: &str) -> Result<PathBuf, String> {
    if let Some(why) = bad_name(name) {
        return Err(why);
    }
    let mut path = root.to_owned();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        let meta = std::fs::symlink_metadata(&path);
        match (meta, parts.peek().is_some()) {
            (Ok(meta), _) if meta.is_symlink() => return Err(format!("leads through the link {}", path.display())),
            (Ok(meta), true) if !meta.is_dir() => return Err(format!("needs a folder where {} is", path.display())),
            (Ok(meta), false) if meta.is_dir() => return Err(format!("is a folder already ({})", path.display())),
            (Ok(_), _) => {}
            (Err(e), true) if e.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir(&path).map_err(|e| format!("needs the folder {}: {e}", path.display()))?;
            }
            (Err(e), false) if e.kind() == std::io::ErrorKind::NotFound => {}
            (Err(e), _) => return Err(format!("cannot be looked at: {e}")),
        }
    }
    Ok(path)
}

/// Opens a file for writing. A link that took its place meanwhile is not followed.
fn create(path: &Path) -> std::io::Result<File> {
    let no_follow = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(no_follow).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        assert_eq!(below(&root, "a/b/c.txt").unwrap(), root.join("a/b/c.txt"));
        assert!(root.join("a/b").is_dir());
        for name in ["../x", "/etc/passwd", "a/../../x", "", "a//b", "a\0"] {
            assert!(below(&root, name).is_err(), "{name:?}");
        }
        std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
        assert!(below(&root, "out/x").unwrap_err().contains("link"));
        std::os::unix::fs::symlink(outside.path().join("y"), root.join("file")).unwrap();
        assert!(below(&root, "file").unwrap_err().contains("link"));
        assert!(create(&root.join("file")).is_err(), "also when the check came too early");
        assert!(below(&root, "a").unwrap_err().contains("folder"));
        std::fs::write(root.join("plain"), "x").unwrap();
        assert!(below(&root, "plain/x").unwrap_err().contains("needs a folder"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
