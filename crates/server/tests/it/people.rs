//! Agents, questions and files over HTTP, on the double of the back-end.
use futures_util::{StreamExt, TryStreamExt};
use maos_api::agents::AgentSpawn;
use maos_api::files::Attachment;
use maos_api::people::{QuestionKind, TaskInput};
use maos_api::query::AgentQuery;
use maos_api::{AgentStatus, ProblemCode, TaskSubmit};
use maos_server::backend::Answer;
use serde_json::json;

use crate::fake::question;
use crate::support::{send, start};

#[tokio::test]
async fn the_life_of_an_agent() {
    let server = start().await;
    let c = server.client();
    let spawn = AgentSpawn { agent_type: "coder".into(), capabilities: vec!["python".into()], count: Some(2), ..AgentSpawn::default() };
    let made = c.spawn_agents(&spawn, Some("k1")).await.unwrap();
    assert_eq!(made.data.len(), 2);
    assert_eq!(c.spawn_agents(&spawn, Some("k1")).await.unwrap(), made, "a repetition spawns nothing");
    assert_eq!(c.agents(&AgentQuery::default()).await.unwrap().data.len(), 2);
    let id = made.data[0].agent_id.as_str();
    assert_eq!(c.pause_agent(id).await.unwrap().status, AgentStatus::Paused);
    let paused = AgentQuery { status: vec![AgentStatus::Paused], ..AgentQuery::default() };
    assert_eq!(c.agents(&paused).await.unwrap().data.len(), 1);
    assert_eq!(c.resume_agent(id).await.unwrap().status, AgentStatus::Idle);
    assert_eq!(c.restart_agent(id).await.unwrap().status, AgentStatus::Idle);
    assert_eq!(c.agent_metrics(id).await.unwrap().agent_id, id);
    assert_eq!(c.terminate_agent(id).await.unwrap().status, AgentStatus::Terminated);
    assert_eq!(c.pause_agent(id).await.unwrap_err().problem().unwrap().code, ProblemCode::InvalidState);
    for call in [c.pause_agent("agent_coder_999").await, c.terminate_agent("agent_coder_999").await, c.agent("x").await] {
        let error = call.unwrap_err();
        assert_eq!((error.problem().unwrap().code, error.exit_code()), (ProblemCode::AgentNotFound, 3));
    }
    assert_eq!(server.get("/api/agents/agent_coder_999/logs").await.code(), "agent-not-found");
    let logs = server.get(&format!("/api/agents/{id}/logs?tail=5")).await;
    assert_eq!((logs.status, logs.body["object"].as_str()), (200, Some("list")));
}

#[tokio::test]
async fn spawning_takes_sizes_and_durations_and_names_what_is_wrong() {
    let server = start().await;
    let reply = server.post("/api/agents", json!({"type": "coder", "max_memory": "2GB", "timeout": "2h"})).await;
    let agent = &reply.body["data"][0];
    assert_eq!((reply.status, agent["max_memory"].as_u64(), agent["timeout"].as_u64()), (201, Some(2_000_000_000), Some(7_200)));
    for (body, pointer) in [
        (json!({"type": ""}), "/type"),
        (json!({}), "/type"),
        (json!({"type": "coder", "count": 0}), "/count"),
        (json!({"type": "coder", "count": 1001}), "/count"),
        (json!({"type": "coder", "max_memory": "lots"}), "/max_memory"),
        (json!({"type": "coder", "max_memory": 1000}), "/max_memory"),
        (json!({"type": "coder", "timeout": 0}), "/timeout"),
        (json!({"type": "coder", "capabilities": [" "]}), "/capabilities/0"),
        (json!({"type": "coder", "capabilites": []}), "/capabilites"),
    ] {
        let reply = server.post("/api/agents", body.clone()).await;
        assert_eq!((reply.code(), reply.body["errors"][0]["pointer"].as_str()), ("validation-failed", Some(pointer)), "{body}");
    }
}

#[tokio::test]
async fn questions_are_listed_and_answered_once() {
    let server = start().await;
    let (c, id) = (server.client(), server.fake.add(0));
    server.fake.state().questions =
        vec![question(&id, "s1/t1/tool/a", QuestionKind::Ask), question(&id, "s2/t1/tool/b", QuestionKind::Approval)];
    let open = c.questions(&id).await.unwrap().data;
    assert_eq!(
        (open.len(), open[1].tool.as_deref(), open[1].arguments.as_ref().unwrap()),
        (2, Some("run_shell"), &json!({"command": "make"}))
    );
    let unnamed = TaskInput { answer: Some("2024".into()), ..TaskInput::default() };
    assert_eq!(c.answer(&id, &unnamed, None).await.unwrap_err().problem().unwrap().code, ProblemCode::QuestionNotFound);
    let first = TaskInput { question: Some("s1/t1/tool/a".into()), ..unnamed.clone() };
    let counted = c.answer(&id, &first, None).await.unwrap();
    assert_eq!((counted.task.task_id.as_str(), counted.applied), (id.as_str(), true));
    let again = c.answer(&id, &first, None).await.unwrap_err();
    assert_eq!((again.problem().unwrap().code, again.exit_code()), (ProblemCode::QuestionAnswered, 5));
    let deny = TaskInput { approve: Some(false), reason: Some("not now".into()), ..TaskInput::default() };
    server.fake.state().answers_wait = true;
    assert!(!c.answer(&id, &deny, None).await.unwrap().applied, "202: it is kept");
    let answers = server.fake.state().answers.clone();
    assert_eq!(answers["s1/t1/tool/a"], Answer::Text("2024".into()));
    assert_eq!(answers["s2/t1/tool/b"], Answer::Deny { reason: Some("not now".into()) });
    let path = format!("/api/tasks/{id}/input");
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"answer": "x", "approve": true}), "/approve"),
        (json!({"answer": " "}), "/answer"),
        (json!({"approve": true, "reason": "x"}), "/reason"),
        (json!({"answer": "x".repeat(64 * 1024 + 1)}), "/answer"),
        (json!({"approve": "yes"}), "/approve"),
        (json!({"anser": "x"}), "/anser"),
    ] {
        let reply = server.post(&path, body.clone()).await;
        assert_eq!((reply.code(), reply.body["errors"][0]["pointer"].as_str()), ("validation-failed", Some(pointer)), "{pointer}");
    }
    assert_eq!(server.get("/api/tasks/task_none/questions").await.code(), "task-not-found");
}

