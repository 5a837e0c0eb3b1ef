//! Puts a reply together from the chunks of a chat completion (or from one whole completion: it has the same shape).
//!
//! Invariant: only a stream that gave a finish reason becomes a reply.
use std::borrow::Cow;

use maos_engine::message::{Block, CallError, FailureClass, Reply, Request, StopReason, ToolSpec, Usage};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{constrain, error};
use crate::{
    estimate,
    http::Who,
    model::{Part, PartSink},
    tools::{make_ids_unique, tool_block},
    usage::Count,
};

/// Tool calls in one reply.
const CALLS_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<WireUsage>,
    error: Option<Value>,
}

/// A string that is borrowed from the event where it holds no escapes.
#[derive(Deserialize)]
struct Str<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    /// `message` in a completion that was not streamed.
    #[serde(borrow, alias = "message")]
    delta: Option<Delta<'a>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Str<'a>>,
    #[serde(borrow)]
    refusal: Option<Str<'a>>,
    /// llama.cpp, vLLM.
    #[serde(borrow)]
    reasoning_content: Option<Str<'a>>,
    /// Ollama and some gateways.
    #[serde(borrow)]
    reasoning: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    index: Option<u32>,
    id: Option<String>,
    #[serde(borrow)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    name: Option<String>,
    /// A string by the book; an object from some servers.
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    /// Servers that charge for writing to the cache say how much.
    cache_write_tokens: Count,
}

struct Call {
    index: Option<u32>,
    id: String,
    name: String,
    arguments: String,
}

