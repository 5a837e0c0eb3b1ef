//! The Messages API: good answers in all their forms.
use maos_engine::message::{Block, Message, Role, StopReason, ToolChoice, Usage};
use maos_llm::{NoParts, Part};
use serde_json::{Value, json};

use crate::support::{
    Act, KEY, Kept, Server, answer, call_claude, claude, claude_events, events, ok_stream, patient, piece, request, stream_head, tool,
};

fn start(usage: Value) -> Value {
    json!({"type": "message_start", "message": {"model": "claude-x", "usage": usage}})
}

fn end(stop: &str, usage: Value) -> [Value; 2] {
    [json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}), json!({"type": "message_stop"})]
}

#[tokio::test]
async fn a_short_answer() {
    let server = Server::always(vec![Act::Send(
        [
            stream_head(&[
                ("request-id", "req_77"),
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "49"),
            ]),
            piece(events(&claude_events("4")).as_bytes()),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat(),
    )])
    .await;
    let (_models, chosen) = claude(&server, patient());
    let parts = Kept::default();
    let answer = chosen.model.call(&request(&chosen), &parts).await.expect("an answer");
    assert_eq!(answer.reply.text(), "4");
    assert_eq!(answer.reply.stop, StopReason::EndTurn);
    assert_eq!(answer.reply.model, "claude-x");
    assert_eq!(answer.reply.request_id.as_deref(), Some("req_77"));
    assert_eq!(answer.reply.usage, Usage { input_tokens: 11, output_tokens: 7, ..Usage::default() });
    let requests = answer.limits.and_then(|l| l.requests).expect("limits");
    assert_eq!((requests.limit, requests.remaining), (50, 49));
    assert_eq!(*parts.0.lock().expect("not poisoned"), [Part::Text("4".into())]);

    let received = server.received();
    assert_eq!(received.len(), 1);
    assert!(received[0].head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{}", received[0].head);
    assert_eq!(received[0].header("x-api-key"), Some(KEY));
    assert_eq!(received[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(received[0].header("authorization"), None);
    assert_eq!(received[0].body["model"], "claude-haiku-4-5");
    assert_eq!(received[0].body["stream"], true);
}

/// A turn that thinks and asks for two tools whose arguments come interleaved.
fn thinking_and_two_tools() -> Vec<Value> {
    let mut list = vec![start(json!({"input_tokens": 1, "output_tokens": 1}))];
    list.push(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}));
    for text in ["let me", " see"] {
        list.push(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}));
    }
    list.push(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig=="}}));
    list.push(json!({"type": "content_block_stop", "index": 0}));
    list.push(json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "opaque"}}));
    list.push(json!({"type": "content_block_stop", "index": 1}));
    for (i, piece) in [(2, "{\"q\":"), (3, ""), (2, "\"grü"), (2, "ße\\n\"}"), (3, "{}")] {
        if !list.iter().any(|e| e["type"] == "content_block_start" && e["index"] == i) {
            list.push(json!({"type": "content_block_start", "index": i,
                "content_block": {"type": "tool_use", "id": format!("toolu_{i}"), "name": "search", "input": {}}}));
        }
        list.push(json!({"type": "content_block_delta", "index": i, "delta": {"type": "input_json_delta", "partial_json": piece}}));
    }
    list.extend([2, 3].map(|i| json!({"type": "content_block_stop", "index": i})));
    list.extend(end("tool_use", json!({"output_tokens": 30})));
    list
}

