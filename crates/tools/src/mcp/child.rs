//! MCP servers that are programs: started in a process group of their own, with few variables, and always ended with that group.
//!
//! Invariant: a child never outlives the server process. An orderly end closes its input, asks and then kills its group; dropping kills
//! the group at once; if we are killed ourselves, a watchdog sees its input end and kills the groups; and what even that left behind is
//! ended at the next start, by pid and start time. A program that leaves its group on purpose is out of reach of all four.
use crate::mcp::config::{Endpoint, ServerConfig};
use crate::mcp::lines::{Line, Lines};
use crate::mcp::text::log_line;
use crate::private_file;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command as Program, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

/// Variables every child gets from our environment. Nothing else: keys of providers are in ours.
pub const INHERITED: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// How long a child may take to end after its input was closed, and again after it was asked to.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// Longest line of a child's stderr that is kept, bytes.
const LOG_LINE_BYTES_MAX: usize = 2 * 1024;
/// Most lines of a child's stderr that are logged within `LOG_WINDOW`.
const LOG_LINES_MAX: u32 = 100;
/// See `LOG_LINES_MAX`.
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// Reads pids with `+` or `-` before them; when its input ends, kills the groups of those that are left.
const WATCHDOG: &str = r#"
all=""
while read -r sign pid; do
  case $sign in
    +) all="$all $pid" ;;
    -) left=""; for p in $all; do [ "$p" = "$pid" ] || left="$left $p"; done; all=$left ;;
  esac
done
for p in $all; do kill -9 "-$p" 2>/dev/null; done
"#;

/// A running child, by pid and start time together, so that a reused pid is never taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: i32,
    started: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RunningFile {
    children: Vec<Running>,
}

/// Sees to it that no child outlives us.
#[derive(Debug)]
pub(super) struct Keeper {
    file: Option<PathBuf>,
    watchdog: Mutex<Option<std::process::Child>>,
}

