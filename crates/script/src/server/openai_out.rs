//! Answers in the form of chat completions: chunks of a stream, the whole completion, errors, models, headers.
use maos_engine::message::StopReason;

use super::frames::{Frames, quoted};
use super::http::header;
use crate::planned::{Piece, Planned, UsageSaid, chunks};
use crate::rate::RateSeen;

/// The word for a stop reason.
pub(crate) fn finish_word(stop: &StopReason) -> &str {
    match stop {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::PauseTurn => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens | StopReason::ContextExceeded => "length",
        StopReason::Refusal => "content_filter",
        StopReason::Unknown { raw } => raw,
    }
}

fn usage(planned: &Planned) -> Option<String> {
    match planned.usage_said {
        UsageSaid::Missing => None,
        UsageSaid::Figures { input, output, cache_read, cache_write_5m, cache_write_1h } => {
            // Here the prompt includes what was cached, and writing to the cache has no class of its own.
            let prompt = [cache_read, cache_write_5m, cache_write_1h].iter().fold(input, |sum, n| sum.saturating_add(*n));
            let thinking: usize =
                planned.pieces.iter().map(|piece| if let Piece::Thinking { text, .. } = piece { text.len() } else { 0 }).sum();
            let thinking = crate::tokens::tokens_of_bytes(thinking as u64);
            Some(format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cache_read},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{thinking},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
                prompt.saturating_add(output),
            ))
        }
    }
}

fn completion_id(planned: &Planned) -> String {
    format!("chatcmpl-{}", planned.message_id.trim_start_matches("msg_"))
}

/// Writes the chunks of one stream: what they share stands in `head` and `tail`.
struct Chunks {
    out: Frames,
    head: String,
    tail: &'static str,
}

impl Chunks {
    fn choice(&self, delta: &str, finish: &str) -> String {
        let tail = self.tail;
        format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{tail}"#)
    }

    fn content(&mut self, delta: &str) {
        let choice = self.choice(delta, "null");
        self.out.content("", &[&self.head, &choice]);
    }

    fn plain(&mut self, delta: &str, finish: &str) {
        let choice = self.choice(delta, finish);
        self.out.event("", &[&self.head, &choice]);
    }

