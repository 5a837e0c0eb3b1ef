//! `AGENTS.md`: what a project tells the agents that work on it. Read from what a person gave; never followed through a link.
use crate::beneath;
use std::path::Path;

/// Largest part of it that is used, bytes.
pub const AGENTS_MD_BYTES_MAX: usize = 32 * 1024;

/// The instructions in a file as a person gave it: `file` lies beneath `folder`, where no agent can write. `None` if there is no such file
/// or nothing in it.
pub fn given(folder: &Path, file: &str) -> Option<String> {
    let (mut text, more) = beneath::read_text(folder, Path::new(file), AGENTS_MD_BYTES_MAX).ok()?;
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
    fn only_the_file_itself_counts_and_only_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("given");
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("outside"), "outside").unwrap();
        assert_eq!(given(&root, "a"), None);
        fs::write(root.join("a"), "Use tabs.").unwrap();
        fs::write(root.join("empty"), "  \n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), root.join("link")).unwrap();
        assert_eq!(given(&root, "a").as_deref(), Some("Use tabs."));
        assert_eq!((given(&root, "empty"), given(&root, "link"), given(&root, "../outside")), (None, None, None));
        fs::write(root.join("a"), "x".repeat(100_000)).unwrap();
        let long = given(&root, "a").unwrap();
        assert!(long.len() < AGENTS_MD_BYTES_MAX + 100 && long.contains("cut"));
    }
}
