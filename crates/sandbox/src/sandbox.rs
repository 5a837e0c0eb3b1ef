//! Chooses the tier at start and runs jobs in it. Failing closed: a tier that was asked for and cannot be built is an error.
use crate::cgroup::Hierarchy;
use crate::job::{Ended, Finished, Job, Order, Report, SandboxError};
use crate::python::{Python, find_python};
use crate::record::{self, Reaped};
use crate::restrict::landlock_abi;
use crate::tier::{Choice, Tier};
use crate::view::{OWN_ETC, own_etc};
use crate::workspace::{Quota, Workspace};
use crate::{Captured, probe};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest line of a report, bytes.
const MAX_REPORT_BYTES: u64 = 64 << 10;
/// Longest trial run when a tier is chosen.
const TRIAL_TIME: Duration = Duration::from_secs(10);
/// Names of variables that make programs load code or run something; they never reach a program.
const LOADS_CODE: [&str; 16] = [
    "LD_",
    "GCONV_PATH",
    "BASH_ENV",
    "ENV",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYOPT",
    "RUBYLIB",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "LOCPATH",
    "NLSPATH",
    "GLIBC_TUNABLES",
];

/// The program that is started again as the helper, and the arguments that make it one: `maos sandbox-exec`.
#[derive(Debug, Clone)]
pub struct Helper {
    /// Program; `/proc/self/exe` names the running one even after it was replaced on disk.
    pub program: PathBuf,
    /// What comes before the helper's own arguments.
    pub prefix: Vec<String>,
}

/// Why no sandbox can be had.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The tier does not work here.
    #[error("sandbox tier \"{tier}\" cannot be built: {tried}")]
    Tier {
        /// Its name.
        tier: &'static str,
        /// What was tried, and what is missing.
        tried: String,
    },
    /// No tier works.
    #[error("no sandbox can be built, so agents cannot run programs: {tried}")]
    None {
        /// What was tried, and what is missing.
        tried: String,
    },
    /// Off is not for root.
    #[error("programs of agents never run uncontained as root; run MAOS as another user, or use the sandbox")]
    OffAsRoot,
    /// The state folder.
    #[error("{path}: {source}")]
    State {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What `maos health` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The tier in use.
    pub tier: Tier,
    /// Why this one, in words.
    pub why: String,
    /// Landlock's version; 0 if this kernel has none.
    pub landlock_abi: i32,
    /// `v1`, `v2` or `none`.
    pub cgroup: &'static str,
    /// What this tier does not contain here; shown to the operator.
    pub gaps: Vec<String>,
    /// The Python that programs get, and its version; `None` if this machine has none.
    pub python: Option<String>,
}

/// Runs programs of agents.
#[derive(Debug)]
pub struct Sandbox {
    tier: Tier,
    why: String,
    abi: i32,
    cgroups: Hierarchy,
    bubblewrap: Option<PathBuf>,
    python: Option<Python>,
    helper: Helper,
    state_dir: PathBuf,
}

impl Sandbox {
    /// Finds the tier, by really running a program in it, and the Python of this machine. [`Sandbox::reap`] comes before it.
    ///
    /// # Errors
    /// The asked tier, or with [`Choice::Auto`] any tier, cannot be built here.
    pub async fn choose(choice: Choice, helper: Helper, state_dir: &Path) -> Result<Self, Unavailable> {
        Self::choose_with(choice, helper, state_dir, find_program("bwrap")).await
    }

    /// The same with bubblewrap at this place, or without it.
    ///
    /// # Errors
    /// As [`Sandbox::choose`].
    pub async fn choose_with(choice: Choice, helper: Helper, state_dir: &Path, bubblewrap: Option<PathBuf>) -> Result<Self, Unavailable> {
        let root = nix::unistd::geteuid().is_root();
        if choice == Choice::Off && root {
            return Err(Unavailable::OffAsRoot);
        }
        prepare_state(state_dir).map_err(|source| Unavailable::State { path: state_dir.to_owned(), source })?;
        let state_dir = state_dir.canonicalize().map_err(|source| Unavailable::State { path: state_dir.to_owned(), source })?;
        let mut sandbox = Self {
            tier: Tier::Off,
            why: "asked for; programs of agents run without containment".to_owned(),
            abi: landlock_abi(),
            cgroups: Hierarchy::find(),
            bubblewrap,
            python: None,
            helper,
            state_dir,
        };
        // Asking Python takes as long as all the rest, so both are done at once.
        let (python, chosen) = tokio::join!(find_python(), sandbox.try_tiers(choice));
        sandbox.python = python;
        chosen.map(|()| sandbox)
    }