    fn pieces(&mut self, pieces: &[Piece], chunk_bytes: usize) {
        let mut tools = 0;
        for piece in pieces {
            match piece {
                Piece::Text(text) | Piece::Cited { text, .. } => {
                    for part in chunks(text, chunk_bytes) {
                        self.content(&format!(r#"{{"content":{}}}"#, quoted(part)));
                    }
                }
                Piece::Thinking { text, .. } => {
                    for part in chunks(text, chunk_bytes) {
                        self.content(&format!(r#"{{"reasoning_content":{}}}"#, quoted(part)));
                    }
                }
                // This API has no such blocks.
                Piece::Redacted(_) | Piece::Server(_) => {}
                Piece::Tool { id, name, json } => {
                    self.content(&format!(
                        r#"{{"tool_calls":[{{"index":{tools},"id":{},"type":"function","function":{{"name":{},"arguments":""}}}}]}}"#,
                        quoted(id),
                        quoted(name)
                    ));
                    for part in chunks(json, chunk_bytes) {
                        self.content(&format!(r#"{{"tool_calls":[{{"index":{tools},"function":{{"arguments":{}}}}}]}}"#, quoted(part)));
                    }
                    tools += 1;
                }
            }
        }
    }
}

/// The stream of a reply.
pub(crate) fn frames(planned: &Planned, include_usage: bool, created: u64) -> Frames {
    let wire = planned.wire;
    let head = format!(
        r#"{{"id":"{}","object":"chat.completion.chunk","created":{created},"model":{},"service_tier":"default","system_fingerprint":"fp_scripted","choices":["#,
        completion_id(planned),
        quoted(&planned.model),
    );
    let tail = if include_usage { r#","usage":null}"# } else { "}" };
    let mut chunks = Chunks { out: Frames::new(wire.crlf, wire.bom, 2_048), head, tail };
    // This API has no pings; servers that keep a stream alive send comments.
    for _ in 0..wire.pings.max(usize::from(wire.comments)) {
        chunks.out.comment("ping");
    }
    chunks.plain(r#"{"role":"assistant","content":"","refusal":null}"#, "null");
    if wire.unknown_event {
        chunks.out.event("scripted_novelty", &[&chunks.head, "]", tail]);
    }
    if wire.huge_line_bytes > 0 {
        let pad = "x".repeat(wire.huge_line_bytes);
        chunks.out.event("", &[&chunks.head, r#"],"padding":""#, &pad, "\"", tail]);
    }
    chunks.pieces(&planned.pieces, planned.chunk_bytes);
    chunks.out.end_content();
    chunks.plain("{}", &quoted(finish_word(&planned.stop)));
    if let Some(usage) = usage(planned).filter(|_| include_usage) {
        chunks.out.event("", &[&chunks.head, r#"],"usage":"#, &usage, "}"]);
    }
    chunks.out.event("", &["[DONE]"]);
    chunks.out
}

/// The whole completion. Without its end, `finish_reason` is null.
pub(crate) fn whole(planned: &Planned, ended: bool, created: u64) -> String {
    let (mut text, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in &planned.pieces {
        match piece {
            Piece::Text(part) | Piece::Cited { text: part, .. } => text.push_str(part),
            Piece::Thinking { text: part, .. } => thinking.push_str(part),
            Piece::Redacted(_) | Piece::Server(_) => {}
            Piece::Tool { id, name, json } => calls.push(format!(
                r#"{{"id":{},"type":"function","function":{{"name":{},"arguments":{}}}}}"#,
                quoted(id),
                quoted(name),
                quoted(json)
            )),
        }
    }
    let content = if text.is_empty() && !calls.is_empty() { "null".to_owned() } else { quoted(&text) };
    let mut message = format!(r#"{{"role":"assistant","content":{content},"refusal":null,"annotations":[]"#);
    if !thinking.is_empty() {
        message.push_str(&format!(r#","reasoning_content":{}"#, quoted(&thinking)));
    }
    if !calls.is_empty() {
        message.push_str(&format!(r#","tool_calls":[{}]"#, calls.join(",")));
    }
    message.push('}');
    let finish = if ended { quoted(finish_word(&planned.stop)) } else { "null".to_owned() };
    let usage = usage(planned).map_or(String::new(), |usage| format!(r#","usage":{usage}"#));
    format!(
        r#"{{"id":"{}","object":"chat.completion","created":{created},"model":{},"choices":[{{"index":0,"message":{message},"logprobs":null,"finish_reason":{finish}}}]{usage},"service_tier":"default","system_fingerprint":"fp_scripted"}}"#,
        completion_id(planned),
        quoted(&planned.model),
    )
}

/// An error, as the body of an answer and as the data of an event. The kinds are those of the Messages API, said in the other API's words.
pub(crate) fn error(kind: &str, message: &str) -> String {
    let (kind, code) = match kind {
        "rate_limit_error" => ("requests", "\"rate_limit_exceeded\""),
        "authentication_error" => ("invalid_request_error", "\"invalid_api_key\""),
        "not_found_error" => ("invalid_request_error", "\"model_not_found\""),
        "billing_error" => ("insufficient_quota", "\"insufficient_quota\""),
        "request_too_large" | "invalid_request_error" if message.starts_with("prompt is too long") => {
            ("invalid_request_error", "\"context_length_exceeded\"")
        }
        "permission_error" | "request_too_large" | "invalid_request_error" => ("invalid_request_error", "null"),
        "overloaded_error" | "api_error" | "timeout_error" => ("server_error", "null"),
        other => (other, "null"),
    };
    format!(r#"{{"error":{{"message":{},"type":{},"param":null,"code":{code}}}}}"#, quoted(message), quoted(kind))
}

fn model(id: &str) -> String {
    format!(r#"{{"id":{},"object":"model","created":1767225600,"owned_by":"scripted"}}"#, quoted(id))
}

/// The list of models.
pub(crate) fn models(ids: &[String]) -> String {
    let data: Vec<String> = ids.iter().map(|id| model(id)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, data.join(","))
}

/// One model.
pub(crate) fn one_model(id: &str) -> String {
    model(id)
}

/// The headers that say where the key stands.
pub(crate) fn rate_headers(out: &mut Vec<u8>, seen: &RateSeen) {
    for (name, line) in [("requests", &seen.requests), ("tokens", &seen.input_tokens)] {
        if let Some(line) = line {
            header(out, &format!("x-ratelimit-limit-{name}"), &line.limit.to_string());
            header(out, &format!("x-ratelimit-remaining-{name}"), &line.remaining.to_string());
            header(out, &format!("x-ratelimit-reset-{name}"), &format!("{}ms", line.reset_ms));
        }
    }
}
