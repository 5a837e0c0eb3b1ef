//! Notes on running children, so that the next start can end one that was left over.
//!
//! The kernel ends the child with us on Linux; this is the second line of defence, and the only one for a `llama-server` binary on
//! other systems. A note names child and owner by pid *and* start time, since pids are used again. A child whose owner lives is never
//! touched: several servers may share a folder.
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::LocalError;

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Start time in clock ticks since boot.
    started: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pair {
    child: Process,
    owner: Process,
}

/// The note on one child; removed when dropped.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    /// Notes that this process owns the child `pid`. `None` where start times cannot be read.
    pub(super) fn write(home: &Path, pid: u32) -> Result<Option<Self>, LocalError> {
        let owner = i32::try_from(std::process::id()).ok().and_then(Process::now);
        let (Some(child), Some(owner)) = (i32::try_from(pid).ok().and_then(Process::now), owner) else {
            return Ok(None);
        };
        let dir = run_dir(home);
        fs::create_dir_all(&dir).map_err(|e| LocalError::io("create", &dir, &e))?;
        let path = dir.join(format!("local-model-{pid}.json"));
        let text = serde_json::to_vec(&Pair { child, owner }).expect("four numbers are JSON");
        fs::write(&path, text).map_err(|e| LocalError::io("write", &path, &e))?;
        Ok(Some(Self { path }))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // A note that stays is harmless: it names a process that is gone, and the next start removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Ends every child in the notes whose owner is gone, and removes their notes.
pub(super) fn reap(home: &Path) {
    let Ok(entries) = fs::read_dir(run_dir(home)) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        let is_note = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("local-model-") && n.ends_with(".json"));
        let Some(pair) = is_note.then(|| fs::read(&path).ok()).flatten().and_then(|raw| serde_json::from_slice::<Pair>(&raw).ok()) else {
            continue;
        };
        if pair.owner.lives() {
            continue;
        }
        if pair.child.lives() {
            tracing::warn!(pid = pair.child.pid, "ending a local model server whose owner is gone");
            // It may end by itself between the look and the signal; then there is nothing left to do.
            let _ = kill(Pid::from_raw(pair.child.pid), Signal::SIGKILL);
        }
        let _ = fs::remove_file(&path);
    }
}

fn run_dir(home: &Path) -> PathBuf {
    home.join("run")
}

impl Process {
    /// The process that has this pid now; none for a pid that is free or only waits to be reaped.
    fn now(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold spaces and parentheses: fields are counted from the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    fn lives(self) -> bool {
        Self::now(self.pid) == Some(self)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn put(home: &Path, child: Process, owner: Process) -> PathBuf {
        fs::create_dir_all(run_dir(home)).unwrap();
        let path = run_dir(home).join(format!("local-model-{}.json", child.pid));
        fs::write(&path, serde_json::to_vec(&Pair { child, owner }).unwrap()).unwrap();
        path
    }

    #[test]
    fn a_child_without_an_owner_is_ended_and_a_stranger_with_its_pid_is_not() {
        use std::os::unix::process::ExitStatusExt;
        let home = tempfile::tempdir().unwrap();
        let (mut orphan, mut stranger, mut owned) = (sleeper(), sleeper(), sleeper());
        let me = Process::now(i32::try_from(std::process::id()).unwrap()).unwrap();
        let gone = Process { started: me.started + 1, ..me };
        let notes = [
            put(home.path(), Process::now(pid(&orphan)).unwrap(), gone),
            put(home.path(), Process { pid: pid(&stranger), started: 1 }, gone),
            put(home.path(), Process::now(pid(&owned)).unwrap(), me),
        ];
        reap(home.path());
        assert_eq!(orphan.wait().unwrap().signal(), Some(9));
        assert_eq!(notes.map(|n| n.exists()), [false, false, true]);
        for child in [&mut stranger, &mut owned] {
            assert!(child.try_wait().unwrap().is_none(), "must still run");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_note_is_gone_with_its_child() {
        let home = tempfile::tempdir().unwrap();
        let note = Note::write(home.path(), std::process::id()).unwrap().unwrap();
        let path = note.path.clone();
        assert!(path.exists());
        reap(home.path());
        assert!(path.exists(), "its owner lives");
        drop(note);
        assert!(!path.exists());
    }
}
