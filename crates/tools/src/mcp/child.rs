//! MCP servers that are programs: started with few variables, and always ended with all they started.
//!
//! Invariant: a child never outlives the server process; its keeper (see `maos_sandbox::Keep`) sees to that, also if we are killed.
//! An orderly end closes its input, asks, then kills; dropping kills at once.
use crate::mcp::config::{Endpoint, ServerConfig};
use crate::mcp::lines::{Line, Lines};
use crate::mcp::text::log_line;
use maos_sandbox::{Keep, Kept};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout};

/// Variables every child gets from our environment. Nothing else: keys of providers are in ours.
pub const INHERITED: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// How long a child may take to end after its input was closed, and again after it was asked to.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// Longest line of a child's stderr that is kept, bytes.
const LOG_LINE_BYTES_MAX: usize = 2 * 1024;
/// Most lines of a child's stderr that are logged within `LOG_WINDOW`.
const LOG_LINES_MAX: u32 = 100;
/// See `LOG_LINES_MAX`.
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// A child. Dropping it kills it and everything it started.
pub(super) struct Child(Kept);

/// The pipes of a child.
pub(super) struct Pipes {
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
}

impl Child {
    /// Starts the program of a server. What it writes to stderr goes to our log.
    ///
    /// # Errors
    /// A sentence: it could not be started.
    pub(super) async fn start(server: &ServerConfig, inherited: &[(String, String)], keep: Option<&Keep>) -> Result<(Self, Pipes), String> {
        let Endpoint::Stdio { command, args, env, cwd, .. } = &server.endpoint else {
            return Err("it is not a program".into());
        };
        let keep = keep.ok_or("no helper program is configured, which programs of MCP servers are started by")?;
        let mut variables: BTreeMap<String, String> =
            inherited.iter().filter(|(name, _)| INHERITED.contains(&name.as_str())).cloned().collect();
        variables.extend(env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())));
        let args = args.iter().map(|arg| arg.expose_secret().to_owned()).collect();
        let (kept, pipes) = keep.start(command, args, variables.into_iter().collect(), cwd.clone()).await?;
        tokio::spawn(log_errors(server.name.clone(), pipes.stderr));
        Ok((Self(kept), Pipes { input: pipes.stdin, output: pipes.stdout }))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Waits until it has ended; how, in words.
    pub(super) async fn ended(&mut self) -> String {
        match self.0.ended().await {
            Ok(status) => format!("it ended with {status}"),
            Err(e) => format!("it cannot be waited for: {e}"),
        }
    }

    /// Ends it; its input must have been closed already.
    pub(super) async fn end(mut self) {
        if timeout(EXIT_GRACE, self.0.ended()).await.is_ok() {
            return;
        }
        self.0.ask_to_end();
        if timeout(EXIT_GRACE, self.0.ended()).await.is_err() {
            self.0.kill();
            drop(self.0.ended().await);
        }
    }
}

/// Writes a child's stderr to our log, line by line, not more than anyone could read.
async fn log_errors(server: String, errors: ChildStderr) {
    let mut lines = Lines::new(errors, LOG_LINE_BYTES_MAX);
    let (mut since, mut logged, mut dropped) = (Instant::now(), 0u32, 0u64);
    while let Some(line) = lines.next().await {
        if since.elapsed() > LOG_WINDOW {
            if dropped > 0 {
                tracing::info!(component = "mcp", server, dropped, "lines of the server's stderr were left out");
            }
            (since, logged, dropped) = (Instant::now(), 0, 0);
        }
        if logged >= LOG_LINES_MAX {
            dropped += 1;
            continue;
        }
        logged += 1;
        let text = match &line {
            Line::Text(bytes) => log_line(bytes, LOG_LINE_BYTES_MAX),
            Line::TooLong => format!("(a line longer than {LOG_LINE_BYTES_MAX} bytes)"),
        };
        tracing::info!(component = "mcp", server, "{text}");
    }
}