/// A reply in the making.
pub(super) struct Assembler<'a> {
    who: &'a Who,
    parts: &'a dyn PartSink,
    wanted: bool,
    tools: &'a [ToolSpec],
    /// Read text that is exactly a tool call as one.
    constrain: bool,
    /// The text is a call in the making: not for display.
    forced: bool,
    id: String,
    model: String,
    text: String,
    thinking: String,
    refusal: String,
    calls: Vec<Call>,
    usage: WireUsage,
    finish: Option<String>,
    over: bool,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(who: &'a Who, parts: &'a dyn PartSink, request: &'a Request, constrain: bool) -> Self {
        Self {
            who,
            wanted: parts.wanted(),
            parts,
            tools: &request.tools,
            constrain,
            forced: constrain && constrain::is_forced(request),
            id: String::new(),
            model: String::new(),
            text: String::new(),
            thinking: String::new(),
            refusal: String::new(),
            calls: Vec::new(),
            usage: WireUsage::default(),
            finish: None,
            over: false,
        }
    }

    /// The stream has said that it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The finish reason has come.
    pub(super) fn has_stop(&self) -> bool {
        self.finish.is_some()
    }

    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &[u8]) -> Result<(), CallError> {
        let data = data.trim_ascii();
        if self.over || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.over = true;
            return Ok(());
        }
        let chunk: Chunk<'_> =
            serde_json::from_slice(data).map_err(|e| self.truncated(&format!("an event is not what it should be: {e}")))?;
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            return Err(error::of_event(self.who, &error));
        }
        if let Some(Str(id)) = chunk.id
            && self.id.is_empty()
        {
            self.id = id.into_owned();
        }
        if let Some(Str(model)) = chunk.model
            && self.model.is_empty()
        {
            self.model = model.into_owned();
        }
        // Some servers count along; the last figure is the total.
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
        for choice in chunk.choices.unwrap_or_default() {
            // We never ask for more than one.
            if choice.index != 0 {
                continue;
            }
            if let Some(delta) = choice.delta {
                self.delta(delta)?;
            }
            if choice.finish_reason.is_some() {
                self.finish = choice.finish_reason;
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta<'_>) -> Result<(), CallError> {
        if let Some(Str(text)) = delta.content.filter(|t| !t.0.is_empty()) {
            self.text.push_str(&text);
            if self.wanted && !self.forced {
                self.parts.part(Part::Text(text.into_owned()));
            }
        }
        if let Some(Str(text)) = delta.reasoning_content.or(delta.reasoning).filter(|t| !t.0.is_empty()) {
            self.thinking.push_str(&text);
            if self.wanted {
                self.parts.part(Part::Thinking(text.into_owned()));
            }
        }
        if let Some(Str(text)) = delta.refusal {
            self.refusal.push_str(&text);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.call(call)?;
        }
        Ok(())
    }

    fn call(&mut self, delta: CallDelta<'_>) -> Result<(), CallError> {
        let id = delta.id.unwrap_or_default();
        // Some servers send no index, or 0 for all: then a new id begins a new call.
        let place = self.calls.iter().rposition(|c| c.index == delta.index);
        let same = place.filter(|at| id.is_empty() || self.calls[*at].id.is_empty() || self.calls[*at].id == id);
        let at = match same {
            // Without index and id only a piece without a name continues a call.
            Some(at) if delta.index.is_some() || !id.is_empty() || delta.function.as_ref().is_none_or(|f| f.name.is_none()) => at,
            Some(_) | None => {
                if self.calls.len() >= CALLS_MAX {
                    return Err(self.truncated(&format!("more than {CALLS_MAX} tool calls")));
                }
                self.calls.push(Call { index: delta.index, id: String::new(), name: String::new(), arguments: String::new() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        let Some(function) = delta.function else {
            return Ok(());
        };
        if let Some(name) = function.name.filter(|n| !n.is_empty())
            && call.name.is_empty()
        {
            if self.wanted {
                self.parts.part(Part::ToolStart { name: name.clone() });
            }
            call.name = name;
        }
        if let Some(raw) = function.arguments {
            match raw.get() {
                "null" => {}
                text if text.starts_with('"') => {
                    // It is a JSON string, because it has just been read as JSON.
                    if let Ok(Str(piece)) = serde_json::from_str(text) {
                        call.arguments.push_str(&piece);
                    }
                }
                object => call.arguments.push_str(object),
            }
        }
        Ok(())
    }

    fn truncated(&self, text: &str) -> CallError {
        CallError { status: Some(200), possibly_billed: true, ..self.who.error(FailureClass::Truncated, text) }
    }

    /// The reply, if the stream was whole. `request_bytes` is for the estimate where usage is missing.
    pub(super) fn finish(self, request_bytes: usize, request_id: Option<String>) -> Result<Reply, CallError> {
        let Some(raw) = &self.finish else {
            return Err(self.truncated("the stream ended without a finish reason; the answer is not taken"));
        };
        let cut = raw == "length";
        let mut content = Vec::new();
        if !self.thinking.is_empty() {
            content.push(Block::Thinking { thinking: self.thinking, signature: String::new() });
        }
        let written = if self.constrain && self.calls.is_empty() && !cut { constrain::read(&self.text, self.tools) } else { None };
        match written {
            Some(call) => {
                if self.wanted && self.forced {
                    self.parts.part(Part::ToolStart { name: call.name.clone() });
                }
                content.push(Block::ToolUse { id: String::new(), name: call.name, input: Value::Object(call.arguments) });
            }
            None if !self.text.is_empty() => content.push(Block::Text { text: self.text }),
            None => {}
        }
        let refused = !self.refusal.is_empty();
        if refused {
            content.push(Block::Text { text: self.refusal });
        }
        let last = self.calls.len().saturating_sub(1);
        for (i, call) in self.calls.into_iter().enumerate() {
            content.push(tool_block(call.id, call.name, call.arguments, None, cut && i == last));
        }
        make_ids_unique(&mut content, "call");
        let calls = content.iter().any(|b| matches!(b, Block::ToolUse { .. } | Block::BadToolUse { .. }));
        let stop = stop_reason(raw, calls, refused);
        let usage = usage(self.usage, request_bytes, &content);
        let request_id = request_id.or_else(|| (!self.id.is_empty()).then_some(self.id));
        Ok(Reply { model: self.model, content, stop, usage, request_id })
    }
}

fn stop_reason(raw: &str, calls: bool, refused: bool) -> StopReason {
    match raw {
        _ if refused => StopReason::Refusal,
        // Several servers say `stop` beside tool calls.
        "stop" | "eos" | "end_turn" | "tool_calls" | "function_call" if calls => StopReason::ToolUse,
        "stop" | "eos" | "end_turn" => StopReason::EndTurn,
        "length" => StopReason::MaxTokens,
        "content_filter" => StopReason::Refusal,
        other => StopReason::Unknown { raw: other.chars().take(64).collect() },
    }
}

fn usage(wire: WireUsage, request_bytes: usize, content: &[Block]) -> Usage {
    let details = wire.prompt_tokens_details.unwrap_or_default();
    let cached = details.cached_tokens.known().unwrap_or(0);
    let written = details.cache_write_tokens.known().unwrap_or(0);
    let mut estimated = Count::Impossible == details.cached_tokens || Count::Impossible == details.cache_write_tokens;
    // `prompt_tokens` includes what came from the cache; our classes are disjoint.
    let input = wire.prompt_tokens.known().and_then(|all| all.checked_sub(cached)?.checked_sub(written));
    let output = wire.completion_tokens.not_zero_if(!content.is_empty()).known();
    estimated |= input.is_none() || output.is_none();
    let whole = input.is_some();
    Usage {
        input_tokens: input.unwrap_or_else(|| estimate::tokens(request_bytes)),
        output_tokens: output.unwrap_or_else(|| estimate::content_tokens(content)),
        cache_read_tokens: if whole { cached } else { 0 },
        cache_write_5m_tokens: if whole { written } else { 0 },
        cache_write_1h_tokens: 0,
        web_searches: 0,
        estimated,
    }
}

#[cfg(test)]
mod tests {
    use maos_engine::message::{Request, ToolChoice};

    use super::Assembler;
    use crate::{http::Who, model::NoParts, testing::mutations};

    const CHUNKS: [&str; 5] = [
        r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"a\""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    ];

    #[test]
    fn garbled_streams_end_in_an_answer_or_an_error_and_never_in_a_panic() {
        let who = Who { provider: "openai", host: "h".into(), key: None, key_name: "K".into() };
        let request = Request {
            model: "m".into(),
            system: String::new(),
            messages: vec![],
            tools: vec![].into(),
            provider_tools: vec![],
            tool_choice: ToolChoice::Auto,
            max_output_tokens: 1,
            temperature_milli: None,
            thinking_tokens: None,
        };
        let (mut good, mut bad) = (0, 0);
        for stream in mutations(&CHUNKS, 5_000) {
            let mut reply = Assembler::new(&who, &NoParts, &request, true);
            let read = stream.iter().try_for_each(|chunk| reply.event(chunk));
            match read.and_then(|()| reply.finish(100, None)) {
                Ok(_) => good += 1,
                Err(error) => {
                    bad += 1;
                    assert!(error.possibly_billed);
                }
            }
        }
        assert!(good > 100 && bad > 100, "{good} {bad}");
    }
}
