//! Chat completions: good answers as OpenAI, vLLM, Ollama and llama.cpp give them.
use maos_engine::message::{Block, StopReason, ToolChoice, Usage};
use maos_llm::{NoParts, Options, Part};
use serde_json::{Value, json};

use crate::support::{
    Act, KEY, Kept, Server, answer, call_openai, chosen, openai, openai_options, openai_stream, patient, piece, request, stream_head, tool,
};

fn delta(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "gpt-x", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage(usage: Value) -> Value {
    json!({"choices": [], "usage": usage})
}

#[tokio::test]
async fn a_short_answer() {
    let body = openai_stream(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "fo"})),
        delta(json!({"content": "ur\n"})),
        finish("stop"),
        usage(json!({"prompt_tokens": 100, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 64}})),
    ]);
    let head = stream_head(&[
        ("x-request-id", "req_9"),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
    ]);
    let server = Server::always(vec![Act::Send([head, piece(body.as_bytes()), b"0\r\n\r\n".to_vec()].concat())]).await;
    let (_models, chosen) = openai(&server, patient());
    let parts = Kept::default();
    let answer = chosen.model.call(&request(&chosen), &parts).await.expect("an answer");
    assert_eq!(answer.reply.text(), "four\n");
    assert_eq!((answer.reply.model.as_str(), answer.reply.request_id.as_deref()), ("gpt-x", Some("req_9")));
    assert_eq!(answer.reply.stop, StopReason::EndTurn);
    assert_eq!(answer.reply.usage, Usage { input_tokens: 36, output_tokens: 2, cache_read_tokens: 64, ..Usage::default() });
    assert_eq!(answer.limits.and_then(|l| l.requests).and_then(|b| b.reset_ms), Some(1_000));
    assert_eq!(*parts.0.lock().expect("not poisoned"), [Part::Text("fo".into()), Part::Text("ur\n".into())]);
    let received = server.received();
    assert!(received[0].head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", received[0].head);
    assert_eq!(received[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(received[0].body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_server_without_key_and_with_a_path() {
    let server = Server::stream(openai_stream(&[delta(json!({"content": "x"})), finish("stop")])).await;
    let mut options = openai_options(&format!("{}/api/v3/", server.url()), patient());
    if let Some(openai) = &mut options.openai {
        openai.api_key = None;
    }
    let (_models, chosen) = chosen(options);
    let reply = chosen.model.call(&request(&chosen), &NoParts).await.expect("an answer").reply;
    assert!(reply.usage.estimated && reply.usage.input_tokens > 0, "{:?}", reply.usage);
    assert_eq!(reply.request_id.as_deref(), Some("chatcmpl-1"));
    let received = server.received();
    assert!(received[0].head.starts_with("POST /api/v3/chat/completions "), "{}", received[0].head);
    assert_eq!(received[0].header("authorization"), None);
}

fn calls(content: &[Block]) -> Vec<(&str, &str, Option<&Value>)> {
    content
        .iter()
        .filter_map(|b| match b {
            Block::ToolUse { id, name, input } => Some((id.as_str(), name.as_str(), Some(input))),
            Block::BadToolUse { id, name, .. } => Some((id.as_str(), name.as_str(), None)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn tool_calls_in_the_forms_that_servers_send() {
    let call = |call: Value| delta(json!({"tool_calls": [call]}));
    let (a, b) = (json!({"q": 1}), json!({"q": 2}));
    let cases: Vec<(&str, Vec<Value>, &str)> = vec![
        (
            "OpenAI: pieces by index",
            vec![
                call(json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}})),
                call(json!({"index": 0, "function": {"arguments": "{\"q\""}})),
                call(json!({"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{\"q\":2}"}})),
                call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            ],
            "tool_calls",
        ),
        (
            "Ollama: whole, index always 0, `stop`",
            vec![
                call(json!({"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{\"q\":1}"}})),
                call(json!({"index": 0, "id": "c2", "function": {"name": "g", "arguments": "{\"q\":2}"}})),
            ],
            "stop",
        ),
        (
            "whole, no index, arguments as objects",
            vec![delta(json!({"tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"q": 1}}},
                {"id": "c2", "function": {"name": "g", "arguments": {"q": 2}}},
            ]}))],
            "tool_calls",
        ),
        (
            "the id repeated with every piece",
            vec![
                call(json!({"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{\"q\""}})),
                call(json!({"index": 0, "id": "c1", "function": {"name": null, "arguments": ":1}"}})),
                call(json!({"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{\"q\":2}"}})),
            ],
            "function_call",
        ),
    ];
    for (what, mut chunks, reason) in cases {
        chunks.push(finish(reason));
        let server = Server::stream(openai_stream(&chunks)).await;
        let reply = call_openai(&server, patient()).await.expect(what).reply;
        assert_eq!(reply.stop, StopReason::ToolUse, "{what}");
        assert_eq!(calls(&reply.content), [("c1", "f", Some(&a)), ("c2", "g", Some(&b))], "{what}");
    }
}

