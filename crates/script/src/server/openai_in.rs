//! A call of chat completions, read and checked as the real one does.
use std::collections::HashSet;

use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
use serde_json::{Map, Value};

use super::check::{Asked, Wrong};
use crate::cache::{Mark, Place};

/// Reads a request.
pub(crate) fn read(body: &Value) -> Result<Asked, Wrong> {
    let Value::Object(map) = body else {
        return Err(Wrong::request("We could not parse the JSON body of your request."));
    };
    let Some(model) = map.get("model").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Err(Wrong::request("you must provide a model parameter"));
    };
    if map.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return Err(Wrong::request("Invalid value for 'n': this server gives one choice."));
    }
    let (system, messages) = messages(map.get("messages"))?;
    let tools = tools(map.get("tools"))?;
    let tool_choice = tool_choice(map.get("tool_choice"), &tools)?;
    let max_output_tokens = output_limit(map)?;
    let json_schema = json_schema(map.get("response_format"))?;
    // Caching is automatic here: the longest prefix seen before.
    let mut marks = vec![Mark { place: Place::System { bytes: usize::MAX }, one_hour: false }];
    if let Some(last) = messages.last() {
        marks.push(Mark {
            place: Place::Block { message: messages.len() - 1, block: last.content.len().saturating_sub(1) },
            one_hour: false,
        });
    }
    let options = map.get("stream_options");
    let temperature = map.get("temperature").and_then(Value::as_f64).filter(|t| (0.0..=2.0).contains(t));
    Ok(Asked {
        request: Request {
            model: model.to_owned(),
            system,
            messages,
            tools: tools.into(),
            provider_tools: vec![],
            tool_choice,
            max_output_tokens,
            // Checked to lie in 0..=2 above.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            temperature_milli: temperature.map(|t| (t * 1_000.0).round() as u32),
            thinking_tokens: None,
        },
        stream: map.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: options.and_then(|options| options.get("include_usage")).and_then(Value::as_bool).unwrap_or(false),
        json_schema,
        marks,
    })
}

fn output_limit(map: &Map<String, Value>) -> Result<u32, Wrong> {
    let newer = map.get("max_completion_tokens").filter(|value| !value.is_null());
    let limit = newer.or_else(|| map.get("max_tokens")).filter(|value| !value.is_null());
    let Some(limit) = limit else {
        return Ok(u32::MAX);
    };
    match limit.as_u64() {
        Some(n) if n >= 1 => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Some(_) | None => Err(Wrong::request("Invalid 'max_tokens': integer below minimum value. Expected a value >= 1.")),
    }
}

/// The name of the schema the answer must follow; empty for JSON of any shape.
fn json_schema(format: Option<&Value>) -> Result<Option<String>, Wrong> {
    let Some(format) = format.filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    match format.get("type").and_then(Value::as_str).unwrap_or("") {
        "text" => Ok(None),
        "json_object" => Ok(Some(String::new())),
        "json_schema" => {
            let name = format.get("json_schema").and_then(|schema| schema.get("name"));
            match name.and_then(Value::as_str) {
                Some(name) => Ok(Some(name.to_owned())),
                None => Err(Wrong::request("Missing required parameter: 'response_format.json_schema.name'.")),
            }
        }
        other => Err(Wrong::request(format!("Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'."))),
    }
}

fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let mut out = String::new();
            for part in parts {
                let refusal = || part.get("refusal").and_then(Value::as_str);
                out.push_str(part.get("text").and_then(Value::as_str).or_else(refusal).unwrap_or("[image]"));
            }
            out
        }
        _ => String::new(),
    }
}

