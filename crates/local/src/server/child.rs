//! One running server program: its command line, its log, and the bonds that keep it from outliving us.
//!
//! Three bonds. The kernel kills it when the thread that started it ends (Linux), so a thread of its own starts it and then does
//! nothing but live; the wheel's launcher also ends when its stdin closes; and a note lets the next start end what still got away.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, Command};

use crate::LocalError;
use crate::server::leftover::Note;
use crate::server::runner::Runner;

/// The Python side of [`Runner::Wheel`].
const LAUNCHER: &str = include_str!("../../assets/launcher.py");
/// One template for all models of the catalogue: they share the ChatML marks.
const TEMPLATE: &str = include_str!("../../assets/chatml.jinja");
/// Sampling of requests that name none: at the usual 0.8 these models wander, and without a penalty they fall into loops that last
/// until the output limit. A stronger penalty harms plans, which must repeat the ids of their steps.
const TEMPERATURE: f64 = 0.4;
const REPEAT_PENALTY: f64 = 1.05;
/// Time between the polite and the final signal.
const END_GRACE: Duration = Duration::from_secs(3);
/// A log longer than this is moved aside (one old one is kept), in bytes.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// How much of the log an error quotes: bytes and lines from its end.
const LOG_TAIL_BYTES: u64 = 4096;
const LOG_TAIL_LINES: usize = 15;

/// What to serve and where.
pub(super) struct Serve {
    pub(super) model: String,
    pub(super) file: PathBuf,
    pub(super) port: u16,
    pub(super) key: SecretString,
    pub(super) threads: u32,
    pub(super) slots: u32,
    pub(super) context_tokens: u32,
}

/// The child. Dropping it kills the process.
pub(super) struct Child {
    process: tokio::process::Child,
    /// The launcher's lifeline; never written to after the first line.
    _stdin: Option<ChildStdin>,
    /// Ends the thread that started the process.
    _keeper: mpsc::Sender<()>,
    _note: Option<Note>,
}

impl Child {
    /// Starts the program. It is not ready yet.
    pub(super) async fn start(home: &Path, runner: &Runner, serve: &Serve, log: &Log) -> Result<Self, LocalError> {
        let dir = home.join("llama");
        fs::create_dir_all(&dir).map_err(|e| LocalError::io("create", &dir, &e))?;
        let mut command = match runner {
            Runner::Binary(program) => binary(program, serve, &write_asset(&dir, "template.jinja", TEMPLATE)?),
            Runner::Wheel(python) => wheel(python, &write_asset(&dir, "launcher.py", LAUNCHER)?),
        };
        command.stdout(log.writer()?).stderr(log.writer()?).process_group(0).kill_on_drop(true);
        die_with_this_thread(&mut command);
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let (mut process, keeper) =
            spawn_kept(command).await.map_err(|e| LocalError::NoRunner { reason: format!("{program} cannot be started: {e}") })?;
        let note = process.id().map(|pid| Note::write(home, pid)).transpose()?.flatten();
        let mut stdin = process.stdin.take();
        if let Some(stdin) = &mut stdin {
            // A launcher that died at once is told by `wait`, with its log.
            let _ = stdin.write_all(launcher_line(serve).as_bytes()).await;
            let _ = stdin.flush().await;
        }
        Ok(Self { process, _stdin: stdin, _keeper: keeper, _note: note })
    }

    /// Until it ends by itself.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends it: politely, then for certain. Returns when it is gone.
    pub(super) async fn end(&mut self) {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            // `id` is none once the child was reaped, so the pid is still ours. A failed signal leaves the final one.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let gone = tokio::time::timeout(END_GRACE, self.process.wait()).await.is_ok();
        if !gone && let Err(error) = self.process.kill().await {
            tracing::error!(%error, "cannot end the local model server");
        }
    }
}

fn binary(program: &Path, serve: &Serve, template: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--model")
        .arg(&serve.file)
        .args(["--alias", &serve.model, "--host", "127.0.0.1"])
        .args(["--port", &serve.port.to_string()])
        .args(["--ctx-size", &(serve.context_tokens * serve.slots).to_string()])
        .args(["--parallel", &serve.slots.to_string()])
        .args(["--threads", &serve.threads.to_string(), "--threads-batch", &serve.threads.to_string()])
        .args(["--temp", &TEMPERATURE.to_string(), "--repeat-penalty", &REPEAT_PENALTY.to_string()])
        .args(["--cont-batching", "--metrics", "--jinja", "--chat-template-file"])
        .arg(template)
        // Not on the command line, which every user of the machine can read.
        .env("LLAMA_API_KEY", serve.key.expose_secret())
        .stdin(Stdio::null());
    command
}

