//! What nobody needs any more is removed, and nothing else.
use crate::harness::{ended, open, options, work};
use maos_engine::Time;
use maos_engine::status::Status;
use maos_runtime::{RuntimeError, Swept, clock};
use serde_json::json;
use std::time::Duration;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

fn later(days: u64) -> Time {
    clock::now().plus_ms(days * DAY_MS)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_without_a_task_and_workspaces_of_old_tasks_go() {
    let dir = tempfile::tempdir().unwrap();
    let uploads = dir.path().join("data/uploads");
    std::fs::create_dir_all(&uploads).unwrap();
    std::fs::write(uploads.join("0123456789abcdef.tmp"), "cut off").unwrap();
    let script = json!({"rules": [{"match": {"prompt_contains": "waits", "step": "*"}, "reply": {"tool_calls": [{"name": "ask_human", "input": {"question": "Well?"}}]}}, {"reply": {"text": "done"}}]});
    let runtime = open(options(dir.path(), &script.to_string())).await;
    assert_eq!(std::fs::read_dir(&uploads).unwrap().count(), 0, "pieces are removed at the start");
    let upload = |text: &str| {
        let mut incoming = runtime.receive().unwrap();
        incoming.write(text.as_bytes()).unwrap();
        incoming.end().unwrap().file_id
    };
    let (given, kept, stray) = (upload("given"), upload("kept"), upload("nobody names this"));
    let submit = async |description: &str, file: &str| {
        let mut submit = work(description);
        (submit.max_agents, submit.attachments) = (Some(1), vec![("a.txt".to_owned(), file.to_owned())]);
        let id = runtime.submit(submit).await.unwrap().task.id.to_string();
        runtime.artifacts(&id).await.unwrap();
        id
    };
    let (done, waiting) = (submit("ends", &given).await, submit("waits", &kept).await);
    assert_eq!(ended(&runtime, &done).await.status, Status::Completed);
    assert_eq!(runtime.sweep(clock::now()).await.unwrap(), Swept::default());
    // After a day the upload that no task names goes; after 30 days the files of the task that ended.
    assert_eq!(runtime.sweep(later(2)).await.unwrap(), Swept { uploads: 1, workspaces: 0 });
    assert!(!uploads.join(&stray).exists() && uploads.join(&given).exists() && uploads.join(&kept).exists());
    assert_eq!(runtime.artifacts(&done).await.unwrap().len(), 1);
    assert_eq!(runtime.sweep(later(29)).await.unwrap(), Swept::default());
    assert_eq!(runtime.sweep(later(31)).await.unwrap(), Swept { uploads: 0, workspaces: 1 });
    let folder = |id: &str| dir.path().join("data/workspaces").join(id);
    assert!(!folder(&done).exists() && folder(&waiting).join("files/a.txt").exists() && uploads.join(&given).exists());
    // A sweep that was cut off is finished by the next.
    let half = dir.path().join("data/workspaces/.going-task_x");
    std::fs::create_dir_all(half.join("files/shut")).unwrap();
    std::fs::set_permissions(half.join("files/shut"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    assert_eq!(runtime.sweep(clock::now()).await.unwrap(), Swept { uploads: 0, workspaces: 1 });
    assert!(!half.exists());
    // A task that is named by nothing that ended stays whole, however old it is.
    assert_eq!(runtime.sweep(later(4_000)).await.unwrap(), Swept::default());
    runtime.stop(Duration::from_secs(5)).await;
    drop(runtime);
    // To the eyes of a node that keeps nothing the files are gone, and it says so; they do not come back.
    let mut options = options(dir.path(), &script.to_string());
    options.workspace_keep = Some(Duration::ZERO);
    let runtime = open(options).await;
    let Err(RuntimeError::NoFile { why, .. }) = runtime.artifact(&done, "a.txt").await else { panic!("it is gone") };
    assert!(why.contains("workspace.keep"), "{why}");
    assert!(runtime.artifacts(&done).await.unwrap().is_empty() && !folder(&done).exists());
    assert_eq!(runtime.artifacts(&waiting).await.unwrap().len(), 1);
    runtime.stop(Duration::from_secs(5)).await;
}
