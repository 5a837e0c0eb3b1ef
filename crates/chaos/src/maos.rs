//! The real binary as a process that can be killed at any moment.
//!
//! Invariant: a process started here is ended when its value goes, and its exit is always collected.
use crate::http::{self, Answer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time until a server is ready.
const READY_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether a process that is being waited for has died.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to start it.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary.
    pub program: PathBuf,
    /// The folder of this server.
    pub home: PathBuf,
    /// Where models are asked.
    pub model_url: String,
    /// Further configuration: key and value.
    pub set: Vec<(String, String)>,
    /// Further variables of its environment; the last word.
    pub env: Vec<(String, String)>,
}

/// What became of a start.
#[derive(Debug)]
pub enum Started {
    /// It answers.
    Ready(Maos),
    /// It died before, with this process id.
    Died(ExitStatus, u32),
}

/// A running server.
#[derive(Debug)]
pub struct Maos {
    child: Arc<Mutex<Child>>,
    pid: u32,
    addr: SocketAddr,
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Setup {
    /// A command of the binary in this server's environment.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MAOS_")
                || text.starts_with("ANTHROPIC_")
                || text.starts_with("OPENAI_")
                || text.to_ascii_uppercase().ends_with("_PROXY")
            {
                command.env_remove(name);
            }
        }
        command
            .env("MAOS_HOME", &self.home)
            .env("CLAUDE_API_KEY", "test")
            .env("MAOS_CLAUDE_BASE_URL", &self.model_url)
            .env("MAOS_PROVIDER", "claude")
            .env("MAOS_API_PORT", "0")
            .env("MAOS_DASHBOARD_PORT", "0");
        for (key, value) in &self.set {
            command.env(format!("MAOS_{}", key.to_ascii_uppercase().replace('.', "_")), value);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the server; `crash_at` arms a crash point (`name` or `name=N`).
    ///
    /// # Errors
    /// The binary cannot be started, or it neither answers nor dies.
    pub fn start(&self, crash_at: Option<&str>) -> Result<Started> {
        std::fs::create_dir_all(&self.home)?;
        let socket = self.home.join("ready.socket");
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let ready = UnixDatagram::bind(&socket)?;
        ready.set_read_timeout(Some(LOOK_EVERY))?;
        let log = OpenOptions::new().create(true).append(true).open(self.home.join("stderr.txt"))?;
        let mut command = self.command();
        command.args(["start", "--foreground"]).env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(point) = crash_at {
            command.env("MAOS_CRASH_AT", point);
        }
        let child = command.spawn().map_err(|e| Error::new(e.kind(), format!("{}: {e}", self.program.display())))?;
        let mut maos = Maos { pid: child.id(), child: Arc::new(Mutex::new(child)), addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let started = Instant::now();
        let mut message = [0; 256];
        loop {
            match ready.recv(&mut message) {
                Ok(n) if message[..n].starts_with(b"READY=1") => break,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
            if let Some(status) = maos.died()? {
                return Ok(Started::Died(status, maos.pid));
            }
            if started.elapsed() > READY_WAIT {
                return Err(Error::new(ErrorKind::TimedOut, "the server neither became ready nor died"));
            }
        }
        maos.addr = self.address()?;
        Ok(Started::Ready(maos))
    }

    /// Where the server listens, by its run file.
    fn address(&self) -> Result<SocketAddr> {
        let file = self.home.join("run").join("server.json");
        let run: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let url = run["api"].as_str().unwrap_or_default();
        let port = url.trim_end_matches('/').rsplit(':').next().and_then(|p| p.parse().ok());
        port.map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)))
            .ok_or_else(|| Error::other(format!("the run file names no port: {run}")))
    }

    /// Where its journal is.
    #[must_use]
    pub fn database_url(&self) -> String {
        format!("sqlite:{}", self.database().display())
    }

    /// The file of its journal.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.home.join("maos.db")
    }
}

impl Maos {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn died(&mut self) -> Result<Option<ExitStatus>> {
        lock(&self.child).try_wait()
    }

    /// `kill -9`, now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        let mut child = lock(&self.child);
        child.kill()?;
        child.wait()
    }

    /// `kill -9` after a while, whatever is going on then. With `stop_first`, a polite request to end comes that much earlier.
    pub fn kill_after(&self, wait: Duration, stop_first: Option<Duration>) -> std::thread::JoinHandle<()> {
        let child = Arc::clone(&self.child);
        let pid = self.pid;
        std::thread::spawn(move || {
            std::thread::sleep(wait);
            if let Some(notice) = stop_first {
                // The child's exit is not collected while its lock is held, so the pid is still its own.
                let mut held = lock(&child);
                if matches!(held.try_wait(), Ok(None)) {
                    let _ = terminate(pid);
                }
                drop(held);
                std::thread::sleep(notice);
            }
            // It may have died by itself meanwhile, which is as good.
            let _ = lock(&child).kill();
        })
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// The system cannot say how it ended.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        terminate(self.pid)?;
        lock(&self.child).wait()
    }

    /// A GET of the API.
    ///
    /// # Errors
    /// The server is gone.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.addr, path)
    }

    /// A POST of the API under an idempotency key.
    ///
    /// # Errors
    /// The server is gone.
    pub fn post(&self, path: &str, key: &str, body: &str) -> Result<Answer> {
        http::post(self.addr, path, &[format!("idempotency-key: {key}")], body)
    }
}

impl Drop for Maos {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

fn terminate(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).map_err(Error::other)?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(Error::from)
}

/// Ended by `kill -9` or by a crash point.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    matches!(status.signal(), Some(s) if s == Signal::SIGKILL as i32 || s == Signal::SIGABRT as i32)
}
