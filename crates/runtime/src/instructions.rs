//! What a project tells the agents that work on it: the `AGENTS.md` files among what a person attached, as they were attached. What an agent
//! makes of such a file in the workspace never becomes instructions.
use crate::error::{Result, RuntimeError};
use crate::node::Node;
use maos_engine::spec::Attachment;
use maos_engine::task::Task;
use std::fmt::Write as _;
use std::path::Path;

/// The name of such a file.
const AGENTS_MD: &str = "AGENTS.md";
/// Most of them that are given to an agent, the ones nearest to the root first.
const FILES_MAX: usize = 8;

/// What they tell the agents of a task; `None` if nothing does.
///
/// # Errors
/// They could not be read.
pub(crate) async fn of_task(node: &Node, task: &Task) -> Result<Option<String>> {
    if task.spec.attachments.is_empty() {
        return Ok(None);
    }
    let (uploads, attached) = (node.data_dir.join("uploads"), task.spec.attachments.clone());
    let read = tokio::task::spawn_blocking(move || given(&uploads, &attached)).await;
    read.map_err(|e| RuntimeError::Files(format!("reading {AGENTS_MD} failed: {e}")))
}

/// The instructions of all of them, each with its folder where that is not the workspace itself. `uploads`: where attached files are kept,
/// by their hash. Blocks.
fn given(uploads: &Path, attachments: &[Attachment]) -> Option<String> {
    let of = |a: &Attachment| {
        let (folder, name) = a.name.rsplit_once('/').unwrap_or(("", &a.name));
        (name == AGENTS_MD).then(|| (folder.to_owned(), a.sha256.clone()))
    };
    let mut files: Vec<(String, String)> = attachments.iter().filter_map(of).collect();
    let depth = |folder: &str| if folder.is_empty() { 0 } else { folder.split('/').count() };
    files.sort_by(|(a, _), (b, _)| depth(a).cmp(&depth(b)).then_with(|| a.cmp(b)));
    let read = |(folder, hash): (String, String)| Some((folder, maos_tools::instructions::given(uploads, &hash)?));
    let texts: Vec<(String, String)> = files.into_iter().filter_map(read).take(FILES_MAX).collect();
    if let [(folder, text)] = texts.as_slice()
        && folder.is_empty()
    {
        return Some(text.clone());
    }
    let mut out = String::new();
    if texts.len() > 1 {
        out.push_str(
            "There are several. Each holds for its folder and all beneath it; where two differ, the one nearest to the file holds.\n",
        );
    }
    for (folder, text) in &texts {
        let _ = write!(
            out,
            "## {}\n{}\n",
            if folder.is_empty() { "In the workspace".to_owned() } else { format!("In {folder}/") },
            text.trim_end()
        );
    }
    (!texts.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_in_a_folder_is_heard_and_the_nearest_file_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let attach = |name: &str, text: &str| {
            let sha256 = format!("hash-of-{}", name.replace('/', "-"));
            std::fs::write(dir.path().join(&sha256), text).unwrap();
            Attachment { name: name.into(), sha256, bytes: text.len() as u64 }
        };
        let (inner, project) = (attach("proj/web/AGENTS.md", "Use spaces.\n"), attach("proj/AGENTS.md", "Use tabs.\n"));
        let other = attach("proj/NOT_AGENTS.md", "no");
        let of = |files: &[&Attachment]| given(dir.path(), &files.iter().map(|a| (*a).clone()).collect::<Vec<_>>());
        assert_eq!(of(&[&other]), None);
        assert_eq!(of(&[&other, &project]).as_deref(), Some("## In proj/\nUse tabs.\n"));
        let both = of(&[&inner, &project]).unwrap();
        assert!(both.ends_with("## In proj/\nUse tabs.\n## In proj/web/\nUse spaces.\n") && both.contains("nearest"), "{both}");
        // One of the workspace itself is given as it is.
        assert_eq!(of(&[&attach("AGENTS.md", "Use tabs.\n")]).as_deref(), Some("Use tabs.\n"));
    }
}
