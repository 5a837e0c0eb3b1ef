//! The tools for the files of a task: read, write, edit, list, search.
//!
//! Invariant: every path goes through [`Workspace`], which the kernel keeps beneath its root. Must not know the sandbox's tiers.
use crate::arguments::{Arguments, schema};
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use maos_sandbox::{Entry, FileError, Kind, Workspace};
use regex::{Regex, RegexBuilder};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most of a file that one call returns, bytes.
pub const MAX_READ_BYTES: u64 = 64 << 10;
/// Largest file that is written or edited at once, bytes.
pub const MAX_WRITE_BYTES: u64 = 4 << 20;
/// Most names in one listing.
pub const MAX_LISTED: usize = 500;
/// Deepest listing, folders.
const MAX_LIST_DEPTH: u64 = 16;
/// Depth of a listing if none is asked for.
const LIST_DEPTH: u64 = 4;
/// Files that one search reads.
const MAX_SEARCHED_FILES: usize = 5_000;
/// Largest file that a search reads, bytes.
const MAX_SEARCHED_BYTES: u64 = 2 << 20;
/// Most lines that a search returns.
const MAX_MATCHES: usize = 200;
/// Longest line that a search shows, characters.
const MAX_LINE_CHARS: usize = 300;
/// Longest part of a line that a search looks at, bytes: with the size of the pattern it bounds the time between two looks at the clock.
const MAX_LINE_BYTES: usize = 8 << 10;
/// Largest compiled pattern, bytes: `\w` alone, with the letters of all languages, takes a tenth of it.
const MAX_PATTERN_BYTES: usize = 512 << 10;
/// Largest memory of a pattern's lazily built automaton, bytes.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;
/// Longest search.
const SEARCH_MAX: Duration = Duration::from_secs(30);
/// Longest path, bytes.
const MAX_PATH_BYTES: usize = 1024;

/// All tools of this file.
pub fn tools() -> Vec<Arc<dyn Tool>> {
    [Which::Read, Which::Write, Which::Edit, Which::List, Which::Search].into_iter().map(|which| Arc::new(FileTool(which)) as _).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Read,
    Write,
    Edit,
    List,
    Search,
}

/// One of the file tools.
#[derive(Debug)]
struct FileTool(Which);

#[async_trait]
impl Tool for FileTool {
    fn spec(&self) -> ToolSpec {
        let (name, description) = self.0.words();
        ToolSpec { name: name.to_owned(), description: description.to_owned(), input_schema: self.0.schema() }
    }

    fn nature(&self) -> Nature {
        let (repeat, brings, writes) = match self.0 {
            Which::Read | Which::List | Which::Search => (Repeat::Safe, Taint::PRIVATE, false),
            Which::Write => (Repeat::Safe, Taint::NONE, true),
            // A second time the text to replace may be there again, or be gone. Whether it is there, and how often, tells what is in the
            // file: guess by guess all of it.
            Which::Edit => (Repeat::Never, Taint::PRIVATE, true),
        };
        Nature { repeat, brings, writes, approval: Approval::Never }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        self.0.parse(args).map(drop)
    }

    fn outward(&self, _args: &Value) -> Option<Outward> {
        None
    }

    async fn run(&self, call: Call) -> Output {
        let wanted = match self.0.parse(&call.args) {
            Ok(wanted) => wanted,
            Err(why) => return Output::error(why),
        };
        let workspace = Arc::clone(&call.workspace);
        let asked_to_stop = StopOnDrop::default();
        let stop = Stop { asked: Arc::clone(&asked_to_stop.0), at: Instant::now() + call.timeout.min(SEARCH_MAX) };
        let work = tokio::task::spawn_blocking(move || wanted.perform(&workspace, &stop));
        match work.await {
            Ok(Ok(text)) => Output::ok(text),
            Ok(Err(error)) => Output::error(error.to_string()),
            Err(_) => Output::error("the file operation was interrupted; nothing is known about its result"),
        }
    }
}

/// When work on a blocking thread must end: nothing else can end it.
struct Stop {
    asked: Arc<AtomicBool>,
    at: Instant,
}

impl Stop {
    fn now(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || Instant::now() >= self.at
    }
}

