//! Starts the program of a run: a forked process that becomes it, by itself, through bubblewrap or in namespaces of our own making.
//!
//! Invariant: the process that becomes the program is in the cgroup of the run before it does anything else.
use crate::cgroup::{Controller, Group};
use crate::forward;
use crate::helper::FAILED;
use crate::job::Order;
use crate::namespaces::become_program_inside;
use crate::processes;
use crate::restrict::{Inside, NOT_SAFE, ORDER_FD, STATUS_FD, become_program};
use crate::tier::Tier;
use crate::{bubblewrap, view};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Descriptors of the supervisor are above those of its child.
const LOWEST_FD: i32 = 10;
/// Raised so that the kernel, short of memory, ends programs of agents first.
const OOM_SCORE_ADJ: &str = "800";

/// A program that was started, and the ends of its pipes.
pub(crate) struct Started {
    pub(crate) child: Pid,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) status: Option<OwnedFd>,
}

/// Both ends of a pipe, away from the numbers that the child uses; this side's end does not block.
fn pipe(ours_reads: bool) -> Result<(OwnedFd, OwnedFd), String> {
    let failed = |e: Errno| format!("pipe: {e}");
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let up = |fd: OwnedFd| -> Result<OwnedFd, String> {
        let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(LOWEST_FD)).map_err(failed)?;
        // SAFETY: the kernel just made this descriptor and nothing else owns it.
        #[expect(unsafe_code, reason = "fcntl gives a number")]
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let (read, write) = (up(read)?, up(write)?);
    let (ours, theirs) = if ours_reads { (read, write) } else { (write, read) };
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok((ours, theirs))
}

/// Forks the process that becomes the program, or bubblewrap, which becomes it in new namespaces.
pub(crate) fn start(order: &Order, group: &Group, tmp: &Path) -> Result<Started, String> {
    let (stdin, child_in) = pipe(false)?;
    let (stdout, child_out) = pipe(true)?;
    let (stderr, child_err) = pipe(true)?;
    let (status, child_status) = pipe(true)?;
    let inside = inside(order, tmp);
    let way = match (order.tier, &order.bubblewrap) {
        (Tier::Namespaces, Some(program)) => Way::Bubblewrap(wrap(order, program, tmp, &inside)?),
        (Tier::Namespaces, None) => Way::Namespaces,
        (Tier::Lsm | Tier::Off, _) => Way::Here,
    };
    // SAFETY: this process has one thread, so the child may go on in the middle of it.
    #[expect(unsafe_code, reason = "fork")]
    let forked = unsafe { fork() }.map_err(|e| format!("fork: {e}"))?;
    if let ForkResult::Parent { child } = forked {
        return Ok(Started { child, stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr), status: Some(status) });
    }
    let ends = [(&child_in, 0), (&child_out, 1), (&child_err, 2), (&child_status, STATUS_FD)];
    let mut ends: Vec<(i32, i32)> = ends.iter().map(|(fd, to)| (fd.as_raw_fd(), *to)).collect();
    if let Way::Bubblewrap(wrapped) = &way {
        ends.push((wrapped.order.as_raw_fd(), ORDER_FD));
    }
    child(&ends, group, &|| match &way {
        Way::Here => {
            become_program(&inside);
            None
        }
        Way::Namespaces => Some(become_program_inside(order, tmp, &inside)),
        Way::Bubblewrap(wrapped) => Some(wrapped.become_it()),
    });
    // SAFETY: ends the child without running what the parent registered; it never returns.
    #[expect(unsafe_code, reason = "a forked child must not run the parent's clean-up")]
    unsafe {
        libc::_exit(i32::from(FAILED))
    }
}

/// How the child becomes the program.
enum Way {
    /// Where it is.
    Here,
    /// In namespaces that it makes itself.
    Namespaces,
    /// In namespaces that bubblewrap makes.
    Bubblewrap(Wrapped),
}

/// Bubblewrap's command line and what it must inherit.
struct Wrapped {
    program: std::ffi::CString,
    args: Vec<std::ffi::CString>,
    order: OwnedFd,
    /// Folders that its command line names by number.
    _held: Vec<OwnedFd>,
}

impl Wrapped {
    /// Comes back only if that failed, with the reason.
    fn become_it(&self) -> String {
        match nix::unistd::execve(&self.program, &self.args, &[c"LANG=C.UTF-8"]) {
            Err(errno) => format!("bubblewrap: {}", errno.desc()),
            Ok(never) => match never {},
        }
    }
}