#[tokio::test]
async fn missing_ids_double_ids_and_garbled_arguments() {
    let call = |i: u32, id: Value, args: &str| {
        delta(json!({"tool_calls": [{"index": i, "id": id, "function": {"name": "f", "arguments": args}}]}))
    };
    let body = openai_stream(&[
        call(0, Value::Null, "{}"),
        call(1, json!("x"), "{}"),
        call(2, json!("x"), "{oops"),
        call(3, json!(""), ""),
        finish("tool_calls"),
    ]);
    let server = Server::stream(body).await;
    let reply = call_openai(&server, patient()).await.expect("an answer").reply;
    let calls = calls(&reply.content);
    let ids: std::collections::BTreeSet<_> = calls.iter().map(|c| c.0).collect();
    assert_eq!((calls.len(), ids.len()), (4, 4));
    assert_eq!(calls.iter().map(|c| c.2.is_some()).collect::<Vec<_>>(), [true, true, false, true]);
}

#[tokio::test]
async fn every_finish_reason() {
    for (raw, want) in [
        ("stop", StopReason::EndTurn),
        ("length", StopReason::MaxTokens),
        ("content_filter", StopReason::Refusal),
        ("tool_calls", StopReason::Unknown { raw: "tool_calls".into() }),
        ("brand_new", StopReason::Unknown { raw: "brand_new".into() }),
    ] {
        let server = Server::stream(openai_stream(&[delta(json!({"content": "x"})), finish(raw)])).await;
        assert_eq!(call_openai(&server, patient()).await.expect("an answer").reply.stop, want);
    }
    let server = Server::stream(openai_stream(&[delta(json!({"refusal": "I will not."})), finish("stop")])).await;
    let reply = call_openai(&server, patient()).await.expect("an answer").reply;
    assert_eq!((reply.stop.clone(), reply.text().as_str()), (StopReason::Refusal, "I will not."));
    // A call that was cut is never run.
    let cut = delta(json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}));
    let server = Server::stream(openai_stream(&[cut, finish("length")])).await;
    let reply = call_openai(&server, patient()).await.expect("an answer").reply;
    assert!(matches!(&reply.content[..], [Block::BadToolUse { .. }]), "{:?}", reply.content);
}

