//! What is asked of the sandbox and what comes back, as plain data; and the same as the supervisor reads and writes it.
use crate::capture::Captured;
use crate::tier::Tier;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::workspace::{Quota, Workspace};

/// Most a program and everything it starts may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all processes together, bytes.
    pub memory_bytes: u64,
    /// CPU time of all processes together, seconds.
    pub cpu_s: u64,
    /// Time until everything is killed.
    pub wall: Duration,
    /// Processes and threads at once.
    pub processes: u64,
    /// Kept of each output stream, bytes: half from its beginning, half from its end.
    pub output_bytes: usize,
    /// Size of one file, bytes.
    pub file_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
}

impl Default for Limits {
    /// 512 MiB, 300 s CPU, 120 s, 128 processes, 64 KiB of output, files of 256 MiB, 1,024 open.
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            cpu_s: 300,
            wall: Duration::from_secs(120),
            processes: 128,
            output_bytes: 64 << 10,
            file_bytes: 256 << 20,
            open_files: 1024,
        }
    }
}

/// A program to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Program and arguments. The program is looked up in the sandbox's `PATH`.
    pub argv: Vec<String>,
    /// What it reads from standard input.
    pub stdin: Vec<u8>,
    /// The task's files; the program starts in their root.
    pub workspace: Arc<Workspace>,
    /// Limits.
    pub limits: Limits,
    /// Set besides the fixed environment. Names that make programs load code (`LD_*`, `BASH_ENV` and the like) are refused.
    pub env: BTreeMap<String, String>,
    /// Folders the program may read and run from besides the system's: a Python environment, a toolchain.
    pub read_only: Vec<PathBuf>,
    /// The Unix socket of the egress proxy. With it, tier 2 offers `HTTP_PROXY` inside; without it there is no network at all.
    pub egress: Option<PathBuf>,
}

impl Job {
    /// A program with default limits, nothing on standard input, and no network.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>, workspace: Arc<Workspace>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            workspace,
            limits: Limits::default(),
            env: BTreeMap::new(),
            read_only: Vec::new(),
            egress: None,
        }
    }
}

/// The limit at which everything was killed, or which made the program fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// [`Limits::memory_bytes`].
    OutOfMemory,
    /// [`Limits::wall`].
    Time,
    /// [`Limits::cpu_s`].
    CpuTime,
    /// [`Limits::processes`].
    Processes,
    /// The quota of the workspace.
    Disk,
}

impl Stopped {
    /// In words a model can act on.
    pub fn explain(self, limits: &Limits, quota: Quota) -> String {
        match self {
            Self::OutOfMemory => format!("it used more than {} MiB of memory", limits.memory_bytes >> 20),
            Self::Time => format!("it ran longer than {} s", limits.wall.as_secs_f64()),
            Self::CpuTime => format!("it used more than {} s of CPU time", limits.cpu_s),
            Self::Processes => format!("it had {} processes or threads, the most allowed at once", limits.processes),
            Self::Disk => format!(
                "the workspace held more than {} MiB or {} files, or one file grew beyond {} MiB",
                quota.bytes >> 20,
                quota.files,
                limits.file_bytes >> 20
            ),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Exit code; 128 + N if signal N ended it.
    pub exit: i32,
    /// The limit that ended it, or made it fail.
    pub stopped: Option<Stopped>,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Most memory all processes used at once, bytes (with a cgroup including cached files).
    pub memory_peak: u64,
    /// From the start of the program to its end, milliseconds.
    pub wall_ms: u64,
    /// How it was contained.
    pub tier: Tier,
}

/// Why a program could not be run. Nothing ran, or nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The job is refused as it is.
    #[error("{0}")]
    Refused(String),
    /// The sandbox was not complete, so the program was not started.
    #[error("the sandbox could not be built, so nothing was run: {0}")]
    Setup(String),
    /// The program does not exist or cannot be executed.
    #[error("cannot run \"{program}\": {why}")]
    NotRun {
        /// Program.
        program: String,
        /// What the system said.
        why: String,
    },
    /// The supervisor ended without a report.
    #[error("the sandbox's supervisor ended without a report ({0}); what it ran is being killed")]
    Supervisor(String),
}

/// What the server tells the supervisor, once, on its standard input, which then stays open as a sign of life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Unique; names the cgroup, the private folder and the record.
    pub(crate) id: String,
    pub(crate) tier: Tier,
    pub(crate) state_dir: PathBuf,
    pub(crate) cgroups: crate::cgroup::Hierarchy,
    pub(crate) abi: i32,
    /// Builds the namespaces of tier 2.
    pub(crate) bubblewrap: Option<PathBuf>,
    pub(crate) argv: Vec<String>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) root: PathBuf,
    pub(crate) tmp: PathBuf,
    pub(crate) quota: Quota,
    pub(crate) limits: Limits,
    pub(crate) env: BTreeMap<String, String>,
    /// Where the interpreter of Python lives, and other folders: readable and executable.
    pub(crate) read_only: Vec<PathBuf>,
    /// Put before the fixed `PATH`.
    pub(crate) path_first: Vec<PathBuf>,
    pub(crate) egress: Option<PathBuf>,
}

/// What the supervisor tells the server, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The program was started.
    Started,
    /// It never ran.
    Setup(String),
    /// It could not be executed.
    NotRun(String),
    /// It ended and nothing is left of it; the kept output follows as bytes, in the order of the lengths.
    Ended(Ended),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) exit: i32,
    pub(crate) stopped: Option<Stopped>,
    pub(crate) memory_peak: u64,
    pub(crate) wall_ms: u64,
    pub(crate) stdout: StreamEnd,
    pub(crate) stderr: StreamEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamEnd {
    pub(crate) head: usize,
    pub(crate) tail: usize,
    pub(crate) total: u64,
}