    async fn try_tiers(&mut self, choice: Choice) -> Result<(), Unavailable> {
        // Some systems let bubblewrap make namespaces but not us; others have none of it.
        let namespaces = self.bubblewrap.take().map(Some).into_iter().chain([None]).map(|bubblewrap| (Tier::Namespaces, bubblewrap));
        let candidates: Vec<_> = match choice {
            Choice::Auto => namespaces.chain([(Tier::Lsm, None)]).collect(),
            Choice::Namespaces => namespaces.collect(),
            Choice::Lsm => vec![(Tier::Lsm, None)],
            Choice::Off => return Ok(()),
        };
        let mut refused = Vec::new();
        for (tier, bubblewrap) in candidates {
            (self.tier, self.bubblewrap) = (tier, bubblewrap);
            match self.trial().await {
                Ok(()) => {
                    refused.insert(0, format!("a trial run in {} worked", self.way()));
                    self.why = refused.join("; ");
                    return Ok(());
                }
                Err(why) => refused.push(format!("{}: {why}", self.way())),
            }
        }
        let tried = refused.join("; ");
        Err(if choice == Choice::Auto { Unavailable::None { tried } } else { Unavailable::Tier { tier: self.tier.name(), tried } })
    }

    /// The tier and what builds it.
    fn way(&self) -> &'static str {
        match (self.tier, &self.bubblewrap) {
            (Tier::Namespaces, Some(_)) => "namespaces made by bubblewrap",
            (Tier::Namespaces, None) => "namespaces made by MAOS itself",
            (tier, _) => tier.name(),
        }
    }

    /// Runs a program in the tier that [`Sandbox::tier`] says; without cgroups if they are there but do not let it in.
    async fn trial(&mut self) -> Result<(), String> {
        if self.abi == 0 {
            return Err("this kernel has no Landlock (Linux 5.13 or newer with it enabled is needed)".to_owned());
        }
        let dir = self.state_dir.join("trial");
        let workspace = Workspace::open(&dir, Quota::default()).map_err(|e| format!("{}: {e}", dir.display()))?;
        let workspace = Arc::new(workspace);
        loop {
            let mut job = Job::new(["/bin/sh", "-c", "exit 7"], Arc::clone(&workspace));
            job.limits.wall = TRIAL_TIME;
            let why = match self.run(job).await {
                Ok(done) if done.exit == 7 => return Ok(()),
                Ok(done) => format!("a trial run ended with exit code {}: {}", done.exit, done.stderr.text().trim()),
                Err(error) => error.to_string(),
            };
            if self.cgroups == Hierarchy::None || !why.contains("cgroup") {
                return Err(why);
            }
            self.cgroups = Hierarchy::None;
        }
    }

    /// Ends what a former server left: processes, cgroups, private folders. To be called once at start, before the first run. Blocks for
    /// up to two seconds if supervisors are still at work.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn reap(state_dir: &Path) -> std::io::Result<Reaped> {
        record::reap(state_dir)
    }

    /// How programs are contained.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Programs can reach the egress proxy if a job names its socket: only in tier 2, which gives them a network of their own.
    pub fn can_reach_proxy(&self) -> bool {
        self.tier == Tier::Namespaces
    }

    /// Programs find a `python3`.
    pub fn has_python(&self) -> bool {
        self.python.is_some()
    }

    /// Its version and which well-known packages it has and which not, in words for a model; `None` if there is no `python3`.
    pub fn python_in_words(&self) -> Option<String> {
        self.python.as_ref().map(Python::in_words)
    }

    /// For `maos health`.
    pub fn describe(&self) -> Description {
        let mut gaps = Vec::new();
        let mut gap = |yes: bool, text: &str| {
            if yes {
                gaps.push(text.to_owned());
            }
        };
        gap(self.tier == Tier::Off, "everything: programs of agents can do whatever this user can");
        let lsm = self.tier == Tier::Lsm;
        gap(lsm, "names and sizes of files of this machine can be seen, and public parts of its configuration");
        gap(lsm, "no sockets at all, so servers on loopback cannot be tested; changing modes and times of files has no effect");
        gap(lsm && self.abi < 6, "signals to other processes of this user (Linux 6.12 or newer is needed)");
        gap(self.tier != Tier::Off && self.abi < 3, "truncating is refused altogether (Linux 6.2 or newer is needed)");
        gap(self.cgroups == Hierarchy::None, "memory and processes are limited by watching, which reacts after 50 ms");
        gap(self.tier != Tier::Off && nix::unistd::geteuid().is_root(), "MAOS runs as root; as another user one more border would hold");
        Description {
            tier: self.tier,
            why: self.why.clone(),
            landlock_abi: self.abi,
            cgroup: self.cgroups.name(),
            gaps,
            python: self.python.as_ref().map(|p| format!("{} {}", p.program.display(), p.version)),
        }
    }

    /// Runs a program to its end and leaves nothing of it. Dropping the future kills everything it started.
    ///
    /// # Errors
    /// Nothing ran, or it could not be found out how it ended.
    pub async fn run(&self, job: Job) -> Result<Finished, SandboxError> {
        let program = job.argv.first().cloned().ok_or_else(|| SandboxError::Refused("no program was given".to_owned()))?;
        let order = self.order(job)?;
        let (mut supervisor, stdin, mut out) = self.spawn(&order).await?;
        let ended = loop {
            match next_report(&mut out).await? {
                Report::Started => probe::at("tool.spawned"),
                Report::Setup(why) => return Err(SandboxError::Setup(why)),
                Report::NotRun(why) => return Err(SandboxError::NotRun { program, why }),
                Report::Ended(ended) => break ended,
            }
        };
        let stdout = take(&mut out, ended.stdout).await?;
        let stderr = take(&mut out, ended.stderr).await?;
        probe::at("tool.after_effect");
        probe::at("tool.cleanup");
        // Its end tells the supervisor that the report arrived; now it removes the cgroup.
        drop(stdin);
        let status = supervisor.wait().await.map_err(|e| SandboxError::Supervisor(e.to_string()))?;
        if !status.success() {
            tracing::warn!(run = order.id, "the sandbox's supervisor could not clean up; the next start of the server will");
        }
        Ok(finished(&ended, stdout, stderr, self.tier))
    }

    fn order(&self, job: Job) -> Result<Order, SandboxError> {
        if let Some(name) = job.env.keys().find(|name| loads_code(name)) {
            return Err(SandboxError::Refused(format!("the variable {name} makes programs load code, so it is not passed on")));
        }
        if let Some(bad) = job.argv.iter().find(|part| part.contains('\0')) {
            return Err(SandboxError::Refused(format!("an argument has a NUL character: {}", bad.escape_debug())));
        }
        let mut read_only = job.read_only;
        let mut path_first: Vec<PathBuf> = Vec::new();
        if let Some(python) = &self.python {
            read_only.extend(python.folders.iter().cloned());
            path_first.extend(python.path_first.iter().cloned());
        }
        Ok(Order {
            id: record::fresh_id(),
            tier: self.tier,
            state_dir: self.state_dir.clone(),
            cgroups: self.cgroups.clone(),
            abi: self.abi,
            bubblewrap: self.bubblewrap.clone(),
            argv: job.argv,
            stdin: job.stdin,
            root: job.workspace.root().to_owned(),
            tmp: job.workspace.tmp().to_owned(),
            quota: job.workspace.quota(),
            limits: job.limits,
            env: job.env,
            read_only,
            path_first,
            egress: job.egress.filter(|_| self.can_reach_proxy()),
        })
    }

    async fn spawn(&self, order: &Order) -> Result<(Child, ChildStdin, BufReader<ChildStdout>), SandboxError> {
        let failed = |what: &str, e: std::io::Error| SandboxError::Supervisor(format!("{what}: {e}"));
        let mut line = serde_json::to_vec(order).map_err(|e| SandboxError::Supervisor(e.to_string()))?;
        line.push(b'\n');
        let mut child = Command::new(&self.helper.program)
            .args(&self.helper.prefix)
            .arg("supervise")
            .env_clear()
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed(&format!("starting {}", self.helper.program.display()), e))?;
        let mut stdin = child.stdin.take().expect("the supervisor's input is a pipe");
        let stdout = child.stdout.take().expect("the supervisor's output is a pipe");
        stdin.write_all(&line).await.map_err(|e| failed("giving it the order", e))?;
        Ok((child, stdin, BufReader::new(stdout)))
    }
}