#[tokio::test]
async fn reasoning_is_kept_apart_and_impossible_usage_is_estimated() {
    for key in ["reasoning_content", "reasoning"] {
        let body = openai_stream(&[
            delta(json!({key: "hm"})),
            delta(json!({"content": "x"})),
            finish("stop"),
            usage(json!({"prompt_tokens": 3, "completion_tokens": -4, "prompt_tokens_details": {"cached_tokens": 9}})),
        ]);
        let server = Server::stream(body).await;
        let reply = call_openai(&server, patient()).await.expect("an answer").reply;
        assert_eq!(reply.content[0], Block::Thinking { thinking: "hm".into(), signature: String::new() });
        assert_eq!(reply.text(), "x");
        assert!(reply.usage.estimated && reply.usage.input_tokens > 3, "{:?}", reply.usage);
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream() {
    let body = json!({
        "id": "c", "model": "m", "usage": {"prompt_tokens": 5, "completion_tokens": 6},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "whole"}}],
    });
    let bytes = answer(200, &[("content-type", "application/json; charset=utf-8")], body.to_string().as_bytes());
    let server = Server::always(vec![Act::Send(bytes)]).await;
    let reply = call_openai(&server, patient()).await.expect("an answer").reply;
    assert_eq!((reply.text().as_str(), reply.usage.input_tokens, reply.usage.output_tokens), ("whole", 5, 6));
}

#[tokio::test]
async fn connections_are_used_again_where_the_server_keeps_them() {
    let body = openai_stream(&[delta(json!({"content": "x"})), finish("stop")]);
    let whole = |head: &[(&str, &str)]| [stream_head(head), piece(body.as_bytes()), b"0\r\n\r\n".to_vec()].concat();
    // The first answer tells what kind of server it is.
    let server = Server::always(vec![Act::Send(whole(&[("server", "uvicorn")]))]).await;
    let (_models, chosen) = openai(&server, patient());
    for _ in 0..5 {
        chosen.call(&request(&chosen), &NoParts).await.expect("an answer");
    }
    assert_eq!((server.received().len(), server.connections()), (5, 2));

    // llama.cpp promises to keep the connection, and closes it after each stream.
    let head = [("server", "llama.cpp"), ("keep-alive", "timeout=5, max=100")];
    let server = Server::always(vec![Act::Send(whole(&head)), Act::Close]).await;
    let (_models, chosen) = openai(&server, patient());
    for _ in 0..20 {
        chosen.call(&request(&chosen), &NoParts).await.expect("no call is lost");
    }
    assert_eq!((server.received().len(), server.connections()), (20, 20));
}

fn constrained(url: &str) -> Options {
    let mut options = openai_options(url, patient());
    if let Some(openai) = &mut options.openai {
        openai.constrain = true;
    }
    options
}

#[tokio::test]
async fn a_constrained_answer_becomes_a_tool_call() {
    let body = openai_stream(&[
        delta(json!({"content": "{\"name\":\"submit_plan\","})),
        delta(json!({"content": "\"arguments\":{\"steps\":[]}}"})),
        finish("stop"),
    ]);
    let server = Server::stream(body).await;
    let (_models, chosen) = chosen(constrained(&server.url()));
    let mut asked = request(&chosen);
    asked.tools = vec![tool("submit_plan"), tool("answer")].into();
    asked.tool_choice = ToolChoice::Any;
    let parts = Kept::default();
    let reply = chosen.model.call(&asked, &parts).await.expect("an answer").reply;
    assert_eq!(reply.stop, StopReason::ToolUse);
    assert!(
        matches!(&reply.content[..], [Block::ToolUse { name, input, id }]
        if name == "submit_plan" && *input == json!({"steps": []}) && !id.is_empty()),
        "{:?}",
        reply.content
    );
    assert_eq!(*parts.0.lock().expect("not poisoned"), [Part::ToolStart { name: "submit_plan".into() }], "raw JSON is not shown");
    let sent = server.received().pop().expect("a request").body;
    assert_eq!(sent["response_format"]["json_schema"]["schema"]["anyOf"].as_array().map(Vec::len), Some(2));
    assert_eq!(sent.get("tools"), None);

    // Anything else stays what it is: text.
    let server = Server::stream(openai_stream(&[delta(json!({"content": "I would call {\"name\":1}"})), finish("stop")])).await;
    let (_models, chosen) = crate::support::chosen(constrained(&server.url()));
    let reply = chosen.model.call(&asked, &NoParts).await.expect("an answer").reply;
    assert_eq!((reply.stop.clone(), calls(&reply.content).len()), (StopReason::EndTurn, 0));
}
