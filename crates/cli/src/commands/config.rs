//! `maos config …`: read, change and check the configuration.
use crate::app::App;
use crate::client::{self, Target};
use crate::config::edit::{self, EditError};
use crate::config::schema::{KEYS, Key};
use crate::config::{self, Origin, Resolved, file, value};
use crate::daemon::process;
use crate::daemon::run_file::RunFile;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::{create_private_dir, write_private};
use crate::print::table::{self, Cell, Column, ListFlags};
use crate::print::{Format, Style};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a running server may take to read its configuration again.
const RELOAD_WAIT: Duration = Duration::from_secs(2);
/// Pause between two questions whether it has.
const RELOAD_POLL: Duration = Duration::from_millis(20);

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Change a key in the file; comments stay
    #[command(
        after_help = "Examples:\n  maos config set system.max_agents 15\n  maos config set claude.api_key            (asks, hidden)\n  maos config set claude.api_key --from-stdin < key.txt"
    )]
    Set(SetArgs),
    /// Print the value of a key that is in force
    Get {
        /// The key, like system.max_agents
        key: String,
    },
    /// Remove a key from the file
    Unset {
        /// The key, like system.max_agents
        key: String,
    },
    /// Show what is in force
    Show {
        /// Also show where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        list: ListFlags,
    },
    /// List all keys, with what they do
    List {
        #[command(flatten)]
        list: ListFlags,
    },
    /// Print the path of the file
    Path,
    /// Open the file in your editor, then check it
    Edit,
    /// Check the file and the variables
    Validate {
        /// The file to check (default: the one in use)
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of the file
    Schema,
}

/// What `set` takes.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The key, like system.max_agents
    key: String,
    /// The new value
    #[arg(conflicts_with_all = ["from_stdin", "from_file"])]
    value: Option<String>,
    /// Read the value from stdin
    #[arg(long, conflicts_with = "from_file")]
    from_stdin: bool,
    /// Read the value from a file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

/// Does one of them.
pub(crate) fn run(app: &App, command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Set(args) => set(app, &args),
        ConfigCommand::Get { key } => get(app, &key),
        ConfigCommand::Unset { key } => unset(app, &key),
        ConfigCommand::Show { origin, list } => show(app, origin, &list),
        ConfigCommand::List { list } => list_keys(app, &list),
        ConfigCommand::Path => {
            app.ui.out(&format!("{}\n", app.sources(&[]).main_file().0.display()))?;
            Ok(Exit::Success)
        }
        ConfigCommand::Edit => edit_file(app),
        ConfigCommand::Validate { file } => validate(app, file.as_deref()),
        ConfigCommand::Schema => {
            app.ui.out(&format!("{:#}\n", config::json_schema::document()))?;
            Ok(Exit::Success)
        }
    }
}

fn set(app: &App, args: &SetArgs) -> Outcome {
    let key = config::find_key(&args.key)?;
    let text = new_value(app, key, args)?;
    let is_variable = text.starts_with("${") && text.ends_with('}');
    if !is_variable {
        value::parse(key.kind, &text).map_err(|expected| {
            let shown = if key.secret { "***" } else { text.as_str() };
            CliError::usage(format!("invalid value '{shown}' for {}", key.name), format!("maos config set {} <value>", key.name))
                .because(expected)
        })?;
    }
    if key.secret && args.value.is_some() && !is_variable {
        app.ui.warn("the value is now in your shell's history; next time leave it out and you will be asked");
    }
    let (path, original) = read_main_file(app)?;
    let edited = edit::set(&original, key, &text).map_err(|error| edit_error(app, &path, error))?;
    let shown = if is_variable { text.clone() } else { value::parse(key.kind, &text).map_or(text.clone(), |v| config::masked(key, &v)) };
    if args.dry_run {
        app.ui.note(&format!("Would set {} = {shown} in {}", key.name, app.home.show(&path)));
        return Ok(Exit::Success);
    }
    save(app, &path, &edited)?;
    app.ui.note(&format!("Set {} = {shown} in {}", key.name, app.home.show(&path)));
    after_change(app, key)
}

/// The value from wherever it was to come.
fn new_value(app: &App, key: &Key, args: &SetArgs) -> Result<String, CliError> {
    let fix = format!("maos config set {} --from-stdin", key.name);
    let text = if let Some(text) = &args.value {
        text.clone()
    } else if args.from_stdin {
        let mut text = String::new();
        std::io::stdin()
            .take(file::FILE_BYTES_MAX as u64)
            .read_to_string(&mut text)
            .map_err(|error| CliError::io("read the value from stdin", &error, fix.clone()))?;
        text
    } else if let Some(path) = &args.from_file {
        std::fs::read_to_string(path).map_err(|error| CliError::io(format!("read {}", path.display()), &error, fix.clone()))?
    } else if app.ui.interactive {
        let ask = format!("{}:", key.name);
        let answer =
            if key.secret { inquire::Password::new(&ask).without_confirmation().prompt() } else { inquire::Text::new(&ask).prompt() };
        answer.map_err(|error| match error {
            inquire::InquireError::OperationInterrupted | inquire::InquireError::OperationCanceled => CliError::silent(Exit::Interrupted),
            other => CliError::new(Exit::Failure, "prompt", "cannot ask for the value", fix.clone()).because(other.to_string()),
        })?
    } else {
        return Err(
            CliError::usage(format!("no value given for {}", key.name), fix).or_fix(format!("maos config set {} <value>", key.name))
        );
    };
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(CliError::usage(format!("the value for {} is empty", key.name), format!("maos config unset {}", key.name)));
    }
    Ok(text)
}

