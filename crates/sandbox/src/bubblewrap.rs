//! The command line of bubblewrap for tier 2: a fresh root with the system's programs read-only, the workspace, and nothing else of
//! this machine.
use crate::beneath::Beneath;
use crate::job::Order;
use crate::workspace::{INSIDE, protected_in_sandbox};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The private folder of a job inside.
pub(crate) const HOME: &str = "/home/agent";
/// The helper itself inside.
const HELPER: &str = "/run/maos/helper";
/// The socket of the egress proxy inside.
pub(crate) const EGRESS: &str = "/run/maos/egress.sock";
/// Who the program is inside.
const USER: &str = "1000";
/// Size of each of `/tmp` and `/dev/shm`, bytes; both are memory.
const MEMORY_FOLDER_BYTES: &str = "67108864";
/// Folders with the system's programs; links between them are made again.
pub(crate) const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];
/// What programs need of `/etc`; nothing here is secret.
pub(crate) const ETC: [&str; 19] = [
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "timezone",
];
/// Files of `/etc` that are written for the sandbox, with their contents.
pub(crate) const OWN_ETC: [(&str, &str); 5] = [
    ("passwd", "root:x:0:0::/nonexistent:/bin/false\nagent:x:1000:1000::/home/agent:/bin/sh\n"),
    ("group", "root:x:0:\nagent:x:1000:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("ssl/openssl.cnf", "openssl_conf = default\n[default]\n"),
];

/// Where the files of [`OWN_ETC`] lie on this machine.
pub(crate) fn own_etc(state_dir: &Path) -> PathBuf {
    state_dir.join("etc")
}

/// Arguments, and descriptors that must stay open until bubblewrap has bound them.
pub(crate) fn arguments(order: &Order, tmp: &Path, helper: &Path) -> std::io::Result<(Vec<String>, Vec<OwnedFd>)> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |parts: &[&str]| args.extend(parts.iter().map(|p| (*p).to_owned()));
    add(&["bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]);
    add(&["--uid", USER, "--gid", USER, "--hostname", "maos", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
    for folder in SYSTEM {
        match std::fs::read_link(folder) {
            Ok(target) => add(&["--symlink", &target.to_string_lossy(), folder]),
            Err(_) if Path::new(folder).is_dir() => add(&["--ro-bind", folder, folder]),
            Err(_) => {}
        }
    }
    for name in ETC {
        let path = format!("/etc/{name}");
        add(&["--ro-bind-try", &path, &path]);
    }
    for (name, _) in OWN_ETC {
        let from = own_etc(&order.state_dir).join(name);
        add(&["--ro-bind", &from.to_string_lossy(), &format!("/etc/{name}")]);
    }
    for path in &order.read_only {
        add(&["--ro-bind", &path.to_string_lossy(), &path.to_string_lossy()]);
    }
    add(&["--proc", "/proc", "--dev", "/dev"]);
    add(&["--size", MEMORY_FOLDER_BYTES, "--tmpfs", "/dev/shm", "--size", MEMORY_FOLDER_BYTES, "--tmpfs", "/tmp"]);
    add(&["--bind", &order.root.to_string_lossy(), INSIDE, "--bind", &tmp.to_string_lossy(), HOME]);
    add(&["--ro-bind", &helper.to_string_lossy(), HELPER]);
    if let Some(socket) = &order.egress {
        add(&["--ro-bind", &socket.to_string_lossy(), EGRESS]);
    }
    let held = protect(&order.root, &mut add)?;
    add(&["--remount-ro", "/", "--chdir", INSIDE, "--", HELPER]);
    // The same program in its other mode: whatever words made it the helper make it the helper again.
    args.extend(own_prefix());
    args.push("inside".into());
    Ok((args, held))
}

/// The words between this program's name and its mode: `maos sandbox-exec supervise` has `sandbox-exec`.
fn own_prefix() -> Vec<String> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    words.pop();
    words
}

/// Binds what steers later programs read-only onto itself, where it exists. The sources are descriptors opened beneath the root: another
/// run in the same workspace could put a link in the place of a path.
fn protect(root: &Path, add: &mut dyn FnMut(&[&str])) -> std::io::Result<Vec<OwnedFd>> {
    let files = Beneath::open(root)?;
    let mut held: Vec<OwnedFd> = Vec::new();
    let mut bind = |how: &str, path: &str| -> bool {
        let Ok(fd) = files.open_at(Path::new(path), OFlag::O_PATH, Mode::empty()) else { return false };
        // Bubblewrap must inherit it.
        if nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).is_err() {
            return false;
        }
        add(&[how, &format!("/proc/self/fd/{}", fd.as_raw_fd()), &format!("{INSIDE}/{path}")]);
        held.push(fd);
        true
    };
    // The folder on the way must stay in its place too, or another could be put there.
    bind("--bind", ".git");
    for path in protected_in_sandbox() {
        bind("--ro-bind", path);
    }
    Ok(held)
}
