//! The server in this process: puts configuration, runtime, routes and log together, and ends them in order.
//!
//! Invariant: whoever started us hears exactly once how it went; a graceful end and a kill differ only in time lost.
use super::config_door::FileConfig;
use super::run_file::RunFile;
use super::spawn::Report;
use super::{notify, process};
use crate::app::App;
use crate::commands::start::StartArgs;
use crate::config::{Config, SYSTEM_FILE, Sources};
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::create_private_dir;
use crate::{logging, settings};
use maos_server::config::ConfigDoor;
use maos_server::{ServeError, ServerHandle};
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
        let _ = nix::unistd::setsid();
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

/// The running parts.
struct Live {
    runtime: maos_runtime::Runtime,
    local: Arc<Mutex<Option<maos_local::Local>>>,
    config: Arc<FileConfig>,
}

async fn serve(app: &App, args: &StartArgs, config: Config) -> Outcome {
    let begun = std::time::Instant::now();
    let options = settings::serve_options(&config, args.insecure_no_auth)?;
    let live = open(app, args, config).await?;
    let backend = Arc::new(maos_server::wire::Wire::new(live.runtime.clone(), &dashboard_address(&options)));
    let door: Arc<dyn ConfigDoor> = Arc::clone(&live.config) as Arc<dyn ConfigDoor>;
    let handle = match maos_server::serve(options, backend, door, logging::recent()).await {
        Ok(handle) => handle,
        Err(error) => {
            live.runtime.stop(Duration::ZERO).await;
            return Err(serve_error(&error));
        }
    };
    let signals = Signals::new().map_err(|error| CliError::io("listen for signals", &error, "maos start"))?;
    let run = run_file(args, &handle)?;
    let written = run.write(&app.home);
    written.map_err(|error| CliError::io(format!("write {}", app.home.show(&app.home.run_file())), &error, "maos init"))?;
    let ready_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(component = "system", api = handle.api_url, version = run.version, ready_ms, "MAOS is ready");
    notify::send(&app.env, "READY=1");
    if args.detached {
        report(&Report::Ready(run.clone()));
    } else {
        app.ui.note(&format!("MAOS {} is running (pid {}) at {}; Ctrl-C stops it", run.version, run.pid, run.api));
    }
    let outcome = until_end(app, &live, handle, signals).await;
    run.remove(&app.home);
    outcome
}

/// Opens the data, takes over what was interrupted and begins to work.
async fn open(app: &App, args: &StartArgs, config: Config) -> Result<Live, CliError> {
    let models = settings::models(&app.home, &config, None);
    let start = settings::Start { no_sandbox: args.dangerously_no_sandbox, environment: app.env.all() };
    let options = settings::runtime(&app.home, &config, models.options, &start)?;
    let opened = maos_runtime::Runtime::open(options, env!("CARGO_PKG_VERSION"), vec![]).await;
    let runtime = opened.map_err(|error| runtime_error(app, &error))?;
    // After the sandbox has tried itself out: the crash points are those of agents' programs.
    if maos_sandbox::set_probe(maos_store::crash::point).is_err() {
        tracing::debug!(component = "system", "the crash points of tools are set already");
    }
    let local = Arc::new(Mutex::new(models.local));
    let (home, env, file, flags) = (app.home.clone(), app.env.clone(), app.global.config.clone(), args.overrides()?);
    let load = move || {
        let sources = Sources { home: &home, env: &env, system_file: Path::new(SYSTEM_FILE), file: file.as_deref(), flags: &flags };
        Config::load(&sources)
    };
    let (home, node, held) = (app.home.clone(), runtime.clone(), Arc::clone(&local));
    let apply = move |config: &Config| {
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let models = settings::models(&home, config, held.take());
        match settings::runtime(&home, config, models.options, &start) {
            Ok(options) => node.reconfigure(options),
            Err(error) => tracing::error!(component = "system", "the configuration was not taken over: {}", error.message),
        }
        *held = models.local;
    };
    let config = Arc::new(FileConfig::new(config, Arc::new(load), Arc::new(apply)));
    Ok(Live { runtime, local, config })
}