fn unset(app: &App, name: &str) -> Outcome {
    let key = config::find_key(name)?;
    let (path, original) = read_main_file(app)?;
    let shown = app.home.show(&path);
    match edit::unset(&original, key).map_err(|error| edit_error(app, &path, error))? {
        None => app.ui.note(&format!("{name} is not set in {shown}")),
        Some(edited) => {
            save(app, &path, &edited)?;
            app.ui.note(&format!("Removed {name} from {shown}; the default is {}", key.default.unwrap_or("not set")));
        }
    }
    after_change(app, key)
}

/// What a person should know after a change.
fn after_change(app: &App, key: &'static Key) -> Outcome {
    let config = app.config()?;
    if let Origin::Env(name) = &config.get(key.name).origin {
        app.ui.warn(&format!("the variable {name} is set and beats the file"));
    }
    if let Some(instead) = key.later {
        app.ui.warn(&format!("{} has no effect in this version: {instead}", key.name));
        return Ok(Exit::Success);
    }
    let Some(run) = RunFile::read_live(&app.home).filter(|_| !key.client) else { return Ok(Exit::Success) };
    if key.needs_restart() {
        app.ui.note("The running server takes it over at its next start: maos restart");
        return Ok(Exit::Success);
    }
    let expected = Row::new(app, key, config.get(key.name)).value;
    if taken_over(app, &run, key, &expected)? {
        app.ui.note("The running server has taken it over");
    } else {
        app.ui.warn("the running server has not taken it over; a flag of its start may beat the file. See: maos logs --level WARNING, or: maos restart");
    }
    Ok(Exit::Success)
}

/// Tells the server to read its configuration again, and waits until it says the new value.
fn taken_over(app: &App, run: &RunFile, key: &Key, expected: &serde_json::Value) -> Result<bool, CliError> {
    let told = process::send(run.pid, nix::sys::signal::Signal::SIGHUP);
    told.map_err(|error| CliError::io(format!("tell the server (pid {})", run.pid), &error, "maos restart"))?;
    let target = Target { url: client::by_number(&run.api), is_own: true, is_running: true };
    let client = client::connect_to(app, &target)?;
    client::block_on(async {
        let asked = async {
            loop {
                if client.config_key(key.name).await.is_ok_and(|entry| entry.value == *expected) {
                    return;
                }
                tokio::time::sleep(RELOAD_POLL).await;
            }
        };
        tokio::time::timeout(RELOAD_WAIT, asked).await.is_ok()
    })
}

fn read_main_file(app: &App) -> Result<(PathBuf, String), CliError> {
    let (path, _) = app.sources(&[]).main_file();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((path, String::new())),
        Err(error) => Err(CliError::io(format!("read {}", app.home.show(&path)), &error, "maos config path")),
    }
}

fn save(app: &App, path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::io(format!("write {}", app.home.show(path)), &error, "maos config path");
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        create_private_dir(dir).map_err(failed)?;
    }
    write_private(path, text.as_bytes()).map_err(failed)
}

/// Why a file was not changed, as it is shown.
pub(crate) fn edit_error(app: &App, path: &Path, error: EditError) -> CliError {
    match error {
        EditError::Invalid(error) => config::file_error(&app.home.show(path), error),
        EditError::ByHand(why) => {
            CliError::new(Exit::Conflict, "config-edit", format!("cannot change {}", app.home.show(path)), "maos config edit").because(why)
        }
    }
}

fn get(app: &App, name: &str) -> Outcome {
    let key = config::find_key(name)?;
    let config = app.config()?;
    let resolved = config.get(key.name);
    match app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])? {
        Format::Table => match &resolved.value {
            Some(value) => app.ui.out(&format!("{}\n", config::masked(key, value)))?,
            None => {
                let fix = format!("maos config set {name} <value>");
                return Err(CliError::new(Exit::NotFound, "not-set", format!("{name} is not set"), fix));
            }
        },
        format => app.ui.document(format, &Row::new(app, key, resolved))?,
    }
    Ok(Exit::Success)
}

/// A key as `show` and `get` print it.
#[derive(Debug, Serialize)]
struct Row {
    key: &'static str,
    value: serde_json::Value,
    origin: String,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    is_default: bool,
}

