//! A note on disk for each run under way, so that the next start of the server finds what a supervisor could not clean up.
//!
//! Invariant: a record is written before anything it names exists and removed after the last of it is gone. A process is named by its id
//! and the moment it began, so another one with the same id is never touched.
use crate::cgroup::Group;
use crate::processes;
use crate::workspace::remove_folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Environment variable with the run's name, in every process of it that keeps its environment.
pub(crate) const RUN_VARIABLE: &str = "MAOS_RUN";
/// How long supervisors of a former server get to end by themselves.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what they left may take to die.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Folder of the records.
const FOLDER: &str = "runs";

/// A name for a run, unique on this machine as long as it runs.
pub(crate) fn fresh_id() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}-{:x}", std::process::id(), now.as_nanos(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// One run under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    id: String,
    boot: String,
    supervisor: i32,
    began: u64,
    group: Group,
    tmp: Option<PathBuf>,
}

/// What [`crate::Sandbox::reap`] found and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Runs of a former server that were still on record.
    pub runs: usize,
    /// Processes killed.
    pub processes: usize,
}

impl Record {
    /// For a run that this process supervises.
    pub(crate) fn new(id: &str, group: Group, tmp: Option<PathBuf>) -> Self {
        let own = nix::unistd::getpid().as_raw();
        let began = processes::look(own).map_or(0, |seen| seen.began);
        Self { id: id.to_owned(), boot: processes::boot_id(), supervisor: own, began, group, tmp }
    }

    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<()> {
        fs::write(path(state_dir, &self.id), serde_json::to_vec(self).map_err(io::Error::from)?)
    }

    pub(crate) fn remove(&self, state_dir: &Path) -> io::Result<()> {
        fs::remove_file(path(state_dir, &self.id))
    }

    fn supervisor_lives(&self) -> bool {
        processes::look(self.supervisor).is_some_and(|seen| seen.began == self.began && !seen.zombie)
    }

    /// Everything of the run that is alive, without its supervisor.
    fn processes(&self) -> Vec<i32> {
        let mut found = self.group.pids();
        found.extend(processes::with_env(&format!("{RUN_VARIABLE}={}", self.id)));
        if self.supervisor_lives() {
            found.extend(processes::descendants(self.supervisor).iter().map(|seen| seen.pid));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn path(state_dir: &Path, id: &str) -> PathBuf {
    state_dir.join(FOLDER).join(format!("{id}.json"))
}

/// Makes the folder of the records.
pub(crate) fn prepare(state_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(state_dir.join(FOLDER))
}

/// Ends whatever a former server left. Supervisors notice its death themselves, so they get some time first.
pub(crate) fn reap(state_dir: &Path) -> io::Result<Reaped> {
    let mut reaped = Reaped::default();
    let folder = state_dir.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(reaped),
        other => other?,
    };
    let since = Instant::now();
    for entry in entries {
        let file = entry?.path();
        let record: Record = match fs::read(&file).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(record)) => record,
            // Cleaned up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // Cut off by a crash in the middle of writing: nothing of the run existed yet.
            Ok(Err(_)) => {
                fs::remove_file(&file)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        reaped.runs += 1;
        if record.boot == processes::boot_id() {
            while record.supervisor_lives() && since.elapsed() < PATIENCE {
                std::thread::sleep(PAUSE);
            }
            reaped.processes += end(&record)?;
        }
        record.group.remove()?;
        record.tmp.as_deref().map_or(Ok(()), remove_folder)?;
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(reaped)
}

/// Kills a run and its supervisor. How many processes that were.
fn end(record: &Record) -> io::Result<usize> {
    let (since, mut ended) = (Instant::now(), std::collections::BTreeSet::new());
    loop {
        let mut alive = record.processes();
        if record.supervisor_lives() {
            alive.push(record.supervisor);
        }
        alive.retain(|pid| processes::look(*pid).is_some_and(|seen| !seen.zombie));
        if alive.is_empty() {
            return Ok(ended.len());
        }
        if since.elapsed() > KILL_PATIENCE {
            return Err(io::Error::other(format!("processes {alive:?} of a former run could not be killed")));
        }
        record.group.kill();
        for pid in alive {
            ended.insert(pid);
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(PAUSE);
    }
}
