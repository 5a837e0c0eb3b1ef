//! The last steps before a program of an agent starts, made by the process that will become it: limits, no capabilities, no new
//! privileges, Landlock, the system call filter, no descriptors but 0, 1 and 2.
//!
//! Invariant: the program is started only if every step succeeded. Runs in a process with one thread.
use crate::filter;
use crate::forward;
use crate::job::Limits;
use crate::tier::Tier;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Where the process says how far it came: `R` when the program is about to start, `E` and text when it could not.
pub(crate) const STATUS_FD: RawFd = 3;
/// Where the process inside new namespaces reads its [`Inside`] from.
pub(crate) const ORDER_FD: RawFd = 4;
/// Sign on [`STATUS_FD`]: everything is in place.
pub(crate) const READY: u8 = b'R';
/// Sign on [`STATUS_FD`]: text about why the program could not be executed follows.
pub(crate) const NOT_RUN: u8 = b'E';
/// Sign on [`STATUS_FD`]: text about why the sandbox is not complete follows.
pub(crate) const NOT_SAFE: u8 = b'S';
/// CPU seconds between the signal that a program can see and the end.
const CPU_GRACE_S: u64 = 1;
/// Programs of agents yield to the server.
const NICE: i32 = 5;
/// Devices that hold nothing.
pub(crate) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What the process does before it becomes the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Inside {
    pub(crate) tier: Tier,
    pub(crate) abi: i32,
    pub(crate) memory_cgroup: bool,
    /// Most processes by `setrlimit`, where no cgroup counts them.
    pub(crate) most_processes: Option<u64>,
    /// The egress proxy's socket is there; programs reach it through a port on loopback.
    pub(crate) proxied: bool,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
    pub(crate) limits: Limits,
    /// May be read and executed.
    pub(crate) readable: Vec<PathBuf>,
    /// May be changed too.
    pub(crate) writable: Vec<PathBuf>,
}

/// Becomes the program. Comes back only if that failed; then [`STATUS_FD`] has the reason.
pub(crate) fn become_program(inside: &Inside) {
    // The port must be there before the program, and the forwarder gets no more rights than the program.
    let port = if inside.proxied { forward::listen().map(Some) } else { Ok(None) };
    let ready = port.and_then(|port| restrict(inside).and_then(|()| port.map_or(Ok(()), forward::start)));
    if let Err(why) = ready {
        say(NOT_SAFE, &why);
        return;
    }
    say(READY, "");
    let why = execute(inside);
    say(NOT_RUN, why.desc());
}

/// Reports on [`STATUS_FD`]. If nobody listens, nobody needs to know.
fn say(sign: u8, text: &str) {
    let mut bytes = vec![sign];
    bytes.extend_from_slice(text.as_bytes());
    // SAFETY: the descriptor is open until the program starts and nothing here owns it; it is only borrowed for one write.
    #[expect(unsafe_code, reason = "the descriptor comes by its number from the process that started this one")]
    let status = unsafe { std::os::fd::BorrowedFd::borrow_raw(STATUS_FD) };
    let _ = nix::unistd::write(status, &bytes);
}

fn restrict(inside: &Inside) -> Result<(), String> {
    std::env::set_current_dir(&inside.cwd).map_err(|e| format!("cannot enter {}: {e}", inside.cwd.display()))?;
    // SAFETY: restores the default; no handler of ours is replaced.
    #[expect(unsafe_code, reason = "programs expect the default, the start of a Rust program ignores it")]
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }
        .map_err(|e| format!("signals: {e}"))?;
    limits(inside)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    close_others()?;
    if inside.tier == Tier::Off {
        return Ok(());
    }
    drop_capabilities()?;
    nix::sys::prctl::set_no_new_privs().map_err(|e| format!("no_new_privs: {e}"))?;
    nix::sys::prctl::set_dumpable(false).map_err(|e| format!("dumpable: {e}"))?;
    landlock(inside)?;
    let facts = filter::Facts { tier: inside.tier, abi: inside.abi, memory_cgroup: inside.memory_cgroup };
    for program in filter::programs(facts)? {
        seccompiler::apply_filter(&program).map_err(|e| format!("system call filter: {e}"))?;
    }
    Ok(())
}

fn limits(inside: &Inside) -> Result<(), String> {
    let limits = &inside.limits;
    let mut set = vec![
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_CPU, limits.cpu_s, limits.cpu_s + CPU_GRACE_S),
        (Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (Resource::RLIMIT_NOFILE, limits.open_files, limits.open_files),
        (Resource::RLIMIT_MEMLOCK, 64 << 10, 64 << 10),
        (Resource::RLIMIT_MSGQUEUE, 0, 0),
        (Resource::RLIMIT_RTPRIO, 0, 0),
        (Resource::RLIMIT_NICE, 0, 0),
    ];
    if !inside.memory_cgroup {
        set.push((Resource::RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes));
    }
    if let Some(most) = inside.most_processes {
        set.push((Resource::RLIMIT_NPROC, most, most));
    }
    for (resource, soft, hard) in set {
        let (_, now) = nix::sys::resource::getrlimit(resource).map_err(|e| format!("getrlimit: {e}"))?;
        setrlimit(resource, soft.min(now), hard.min(now)).map_err(|e| format!("setrlimit {resource:?}: {e}"))?;
    }
    // SAFETY: setpriority takes numbers only.
    #[expect(unsafe_code, reason = "no safe wrapper exists for setpriority")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
    Ok(())
}

