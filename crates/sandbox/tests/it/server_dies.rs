//! Tools die with their server and with their call: `kill -9` of a stand-in for the server, of the supervisor, and a dropped future leave
//! no process, no cgroup, no record and no private folder.
use crate::place::{CONTAINED, Place, Way, helper};
use crate::wait::{cgroups_of, kill_9, unique_word, until, with_word};
use maos_sandbox::Sandbox;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts processes that hide, then says so by a file.
fn hiding(word: &str) -> String {
    format!("trap '' TERM HUP; (setsid sleep {word} &); (setsid setsid sleep {word} &); touch started; exec sleep {word}")
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn stand_in(dir: &Path, way: Way, script: &str) -> Child {
    let tier = match way {
        Way::Bubblewrap => "namespaces",
        Way::Own => "own",
        Way::Lsm => "lsm",
    };
    Command::new(helper().program)
        .arg("run")
        .args([dir.join("state"), dir.join("task")])
        .args([tier, "/bin/sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn nothing_left(dir: &Path, word: &str, server: u32) {
    until("no process is left", || with_word(word).is_empty()).await;
    until("no cgroup is left", || cgroups_of(server).is_empty()).await;
    until("no record is left", || entries(&dir.join("state/runs")) == 0).await;
    until("no private folder is left", || entries(&dir.join("task/tmp")) == 0).await;
}

#[tokio::test]
async fn kill_9_of_the_server_leaves_nothing() {
    for way in CONTAINED {
        let (dir, word) = (tempfile::tempdir().unwrap(), unique_word());
        let mut server = stand_in(dir.path(), way, &hiding(&word));
        until("the program started", || dir.path().join("task/files/started").exists()).await;
        assert!(with_word(&word).len() >= 3, "{way:?}");
        kill_9(server.id());
        server.wait().unwrap();
        nothing_left(dir.path(), &word, server.id()).await;
    }
}

#[tokio::test]
async fn kill_9_of_server_and_supervisor_is_cleaned_up_at_the_next_start() {
    for way in CONTAINED {
        let (dir, word) = (tempfile::tempdir().unwrap(), unique_word());
        let mut server = stand_in(dir.path(), way, &hiding(&word));
        until("the program started", || dir.path().join("task/files/started").exists()).await;
        let record = std::fs::read_dir(dir.path().join("state/runs")).unwrap().next().unwrap().unwrap().path();
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        let supervisor = u32::try_from(record["supervisor"].as_u64().unwrap()).unwrap();
        kill_9(supervisor);
        kill_9(server.id());
        server.wait().unwrap();
        let reaped = Sandbox::reap(&dir.path().join("state")).unwrap();
        assert_eq!(reaped.runs, 1, "{way:?}");
        nothing_left(dir.path(), &word, server.id()).await;
        assert_eq!(Sandbox::reap(&dir.path().join("state")).unwrap().runs, 0, "{way:?}");
    }
}

#[tokio::test]
async fn dropping_the_future_leaves_nothing() {
    for way in CONTAINED {
        let (place, word) = (Place::new(way).await, unique_word());
        let root = place.workspace.root().to_owned();
        let run = place.sandbox.run(place.job(&hiding(&word)));
        tokio::select! {
            done = run => panic!("{way:?} ended: {done:?}"),
            () = until("the program started", || root.join("started").exists()) => {}
        }
        nothing_left(place.dir.path(), &word, std::process::id()).await;
    }
}
