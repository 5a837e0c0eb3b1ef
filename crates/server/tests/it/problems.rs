//! Every problem of the catalogue is reached, in the form of RFC 9457, and none tells internals.
use maos_api::{Problem, ProblemCode};
use maos_server::AuthOptions;
use serde_json::json;

use crate::support::{Reply, Server, send, start, start_with};

const ID: &str = "task_0000000000000000";

/// Reaches the problem by a request. Problems that only the runtime knows are put into the back-end.
async fn reach(server: &Server, code: ProblemCode) -> Reply {
    let submit = json!({"description": "x"});
    let keyed = |key: &str, body: &serde_json::Value| server.request("POST", "/api/tasks").header("idempotency-key", key).json(body);
    let put = |key: &str| server.request("PUT", &format!("/api/config/{key}")).json(&json!({"value": 1}));
    match code {
        ProblemCode::ValidationFailed => server.post("/api/tasks", json!({"description": " "})).await,
        ProblemCode::MalformedJson => send(server.request("POST", "/api/tasks").header("content-type", "application/json").body("{")).await,
        ProblemCode::UnknownParameter => server.get("/api/tasks?stat=x").await,
        ProblemCode::Unauthorized => {
            let other = start_with(AuthOptions { key_hashes: vec![[0; 32]] }).await;
            other.get("/api/tasks").await
        }
        ProblemCode::Forbidden => send(put("system.max_agents").header("if-match", "\"c1\"")).await,
        ProblemCode::OriginNotAllowed => send(server.request("GET", "/api/tasks").header("host", "evil.test")).await,
        ProblemCode::NotFound => server.get("/api/nope").await,
        ProblemCode::TaskNotFound => server.get("/api/tasks/task_none").await,
        ProblemCode::AgentNotFound => server.get("/api/agents/agent_none_001").await,
        ProblemCode::QuestionNotFound => server.post(&format!("/api/tasks/{ID}/input"), json!({"answer": "x", "question": "none"})).await,
        ProblemCode::QuestionAnswered => {
            server.fake.state().questions = vec![crate::fake::question(ID, "q", maos_api::people::QuestionKind::Ask)];
            let answer = json!({"answer": "2024", "question": "q"});
            assert_eq!(server.post(&format!("/api/tasks/{ID}/input"), answer.clone()).await.status, 200);
            server.post(&format!("/api/tasks/{ID}/input"), answer).await
        }
        ProblemCode::ArtifactNotFound => server.get(&format!("/api/tasks/{ID}/artifacts/none.csv")).await,
        ProblemCode::FileTooLarge => {
            // The length alone is enough: no test needs to send so much.
            let text = format!(
                "POST /api/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                maos_api::limits::FILE_BYTES_MAX + 1
            );
            server.raw(&text).await
        }
        ProblemCode::ConfigKeyNotFound => server.get("/api/config/no.such").await,
        ProblemCode::MethodNotAllowed => send(server.request("DELETE", "/api/tasks")).await,
        ProblemCode::InvalidState => send(server.request("POST", &format!("/api/tasks/{ID}/retry"))).await,
        ProblemCode::IdempotencyInProgress => {
            let hold = std::sync::Arc::new(tokio::sync::Notify::new());
            server.fake.state().hold = Some(hold);
            // Whichever comes first is held; the other is told to wait.
            let reply = tokio::select! {
                reply = send(keyed("slow", &submit)) => reply,
                reply = send(keyed("slow", &submit)) => reply,
            };
            server.fake.state().hold = None;
            reply
        }
        ProblemCode::PreconditionFailed => {
            send(server.request("PATCH", &format!("/api/tasks/{ID}")).header("if-match", "\"r99\"").json(&json!({"priority": "LOW"}))).await
        }
        ProblemCode::PayloadTooLarge => server.post("/api/tasks", json!({"description": "x".repeat(1024 * 1024)})).await,
        ProblemCode::UnsupportedMediaType => {
            send(server.request("POST", "/api/tasks").header("content-type", "text/plain").body("{}")).await
        }
        ProblemCode::DependencyNotFound => server.post("/api/tasks", json!({"description": "x", "depends_on": ["task_abc123"]})).await,
        ProblemCode::IdempotencyKeyReused => {
            send(keyed("again", &submit)).await;
            send(keyed("again", &json!({"description": "other"}))).await
        }
        ProblemCode::PreconditionRequired => send(put("system.max_agents")).await,
        ProblemCode::Internal => {
            server.fake.state().panic = true;
            server.post("/api/tasks", submit).await
        }
        ProblemCode::TaskQuarantined
        | ProblemCode::RateLimited
        | ProblemCode::DependencyFailed
        | ProblemCode::DependencyCycle
        | ProblemCode::JournalDamaged
        | ProblemCode::ModelRetired
        | ProblemCode::ProviderNotConfigured
        | ProblemCode::BudgetExceeded
        | ProblemCode::ProviderUnavailable
        | ProblemCode::ProviderTimeout
        | ProblemCode::NotReady
        | ProblemCode::ShuttingDown
        | ProblemCode::StorageFull => {
            server.fake.state().refuse = Some(code);
            server.post("/api/tasks", submit).await
        }
    }
}