#[tokio::test]
async fn thinking_and_parallel_tools_make_a_round_trip() {
    let server = Server::stream(events(&thinking_and_two_tools())).await;
    let (_models, chosen) = claude(&server, patient());
    let mut asked = request(&chosen);
    asked.tools = vec![tool("search")].into();
    let parts = Kept::default();
    let reply = chosen.model.call(&asked, &parts).await.expect("an answer").reply;
    assert_eq!(reply.stop, StopReason::ToolUse);
    assert_eq!(
        reply.content,
        [
            Block::Thinking { thinking: "let me see".into(), signature: "sig==".into() },
            Block::RedactedThinking { data: "opaque".into() },
            Block::ToolUse { id: "toolu_2".into(), name: "search".into(), input: json!({"q": "grüße\n"}) },
            Block::ToolUse { id: "toolu_3".into(), name: "search".into(), input: json!({}) },
        ]
    );
    let shown = parts.0.lock().expect("not poisoned").clone();
    assert_eq!(shown.iter().filter(|p| matches!(p, Part::ToolStart { .. })).count(), 2);
    assert_eq!(shown[..2], [Part::Thinking("let me".into()), Part::Thinking(" see".into())]);

    // The next turn sends it all back unchanged.
    asked.messages.push(Message { role: Role::Assistant, content: reply.content });
    let result = |id: &str| Block::ToolResult { tool_use_id: id.into(), content: "r".into(), is_error: false };
    asked.messages.push(Message { role: Role::User, content: vec![result("toolu_2"), result("toolu_3")] });
    chosen.model.call(&asked, &NoParts).await.expect("an answer");
    let sent = &server.received()[1].body["messages"][1]["content"];
    assert_eq!(sent[0], json!({"type": "thinking", "thinking": "let me see", "signature": "sig=="}));
    assert_eq!(sent[1], json!({"type": "redacted_thinking", "data": "opaque"}));
    assert_eq!(sent[2]["input"], json!({"q": "grüße\n"}));
}

#[tokio::test]
async fn five_classes_of_usage() {
    let cases = [
        (
            json!({"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}}),
            json!({"output_tokens": 20}),
            Usage {
                input_tokens: 10,
                output_tokens: 20,
                cache_read_tokens: 3,
                cache_write_5m_tokens: 4,
                cache_write_1h_tokens: 5,
                web_searches: 0,
                estimated: false,
            },
        ),
        (
            json!({"input_tokens": 10, "cache_creation_input_tokens": 9, "cache_read_input_tokens": null}),
            json!({"input_tokens": 12, "output_tokens": 20}),
            Usage { input_tokens: 12, output_tokens: 20, cache_write_5m_tokens: 9, ..Usage::default() },
        ),
    ];
    for (first, last, want) in cases {
        let mut list = claude_events("x");
        list[0] = start(first);
        list[5] = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last});
        let server = Server::stream(events(&list)).await;
        assert_eq!(call_claude(&server, patient()).await.expect("an answer").reply.usage, want);
    }
}

#[tokio::test]
async fn missing_and_impossible_usage_is_estimated() {
    for (first, last) in [
        (Value::Null, Value::Null),
        (json!({"input_tokens": -5, "output_tokens": 0}), json!({"output_tokens": -1})),
        (json!({"input_tokens": "many"}), json!({"output_tokens": 1e300})),
        (json!({"input_tokens": {"a": 1}}), json!({"output_tokens": [1]})),
        (json!({}), json!({"output_tokens": 0})),
    ] {
        let mut list = claude_events("a text of some length");
        list[0] = start(first.clone());
        list[5] = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last});
        let server = Server::stream(events(&list)).await;
        let usage = call_claude(&server, patient()).await.expect("an answer").reply.usage;
        assert!(usage.estimated && usage.input_tokens > 10 && usage.output_tokens >= 5, "{first} {usage:?}");
    }
}

#[tokio::test]
async fn every_stop_reason() {
    for (raw, want) in [
        ("end_turn", StopReason::EndTurn),
        ("max_tokens", StopReason::MaxTokens),
        ("stop_sequence", StopReason::StopSequence),
        ("tool_use", StopReason::ToolUse),
        ("refusal", StopReason::Refusal),
        ("pause_turn", StopReason::PauseTurn),
        ("model_context_window_exceeded", StopReason::ContextExceeded),
        ("brand_new", StopReason::Unknown { raw: "brand_new".into() }),
    ] {
        let mut list = claude_events("x");
        list[5]["delta"]["stop_reason"] = json!(raw);
        let server = Server::stream(events(&list)).await;
        assert_eq!(call_claude(&server, patient()).await.expect("an answer").reply.stop, want);
    }
}

