//! The files of a task, beneath one root. Every path that comes from a model is opened relative to the root by the kernel
//! (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS`); no string is ever compared with a prefix.
//!
//! Invariant: no call here reads, changes or creates anything outside the root, and none follows a link. All calls block; callers in
//! async code use a blocking thread. Must not know tasks.
use crate::beneath::{Beneath, Kind, MAX_DEPTH, components};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the root is inside the sandbox; models write absolute paths that begin with it.
pub const INSIDE: &str = "/workspace";
/// Size of a block as `stat` counts them, bytes.
const STAT_BLOCK: u64 = 512;
/// Most names one listing can give, whatever is asked.
const MAX_LISTED: usize = 10_000;
/// Names at the root that no tool may write: they steer programs and agents that come later.
const PROTECTED_AT_ROOT: [&str; 4] = ["AGENTS.md", ".maos", ".mcp.json", ".claude"];
/// What an export leaves out of a `.git` folder: programs that Git would run, and the file that names them.
const GIT_RUNS: [&str; 3] = ["hooks", "config", "config.worktree"];

/// Most a workspace may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    /// Bytes on disk, of all files together.
    pub bytes: u64,
    /// Files, folders and links together.
    pub files: u64,
}

impl Default for Quota {
    /// 1 GiB in 50,000 files.
    fn default() -> Self {
        Self { bytes: 1 << 30, files: 50_000 }
    }
}

/// What a workspace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

impl Usage {
    /// More than allowed?
    pub fn exceeds(&self, quota: Quota) -> bool {
        self.bytes > quota.bytes || self.files > quota.files
    }
}

/// Something in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root. Not for terminals: see [`Entry::shown`].
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub modified_ns: i128,
    /// Its owner may run it.
    pub executable: bool,
}

impl Entry {
    /// The path with control characters and bytes that are no text escaped (`a\nb` becomes `a\\nb`).
    pub fn shown(&self) -> String {
        shown(&self.path)
    }
}

/// A listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// In the order of a walk: a folder, then what is in it.
    pub entries: Vec<Entry>,
    /// There was more than the asked number.
    pub truncated: bool,
}

/// The content of a file, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The bytes read.
    pub bytes: Vec<u8>,
    /// Size of the whole file.
    pub size: u64,
}

/// What an export did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What was left out (escaped path) and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// Why a file operation was refused; the text is meant for the model.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path leads out of the workspace.
    #[error("\"{0}\" is outside the workspace; give a path relative to the workspace, without \"..\"")]
    Outside(String),
    /// Nothing there.
    #[error("there is no \"{0}\" in the workspace; list_files shows what there is")]
    Missing(String),
    /// A link on the way or at the end.
    #[error("\"{0}\" is, or leads through, a symbolic link; file tools do not follow links")]
    Link(String),
    /// A folder where a file was expected.
    #[error("\"{0}\" is a folder, not a file")]
    Folder(String),
    /// A file where a folder was expected.
    #[error("\"{0}\" is not a folder, or a part of its path is a file")]
    NotFolder(String),
    /// A device, pipe or socket, or a file with more than one name.
    #[error("\"{0}\" is not a plain file (a pipe, socket, device, or a file with several hard links); it is not opened")]
    NotPlain(String),
    /// A name with control characters.
    #[error("\"{0}\" has a control character (such as a new line or ESC) or bytes that are not UTF-8 in its name; choose another name")]
    BadName(String),
    /// A name that steers later programs or agents.
    #[error("\"{0}\" is protected: it steers programs or agents that come later, so tools may not write it; choose another name")]
    Protected(String),
    /// The text to replace is not there.
    #[error("the text to replace does not occur in \"{0}\"; read the file and copy the text exactly, with its spaces")]
    NoMatch(String),
    /// The text to replace is there more than once.
    #[error("the text to replace occurs {1} times in \"{0}\"; give more of the surrounding text, or set replace_all")]
    ManyMatches(String, usize),
    /// Not text.
    #[error("\"{0}\" is not UTF-8 text; change it with a program (run_python)")]
    NotText(String),
    /// Larger than one call reads or writes.
    #[error("\"{0}\" has {1} bytes; at most {2} can be handled at once")]
    TooLarge(String, u64, u64),
    /// The quota.
    #[error(
        "the workspace would hold {} of {} bytes and {} of {} files: remove something first (files that can be made again, caches, logs)",
        .would.bytes, .quota.bytes, .would.files, .quota.files
    )]
    Quota {
        /// What it would hold.
        would: Usage,
        /// What it may hold.
        quota: Quota,
    },
    /// Anything else.
    #[error("\"{path}\": {source}")]
    Io {
        /// The path as it was given, escaped.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A task's folder.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    tmp: PathBuf,
    lock: PathBuf,
    files: Beneath,
    quota: Quota,
}

