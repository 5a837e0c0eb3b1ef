//! `maos logs`: reads the server's log files, whether the server runs or not.
//!
//! Invariant: old lines first, then new ones; following sees every line once, also across a rotation.
use crate::app::App;
use crate::config::value::{DURATION_HINT, parse_duration};
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::logging::numbered;
use crate::print::text::clean_line;
use crate::print::{Format, Style};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines shown when `--tail` does not say.
const TAIL_DEFAULT: usize = 100;
/// Pause between two looks at the file while following.
const FOLLOW_PAUSE: Duration = Duration::from_millis(150);
/// Largest compiled `--grep`.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Older log files looked at.
const OLD_FILES_MAX: u32 = 1_000;
/// Levels, least severe first.
const LEVELS: &[&str] = &["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos logs --follow\n  maos logs --level WARNING --since 1h\n  maos logs --task task_abc1 --grep timeout -o jsonl"
)]
pub(crate) struct LogsArgs {
    /// Go on with new lines
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines of this component (orchestrator, agents, models, database, api, system)
    #[arg(long, value_name = "NAME")]
    pub(crate) component: Option<String>,
    /// Only lines of this level and above
    #[arg(long, ignore_case = true, value_parser = level_parser())]
    pub(crate) level: Option<String>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub(crate) grep: Option<String>,
    /// Take --grep as plain text
    #[arg(long, requires = "grep")]
    pub(crate) fixed: bool,
    /// Only lines since then: a duration (1h) or a time (2026-11-22T10:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only lines of this task
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
    /// Only lines of this agent
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// How many of the last lines (default: 100, or all with --since)
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) tail: Option<usize>,
}

fn level_parser() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL"]).map(|word| {
        let word = word.to_ascii_uppercase();
        if word == "WARN" { "WARNING".to_owned() } else { word }
    })
}

/// A point in time: a duration before now, or RFC 3339.
pub(crate) fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = parse_duration(text).ok_or_else(|| format!("{DURATION_HINT}, or a time like 2026-11-22T10:00:00Z"))?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|_| "too long ago".to_owned())
}

/// Which lines are shown.
struct Filter<'a> {
    args: &'a LogsArgs,
    pattern: Option<Regex>,
}

impl<'a> Filter<'a> {
    fn new(args: &'a LogsArgs) -> Result<Self, CliError> {
        let pattern = args.grep.as_deref().map(|text| {
            let source = if args.fixed { regex::escape(text) } else { text.to_owned() };
            let built = RegexBuilder::new(&source).size_limit(REGEX_BYTES_MAX).build();
            built.map_err(|error| {
                CliError::usage("--grep is not a regular expression", "maos logs --grep <text> --fixed")
                    .because(error.to_string().lines().last().unwrap_or_default().to_owned())
            })
        });
        Ok(Filter { args, pattern: pattern.transpose()? })
    }

    fn wants(&self, line: &str, record: Option<&Map<String, Value>>) -> bool {
        let text = |name: &str| record.and_then(|record| record.get(name)).and_then(Value::as_str);
        let level = |word: &str| LEVELS.iter().position(|level| *level == word);
        let args = self.args;
        args.level.as_deref().is_none_or(|least| text("level").and_then(level) >= level(least))
            && args.component.as_deref().is_none_or(|name| text("component").is_some_and(|component| component.eq_ignore_ascii_case(name)))
            && args.task.as_deref().is_none_or(|id| text("task_id").is_some_and(|task| task.starts_with(id)))
            && args.agent.as_deref().is_none_or(|id| text("agent_id") == Some(id))
            && args.since.is_none_or(|since| {
                text("timestamp").and_then(|time| time.parse::<jiff::Timestamp>().ok()).is_some_and(|time| time >= since)
            })
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(line))
    }
}

/// Shows the lines.
pub(crate) fn run(app: &App, args: &LogsArgs) -> Outcome {
    let supported: &[Format] = if args.follow { &[Format::Table, Format::Jsonl] } else { &[Format::Table, Format::Jsonl, Format::Json] };
    let format = app.ui.format_of(supported)?;
    let filter = Filter::new(args)?;
    let path = app.home.log_file();
    let failed = |error: std::io::Error| CliError::io(format!("read {}", app.home.show(&path)), &error, "maos status");
    let mut reader = Reader::open(&path).map_err(failed)?;
    let tail = args.tail.unwrap_or(if args.since.is_some() { usize::MAX } else { TAIL_DEFAULT });
    let mut last: VecDeque<String> = VecDeque::new();
    reader
        .read(|line| {
            if filter.wants(line, parse(line).as_ref()) && tail > 0 {
                if last.len() == tail {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
            }
        })
        .map_err(failed)?;
    if last.is_empty() && !args.follow {
        let why = if path.exists() { "no line matches" } else { "the server has never run here; start it with: maos start" };
        app.ui.note(&format!("Nothing to show: {why}"));
    }
    if format == Format::Json {
        let records: Vec<Value> =
            last.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line.as_str()))).collect();
        app.ui.document(Format::Json, &records)?;
        return Ok(Exit::Success);
    }
    app.ui.out(&last.iter().map(|line| shown(app, format, line)).collect::<String>())?;
    if args.follow { follow(app, format, &filter, reader, failed) } else { Ok(Exit::Success) }
}

