//! The managed child, with a fake `llama-server`: command line, key, deaths, restarts, stop, `kill -9` of the owner.
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use maos_local::{Local, LocalError, Options, State, Store};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;

use crate::fake;

/// Names the folder of the helper below; without it the helper is an empty test.
const HELPER_HOME: &str = "MAOS_LOCAL_TEST_HELPER_HOME";
/// Upper bound for what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(home: &Path) -> Options {
    let mut options = Options::new(home);
    options.llama_server = Some(fake::llama_server(home));
    fs::create_dir_all(home.join("models")).unwrap();
    fs::write(home.join("models/tiny.gguf"), fake::contents()).unwrap();
    options
}

/// A child that serves the fake model.
fn local(options: Options) -> Local {
    let store = Store::with_catalog(options.home.join("models"), fake::catalog("http://127.0.0.1:1/"));
    Local::with_store(options, store)
}

/// Pid of the one child noted in the folder.
pub(crate) fn child_pid(home: &Path) -> i32 {
    let notes: Vec<_> = fs::read_dir(home.join("run")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    notes[0].trim_start_matches("local-model-").trim_end_matches(".json").parse().unwrap()
}

pub(crate) fn port(base_url: &str) -> u16 {
    base_url.trim_end_matches("/v1").rsplit(':').next().unwrap().parse().unwrap()
}

/// Waits until nobody listens on the port. Blocks on the connection's end, which the kernel tells when the listener dies.
pub(crate) fn wait_until_gone(port: u16) {
    let begin = Instant::now();
    while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        assert!(begin.elapsed() < PATIENCE, "the server on port {port} still lives");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ended = stream.read(&mut [0; 1]);
    }
}

#[tokio::test]
async fn starts_on_first_need_and_ends_with_stop() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(home.path());
    (options.slots, options.context_tokens, options.threads) = (Some(3), Some(1024), Some(2));
    let local = local(options);
    assert!(matches!(*local.watch().borrow(), State::Idle));
    assert!(!home.path().join("run").exists(), "nothing runs before it is needed");
    let (one, two) = tokio::join!(local.endpoint(), local.endpoint());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.base_url, two.base_url);
    assert_eq!((one.model.as_str(), one.worth.as_str(), one.slots, one.context_tokens), ("tiny", "Nothing.", 3, 1024));
    assert!(one.base_url.starts_with("http://127.0.0.1:") && one.base_url.ends_with("/v1"), "{}", one.base_url);
    assert_eq!(one.key.expose_secret().len(), 48);
    assert!(!format!("{one:?}").contains(one.key.expose_secret()), "the key is not shown");
    let log = fs::read_to_string(home.path().join("logs/local-model.log")).unwrap();
    assert!(log.contains("slots 3 context 3072 threads 2"), "{log}");
    local.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", port(&one.base_url))).is_err());
    assert_eq!(fs::read_dir(home.path().join("run")).unwrap().count(), 0, "no note is left");
    assert!(matches!(local.endpoint().await, Err(LocalError::Stopped)));
}

#[tokio::test]
async fn a_killed_child_is_started_again_at_the_same_address() {
    let home = tempfile::tempdir().unwrap();
    let local = local(options(home.path()));
    let before = local.endpoint().await.unwrap();
    let first = child_pid(home.path());
    let mut states = local.watch();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    states.wait_for(|state| matches!(state, State::Starting)).await.unwrap();
    let after = local.endpoint().await.unwrap();
    assert_ne!(child_pid(home.path()), first);
    assert_eq!(after.key.expose_secret(), before.key.expose_secret());
    local.stop().await;
}

#[tokio::test]
async fn a_child_that_cannot_start_is_given_up_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path());
    fs::write(home.path().join("mode"), "exit").unwrap();
    let local = local(options);
    let error = local.endpoint().await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.contains("boom: no such tensor"), "{text}");
    assert!(text.contains("local-model.log"), "{text}");
    // It is not tried again at once.
    assert_eq!(local.endpoint().await.unwrap_err().to_string(), text);
    local.stop().await;
    assert!(matches!(*local.watch().borrow(), State::Stopped));
}

#[tokio::test]
async fn a_dropped_local_takes_its_child_along() {
    let home = tempfile::tempdir().unwrap();
    let local = local(options(home.path()));
    let port = port(&local.endpoint().await.unwrap().base_url);
    drop(local);
    tokio::task::spawn_blocking(move || wait_until_gone(port)).await.unwrap();
}

#[tokio::test]
async fn a_stop_while_it_comes_up_is_obeyed() {
    let home = tempfile::tempdir().unwrap();
    let local = local(options(home.path()));
    let waiting = tokio::spawn({
        let local = local.clone();
        async move { local.endpoint().await }
    });
    local.watch().wait_for(|state| matches!(state, State::Starting)).await.unwrap();
    local.stop().await;
    assert!(matches!(waiting.await.unwrap(), Err(LocalError::Stopped)));
}

/// Runs the helper below in a process of its own, waits for its child, kills the helper with SIGKILL and waits for the child's end.
pub(crate) fn kill_the_owner_and_wait_for_the_child(home: &Path, helper: &str) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args([helper, "--exact", "--nocapture"])
        .env(HELPER_HOME, home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let base_url = lines.map(|line| line.unwrap()).find_map(|line| line.split("READY ").nth(1).map(str::to_owned));
    let port = port(&base_url.expect("the helper says where its child listens"));
    let child = child_pid(home);
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until_gone(port);
    // The process may wait to be reaped by whoever adopted it; it must not run. The kernel closes its sockets a moment earlier.
    let begin = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{stat}");
        std::thread::yield_now();
    }
}

/// Not a test by itself: holds a child until it is killed.
#[expect(clippy::print_stdout, reason = "the test that runs this reads it")]
pub(crate) async fn hold(local: impl FnOnce(&Path) -> Local) {
    let Some(home) = std::env::var_os(HELPER_HOME) else {
        return;
    };
    let local = local(home.as_ref());
    println!("READY {}", local.endpoint().await.unwrap().base_url);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn helper_that_holds_a_fake_child() {
    hold(|home| local(options(home))).await;
}

#[cfg(target_os = "linux")]
#[test]
fn a_binary_child_does_not_outlive_a_killed_owner() {
    let home = tempfile::tempdir().unwrap();
    kill_the_owner_and_wait_for_the_child(home.path(), "child::helper_that_holds_a_fake_child");
}