#[tokio::test]
async fn empty_content_is_an_answer() {
    let mut list = vec![start(json!({"input_tokens": 3, "output_tokens": 0}))];
    list.extend(end("end_turn", json!({"output_tokens": 0})));
    let server = Server::stream(events(&list)).await;
    let reply = call_claude(&server, patient()).await.expect("an answer").reply;
    assert_eq!((reply.content.len(), reply.usage.output_tokens, reply.usage.estimated), (0, 0, false));
}

#[tokio::test]
async fn a_call_cut_by_the_output_limit_is_never_run() {
    let mut list = vec![start(json!({"input_tokens": 3}))];
    for (i, json) in [(0, "{\"a\":1}"), (1, "{\"a\":")] {
        list.push(json!({"type": "content_block_start", "index": i,
            "content_block": {"type": "tool_use", "id": format!("t{i}"), "name": "n", "input": {}}}));
        list.push(json!({"type": "content_block_delta", "index": i, "delta": {"type": "input_json_delta", "partial_json": json}}));
        if i == 0 {
            list.push(json!({"type": "content_block_stop", "index": i}));
        }
    }
    list.extend(end("max_tokens", json!({"output_tokens": 9})));
    let server = Server::stream(events(&list)).await;
    let reply = call_claude(&server, patient()).await.expect("an answer").reply;
    assert_eq!(reply.stop, StopReason::MaxTokens);
    assert!(matches!(&reply.content[..], [Block::ToolUse { .. }, Block::BadToolUse { .. }]), "{:?}", reply.content);
}

