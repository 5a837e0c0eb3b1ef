//! One key, one task.
use serde_json::json;

use crate::support::{send, start};

#[tokio::test]
async fn fifty_at_once_make_one_task() {
    let server = start().await;
    let requests = (0..50).map(|_| {
        let request = server.request("POST", "/api/tasks").header("idempotency-key", "k1").json(&json!({"description": "x"}));
        tokio::spawn(send(request))
    });
    let (mut made, mut busy, mut ids) = (0, 0, Vec::new());
    for request in requests.collect::<Vec<_>>() {
        let reply = request.await.unwrap();
        match reply.status {
            201 => {
                made += u32::from(reply.header("idempotency-replayed").is_empty());
                ids.push(reply.body["task_id"].clone());
            }
            409 => {
                assert_eq!((reply.code(), reply.header("retry-after")), ("idempotency-in-progress", "1"));
                busy += 1;
            }
            other => panic!("{other}: {}", reply.body),
        }
    }
    ids.dedup();
    assert_eq!((made, ids.len(), server.fake.state().made), (1, 1, 1), "{busy} were told to wait");
}

#[tokio::test]
async fn a_replay_is_the_same_answer_and_failures_are_not_kept() {
    let server = start().await;
    let send_with = async |key: &str, body: serde_json::Value| {
        send(server.request("POST", "/api/tasks").header("idempotency-key", key).json(&body)).await
    };
    assert_eq!(send_with("k", json!({"description": ""})).await.status, 422);
    server.fake.state().refuse = Some(maos_api::ProblemCode::NotReady);
    assert_eq!(send_with("k", json!({"description": "x"})).await.status, 503);
    let first = send_with("k", json!({"description": "x"})).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    server.fake.state().tasks.clear();
    let again = send_with("k", json!({"description": "x"})).await;
    assert_eq!((again.status, &again.body, again.header("idempotency-replayed")), (201, &first.body, "true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(send_with("k", json!({"description": "y"})).await.code(), "idempotency-key-reused");
    assert_eq!(send_with(&"k".repeat(256), json!({"description": "x"})).await.status, 422);
    assert_eq!(send_with("", json!({"description": "x"})).await.status, 422);
    // Another path is another key.
    let id = server.fake.add(0);
    let pause = send(server.request("POST", &format!("/api/tasks/{id}/pause")).header("idempotency-key", "k")).await;
    assert_eq!(pause.status, 202);
    let pause = send(server.request("POST", &format!("/api/tasks/{id}/pause")).header("idempotency-key", "k")).await;
    assert_eq!((pause.status, pause.header("idempotency-replayed")), (202, "true"));
}