impl Workspace {
    /// Opens (and makes, if it is missing) a task's folder: `files/` is the root, `tmp/` holds what a running job needs. Only the
    /// user who runs MAOS may enter.
    ///
    /// # Errors
    /// The folder cannot be made or opened.
    pub fn open(dir: &Path, quota: Quota) -> io::Result<Self> {
        let (root, tmp) = (dir.join("files"), dir.join("tmp"));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true);
        builder.create(&root)?;
        builder.create(&tmp)?;
        let (root, tmp) = (root.canonicalize()?, tmp.canonicalize()?);
        let files = Beneath::open(&root)?;
        Ok(Self { root, tmp, lock: dir.canonicalize()?.join("lock"), files, quota })
    }

    /// Holds other file operations of the same task off until it is dropped: tool calls run at the same time, and of two edits of one file
    /// none may be lost. Programs in the sandbox do not know of it.
    fn exclusive(&self) -> Result<File, FileError> {
        let failed = |source| FileError::Io { path: "the workspace".to_owned(), source };
        let file = File::options().create(true).truncate(false).write(true).open(&self.lock).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// The folder itself, for the sandbox to bind.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Where jobs get their private folders.
    pub fn tmp(&self) -> &Path {
        &self.tmp
    }
    /// Most it may hold.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Reads at most `max` bytes from `offset`.
    ///
    /// # Errors
    /// No plain file there.
    pub fn read(&self, path: &str, offset: u64, max: u64) -> Result<Content, FileError> {
        let relative = self.relative(path)?;
        let (mut file, stat) = self.files.open_file(&relative).map_err(|e| explain(path, e))?;
        let failed = |source| FileError::Io { path: escape(path), source };
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Content { bytes, size: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    /// Opens a plain file to stream it, with its size in bytes.
    ///
    /// # Errors
    /// No plain file there.
    pub fn open_file(&self, path: &str) -> Result<(File, u64), FileError> {
        let relative = self.relative(path)?;
        let (file, stat) = self.files.open_file(&relative).map_err(|e| explain(path, e))?;
        Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Writes a file whole, making the folders above it. The old content stays until the new one is complete. Returns whether a file
    /// was there before.
    ///
    /// # Errors
    /// The path is refused, the quota would be passed, or the disk fails.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<bool, FileError> {
        let relative = self.writable(path)?;
        let _held = self.exclusive()?;
        self.replace(path, &relative, self.usage()?, bytes.len() as u64, |file| file.write_all(bytes))
    }

    /// Takes files in from outside (attachments: a name, and where the content is; at most `max` bytes each), once in the life of the
    /// folder: whoever calls meanwhile waits, and whoever calls later finds them as the task has left them. A call that failed or died is
    /// repeated by the next. A person gives them, so they may be such that steer later programs.
    ///
    /// # Errors
    /// A path is refused, a file is too large, the workspace would exceed its quota, or a file cannot be read.
    pub fn fill(&self, files: &[(&str, PathBuf)], max: u64) -> Result<(), FileError> {
        let filled = self.lock.with_file_name("attached");
        let failed = |name: &str| {
            let path = escape(name);
            move |source| FileError::Io { path, source }
        };
        let _held = self.exclusive()?;
        if filled.exists() {
            return Ok(());
        }
        // Counted once and carried along: a walk for each of many files would take the square of their number.
        let mut used = self.usage()?;
        let mut folders = BTreeSet::new();
        for (name, from) in files {
            let relative = self.named(name)?;
            let mut content = File::open(from).map_err(failed(name))?;
            let is_new =
                |f: &&Path| !f.as_os_str().is_empty() && folders.insert(f.to_path_buf()) && self.files.stat(f) == Err(Errno::ENOENT);
            used.files = used.files.saturating_add(relative.ancestors().skip(1).filter(is_new).count() as u64);
            // What a call that died has left takes the place of itself.
            if let Ok(stat) = self.files.stat(&relative)
                && Kind::of(&stat) == Kind::File
            {
                used.bytes = used.bytes.saturating_sub(on_disk(&stat));
                used.files = used.files.saturating_sub(1);
            }
            used.bytes = used.bytes.saturating_add(self.take_in(name, &relative, used, &mut content, max)?);
            used.files = used.files.saturating_add(1);
        }
        // Only now: what dies before this line is done once more, over the same names.
        File::create(&filled).and_then(|f| f.sync_all()).map_err(failed("attached"))
    }

    /// Copies at most `max` bytes of `from` into a file, while the folder holds `used`. Returns how many.
    fn take_in(&self, path: &str, relative: &Path, used: Usage, from: &mut dyn Read, max: u64) -> Result<u64, FileError> {
        let mut copied = 0;
        let room = self.quota.bytes.saturating_sub(used.bytes);
        let limit = max.min(room);
        self.replace(path, relative, used, 0, |file| {
            copied = io::copy(&mut from.take(limit.saturating_add(1)), file)?;
            if copied > limit { Err(io::Error::from(io::ErrorKind::FileTooLarge)) } else { Ok(()) }
        })
        .map_err(|error| match error {
            FileError::Io { source, .. } if source.kind() == io::ErrorKind::FileTooLarge && limit == room => {
                let would = Usage { bytes: used.bytes.saturating_add(copied), files: used.files + 1 };
                FileError::Quota { would, quota: self.quota }
            }
            FileError::Io { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => FileError::TooLarge(escape(path), copied, max),
            other => other,
        })?;
        Ok(copied)
    }

    /// Replaces `old` by `new` in a text file; `old` must occur once, or `all` be set. Returns how many places changed.
    ///
    /// # Errors
    /// As [`Workspace::write`], and when the text does not occur, or occurs too often.
    pub fn edit(&self, path: &str, old: &str, new: &str, all: bool, max: u64) -> Result<usize, FileError> {
        let relative = self.writable(path)?;
        let _held = self.exclusive()?;
        let content = self.read(path, 0, max)?;
        if content.size > max {
            return Err(FileError::TooLarge(escape(path), content.size, max));
        }
        let text = String::from_utf8(content.bytes).map_err(|_| FileError::NotText(escape(path)))?;
        let places = if old.is_empty() { 0 } else { text.matches(old).count() };
        match places {
            0 => return Err(FileError::NoMatch(escape(path))),
            1 => {}
            n if !all => return Err(FileError::ManyMatches(escape(path), n)),
            _ => {}
        }
        // Counted before it is made: many places and a long text would take all the memory there is.
        let (kept, added) = (text.len() - places * old.len(), (places as u64).saturating_mul(new.len() as u64));
        let size = (kept as u64).saturating_add(added);
        if size > max {
            return Err(FileError::TooLarge(escape(path), size, max));
        }
        let changed = text.replace(old, new);
        self.replace(path, &relative, self.usage()?, changed.len() as u64, |file| file.write_all(changed.as_bytes()))?;
        Ok(places)
    }

    /// Lists what is beneath a folder (`""` or `"."` for the root), at most `depth` folders deep and `max` names.
    ///
    /// # Errors
    /// No such folder.
    pub fn list(&self, path: &str, depth: usize, max: usize) -> Result<Listing, FileError> {
        let start = self.relative(path)?;
        let mut listing = Listing::default();
        let max = max.min(MAX_LISTED);
        self.files
            .walk(&start, depth, &mut |met| {
                if listing.entries.len() == max {
                    listing.truncated = true;
                    return false;
                }
                listing.entries.push(Entry {
                    path: start.join(&met.path),
                    kind: met.kind,
                    size: u64::try_from(met.stat.st_size).unwrap_or(0),
                    modified_ns: i128::from(met.stat.st_mtime) * 1_000_000_000 + i128::from(met.stat.st_mtime_nsec),
                    executable: met.stat.st_mode & 0o100 != 0,
                });
                true
            })
            .map_err(|e| explain(path, e))?;
        Ok(listing)
    }

    /// Removes a file, a link or an empty folder.
    ///
    /// # Errors
    /// Nothing there, not empty, or protected.
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        let relative = self.relative(path)?;
        refuse_protected(path, &relative)?;
        self.files.remove(&relative).map_err(|e| explain(path, e))
    }

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// The path is refused, or something else is in the way.
    pub fn make_dirs(&self, path: &str) -> Result<(), FileError> {
        let relative = self.writable(path)?;
        self.check_quota(self.usage()?, Usage { bytes: 0, files: relative.components().count() as u64 })?;
        self.files.make_dirs(&relative).map_err(|e| explain(path, e))
    }

    /// What it holds now. Walks everything.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn usage(&self) -> Result<Usage, FileError> {
        usage_of(&self.files).map_err(|e| explain("", e))
    }

    /// Copies the plain files into a folder outside, which is made if missing. Links, devices, files with several names and names
    /// with control characters are left out and reported; set-user-id bits are dropped; what Git would run is left out.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn export(&self, dest: &Path) -> io::Result<Exported> {
        std::fs::create_dir_all(dest)?;
        let outside = Beneath::open(dest)?;
        let mut done = Exported::default();
        let mut failed = None;
        self.files.walk(Path::new(""), MAX_DEPTH, &mut |met| {
            let copied = match why_left_out(&met.path, met.kind) {
                Some(reason) => Ok(Err(reason)),
                None if met.shut => Ok(Err("a folder that may not be entered")),
                None if met.kind == Kind::Directory => outside.make_dirs(&met.path).map(|()| Ok(None)).map_err(io::Error::from),
                None => self.copy_out(&met.path, &outside),
            };
            match copied {
                Ok(Ok(Some(bytes))) => {
                    done.files += 1;
                    done.bytes += bytes;
                }
                Ok(Ok(None)) => {}
                Ok(Err(reason)) => done.left_out.push((shown(&met.path), reason)),
                Err(error) => failed = Some(io::Error::new(error.kind(), format!("{}: {error}", shown(&met.path)))),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(done), Err)
    }

    /// The bytes copied, or why the file was left out.
    fn copy_out(&self, path: &Path, outside: &Beneath) -> io::Result<Result<Option<u64>, &'static str>> {
        let Ok((mut file, stat)) = self.files.open_file(path) else { return Ok(Err("it cannot be read")) };
        if let Some(folder) = path.parent() {
            outside.make_dirs(folder)?;
        }
        let mode = if stat.st_mode & 0o100 == 0 { 0o644 } else { 0o755 };
        let mut bytes = 0;
        outside.write_file(path, mode, |to| {
            bytes = io::copy(&mut file, to)?;
            Ok(())
        })?;
        Ok(Ok(Some(bytes)))
    }

    /// Writes `path` by `fill`, which will write about `size` bytes beside the `used` ones. Whether a file was there before.
    fn replace(
        &self,
        path: &str,
        relative: &Path,
        used: Usage,
        size: u64,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<bool, FileError> {
        let before = match self.files.stat(relative) {
            Ok(stat) => match Kind::of(&stat) {
                Kind::Directory => return Err(FileError::Folder(escape(path))),
                Kind::Symlink => return Err(FileError::Link(escape(path))),
                Kind::Special => return Err(FileError::NotPlain(escape(path))),
                Kind::File | Kind::HardLinked => Some(stat),
            },
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(explain(path, error)),
        };
        self.check_quota(used, Usage { bytes: size, files: u64::from(before.is_none()) })?;
        if let Some(folder) = relative.parent() {
            self.files.make_dirs(folder).map_err(|e| explain(path, e))?;
        }
        let mode = before.map_or(0o644, |stat| stat.st_mode & 0o777);
        self.files.write_file(relative, mode, fill).map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
            Some(errno) => explain(path, errno),
            None => FileError::Io { path: escape(path), source },
        })?;
        Ok(before.is_some())
    }

    fn check_quota(&self, used: Usage, more: Usage) -> Result<(), FileError> {
        let would = Usage { bytes: used.bytes.saturating_add(more.bytes), files: used.files.saturating_add(more.files) };
        if would.exceeds(self.quota) { Err(FileError::Quota { would, quota: self.quota }) } else { Ok(()) }
    }

    /// The path relative to the root: absolute ones only if they begin with the root as the sandbox or this machine names it.
    fn relative(&self, path: &str) -> Result<PathBuf, FileError> {
        let given = Path::new(path);
        let relative = given.strip_prefix(INSIDE).or_else(|_| given.strip_prefix(&self.root)).unwrap_or(given);
        let parts = components(relative).ok_or_else(|| FileError::Outside(escape(path)))?;
        Ok(parts.into_iter().collect())
    }

    /// The same for a path that a tool will write.
    fn writable(&self, path: &str) -> Result<PathBuf, FileError> {
        let relative = self.named(path)?;
        refuse_protected(path, &relative)?;
        Ok(relative)
    }

    /// The same for a path that will name a file.
    fn named(&self, path: &str) -> Result<PathBuf, FileError> {
        let relative = self.relative(path)?;
        if relative.as_os_str().is_empty() {
            return Err(FileError::Folder(escape(path)));
        }
        if has_control(&relative) {
            return Err(FileError::BadName(escape(path)));
        }
        Ok(relative)
    }
}