#[tokio::test]
async fn two_hundred_tools_with_missing_double_and_garbled_parts() {
    let mut list = vec![start(json!({"input_tokens": 3}))];
    for i in 0..200 {
        let id = if i % 2 == 0 { "same" } else { "" };
        let json = if i == 7 { "{not json" } else { "{\"n\":1}" };
        list.push(json!({"type": "content_block_start", "index": i, "content_block": {"type": "tool_use", "id": id, "name": "n"}}));
        list.push(json!({"type": "content_block_delta", "index": i, "delta": {"type": "input_json_delta", "partial_json": json}}));
        list.push(json!({"type": "content_block_stop", "index": i}));
    }
    list.extend(end("tool_use", json!({"output_tokens": 9})));
    let server = Server::stream(events(&list)).await;
    let reply = call_claude(&server, patient()).await.expect("an answer").reply;
    let ids: std::collections::BTreeSet<_> = reply
        .content
        .iter()
        .filter_map(|b| match b {
            Block::ToolUse { id, .. } | Block::BadToolUse { id, .. } => Some(id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!((reply.content.len(), ids.len()), (200, 200));
    assert!(matches!(&reply.content[7], Block::BadToolUse { raw, .. } if raw == "{not json"));
    assert_eq!(reply.content.iter().filter(|b| matches!(b, Block::BadToolUse { .. })).count(), 1);
}

#[tokio::test]
async fn odd_bytes_give_the_same_answer() {
    let text = "héllo \u{1F600} wörld";
    let mut list = claude_events(text);
    list.insert(1, json!({"type": "brand_new_event", "index": "not a number, and nobody cares"}));
    list.insert(3, json!({"type": "content_block_start", "index": 9, "content_block": {"type": "brand_new_block", "x": 1}}));
    list.insert(4, json!({"type": "content_block_delta", "index": 9, "delta": {"type": "brand_new_delta"}}));
    list.insert(5, json!({"type": "content_block_stop", "index": 9}));
    list[1]["index"] = json!(0);
    let plain = events(&list);
    let bom = format!("\u{feff}: hello\n\n{plain}");
    let many_pings = events(&vec![json!({"type": "ping"}); 500]) + &plain;
    for (name, body) in [("crlf", plain.replace('\n', "\r\n")), ("cr", plain.replace('\n', "\r")), ("bom", bom), ("pings", many_pings)] {
        let server = Server::stream(&body).await;
        assert_eq!(call_claude(&server, patient()).await.expect(name).reply.text(), text, "{name}");
    }
    // Every byte a piece of its own: UTF-8 and JSON are cut everywhere.
    let single: Vec<u8> = plain.bytes().flat_map(|b| piece(&[b])).collect();
    let server = Server::always(vec![Act::Send([stream_head(&[]), single, b"0\r\n\r\n".to_vec()].concat())]).await;
    assert_eq!(call_claude(&server, patient()).await.expect("single bytes").reply.text(), text);
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_read() {
    let text = "x".repeat(10 << 20);
    let server = Server::stream(events(&claude_events(&text))).await;
    assert_eq!(call_claude(&server, patient()).await.expect("an answer").reply.text().len(), 10 << 20);
}

#[tokio::test]
async fn one_connection_is_used_again() {
    let server = Server::stream(events(&claude_events("4"))).await;
    let (_models, chosen) = claude(&server, patient());
    for _ in 0..5 {
        chosen.call(&request(&chosen), &NoParts).await.expect("an answer");
    }
    assert_eq!((server.received().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn newer_models_are_asked_and_not_forced() {
    let server = Server::stream(events(&claude_events("4"))).await;
    let (_models, chosen) = claude(&server, patient());
    for (model, forced) in [("claude-haiku-4-5", true), ("claude-sonnet-5-5", false), ("claude-opus-5-5-20260922", false)] {
        let mut asked = request(&chosen);
        asked.model = model.into();
        asked.tools = vec![tool("submit_plan")].into();
        asked.tool_choice = ToolChoice::Any;
        asked.temperature_milli = Some(0);
        chosen.model.call(&asked, &NoParts).await.expect("an answer");
        let sent = server.received().pop().expect("a request").body;
        assert_eq!(sent.get("tool_choice").is_some(), forced, "{model}");
        assert_eq!(sent.get("temperature").is_some(), forced, "{model}");
        assert_eq!(sent["system"].as_array().map(Vec::len), Some(if forced { 1 } else { 2 }), "{model}");
    }
}

#[tokio::test]
async fn the_check_costs_nothing_and_lists_models() {
    let body = br#"{"data":[{"type":"model","id":"claude-a"},{"type":"model","id":"claude-b"}],"has_more":false}"#;
    let server = Server::start(vec![
        vec![Act::Send(answer(200, &[("content-type", "application/json"), ("request-id", "r1")], body))],
        vec![Act::Send(answer(401, &[], br#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#))],
        vec![Act::Send(answer(200, &[], b"<html>hello</html>"))],
    ])
    .await;
    let (_models, chosen) = claude(&server, patient());
    let checked = chosen.model.check().await.expect("checked");
    assert_eq!(
        (checked.status, checked.models, checked.request_id.as_deref()),
        (200, vec!["claude-a".into(), "claude-b".into()], Some("r1"))
    );
    let refused = chosen.model.check().await.expect_err("a wrong key");
    assert_eq!(refused.class, maos_engine::message::FailureClass::Auth);
    assert!(refused.message.contains("CLAUDE_API_KEY"), "{}", refused.message);
    let other = chosen.model.check().await.expect_err("no API");
    assert!(other.message.contains("base URL"), "{}", other.message);
    assert!(server.received()[0].head.starts_with("GET /v1/models"), "{}", server.received()[0].head);
}

#[tokio::test]
async fn a_call_in_flight_is_small() {
    let server = Server::always(vec![Act::Send(ok_stream(b""))]).await;
    let (_models, chosen) = claude(&server, patient());
    let asked = request(&chosen);
    let future = chosen.model.call(&asked, &NoParts);
    let whole = chosen.call(&asked, &NoParts);
    let bytes = std::mem::size_of_val(&*future) + std::mem::size_of_val(&whole);
    assert!(bytes <= 16 << 10, "{bytes} bytes");
}