fn wheel(python: &Path, launcher: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-I", "-u"]).arg(launcher).stdin(Stdio::piped());
    command
}

/// What the launcher reads from its stdin: one line of JSON.
fn launcher_line(serve: &Serve) -> String {
    let mut line = serde_json::json!({
        "file": serve.file,
        "alias": serve.model,
        "template": TEMPLATE,
        "port": serve.port,
        "key": serve.key.expose_secret(),
        "threads": serve.threads,
        "slots": serve.slots,
        "context_tokens": serve.context_tokens,
        "temperature": TEMPERATURE,
        "repeat_penalty": REPEAT_PENALTY,
    })
    .to_string();
    line.push('\n');
    line
}

/// Writes a file that other servers of the same folder may be reading: they see the old or the new one, never half of it.
fn write_asset(dir: &Path, name: &str, text: &str) -> Result<PathBuf, LocalError> {
    let path = dir.join(name);
    if !fs::read_to_string(&path).is_ok_and(|there| there == text) {
        let new = dir.join(format!("{name}.{:016x}", rand::random::<u64>()));
        fs::write(&new, text).map_err(|e| LocalError::io("write", &new, &e))?;
        fs::rename(&new, &path).map_err(|e| LocalError::io("write", &path, &e))?;
    }
    Ok(path)
}

/// Starts the command on a thread that lives until the returned sender is dropped. Whoever awaits may move between threads and some of
/// them end while the process goes on; a parent-death signal follows the thread, not the process.
async fn spawn_kept(mut command: Command) -> io::Result<(tokio::process::Child, mpsc::Sender<()>)> {
    let (keeper, ended) = mpsc::channel::<()>();
    let (started, process) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("maos-local".to_owned()).spawn(move || {
        let spawned = {
            let _context = runtime.enter();
            command.spawn()
        };
        // Nobody waits any more: the child is dropped with the result, and killed by that.
        if started.send(spawned).is_ok() {
            let _closed = ended.recv();
        }
    })?;
    let process = process.await.expect("the thread answers before it ends")?;
    Ok((process, keeper))
}

#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let bond = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above: then nobody would send the signal.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, both async-signal-safe; nothing allocates on success.
    #[expect(unsafe_code, reason = "the kernel's bond of a child to its parent can only be made between fork and exec")]
    unsafe {
        command.pre_exec(bond);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_: &mut Command) {}

/// The server's output, appended to one file over all starts.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Where this start begins.
    from: u64,
}

impl Log {
    /// Opens the log for one start of the server.
    pub(super) fn open(path: &Path) -> Result<Self, LocalError> {
        let dir = path.parent().unwrap_or(path);
        fs::create_dir_all(dir).map_err(|e| LocalError::io("create", dir, &e))?;
        if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            fs::rename(path, path.with_extension("log.1")).map_err(|e| LocalError::io("rename", path, &e))?;
        }
        let mut file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|e| LocalError::io("create", path, &e))?;
        let from = file.metadata().map_err(|e| LocalError::io("read", path, &e))?.len();
        file.write_all(b"--- start of the local model server\n").map_err(|e| LocalError::io("write", path, &e))?;
        Ok(Self { path: path.to_path_buf(), file, from })
    }

    fn writer(&self) -> Result<Stdio, LocalError> {
        self.file.try_clone().map(Stdio::from).map_err(|e| LocalError::io("write", &self.path, &e))
    }

    /// An error that quotes the last lines of this start.
    pub(super) fn error(&self, what: String) -> LocalError {
        let tail = self.tail().unwrap_or_else(|e| format!("(the log cannot be read: {e})"));
        LocalError::Server { what, log: self.path.clone(), tail }
    }

    fn tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.from.max(end.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)?;
        let text = String::from_utf8_lossy(&raw);
        let lines: Vec<_> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
    }
}