/// Ends the work when the call is dropped: its task was cancelled, or its time is over.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Checked arguments.
enum Wanted {
    Read { path: String, offset: u64, max: u64 },
    Write { path: String, content: String },
    Edit { path: String, old: String, new: String, all: bool },
    List { path: String, depth: u64 },
    Search { pattern: Regex, path: String, suffix: Option<String> },
}

impl Which {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => (
                "read_file",
                "Reads a text file of the workspace, at most 64 KiB at once; give offset (in bytes) for what comes later. \
                 Paths are relative to the workspace.",
            ),
            Self::Write => (
                "write_file",
                "Writes a text file of the workspace whole, making its folders; what was there before is replaced. \
                 To change a part of a file, use edit_file.",
            ),
            Self::Edit => (
                "edit_file",
                "Replaces old_text by new_text in a text file of the workspace. old_text must be copied exactly and occur exactly once, \
                 unless replace_all is true.",
            ),
            Self::List => ("list_files", "Lists files and folders of the workspace with their sizes."),
            Self::Search => (
                "search_files",
                "Searches the text files of the workspace for a regular expression (no look-around, no back-references) and returns the \
                 matching lines as path:line:text.",
            ),
        }
    }

    fn schema(self) -> Value {
        let path = json!({"type": "string", "maxLength": MAX_PATH_BYTES, "description": "Relative to the workspace, such as src/app.py"});
        match self {
            Self::Read => schema(
                &[("path", path)],
                &[
                    ("offset", json!({"type": "integer", "minimum": 0, "description": "First byte to read; 0 if missing"})),
                    ("max_bytes", json!({"type": "integer", "minimum": 1, "maximum": MAX_READ_BYTES})),
                ],
            ),
            Self::Write => schema(&[("path", path), ("content", json!({"type": "string"}))], &[]),
            Self::Edit => schema(
                &[("path", path), ("old_text", json!({"type": "string", "minLength": 1})), ("new_text", json!({"type": "string"}))],
                &[("replace_all", json!({"type": "boolean"}))],
            ),
            Self::List => schema(
                &[],
                &[
                    (
                        "path",
                        json!({"type": "string", "maxLength": MAX_PATH_BYTES, "description": "A folder; the whole workspace if missing"}),
                    ),
                    ("depth", json!({"type": "integer", "minimum": 1, "maximum": MAX_LIST_DEPTH})),
                ],
            ),
            Self::Search => schema(
                &[("pattern", json!({"type": "string", "minLength": 1, "maxLength": 1000}))],
                &[
                    (
                        "path",
                        json!({"type": "string", "maxLength": MAX_PATH_BYTES, "description": "A folder; the whole workspace if missing"}),
                    ),
                    ("suffix", json!({"type": "string", "description": "Only files whose names end so, such as .py"})),
                    ("ignore_case", json!({"type": "boolean"})),
                ],
            ),
        }
    }

    fn parse(self, args: &Value) -> Result<Wanted, String> {
        let a = Arguments::of(args)?;
        let path = |required: bool| -> Result<String, String> {
            let path = if required { a.text("path")? } else { a.optional_text("path")?.unwrap_or_default() };
            if path.len() > MAX_PATH_BYTES { Err(format!("path has more than {MAX_PATH_BYTES} bytes")) } else { Ok(path) }
        };
        let sized = |name: &str| -> Result<String, String> {
            let text = a.text(name)?;
            let max = MAX_WRITE_BYTES;
            if text.len() as u64 > max { Err(format!("{name} has {} bytes; at most {max} are possible", text.len())) } else { Ok(text) }
        };
        let wanted = match self {
            Self::Read => {
                a.only(&["path", "offset", "max_bytes"])?;
                let max = a.whole("max_bytes", 1, MAX_READ_BYTES)?.unwrap_or(MAX_READ_BYTES);
                Wanted::Read { path: path(true)?, offset: a.whole("offset", 0, i64::MAX.unsigned_abs())?.unwrap_or(0), max }
            }
            Self::Write => {
                a.only(&["path", "content"])?;
                Wanted::Write { path: path(true)?, content: sized("content")? }
            }
            Self::Edit => {
                a.only(&["path", "old_text", "new_text", "replace_all"])?;
                let (old, new) = (sized("old_text")?, sized("new_text")?);
                if old.is_empty() {
                    return Err("old_text is empty; to make a new file use write_file".to_owned());
                }
                Wanted::Edit { path: path(true)?, old, new, all: a.flag("replace_all")? }
            }
            Self::List => {
                a.only(&["path", "depth"])?;
                Wanted::List { path: path(false)?, depth: a.whole("depth", 1, MAX_LIST_DEPTH)?.unwrap_or(LIST_DEPTH) }
            }
            Self::Search => {
                a.only(&["pattern", "path", "suffix", "ignore_case"])?;
                let text = a.text("pattern")?;
                let pattern = RegexBuilder::new(&text)
                    .case_insensitive(a.flag("ignore_case")?)
                    .size_limit(MAX_PATTERN_BYTES)
                    .dfa_size_limit(MAX_AUTOMATON_BYTES)
                    .build()
                    .map_err(|e| format!("pattern is not a regular expression that can be used: {e}"))?;
                Wanted::Search { pattern, path: path(false)?, suffix: a.optional_text("suffix")? }
            }
        };
        Ok(wanted)
    }
}

