//! Programs that are not in the sandbox because the operator chose them (MCP servers), and that must end with us all the same: each has
//! a keeper, a helper of its own between us and it.
//!
//! Invariant: when the keeper ends, nothing that the program started is alive, whatever group or session it moved to; and the keeper
//! ends when the program does, when it is told to, and when the process that started it is gone (the end of the line between them).
//! If somebody kills the keeper itself, the kernel takes the program with it, and the note on disk leads the next start to the rest.
use crate::cgroup::Group;
use crate::helper::FAILED;
use crate::record::{RUN_VARIABLE, Record, fresh_id, prepare};
use crate::sandbox::Helper;
use crate::supervise::{kill_everything, stand_apart};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

/// Longest line between the two, bytes.
const LINE_BYTES_MAX: u64 = 8 << 20;
/// How long the keeper may take to start the program.
const START_MAX: Duration = Duration::from_secs(10);
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;
/// The keeper's name among processes: not ours, so that a kill of all that are called like us leaves it to do its work.
const NAME: &std::ffi::CStr = c"program-keeper";

/// How programs are kept.
#[derive(Debug, Clone)]
pub struct Keep {
    /// The program that is started again as the keeper.
    pub helper: Helper,
    /// The folder of [`crate::Sandbox::reap`], where what even the keeper's death left is found at the next start. Without one nothing
    /// is noted: for programs of a moment, started beside a running server.
    pub state_dir: Option<PathBuf>,
}

/// What the keeper is to start.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: String,
    state_dir: Option<PathBuf>,
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: PathBuf,
}

/// What the keeper says to that.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Started(i32),
    Failed(String),
}

/// A program that runs. Dropping it kills it and everything it started.
#[derive(Debug)]
pub struct Kept {
    keeper: tokio::process::Child,
    line: Option<UnixStream>,
    pid: i32,
}

/// The pipes of a program.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub stdin: ChildStdin,
    /// What it writes.
    pub stdout: ChildStdout,
    /// What it complains about.
    pub stderr: ChildStderr,
}

impl Keep {
    /// Starts a program with these variables and no others, in a session and a process group apart from ours. It is looked up in the `PATH` that it is given.
    ///
    /// # Errors
    /// A sentence: it could not be started.
    pub async fn start(&self, program: &str, args: Vec<String>, env: Vec<(String, String)>, cwd: PathBuf) -> Result<(Kept, Pipes), String> {
        let failed = |e: &dyn std::fmt::Display| format!("'{program}' cannot be kept: {e}");
        let order = Order { id: fresh_id(), state_dir: self.state_dir.clone(), program: program.to_owned(), args, env, cwd };
        let mut order = serde_json::to_vec(&order).map_err(|e| failed(&e))?;
        order.push(b'\n');
        let (ours, theirs) = UnixStream::pair().map_err(|e| failed(&e))?;
        let number = theirs.as_raw_fd();
        let mut command = Command::new(&self.helper.program);
        command.args(&self.helper.prefix).args(["keep", &number.to_string()]).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec, one system call that may be made there.
        #[expect(unsafe_code, reason = "the keeper's end of the line must stay open across exec, in this child alone")]
        unsafe {
            command.pre_exec(move || inherit(number));
        }
        let mut keeper = command.spawn().map_err(|e| failed(&format!("starting {}: {e}", self.helper.program.display())))?;
        drop(theirs);
        // Not on a worker: a folder on a network that is gone may hold the keeper up.
        let asked = tokio::task::spawn_blocking(move || ask(ours, &order)).await.map_err(|e| failed(&e))?;
        let (line, answer) = asked.map_err(|e| failed(&format!("its keeper does not answer: {e}")))?;
        match serde_json::from_slice(&answer) {
            Ok(Said::Started(pid)) => {
                let pipes = (keeper.stdin.take(), keeper.stdout.take(), keeper.stderr.take());
                let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(failed(&"it has no pipes")) };
                Ok((Kept { keeper, line: Some(line), pid }, Pipes { stdin, stdout, stderr }))
            }
            Ok(Said::Failed(why)) => Err(why),
            Err(_) => Err(failed(&"its keeper died")),
        }
    }
}

/// Gives the order and waits for the answer: a line, or nothing if the keeper died.
fn ask(mut line: UnixStream, order: &[u8]) -> std::io::Result<(UnixStream, Vec<u8>)> {
    line.set_write_timeout(Some(START_MAX))?;
    line.set_read_timeout(Some(START_MAX))?;
    line.write_all(order)?;
    let mut answer = Vec::new();
    BufReader::new((&line).take(LINE_BYTES_MAX)).read_until(b'\n', &mut answer)?;
    Ok((line, answer))
}

/// Lets a descriptor live across exec.
fn inherit(number: RawFd) -> std::io::Result<()> {
    // SAFETY: the descriptor is open in this process, a copy of the one that holds it until exec.
    #[expect(unsafe_code, reason = "the descriptor goes to the next program by its number")]
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map_err(std::io::Error::from)?;
    Ok(())
}

impl Kept {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks it, and what is still in its process group, to end.
    pub fn ask_to_end(&self) {
        // The id is there until the keeper was waited for, so it is still the keeper's.
        if let Some(keeper) = self.keeper.id().and_then(|id| i32::try_from(id).ok()) {
            // One that ended meanwhile needs no asking.
            let _ = kill(Pid::from_raw(keeper), Signal::SIGTERM);
        }
    }

