//! `AGENTS.md`: what a project tells the agents that work on it. Read fresh each time; never followed through a link.
use crate::beneath;
use std::path::{Component, Path, PathBuf};

/// The file's name.
const FILE: &str = "AGENTS.md";
/// Largest part of it that is used, bytes.
pub const AGENTS_MD_BYTES_MAX: usize = 32 * 1024;

/// Instructions of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
}

/// The instructions in a file as a person gave it: `file` lies beneath `folder`, where no agent can write.
pub fn given(folder: &Path, file: &str) -> Option<String> {
    text(folder, Path::new(file))
}

/// The instructions nearest to a folder of the workspace (a path relative to its root), up to the root. A path that leaves the workspace has none.
pub fn agents_md_for(workspace_root: &Path, folder: &Path) -> Option<Instructions> {
    if !folder.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    folder.ancestors().find_map(|dir| {
        let file = dir.join(FILE);
        text(workspace_root, &file).map(|text| Instructions { file, text })
    })
}

fn text(root: &Path, file: &Path) -> Option<String> {
    let (mut text, more) = beneath::read_text(root, file, AGENTS_MD_BYTES_MAX).ok()?;
    if more {
        text.push_str("\n[… cut: AGENTS.md is longer than 32 KiB …]\n");
    }
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_file_wins_and_links_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        assert_eq!(agents_md_for(&root, Path::new("")), None);
        fs::write(dir.path().join(FILE), "outside").unwrap();
        assert_eq!(agents_md_for(&root, Path::new("a/b")), None);
        fs::write(root.join(FILE), "root").unwrap();
        fs::write(root.join("a/AGENTS.md"), "a").unwrap();
        fs::write(root.join("a/b/AGENTS.md"), "  \n").unwrap();
        std::os::unix::fs::symlink(dir.path().join(FILE), root.join("a/b/c/AGENTS.md")).unwrap();
        assert_eq!(agents_md_for(&root, Path::new("")).unwrap().text, "root");
        assert_eq!(given(&root, "AGENTS.md").unwrap(), "root");
        assert_eq!((given(&root, "../AGENTS.md"), given(&root, "a/b/c/AGENTS.md")), (None, None));
        let found = agents_md_for(&root, Path::new("a/b/c")).unwrap();
        assert_eq!((found.text.as_str(), found.file.to_str().unwrap()), ("a", "a/AGENTS.md"));
        assert_eq!(agents_md_for(&root, Path::new("..")), None);
        assert_eq!(agents_md_for(&root, Path::new("/")), None);
        fs::write(root.join(FILE), "x".repeat(100_000)).unwrap();
        let long = given(&root, "AGENTS.md").unwrap();
        assert!(long.len() < AGENTS_MD_BYTES_MAX + 100 && long.contains("cut"));
    }
}