/// Chunks of a file, as a reader of the disk gives them.
fn chunks(content: &[u8]) -> impl futures_util::Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static {
    let parts: Vec<std::io::Result<Vec<u8>>> = content.chunks(64 * 1024).map(|c| Ok(c.to_vec())).collect();
    futures_util::stream::iter(parts)
}

#[tokio::test]
async fn files_are_uploaded_attached_and_fetched() {
    let server = start().await;
    let c = server.client();
    // Larger than any other body may be.
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let upload = c.upload_file(chunks(&content), content.len() as u64).await.unwrap();
    assert_eq!(upload.bytes, 3_000_000);
    assert!(server.fake.state().files[&upload.file_id] == content);
    let files = vec![Attachment { name: "data/sales.csv".into(), file_id: upload.file_id.clone() }];
    let task =
        c.submit_task(&TaskSubmit { description: "x".into(), attachments: files.clone(), ..TaskSubmit::default() }, None).await.unwrap();
    assert_eq!(task.attachments, files);

    server.fake.state().made_files =
        [("out/plot 1.csv".to_owned(), b"a,b\n1,2\n".to_vec()), ("page.html".to_owned(), b"<script>".to_vec())].into();
    let listed = c.artifacts(&task.task_id).await.unwrap().data;
    assert_eq!(listed.iter().map(|a| (a.name.as_str(), a.bytes)).collect::<Vec<_>>(), [("out/plot 1.csv", 8), ("page.html", 8)]);
    assert_eq!(c.results(&task.task_id, None).await.unwrap().artifacts, listed);
    let got: Vec<Vec<u8>> = c.artifact(&task.task_id, "out/plot 1.csv", 8).await.unwrap().try_collect().await.unwrap();
    assert_eq!(got.concat(), b"a,b\n1,2\n");
    let page = server.get(&format!("/api/tasks/{}/artifacts/page.html", task.task_id)).await;
    assert_eq!(page.header("content-type"), "application/octet-stream");
    assert_eq!(page.header("content-disposition"), "attachment; filename*=UTF-8''page.html");
    assert_eq!((page.header("x-content-type-options"), page.header("content-security-policy")), ("nosniff", "default-src 'none'; sandbox"));
    for name in ["none.csv", "..%2f..%2fetc%2fpasswd", "a%00b", "out//plot 1.csv", "%2e%2e/page.html", "a%5c..%5cb"] {
        let reply = server.get(&format!("/api/tasks/{}/artifacts/{name}", task.task_id)).await;
        assert_eq!(reply.status, 404, "{name}");
    }
}

#[tokio::test]
async fn uploads_are_bounded_and_declared() {
    let server = start().await;
    let upload = |kind: &str, body: Vec<u8>| send(server.request("POST", "/api/files").header("content-type", kind).body(body));
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json", ""] {
        assert_eq!(upload(kind, b"x".to_vec()).await.status, 415, "{kind}");
    }
    assert_eq!(upload("application/octet-stream", vec![]).await.status, 201, "an empty file is a file");
    // A key would make the server hold the whole body; for files it does not look at it.
    let keyed = server.request("POST", "/api/files").header("content-type", "application/octet-stream").header("idempotency-key", "k");
    assert_eq!(send(keyed.body(vec![0; 2 * 1024 * 1024])).await.status, 201);
    // Without a length the limit is met on the way: an endless body is cut off.
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 1024 * 1024])).take(300);
    let request = server.request("POST", "/api/files").header("content-type", "application/octet-stream");
    let reply = request.body(reqwest::Body::wrap_stream(endless)).send().await;
    // The server answers before everything was sent; a client may see the answer, or only that the connection is gone.
    assert!(reply.map_or(true, |r| r.status() == 413));
    assert!(server.fake.state().files.values().all(|f| f.len() <= 2 * 1024 * 1024), "nothing of it is kept");
}

#[tokio::test]
async fn attachments_have_plain_names() {
    let server = start().await;
    let file = |name: &str| json!({"name": name, "file_id": "file_1"});
    for (files, pointer) in [
        (json!([file("../x")]), "/attachments/0/name"),
        (json!([file("/etc/passwd")]), "/attachments/0/name"),
        (json!([file("a"), file("a")]), "/attachments/1/name"),
        (json!([file("a/b"), file("a")]), "/attachments/0/name"),
        (json!([{"name": "a", "file_id": ""}]), "/attachments/0/file_id"),
        (json!([{"name": "a", "file_id": "f", "mode": 7}]), "/attachments"),
    ] {
        let reply = server.post("/api/tasks", json!({"description": "x", "attachments": files})).await;
        assert_eq!((reply.code(), reply.body["errors"][0]["pointer"].as_str()), ("validation-failed", Some(pointer)), "{files}");
    }
}