impl Wanted {
    fn perform(self, workspace: &Workspace, stop: &Stop) -> Result<String, FileError> {
        match self {
            Self::Read { path, offset, max } => read(workspace, &path, offset, max),
            Self::Write { path, content } => {
                let replaced = workspace.write(&path, content.as_bytes())?;
                let how = if replaced { "replaced" } else { "created" };
                Ok(format!("{how} {path:?}: {} bytes", content.len()))
            }
            Self::Edit { path, old, new, all } => {
                let places = workspace.edit(&path, &old, &new, all, MAX_WRITE_BYTES)?;
                Ok(format!("changed {path:?} in {places} place{}", if places == 1 { "" } else { "s" }))
            }
            Self::List { path, depth } => list(workspace, &path, depth),
            Self::Search { pattern, path, suffix } => search(workspace, &pattern, &path, suffix.as_deref(), stop),
        }
    }
}

fn read(workspace: &Workspace, path: &str, offset: u64, max: u64) -> Result<String, FileError> {
    let content = workspace.read(path, offset, max)?;
    let end = offset + content.bytes.len() as u64;
    if content.bytes.is_empty() {
        return Ok(format!("[{path:?} has {} bytes; there is nothing from byte {offset} on]", content.size));
    }
    let Some(mut text) = text_of(&content.bytes, offset > 0, end < content.size) else {
        return Ok(format!("[{path:?} is not text: {} bytes; look at it with a program (run_python)]", content.size));
    };
    if end < content.size {
        let _ = write!(text, "\n[bytes {offset} to {end} of {}; go on with offset {end}]", content.size);
    }
    Ok(text)
}

/// Text, though a character may be cut at either end; `None` for anything else.
fn text_of(bytes: &[u8], cut_before: bool, cut_after: bool) -> Option<String> {
    if bytes.contains(&0) {
        return None;
    }
    let begin = if cut_before { bytes.iter().take(3).take_while(|b| **b & 0xc0 == 0x80).count() } else { 0 };
    let bytes = &bytes[begin..];
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if cut_after && error.error_len().is_none() => Some(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()),
        Err(_) => None,
    }
}

fn list(workspace: &Workspace, path: &str, depth: u64) -> Result<String, FileError> {
    let listing = workspace.list(path, usize::try_from(depth).unwrap_or(1), MAX_LISTED)?;
    if listing.entries.is_empty() {
        return Ok("[empty]".to_owned());
    }
    let mut text = String::new();
    for entry in &listing.entries {
        let _ = writeln!(text, "{}", line_of(entry));
    }
    if listing.truncated {
        let _ = writeln!(text, "[only the first {MAX_LISTED} names; list one folder, or with a smaller depth]");
    }
    Ok(text)
}

/// One line of a listing.
pub(crate) fn line_of(entry: &Entry) -> String {
    let name = entry.shown();
    match entry.kind {
        Kind::File => format!("{name} ({} bytes)", entry.size),
        Kind::Directory => format!("{name}/"),
        Kind::Symlink => format!("{name} (symbolic link, not followed)"),
        Kind::HardLinked => format!("{name} (has several hard links, not opened)"),
        Kind::Special => format!("{name} (pipe, socket or device, not opened)"),
    }
}

