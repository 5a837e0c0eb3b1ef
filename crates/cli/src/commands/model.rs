//! `maos model …`: small models that run on this machine, without key and network.
use crate::app::App;
use crate::client;
use crate::daemon::run_file::RunFile;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::live::Screen;
use crate::print::table::{self, Cell, Column, ListFlags};
use crate::print::text::{clean_line, elapsed};
use crate::print::{Format, Style, Ui};
use clap::{Args, Subcommand};
use maos_local::{Local, LocalError, Options, Progress, Source, Step, Store, find_runner, prepare_runner, pull};
use secrecy::ExposeSecret;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two pictures of a download on a terminal.
const PICTURE_PAUSE: Duration = Duration::from_millis(100);
/// Time between two lines about a download elsewhere.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models that can run here, and which are present
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        list: ListFlags,
    },
    /// Fetch a model; prints its name
    #[command(
        after_help = "Examples:\n  maos model pull\n  maos model pull qwen2.5-coder-0.5b\n  maos model pull qwen2.5-coder-0.5b --from /media/usb\n\nA download that was cut goes on where it stopped. The bytes are always checked."
    )]
    Pull {
        /// The model (default: the best one that fits into this machine's memory)
        name: Option<String>,
        /// Where from: publisher, python-packages, an http(s) address, a file or a folder
        #[arg(long, value_name = "SOURCE")]
        from: Option<String>,
    },
    /// Delete a model's file
    Rm {
        /// The model
        name: String,
    },
    /// Serve a model alone, in the foreground, for other programs
    Serve {
        /// The model (default: local.model, else the best one present)
        name: Option<String>,
    },
}

/// Does one of them.
pub(crate) fn run(app: &App, command: ModelCommand) -> Outcome {
    match command {
        ModelCommand::List { list } => list_models(app, &list),
        ModelCommand::Pull { name, from } => pull_model(app, name, from.as_deref()),
        ModelCommand::Rm { name } => {
            let freed = options(app, None)?.store().remove(&name).map_err(|error| local_error(&error))?;
            app.ui.note(&format!("Removed {name} ({})", megabytes(freed)));
            Ok(Exit::Success)
        }
        ModelCommand::Serve { name } => serve(app, name),
    }
}

/// How the local model is served, by the configuration.
fn options(app: &App, model: Option<String>) -> Result<Options, CliError> {
    let config = app.config()?;
    Ok(crate::settings::local_options(app.home.dir(), &config, model))
}

/// A failure of the local part as it is shown.
pub(crate) fn local_error(error: &LocalError) -> CliError {
    let (exit, fix) = match error {
        LocalError::UnknownModel { .. } => (Exit::NotFound, "maos model list"),
        LocalError::NotInstalled { .. } => (Exit::NotFound, "maos model pull"),
        LocalError::WrongContents { .. } | LocalError::Unreachable { .. } | LocalError::NoSource { .. } => {
            (Exit::Failure, "maos model pull --from FILE")
        }
        _ => (Exit::Failure, "maos model list"),
    };
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().replace('`', "'");
    let cli = CliError::new(exit, "local-model", first, fix);
    let rest: Vec<&str> = lines.map(str::trim).collect();
    if rest.is_empty() { cli } else { cli.because(rest.join("; ")) }
}

/// A model as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    present: bool,
    bytes: u64,
    memory_bytes: u64,
    licence: String,
    publisher: String,
    worth: String,
    path: Option<PathBuf>,
}

fn list_models(app: &App, list: &ListFlags) -> Outcome {
    let store = options(app, None)?.store();
    let present = store.list();
    let rows: Vec<Row> = store
        .catalog()
        .models()
        .iter()
        .map(|model| Row {
            present: present.iter().any(|installed| installed.name == model.name),
            path: present.iter().find(|installed| installed.name == model.name).and_then(|_| store.path(&model.name)),
            name: model.name.clone(),
            bytes: model.bytes,
            memory_bytes: model.memory_bytes,
            licence: model.licence.clone(),
            publisher: model.publisher.clone(),
            worth: model.worth.clone(),
        })
        .collect();
    let ui = app.ui.clone();
    let columns = [
        Column::new("MODEL", |row: &Row| row.name.clone().into()),
        Column::new("PRESENT", move |row: &Row| {
            if row.present {
                Cell::styled(format!("{} yes", ui.glyph("✓", "+")), Style::Good).raw("true")
            } else {
                Cell::styled("no", Style::Dim).raw("false")
            }
        }),
        Column::new("SIZE", |row: &Row| Cell::from(megabytes(row.bytes)).raw(row.bytes)),
        Column::new("MEMORY", |row: &Row| Cell::from(megabytes(row.memory_bytes)).raw(row.memory_bytes)),
        Column::new("LICENCE", |row: &Row| row.licence.clone().into()),
        Column::new("WHAT IT IS WORTH", |row: &Row| row.worth.clone().into()).cuttable(),
    ];
    table::print(&app.ui, list, &rows, &columns, Some(&|row: &Row| row.name.clone()))?;
    if !rows.iter().any(|row| row.present) {
        app.ui.note("None is present. Fetch one: maos model pull");
    }
    Ok(Exit::Success)
}

fn megabytes(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
    } else {
        format!("{} MB", bytes / 1_000_000)
    }
}

