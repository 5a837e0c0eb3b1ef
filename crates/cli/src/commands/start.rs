//! `maos start`: starts the server in the background and waits until it answers; with `--foreground` becomes the server.
use crate::app::App;
use crate::client::{self, Target};
use crate::config::find_key;
use crate::daemon::run_file::RunFile;
use crate::daemon::serve;
use crate::daemon::spawn;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::text::clean_line;
use crate::print::{Format, Style};
use clap::Args;
use maos_api::system::{ModelInfo, Status};
use maos_api::words::ModelStatus;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a server that runs may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Pause between two questions.
const ANSWER_POLL: Duration = Duration::from_millis(20);

/// Its arguments.
#[derive(Debug, Clone, Default, Args)]
#[command(
    after_help = "Examples:\n  maos start\n  maos start --api-port 8001 --dashboard-port 3002\n  maos start --provider scripted          (no model: answers from a script)\n  maos start --foreground --log-format json   (for systemd and containers)"
)]
pub(crate) struct StartArgs {
    /// Stay in the foreground and log to stderr
    #[arg(long)]
    foreground: bool,
    /// Who answers model calls (auto, claude, openai, local, scripted)
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Script of the scripted provider
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Address the API listens on
    #[arg(long, value_name = "ADDRESS")]
    api_host: Option<String>,
    /// Port of the API; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    api_port: Option<String>,
    /// Port of the dashboard; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    dashboard_port: Option<String>,
    /// Least severe level that is logged
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Form of the log on stderr, with --foreground: text or json
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = ["text", "json"], requires = "foreground")]
    pub(crate) log_format: String,
    /// Set any configuration key for this run (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Listen beyond this machine although no key is configured: whoever reaches the port can run tasks
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
    /// Run the programs of agents uncontained: whatever a model was talked into runs as you, with your files and your network
    #[arg(long)]
    pub(crate) dangerously_no_sandbox: bool,
    /// This process was started by `maos start` and reports to it
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
}