/// New lines, until Ctrl-C or until nobody reads them.
fn follow(app: &App, format: Format, filter: &Filter<'_>, mut reader: Reader, failed: impl Fn(std::io::Error) -> CliError) -> Outcome {
    loop {
        let mut text = String::new();
        reader
            .read(|line| {
                if filter.wants(line, parse(line).as_ref()) {
                    text.push_str(&shown(app, format, line));
                }
            })
            .map_err(&failed)?;
        if text.is_empty() {
            std::thread::sleep(FOLLOW_PAUSE);
        } else {
            app.ui.out(&text)?;
        }
    }
}

fn parse(line: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(line).ok()
}

/// A line as it is printed.
fn shown(app: &App, format: Format, line: &str) -> String {
    if format == Format::Jsonl {
        return format!("{line}\n");
    }
    let Some(mut record) = parse(line) else {
        return format!("{}\n", clean_line(line));
    };
    let mut take =
        |name: &str| record.remove(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default();
    let (time, level, component, message) = (take("timestamp"), take("level"), take("component"), take("message"));
    take("target");
    let style = match level.as_str() {
        "ERROR" | "CRITICAL" => Style::Bad,
        "WARNING" => Style::Warn,
        "DEBUG" => Style::Dim,
        _ => Style::Plain,
    };
    let rest: String = record
        .iter()
        .map(|(name, value)| format!("  {name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let line = format!(
        "{} {} {:<12} {}{}",
        app.ui.paint(Style::Dim, &clean_line(&time)),
        app.ui.paint(style, &format!("{:<8}", clean_line(&level))),
        clean_line(&component),
        clean_line(&message),
        app.ui.paint(Style::Dim, &clean_rest(&rest))
    );
    format!("{line}\n")
}

fn clean_rest(rest: &str) -> String {
    if rest.is_empty() { String::new() } else { format!("  {}", clean_line(rest)) }
}

/// Reads the files from the oldest to the current one, then goes on where it stopped.
struct Reader {
    path: PathBuf,
    /// Older files still to be read, newest last to be read.
    older: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> std::io::Result<Self> {
        let older: Vec<PathBuf> = (1..OLD_FILES_MAX).map(|n| numbered(path, n)).take_while(|path| path.exists()).collect();
        Ok(Reader { path: path.to_owned(), older, current: None, partial: Vec::new() })
    }

    /// Hands on every whole line that is there now.
    fn read(&mut self, mut line: impl FnMut(&str)) -> std::io::Result<()> {
        while let Some(path) = self.older.pop() {
            for text in BufReader::new(File::open(path)?).split(b'\n') {
                line(String::from_utf8_lossy(&text?).trim_end());
            }
        }
        loop {
            if self.current.is_none() {
                match File::open(&self.path) {
                    Ok(file) => self.current = Some(BufReader::new(file)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            let Some(current) = &mut self.current else {
                return Ok(());
            };
            while current.read_until(b'\n', &mut self.partial)? > 0 {
                if self.partial.ends_with(b"\n") {
                    line(String::from_utf8_lossy(&self.partial).trim_end());
                    self.partial.clear();
                }
            }
            if !replaced(current, &self.path)? {
                return Ok(());
            }
            self.partial.clear();
            self.current = None;
        }
    }
}

/// Whether the path now names another file, or the same one was cut short (then reading goes on from its start).
fn replaced(current: &mut BufReader<File>, path: &Path) -> std::io::Result<bool> {
    let open = current.get_ref().metadata()?;
    let Ok(named) = std::fs::metadata(path) else {
        return Ok(false);
    };
    let position = current.stream_position()?;
    if named.ino() == open.ino() && named.dev() == open.dev() {
        if open.len() < position {
            current.seek(SeekFrom::Start(0))?;
        }
        return Ok(false);
    }
    // The old file may have got lines between our last read and its replacement.
    let mut probe = [0_u8; 1];
    let more = current.get_mut().read(&mut probe)? > 0;
    if more {
        current.seek(SeekFrom::Start(position))?;
    }
    Ok(!more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(reader: &mut Reader) -> Vec<String> {
        let mut all = Vec::new();
        reader.read(|line| all.push(line.to_owned())).unwrap();
        all
    }

    #[test]
    fn every_line_once_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("maos.log");
        std::fs::write(numbered(&path, 2), "a\n").unwrap();
        std::fs::write(numbered(&path, 1), "b\n").unwrap();
        std::fs::write(&path, "c\nhalf").unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(lines(&mut reader), ["a", "b", "c"]);
        assert!(lines(&mut reader).is_empty());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b" line\nd\n").unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        std::fs::write(&path, "e\n").unwrap();
        assert_eq!(lines(&mut reader), ["half line", "d", "e"]);
    }

    #[test]
    fn since_takes_durations_and_times() {
        assert_eq!(since("2026-11-22T10:00:00Z").unwrap().to_string(), "2026-11-22T10:00:00Z");
        assert!(since("1h").unwrap() < jiff::Timestamp::now());
        assert!(since("yesterday").is_err());
    }
}