/// What a folder holds, counted without following anything. Folders nested deeper than a walk goes, or that may not be entered, could
/// hide anything, so they count as more than any quota allows.
pub(crate) fn usage_of(folder: &Beneath) -> nix::Result<Usage> {
    let mut usage = Usage::default();
    folder.walk(Path::new(""), MAX_DEPTH, &mut |met| {
        let hidden = met.shut || met.kind == Kind::Directory && met.path.components().count() >= MAX_DEPTH;
        usage.files = if hidden { u64::MAX } else { usage.files.saturating_add(1) };
        usage.bytes = usage.bytes.saturating_add(on_disk(&met.stat));
        !hidden
    })?;
    Ok(usage)
}

/// Room that a file takes on the disk, bytes.
fn on_disk(stat: &nix::sys::stat::FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * STAT_BLOCK
}

/// Paths (relative to the root) that the sandbox binds read-only where they exist, and the folders on their way, which must stay in place.
pub(crate) fn protected_in_sandbox() -> [&'static str; 6] {
    ["AGENTS.md", ".maos", ".mcp.json", ".claude", ".git/hooks", ".git/config"]
}

/// Whether a file (relative to the root) steers programs or agents that come later, wherever it is taken to.
pub fn steers(relative: &Path) -> bool {
    let names: Vec<&[u8]> = relative.iter().map(OsStrExt::as_bytes).collect();
    let at_root = names.first().is_some_and(|first| PROTECTED_AT_ROOT.iter().any(|p| first.eq_ignore_ascii_case(p.as_bytes())));
    at_root || runs_by_git(&names)
}

