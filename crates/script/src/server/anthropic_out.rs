//! Answers in the form of the Messages API: the sequence of events of a stream, the whole message, errors, models, headers.
use maos_engine::message::StopReason;
use serde_json::Value;

use super::frames::{Frames, quoted};
use super::http::header;
use crate::planned::{Piece, Planned, SERVER_TOOL_USE, UsageSaid, chunks};
use crate::rate::{RateLine, RateSeen};

/// The word for a stop reason.
pub(crate) fn stop_word(stop: &StopReason) -> &str {
    match stop {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Refusal => "refusal",
        StopReason::PauseTurn => "pause_turn",
        StopReason::ContextExceeded => "model_context_window_exceeded",
        StopReason::Unknown { raw } => raw,
    }
}

/// `"usage":{…},` or nothing. `output` replaces the figure, for the first event of a stream.
fn usage(planned: &Planned, output_now: Option<i64>) -> String {
    match planned.usage_said {
        UsageSaid::Missing => String::new(),
        UsageSaid::Figures { input, output, cache_read, cache_write_5m, cache_write_1h } => format!(
            r#""usage":{{"input_tokens":{input},"cache_creation_input_tokens":{},"cache_read_input_tokens":{cache_read},"cache_creation":{{"ephemeral_5m_input_tokens":{cache_write_5m},"ephemeral_1h_input_tokens":{cache_write_1h}}},"output_tokens":{},"service_tier":"standard"{}}},"#,
            cache_write_5m.saturating_add(cache_write_1h),
            output_now.unwrap_or(output),
            if output_now.is_none() { searches(planned) } else { String::new() },
        ),
    }
}

