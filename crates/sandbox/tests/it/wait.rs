//! Waiting for what the system has no event for: a process that appears or vanishes, a folder of the kernel that goes away.
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            looks.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// Processes whose command line has a word in it.
pub(crate) fn with_word(word: &str) -> Vec<i32> {
    let own = std::process::id().to_string();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && *pid != own)
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(word)))
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Cgroups of runs that a process started.
pub(crate) fn cgroups_of(server: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new("/sys/fs/cgroup"), &format!("maos-{server:x}-"), &mut found);
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    // Cgroups come and go while this walks.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            } else {
                collect(&entry.path(), prefix, found);
            }
        }
    }
}

/// Kills a process by its id.
pub(crate) fn kill_9(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// A word no other test has.
pub(crate) fn unique_word() -> String {
    let dir = tempfile::tempdir().unwrap();
    let name: String = dir.path().file_name().unwrap().to_string_lossy().bytes().map(|b| char::from(b'0' + b % 10)).collect();
    format!("7{}.{name}", std::process::id())
}