/// Every descriptor but the standard ones closes when the program starts.
fn close_others() -> Result<(), String> {
    // SAFETY: fcntl and close_range take numbers only and close nothing here.
    #[expect(unsafe_code, reason = "no safe wrapper exists for close_range")]
    let done = unsafe {
        libc::fcntl(STATUS_FD, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::syscall(libc::SYS_close_range, ORDER_FD, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    Errno::result(done).map(drop).map_err(|e| format!("close_range: {e}"))
}

/// Empties all sets, also the bounding set where that is allowed, and checks that they are empty.
fn drop_capabilities() -> Result<(), String> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`
    const VERSION: u32 = 0x2008_0522;
    let header = Header { version: VERSION, pid: 0 };
    let empty = [0_u32; 6];
    // SAFETY: prctl takes numbers only; capset reads a header and two records of three words, which is what it is given.
    #[expect(unsafe_code, reason = "no safe wrapper exists for capset")]
    let done = unsafe {
        // Ends at the first number that is no capability; refused without CAP_SETPCAP, when no_new_privs keeps file capabilities away.
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                break;
            }
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        libc::syscall(libc::SYS_capset, &raw const header, empty.as_ptr())
    };
    Errno::result(done).map_err(|e| format!("capset: {e}"))?;
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let left = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
        u64::from_str_radix(value, 16) != Ok(0)
    };
    let root = nix::unistd::geteuid().is_root();
    match ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].into_iter().chain(root.then_some("CapBnd:")).find(|name| left(name)) {
        Some(name) => Err(format!("capabilities are left in {name} of /proc/self/status")),
        None => Ok(()),
    }
}

fn landlock(inside: &Inside) -> Result<(), String> {
    let failed = |e: landlock::RulesetError| format!("Landlock: {e}");
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(failed)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .map_err(failed)?
        .scope(Scope::from_all(ABI::V6))
        .map_err(failed)?;
    // Tier 2 has a network of its own, in which servers of tests may be reached.
    if inside.tier == Tier::Lsm {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4)).map_err(failed)?;
    }
    let read = AccessFs::from_read(ABI::V5);
    let devices = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let change = AccessFs::from_all(ABI::V5) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let status = ruleset
        .create()
        .map_err(failed)?
        .add_rules(path_beneath_rules(&inside.readable, read))
        .map_err(failed)?
        .add_rules(path_beneath_rules(&inside.writable, change))
        .map_err(failed)?
        .add_rules(path_beneath_rules(DEVICES, devices))
        .map_err(failed)?
        .restrict_self()
        .map_err(failed)?;
    if status.ruleset == RulesetStatus::NotEnforced { Err("Landlock is not enforced by this kernel".to_owned()) } else { Ok(()) }
}

/// Starts the program, looked up in the `PATH` it gets. Comes back only if that failed.
fn execute(inside: &Inside) -> Errno {
    let text = |value: &str| CString::new(value).map_err(|_| Errno::EINVAL);
    let prepared = || -> Result<_, Errno> {
        let argv = inside.argv.iter().map(|a| text(a)).collect::<Result<Vec<_>, _>>()?;
        let env = inside.env.iter().map(|(k, v)| text(&format!("{k}={v}"))).collect::<Result<Vec<_>, _>>()?;
        Ok((argv, env))
    };
    let (argv, env) = match prepared() {
        Ok(both) => both,
        Err(errno) => return errno,
    };
    let Some(program) = inside.argv.first() else { return Errno::ENOENT };
    let folders: Vec<&str> = match program.contains('/') {
        true => vec![""],
        false => inside.env.get("PATH").map(|path| path.split(':').collect()).unwrap_or_default(),
    };
    let mut last = Errno::ENOENT;
    for folder in folders {
        let full = if folder.is_empty() { program.clone() } else { format!("{folder}/{program}") };
        let Ok(full) = text(&full) else { return Errno::EINVAL };
        match nix::unistd::execve(&full, &argv, &env) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => last = errno,
            Ok(never) => match never {},
        }
    }
    last
}

/// Landlock's version; 0 if this kernel has none.
pub(crate) fn landlock_abi() -> i32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no pointer and makes nothing; it returns a number.
    #[expect(unsafe_code, reason = "the crate does not tell the version")]
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    i32::try_from(abi).unwrap_or(0).max(0)
}
