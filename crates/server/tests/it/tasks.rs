//! Tasks over HTTP: the guide's sample, pages, versions, waiting, actions.
use std::time::Duration;

use maos_api::{Task, TaskStatus};
use serde_json::json;

use crate::support::{send, start};

#[tokio::test]
async fn the_guides_sample() {
    let server = start().await;
    let body = json!({"description": "Analyze customer satisfaction trends", "type": "analysis", "max_agents": 4, "priority": "HIGH"});
    let made = server.post("/api/tasks", body).await;
    let id = made.body["task_id"].as_str().unwrap().to_owned();
    assert_eq!((made.status, made.header("location")), (201, format!("/api/tasks/{id}").as_str()));
    assert!(made.header("etag").starts_with("\"r0."));
    assert_eq!(made.body["links"]["dashboard"], format!("{}/tasks/{id}", server.handle.dashboard_url));
    let keys = [
        "agent_type",
        "agents",
        "attachments",
        "attachments_total",
        "attempt",
        "batch_id",
        "blocked_by",
        "consensus",
        "consensus_threshold",
        "constraints",
        "context",
        "cost",
        "created_at",
        "depends_on",
        "description",
        "duration_ms",
        "error",
        "finished_at",
        "instructions",
        "labels",
        "links",
        "max_agents",
        "max_cost",
        "object",
        "parent_id",
        "priority",
        "progress",
        "questions",
        "require_consensus",
        "revision",
        "started_at",
        "status",
        "task_id",
        "template",
        "timeout",
        "type",
        "usage",
    ];
    let mut got: Vec<&String> = made.body.as_object().unwrap().keys().collect();
    got.sort();
    assert_eq!(got, keys);
    let shown = server.get(&format!("/api/tasks/{id}")).await;
    assert_eq!((shown.status, &shown.body), (200, &made.body));
    let results = server.get(&format!("/api/tasks/{id}/results")).await;
    assert_eq!((results.status, &results.body["final"], &results.body["result"]), (200, &json!(false), &json!(null)));
    let request_id = send(server.request("GET", "/api/tasks").header("x-request-id", "mine-1_2")).await;
    assert_eq!(request_id.header("x-request-id"), "mine-1_2");
    let foreign = send(server.request("GET", "/api/tasks").header("x-request-id", "not ok!")).await;
    assert!(foreign.header("x-request-id").starts_with("req_"));
    assert!(foreign.header("server-timing").starts_with("app;dur="));
}

#[tokio::test]
async fn pages_lose_and_double_nothing_while_tasks_are_added() {
    let server = start().await;
    let before: Vec<String> = (0..1_000).map(|n| server.fake.add(n)).collect();
    for sort in ["-created_at", "created_at"] {
        let (mut seen, mut path, mut pages) = (Vec::new(), format!("/api/tasks?limit=37&sort={sort}&include=total"), 0);
        loop {
            let page = server.get(&path).await;
            assert_eq!(page.status, 200, "{}", page.body);
            seen.extend(page.body["data"].as_array().unwrap().iter().map(|t| t["task_id"].as_str().unwrap().to_owned()));
            server.fake.add(10_000 + pages);
            pages += 1;
            assert!(page.body["total"].as_u64().unwrap() >= 1_000);
            let Some(next) = page.body["next_cursor"].as_str() else {
                assert_eq!(page.header("link"), "");
                break;
            };
            let link = page.header("link").strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            assert!(link.contains(next));
            path = link;
        }
        let old: Vec<&String> = seen.iter().filter(|id| before.contains(id)).collect();
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((old.len(), unique.len()), (1_000, seen.len()), "{sort}");
        server.fake.state().tasks.retain(|id, _| before.contains(id));
    }
}

