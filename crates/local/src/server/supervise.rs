//! The task that keeps the child alive: prepare, start, wait until it answers, wait until it dies, pause, again.
//!
//! Invariant: the state is `Ready` only while a child of ours runs and has answered with our model name behind our key. The task ends
//! when it is told to stop, when its [`crate::Local`] is gone, or when it gives up.
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitStatus;
use std::time::Duration;

use rand::RngExt as _;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::server::child::{Child, Log, Serve};
use crate::server::{Deaths, Endpoint, Options, State, health, leftover, runner};
use crate::{Installed, LocalError, Silent, Store};

/// Longest time from the start of the child to its first answer: a cold disk and a large file.
const START_MAX: Duration = Duration::from_secs(180);
/// Bytes of randomness in the key.
const KEY_BYTES: usize = 24;

/// Why one life of the child ended.
enum Ended {
    /// We were told to stop; the child is gone.
    Stopped,
    /// Starting again cannot help until a person changes something.
    Hopeless(LocalError),
    /// It died or never answered.
    Died(LocalError),
}

/// Keeps the child running until told to stop.
pub(super) async fn run(options: Options, store: Store, state: watch::Sender<State>, mut stop: watch::Receiver<bool>) {
    let mut deaths = Deaths::default();
    let mut place = None;
    loop {
        match life(&options, &store, &state, &mut stop, &mut place, &mut deaths).await {
            Ended::Stopped => break,
            Ended::Hopeless(error) => return give_up(&state, &stop, error, Duration::ZERO),
            Ended::Died(error) => {
                state.send_replace(State::Starting);
                let Some(pause) = deaths.next_pause(Instant::now()) else {
                    return give_up(&state, &stop, error, Deaths::WINDOW);
                };
                tracing::warn!(%error, pause_s = pause.as_secs(), "local model server died; starting it again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = told(&mut stop) => break,
                }
            }
        }
    }
    state.send_replace(State::Stopped);
}

fn give_up(state: &watch::Sender<State>, stop: &watch::Receiver<bool>, error: LocalError, after: Duration) {
    tracing::error!(%error, "local model given up");
    // A stop that came at the same moment must not be forgotten: it waits for `Stopped`.
    let next = if *stop.borrow() { State::Stopped } else { State::GaveUp { error, again: Instant::now() + after } };
    state.send_replace(next);
}

/// Returns when a stop is asked for, or when nobody is left who could ask.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _gone_or_true = stop.wait_for(|stop| *stop).await;
}

/// One life of the child, from the check of the file to its end.
async fn life(
    options: &Options,
    store: &Store,
    state: &watch::Sender<State>,
    stop: &mut watch::Receiver<bool>,
    place: &mut Option<Place>,
    deaths: &mut Deaths,
) -> Ended {
    let prepared = tokio::select! {
        prepared = prepare(options, store) => prepared,
        () = told(stop) => return Ended::Stopped,
    };
    let (installed, runner) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Ended::Hopeless(error),
    };
    let place = match Place::again(place) {
        Ok(place) => place,
        Err(error) => return Ended::Died(error),
    };
    let serve = Serve {
        model: installed.name.clone(),
        file: installed.file,
        port: place.port,
        key: place.key.clone(),
        threads: options.threads(),
        slots: options.slots(),
        context_tokens: options.context_tokens(),
    };
    let log = match Log::open(&options.log_file()) {
        Ok(log) => log,
        Err(error) => return Ended::Hopeless(error),
    };
    let mut child = match Child::start(&options.home, &runner, &serve, &log).await {
        Ok(child) => child,
        Err(error) => return Ended::Hopeless(error),
    };
    tokio::select! {
        status = child.wait() => return Ended::Died(died(&log, "ended before it answered", status)),
        () = health::ready(place.port, &place.key, &serve.model) => {}
        () = tokio::time::sleep(START_MAX) => {
            child.end().await;
            return Ended::Died(log.error(format!("did not answer within {} s", START_MAX.as_secs())));
        }
        () = told(stop) => {
            child.end().await;
            return Ended::Stopped;
        }
    }
    deaths.ever_ready = true;
    tracing::info!(model = %serve.model, port = place.port, "local model ready");
    state.send_replace(State::Ready(Endpoint {
        base_url: format!("http://{}:{}/v1", Ipv4Addr::LOCALHOST, place.port),
        key: place.key.clone(),
        model: serve.model,
        worth: installed.worth,
        slots: serve.slots,
        context_tokens: serve.context_tokens,
    }));
    tokio::select! {
        status = child.wait() => Ended::Died(died(&log, "died", status)),
        () = told(stop) => {
            child.end().await;
            Ended::Stopped
        }
    }
}

fn died(log: &Log, how: &str, status: std::io::Result<ExitStatus>) -> LocalError {
    let status = status.map_or_else(|e| format!("unknown status: {e}"), |s| s.to_string());
    log.error(format!("{how} ({status})"))
}

/// Reaps what an earlier process left, checks the file, finds or installs the server program.
async fn prepare(options: &Options, store: &Store) -> Result<(Installed, runner::Runner), LocalError> {
    let (home, store, wanted) = (options.home.clone(), store.clone(), options.model.clone());
    let installed = tokio::task::spawn_blocking(move || {
        leftover::reap(&home);
        let name = match wanted.or_else(|| store.best_present().map(|m| m.name)) {
            Some(name) => name,
            None => {
                let best = store.catalog().models().first().map(|m| m.name.clone()).unwrap_or_default();
                return Err(LocalError::NotInstalled { name: best });
            }
        };
        store.verify(&name)
    })
    .await
    .expect("blocking work does not panic and is never aborted")?;
    let runner = runner::prepare_runner(options, &Silent).await?;
    Ok((installed, runner))
}

/// Port and key. Kept over restarts of the child, so that clients need not ask again.
struct Place {
    port: u16,
    key: SecretString,
}

impl Place {
    /// The place of before if its port is still free, else a new one.
    fn again(place: &mut Option<Self>) -> Result<&Self, LocalError> {
        let kept = place.take().filter(|p| TcpListener::bind((Ipv4Addr::LOCALHOST, p.port)).is_ok());
        let now = match kept {
            Some(place) => place,
            None => Self::new()?,
        };
        Ok(place.insert(now))
    }

    fn new() -> Result<Self, LocalError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| LocalError::io("open", "a port of 127.0.0.1".as_ref(), &e))?
            .port();
        let key: [u8; KEY_BYTES] = rand::rng().random();
        Ok(Self { port, key: SecretString::from(crate::store::hex(&key)) })
    }
}
