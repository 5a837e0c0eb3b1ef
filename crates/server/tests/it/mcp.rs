//! `/mcp`: the tools over HTTP, and that the guard stands before them as before everything else.
use maos_api::TaskStatus;
use maos_api::people::QuestionKind;
use maos_server::AuthOptions;
use maos_server::backend::Answer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fake::question;
use crate::support::{Reply, Server, send, start, start_with};

fn post(server: &Server, message: &Value) -> reqwest::RequestBuilder {
    server.request("POST", "/mcp").header("accept", "application/json, text/event-stream").json(message)
}

async fn ask(server: &Server, method: &str, params: Value) -> Reply {
    send(post(server, &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))).await
}

/// Calls a tool; its result.
async fn call(server: &Server, name: &str, args: Value) -> Value {
    let reply = ask(server, "tools/call", json!({"name": name, "arguments": args})).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body["result"].clone()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn it_greets_and_lists_its_tools() {
    let server = start().await;
    let us = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let greeting = ask(&server, "initialize", us).await;
    let result = &greeting.body["result"];
    assert_eq!((result["serverInfo"]["name"].as_str(), result["protocolVersion"].as_str()), (Some("maos"), Some("2025-06-18")));
    assert!(result["instructions"].as_str().unwrap().contains("submit_task"));
    assert_eq!(greeting.header("mcp-session-id"), "", "nothing is kept between requests");
    let listed = ask(&server, "tools/list", json!({})).await;
    let tools = listed.body["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["submit_task", "get_task", "list_tasks", "wait_for_task", "get_results", "get_questions", "answer_question", "cancel_task"]
    );
    for tool in tools {
        assert_eq!((&tool["inputSchema"]["type"], &tool["inputSchema"]["additionalProperties"]), (&json!("object"), &json!(false)));
        assert_eq!(tool["outputSchema"]["type"], "object");
        assert!(tool["annotations"]["readOnlyHint"].is_boolean());
    }
}

#[tokio::test]
async fn a_task_from_beginning_to_end() {
    let server = start().await;
    let submitted = call(
        &server,
        "submit_task",
        json!({"description": "Compare three clouds", "type": "research", "max_agents": 3, "priority": "HIGH"}),
    )
    .await;
    let id = submitted["structuredContent"]["task_id"].as_str().unwrap().to_owned();
    assert!(text(&submitted).contains(&id) && text(&submitted).contains("wait_for_task"), "{submitted}");
    assert_eq!(submitted["structuredContent"]["ended"], false);
    let shown = call(&server, "get_task", json!({"task_id": id})).await["structuredContent"].clone();
    assert_eq!((shown["description"].as_str(), shown["priority"].as_str()), (Some("Compare three clouds"), Some("HIGH")));
    let waiting = call(&server, "wait_for_task", json!({"task_id": id, "timeout_s": 1})).await;
    assert!(text(&waiting).contains("call wait_for_task again") && waiting["structuredContent"]["ended"] == false, "{waiting}");
    // The end is noticed while the call waits.
    let ended = call(&server, "wait_for_task", json!({"task_id": id, "timeout_s": 60}));
    let (ended, ()) = tokio::join!(ended, async { server.fake.complete(&id) });
    assert_eq!(ended["structuredContent"]["status"], "COMPLETED");
    let results = call(&server, "get_results", json!({"task_id": id})).await;
    assert_eq!(results["structuredContent"]["final"], true);
    assert_eq!(results["structuredContent"]["result"].as_str().unwrap(), text(&results));
    let other = server.fake.add(7);
    let listed = call(&server, "list_tasks", json!({"limit": 1})).await["structuredContent"].clone();
    assert_eq!((listed["tasks"].as_array().unwrap().len(), &listed["has_more"]), (1, &json!(true)));
    let listed = call(&server, "list_tasks", json!({"status": ["COMPLETED"]})).await["structuredContent"].clone();
    assert_eq!(listed["tasks"][0]["task_id"], json!(id));
    call(&server, "cancel_task", json!({"task_id": other})).await;
    assert_eq!(server.fake.state().tasks[&other].status, TaskStatus::Cancelled);
}

#[tokio::test]
async fn questions_are_answered_but_consent_is_a_persons() {
    let server = start().await;
    let id = server.fake.add(0);
    server.fake.state().questions =
        vec![question(&id, "s1/t1/tool/a", QuestionKind::Ask), question(&id, "s2/t1/tool/b", QuestionKind::Approval)];
    server.fake.state().tasks.get_mut(&id).unwrap().questions = 2;
    let shown = call(&server, "get_task", json!({"task_id": id})).await;
    assert_eq!(shown["structuredContent"]["questions"], 2);
    assert!(text(&shown).contains("2 of its calls wait for a person's answer"), "{shown}");
    let open = call(&server, "get_questions", json!({"task_id": id})).await;
    assert_eq!(open["structuredContent"]["questions"][1]["kind"], "approval");
    let answer = |question: &str| json!({"task_id": id, "question_id": question, "answer": "yes"});
    let answered = call(&server, "answer_question", answer("s1/t1/tool/a")).await;
    assert!(text(&answered).starts_with("Answered."), "{answered}");
    let refused = call(&server, "answer_question", answer("s2/t1/tool/b")).await;
    assert!(
        refused["isError"] == true && text(&refused).contains("only a person") && text(&refused).contains("maos task input"),
        "{refused}"
    );
    let answers = server.fake.state().answers.clone();
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [("s1/t1/tool/a".to_owned(), Answer::Text("yes".into()))]);
}

