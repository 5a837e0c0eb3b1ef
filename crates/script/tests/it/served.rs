//! Good replies over HTTP, in both APIs; counters, log, control.
use std::net::SocketAddr;

use maos_script::server::Options;
use maos_script::{Script, Server};
use serde_json::{Value, json};

use crate::client::{Client, call, chat, get, messages, serve};

const TOOLS: &str =
    "rules: [{reply: {thinking: 'let me see', text: 'One moment', chunk: 4, tool_calls: [{name: search, input: {q: rust}}, {name: now}]}}]";

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap_or("?")).collect()
}

#[tokio::test]
async fn a_stream_of_the_messages_api() {
    let running = serve(TOOLS).await;
    let answer = call(&running, "/v1/messages", &messages(true)).await;
    assert_eq!((answer.status, answer.whole), (200, true));
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(answer.header("request-id").expect("an id").starts_with("req_01"));
    let events = answer.events();
    let mut order = types(&events);
    order.dedup();
    assert_eq!(
        order,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let join = |index: u64, field: &str| -> String {
        let deltas = events.iter().filter(|event| event["type"] == "content_block_delta" && event["index"] == index);
        deltas.filter_map(|event| event["delta"][field].as_str()).collect()
    };
    assert_eq!((join(0, "thinking").as_str(), join(1, "text").as_str()), ("let me see", "One moment"));
    assert!(join(0, "signature").starts_with("EqoB"));
    assert_eq!((join(2, "partial_json").as_str(), join(3, "partial_json").as_str()), (r#"{"q":"rust"}"#, ""));
    let usage = &events[0]["message"]["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"], &usage["cache_read_input_tokens"]), (&json!(2), &json!(1), &json!(0)));
    let end = events.iter().find(|event| event["type"] == "message_delta").expect("an end");
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("tool_use"), &json!(10)));
}

#[tokio::test]
async fn a_whole_message() {
    let running = serve(TOOLS).await;
    let message = call(&running, "/v1/messages", &messages(false)).await.json();
    let kinds: Vec<&Value> = message["content"].as_array().expect("blocks").iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!((&message["stop_reason"], &message["content"][2]["input"]), (&json!("tool_use"), &json!({"q": "rust"})));
}

