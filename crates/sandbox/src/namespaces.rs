//! Our own builder of tier 2, for machines without bubblewrap: new namespaces, a root made of the [`Part`]s of the view, and a first
//! process that waits for everything in them.
//!
//! ```text
//! forked child of the supervisor: new namespaces ──▶ first process: root, loopback ──▶ program
//!        └ waits, ends as the first process does          └ waits for all, ends as the program does
//! ```
//!
//! Invariant: sources are cloned as mounts before the root is left and hung up in the new one by descriptor, so that nothing in the
//! workspace can lead a mount elsewhere; the supervisor's process never leaves its own namespaces. Runs in processes with one thread.
use crate::beneath::Beneath;
use crate::helper::FAILED;
use crate::job::Order;
use crate::restrict::{DEVICES, Inside, ORDER_FD, become_program};
use crate::view::{HOSTNAME, Part, USER, parts};
use crate::watch::SIGNAL_BASE;
use crate::workspace::{INSIDE, protected_in_sandbox};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Parts of `/proc` through which the machine could be steered; they are read-only whatever the rights of their files say.
const STEERING: [&str; 4] = ["sys", "sysrq-trigger", "irq", "bus"];
/// Links that programs expect in `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] =
    [("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"), ("/proc/self/fd/2", "stderr")];

/// Becomes the program in new namespaces. Comes back only in a process that could not do its part, with the reason; the process that
/// waits ends here.
pub(crate) fn become_program_inside(order: &Order, tmp: &Path, inside: &Inside) -> String {
    // No program is executed on the way, so what the supervisor has open would stay open: also its ends of the program's pipes.
    close_from(ORDER_FD);
    match enter().and_then(|()| fork_apart()) {
        Err(why) => why,
        Ok(Some(child)) => end_as(child),
        Ok(None) => match first_process(order, tmp) {
            Err(why) => why,
            Ok(Some(child)) => end_as(child),
            Ok(None) => {
                become_program(inside);
                end(i32::from(FAILED))
            }
        },
    }
}

fn failed(what: &str) -> impl Fn(Errno) -> String + '_ {
    move |errno| format!("{what}: {}", errno.desc())
}

fn at(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// New namespaces; of processes, only for those that this one starts.
fn enter() -> Result<(), String> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(all).map_err(failed("new namespaces"))?;
    // Whoever may not set groups may map its own; this order is the kernel's rule.
    for (file, line) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("{USER} {user} 1")), ("gid_map", format!("{USER} {group} 1"))]
    {
        let path = Path::new("/proc/self").join(file);
        fs::write(&path, line).map_err(at(&path))?;
    }
    nix::unistd::sethostname(HOSTNAME).map_err(failed("name of the machine"))?;
    loopback_up().map_err(failed("loopback"))
}

/// `None` in the child, which dies with its parent.
fn fork_apart() -> Result<Option<Pid>, String> {
    // SAFETY: this process has one thread, so the child may go on in the middle of it.
    #[expect(unsafe_code, reason = "fork")]
    match unsafe { fork() }.map_err(failed("fork"))? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("death signal")).map(|()| None),
    }
}

/// Builds the root and forks; `None` in the child.
fn first_process(order: &Order, tmp: &Path) -> Result<Option<Pid>, String> {
    root(order, tmp)?;
    fork_apart()
}

/// Waits for everything there is to wait for until this child has ended, and ends as it did.
fn end_as(child: Pid) -> ! {
    // Programs must not find ends of pipes held open, nor anything worth reading in the process that waits.
    close_from(0);
    let _ = nix::sys::prctl::set_dumpable(false);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => end(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => end(SIGNAL_BASE + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => end(i32::from(FAILED)),
        }
    }
}

/// Closes this descriptor and all above it, in a forked child that uses none of them any more and never runs their owners' clean-up.
fn close_from(first: RawFd) {
    // SAFETY: takes numbers only; see above.
    #[expect(unsafe_code, reason = "no safe wrapper exists for close_range")]
    unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0);
    }
}

