//! The server in this process: puts configuration, runtime, routes and log together, and ends them in order.
//!
//! Invariant: whoever started us hears exactly once how it went; a graceful end and a kill differ only in time lost.
use super::config_door::FileConfig;
use super::run_file::RunFile;
use super::spawn::Report;
use super::{notify, process};
use crate::app::App;
use crate::commands::start::StartArgs;
use crate::config::{Config, Sources, SYSTEM_FILE};
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::create_private_dir;
use crate::{logging, settings};
use maos_server::config::ConfigDoor;
use maos_server::{LogBuffer, ServeError, ServerHandle};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long calls in flight may go on after a request to stop. Less than the 30 s that `maos stop` waits.
const CALLS_GRACE: Duration = Duration::from_secs(20);
/// How long open requests may go on after that.
const REQUESTS_GRACE: Duration = Duration::from_secs(2);

/// Runs the server until it is told to stop.
pub(crate) fn run(app: &App, args: &StartArgs) -> Outcome {
    if args.detached {
        // Fails only when we lead a process group already; then there is a session of our own, which is what is wanted.
        drop(nix::unistd::setsid());
    }
    let outcome = prepare(app, args).and_then(|(config, runtime)| runtime.block_on(serve(app, args, config)));
    match outcome {
        Err(error) if args.detached && !error.silent => {
            report(&Report::failed(&error));
            Err(CliError::silent(error.exit))
        }
        other => other,
    }
}

/// Everything that can fail before anything is opened.
fn prepare(app: &App, args: &StartArgs) -> Result<(Config, tokio::runtime::Runtime), CliError> {
    if let Some(run) = RunFile::read_live(&app.home) {
        let message = format!("MAOS is already running here (pid {}) at {}", run.pid, run.api);
        return Err(CliError::new(Exit::Conflict, "already-running", message, "maos stop").or_fix("MAOS_HOME=/another/folder maos start"));
    }
    let config = app.config_checked(&args.overrides()?)?;
    for dir in [app.home.dir().to_owned(), app.home.run(), app.home.agents()] {
        create_private_dir(&dir).map_err(|error| CliError::io(format!("create {}", app.home.show(&dir)), &error, "maos init"))?;
    }
    let stderr_json = if args.detached { None } else { Some(args.log_format == "json") };
    let logs = logging::start(&app.home, &settings::log_options(&config, stderr_json));
    logs.map_err(|error| CliError::io(format!("write the log in {}", app.home.show(&app.home.logs())), &error, "maos init"))?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("maos").build();
    let threads = threads.map_err(|error| CliError::io("start the threads", &error, "maos start --foreground"))?;
    Ok((config, threads))
}