    /// Kills it and everything it started; [`Self::ended`] tells when that is done.
    pub fn kill(&mut self) {
        self.line = None;
    }

    /// Waits until nothing of it is left; how the program ended. Exit code 125 also means that something could not be killed or removed:
    /// then the next start does it.
    ///
    /// # Errors
    /// The system cannot say.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.keeper.wait().await?;
        // The keeper ends as a shell would: with the program's code, or with the signal's number in it.
        Ok(match status.code() {
            Some(code) if code > SIGNALLED => ExitStatus::from_raw(code - SIGNALLED),
            _ => status,
        })
    }
}

/// The keeper: takes the order from the line with this number, and keeps.
pub(crate) fn keep(number: &str) -> ExitCode {
    let Ok(number) = number.parse::<RawFd>() else { return ExitCode::from(FAILED) };
    // SAFETY: whoever started this process put the line at this number for it alone, and nothing else here owns it.
    #[expect(unsafe_code, reason = "the descriptor comes by its number")]
    let mut line = unsafe { UnixStream::from_raw_fd(number) };
    match begin(&line) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(running)) => running.keep(&mut line),
        Err(why) => {
            say(&mut line, &Said::Failed(why));
            ExitCode::from(FAILED)
        }
    }
}

/// If nobody listens any more, the end of the line says so too.
fn say(line: &mut UnixStream, what: &Said) {
    let mut text = serde_json::to_vec(what).unwrap_or_default();
    text.push(b'\n');
    let _ = line.write_all(&text);
}

struct Running {
    pid: i32,
    signals: SignalFd,
    record: Option<(Record, PathBuf)>,
}

/// Starts the program; `None` if whoever wanted it is gone already.
fn begin(line: &UnixStream) -> Result<Option<Running>, String> {
    fcntl(line, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|e| format!("the line: {e}"))?;
    prctl::set_name(NAME).map_err(|e| format!("the name: {e}"))?;
    let signals = stand_apart()?;
    let mut text = String::new();
    BufReader::new(line.take(LINE_BYTES_MAX)).read_line(&mut text).map_err(|e| format!("the order: {e}"))?;
    if text.is_empty() {
        return Ok(None);
    }
    let order: Order = serde_json::from_str(&text).map_err(|e| format!("the order: {e}"))?;
    let record = order.state_dir.map(|dir| (Record::new(&order.id, Group::none(), None), dir));
    if let Some((record, dir)) = &record {
        prepare(dir).and_then(|()| record.write(dir)).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let mut program = std::process::Command::new(&order.program);
    program.args(&order.args).env_clear().envs(order.env).env(RUN_VARIABLE, &order.id).current_dir(&order.cwd).process_group(0);
    // SAFETY: between fork and exec, system calls that may be made there.
    #[expect(unsafe_code, reason = "the program must not inherit blocked signals, and must not outlive a keeper that was killed")]
    unsafe {
        program.pre_exec(|| {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            // It is sent when the thread that forked ends, which here is the whole keeper.
            prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)
        });
    }
    let started = program.spawn().map_err(|e| format!("'{}' cannot be started in {}: {e}", order.program, order.cwd.display()));
    let pid = started.and_then(|child| i32::try_from(child.id()).map_err(|e| e.to_string()));
    match pid {
        Ok(pid) => Ok(Some(Running { pid, signals, record })),
        Err(why) => {
            if let Some((record, dir)) = &record {
                record.remove(dir).map_err(|e| format!("{why}; {}: {e}", dir.display()))?;
            }
            Err(why)
        }
    }
}

impl Running {
    fn keep(self, line: &mut UnixStream) -> ExitCode {
        // The program alone holds its pipes now: their end is its end.
        let let_go = let_go_of_pipes();
        if let Err(why) = &let_go {
            say(line, &Said::Failed(why.to_string()));
        } else {
            say(line, &Said::Started(self.pid));
        }
        let mut exit = None;
        while let_go.is_ok() && exit.is_none() && !self.is_alone(line, &mut exit) {}
        let gone = kill_everything(&Group::none(), &self.signals);
        let noted = self.record.as_ref().is_none_or(|(record, dir)| gone && record.remove(dir).is_ok());
        // What could not be ended stays on record for the next start.
        let code = if gone && noted { exit.unwrap_or(SIGNALLED + Signal::SIGKILL as i32) } else { i32::from(FAILED) };
        ExitCode::from(u8::try_from(code).unwrap_or(FAILED))
    }

    /// Waits for something to happen and deals with it; whether the other end of the line is gone.
    fn is_alone(&self, line: &mut UnixStream, exit: &mut Option<i32>) -> bool {
        let mut fds = [PollFd::new(line.as_fd(), PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
        let spoken = fds[0].any().unwrap_or(false);
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if i32::try_from(signal.ssi_signo).is_ok_and(|n| n != libc::SIGCHLD) {
                // A group that is gone needs no asking.
                let _ = killpg(Pid::from_raw(self.pid), Signal::SIGTERM);
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == self.pid => *exit = Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == self.pid => *exit = Some(SIGNALLED + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // Nothing is ever said after the order.
        spoken && matches!(line.read(&mut [0; 64]), Ok(0) | Err(_))
    }
}

/// Standard input, output and error become nothing.
fn let_go_of_pipes() -> std::io::Result<()> {
    let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    nix::unistd::dup2_stderr(&nothing)?;
    Ok(())
}