fn messages(value: Option<&Value>) -> Result<(String, Vec<Message>), Wrong> {
    let list = match value {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(Value::Array(_)) => {
            return Err(Wrong::request(
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            ));
        }
        Some(_) => {
            return Err(Wrong::request("Invalid type for 'messages': expected an array of objects."));
        }
        None => return Err(Wrong::request("Missing required parameter: 'messages'.")),
    };
    let mut system = String::new();
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    let mut open: HashSet<String> = HashSet::new();
    for (m, message) in list.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or("");
        if role != "tool" && !open.is_empty() {
            return Err(unanswered(&open));
        }
        let text = text_of(message.get("content"));
        match role {
            "system" | "developer" => {
                if !system.is_empty() {
                    system.push('\n');
                }
                system.push_str(&text);
            }
            "user" => messages.push(Message { role: Role::User, content: vec![Block::Text { text }] }),
            "assistant" => messages.push(Message { role: Role::Assistant, content: assistant(message, text, m, &mut open)? }),
            "tool" => {
                let id = message.get("tool_call_id").and_then(Value::as_str).unwrap_or("");
                if !open.remove(id) {
                    return Err(Wrong::request(
                        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    ));
                }
                let result = Block::ToolResult { tool_use_id: id.to_owned(), content: text, is_error: false };
                match messages.last_mut() {
                    Some(last) if last.role == Role::User => last.content.push(result),
                    Some(_) | None => messages.push(Message { role: Role::User, content: vec![result] }),
                }
            }
            other => {
                return Err(Wrong::request(format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                )));
            }
        }
    }
    if open.is_empty() { Ok((system, messages)) } else { Err(unanswered(&open)) }
}

fn unanswered(open: &HashSet<String>) -> Wrong {
    let mut ids: Vec<&str> = open.iter().map(String::as_str).collect();
    ids.sort_unstable();
    Wrong::request(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    ))
}

fn assistant(message: &Value, text: String, m: usize, open: &mut HashSet<String>) -> Result<Vec<Block>, Wrong> {
    let mut content = Vec::new();
    if !text.is_empty() {
        content.push(Block::Text { text });
    }
    for (c, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let field = |value: Option<&Value>, name: &str| {
            let missing = || Wrong::request(format!("Missing required parameter: 'messages[{m}].tool_calls[{c}].{name}'."));
            value.and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
        };
        let function = call.get("function");
        let id = field(call.get("id"), "id")?;
        let name = field(function.and_then(|f| f.get("name")), "function.name")?;
        let raw = field(function.and_then(|f| f.get("arguments")), "function.arguments")?;
        open.insert(id.clone());
        content.push(match serde_json::from_str(&raw) {
            Ok(input) => Block::ToolUse { id, name, input },
            Err(error) => Block::BadToolUse { id, name, error: error.to_string(), raw },
        });
    }
    Ok(content)
}

fn tools(value: Option<&Value>) -> Result<Vec<ToolSpec>, Wrong> {
    let mut tools = Vec::new();
    for (i, tool) in value.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let function = tool.get("function");
        let Some(name) = function.and_then(|f| f.get("name")).and_then(Value::as_str) else {
            return Err(Wrong::request(format!("Missing required parameter: 'tools[{i}].function.name'.")));
        };
        let good = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !good {
            return Err(Wrong::request(format!(
                "Invalid 'tools[{i}].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            )));
        }
        let text = |field: &str| function.and_then(|f| f.get(field)).and_then(Value::as_str).unwrap_or("").to_owned();
        let input_schema = function.and_then(|f| f.get("parameters")).cloned().unwrap_or_else(|| serde_json::json!({"type": "object"}));
        tools.push(ToolSpec { name: name.to_owned(), description: text("description"), input_schema });
    }
    Ok(tools)
}

fn tool_choice(value: Option<&Value>, tools: &[ToolSpec]) -> Result<ToolChoice, Wrong> {
    let Some(choice) = value.filter(|value| !value.is_null()) else {
        return Ok(ToolChoice::Auto);
    };
    if tools.is_empty() {
        return Err(Wrong::request("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."));
    }
    let named = choice.get("function").and_then(|f| f.get("name")).and_then(Value::as_str);
    match (choice.as_str(), named) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Any),
        (None, Some(name)) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Tool { name: name.to_owned() }),
        (None, Some(name)) => Err(Wrong::request(format!("Invalid value for 'tool_choice': tool '{name}' is not in 'tools'."))),
        (Some(_) | None, _) => Err(Wrong::request("Invalid value for 'tool_choice'.")),
    }
}