#[tokio::test]
async fn every_problem_is_reached_and_well_formed() {
    let server = start().await;
    server.fake.add(0);
    for code in ProblemCode::ALL {
        let reply = reach(&server, *code).await;
        let entry = code.entry();
        let problem: Problem = serde_json::from_value(reply.body.clone()).unwrap_or_else(|e| panic!("{code}: {e}: {}", reply.body));
        assert_eq!((reply.status, reply.header("content-type")), (entry.status, "application/problem+json"), "{code}");
        assert_eq!(
            (problem.code, problem.status, problem.title.as_str(), problem.retryable),
            (*code, entry.status, entry.title, entry.retryable),
            "{code}"
        );
        assert_eq!(problem.type_uri, format!("urn:maos:problem:{code}"));
        assert_eq!(problem.request_id.as_deref(), Some(reply.header("x-request-id")));
        assert!(problem.instance.is_some_and(|i| i.starts_with('/')), "{code}");
        assert!(!problem.hint.is_empty() && !problem.detail.is_empty(), "{code}");
        assert!(reply.header("server").starts_with("maos/"), "{code}");
        let text = reply.body.to_string();
        assert!(!text.contains("hunter2") && !text.contains("panic"), "{text}");
        let docs = server.get(&problem.docs).await;
        assert_eq!((docs.status, docs.body["exit_code"].as_u64()), (200, Some(u64::from(entry.exit_code))));
    }
    assert_eq!(server.get("/api/problems").await.body["data"].as_array().unwrap().len(), ProblemCode::ALL.len());
}

#[tokio::test]
async fn faults_name_their_place() {
    let server = start().await;
    let wrong = json!({"description": "", "max_agents": 0, "timeout": "366d", "max_cost": -1, "consensus_threshold": 2, "depends_on": ["task_a", "task_a"], "labels": {"": "x"}});
    let reply = server.post("/api/tasks", wrong).await;
    let pointers: Vec<&str> = reply.body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/description", "/max_agents", "/timeout", "/max_cost", "/labels", "/depends_on/1", "/consensus_threshold"]);
    let reply = server.post("/api/tasks", json!({"descripton": "x"})).await;
    let found: Vec<_> =
        reply.body["errors"].as_array().unwrap().iter().map(|e| (e["pointer"].as_str().unwrap(), e["code"].as_str().unwrap())).collect();
    assert_eq!(found, [("/descripton", "unknown"), ("/description", "required")]);
    let reply = server.get("/api/tasks?limit=0").await;
    assert_eq!((reply.status, reply.body["errors"][0]["parameter"].as_str()), (422, Some("limit")));
    for path in [
        "/api/version?x=1",
        "/api/status?x",
        "/livez?a=b",
        "/api/tasks/task_0000000000000000/plan?a=b",
        "/api/events?aftr=1",
        "/api/logs?lvl=DEBUG",
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.code()), (400, "unknown-parameter"), "{path}");
    }
    for path in [
        "/api/tasks?status=NOPE",
        "/api/tasks?cursor=zzz",
        "/api/tasks?q=",
        "/api/events?after=-1",
        "/api/events?types=nope",
        "/api/logs?tail=0",
        "/api/tasks?limit=1&limit=2",
    ] {
        assert_eq!(server.get(path).await.code(), "validation-failed", "{path}");
    }
    for path in ["/api/tasks/%ff", "/api/tasks/a%2fb", "/api/tasks//", "/api//tasks", "/api/tasks/%00"] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn content_types_and_bodies() {
    let server = start().await;
    let id = server.fake.add(0);
    let post = |kind: Option<&str>, body: &str| {
        let request = server.request("POST", "/api/tasks").body(body.to_owned());
        send(match kind {
            Some(k) => request.header("content-type", k),
            None => request,
        })
    };
    let good = r#"{"description":"x"}"#;
    for kind in ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON;charset=\"UTF-8\""] {
        assert_eq!(post(Some(kind), good).await.status, 201, "{kind}");
    }
    for kind in [
        None,
        Some("text/json"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/json; charset=latin1"),
        Some(""),
    ] {
        assert_eq!(post(kind, good).await.status, 415, "{kind:?}");
    }
    let deep = format!("{{\"description\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    for body in ["", "nul", "{\"description\":\"x\"", "{\"description\":\"\u{1}\"}", deep.as_str()] {
        let reply = post(Some("application/json"), body).await;
        assert_eq!((reply.status, reply.code()), (400, "malformed-json"), "{body}");
    }
    for body in ["null", "[]", "1", "\"x\""] {
        assert_eq!(post(Some("application/json"), body).await.status, 422, "{body}");
    }
    // Actions need no body, but a body must be what it says.
    let cancel = |request: reqwest::RequestBuilder| send(request);
    let path = format!("/api/tasks/{id}/pause");
    assert_eq!(cancel(server.request("POST", &path)).await.status, 202);
    assert_eq!(cancel(server.request("POST", &path).json(&json!({}))).await.status, 200);
    assert_eq!(cancel(server.request("POST", &path).json(&json!({"x": 1}))).await.status, 422);
    assert_eq!(
        cancel(server.request("POST", &path).header("content-type", "application/x-www-form-urlencoded").body("a=b")).await.status,
        415
    );
}
