//! Calls the real one would refuse are refused, in its words.
use serde_json::{Value, json};

use crate::client::{Client, call, chat, messages, serve};

async fn check_all(path: &str, body: Value, cases: Vec<(&str, Value, &str)>) {
    let running = serve("rules: [{reply: {text: ok}}]").await;
    for (pointer, value, expected) in cases {
        let mut body = body.clone();
        if pointer == "whole" {
            body = value;
        } else {
            let map = body.as_object_mut().expect("object");
            if value.is_null() {
                map.remove(pointer);
            } else {
                map.insert(pointer.to_owned(), value);
            }
        }
        let answer = call(&running, path, &body).await;
        let message = answer.json()["error"]["message"].as_str().unwrap_or("").to_owned();
        assert!(answer.status == 400 && message.contains(expected), "{pointer}: {} {}, expected {expected}", answer.status, answer.text());
    }
    assert_eq!(running.stats().calls, 0);
}

fn call_block(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "t", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "r"})
}

fn user() -> Value {
    json!({"role": "user", "content": "hi"})
}

#[tokio::test]
async fn fields_of_the_messages_api() {
    let marked = |n: usize| {
        let block = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        json!(vec![block; n])
    };
    let cases = vec![
        ("model", Value::Null, "model: Field required"),
        ("max_tokens", Value::Null, "max_tokens: Field required"),
        ("max_tokens", json!(0), "greater than or equal to 1"),
        ("tools", json!([{"name": "a b", "input_schema": {"type": "object"}}]), "tools.0.custom.name: String should match pattern"),
        ("tools", json!([{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
        ("tool_choice", json!({"type": "any"}), "may only be specified while providing tools"),
        ("system", marked(5), "A maximum of 4 blocks with cache_control may be provided. Found 5."),
        ("thinking", json!({"type": "enabled", "budget_tokens": 100}), "greater than or equal to 1024"),
        ("thinking", json!({"type": "enabled", "budget_tokens": 2000}), "`max_tokens` must be greater than"),
        ("max_token", json!(5), "max_token: Extra inputs are not permitted"),
        ("thread", json!({"type": "create"}), "holds no conversations"),
        ("whole", json!([1]), "should be an object"),
    ];
    check_all("/v1/messages", messages(true), cases).await;
}

#[tokio::test]
async fn messages_of_the_messages_api() {
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "forged"});
    let with = |blocks: Value, next: Value| json!([user(), {"role": "assistant", "content": blocks}, {"role": "user", "content": next}]);
    let (a, b) = (call_block("a"), call_block("b"));
    let cases = vec![
        (Value::Null, "messages: Field required"),
        (json!([]), "at least one message is required"),
        (json!([{"role": "assistant", "content": "hi"}]), "first message must use the \"user\" role"),
        (json!([{"role": "robot", "content": "hi"}]), "messages.0.role"),
        (json!([{"role": "user", "content": ""}]), "non-empty content"),
        (json!([{"role": "user", "content": [{"type": "smell"}]}]), "Input tag 'smell'"),
        (with(json!([a]), json!("go on")), "`tool_use` ids were found without `tool_result` blocks immediately after: a."),
        (with(json!([a, b]), json!([result("a")])), "immediately after: b."),
        (with(json!("no call"), json!([result("z")])), "unexpected `tool_use_id` found in `tool_result` blocks: z"),
        (with(json!([a]), json!([result("a"), result("a")])), "must have a single result"),
        (with(json!([a, a]), json!([result("a")])), "ids must be unique"),
        (json!([user(), {"role": "assistant", "content": [a]}]), "immediately after: a"),
        (with(json!([thinking]), json!("go on")), "Invalid `signature` in `thinking` block"),
    ];
    let cases = cases.into_iter().map(|(value, expected)| ("messages", value, expected)).collect();
    check_all("/v1/messages", messages(true), cases).await;
}

#[tokio::test]
async fn chat_completions() {
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "t", "arguments": "{}"}}]});
    let user = user();
    let cases = vec![
        ("model", Value::Null, "you must provide a model parameter"),
        ("messages", Value::Null, "Missing required parameter: 'messages'"),
        ("messages", json!([]), "empty array"),
        ("messages", json!([user, calls, user]), "did not have response messages: c1"),
        ("messages", json!([user, {"role": "tool", "tool_call_id": "c1", "content": "r"}]), "must be a response to a preceeding message"),
        ("messages", json!([{"role": "robot"}]), "Invalid value: 'robot'"),
        ("tools", json!([{"type": "function", "function": {}}]), "tools[0].function.name"),
        ("response_format", json!({"type": "xml"}), "Invalid value: 'xml'"),
        ("n", json!(2), "one choice"),
    ];
    check_all("/v1/chat/completions", chat(true), cases).await;
}

#[tokio::test]
async fn good_conversations_pass() {
    let running =
        serve("rules: [{match: {turn: 1}, reply: {thinking: hm, tool_calls: [{name: t}]}}, {reply: {text: 'got {{last_tool_result}}'}}]")
            .await;
    let mut body = messages(false);
    let first = call(&running, "/v1/messages", &body).await.json();
    let id = first["content"][1]["id"].as_str().expect("id").to_owned();
    let turns = [json!({"role": "assistant", "content": first["content"]}), json!({"role": "user", "content": [result(&id)]})];
    body["messages"].as_array_mut().expect("list").extend(turns);
    let second = call(&running, "/v1/messages", &body).await.json();
    assert_eq!(second["content"][0]["text"], "got r");
    body["messages"] = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]);
    assert_eq!(call(&running, "/v1/messages", &body).await.status, 200, "two user messages in a row are taken as one");
}

#[tokio::test]
async fn keys() {
    let running = serve("keys: [good]\nrules: [{reply: {text: ok}}]").await;
    let body = messages(false).to_string();
    for (header, status) in [("", 401), ("x-api-key: bad\r\n", 401), ("x-api-key: good\r\n", 200), ("authorization: Bearer good\r\n", 200)]
    {
        let mut client = Client::new(&running).await;
        client.send("POST", "/v1/messages", header, &body).await;
        let answer = client.answer().await.expect("answer");
        assert_eq!(answer.status, status, "{header}");
        assert!(!answer.text().contains("bad"), "a key is never repeated");
    }
}

#[tokio::test]
async fn an_unknown_model_and_a_prompt_too_long() {
    let running = serve("models: [other]\nrules: [{reply: {text: ok}}]").await;
    let answer = call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (404, &json!("model: scripted-1")));
    let running = serve("context_tokens: 1\nrules: [{reply: {text: ok}}]").await;
    let answer = call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!(answer.json()["error"]["message"], "prompt is too long: 2 tokens > 1 maximum");
    let answer = call(&running, "/v1/chat/completions", &chat(false)).await;
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn what_is_no_http() {
    let running = serve("rules: []").await;
    for (text, status) in [
        ("NONSENSE\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000)), 431),
        ("POST /v1/messages HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n".to_owned(), 413),
        ("POST /v1/messages HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned(), 400),
        ("GET /nowhere HTTP/1.1\r\n\r\n".to_owned(), 404),
        ("DELETE /v1/messages HTTP/1.1\r\n\r\n".to_owned(), 405),
        ("POST /v1/messages HTTP/1.1\r\nanthropic-version: x\r\ncontent-length: 1\r\n\r\n{".to_owned(), 400),
    ] {
        let mut client = Client::new(&running).await;
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, text.as_bytes()).await.expect("sends");
        assert_eq!(client.answer().await.expect("answer").status, status, "{}", &text[..text.len().min(60)]);
    }
}
