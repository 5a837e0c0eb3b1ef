//! Writes a request as chat completions want it.
use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Value, json};

use super::constrain;
use crate::prices::Accepts;

/// How this server and model want it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) accepts: Accepts,
    /// `max_completion_tokens` instead of `max_tokens`.
    pub(super) completion_tokens: bool,
    /// Hold forced tool calls to a JSON Schema.
    pub(super) constrain: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<constrain::ResponseFormat<'a>>,
    messages: Messages<'a>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

struct Tools<'a>(&'a [ToolSpec]);

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(|t| Tool {
            r#type: "function",
            function: Function { name: &t.name, description: &t.description, parameters: &t.input_schema },
        }))
    }
}

struct Messages<'a> {
    system: &'a str,
    addendum: Option<&'a str>,
    messages: &'a [Message],
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: String,
}

fn plain(role: &'static str, content: String) -> WireMessage<'static> {
    WireMessage { role, tool_call_id: None, content: Some(content), tool_calls: Vec::new() }
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(None)?;
        let mut system = self.system.to_owned();
        if let Some(more) = self.addendum {
            if !system.is_empty() {
                system.push_str("\n\n");
            }
            system.push_str(more);
        }
        if !system.is_empty() {
            seq.serialize_element(&plain("system", system))?;
        }
        for message in self.messages {
            match message.role {
                Role::User => user(&mut seq, message)?,
                Role::Assistant => {
                    if let Some(wire) = assistant(message) {
                        seq.serialize_element(&wire)?;
                    }
                }
            }
        }
        seq.end()
    }
}

/// Each tool result is a message of its own here, and they must come before any further text.
fn user<S: SerializeSeq>(seq: &mut S, message: &Message) -> Result<(), S::Error> {
    let mut text = String::new();
    for block in &message.content {
        match block {
            Block::ToolResult { tool_use_id, content, is_error } => {
                let content = if *is_error { format!("Error: {content}") } else { content.clone() };
                seq.serialize_element(&WireMessage { tool_call_id: Some(tool_use_id), ..plain("tool", content) })?;
            }
            Block::Text { text: more } => join(&mut text, more),
            Block::Thinking { .. }
            | Block::RedactedThinking { .. }
            | Block::ToolUse { .. }
            | Block::BadToolUse { .. }
            | Block::Provider { .. } => {}
        }
    }
    if !text.is_empty() {
        seq.serialize_element(&plain("user", text))?;
    }
    Ok(())
}

fn assistant(message: &Message) -> Option<WireMessage<'_>> {
    let mut text = String::new();
    let mut tool_calls = Vec::new();
    for block in &message.content {
        match block {
            Block::Text { text: more } => join(&mut text, more),
            Block::ToolUse { id, name, input } => tool_calls.push(call(id, name, input.to_string())),
            // Servers parse the arguments again, so the model's garbled words are wrapped.
            Block::BadToolUse { id, name, raw, error: _ } => {
                tool_calls.push(call(id, name, json!({"arguments_that_were_not_json": raw}).to_string()));
            }
            // The wire has no place for it.
            Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::ToolResult { .. } | Block::Provider { .. } => {}
        }
    }
    if text.is_empty() && tool_calls.is_empty() {
        return None;
    }
    let content = (!text.is_empty()).then_some(text);
    Some(WireMessage { role: "assistant", tool_call_id: None, content, tool_calls })
}

fn call<'a>(id: &'a str, name: &'a str, arguments: String) -> WireCall<'a> {
    WireCall { id, r#type: "function", function: WireFunction { name, arguments } }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}

/// The body of a request.
pub(super) fn body(request: &Request, dialect: Dialect) -> Result<Vec<u8>, serde_json::Error> {
    let constrained = if dialect.constrain { constrain::forced(request)? } else { None };
    let instruction = constrained.as_ref().map(|c| c.instruction.clone());
    let tools_here = !request.tools.is_empty() && constrained.is_none();
    let max = Some(request.max_output_tokens);
    let body = Body {
        model: &request.model,
        max_tokens: max.filter(|_| !dialect.completion_tokens),
        max_completion_tokens: max.filter(|_| dialect.completion_tokens),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        temperature: request.temperature_milli.filter(|_| dialect.accepts.sampling).map(|m| f64::from(m) / 1_000.0),
        tools: tools_here.then_some(Tools(&request.tools)),
        tool_choice: if tools_here { choice(&request.tool_choice) } else { None },
        response_format: constrained.map(|c| c.response_format),
        messages: Messages { system: &request.system, addendum: instruction.as_deref(), messages: &request.messages },
    };
    let mut out = Vec::with_capacity(1_024 + 4 * crate::estimate::request_tokens(request) as usize);
    serde_json::to_writer(&mut out, &body)?;
    Ok(out)
}

fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        // The default where tools are offered.
        ToolChoice::Auto => None,
        ToolChoice::Any => Some(json!("required")),
        ToolChoice::Tool { name } => Some(json!({"type": "function", "function": {"name": name}})),
        ToolChoice::None => Some(json!("none")),
    }
}

