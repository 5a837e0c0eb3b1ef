//! A folder whose contents are opened relative to it by the kernel, never by comparing strings: `openat2` with `RESOLVE_BENEATH`,
//! `RESOLVE_NO_MAGICLINKS` and `RESOLVE_NO_SYMLINKS`, and where the kernel is too old for it, one component after the other with
//! `O_NOFOLLOW`.
//!
//! Invariant: nothing outside the folder is ever opened, created, renamed or removed, whatever a program does to it meanwhile.
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Longest path that is accepted, bytes.
const MAX_PATH_BYTES: usize = 4096;
/// Deepest nesting that is walked, folders.
pub(crate) const MAX_DEPTH: usize = 64;

/// How often a file is opened again while the kernel says that something moved meanwhile.
const MAX_TRIES: usize = 100;

/// What is at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with one name.
    File,
    /// A folder.
    Directory,
    /// A symbolic link: listed, never followed.
    Symlink,
    /// A regular file that has other names too, perhaps elsewhere: listed, its content never read.
    HardLinked,
    /// A pipe, socket or device: listed, never opened.
    Special,
}

impl Kind {
    pub(crate) fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG if stat.st_nlink > 1 => Self::HardLinked,
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Directory,
            SFlag::S_IFLNK => Self::Symlink,
            _ => Self::Special,
        }
    }
}

/// One name met on a walk.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    /// Relative to where the walk began.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) stat: FileStat,
    /// A folder that may not be entered: a program took its owner's rights to it away.
    pub(crate) shut: bool,
}

/// A folder, held open.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: OwnedFd,
}