fn pull_model(app: &App, name: Option<String>, from: Option<&str>) -> Outcome {
    let options = options(app, name.clone())?;
    let store = options.store();
    let name = name
        .or_else(|| options.model.clone())
        .or_else(|| best_fitting(&store))
        .ok_or_else(|| CliError::new(Exit::NotFound, "no-model", "no model is known", "maos model list"))?;
    let source = from.map_or(Source::Auto, Source::parse);
    let told = Told::new(&app.ui, &name);
    let installed = client::block_on(async {
        let fetched = tokio::select! {
            fetched = pull(&store, &name, source, &told) => fetched.map_err(|error| local_error(&error))?,
            _ = tokio::signal::ctrl_c() => {
                told.end();
                app.ui.note(&format!("Stopped; what was fetched is kept. Go on: maos model pull {name}"));
                return Err(CliError::silent(Exit::Interrupted));
            }
        };
        told.end();
        // The runner is fetched now too, so that the first task need not wait for it.
        if find_runner(&options).map_err(|error| local_error(&error))?.is_none() {
            app.ui.note("Fetching the program that runs it…");
            prepare_runner(&options, &told).await.map_err(|error| local_error(&error))?;
            told.end();
        }
        Ok(fetched)
    })??;
    match app.ui.format_of(&[Format::Table, Format::Id])? {
        Format::Table | Format::Id => app.ui.out(&format!("{}\n", installed.name))?,
        _ => {}
    }
    if let Some(model) = store.catalog().get(&installed.name) {
        app.ui.note(&format!("{} is ready. {}", installed.name, model.worth));
    }
    if RunFile::read_live(&app.home).is_some() {
        app.ui.note("The running server can use it after its next start: maos restart");
    }
    Ok(Exit::Success)
}

/// The best model that leaves half of the memory to others.
fn best_fitting(store: &Store) -> Option<String> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?.to_owned();
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    });
    let fits = |bytes: u64| memory.is_none_or(|total| bytes <= total / 2);
    let models = store.catalog().models();
    models
        .iter()
        .filter(|model| fits(model.memory_bytes))
        .max_by_key(|model| model.rank)
        .or_else(|| models.iter().min_by_key(|model| model.memory_bytes))
        .map(|model| model.name.clone())
}

/// Shows how a pull goes on.
struct Told {
    ui: Ui,
    name: String,
    state: Mutex<TellState>,
}

struct TellState {
    screen: Screen,
    last: Option<Instant>,
    begun: Instant,
    first_bytes: Option<u64>,
}

impl Told {
    fn new(ui: &Ui, name: &str) -> Self {
        let state = TellState { screen: Screen::of_stderr(ui), last: None, begun: Instant::now(), first_bytes: None };
        Told { ui: ui.clone(), name: name.to_owned(), state: Mutex::new(state) }
    }

    fn end(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.screen.clear();
        }
    }

    fn bytes(&self, what: &str, done: u64, total: u64) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let pause = if self.ui.err_tty { PICTURE_PAUSE } else { LINE_PAUSE };
        if self.ui.quiet || (state.last.is_some_and(|last| last.elapsed() < pause) && done < total) {
            return;
        }
        state.last = Some(Instant::now());
        let first = *state.first_bytes.get_or_insert(done);
        let seconds = state.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = (done.saturating_sub(first)) as f64 / seconds.max(0.001);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate for people")]
        let left = if rate > 1.0 {
            format!(" · {} left", elapsed(((total.saturating_sub(done)) as f64 / rate * 1000.0) as u64))
        } else {
            String::new()
        };
        let percent = done * 100 / total.max(1);
        let text = format!("{what} {}  {percent}%  {} of {}{left}\n", self.name, megabytes(done), megabytes(total));
        // A picture that cannot be drawn must not end the download.
        drop(state.screen.draw(&text));
    }
}

impl Progress for Told {
    fn step(&self, step: Step<'_>) {
        match step {
            Step::Note(text) => {
                self.end();
                self.ui.note(&clean_line(text));
            }
            Step::Fetched { done, total } => self.bytes("Fetching", done, total),
            Step::Checked { done, total } => self.bytes("Checking", done, total),
        }
    }
}

/// Serves a model until Ctrl-C.
fn serve(app: &App, name: Option<String>) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json])?;
    let local = Local::new(options(app, name)?);
    client::block_on(async {
        app.ui.note("Starting the model…");
        let endpoint = tokio::select! {
            endpoint = local.endpoint() => endpoint.map_err(|error| local_error(&error))?,
            _ = tokio::signal::ctrl_c() => {
                local.stop().await;
                return Err(CliError::silent(Exit::Interrupted));
            }
        };
        let facts = serde_json::json!({"base_url": endpoint.base_url, "api_key": endpoint.key.expose_secret(), "model": endpoint.model});
        match format {
            Format::Table => app.ui.out(&format!(
                "base_url  {}\napi_key   {}\nmodel     {}\n",
                endpoint.base_url,
                endpoint.key.expose_secret(),
                endpoint.model
            ))?,
            format => app.ui.document(format, &facts)?,
        }
        app.ui.note("Ctrl-C ends it");
        let ended = tokio::signal::ctrl_c().await;
        local.stop().await;
        ended.map(|()| Exit::Success).map_err(|error| CliError::io("wait for Ctrl-C", &error, "maos model serve"))
    })?
}