/// A flag that stands for a key: key, value, flag as written.
pub(crate) type FlagValue = (&'static str, String, String);

impl StartArgs {
    /// The keys these flags set.
    pub(crate) fn overrides(&self) -> Result<Vec<FlagValue>, CliError> {
        let script = match &self.script {
            Some(path) => Some(
                std::path::absolute(path)
                    .map_err(|e| CliError::io(format!("find {}", path.display()), &e, "maos start --help"))?
                    .display()
                    .to_string(),
            ),
            None => None,
        };
        let flags: [(&'static str, Option<String>, &str); 6] = [
            ("provider", self.provider.clone(), "--provider"),
            ("scripted.script", script, "--script"),
            ("api.host", self.api_host.clone(), "--api-host"),
            ("api.port", self.api_port.clone(), "--api-port"),
            ("dashboard.port", self.dashboard_port.clone(), "--dashboard-port"),
            ("system.log_level", self.log_level.clone(), "--log-level"),
        ];
        let mut overrides: Vec<FlagValue> =
            flags.into_iter().filter_map(|(key, value, flag)| Some((key, value?, flag.to_owned()))).collect();
        for pair in &self.set {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(CliError::usage(format!("invalid value '{pair}' for '--set'"), "maos start --help")
                    .because("expected KEY=VALUE, like --set planner.max_steps=8"));
            };
            overrides.push((find_key(name.trim())?.name, value.to_owned(), format!("--set {}", name.trim())));
        }
        Ok(overrides)
    }

    /// The same flags for the background process, and for a later restart.
    pub(crate) fn as_flags(&self) -> Result<Vec<String>, CliError> {
        let mut flags: Vec<String> =
            self.overrides()?.into_iter().flat_map(|(key, value, _)| ["--set".to_owned(), format!("{key}={value}")]).collect();
        if self.insecure_no_auth {
            flags.push("--insecure-no-auth".to_owned());
        }
        if self.dangerously_no_sandbox {
            flags.push("--dangerously-no-sandbox".to_owned());
        }
        Ok(flags)
    }
}

/// Starts it.
pub(crate) fn run(app: &App, args: &StartArgs) -> Outcome {
    if args.foreground {
        return serve::run(app, args);
    }
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let (run, fresh) = start(app, args)?;
    if !fresh {
        app.ui.note(&format!("MAOS {} is already running (pid {}) at {}", run.version, run.pid, run.api));
    }
    if format == Format::Table {
        if fresh {
            say_running(app, &run);
        }
    } else {
        app.ui.document(format, &run)?;
    }
    Ok(Exit::Success)
}

/// Starts the server unless it runs; whether it was started now.
pub(crate) fn start(app: &App, args: &StartArgs) -> Result<(RunFile, bool), CliError> {
    if let Some(run) = answering(app)? {
        return Ok((run, false));
    }
    // Read here too, so that a fault in it is shown at once and on this terminal.
    app.config_checked(&args.overrides()?)?;
    spawn::spawn(app, &args.as_flags()?).map(|run| (run, true))
}

/// The server that runs and answers. One that was killed a moment ago is still listed as a process: it is waited for, so that a new
/// one can start in its place.
fn answering(app: &App) -> Result<Option<RunFile>, CliError> {
    let begun = Instant::now();
    while let Some(run) = RunFile::read_live(&app.home) {
        let target = Target { url: client::by_number(&run.api), is_own: true, is_running: false };
        let client = client::connect_to(app, &target)?;
        if client::block_on(async { tokio::time::timeout(ANSWER_WAIT, client.live()).await })?.is_ok_and(|answer| answer.is_ok()) {
            return Ok(Some(run));
        }
        if begun.elapsed() > ANSWER_WAIT {
            let message = format!("MAOS runs (pid {}) but does not answer at {}", run.pid, run.api);
            return Err(CliError::new(Exit::Failure, "not-answering", message, "maos restart --force").or_fix("maos logs"));
        }
        std::thread::sleep(ANSWER_POLL);
    }
    Ok(None)
}

/// The block after a start: where it is, what it uses, what to type next.
pub(crate) fn say_running(app: &App, run: &RunFile) {
    let ui = &app.ui;
    let head = format!("MAOS {} is running (pid {})", run.version, run.pid);
    let mut lines = vec![ui.err_paint(Style::Good, &head)];
    let dashboard = run.dashboard.as_deref().map(|url| format!("        dashboard  {url}")).unwrap_or_default();
    lines.push(format!("  api        {}{dashboard}", run.api));
    let target = Target { url: client::by_number(&run.api), is_own: true, is_running: true };
    let status = client::connect_to(app, &target).ok().and_then(|client| client::block_on(async { client.status().await }).ok()?.ok());
    if let Some(status) = status {
        lines.push(format!("  storage    {}        bus        {}", clean_line(&status.storage), clean_line(&status.bus)));
        let retired = retired_lines(app, &target);
        lines.extend(models_lines(app, &status, retired));
    }
    lines.push("  logs       maos logs --follow           stop       maos stop".to_owned());
    lines.iter().for_each(|line| ui.note(line));
}

/// A line for each model in use that its provider has retired, with the command that replaces it.
fn retired_lines(app: &App, target: &Target) -> Vec<String> {
    let models = client::connect_to(app, target).ok().and_then(|client| client::block_on(async { client.models().await }).ok()?.ok());
    let retired =
        models.into_iter().flat_map(|list| list.data).filter(|model| model.status == ModelStatus::Retired && !model.used_by.is_empty());
    let line = |model: ModelInfo| {
        let new = model.replacement.unwrap_or_else(|| "<model>".to_owned());
        let mark = app.ui.err_paint(Style::Warn, app.ui.glyph("!", "!"));
        format!("             {mark} {} is retired: maos config set {}.model {new}", clean_line(&model.id), model.provider)
    };
    retired.map(line).collect()
}

/// Who answers model calls; when nobody does, the ways out.
fn models_lines(app: &App, status: &Status, retired: Vec<String>) -> Vec<String> {
    let provider = &status.provider;
    let note = provider.note.as_deref().map(clean_line);
    let indent = " ".repeat(13);
    if provider.ready {
        let name = provider.name.as_deref().unwrap_or("none");
        let model = provider.model.as_deref().map(|model| format!(", {model}")).unwrap_or_default();
        let head = format!("  models     {} {name}{model}", app.ui.err_paint(Style::Good, app.ui.glyph("✓", "+")));
        let note = note.map(|note| format!("{indent}{}", app.ui.err_paint(Style::Warn, &note)));
        return std::iter::once(head).chain(note).chain(retired).collect();
    }
    let why = note.unwrap_or_else(|| "no key of a provider and no local model".to_owned());
    let mut lines = vec![format!("  models     {} {why} — tasks cannot run", app.ui.err_paint(Style::Bad, app.ui.glyph("✗", "x")))];
    if retired.is_empty() {
        let ways = client::commands_in(provider.hint.as_deref().unwrap_or_default());
        lines.extend(ways.iter().map(|way| format!("{indent}fix: {}", clean_line(way))));
    }
    lines.extend(retired);
    lines
}