fn end(code: i32) -> ! {
    // SAFETY: ends a forked child without running what its parent registered.
    #[expect(unsafe_code, reason = "a forked child must not run the parent's clean-up")]
    unsafe {
        libc::_exit(code)
    }
}

fn loopback_up() -> Result<(), Errno> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeros is a valid request; the name is shorter than its field and ends with a zero.
    #[expect(unsafe_code, reason = "no safe wrapper exists for the flags of an interface")]
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = (*from).cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    };
    Errno::result(done).map(drop)
}

/// A mount that hangs nowhere yet.
struct Tree {
    mount: OwnedFd,
    at: PathBuf,
    folder: bool,
}

/// Makes the root and goes there; nothing of the former one can be reached any more.
fn root(order: &Order, tmp: &Path) -> Result<(), String> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>).map_err(failed("mounts of the machine"))?;
    let parts = parts(order, tmp);
    // All sources first: the root lies over one of them.
    let mut trees = Vec::new();
    for part in &parts {
        if let Part::Bind { from, at, writable } = part {
            trees.push(clone_path(from, at.clone(), *writable)?);
        }
    }
    let devices = DEVICES.iter().map(|device| clone_device(Path::new(device))).collect::<Result<Vec<_>, _>>()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), tmp, Some("tmpfs"), flags, Some("mode=755")).map_err(failed("new root"))?;
    let (mut trees, mut devices) = (trees.into_iter(), devices.into_iter());
    for part in &parts {
        match part {
            Part::Link { target, at } => {
                let link = within(tmp, at);
                std::os::unix::fs::symlink(target, &link).map_err(self::at(&link))?;
            }
            Part::Bind { .. } => hang(tmp, &trees.next().expect("one was cloned for each"))?,
            Part::Processes => {
                let proc = folder(tmp, Path::new("/proc"))?;
                mount(Some("proc"), &proc, Some("proc"), flags | MsFlags::MS_NOEXEC, None::<&str>).map_err(failed("/proc"))?;
                for name in STEERING {
                    let path = proc.join(name);
                    if path.exists() {
                        hang(Path::new("/"), &clone_path(&path, path.clone(), false)?)?;
                    }
                }
            }
            Part::Devices => {
                let dev = folder(tmp, Path::new("/dev"))?;
                devices.by_ref().try_for_each(|device| hang(tmp, &device))?;
                for (target, name) in DEVICE_LINKS {
                    std::os::unix::fs::symlink(target, dev.join(name)).map_err(self::at(&dev))?;
                }
            }
            Part::Memory { at, bytes } => {
                let place = folder(tmp, Path::new(at))?;
                let options = format!("mode=1777,size={bytes}");
                mount(Some("tmpfs"), &place, Some("tmpfs"), flags, Some(options.as_str())).map_err(failed(at))?;
            }
        }
    }
    std::env::set_current_dir(tmp).map_err(at(tmp))?;
    // The former root comes to lie over the new one and is taken away from there: pivot_root(2), "pivot_root(".", ".")".
    nix::unistd::pivot_root(".", ".").map_err(failed("change of the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed("former root"))?;
    std::env::set_current_dir("/").map_err(at(Path::new("/")))?;
    protect()?;
    set_attributes(&AT_FDCWD, c"/", libc::MOUNT_ATTR_RDONLY, 0).map_err(failed("read-only root"))
}

/// Makes what steers later programs read-only where it exists, by a mount of each onto itself. Another run in the same workspace may
/// change names meanwhile; source and place are one descriptor, opened beneath the workspace.
fn protect() -> Result<(), String> {
    let files = Beneath::open(Path::new(INSIDE)).map_err(at(Path::new(INSIDE)))?;
    // The folder on the way must stay in its place too, or another could be put there.
    let on_the_way = [(".git", true)].into_iter();
    for (path, writable) in on_the_way.chain(protected_in_sandbox().map(|path| (path, false))) {
        let Ok(place) = files.open_at(Path::new(path), OFlag::O_PATH, Mode::empty()) else { continue };
        let tree = clone(&place, c"", writable).map_err(failed(path))?;
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, &place, c"", flags).map_err(failed(path))?;
    }
    Ok(())
}