#[cfg(test)]
mod tests {
    use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
    use serde_json::{Value, json};

    use super::{Dialect, body};
    use crate::prices::Accepts;

    const PLAIN: Dialect = Dialect {
        accepts: Accepts { forced_tools: true, sampling: true, thinking: crate::prices::ThinkingForm::Budget },
        completion_tokens: false,
        constrain: false,
    };

    fn request() -> Request {
        Request {
            model: "m".into(),
            system: "sys".into(),
            messages: vec![
                Message::user("hi"),
                Message {
                    role: Role::Assistant,
                    content: vec![
                        Block::Thinking { thinking: "hm".into(), signature: String::new() },
                        Block::ToolUse { id: "c1".into(), name: "a".into(), input: json!({"k": 1}) },
                        Block::BadToolUse { id: "c2".into(), name: "a".into(), raw: "{x".into(), error: "e".into() },
                    ],
                },
                Message {
                    role: Role::User,
                    content: vec![
                        Block::Text { text: "and now".into() },
                        Block::ToolResult { tool_use_id: "c1".into(), content: "ok".into(), is_error: false },
                        Block::ToolResult { tool_use_id: "c2".into(), content: "bad".into(), is_error: true },
                    ],
                },
            ],
            tools: vec![ToolSpec { name: "a".into(), description: "d".into(), input_schema: json!({"type": "object"}) }].into(),
            provider_tools: vec![],
            tool_choice: ToolChoice::Any,
            max_output_tokens: 100,
            temperature_milli: Some(500),
            thinking_tokens: Some(2_000),
        }
    }

    fn written(request: &Request, dialect: Dialect) -> Value {
        serde_json::from_slice(&body(request, dialect).unwrap()).unwrap()
    }

    #[test]
    fn the_whole_request() {
        let want = json!({
            "model": "m", "max_tokens": 100, "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5,
            "tools": [{"type": "function", "function": {"name": "a", "description": "d", "parameters": {"type": "object"}}}],
            "tool_choice": "required",
            "messages": [
                {"role": "system", "content": "sys"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "a", "arguments": "{\"k\":1}"}},
                    {"id": "c2", "type": "function",
                     "function": {"name": "a", "arguments": "{\"arguments_that_were_not_json\":\"{x\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "ok"},
                {"role": "tool", "tool_call_id": "c2", "content": "Error: bad"},
                {"role": "user", "content": "and now"},
            ],
        });
        assert_eq!(written(&request(), PLAIN), want);
    }

    #[test]
    fn openai_itself_wants_other_words() {
        let accepts = Accepts { sampling: false, ..PLAIN.accepts };
        let w = written(&request(), Dialect { completion_tokens: true, accepts, ..PLAIN });
        assert_eq!((&w["max_completion_tokens"], w.get("max_tokens"), w.get("temperature")), (&json!(100), None, None));
    }

    #[test]
    fn a_constrained_call_carries_a_schema_and_no_tools() {
        let w = written(&request(), Dialect { constrain: true, ..PLAIN });
        assert_eq!((w.get("tools"), w.get("tool_choice")), (None, None));
        let schema = &w["response_format"]["json_schema"]["schema"];
        assert_eq!(schema["properties"]["name"], json!({"const": "a"}));
        assert!(w["messages"][0]["content"].as_str().unwrap().starts_with("sys\n\n"));
        let mut free = request();
        free.tool_choice = ToolChoice::Auto;
        let w = written(&free, Dialect { constrain: true, ..PLAIN });
        assert!(w.get("tools").is_some() && w.get("response_format").is_none());
    }
}
