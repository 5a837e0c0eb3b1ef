//! `maos restart`: stop, then start with the same flags. Running tasks go on.
use super::start::{self, StartArgs};
use super::stop::{self, StopArgs};
use crate::app::App;
use crate::daemon::run_file::RunFile;
use crate::daemon::spawn;
use crate::error::Outcome;
use crate::exit::Exit;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Flags of the last `maos start` are used again, unless others are given here.")]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    stop: StopArgs,
    #[command(flatten)]
    start: StartArgs,
}

/// Restarts it; starts it when it was not running.
pub(crate) fn run(app: &App, args: &RestartArgs) -> Outcome {
    let own = args.start.as_flags()?;
    let before = RunFile::read_live(&app.home);
    let flags = match &before {
        // Later flags win, so those given now beat those of the last start.
        Some(run) => run.flags.iter().cloned().chain(own).collect(),
        None => own,
    };
    app.config_checked(&args.start.overrides()?)?;
    if before.is_none() {
        app.ui.note("MAOS was not running; starting it");
    }
    stop::stop(app, &args.stop)?;
    let run = spawn::spawn(app, &flags)?;
    start::say_running(app, &run);
    Ok(Exit::Success)
}
