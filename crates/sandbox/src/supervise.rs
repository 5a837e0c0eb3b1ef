//! The supervisor of one run: outside the sandbox, one thread, nothing but system calls. It starts the program, drains its output, watches
//! its limits, and kills everything that descends from it when it ends, passes a limit, or when the server is no longer there (the end
//! of its standard input).
//!
//! Invariant: when it ends, nothing that it started is left: no process, no cgroup, no private folder, no record.
use crate::capture::Capture;
use crate::cgroup::Group;
use crate::helper::FAILED;
use crate::job::{Ended, Order, Report, Stopped, StreamEnd};
use crate::processes;
use crate::record::Record;
use crate::restrict::{NOT_RUN, NOT_SAFE, READY};
use crate::start::{Started, start};
use crate::watch::Watch;
use crate::workspace::remove_folder;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longest order, bytes.
const MAX_ORDER_BYTES: usize = 64 << 20;
/// Read at once, bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Between two looks at the limits.
const TICK: Duration = Duration::from_millis(50);
/// How long killing may take (a process in the kernel dies late) before the rest is left to [`crate::Sandbox::reap`].
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two rounds of killing.
const KILL_PAUSE: Duration = Duration::from_millis(1);
/// Longest text about a failed start, bytes.
const MAX_STATUS_BYTES: usize = 4096;

/// Runs one order from standard input.
pub(crate) fn supervise() -> ExitCode {
    match prepare() {
        Ok(Some((order, signals))) => run(&order, &signals),
        // The server was gone before it said what to do.
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            report(&Report::Setup(why), &[]);
            ExitCode::from(FAILED)
        }
    }
}

/// Gets ready to be there for others: away from the terminal and the process group of the server (^C there is the server's business),
/// parent of all orphans among what descends from here, and with the signals in a queue.
pub(crate) fn stand_apart() -> Result<SignalFd, String> {
    nix::unistd::setsid().map_err(|e| format!("setsid: {e}"))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| format!("subreaper: {e}"))?;
    let mut wanted = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        wanted.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&wanted), None).map_err(|e| format!("signals: {e}"))?;
    SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|e| format!("signals: {e}"))
}

fn prepare() -> Result<Option<(Order, SignalFd)>, String> {
    let signals = stand_apart()?;
    let mut text = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while text.last() != Some(&b'\n') {
        match nix::unistd::read(std::io::stdin(), &mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) if text.len() + n <= MAX_ORDER_BYTES => text.extend_from_slice(&chunk[..n]),
            Ok(_) => return Err(format!("the order has more than {MAX_ORDER_BYTES} bytes")),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("reading the order: {error}")),
        }
    }
    let order = serde_json::from_slice(&text).map_err(|e| format!("the order cannot be read: {e}"))?;
    Ok(Some((order, signals)))
}

fn run(order: &Order, signals: &SignalFd) -> ExitCode {
    let group = Group::plan(&order.cgroups, &order.id);
    let tmp = order.tmp.join(&order.id);
    let record = Record::new(&order.id, group.clone(), Some(tmp.clone()));
    let made = record
        .write(&order.state_dir)
        .map_err(|e| format!("record: {e}"))
        .and_then(|()| std::fs::create_dir(&tmp).map_err(|e| format!("{}: {e}", tmp.display())))
        .and_then(|()| group.make(&order.limits).map_err(|e| format!("cgroup: {e}")));
    let outcome = made.and_then(|()| {
        let started = start(order, &group, &tmp)?;
        Ok(Running::new(order, started, signals, &group).watch_it())
    });
    match outcome {
        Ok((told, kept)) => report(&told, &kept),
        Err(why) => report(&Report::Setup(why), &[]),
    }
    wait_for_server();
    let cleaned = kill_everything(&group, signals) && group.remove().is_ok() && remove_folder(&tmp).is_ok();
    // What could not be cleaned stays on record for the next start of the server.
    if cleaned && record.remove(&order.state_dir).is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// The server closes our standard input when it has taken note of the report, or when it dies.
fn wait_for_server() {
    let mut byte = [0; 64];
    while !matches!(nix::unistd::read(std::io::stdin(), &mut byte), Ok(0) | Err(Errno::EIO | Errno::EBADF)) {}
}

/// One line, then bytes. If nobody listens any more, nobody needs to know.
fn report(what: &Report, kept: &[Vec<u8>]) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(what).expect("a report is plain data");
    let _ = writeln!(out, "{line}");
    for bytes in kept {
        let _ = out.write_all(bytes);
    }
    let _ = out.flush();
}

