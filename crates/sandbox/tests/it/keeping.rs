//! Kept programs: their pipes and ends are theirs, and nothing of them stays, whoever is killed.
use crate::place::helper;
use crate::wait::{kill_9, unique_word, until, with_word};
use maos_sandbox::{Keep, Kept, Pipes, Sandbox};
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Starts processes that leave their group and session, then says so; ends with its input, if it is left the time.
fn hiding(word: &str) -> String {
    format!("trap '' TERM; (setsid sleep {word} &); (setsid setsid sleep {word} &); (sleep {word} &); echo ready; read line; exit 7")
}

async fn shell(dir: &Path, script: &str) -> (Kept, Pipes) {
    let keep = Keep { helper: helper(), state_dir: Some(dir.join("state")) };
    let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap()), ("GIVEN".to_owned(), "a b".to_owned())];
    keep.start("sh", vec!["-c".to_owned(), script.to_owned()], env, dir.to_owned()).await.unwrap()
}

/// Until the program says that it is ready, with its output.
async fn ready(pipes: Pipes) -> (tokio::process::ChildStdin, BufReader<tokio::process::ChildStdout>) {
    let (mut out, mut line) = (BufReader::new(pipes.stdout), String::new());
    out.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (pipes.stdin, out)
}

fn notes(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("state/runs")).unwrap().count()
}

#[tokio::test]
async fn it_has_the_pipes_the_variables_and_the_folder_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let script = "pwd; echo \"$GIVEN\"; env | cut -d= -f1 | sort | tr '\\n' ' '; cat; echo bad >&2; exit 3";
    let (mut kept, Pipes { mut stdin, mut stdout, mut stderr }) = shell(dir.path(), script).await;
    assert_eq!(notes(dir.path()), 1);
    stdin.write_all(b"words").await.unwrap();
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.unwrap();
    stderr.read_to_string(&mut err).await.unwrap();
    let folder = dir.path().canonicalize().unwrap();
    assert_eq!(out, format!("{}\na b\nGIVEN MAOS_RUN PATH PWD words", folder.display()));
    assert_eq!(err, "bad\n");
    assert_eq!(kept.ended().await.unwrap().to_string(), "exit status: 3");
    assert_eq!(notes(dir.path()), 0);
}

#[tokio::test]
async fn how_it_ended_and_why_it_could_not_be_started_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut kept, _pipes) = shell(dir.path(), "kill -9 $$").await;
    assert_eq!(kept.ended().await.unwrap().to_string(), "signal: 9 (SIGKILL)");
    let (mut kept, pipes) = shell(dir.path(), "trap 'exit 5' TERM; echo ready; while :; do read line; done").await;
    let _pipes = ready(pipes).await;
    kept.ask_to_end();
    assert_eq!(kept.ended().await.unwrap().code(), Some(5));
    let keep = Keep { helper: helper(), state_dir: Some(dir.path().join("state")) };
    let error = keep.start("no-such-program", vec![], vec![], dir.path().to_owned()).await.unwrap_err();
    assert!(error.starts_with("'no-such-program' cannot be started in ") && error.contains("No such file"), "{error}");
    let gone = Keep { helper: maos_sandbox::Helper { program: "/bin/true".into(), prefix: vec![] }, state_dir: None };
    let error = gone.start("sh", vec![], vec![], dir.path().to_owned()).await.unwrap_err();
    assert!(error.contains("cannot be kept"), "{error}");
    assert_eq!(notes(dir.path()), 0);
}

#[tokio::test]
async fn what_left_its_group_and_session_ends_with_it() {
    let (dir, word) = (tempfile::tempdir().unwrap(), unique_word());
    let (mut kept, pipes) = shell(dir.path(), &hiding(&word)).await;
    let (stdin, _out) = ready(pipes).await;
    until("it started all", || with_word(&word).len() >= 4).await;
    drop(stdin);
    assert_eq!(kept.ended().await.unwrap().code(), Some(7));
    assert_eq!(with_word(&word), Vec::<i32>::new());
}

#[tokio::test]
async fn killed_or_dropped_it_leaves_nothing() {
    let (dir, word) = (tempfile::tempdir().unwrap(), unique_word());
    let (mut kept, pipes) = shell(dir.path(), &hiding(&word)).await;
    let _pipes = ready(pipes).await;
    kept.ask_to_end();
    kept.kill();
    assert_eq!(kept.ended().await.unwrap().to_string(), "signal: 9 (SIGKILL)");
    assert_eq!(with_word(&word), Vec::<i32>::new());
    let (kept, pipes) = shell(dir.path(), &hiding(&word)).await;
    let _pipes = ready(pipes).await;
    drop(kept);
    until("no process is left", || with_word(&word).is_empty()).await;
    until("no note is left", || notes(dir.path()) == 0).await;
}

#[tokio::test]
async fn kill_9_of_the_keeper_takes_the_program_along_and_the_next_start_the_rest() {
    let (dir, word) = (tempfile::tempdir().unwrap(), unique_word());
    let (mut kept, pipes) = shell(dir.path(), &hiding(&word)).await;
    let pid = kept.pid();
    let _pipes = ready(pipes).await;
    until("it started all", || with_word(&word).len() >= 4).await;
    let note = std::fs::read_dir(dir.path().join("state/runs")).unwrap().next().unwrap().unwrap().path();
    let note: serde_json::Value = serde_json::from_slice(&std::fs::read(note).unwrap()).unwrap();
    let keeper = u32::try_from(note["supervisor"].as_u64().unwrap()).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap(), "program-keeper\n");
    kill_9(keeper);
    assert_eq!(kept.ended().await.unwrap().to_string(), "signal: 9 (SIGKILL)");
    until("the program is gone", || !with_word(&word).contains(&pid)).await;
    assert!(!with_word(&word).is_empty());
    assert_eq!(Sandbox::reap(&dir.path().join("state")).unwrap().runs, 1);
    until("no process is left", || with_word(&word).is_empty()).await;
    assert_eq!(notes(dir.path()), 0);
}
