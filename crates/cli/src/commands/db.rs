//! `maos db …`: the schema of the database.
use crate::app::App;
use crate::client;
use crate::daemon::run_file::RunFile;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::create_private_dir;
use crate::print::Style;
use crate::print::table::{self, Cell, Column, ListFlags};
use clap::{Args, Subcommand};
use maos_store::{Migration, StoreError};
use serde::Serialize;

/// Stands for a database that is still to be created, in a dry run.
const NEW_DATABASE: &str = "sqlite::memory:";

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    pub(crate) command: DbCommand,
}

/// What can be done with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Bring the schema up to date (`maos start` does this too)
    Migrate {
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        list: ListFlags,
    },
    /// Show which schema versions the database has
    Status {
        #[command(flatten)]
        list: ListFlags,
    },
}

/// A schema version as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    version: u32,
    name: String,
    applied_at: Option<String>,
}

/// Does one of them.
pub(crate) fn run(app: &App, command: DbCommand) -> Outcome {
    let url = format!("sqlite:{}", app.home.database().display());
    let exists = app.home.database().exists();
    match command {
        DbCommand::Status { list } => {
            if !exists {
                app.ui.note("There is no database yet; maos start creates it, or maos db migrate");
            }
            let versions =
                if exists { client::block_on(maos_store::status(&url))?.map_err(|error| store_error(app, &error))? } else { Vec::new() };
            show(app, &list, versions)
        }
        DbCommand::Migrate { dry_run, list } => {
            if let (Some(run), false) = (RunFile::read_live(&app.home), dry_run) {
                app.ui.note(&format!("The server is running (pid {}); it has migrated its database when it started", run.pid));
            }
            create_private_dir(app.home.dir()).map_err(|error| CliError::io("create the home folder", &error, "maos init"))?;
            let versions = client::block_on(maos_store::migrate(if dry_run && !exists { NEW_DATABASE } else { &url }, dry_run))?
                .map_err(|error| store_error(app, &error))?;
            let open = versions.iter().filter(|migration| migration.applied_at.is_none()).count();
            let news = match (dry_run, open) {
                (true, 0) | (false, _) => "The schema is up to date".to_owned(),
                (true, n) => format!("{n} versions would be applied"),
            };
            app.ui.note(&news);
            show(app, &list, versions)
        }
    }
}

fn show(app: &App, list: &ListFlags, versions: Vec<Migration>) -> Outcome {
    let time = |micros: i64| jiff::Timestamp::from_microsecond(micros).map(|time| format!("{time:.0}")).unwrap_or_default();
    let rows: Vec<Row> =
        versions.into_iter().map(|m| Row { version: m.version, name: m.name, applied_at: m.applied_at.map(time) }).collect();
    let columns = [
        Column::new("VERSION", |row: &Row| Cell::from(row.version.to_string())),
        Column::new("NAME", |row: &Row| row.name.clone().into()),
        Column::new("APPLIED", |row: &Row| match &row.applied_at {
            Some(time) => time.clone().into(),
            None => Cell::styled("not yet", Style::Warn).raw(""),
        }),
    ];
    table::print(&app.ui, list, &rows, &columns, None)?;
    Ok(Exit::Success)
}

/// A failure of the database as it is shown.
pub(crate) fn store_error(app: &App, error: &StoreError) -> CliError {
    CliError::new(
        Exit::Failure,
        "database",
        format!("cannot use the database {}", app.home.show(&app.home.database())),
        "maos logs --component database",
    )
    .because(error.to_string())
}
