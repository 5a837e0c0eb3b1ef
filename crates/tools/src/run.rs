//! The tools that run programs: shell and Python, always in the sandbox.
//!
//! Invariant: nothing here starts a process itself, and no command line is put together from text: the model's text is one argument, or
//! standard input.
use crate::arguments::{Arguments, schema};
use crate::files::line_of;
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use crate::turns::{Turn, Turns};
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::ids::AgentId;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use maos_sandbox::{Captured, Entry, Finished, Job, Kind, Limits, Sandbox, SandboxError, Tier, Workspace};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Kept of each output stream, bytes.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// Longest shell command, bytes; the kernel takes no longer argument.
const MAX_COMMAND_BYTES: usize = 120 << 10;
/// Longest Python program, bytes.
const MAX_CODE_BYTES: usize = 1 << 20;
/// Longest time that can be asked for, seconds.
const MAX_TIMEOUT_S: u64 = 600;
/// Time if none is asked for, seconds.
const TIMEOUT_S: u64 = 120;
/// CPU seconds for each second of time: programs may use several processors.
const CPU_PER_SECOND: u64 = 4;
/// Programs that may always run at once, however few processors there are: most of their time they wait.
const AT_ONCE_MIN: usize = 4;
/// What Python says when a package is not there.
const MISSING_PACKAGE: &str = "ModuleNotFoundError: No module named ";
/// Most names of changed files in a result.
const MAX_CHANGED: usize = 50;
/// Most files that are compared before and after.
const MAX_COMPARED: usize = 10_000;

/// Turns of programs: of each agent one after the other, so that its limit of memory is its own and not that of each call; of all agents
/// as many as there are processors, and [`AT_ONCE_MIN`].
pub fn turns() -> Turns {
    Turns::one_each(std::thread::available_parallelism().map_or(AT_ONCE_MIN, usize::from).max(AT_ONCE_MIN))
}

/// The way of programs to the network.
#[derive(Debug, Clone)]
pub struct Network {
    /// The socket of the egress proxy, which has the rules.
    pub socket: PathBuf,
    /// The operator lets agents send data to every host behind it.
    pub allowed: bool,
}

/// Both tools. `network`: if programs may use it. `turns`: the same for all tools of a node.
pub fn tools(sandbox: &Arc<Sandbox>, network: Option<Network>, turns: &Arc<Turns>) -> Vec<Arc<dyn Tool>> {
    let network = network.filter(|_| sandbox.can_reach_proxy());
    let tool = |language| {
        let (sandbox, turns) = (Arc::clone(sandbox), Arc::clone(turns));
        Arc::new(RunTool { language, sandbox, network: network.clone(), turns }) as Arc<dyn Tool>
    };
    let mut tools = vec![tool(Language::Shell)];
    // Without a Python on this machine the tool is not offered.
    if sandbox.has_python() {
        tools.push(tool(Language::Python));
    }
    tools
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Shell,
    Python,
}

#[derive(Debug)]
struct RunTool {
    language: Language,
    sandbox: Arc<Sandbox>,
    network: Option<Network>,
    turns: Arc<Turns>,
}

/// Checked arguments.
struct Wanted {
    text: String,
    timeout: Duration,
}

impl RunTool {
    fn argument(&self) -> (&'static str, usize) {
        match self.language {
            Language::Shell => ("command", MAX_COMMAND_BYTES),
            Language::Python => ("code", MAX_CODE_BYTES),
        }
    }

    fn parse(&self, args: &Value) -> Result<Wanted, String> {
        let (name, max) = self.argument();
        let a = Arguments::of(args)?;
        a.only(&[name, "timeout_s"])?;
        let text = a.text(name)?;
        if text.trim().is_empty() {
            return Err(format!("{name} is empty"));
        }
        if text.len() > max {
            return Err(format!(
                "{name} has {} bytes, at most {max} are possible; write it to a file with write_file and run that",
                text.len()
            ));
        }
        if text.contains('\0') {
            return Err(format!("{name} has a NUL character"));
        }
        let timeout = a.whole("timeout_s", 1, MAX_TIMEOUT_S)?.unwrap_or(TIMEOUT_S);
        Ok(Wanted { text, timeout: Duration::from_secs(timeout) })
    }

    fn job(&self, wanted: Wanted, call: &Call) -> Job {
        let workspace = Arc::clone(&call.workspace);
        let wall = wanted.timeout.min(call.timeout);
        let mut job = match self.language {
            Language::Shell => Job::new([shell(), "-c", &wanted.text], workspace),
            Language::Python => {
                let mut job = Job::new(["python3", "-"], workspace);
                job.stdin = wanted.text.into_bytes();
                job
            }
        };
        job.limits = Limits {
            memory_bytes: call.memory_bytes,
            wall,
            cpu_s: (wall.as_secs() + 1) * CPU_PER_SECOND,
            output_bytes: MAX_OUTPUT_BYTES,
            ..Limits::default()
        };
        job.egress = self.network.as_ref().map(|n| n.socket.clone());
        job
    }
}

/// Models write for Bash; where there is none, the system's shell.
fn shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

