//! The file a running server leaves in `$MAOS_HOME/run/`: who it is and where it listens.
use super::process;
use crate::home::{Home, create_private_dir, write_private};
use serde::{Deserialize, Serialize};

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// Process id.
    pub(crate) pid: u32,
    /// The kernel's start time of that process.
    pub(crate) process_started: u64,
    /// Version of the program.
    pub(crate) version: String,
    /// A random word, new at every start.
    pub(crate) incarnation: String,
    /// Address of the API.
    pub(crate) api: String,
    /// Address of the second listener (the dashboard's).
    pub(crate) dashboard: Option<String>,
    /// When it was ready, RFC 3339.
    pub(crate) started_at: String,
    /// The flags it was started with, for `maos restart`.
    pub(crate) flags: Vec<String>,
}

impl RunFile {
    /// The server of this home folder, if its process is alive.
    pub(crate) fn read_live(home: &Home) -> Option<Self> {
        Self::read(home).filter(|run| process::start_time(run.pid) == Some(run.process_started))
    }

    /// The file as it is; `None` when there is none or it cannot be read (a crash may have cut it).
    pub(crate) fn read(home: &Home) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.run_file()).ok()?).ok()
    }

    /// Writes it.
    pub(crate) fn write(&self, home: &Home) -> std::io::Result<()> {
        create_private_dir(&home.run())?;
        write_private(&home.run_file(), &serde_json::to_vec_pretty(self)?)
    }

    /// Removes it, unless another server has written its own meanwhile.
    pub(crate) fn remove(&self, home: &Home) {
        if Self::read(home).is_some_and(|run| run.incarnation == self.incarnation) {
            // A left-over file does no harm: its process is gone, and readers check that.
            drop(std::fs::remove_file(home.run_file()));
        }
    }
}