#[tokio::test]
async fn a_task_is_given_files_and_voters() {
    let server = start().await;
    let files = json!([{"name": "data/a.csv", "content": "1,2\n"}]);
    let made =
        call(&server, "submit_task", json!({"description": "x", "files": files, "require_consensus": true, "consensus_threshold": 0.75}))
            .await;
    let id = made["structuredContent"]["task_id"].as_str().unwrap();
    let task = server.fake.state().tasks[id].clone();
    assert_eq!((task.require_consensus, task.consensus_threshold), (true, Some(0.75)));
    let file = &task.attachments[0];
    assert_eq!((file.name.as_str(), server.fake.state().files[&file.file_id].as_slice()), ("data/a.csv", b"1,2\n".as_slice()));
    let kept = server.fake.state().files.len();
    let bad = call(&server, "submit_task", json!({"description": "x", "files": [{"name": "../a", "content": "x"}]})).await;
    assert!(bad["isError"] == true && text(&bad).contains("relative path"), "{bad}");
    assert_eq!(server.fake.state().files.len(), kept, "nothing is kept of it");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_helps() {
    let server = start().await;
    let cases = [
        ("get_task", json!({"task_id": "task_0000000000000009"}), "maos task list"),
        ("get_task", json!({}), "missing field `task_id`"),
        ("get_task", json!({"task_id": "x", "more": 1}), "unknown field `more`"),
        ("submit_task", json!({"description": "  "}), "description"),
        ("submit_task", json!({"description": "x", "max_agents": 0}), "must be between 1 and"),
        ("submit_task", json!({"description": "x", "deadline": 1}), "unknown field `deadline`"),
        ("wait_for_task", json!({"task_id": "x", "timeout_s": 3600}), "between 1 and 60"),
        ("list_tasks", json!({"status": ["DONE"]}), "unknown variant `DONE`"),
        ("list_tasks", json!({"limit": 0}), "between 1 and 100"),
    ];
    for (name, args, expected) in cases {
        let result = call(&server, name, args.clone()).await;
        assert_eq!(result["isError"], true, "{name} {args}: {result}");
        assert!(text(&result).contains(expected), "{name} {args}: {result}");
    }
    let unknown = ask(&server, "tools/call", json!({"name": "format_disk", "arguments": {}})).await;
    assert!(unknown.body["error"]["message"].as_str().unwrap().contains("there are: submit_task"), "{}", unknown.body);
}

#[tokio::test]
async fn the_guard_stands_before_it() {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let server = start().await;
    for (name, value) in [("host", "evil.test"), ("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let reply = send(post(&server, &hello).header(name, value)).await;
        assert_eq!((reply.status, reply.code()), (403, "origin-not-allowed"), "{name}: {value}");
    }
    let key = "maos_sk_test";
    let server = start_with(AuthOptions { key_hashes: vec![Sha256::digest(key).into()] }).await;
    let refused = send(post(&server, &hello)).await;
    assert_eq!((refused.status, refused.code()), (401, "unauthorized"));
    assert_eq!(send(post(&server, &hello).bearer_auth(key)).await.status, 200);
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x".repeat(1024 * 1024 + 1)}});
    assert_eq!(send(post(&server, &large).bearer_auth(key)).await.status, 413);
    assert_eq!(send(server.request("GET", "/mcp").header("accept", "text/event-stream").bearer_auth(key)).await.status, 405);
}
