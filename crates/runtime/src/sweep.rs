//! Takes away what nobody needs any more: uploads that no task names, pieces of uploads that were cut off, the workspaces of tasks that ended
//! long ago.
//!
//! Invariant: nothing of a task that has not ended is removed, and no upload that a task names (it may be tried again).
use crate::Runtime;
use crate::clock;
use crate::error::{Result, RuntimeError};
use crate::node::Node;
use maos_engine::Time;
use maos_engine::event::Event;
use maos_engine::summary::Summary;
use maos_sandbox::remove_folder;
use maos_store::{Filter, ListedTask, PAGE_ROWS_MAX, Page};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Pause between two sweeps.
const EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How long an upload waits for a task that names it.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How the folder of a workspace is called while it is removed.
const GOING: &str = ".going-";

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Uploads, and pieces of some.
    pub uploads: usize,
    /// Workspaces.
    pub workspaces: usize,
}

impl Runtime {
    /// Removes what is not needed any more at the time `now`. Done by itself, at the start and every six hours.
    ///
    /// # Errors
    /// The store or the folders cannot be read.
    pub async fn sweep(&self, now: Time) -> Result<Swept> {
        sweep(&self.node, now).await
    }
}

/// Sweeps until the node stops.
pub(crate) async fn sweep_loop(node: Arc<Node>) {
    loop {
        let swept = tokio::select! {
            () = node.stopping.cancelled() => return,
            swept = sweep(&node, clock::now()) => swept,
        };
        match swept {
            Ok(swept) if swept != Swept::default() => {
                tracing::info!(
                    component = "orchestrator",
                    "removed {} uploads and {} workspaces that nobody needs any more",
                    swept.uploads,
                    swept.workspaces
                );
            }
            Ok(_) => {}
            Err(error) => tracing::error!(component = "orchestrator", "tidying up failed and is tried again later: {error}"),
        }
        tokio::select! {
            () = node.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn sweep(node: &Arc<Node>, now: Time) -> Result<Swept> {
    Ok(Swept { workspaces: workspaces(node, now).await?, uploads: uploads(node, now).await? })
}

/// Whether the files of a task that is as this row says may be gone: it ended longer ago than files are kept.
pub(crate) fn long_ended(terminal: bool, finished_at: Option<Time>, keep: Option<Duration>, now: Time) -> bool {
    let kept_ms = keep.map(|k| u64::try_from(k.as_millis()).unwrap_or(u64::MAX));
    terminal && finished_at.zip(kept_ms).is_some_and(|(end, kept)| now.since_ms(end) >= kept)
}

async fn workspaces(node: &Arc<Node>, now: Time) -> Result<usize> {
    let folder = node.data_dir.join("workspaces");
    let keep = node.settings().workspace_keep;
    for path in entries(&folder)? {
        let Some(id) = path.file_name().and_then(|n| n.to_str()).filter(|n| !n.starts_with(GOING)) else { continue };
        // Whoever opens a workspace waits: between the look at the task and the removal it cannot be taken up again unseen.
        let _held = node.opening.lock().await;
        let Some(row) = node.store.row(id).await? else { continue };
        let ended = serde_json::from_str::<Summary>(&row.row.json).ok().and_then(|s| s.finished_at);
        if long_ended(row.row.terminal, ended, keep, now) {
            std::fs::rename(&path, folder.join(format!("{GOING}{id}"))).map_err(|e| failed(&path, &e))?;
        }
    }
    // Those too that a former sweep could not finish.
    let going: Vec<PathBuf> =
        entries(&folder)?.into_iter().filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(GOING))).collect();
    let count = going.len();
    blocking(move || going.iter().try_for_each(|path| remove_folder(path).map_err(|e| failed(path, &e)))).await?;
    Ok(count)
}

async fn uploads(node: &Arc<Node>, now: Time) -> Result<usize> {
    let folder = node.data_dir.join("uploads");
    let now = clock::of_files(now);
    let old = move |path: &Path| -> io::Result<bool> {
        let meta = std::fs::metadata(path)?;
        Ok(meta.is_file() && now.duration_since(meta.modified()?).is_ok_and(|age| age >= UPLOAD_KEPT))
    };
    let (mut kept, mut candidates) = (0, vec![]);
    for path in entries(&folder)? {
        match old(&path) {
            Ok(true) => candidates.push(path),
            Ok(false) => kept += std::fs::metadata(&path).map_or(0, |m| m.len()),
            // A piece that has become a whole upload meanwhile is counted there.
            Err(_) => {}
        }
    }
    let named = if candidates.is_empty() { BTreeSet::new() } else { named(node).await? };
    let mut removed = 0;
    let _held = node.uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for path in candidates {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // Looked at once more: a submission that names it makes it new before it is committed.
        if !named.contains(&name) && old(&path).unwrap_or(false) {
            std::fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
            removed += 1;
        } else {
            kept += std::fs::metadata(&path).map_or(0, |m| m.len());
        }
    }
    node.uploads_bytes.store(kept, Ordering::Relaxed);
    Ok(removed)
}

/// The attachments of all tasks, by hash.
async fn named(node: &Node) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    let mut after = None;
    loop {
        let page = Page { after: after.take(), limit: PAGE_ROWS_MAX, ..Page::default() };
        let rows = node.store.list(Filter::default(), page).await?;
        for row in &rows {
            let first = node.store.read(&row.task, 0, 1).await?;
            // Not knowing what a task names is a reason to remove nothing.
            for entry in &first {
                let event = serde_json::from_str::<Event>(&entry.body);
                let event = event.map_err(|e| RuntimeError::Unreadable { task: row.task.clone(), seq: 1, why: e.to_string() })?;
                if let Event::Submitted { spec } = event {
                    named.extend(spec.attachments.into_iter().map(|a| a.sha256));
                }
            }
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE_ROWS_MAX as usize => after = Some(ListedTask::cursor(last)),
            _ => return Ok(named),
        }
    }
}

/// What stands in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(all) => all.map(|e| e.map(|e| e.path())).collect::<io::Result<_>>().map_err(|e| failed(folder, &e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(failed(folder, &error)),
    }
}

/// Removes pieces of uploads that a former process left, and counts what there is. Called before anything is received.
pub(crate) fn begin(node: &Node) -> Result<()> {
    let mut bytes = 0;
    for path in entries(&node.data_dir.join("uploads"))? {
        if path.extension().is_some_and(|e| e == "tmp") {
            std::fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
        } else {
            bytes += std::fs::metadata(&path).map_err(|e| failed(&path, &e))?.len();
        }
    }
    node.uploads_bytes.store(bytes, Ordering::Relaxed);
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::Files(format!("{}: {error}", path.display()))
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(|e| RuntimeError::Files(format!("removing files failed: {e}")))?
}