async fn next_report(out: &mut BufReader<ChildStdout>) -> Result<Report, SandboxError> {
    let mut line = Vec::new();
    let read = (&mut *out).take(MAX_REPORT_BYTES).read_until(b'\n', &mut line).await;
    read.map_err(|e| SandboxError::Supervisor(e.to_string()))?;
    serde_json::from_slice(&line).map_err(|e| SandboxError::Supervisor(if line.is_empty() { "it died".to_owned() } else { e.to_string() }))
}

async fn take(out: &mut BufReader<ChildStdout>, end: crate::job::StreamEnd) -> Result<Captured, SandboxError> {
    let (mut head, mut tail) = (vec![0; end.head], vec![0; end.tail]);
    for part in [&mut head, &mut tail] {
        out.read_exact(part).await.map_err(|e| SandboxError::Supervisor(format!("its output ended early: {e}")))?;
    }
    Ok(Captured { head, tail, total: end.total })
}

fn finished(ended: &Ended, stdout: Captured, stderr: Captured, tier: Tier) -> Finished {
    let Ended { exit, stopped, memory_peak, wall_ms, .. } = *ended;
    Finished { exit, stopped, stdout, stderr, memory_peak, wall_ms, tier }
}

fn loads_code(name: &str) -> bool {
    LOADS_CODE.iter().any(|bad| if bad.ends_with('_') { name.starts_with(bad) } else { name == *bad })
        || name.starts_with("BASH_FUNC_")
        || name.contains(['=', '\0'])
        || name.is_empty()
}

/// Files that the sandbox shows as parts of `/etc`, and the folder of records.
fn prepare_state(state_dir: &Path) -> std::io::Result<()> {
    record::prepare(state_dir)?;
    for (name, text) in OWN_ETC {
        let path = own_etc(state_dir).join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
    }
    Ok(())
}

/// A program of this user's `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|full| full.is_absolute() && is_executable(full))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}