/// A run under way.
struct Running<'a> {
    order: &'a Order,
    signals: &'a SignalFd,
    group: &'a Group,
    pipes: Started,
    watch: Watch,
    began: Instant,
    out: Capture,
    err: Capture,
    status: Vec<u8>,
    fed: usize,
    told: bool,
    exit: Option<i32>,
}

/// What woke the supervisor up, other than data.
#[derive(PartialEq, Eq)]
enum Woken {
    Nothing,
    /// The server is gone, or somebody asks us to end.
    Alone,
}

impl<'a> Running<'a> {
    fn new(order: &'a Order, pipes: Started, signals: &'a SignalFd, group: &'a Group) -> Self {
        let keep = order.limits.output_bytes;
        Self {
            order,
            signals,
            group,
            pipes,
            watch: Watch::new(order, group),
            began: Instant::now(),
            out: Capture::new(keep),
            err: Capture::new(keep),
            status: Vec::new(),
            fed: 0,
            told: false,
            exit: None,
        }
    }

    /// Until the program ends, a limit is passed or the server is gone; then nothing of it is left.
    fn watch_it(mut self) -> (Report, Vec<Vec<u8>>) {
        let mut stopped = None;
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.exit.is_none() && stopped.is_none() {
            let left = self.order.limits.wall.saturating_sub(self.began.elapsed());
            if left.is_zero() {
                stopped = Some(Stopped::Time);
                break;
            }
            if self.wait(left.min(TICK), &mut chunk) == Woken::Alone {
                break;
            }
            stopped = self.watch.look();
        }
        let wall = self.began.elapsed();
        self.pipes.stdin = None;
        let gone = kill_everything(self.group, self.signals);
        self.reap();
        while self.drain(&mut chunk) {}
        let stopped = stopped.or_else(|| self.watch.last_look(self.exit));
        let what = match self.status.split_first() {
            _ if !gone => Report::Setup("processes of the run could not be killed".to_owned()),
            Some((&READY, [])) => self.ended(stopped, wall),
            Some((&READY, [NOT_RUN, why @ ..])) => Report::NotRun(String::from_utf8_lossy(why).into_owned()),
            Some((&NOT_SAFE, why)) => Report::Setup(String::from_utf8_lossy(why).into_owned()),
            // A limit ended it before it began, or bubblewrap gave up.
            _ if stopped.is_some() => self.ended(stopped, wall),
            _ => Report::Setup(match std::mem::replace(&mut self.err, Capture::new(0)).finish().text().trim() {
                "" => format!("the start ended with exit code {}", self.exit.unwrap_or(-1)),
                words => words.to_owned(),
            }),
        };
        let (out, err) = (self.out.finish(), self.err.finish());
        let kept = if matches!(what, Report::Ended(_)) { vec![out.head, out.tail, err.head, err.tail] } else { Vec::new() };
        (what, kept)
    }

    fn ended(&self, stopped: Option<Stopped>, wall: Duration) -> Report {
        let end = |c: &Capture| {
            let (head, tail, total) = c.lengths();
            StreamEnd { head, tail, total }
        };
        Report::Ended(Ended {
            exit: self.exit.unwrap_or(128 + libc::SIGKILL),
            stopped,
            memory_peak: self.watch.memory_peak(),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            stdout: end(&self.out),
            stderr: end(&self.err),
        })
    }

