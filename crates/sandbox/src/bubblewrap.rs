//! The command line of bubblewrap, which builds tier 2 where it is installed.
use crate::beneath::Beneath;
use crate::job::Order;
use crate::view::{HOSTNAME, Part, USER, parts};
use crate::workspace::{INSIDE, protected_in_sandbox};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The helper itself inside.
const HELPER: &str = "/run/maos/helper";

/// Arguments, and descriptors that must stay open until bubblewrap has bound them.
pub(crate) fn arguments(order: &Order, tmp: &Path, helper: &Path, prefix: &[String]) -> std::io::Result<(Vec<String>, Vec<OwnedFd>)> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |parts: &[&str]| args.extend(parts.iter().map(|p| (*p).to_owned()));
    let user = USER.to_string();
    add(&["bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]);
    add(&["--uid", &user, "--gid", &user, "--hostname", HOSTNAME, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
    for part in parts(order, tmp) {
        match part {
            Part::Link { target, at } => add(&["--symlink", &target.to_string_lossy(), &at.to_string_lossy()]),
            Part::Bind { from, at, writable } => {
                add(&[if writable { "--bind" } else { "--ro-bind" }, &from.to_string_lossy(), &at.to_string_lossy()]);
            }
            Part::Processes => add(&["--proc", "/proc"]),
            Part::Devices => add(&["--dev", "/dev"]),
            Part::Memory { at, bytes } => add(&["--size", &bytes.to_string(), "--tmpfs", at]),
        }
    }
    add(&["--ro-bind", &helper.to_string_lossy(), HELPER]);
    let held = protect(&order.root, &mut add)?;
    add(&["--remount-ro", "/", "--chdir", INSIDE, "--", HELPER]);
    for part in prefix {
        add(&[part]);
    }
    add(&["inside"]);
    Ok((args, held))
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