/// Where the dashboard's pages will be, for the links of tasks.
fn dashboard_address(options: &maos_server::ServeOptions) -> String {
    format!("http://localhost:{}", options.dashboard_port)
}

fn run_file(args: &StartArgs, handle: &ServerHandle) -> Result<RunFile, CliError> {
    let pid = std::process::id();
    Ok(RunFile {
        pid,
        process_started: process::start_time(pid).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        incarnation: maos_api::client::new_idempotency_key(),
        api: handle.api_url.clone(),
        dashboard: Some(handle.dashboard_url.clone()),
        started_at: format!("{:.3}", jiff::Timestamp::now()),
        flags: args.as_flags()?,
    })
}

/// Signals the server listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Ends at the next request to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Works until told to stop, or until the store cannot be trusted any more; then ends everything in order.
async fn until_end(app: &App, live: &Live, handle: ServerHandle, mut signals: Signals) -> Outcome {
    let failure = loop {
        tokio::select! {
            () = async { tokio::select! { _ = signals.terminate.recv() => {}, _ = signals.interrupt.recv() => {} } } => break None,
            error = live.runtime.failed() => break Some(error),
            _ = signals.reload.recv() => match live.config.reload() {
                Ok(()) => tracing::info!(component = "system", "the configuration was read again"),
                Err(error) => tracing::error!(component = "system", "the configuration was not taken over: {error}"),
            },
        }
    };
    tracing::info!(component = "system", "MAOS is stopping");
    notify::send(&app.env, "STOPPING=1");
    handle.drain();
    let close = async {
        let left = live.runtime.stop(if failure.is_some() { Duration::ZERO } else { CALLS_GRACE }).await;
        handle.close(REQUESTS_GRACE).await;
        let local = live.local.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(local) = local {
            local.stop().await;
        }
        left
    };
    tokio::select! {
        left = close => tracing::info!(component = "system", tasks = left as u64, "MAOS has stopped; tasks that have not ended go on at the next start"),
        // Asked twice: at once. Nothing is lost, the journal is always ahead.
        () = signals.stop() => tracing::warn!(component = "system", "stopped at once by a second signal"),
    }
    match failure {
        None => Ok(Exit::Success),
        Some(error) => {
            tracing::error!(component = "database", "{error}");
            Err(CliError::new(Exit::Storage, "storage", "the database cannot be trusted any more; MAOS has stopped", "maos start")
                .because(error.to_string()))
        }
    }
}

/// Tells whoever started us, as the only line on stdout.
fn report(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // Nobody may be waiting any more; the log says the same.
    drop(out.write_all(&line).and_then(|()| out.flush()));
}

fn runtime_error(app: &App, error: &maos_runtime::RuntimeError) -> CliError {
    let shown = app.home.show(app.home.dir());
    match error {
        maos_runtime::RuntimeError::Store(maos_store::StoreError::InUse { pid }) => {
            let message = format!("another MAOS (pid {pid}) uses {shown}");
            CliError::new(Exit::Conflict, "data-in-use", message, "maos stop").or_fix("MAOS_HOME=/another/folder maos start")
        }
        other => CliError::new(Exit::Failure, "start-failed", format!("cannot open the data in {shown}"), "maos db status")
            .because(other.to_string()),
    }
}

fn serve_error(error: &ServeError) -> CliError {
    let hint = error.hint();
    let mut fixes = hint.split([',', ';']).map(|fix| fix.trim().trim_start_matches("or ").to_owned());
    let first = fixes.next().unwrap_or_else(|| "maos config list".to_owned());
    let exit = match error {
        ServeError::PortInUse { .. } => Exit::Conflict,
        ServeError::NoAuth { .. } | ServeError::BadHost { .. } => Exit::Usage,
        ServeError::Listen { .. } => Exit::Failure,
    };
    let mut cli = CliError::new(exit, "listen", error.to_string(), first);
    cli.fixes.extend(fixes);
    if let ServeError::PortInUse { port, .. } = error
        && let Some((pid, name)) = process::listener(*port)
    {
        cli = cli.because(format!("it is held by {name} (pid {pid})"));
    }
    cli
}