    /// Waits for something to happen and deals with it.
    fn wait(&mut self, time: Duration, chunk: &mut [u8]) -> Woken {
        let stdin = std::io::stdin();
        let mut fds = vec![PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        for fd in [&self.pipes.stdout, &self.pipes.stderr, &self.pipes.status].into_iter().flatten() {
            fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        }
        if let Some(fd) = &self.pipes.stdin {
            fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLOUT));
        }
        // Rounded up, so that the end of the time is not waited for in a busy loop.
        let timeout = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Woken::Alone,
        }
        let alone = fds[0].any().unwrap_or(false);
        let signalled = fds[1].any().unwrap_or(false);
        drop(fds);
        self.drain(chunk);
        self.feed();
        if signalled && self.signals_ask_to_end() || alone && server_is_gone() {
            return Woken::Alone;
        }
        Woken::Nothing
    }

    /// Takes what the pipes have; whether there was anything.
    fn drain(&mut self, chunk: &mut [u8]) -> bool {
        let mut any = false;
        let Self { pipes, out, err, status, .. } = self;
        let mut from = |pipe: &mut Option<OwnedFd>, take: &mut dyn FnMut(&[u8])| {
            let Some(fd) = pipe.as_ref() else { return };
            match nix::unistd::read(fd, chunk) {
                Ok(0) => *pipe = None,
                Ok(n) => {
                    take(&chunk[..n]);
                    any = true;
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => *pipe = None,
            }
        };
        from(&mut pipes.stdout, &mut |bytes| out.push(bytes));
        from(&mut pipes.stderr, &mut |bytes| err.push(bytes));
        from(&mut pipes.status, &mut |bytes| {
            status.extend_from_slice(&bytes[..bytes.len().min(MAX_STATUS_BYTES - status.len().min(MAX_STATUS_BYTES))])
        });
        if !self.told && self.status.first() == Some(&READY) {
            self.told = true;
            report(&Report::Started, &[]);
        }
        any
    }

    /// Gives the program more of its input; it may close its end at any time.
    fn feed(&mut self) {
        let Some(fd) = &self.pipes.stdin else { return };
        match nix::unistd::write(fd, &self.order.stdin[self.fed..]) {
            Ok(n) => self.fed += n,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => self.fed = self.order.stdin.len(),
        }
        if self.fed == self.order.stdin.len() {
            self.pipes.stdin = None;
        }
    }

    /// Reads the signals; `true` if one asks us to end. Children that ended are taken note of.
    fn signals_ask_to_end(&mut self) -> bool {
        let mut end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            end |= i32::try_from(signal.ssi_signo).is_ok_and(|n| n != libc::SIGCHLD);
        }
        self.reap();
        end
    }

    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.pipes.child => self.exit = Some(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.pipes.child => self.exit = Some(128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// End of standard input: the server died or gave the run up.
fn server_is_gone() -> bool {
    let mut byte = [0; 64];
    matches!(nix::unistd::read(std::io::stdin(), &mut byte), Ok(0) | Err(_))
}

/// Kills everything in the group and everything that descends from this process, until nothing is left. `false` if something would not
/// die in time.
pub(crate) fn kill_everything(group: &Group, signals: &SignalFd) -> bool {
    let (own, since) = (nix::unistd::getpid().as_raw(), Instant::now());
    // Orphans of the run become children of this process, so "no children" means that nothing of it is alive.
    while reap_all() || !group.pids().is_empty() {
        if since.elapsed() > KILL_PATIENCE {
            return false;
        }
        group.kill();
        for process in processes::descendants(own) {
            // It may be gone by now; the next round sees.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(KILL_PAUSE).unwrap_or(PollTimeout::ZERO));
        while let Ok(Some(_)) = signals.read_signal() {}
    }
    true
}

/// Takes note of children that ended; whether some are still alive.
fn reap_all() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
    }
}