#[tokio::test]
async fn etags_and_preconditions() {
    let server = start().await;
    let id = server.fake.add(0);
    let path = format!("/api/tasks/{id}");
    let tag = server.get(&path).await.header("etag").to_owned();
    let unchanged = send(server.request("GET", &path).header("if-none-match", &tag)).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, tag.as_str()));
    server.fake.state().tasks.get_mut(&id).unwrap().progress.completed = 1;
    let changed = send(server.request("GET", &path).header("if-none-match", &tag)).await;
    assert_eq!(changed.status, 200, "progress is part of what is shown");
    let patch = |tag: &str| send(server.request("PATCH", &path).header("if-match", tag).json(&json!({"priority": "LOW", "timeout": "2h"})));
    let done = patch(&tag).await;
    assert_eq!(
        (done.status, done.body["timeout"].as_u64(), done.body["priority"].as_str()),
        (200, Some(7200), Some("LOW")),
        "{}",
        done.body
    );
    assert_eq!(patch(&tag).await.status, 412);
    assert_eq!(patch("\"r1\"").await.status, 200);
    assert_eq!(patch("*").await.status, 200);
    assert_eq!(patch("\"nonsense\"").await.status, 412);
    assert_eq!(send(server.request("PATCH", &path).json(&json!({}))).await.status, 422);
    let cleared = send(server.request("PATCH", &path).json(&json!({"timeout": null}))).await;
    assert_eq!(cleared.body["timeout"], json!(null));
}

#[tokio::test]
async fn waiting_ends_with_the_task_or_with_the_time() {
    let server = start().await;
    let id = server.fake.add(0);
    let short = server.get(&format!("/api/tasks/{id}/results?wait=20ms")).await;
    assert_eq!((short.status, &short.body["final"]), (200, &json!(false)));
    let preferred = send(server.request("GET", &format!("/api/tasks/{id}/results")).header("prefer", "respond-async, wait=0")).await;
    assert_eq!(preferred.header("preference-applied"), "wait=0");
    let client = server.client();
    let (waiting, other) = (client.clone(), id.clone());
    let waiter = tokio::spawn(async move { waiting.results(&other, Some(60_000)).await });
    let (waiting, other) = (client.clone(), id.clone());
    let second = tokio::spawn(async move { waiting.task_wait(&other, 60_000).await });
    // Whether the wait began before or after the end makes no difference.
    server.fake.complete(&id);
    let results = waiter.await.unwrap().unwrap();
    assert_eq!((results.is_final, results.result.unwrap().text.as_str()), (true, "done"));
    assert_eq!(second.await.unwrap().unwrap().status, TaskStatus::Completed);
}

#[tokio::test]
async fn a_stopping_server_ends_waits_and_says_not_ready() {
    let server = start().await;
    let id = server.fake.add(0);
    let client = server.client();
    let waiting = client.clone();
    let waiter = tokio::spawn(async move { waiting.task_wait(&id, 60_000).await });
    client.ready().await.unwrap();
    server.handle.drain();
    assert_eq!(waiter.await.unwrap().unwrap().status, TaskStatus::Running);
    assert_eq!(client.ready().await.unwrap_err().exit_code(), 1);
    assert_eq!(server.get("/readyz").await.code(), "shutting-down");
    tokio::time::timeout(Duration::from_secs(10), server.handle.close(Duration::from_secs(5))).await.unwrap();
    assert!(matches!(client.live().await, Err(maos_api::ClientError::Refused { .. })));
}

#[tokio::test]
async fn actions_answer_202_then_200_and_409_in_the_wrong_state() {
    let server = start().await;
    let id = server.fake.add(0);
    let act = async |action: &str| send(server.request("POST", &format!("/api/tasks/{id}/{action}"))).await.status;
    for (action, status) in
        [("retry", 409), ("pause", 202), ("pause", 200), ("resume", 202), ("cancel", 202), ("cancel", 200), ("pause", 409), ("retry", 202)]
    {
        assert_eq!(act(action).await, status, "{action}");
    }
    let shown: Task = server.client().task(&id).await.unwrap();
    assert_eq!(shown.status, TaskStatus::Queued);
}
