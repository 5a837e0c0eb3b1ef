//! `maos stop`: ends the server of this home folder. Running tasks are kept and go on at the next start.
use crate::app::App;
use crate::client::{self, Target};
use crate::daemon::process;
use crate::daemon::run_file::RunFile;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use clap::Args;
use maos_api::TaskStatus;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Pause between two looks whether the process is gone.
const POLL: Duration = Duration::from_millis(20);
/// How long a killed process may take to vanish.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// How long to wait for the server to finish what it is writing
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::args::duration)]
    pub(crate) timeout: Duration,
    /// Kill it at once; tasks survive this too
    #[arg(long)]
    pub(crate) force: bool,
}

/// Stops it and says so.
pub(crate) fn run(app: &App, args: &StopArgs) -> Outcome {
    match stop(app, args)? {
        None => app.ui.note("MAOS is not running"),
        Some(resume) => {
            let tasks = match resume {
                Some(0) => "; no task was running".to_owned(),
                Some(1) => "; 1 task goes on at the next start".to_owned(),
                Some(n) => format!("; {n} tasks go on at the next start"),
                None => String::new(),
            };
            app.ui.note(&format!("MAOS has stopped{tasks}"));
        }
    }
    Ok(Exit::Success)
}

/// Stops it. `None` when none was running; else how many tasks will go on, as far as the server could tell.
pub(crate) fn stop(app: &App, args: &StopArgs) -> Result<Option<Option<u64>>, CliError> {
    let Some(run) = RunFile::read_live(&app.home) else {
        return Ok(None);
    };
    let resume = open_tasks(app, &run);
    let signal = if args.force { Signal::SIGKILL } else { Signal::SIGTERM };
    process::send(run.pid, signal).map_err(|error| CliError::io(format!("stop the server (pid {})", run.pid), &error, "maos status"))?;
    let wait = if args.force { KILL_WAIT } else { args.timeout };
    let begun = Instant::now();
    while process::start_time(run.pid) == Some(run.process_started) {
        if begun.elapsed() > wait {
            let message = format!("the server (pid {}) has not stopped within {}", run.pid, crate::config::value::format_duration(wait));
            return Err(CliError::new(Exit::WaitedTooLong, "stop-timeout", message, "maos stop --force")
                .because("it is still finishing; its tasks are safe either way"));
        }
        std::thread::sleep(POLL);
    }
    run.remove(&app.home);
    Ok(Some(resume))
}

/// Tasks that have not ended. Not knowing is no reason not to stop.
fn open_tasks(app: &App, run: &RunFile) -> Option<u64> {
    let target = Target { url: client::by_number(&run.api), is_own: true, is_running: false };
    let client = client::connect_to(app, &target).ok()?;
    let status = client::block_on(async { tokio::time::timeout(Duration::from_secs(2), client.status()).await }).ok()?.ok()?.ok()?;
    let open = [TaskStatus::Queued, TaskStatus::Blocked, TaskStatus::Running];
    Some(open.iter().filter_map(|s| status.tasks.get(s.as_str())).sum())
}