fn search(workspace: &Workspace, pattern: &Regex, path: &str, suffix: Option<&str>, stop: &Stop) -> Result<String, FileError> {
    let listing = workspace.list(path, usize::MAX, MAX_SEARCHED_FILES)?;
    let (mut text, mut matches, mut skipped, mut searched, mut cut) = (String::new(), 0, 0, 0, 0);
    'files: for entry in listing.entries.iter().filter(|e| e.kind == Kind::File) {
        let Some(name) = entry.path.to_str().filter(|name| suffix.is_none_or(|s| name.ends_with(s))) else { continue };
        if entry.size > MAX_SEARCHED_BYTES {
            skipped += 1;
            continue;
        }
        // It may be gone, or be replaced by something that is not opened.
        let Ok(content) = workspace.read(name, 0, MAX_SEARCHED_BYTES) else { continue };
        let Some(whole) = text_of(&content.bytes, false, false) else { continue };
        for (number, line) in whole.lines().enumerate() {
            if stop.now() {
                let _ =
                    writeln!(text, "[stopped after {searched} files: it took too long; search with a simpler pattern, or in one folder]");
                break 'files;
            }
            let looked_at = &line[..line.floor_char_boundary(MAX_LINE_BYTES)];
            cut += usize::from(looked_at.len() < line.len());
            if !pattern.is_match(looked_at) {
                continue;
            }
            if matches == MAX_MATCHES {
                let _ = writeln!(text, "[only the first {MAX_MATCHES} matches; search for something more exact, or in one folder]");
                break 'files;
            }
            matches += 1;
            let shown: String = line.chars().take(MAX_LINE_CHARS).collect();
            let _ = writeln!(text, "{}:{}:{shown}", entry.shown(), number + 1);
        }
        searched += 1;
    }
    if listing.truncated {
        let _ = writeln!(text, "[only the first {MAX_SEARCHED_FILES} names were searched; search in one folder]");
    }
    if cut > 0 {
        let _ = writeln!(text, "[of {cut} lines only the first {MAX_LINE_BYTES} bytes were searched]");
    }
    if skipped > 0 {
        let _ = writeln!(text, "[{skipped} files larger than {MAX_SEARCHED_BYTES} bytes were not searched]");
    }
    Ok(if text.is_empty() { "[no match]".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use maos_sandbox::Quota;

    fn stop(asked: &StopOnDrop, after: Duration) -> Stop {
        Stop { asked: Arc::clone(&asked.0), at: Instant::now() + after }
    }

    #[test]
    fn a_search_ends_with_its_call_or_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(dir.path(), Quota::default()).unwrap();
        workspace.write("a.txt", b"one\ntwo\n").unwrap();
        let (pattern, long) = (Regex::new("o").unwrap(), Duration::from_secs(3_600));
        let search = |stop: &Stop| search(&workspace, &pattern, "", None, stop).unwrap();
        let call = StopOnDrop::default();
        let (late, running) = (stop(&call, Duration::ZERO), stop(&call, long));
        assert_eq!(search(&running), "a.txt:1:one\na.txt:2:two\n");
        assert!(search(&late).starts_with("[stopped after 0 files"));
        drop(call);
        assert!(search(&running).starts_with("[stopped after 0 files"));
    }

    #[test]
    fn of_a_long_line_the_beginning_is_searched() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(dir.path(), Quota::default()).unwrap();
        workspace.write("long.txt", format!("{}end\nend", "x".repeat(MAX_LINE_BYTES)).as_bytes()).unwrap();
        let call = StopOnDrop::default();
        let found = search(&workspace, &Regex::new("end").unwrap(), "", None, &stop(&call, SEARCH_MAX)).unwrap();
        assert_eq!(found, format!("long.txt:2:end\n[of 1 lines only the first {MAX_LINE_BYTES} bytes were searched]\n"));
    }

    #[test]
    fn ordinary_patterns_fit_and_huge_ones_do_not() {
        let search = |pattern: &str| Which::Search.parse(&json!({"pattern": pattern})).map(drop);
        search(r"(\w+)\.(\w+)\((\w+), (\w+)\)").unwrap();
        search("(?i)fn [a-z_]+<'a>").unwrap();
        assert!(search("[ -~]{1,20000}[^a]").is_err());
    }

    #[test]
    fn what_tells_about_files_is_private() {
        for which in [Which::Read, Which::Edit, Which::List, Which::Search] {
            assert!(FileTool(which).nature().brings.private, "{which:?}");
        }
    }
}
