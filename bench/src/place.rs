//! Where things are: the programs beside this one, a directory on the real disk, scripts for the model server.
//!
//! Invariant: everything made here is removed when the bench ends.
use anyhow::{Context, Result, bail};
use maos_chaos::model::ModelServer;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::child::{Done, Job};

/// Programs and a directory.
pub(crate) struct Place {
    programs: PathBuf,
    root: PathBuf,
    next: AtomicUsize,
    /// Smaller runs.
    pub(crate) quick: bool,
}

impl Place {
    /// Builds what is missing beside this program (under cargo) and makes the directory.
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let me = std::env::current_exe()?;
        let programs = me.parent().context("this program lies in a directory")?.to_owned();
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "-p", "maos", "-p", "maos-script"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            if !build.status()?.success() {
                bail!("the programs to be measured cannot be built");
            }
        }
        let root = programs.join(format!("bench-data-{}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        Ok(Self { programs, root, next: AtomicUsize::new(0), quick })
    }

    /// The directory of everything.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A program beside this one.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if !path.exists() {
            bail!("{} is missing: cargo build --release -p maos -p maos-script", path.display());
        }
        Ok(path)
    }

    /// A new, empty directory.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        let dir = self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A model server that plays this script.
    pub(crate) fn model(&self, script: &str) -> Result<ModelServer> {
        let path = self.dir()?.join("script.yml");
        std::fs::write(&path, script)?;
        Ok(ModelServer::start(&self.program("maos-scripted")?, &path, None, 1)?)
    }

    /// Runs a job in a process of its own, on a fresh data directory.
    pub(crate) fn run(&self, job: &Job) -> Result<Done> {
        let mut child = Command::new(std::env::current_exe()?).arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("the child has a stdin")?;
        serde_json::to_writer(stdin, job)?;
        let out = child.wait_with_output()?;
        // The data is not needed any more, and the disk is not ours alone.
        std::fs::remove_dir_all(&job.dir)?;
        if !out.status.success() {
            bail!("the measured process failed: {}", out.status);
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// A job for a model server with the defaults of most rows.
    pub(crate) fn job(&self, model_url: String, tasks: usize) -> Result<Job> {
        Ok(Job { url: model_url, dir: self.dir()?, tasks, one_by_one: false, warm_up: 2, steps_max: 32, turns_max: 24, look_at_ms: None })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root) {
            tracing_free_note(&self.root, &error);
        }
    }
}

#[allow(clippy::print_stderr, reason = "a program for people")]
fn tracing_free_note(root: &Path, error: &std::io::Error) {
    eprintln!("{} could not be removed: {error}", root.display());
}

/// A script: plan of so many parallel steps, agents with so many calls of this latency, then the joining call.
pub(crate) fn script(steps: usize, shape: &str, calls: usize, plan_ms: u64, step_ms: u64) -> String {
    let turns = if calls > 1 {
        format!(
            "  - {{name: work, match: {{has_tool: state_get, turn: \"1-{}\"}}, latency_ms: {step_ms}, reply: {{tool_calls: [{{name: state_get, input: {{key: \"k{{{{turn}}}}\"}}}}]}}}}\n",
            calls - 1
        )
    } else {
        String::new()
    };
    format!(
        "rules:\n  - {{name: plan, match: {{has_tool: submit_plan}}, latency_ms: {plan_ms}, reply: {{plan: {{steps: {steps}, shape: {shape}, agent_type: researcher, instructions: \"look into part\"}}}}}}\n{turns}  - {{name: last, match: {{has_tool: state_get}}, latency_ms: {step_ms}, reply: {{text: \"the output of a step\"}}}}\n  - {{name: join, latency_ms: {plan_ms}, reply: {{text: \"the whole result\"}}}}\n"
    )
}
