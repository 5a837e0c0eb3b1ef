//! Starts the server as a process of its own and waits for its report.
//!
//! Invariant: the report comes through a pipe, so waiting ends the moment the server is ready or dead, and nothing is guessed from time.
use super::run_file::RunFile;
use crate::app::App;
use crate::error::CliError;
use crate::exit::Exit;
use crate::home::create_private_dir;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a start may take.
const READY_WAIT: Duration = Duration::from_secs(15);
/// How long the end of a process that closed its pipe may take.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// Lines of its stderr that are shown when it died.
const LINES_SHOWN: usize = 20;
/// Longest report.
const REPORT_BYTES_MAX: u64 = 64 * 1024;

/// What the server reports to whoever started it, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It answers.
    Ready(RunFile),
    /// It cannot start.
    Failed {
        /// Exit code.
        exit: u8,
        /// A short name.
        code: String,
        /// What failed.
        message: String,
        /// Why.
        cause: Option<String>,
        /// What mends it.
        fixes: Vec<String>,
    },
}

impl Report {
    /// A failure as it is reported.
    pub(crate) fn failed(error: &CliError) -> Self {
        Report::Failed {
            exit: error.exit as u8,
            code: error.code.clone(),
            message: error.message.clone(),
            cause: error.cause.clone(),
            fixes: error.fixes.clone(),
        }
    }
}

/// Starts it with these flags of `maos start`.
pub(crate) fn spawn(app: &App, flags: &[String]) -> Result<RunFile, CliError> {
    let fix = "maos start --foreground";
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| CliError::io(what, &error, fix)
    };
    create_private_dir(app.home.dir()).map_err(failed("create the home folder"))?;
    create_private_dir(&app.home.logs()).map_err(failed("create the log folder"))?;
    let stderr = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(app.home.stderr_file())
        .map_err(failed("create the log file"))?;
    let program = std::env::current_exe().map_err(failed("find this program"))?;
    let mut command = Command::new(program);
    for (flag, value) in [("--config", &app.global.config), ("--env-file", &app.global.env_file)] {
        if let Some(value) = value {
            command.arg(flag).arg(std::path::absolute(value).map_err(failed("find a file"))?);
        }
    }
    command.args(["start", "--foreground", "--detached"]).args(flags);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().map_err(failed("start the server"))?;
    wait_for_report(app, child)
}

fn wait_for_report(app: &App, mut child: Child) -> Result<RunFile, CliError> {
    let stdout = child.stdout.take().expect("stdout is a pipe: set above");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        drop(BufReader::new(stdout.take(REPORT_BYTES_MAX)).read_line(&mut line));
        // Nobody waits any more when the time was up.
        drop(sender.send(line));
    });
    let Ok(line) = receiver.recv_timeout(READY_WAIT) else {
        drop(child.kill());
        drop(child.wait());
        let message = format!("the server was not ready within {} s and was stopped", READY_WAIT.as_secs());
        return Err(with_last_lines(app, CliError::new(Exit::Failure, "start-timeout", message, "maos logs")));
    };
    match serde_json::from_str::<Report>(&line) {
        Ok(Report::Ready(run)) => Ok(run),
        Ok(Report::Failed { exit, code, message, cause, fixes }) => {
            drop(child.wait());
            let first = fixes.first().cloned().unwrap_or_else(|| "maos logs".to_owned());
            let mut error = CliError::new(exit_of(exit), &code, message, first);
            error.cause = cause;
            error.fixes.extend(fixes.into_iter().skip(1));
            Err(error)
        }
        Err(_) => {
            let how = ended(&mut child);
            Err(with_last_lines(app, CliError::new(Exit::Failure, "start-failed", format!("the server {how}"), "maos start --foreground")))
        }
    }
}

fn exit_of(code: u8) -> Exit {
    match code {
        2 => Exit::Usage,
        5 => Exit::Conflict,
        10 => Exit::NotConfigured,
        _ => Exit::Failure,
    }
}

/// How a process ended that closed its pipe without a report.
fn ended(child: &mut Child) -> String {
    let begun = std::time::Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return format!("ended at once ({status})"),
            Ok(None) if begun.elapsed() < EXIT_WAIT => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => return "sent no report".to_owned(),
        }
    }
}

/// Shows the end of what it wrote to stderr.
fn with_last_lines(app: &App, error: CliError) -> CliError {
    let path = app.home.stderr_file();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES_SHOWN)..] {
        app.ui.err_line(&format!("  | {}", crate::print::text::clean_line(line)));
    }
    error.because(format!("see {} and {}", app.home.show(&path), app.home.show(&app.home.log_file())))
}