fn wrap(order: &Order, program: &Path, tmp: &Path, inside: &Inside) -> Result<Wrapped, String> {
    let helper = std::fs::read_link("/proc/self/exe").map_err(|e| format!("/proc/self/exe: {e}"))?;
    // This process was started as the helper; what came before its own argument makes the program the helper inside too.
    let mut prefix: Vec<String> = std::env::args().skip(1).collect();
    prefix.pop();
    let (args, held) = bubblewrap::arguments(order, tmp, &helper, &prefix).map_err(|e| format!("workspace: {e}"))?;
    let text = |value: &str| std::ffi::CString::new(value).map_err(|_| "a path has a NUL".to_owned());
    let memory = memfd_create(c"order", MFdFlags::MFD_CLOEXEC).map_err(|e| format!("memfd: {e}"))?;
    // The number may be one that the child uses for something else.
    let number = fcntl(&memory, FcntlArg::F_DUPFD_CLOEXEC(LOWEST_FD)).map_err(|e| format!("memfd: {e}"))?;
    // SAFETY: the kernel just made this descriptor and nothing else owns it.
    #[expect(unsafe_code, reason = "fcntl gives a number")]
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(number) });
    let written = serde_json::to_vec(inside).map_err(|e| e.to_string()).and_then(|bytes| file.write_all(&bytes).map_err(|e| e.to_string()));
    written.and_then(|()| std::io::Seek::rewind(&mut file).map_err(|e| e.to_string())).map_err(|e| format!("memfd: {e}"))?;
    let program = text(&program.to_string_lossy())?;
    let args = args.iter().map(|a| text(a)).collect::<Result<_, _>>()?;
    Ok(Wrapped { program, args, order: file.into(), _held: held })
}

/// What the process needs to know to become the program.
fn inside(order: &Order, tmp: &Path) -> Inside {
    let system = view::SYSTEM.iter().map(PathBuf::from);
    let (readable, writable, home): (Vec<PathBuf>, Vec<PathBuf>, String) = if order.tier == Tier::Namespaces {
        let own = [PathBuf::from("/etc"), PathBuf::from("/proc")];
        let writable = [crate::workspace::INSIDE, view::HOME, "/tmp", "/dev/shm"].map(PathBuf::from).to_vec();
        (system.chain(own).chain(order.read_only.iter().cloned()).collect(), writable, view::HOME.to_owned())
    } else {
        let etc = view::ETC.iter().chain(&["passwd", "group", "nsswitch.conf", "hosts"]).map(|n| PathBuf::from("/etc").join(n));
        let readable = system.chain(etc).chain(order.read_only.iter().cloned()).collect();
        (readable, vec![order.root.clone(), tmp.to_owned()], tmp.to_string_lossy().into_owned())
    };
    let mut env = order.env.clone();
    let path: Vec<String> = order
        .path_first
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .chain(["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned))
        .collect();
    let temporary = if order.tier == Tier::Namespaces { "/tmp".to_owned() } else { home.clone() };
    for (name, value) in [
        ("PATH", path.join(":")),
        ("HOME", home.clone()),
        ("TMPDIR", temporary),
        ("LANG", "C.UTF-8".to_owned()),
        ("USER", "agent".to_owned()),
        ("MPLBACKEND", "Agg".to_owned()),
        ("MPLCONFIGDIR", format!("{home}/matplotlib")),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        (crate::record::RUN_VARIABLE, order.id.clone()),
    ] {
        env.insert(name.to_owned(), value);
    }
    if order.egress.is_some() {
        env.extend(forward::environment());
    }
    Inside {
        tier: order.tier,
        abi: order.abi,
        memory_cgroup: order.cgroups.has(Controller::Memory),
        most_processes: most_processes(order),
        proxied: order.egress.is_some(),
        argv: order.argv.clone(),
        env,
        cwd: if order.tier == Tier::Namespaces { PathBuf::from(crate::workspace::INSIDE) } else { order.root.clone() },
        limits: order.limits,
        readable,
        writable,
    }
}

/// The kernel counts all processes of a user, so those that are there already are added; in a user namespace of its own a run begins at 0.
fn most_processes(order: &Order) -> Option<u64> {
    let others = match order.tier {
        _ if order.cgroups.has(Controller::Pids) => return None,
        Tier::Namespaces => 0,
        Tier::Lsm | Tier::Off => processes::threads_of(nix::unistd::getuid().as_raw()),
    };
    Some(order.limits.processes + others)
}

/// In the child: never comes back unless it failed, and then says why on the status pipe. `become_it` comes back with the reason, or with
/// `None` where that was said already.
fn child(ends: &[(i32, i32)], group: &Group, become_it: &dyn Fn() -> Option<String>) {
    for (from, to) in ends {
        // SAFETY: both are numbers; the targets are 0 to 4, which this child does not use for anything else.
        #[expect(unsafe_code, reason = "the targets are fixed numbers that nothing owns")]
        if unsafe { libc::dup2(*from, *to) } < 0 {
            return;
        }
    }
    let ready = || -> Result<(), String> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("death signal: {e}"))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(|e| format!("signals: {e}"))?;
        nix::unistd::setsid().map_err(|e| format!("setsid: {e}"))?;
        std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ).map_err(|e| format!("oom_score_adj: {e}"))?;
        group.join().map_err(|e| format!("cgroup: {e}"))
    };
    let Some(failed) = ready().map_or_else(Some, |()| become_it()) else { return };
    let mut text = vec![NOT_SAFE];
    text.extend_from_slice(failed.as_bytes());
    // SAFETY: the status pipe was put at this number above.
    #[expect(unsafe_code, reason = "the descriptor is a fixed number")]
    let status = unsafe { std::os::fd::BorrowedFd::borrow_raw(STATUS_FD) };
    let _ = nix::unistd::write(status, &text);
}