/// Removes a folder that programs have written to with all that is in it, also where they took its owner's rights to it away. One that is
/// not there is removed already.
///
/// # Errors
/// Something of it could not be removed.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            std::fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives back to its owner every folder beneath one, without following links.
fn open_up(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn refuse_protected(path: &str, relative: &Path) -> Result<(), FileError> {
    if steers(relative) { Err(FileError::Protected(escape(path))) } else { Ok(()) }
}

/// Something beneath a `.git` folder that Git would run, or that names what it would run.
fn runs_by_git(names: &[&[u8]]) -> bool {
    let mut in_git = false;
    names.iter().any(|name| {
        let hit = in_git && GIT_RUNS.iter().any(|runs| name.eq_ignore_ascii_case(runs.as_bytes()));
        in_git |= name.eq_ignore_ascii_case(b".git");
        hit
    })
}

fn why_left_out(path: &Path, kind: Kind) -> Option<&'static str> {
    let names: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
    match kind {
        Kind::Symlink => Some("a symbolic link"),
        Kind::HardLinked => Some("a file with several hard links"),
        Kind::Special => Some("a pipe, socket or device"),
        _ if has_control(path) => Some("its name has control characters or is not UTF-8"),
        _ if runs_by_git(&names) => Some("Git would run it or be steered by it"),
        Kind::File | Kind::Directory => None,
    }
}

fn has_control(path: &Path) -> bool {
    path.to_str().is_none_or(|text| text.chars().any(|c| c.is_control() || is_bidi(c)))
}

/// Characters that make text on a screen read differently from what it is.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path as people and models may see it.
pub fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) => escape(text),
        None => path.as_os_str().as_bytes().escape_ascii().to_string(),
    }
}

/// Text with control characters escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidi(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn explain(path: &str, errno: Errno) -> FileError {
    let shown = escape(if path.is_empty() { "." } else { path });
    match errno {
        Errno::ENOENT => FileError::Missing(shown),
        Errno::EXDEV => FileError::Outside(shown),
        Errno::ELOOP => FileError::Link(shown),
        Errno::EISDIR => FileError::Folder(shown),
        Errno::ENOTDIR => FileError::NotFolder(shown),
        Errno::EMLINK | Errno::ENOTSUP | Errno::ENXIO => FileError::NotPlain(shown),
        Errno::EAGAIN => {
            let why = "a program holds it, or moves it about all the time; try again when the program has ended";
            FileError::Io { path: shown, source: io::Error::new(io::ErrorKind::WouldBlock, why) }
        }
        other => FileError::Io { path: shown, source: io::Error::from(other) },
    }
}