/// The stream of a reply.
pub(crate) fn frames(planned: &Planned) -> Frames {
    let wire = planned.wire;
    let mut out = Frames::new(wire.crlf, wire.bom, 2_048);
    let start = format!(
        r#"{{"type":"message_start","message":{{"id":"{}","type":"message","role":"assistant","model":{},"content":[],{}"stop_reason":null,"stop_sequence":null}}}}"#,
        planned.message_id,
        quoted(&planned.model),
        usage(planned, Some(1)),
    );
    out.event("message_start", &[&start]);
    for _ in 0..wire.pings {
        ping(&mut out);
    }
    if wire.comments {
        out.comment("scripted comment");
    }
    if wire.unknown_event {
        out.event("scripted_novelty", &[r#"{"type":"scripted_novelty","index":0}"#]);
    }
    if wire.huge_line_bytes > 0 {
        let pad = "x".repeat(wire.huge_line_bytes);
        out.event("scripted_padding", &[r#"{"type":"scripted_padding","padding":""#, &pad, r#""}"#]);
    }
    for (i, piece) in planned.pieces.iter().enumerate() {
        block(&mut out, i, piece, planned.chunk_bytes);
        if i == 0 && wire.pings > 0 {
            ping(&mut out);
        }
    }
    out.end_content();
    let output = match planned.usage_said {
        UsageSaid::Missing => String::new(),
        UsageSaid::Figures { input, output, cache_read, cache_write_5m, cache_write_1h } => format!(
            r#","usage":{{"input_tokens":{input},"cache_creation_input_tokens":{},"cache_read_input_tokens":{cache_read},"output_tokens":{output}{}}}"#,
            cache_write_5m.saturating_add(cache_write_1h),
            searches(planned),
        ),
    };
    let word = quoted(stop_word(&planned.stop));
    out.event("message_delta", &[r#"{"type":"message_delta","delta":{"stop_reason":"#, &word, r#","stop_sequence":null}"#, &output, "}"]);
    out.event("message_stop", &[r#"{"type":"message_stop"}"#]);
    out
}

fn ping(out: &mut Frames) {
    out.event("ping", &[r#"{"type":"ping"}"#]);
}

fn block(out: &mut Frames, index: usize, piece: &Piece, chunk_bytes: usize) {
    let index = index.to_string();
    let start = match piece {
        Piece::Text(_) => r#"{"type":"text","text":""}"#.to_owned(),
        Piece::Cited { .. } => r#"{"citations":[],"type":"text","text":""}"#.to_owned(),
        Piece::Thinking { .. } => r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned(),
        Piece::Redacted(data) => {
            format!(r#"{{"type":"redacted_thinking","data":{}}}"#, quoted(data))
        }
        Piece::Server(block) => begun(block).to_string(),
        Piece::Tool { id, name, .. } => format!(r#"{{"type":"tool_use","id":{},"name":{},"input":{{}}}}"#, quoted(id), quoted(name)),
    };
    out.event("content_block_start", &[r#"{"type":"content_block_start","index":"#, &index, r#","content_block":"#, &start, "}"]);
    let mut delta = |kind: &str, field: &str, text: &str| {
        let text = quoted(text);
        out.content(
            "content_block_delta",
            &[r#"{"type":"content_block_delta","index":"#, &index, r#","delta":{"type":""#, kind, r#"",""#, field, r#"":"#, &text, "}}"],
        );
    };
    match piece {
        Piece::Text(text) => chunks(text, chunk_bytes).for_each(|part| delta("text_delta", "text", part)),
        Piece::Cited { text, citations } => {
            chunks(text, chunk_bytes).for_each(|part| delta("text_delta", "text", part));
            for citation in citations {
                let delta = serde_json::json!({"type": "citations_delta", "citation": citation}).to_string();
                out.content("content_block_delta", &[r#"{"type":"content_block_delta","index":"#, &index, r#","delta":"#, &delta, "}"]);
            }
        }
        Piece::Thinking { text, signature } => {
            chunks(text, chunk_bytes).for_each(|part| delta("thinking_delta", "thinking", part));
            delta("signature_delta", "signature", signature);
        }
        Piece::Redacted(_) => {}
        // A call is streamed as any other; a result comes whole.
        Piece::Server(block) if block["type"] == SERVER_TOOL_USE => {
            delta("input_json_delta", "partial_json", "");
            chunks(&block["input"].to_string(), chunk_bytes).for_each(|part| delta("input_json_delta", "partial_json", part));
        }
        Piece::Server(_) => {}
        Piece::Tool { json, .. } => {
            // The real one begins with an empty piece, and sends nothing more for an empty object.
            delta("input_json_delta", "partial_json", "");
            if json != "{}" {
                chunks(json, chunk_bytes).for_each(|part| delta("input_json_delta", "partial_json", part));
            }
        }
    }
    out.event("content_block_stop", &[r#"{"type":"content_block_stop","index":"#, &index, "}"]);
}

/// How a block of the provider's own tools begins in a stream: a call without its arguments, a result whole.
fn begun(block: &Value) -> Value {
    let mut block = block.clone();
    if block["type"] == SERVER_TOOL_USE {
        block["input"] = Value::Object(serde_json::Map::new());
    }
    block
}

/// `,"server_tool_use":{…}` where the provider has searched.
fn searches(planned: &Planned) -> String {
    match planned.usage.web_searches {
        0 => String::new(),
        n => format!(r#","server_tool_use":{{"web_search_requests":{n}}}"#),
    }
}

/// The whole message. Without its end, `stop_reason` is null.
pub(crate) fn whole(planned: &Planned, ended: bool) -> String {
    let mut content = String::from("[");
    for (i, piece) in planned.pieces.iter().enumerate() {
        if i > 0 {
            content.push(',');
        }
        let block = match piece {
            Piece::Text(text) => format!(r#"{{"type":"text","text":{}}}"#, quoted(text)),
            Piece::Cited { text, citations } => serde_json::json!({"type": "text", "text": text, "citations": citations}).to_string(),
            Piece::Thinking { text, signature } => {
                format!(r#"{{"type":"thinking","thinking":{},"signature":{}}}"#, quoted(text), quoted(signature))
            }
            Piece::Redacted(data) => {
                format!(r#"{{"type":"redacted_thinking","data":{}}}"#, quoted(data))
            }
            Piece::Server(block) => block.to_string(),
            Piece::Tool { id, name, json } => {
                // A garbled input cannot stand in a whole message as it is: it becomes a string, which is no object and so still wrong.
                let good = serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
                let input = if good { json.clone() } else { quoted(json) };
                format!(r#"{{"type":"tool_use","id":{},"name":{},"input":{input}}}"#, quoted(id), quoted(name))
            }
        };
        content.push_str(&block);
    }
    content.push(']');
    let stop = if ended { quoted(stop_word(&planned.stop)) } else { "null".to_owned() };
    format!(
        r#"{{"id":"{}","type":"message","role":"assistant","model":{},"content":{content},{}"stop_reason":{stop},"stop_sequence":null}}"#,
        planned.message_id,
        quoted(&planned.model),
        usage(planned, None),
    )
}

/// An error, as the body of an answer and as the data of an `error` event.
pub(crate) fn error(kind: &str, message: &str, request_id: &str) -> String {
    error_with(kind, message, None, request_id)
}

/// An error with details, which are JSON.
pub(crate) fn error_with(kind: &str, message: &str, details: Option<&str>, request_id: &str) -> String {
    let details = details.map_or(String::new(), |json| format!(r#","details":{json}"#));
    let id = if request_id.is_empty() { "null".to_owned() } else { quoted(request_id) };
    format!(r#"{{"type":"error","error":{{"type":{},"message":{}{details}}},"request_id":{id}}}"#, quoted(kind), quoted(message))
}

/// The answer to `count_tokens`.
pub(crate) fn count(tokens: u64) -> String {
    format!(r#"{{"input_tokens":{tokens}}}"#)
}

fn model(id: &str, context_tokens: u64) -> String {
    format!(
        r#"{{"type":"model","id":{0},"display_name":{0},"created_at":"2026-01-01T00:00:00Z","lifecycle":"active","max_input_tokens":{context_tokens},"max_tokens":64000}}"#,
        quoted(id)
    )
}

/// The list of models.
pub(crate) fn models(ids: &[String], context_tokens: u64) -> String {
    let data: Vec<String> = ids.iter().map(|id| model(id, context_tokens)).collect();
    let edge = |id: Option<&String>| id.map_or("null".to_owned(), |id| quoted(id));
    format!(r#"{{"data":[{}],"has_more":false,"first_id":{},"last_id":{}}}"#, data.join(","), edge(ids.first()), edge(ids.last()))
}

/// One model.
pub(crate) fn one_model(id: &str, context_tokens: u64) -> String {
    model(id, context_tokens)
}

/// The headers that say where the key stands.
pub(crate) fn rate_headers(out: &mut Vec<u8>, seen: &RateSeen, now: u64) {
    let mut line = |name: &str, line: &RateLine| {
        header(out, &format!("anthropic-ratelimit-{name}-limit"), &line.limit.to_string());
        header(out, &format!("anthropic-ratelimit-{name}-remaining"), &line.remaining.to_string());
        header(out, &format!("anthropic-ratelimit-{name}-reset"), &super::times::rfc3339(now + line.reset_ms.div_ceil(1_000)));
    };
    if let Some(requests) = &seen.requests {
        line("requests", requests);
    }
    // `tokens` is the tightest of the two, as with the real one.
    let tightest = [&seen.input_tokens, &seen.output_tokens].into_iter().flatten().min_by_key(|line| line.remaining);
    if let Some(tokens) = tightest {
        line("tokens", tokens);
    }
    if let Some(input) = &seen.input_tokens {
        line("input-tokens", input);
    }
    if let Some(output) = &seen.output_tokens {
        line("output-tokens", output);
    }
}