#[async_trait]
impl Tool for RunTool {
    fn spec(&self) -> ToolSpec {
        let (name, _) = self.argument();
        let network = if self.network.is_some() { "the network only through a proxy with rules" } else { "no network" };
        let timeout = json!({"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_S, "description": "Seconds; 120 if missing"});
        let (tool, what, text) = match self.language {
            Language::Shell => ("run_shell", "a shell command", "The command, such as: python3 -m pytest -q"),
            Language::Python => {
                ("run_python", "a Python program", "The program; a plot is saved to a file, such as plt.savefig(\"chart.png\")")
            }
        };
        // A model that knows what is there does not lose a turn on what is not.
        let python = self.sandbox.python_in_words().map(|words| format!(" There is {words}.")).unwrap_or_default();
        ToolSpec {
            name: tool.to_owned(),
            description: format!(
                "Runs {what} in the workspace, in a sandbox: only the workspace can be written, there is {network}, processes end with the \
                 call. Returns the exit code, the output, and which files it made or changed.{python}"
            ),
            input_schema: schema(&[(name, json!({"type": "string", "minLength": 1, "description": text}))], &[("timeout_s", timeout)]),
        }
    }

    fn nature(&self) -> Nature {
        // With a network a program may fetch what strangers wrote.
        let brings = if self.network.is_some() { Taint::BOTH } else { Taint::PRIVATE };
        Nature { repeat: Repeat::Never, brings, writes: true, approval: Approval::Never }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        self.parse(args).map(drop)
    }

    fn outward(&self, _args: &Value) -> Option<Outward> {
        // What leaves goes through the egress proxy, which has the rules; the sandbox has no other way.
        self.network.as_ref().map(|n| Outward { to: "the sandbox's network".to_owned(), allowed: n.allowed, address: None })
    }

    async fn turn(&self, agent: &AgentId) -> Turn {
        self.turns.take(agent).await
    }

    async fn run(&self, call: Call) -> Output {
        let wanted = match self.parse(&call.args) {
            Ok(wanted) => wanted,
            Err(why) => return Output::error(why),
        };
        let job = self.job(wanted, &call);
        let limits = job.limits;
        let before = snapshot(Arc::clone(&call.workspace)).await;
        let done = match self.sandbox.run(job).await {
            Ok(done) => done,
            Err(SandboxError::NotRun { program, why }) => {
                return Output::error(format!("{program} could not be run: {why}. It is not installed on this machine"));
            }
            Err(error) => return Output::error(error.to_string()),
        };
        let after = snapshot(Arc::clone(&call.workspace)).await;
        let untouched = before.whole && after.whole && before.files == after.files;
        let changed = changes(before.files, after.files);
        let mut text = words(&done, &limits, &call.workspace, &changed, untouched);
        // The commonest mistake of models, and an error text that they answer with `pip install`.
        if self.network.is_none()
            && done.stderr.text().contains(MISSING_PACKAGE)
            && let Some(python) = self.sandbox.python_in_words()
        {
            let _ = write!(text, "\n[Packages cannot be installed here. There is {python}: write the program with these.]");
        }
        let is_error = done.exit != 0 || done.stopped.is_some();
        Output { text, is_error, brings: Taint::NONE, memory_peak_bytes: done.memory_peak }
    }
}

/// Files at one moment.
#[derive(Default)]
struct Snapshot {
    files: HashMap<PathBuf, Entry>,
    /// None is missing.
    whole: bool,
}

async fn snapshot(workspace: Arc<Workspace>) -> Snapshot {
    let listed = tokio::task::spawn_blocking(move || workspace.list("", usize::MAX, MAX_COMPARED)).await;
    // Without a listing nothing is said about changes; the run itself is not affected.
    let Ok(Ok(listing)) = listed else { return Snapshot::default() };
    let files = listing.entries.into_iter().filter(|entry| entry.kind != Kind::Directory);
    Snapshot { files: files.map(|entry| (entry.path.clone(), entry)).collect(), whole: !listing.truncated }
}

/// Lines about files that are new, changed or gone, by name.
fn changes(before: HashMap<PathBuf, Entry>, after: HashMap<PathBuf, Entry>) -> Vec<String> {
    let mut lines: Vec<(PathBuf, String)> = Vec::new();
    for (path, entry) in &after {
        match before.get(path) {
            None => lines.push((path.clone(), format!("new: {}", line_of(entry)))),
            Some(old) if old != entry => lines.push((path.clone(), format!("changed: {}", line_of(entry)))),
            Some(_) => {}
        }
    }
    lines.extend(
        before.iter().filter(|(path, _)| !after.contains_key(*path)).map(|(path, old)| (path.clone(), format!("removed: {}", old.shown()))),
    );
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The result as the model reads it. `untouched`: it is known that no file was made, changed or removed.
fn words(done: &Finished, limits: &Limits, workspace: &Workspace, changed: &[String], untouched: bool) -> String {
    let mut text = format!("exit code {}", done.exit);
    if let Some(stopped) = done.stopped {
        let _ = write!(text, "; killed or failed because {}", stopped.explain(limits, workspace.quota()));
    } else if done.exit > 128 && done.exit < 160 {
        let _ = write!(text, " (ended by signal {})", done.exit - 128);
    }
    // Silence is easily taken for success, as of tests that nothing has run.
    if done.stdout.total == 0 && done.stderr.total == 0 {
        text.push_str("; nothing was printed");
        text.push_str(if untouched { ", and no file was made or changed" } else { "" });
    }
    if done.tier == Tier::Off {
        text.push_str("\n[ran WITHOUT a sandbox]");
    }
    stream(&mut text, "stdout", &done.stdout);
    stream(&mut text, "stderr", &done.stderr);
    if !changed.is_empty() {
        text.push_str("\nfiles:\n");
        for line in changed.iter().take(MAX_CHANGED) {
            let _ = writeln!(text, "  {line}");
        }
        if changed.len() > MAX_CHANGED {
            let _ = writeln!(text, "  … and {} more", changed.len() - MAX_CHANGED);
        }
    }
    text
}

fn stream(text: &mut String, name: &str, captured: &Captured) {
    if captured.total == 0 {
        return;
    }
    if captured.is_binary() {
        let _ = write!(text, "\n{name}: [{} bytes that are not text; write them to a file instead]", captured.total);
    } else {
        let _ = write!(text, "\n{name}:\n{}", captured.text().trim_end_matches('\n'));
    }
}