impl Keeper {
    /// Ends what an earlier process left behind (if a file is given), then keeps watch.
    pub(super) fn start(file: Option<PathBuf>) -> Self {
        if let Some(file) = &file {
            end_left_over(file);
        }
        let mut shell = Program::new("/bin/sh");
        shell.args(["-c", WATCHDOG, "maos-mcp-watchdog"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: Ctrl-C in a terminal and a kill of our group must not end it before us.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let watchdog = shell.spawn();
        if let Err(e) = &watchdog {
            tracing::warn!(component = "mcp", "no watchdog: if MAOS is killed, MCP servers may go on until its next start: {e}");
        }
        Self { file, watchdog: Mutex::new(watchdog.ok()) }
    }

    fn tell(&self, sign: char, pid: i32) {
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = watchdog.as_mut().and_then(|w| w.stdin.as_mut())
            && let Err(e) = writeln!(input, "{sign} {pid}")
        {
            tracing::warn!(component = "mcp", "the watchdog of MCP servers is gone: {e}");
            *watchdog = None;
        }
    }

    fn add(&self, pid: i32) {
        self.tell('+', pid);
        self.record(|file| {
            if let Some(started) = start_time(pid) {
                file.children.push(Running { pid, started });
            }
        });
    }

    fn remove(&self, pid: i32) {
        self.tell('-', pid);
        self.record(|file| file.children.retain(|c| c.pid != pid));
    }

    fn record(&self, change: impl FnOnce(&mut RunningFile)) {
        let Some(path) = &self.file else { return };
        let written = private_file::update(path, |file: &mut RunningFile| {
            change(file);
            (true, ())
        });
        if let Err(e) = written {
            tracing::warn!(component = "mcp", "{} cannot be written: {e}", path.display());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let watchdog = self.watchdog.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut watchdog) = watchdog {
            drop(watchdog.stdin.take());
            // It ends at once now; not waiting would leave a zombie.
            drop(watchdog.wait());
        }
    }
}

/// Kills the groups of children that a crash left behind.
fn end_left_over(file: &std::path::Path) {
    let ended = private_file::update(file, |running: &mut RunningFile| {
        let all = std::mem::take(&mut running.children);
        let left: Vec<Running> = all.iter().filter(|c| start_time(c.pid) == Some(c.started)).cloned().collect();
        (!all.is_empty(), left)
    });
    match ended {
        Ok(left) => {
            for child in left {
                tracing::warn!(component = "mcp", pid = child.pid, "ending an MCP server that a crash of MAOS left behind");
                kill_group(child.pid, Signal::SIGKILL);
            }
        }
        Err(e) => {
            tracing::warn!(component = "mcp", "cannot tell which MCP servers a crash left behind: {e}");
            drop(std::fs::remove_file(file));
        }
    }
}

/// When a process started, in clock ticks since boot; `None` if there is none.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may hold blanks and parentheses; fields count from after the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn kill_group(pid: i32, signal: Signal) {
    match killpg(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(e) => tracing::warn!(component = "mcp", pid, "cannot send {signal} to an MCP server: {e}"),
    }
}

/// A child. Dropping it kills its whole group.
pub(super) struct Child {
    process: tokio::process::Child,
    pid: i32,
    keeper: Arc<Keeper>,
}

/// The pipes of a child.
pub(super) struct Pipes {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
}

impl Child {
    /// Starts the program of a server. What it writes to stderr goes to our log.
    ///
    /// # Errors
    /// A sentence: it could not be started.
    pub(super) fn start(server: &ServerConfig, inherited: &[(String, String)], keeper: &Arc<Keeper>) -> Result<(Self, Pipes), String> {
        let Endpoint::Stdio { command, args, env, cwd, .. } = &server.endpoint else {
            return Err("it is not a program".into());
        };
        let mut program = Command::new(command);
        program.args(args.iter().map(ExposeSecret::expose_secret)).current_dir(cwd).env_clear();
        program.envs(inherited.iter().filter(|(name, _)| INHERITED.contains(&name.as_str())).map(|(k, v)| (k, v)));
        program.envs(env.iter().map(|(name, value)| (name, value.expose_secret())));
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut process = program.spawn().map_err(|e| format!("'{command}' cannot be started in {}: {e}", cwd.display()))?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).ok_or("it ended as it was started")?;
        keeper.add(pid);
        let (input, output, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let child = Self { process, pid, keeper: Arc::clone(keeper) };
        if let Some(errors) = errors {
            tokio::spawn(log_errors(server.name.clone(), errors));
        }
        let pipes = Pipes { input: input.ok_or("it has no input")?, output: output.ok_or("it has no output")? };
        Ok((child, pipes))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended; how, in words.
    pub(super) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => format!("it ended with {status}"),
            Err(e) => format!("it cannot be waited for: {e}"),
        }
    }

    /// Ends it; its input must have been closed already.
    pub(super) async fn end(mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if timeout(EXIT_GRACE, self.process.wait()).await.is_ok() {
                break;
            }
            kill_group(self.pid, signal);
        }
        // What it started itself and left in its group goes with it, in `drop`.
        drop(self.process.wait().await);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        kill_group(self.pid, Signal::SIGKILL);
        self.keeper.remove(self.pid);
    }
}

/// Writes a child's stderr to our log, line by line, not more than anyone could read.
async fn log_errors(server: String, errors: ChildStderr) {
    let mut lines = Lines::new(errors, LOG_LINE_BYTES_MAX);
    let (mut since, mut logged, mut dropped) = (Instant::now(), 0u32, 0u64);
    while let Some(line) = lines.next().await {
        if since.elapsed() > LOG_WINDOW {
            if dropped > 0 {
                tracing::info!(component = "mcp", server, dropped, "lines of the server's stderr were left out");
            }
            (since, logged, dropped) = (Instant::now(), 0, 0);
        }
        if logged >= LOG_LINES_MAX {
            dropped += 1;
            continue;
        }
        logged += 1;
        let text = match &line {
            Line::Text(bytes) => log_line(bytes, LOG_LINE_BYTES_MAX),
            Line::TooLong => format!("(a line longer than {LOG_LINE_BYTES_MAX} bytes)"),
        };
        tracing::info!(component = "mcp", server, "{text}");
    }
}