#[tokio::test]
async fn a_stream_of_chat_completions() {
    let running = serve(TOOLS).await;
    let mut body = chat(true);
    body["stream_options"] = json!({"include_usage": true});
    let events = call(&running, "/v1/chat/completions", &body).await.events();
    assert_eq!(events.last().and_then(Value::as_str), Some("[DONE]"));
    let deltas: Vec<&Value> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
    let text: String = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, "One moment");
    let arguments = |index: u64| -> String {
        let calls = deltas.iter().map(|delta| &delta["tool_calls"][0]).filter(|call| call["index"] == index);
        calls.filter_map(|call| call["function"]["arguments"].as_str()).collect()
    };
    assert_eq!((arguments(0).as_str(), arguments(1).as_str()), (r#"{"q":"rust"}"#, "{}"));
    let n = events.len();
    assert_eq!(events[n - 3]["choices"][0]["finish_reason"], "tool_calls");
    let usage = &events[n - 2]["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]), (&json!(2), &json!(10), &json!(12)));
    assert_eq!(events[n - 2]["choices"], json!([]));
}

#[tokio::test]
async fn usage_only_where_it_is_asked_for() {
    let running = serve("rules: [{reply: {text: hi}}]").await;
    let events = call(&running, "/v1/chat/completions", &chat(true)).await.events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    let whole = call(&running, "/v1/chat/completions", &chat(false)).await.json();
    assert_eq!((&whole["choices"][0]["message"]["content"], &whole["usage"]["total_tokens"]), (&json!("hi"), &json!(3)));
}

#[tokio::test]
async fn a_connection_is_kept_for_many_calls() {
    let running = serve("rules: [{reply: {text: 'answer {{n}}'}}]").await;
    let mut client = Client::new(&running).await;
    for n in 1..=20 {
        let answer = client.call("/v1/messages", &messages(n % 2 == 0)).await;
        assert!(answer.text().contains(&format!("answer {n}")), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_chunked_request_is_read() {
    let running = serve("rules: [{reply: {text: 'you said {{prompt}}'}}]").await;
    let body = messages(false).to_string();
    let (a, b) = body.split_at(20);
    let mut client = Client::new(&running).await;
    let text = format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nanthropic-version: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x};ext=1\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, text.as_bytes()).await.expect("sends");
    assert!(client.answer().await.expect("answer").text().contains("you said hello"));
}

#[tokio::test]
async fn counting_and_models() {
    let running = serve("models: [scripted-1, scripted-2]\nrules: []").await;
    let mut body = messages(false);
    body.as_object_mut().expect("object").remove("max_tokens");
    assert_eq!(call(&running, "/v1/messages/count_tokens", &body).await.json(), json!({"input_tokens": 2}));
    let list = get(&running, "/v1/models").await.json();
    assert_eq!(
        (&list["data"][1]["id"], &list["data"][1]["type"], &list["has_more"]),
        (&json!("scripted-2"), &json!("model"), &json!(false))
    );
    assert_eq!(get(&running, "/v1/models/scripted-2").await.json()["id"], "scripted-2");
    assert_eq!(get(&running, "/v1/models/none").await.status, 404);
}

#[tokio::test]
async fn the_cache_over_http() {
    let running = serve("rules: [{reply: {text: ok}}]").await;
    let mut body = messages(false);
    body["system"] = json!([{"type": "text", "text": "s".repeat(8_000), "cache_control": {"type": "ephemeral"}}]);
    let first = call(&running, "/v1/messages", &body).await.json();
    assert_eq!((&first["usage"]["cache_creation_input_tokens"], &first["usage"]["cache_read_input_tokens"]), (&json!(2_000), &json!(0)));
    body["messages"][0]["content"] = json!("something else");
    let second = call(&running, "/v1/messages", &body).await.json();
    assert_eq!((&second["usage"]["cache_creation_input_tokens"], &second["usage"]["cache_read_input_tokens"]), (&json!(0), &json!(2_000)));
    assert_eq!(second["usage"]["input_tokens"], 4);
}

#[tokio::test]
async fn a_conversation_reads_what_it_wrote() {
    let running = serve("rules: [{reply: {text: ok}}]").await;
    let long = |text: &str| json!([{"type": "text", "text": text.repeat(8_000), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let mut body = messages(false);
    body["messages"] = json!([{"role": "user", "content": long("a")}]);
    let first = call(&running, "/v1/messages", &body).await.json();
    assert_eq!(first["usage"]["cache_creation"]["ephemeral_1h_input_tokens"], 2_000);
    let plain = json!([{"type": "text", "text": "a".repeat(8_000)}]);
    body["messages"] =
        json!([{"role": "user", "content": plain}, {"role": "assistant", "content": "ok"}, {"role": "user", "content": long("b")}]);
    let second = call(&running, "/v1/messages", &body).await.json();
    assert_eq!(second["usage"]["cache_read_input_tokens"], 2_000, "found by looking back from the new mark");
    assert_eq!(second["usage"]["cache_creation_input_tokens"], 2_000);
}

#[tokio::test]
async fn limits_have_true_headers() {
    let running = serve("rate_limit: {requests_per_minute: 2, input_tokens_per_minute: 1000}\nrules: [{reply: {text: ok}}]").await;
    let first = call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!(first.header("anthropic-ratelimit-requests-remaining"), Some("1"));
    assert_eq!(first.header("anthropic-ratelimit-input-tokens-remaining"), Some("998"));
    assert!(first.header("anthropic-ratelimit-requests-reset").expect("a time").ends_with('Z'));
    let second = call(&running, "/v1/chat/completions", &chat(false)).await;
    assert_eq!(second.header("x-ratelimit-remaining-requests"), Some("0"));
    let third = call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!((third.status, &third.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    let wait: u64 = third.header("retry-after").expect("a wait").parse().expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
}

#[tokio::test]
async fn the_highest_concurrency_is_counted() {
    let running = serve("rules: [{match: {nth: \"1-3\"}, fault: {no_header: true}}, {reply: {text: ok}}]").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::new(&running).await;
        client.send("POST", "/v1/messages", "", &messages(true).to_string()).await;
        clients.push(client);
    }
    running.until(|stats| stats.in_flight == 3).await;
    drop(clients);
    running.until(|stats| stats.in_flight == 0).await;
    call(&running, "/v1/messages", &messages(true)).await;
    let stats = running.stats();
    assert_eq!((stats.highest_concurrency, stats.cut, stats.completed), (3, 3, 1));
    let count = stats.by_hash.values().next().expect("one request");
    assert_eq!((stats.by_hash.len(), count.started, count.completed), (1, 4, 1));
}

#[tokio::test]
async fn a_client_that_goes_is_noticed() {
    let running = serve("rules: [{latency_ms: 86400000, reply: {text: never}}]").await;
    let mut client = Client::new(&running).await;
    client.send("POST", "/v1/messages", "", &messages(true).to_string()).await;
    running.until(|stats| stats.in_flight == 1).await;
    drop(client);
    running.until(|stats| stats.aborted_by_client == 1).await;
}

#[tokio::test]
async fn the_control_side() {
    let running = serve("rules: [{name: greet, reply: {text: ok}}]").await;
    let mut body = messages(true);
    body["messages"][0]["content"] = json!("Do Step s3: look it up");
    call(&running, "/v1/messages", &body).await;
    let stats = get(&running, "/_control/stats").await.json();
    assert_eq!((&stats["completed"], &stats["by_rule"]["greet"]["completed"]), (&json!(1), &json!(1)));
    let log = get(&running, "/_control/log").await.json();
    assert_eq!(
        (&log["step"], &log["outcome"], &log["status"], &log["rule"]),
        (&json!("s3"), &json!("finished"), &json!(200), &json!("greet"))
    );
    let mut control = Client::new(&running).await;
    control.send("POST", "/_control/script", "", "rules: [{reply: {text: replaced}}]").await;
    assert_eq!(control.answer().await.expect("answer").status, 200);
    assert!(call(&running, "/v1/messages", &messages(false)).await.text().contains("replaced"));
    control.send("POST", "/_control/script", "", "rules:\n  - nme: x\n").await;
    let wrong = control.answer().await.expect("answer");
    assert_eq!((wrong.status, &wrong.json()["line"]), (400, &json!(2)));
    control.send("POST", "/_control/reset", "", "").await;
    assert_eq!(control.answer().await.expect("answer").status, 200);
    assert_eq!(running.stats().calls, 0);
    control.send("GET", "/_control/wait?completed=1", "", "").await;
    call(&running, "/v1/messages", &messages(false)).await;
    assert_eq!(control.answer().await.expect("answer").json()["completed"], 1);
}

#[tokio::test]
async fn the_log_file_survives_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("calls.jsonl");
    let start = || async {
        let script =
            Script::parse("rules: [{match: {prompt_contains: cut}, fault: {cut: true}}, {name: ok, reply: {text: ok}}]").expect("valid");
        let addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        Server::start_with(script, Options { addr, log: Some(log.clone()) }).await.expect("starts")
    };
    let first = start().await;
    call(&first, "/v1/messages", &messages(true)).await;
    let mut cut = messages(true);
    cut["messages"][0]["content"] = json!("cut me");
    call(&first, "/v1/messages", &cut).await;
    first.shutdown().await;
    std::fs::write(&log, std::fs::read_to_string(&log).expect("readable") + "{\"hash\": \"torn").expect("writable");
    let second = start().await;
    assert_eq!(second.stats().completed, 1);
    call(&second, "/v1/messages", &messages(true)).await;
    let stats = second.stats();
    let count = stats.by_hash.values().next().expect("one request");
    assert_eq!((stats.by_hash.len(), count.completed), (1, 2), "the same request, bought twice over two lives of the server");
    second.shutdown().await;
    assert_eq!(start().await.stats().completed, 2);
}