/// The components of a relative path; `None` if it is absolute, goes up, is too long or has a NUL.
pub(crate) fn components(path: &Path) -> Option<Vec<&std::ffi::OsStr>> {
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    if bytes.len() > MAX_PATH_BYTES || bytes.contains(&0) {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

impl Beneath {
    /// Holds a folder that exists. Its own path is trusted: it comes from the configuration.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let fd = nix::fcntl::open(root, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { root: fd })
    }

    /// Opens a path beneath the folder. `O_NONBLOCK` keeps a pipe from blocking; the caller looks at what it got.
    pub(crate) fn open_at(&self, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        // A descriptor that is only a place never waits, and the kernel refuses the flags with it.
        let flags = if flags.contains(OFlag::O_PATH) { flags } else { flags | OFlag::O_NOCTTY | OFlag::O_NONBLOCK };
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
        match patiently(|| openat2(&self.root, path, how)) {
            Err(Errno::ENOSYS) => self.walk_open(path, flags | OFlag::O_NOFOLLOW, mode),
            other => other,
        }
    }

    /// The same without `openat2`: each folder on the way is opened without following links.
    pub(crate) fn walk_open(&self, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
        let parts = components(path).ok_or(Errno::EXDEV)?;
        let mut here = openat(&self.root, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let Some((last, folders)) = parts.split_last() else { return Ok(here) };
        let step = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for part in folders {
            here = openat(&here, *part, step, Mode::empty())?;
        }
        openat(&here, *last, flags, mode)
    }

    /// Opens the folder that holds `path` and gives the last name.
    pub(crate) fn parent<'a>(&self, path: &'a Path) -> nix::Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_at(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?, name))
    }

    /// Makes a folder and those above it.
    pub(crate) fn make_dirs(&self, path: &Path) -> nix::Result<()> {
        let parts = components(path).ok_or(Errno::EXDEV)?;
        let mut so_far = PathBuf::new();
        for part in parts {
            let folder = self.open_at(&so_far, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
            match mkdirat(&folder, part, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
            so_far.push(part);
        }
        // What exists may be a file or a link: opening it says so.
        self.open_at(&so_far, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).map(drop)
    }

    /// What is at a path, without following it.
    pub(crate) fn stat(&self, path: &Path) -> nix::Result<FileStat> {
        if path.as_os_str().is_empty() || path == Path::new(".") {
            return fstat(&self.root);
        }
        let (folder, name) = self.parent(path)?;
        fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens the content of a regular file that has one name.
    pub(crate) fn open_file(&self, path: &Path) -> nix::Result<(File, FileStat)> {
        let fd = self.open_at(path, OFlag::O_RDONLY, Mode::empty())?;
        let stat = fstat(&fd)?;
        match Kind::of(&stat) {
            Kind::File => Ok((File::from(fd), stat)),
            Kind::Directory => Err(Errno::EISDIR),
            Kind::HardLinked => Err(Errno::EMLINK),
            Kind::Symlink | Kind::Special => Err(Errno::ENOTSUP),
        }
    }

    /// Writes a file anew: `fill` writes a temporary one beside it, which then takes the name. A link at the name is replaced, never
    /// followed; a folder is refused.
    pub(crate) fn write_file(&self, path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let mut draft = OsString::from(".maos-draft-");
        draft.push(format!("{:x}-{:x}", std::process::id(), next_number()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&folder, draft.as_os_str(), flags, Mode::from_bits_truncate(0o600))?);
        let written = fill(&mut file)
            .and_then(|()| nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(mode & 0o777)).map_err(io::Error::from))
            .and_then(|()| file.sync_data())
            .and_then(|()| renameat(&folder, draft.as_os_str(), &folder, name).map_err(io::Error::from));
        if written.is_err() {
            // The draft has no reader; if even this fails it only counts against the quota.
            let _ = unlinkat(&folder, draft.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Removes a file, link or empty folder.
    pub(crate) fn remove(&self, path: &Path) -> nix::Result<()> {
        let (folder, name) = self.parent(path)?;
        match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => unlinkat(&folder, name, UnlinkatFlags::RemoveDir),
            other => other,
        }
    }

    /// Visits everything beneath `start`, folders before their contents, in the order of names, until `visit` says to stop or
    /// `depth` folders have been entered. What cannot be read (it vanished, a program took its rights) is skipped.
    pub(crate) fn walk(&self, start: &Path, depth: usize, visit: &mut dyn FnMut(Met) -> bool) -> nix::Result<()> {
        let fd = self.open_at(start, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
        walk_folder(fd, Path::new(""), depth.min(MAX_DEPTH), visit).map(drop)
    }
}

/// Opens again when the kernel asks for that, because a rename raced with its walk. Not for ever: a program that holds a lease on the
/// file makes the kernel say the same for as long as the lease lasts.
fn patiently(mut open: impl FnMut() -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    let mut last = Errno::EAGAIN;
    for _ in 0..MAX_TRIES {
        match open() {
            Err(again @ (Errno::EAGAIN | Errno::EINTR)) => last = again,
            other => return other,
        }
    }
    Err(last)
}

/// `Ok(false)` when the visitor asked to stop.
fn walk_folder(fd: OwnedFd, prefix: &Path, depth: usize, visit: &mut dyn FnMut(Met) -> bool) -> nix::Result<bool> {
    let mut dir = Dir::from_fd(fd)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort();
    for name in names {
        let Ok(stat) = fstatat(&dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
        let path = prefix.join(&name);
        let kind = Kind::of(&stat);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let below = (kind == Kind::Directory).then(|| openat(&dir, name.as_os_str(), flags, Mode::empty()));
        let shut = matches!(below, Some(Err(Errno::EACCES)));
        if !visit(Met { path: path.clone(), kind, stat, shut }) {
            return Ok(false);
        }
        let Some(Ok(below)) = below.filter(|_| depth > 1) else { continue };
        match walk_folder(below, &path, depth - 1, visit) {
            // Removed while it was read: others (runs that end, programs) tidy up meanwhile.
            Ok(true) | Err(Errno::ENOENT) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A number no other draft of this process has.
fn next_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::{Beneath, MAX_TRIES, patiently};
    use nix::errno::Errno;
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    use std::path::Path;

    #[test]
    fn a_file_that_is_held_for_ever_is_given_up() {
        let mut tries = 0;
        let held = patiently(|| {
            tries += 1;
            Err(Errno::EAGAIN)
        });
        assert_eq!((held.unwrap_err(), tries), (Errno::EAGAIN, MAX_TRIES));
        let mut answers = [Err(Errno::EAGAIN), Err(Errno::EINTR), Err(Errno::ENOENT)].into_iter();
        assert_eq!(patiently(|| answers.next().unwrap()).unwrap_err(), Errno::ENOENT);
    }

    /// Both ways to open agree on what is inside and what is not.
    #[test]
    fn the_way_for_old_kernels_refuses_what_openat2_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "x").unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink("b", root.join("a/link")).unwrap();
        std::os::unix::fs::symlink("file", root.join("a/b/last")).unwrap();
        let files = Beneath::open(&root).unwrap();
        for (path, allowed) in [
            ("a/b/file", true),
            ("./a/./b/file", true),
            ("a", true),
            ("", true),
            ("out/secret", false),
            ("a/link/file", false),
            ("a/b/last", false),
            ("../secret", false),
            ("a/../../secret", false),
            ("/etc/passwd", false),
            ("a/none", false),
        ] {
            let kernel = files.open_at(Path::new(path), OFlag::O_RDONLY, Mode::empty());
            let walked = files.walk_open(Path::new(path), OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
            assert_eq!((kernel.is_ok(), walked.is_ok()), (allowed, allowed), "{path}: {kernel:?} {walked:?}");
        }
        assert_eq!(files.open_at(Path::new("out"), OFlag::O_RDONLY, Mode::empty()).unwrap_err(), Errno::ELOOP);
    }
}