impl Row {
    fn new(app: &App, key: &'static Key, resolved: &Resolved) -> Self {
        let text = resolved.value.as_ref().map(|value| config::masked(key, value));
        let value = match (&resolved.value, key.secret) {
            (Some(_), true) => text.clone().into(),
            (Some(value), false) => value.to_json(),
            (None, _) => serde_json::Value::Null,
        };
        let origin = match &resolved.origin {
            Origin::Default if resolved.value.is_none() => "not set".to_owned(),
            Origin::Default => "default".to_owned(),
            Origin::File { path, line, variable: None } => format!("{}:{line}", app.home.show(path)),
            Origin::File { path, line, variable: Some(name) } => format!("{}:{line}, from {name}", app.home.show(path)),
            Origin::Env(name) => format!("variable {name}"),
            Origin::Flag(flag) => format!("flag {flag}"),
        };
        Row { key: key.name, value, origin, text: text.unwrap_or_else(|| "-".to_owned()), is_default: resolved.origin == Origin::Default }
    }
}

fn show(app: &App, origin: bool, list: &ListFlags) -> Outcome {
    let config = app.config_checked(&[])?;
    let rows: Vec<Row> = config.iter().map(|(key, resolved)| Row::new(app, key, resolved)).collect();
    let style = |row: &Row| {
        if row.is_default { Style::Dim } else { Style::Plain }
    };
    let mut columns = vec![
        Column::new("KEY", |row: &Row| row.key.into()),
        Column::new("VALUE", move |row: &Row| Cell::styled(row.text.clone(), style(row))).cuttable(),
    ];
    let origin_column = Column::new("ORIGIN", move |row: &Row| Cell::styled(row.origin.clone(), Style::Dim));
    columns.push(if origin { origin_column } else { origin_column.hidden() });
    table::print(&app.ui, list, &rows, &columns, None)?;
    Ok(Exit::Success)
}

/// A key as `list` prints it.
#[derive(Debug, Serialize)]
struct KeyRow {
    key: &'static str,
    #[serde(rename = "type")]
    kind: String,
    default: Option<&'static str>,
    variable: String,
    description: String,
    secret: bool,
    effective: bool,
}

fn list_keys(app: &App, list: &ListFlags) -> Outcome {
    let rows: Vec<KeyRow> = KEYS
        .iter()
        .map(|key| KeyRow {
            key: key.name,
            kind: kind_name(key),
            default: key.default,
            variable: key.env_name(),
            description: key.later.map_or_else(|| key.doc.to_owned(), |instead| format!("{} (no effect yet: {instead})", key.doc)),
            secret: key.secret,
            effective: key.later.is_none(),
        })
        .collect();
    let columns = [
        Column::new("KEY", |row: &KeyRow| row.key.into()),
        Column::new("TYPE", |row: &KeyRow| Cell::styled(row.kind.clone(), Style::Dim)).cuttable(),
        Column::new("DEFAULT", |row: &KeyRow| row.default.unwrap_or("-").into()),
        Column::new("DESCRIPTION", |row: &KeyRow| row.description.clone().into()).cuttable(),
        Column::new("VARIABLE", |row: &KeyRow| row.variable.clone().into()).hidden(),
    ];
    table::print(&app.ui, list, &rows, &columns, Some(&|row: &KeyRow| row.key.to_owned()))?;
    Ok(Exit::Success)
}

fn kind_name(key: &Key) -> String {
    use config::schema::Kind;
    match key.kind {
        Kind::Bool => "true|false".to_owned(),
        Kind::Int(min, max) => format!("{min}..{max}"),
        Kind::Fraction(..) => "number".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Url => "address".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Money => "USD".to_owned(),
        Kind::Choice(words) => words.join("|"),
        Kind::List => "a,b,…".to_owned(),
        Kind::Pairs => "a=b,…".to_owned(),
    }
}

fn validate(app: &App, file: Option<&Path>) -> Outcome {
    let config = match file {
        Some(file) => config::Config::load(&config::Sources { file: Some(file), ..app.sources(&[]) })?,
        None => config::Config::load(&app.sources(&[]))?,
    };
    for warning in config.variable_warnings.iter().chain(&config.warnings) {
        app.ui.warn(warning);
    }
    let set = config.iter().filter(|(_, resolved)| resolved.origin != Origin::Default).count();
    app.ui.note(&format!("{} is valid ({set} of {} keys set)", app.home.show(&config.main_file), KEYS.len()));
    Ok(Exit::Success)
}

fn edit_file(app: &App) -> Outcome {
    let (path, _) = app.sources(&[]).main_file();
    if !path.exists() {
        return Err(CliError::new(Exit::NotFound, "config-missing", format!("there is no {}", app.home.show(&path)), "maos init"));
    }
    let editor = app.env.get("VISUAL").or_else(|| app.env.get("EDITOR")).unwrap_or("vi").to_owned();
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = std::process::Command::new(program).args(words).arg(&path).status();
    match status {
        Ok(status) if status.success() => validate(app, None),
        Ok(status) => {
            Err(CliError::new(Exit::Failure, "editor", format!("the editor '{editor}' ended with {status}"), "maos config validate"))
        }
        Err(error) => {
            Err(CliError::new(Exit::Failure, "editor", format!("cannot start the editor '{editor}'"), "EDITOR=nano maos config edit")
                .because(error.to_string()))
        }
    }
}
