//! The server's log: one JSON object per line (`timestamp level target component message task_id agent_id request_id`, then other
//! fields), into files that are rotated by size, and on a terminal as plain lines.
//!
//! Invariant: a full disk or a closed stderr never stops the server: a line that cannot be written is counted and dropped.
mod record;
mod rotate;

use crate::home::{Home, create_private_dir};
use record::JsonLayer;
pub(crate) use rotate::{RotatingFile, numbered};
use std::sync::LazyLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The newest lines, shared by the whole process like the log itself.
static RECENT: LazyLock<maos_server::LogBuffer> = LazyLock::new(maos_server::LogBuffer::default);

/// How the log is written.
#[derive(Debug, Clone)]
pub(crate) struct LogOptions {
    /// Least severe level, a word of `system.log_level`.
    pub(crate) level: String,
    /// Bytes after which a new file is begun.
    pub(crate) file_bytes_max: u64,
    /// Files kept, the current one included.
    pub(crate) files_max: u32,
    /// Also write to stderr: `None` no, `Some(true)` JSON lines, `Some(false)` plain lines.
    pub(crate) stderr_json: Option<bool>,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the log folder or file cannot be made.
pub(crate) fn start(home: &Home, options: &LogOptions) -> std::io::Result<()> {
    create_private_dir(&home.logs())?;
    let file = RotatingFile::open(home.log_file(), options.file_bytes_max, options.files_max)?;
    let level = level_filter(&options.level);
    // Libraries below us say little that helps a person: from them only warnings, unless debugging.
    let others = if level >= LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::WARN.min(level) };
    let filter = || Targets::new().with_default(others).with_target("maos", level);
    let plain = match options.stderr_json {
        Some(false) => {
            Some(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).with_filter(filter()))
        }
        Some(true) | None => None,
    };
    let json = (options.stderr_json == Some(true)).then(|| JsonLayer::new(StderrLines).with_filter(filter()));
    tracing_subscriber::registry()
        .with(JsonLayer::new(file).with_filter(filter()))
        .with(recent().with_filter(filter()))
        .with(json)
        .with(plain)
        .try_init()
        .map_err(std::io::Error::other)
}

/// CRITICAL is ours only in name: nothing below it exists, so it is ERROR.
fn level_filter(word: &str) -> LevelFilter {
    match word {
        "DEBUG" => LevelFilter::DEBUG,
        "WARNING" => LevelFilter::WARN,
        "ERROR" | "CRITICAL" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// The newest lines in memory, for the API.
pub(crate) fn recent() -> maos_server::LogBuffer {
    RECENT.clone()
}

/// Takes whole lines.
pub(crate) trait LineSink: Send + Sync + 'static {
    /// Writes a line, which ends with a line break.
    fn line(&self, line: &[u8]);
}

#[derive(Debug)]
struct StderrLines;

impl LineSink for StderrLines {
    fn line(&self, line: &[u8]) {
        use std::io::Write;
        drop(std::io::stderr().lock().write_all(line));
    }
}