/// A path inside as it lies while the new root is not yet `/`.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A folder of the new root, made with those on the way to it.
fn folder(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let full = within(root, path);
    fs::create_dir_all(&full).map_err(at(&full))?;
    Ok(full)
}

fn clone_path(from: &Path, to: PathBuf, writable: bool) -> Result<Tree, String> {
    let folder = fs::metadata(from).map_err(at(from))?.is_dir();
    let mount = clone(&AT_FDCWD, &text(from)?, writable).map_err(|e| format!("{}: {}", from.display(), e.desc()))?;
    Ok(Tree { mount, at: to, folder })
}

fn clone_device(path: &Path) -> Result<Tree, String> {
    let mount = open_tree(&AT_FDCWD, &text(path)?).map_err(|e| format!("{}: {}", path.display(), e.desc()))?;
    Ok(Tree { mount, at: path.to_owned(), folder: false })
}

/// Hangs a mount up in the new root, at a place made for it.
fn hang(root: &Path, tree: &Tree) -> Result<(), String> {
    let place = within(root, &tree.at);
    if !place.exists() {
        match (tree.folder, place.parent()) {
            (false, Some(parent)) => fs::create_dir_all(parent).and_then(|()| fs::write(&place, "")),
            _ => fs::create_dir_all(&place),
        }
        .map_err(at(&place))?;
    }
    move_mount(&tree.mount, &AT_FDCWD, &text(&place)?, libc::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| format!("{}: {}", place.display(), e.desc()))
}

fn text(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{}: the path has a NUL", path.display()))
}

/// A clone of a file or folder and of all mounts beneath it: no set-user-id, no devices, and unless asked for nothing can be written.
fn clone(folder: &impl AsFd, path: &std::ffi::CStr, writable: bool) -> Result<OwnedFd, Errno> {
    let tree = open_tree(folder, path)?;
    let read_only = if writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    set_attributes(&tree, c"", libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | read_only, libc::AT_RECURSIVE)?;
    Ok(tree)
}

fn open_tree(folder: &impl AsFd, path: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let recursive = (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH).cast_unsigned();
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | recursive;
    // SAFETY: reads a text that ends with a zero.
    #[expect(unsafe_code, reason = "no safe wrapper exists for open_tree")]
    let made = unsafe { libc::syscall(libc::SYS_open_tree, folder.as_fd().as_raw_fd(), path.as_ptr(), flags) };
    let number = Errno::result(made)?;
    // SAFETY: the kernel just made this descriptor and nothing else owns it.
    #[expect(unsafe_code, reason = "the system call gives a number")]
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(number).map_err(|_| Errno::EBADF)?) })
}

fn move_mount(mount: &impl AsFd, folder: &impl AsFd, path: &std::ffi::CStr, flags: libc::c_uint) -> Result<(), Errno> {
    let (from, to) = (mount.as_fd().as_raw_fd(), folder.as_fd().as_raw_fd());
    // SAFETY: reads two texts that end with a zero.
    #[expect(unsafe_code, reason = "no safe wrapper exists for move_mount")]
    let done = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, path.as_ptr(), flags) };
    Errno::result(done).map(drop)
}

/// Adds attributes (`MOUNT_ATTR_*`) to a mount; none is taken away.
fn set_attributes(folder: &impl AsFd, path: &std::ffi::CStr, attributes: u64, flags: libc::c_int) -> Result<(), Errno> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = flags | if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: reads a text that ends with a zero and a record of the size that is told.
    #[expect(unsafe_code, reason = "no safe wrapper exists for mount_setattr")]
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, folder.as_fd().as_raw_fd(), path.as_ptr(), flags, &raw const wanted, size_of_val(&wanted))
    };
    Errno::result(done).map(drop)
}
