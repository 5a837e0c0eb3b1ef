//! A call of the Messages API, read and checked as the real one does: what it would refuse is refused here, with its words.
use std::collections::HashSet;

use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
use serde_json::{Map, Value};

use super::anthropic_messages::{check_server_pairs, check_tool_pairs, messages};
use super::check::{Asked, Wrong};
use crate::cache::{Mark, Place};

/// Cache marks a request may have.
const CACHE_MARKS_MAX: usize = 4;
/// Tools a request may have.
const TOOLS_MAX: usize = 10_000;
/// Least thinking budget, in tokens.
const THINKING_TOKENS_MIN: u64 = 1_024;

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "service_tier",
    "thinking",
    "container",
    "mcp_servers",
    "context_management",
    "output_config",
    "output_format",
    "cache_control",
    "inference_geo",
    "speed",
    "diagnostics",
    "user_profile_id",
    "workspace_id",
    "thread",
];

/// Reads a request. `counting`: for `count_tokens`, where no output limit is needed.
pub(crate) fn read(body: &Value, counting: bool) -> Result<Asked, Wrong> {
    let Value::Object(map) = body else {
        return Err(Wrong::request("Input should be an object"));
    };
    if let Some(extra) = map.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Wrong::request(format!("{extra}: Extra inputs are not permitted")));
    }
    if map.get("thread").is_some_and(|thread| !thread.is_null()) {
        // The way to say so that the SDKs understand: they go on with the full history.
        let message = "thread: this server holds no conversations";
        let details = r#"{"error_code":"thread_unsupported_request","unsupported":["thread"]}"#;
        return Err(Wrong { details: Some(details), ..Wrong::request(message) });
    }
    let model = model(map.get("model"))?;
    let max_tokens = match map.get("max_tokens") {
        None if counting => u64::from(u32::MAX),
        value => max_tokens(value)?,
    };
    let mut marks = Vec::new();
    let system = system(map.get("system"), &mut marks)?;
    let (tools, provider_tools) = tools(map.get("tools"), &mut marks)?;
    let tool_choice = tool_choice(map.get("tool_choice"), &tools, &provider_tools)?;
    let messages = messages(map.get("messages"), &mut marks)?;
    check_tool_pairs(&messages)?;
    check_server_pairs(&messages)?;
    if let Some(mark) = one_hour(map.get("cache_control"))?
        && let Some((last, message)) = messages.iter().enumerate().next_back()
    {
        marks.push(Mark { place: Place::Block { message: last, block: message.content.len().saturating_sub(1) }, one_hour: mark });
    }
    if marks.len() > CACHE_MARKS_MAX {
        return Err(Wrong::request(format!(
            "A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. Found {}.",
            marks.len()
        )));
    }
    let temperature = match map.get("temperature") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_f64().filter(|t| (0.0..=1.0).contains(t)).ok_or_else(|| Wrong::request("temperature: range: 0..1"))?),
    };
    let thinking_tokens = thinking(map.get("thinking"), max_tokens, &tool_choice, temperature, &messages)?;
    Ok(Asked {
        request: Request {
            model,
            system,
            messages,
            tools: tools.into(),
            provider_tools,
            tool_choice,
            max_output_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            // Checked to lie in 0..=1 above.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            temperature_milli: temperature.map(|t| (t * 1_000.0).round() as u32),
            thinking_tokens,
        },
        stream: map.get("stream").and_then(Value::as_bool).unwrap_or(false),
        include_usage: true,
        json_schema: json_schema(map),
        marks,
    })
}

fn model(value: Option<&Value>) -> Result<String, Wrong> {
    match value {
        None => Err(Wrong::request("model: Field required")),
        Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
        Some(Value::String(_)) => Err(Wrong::request("model: String should have at least 1 character")),
        Some(_) => Err(Wrong::request("model: Input should be a valid string")),
    }
}

fn max_tokens(value: Option<&Value>) -> Result<u64, Wrong> {
    let Some(value) = value else {
        return Err(Wrong::request("max_tokens: Field required"));
    };
    match value.as_u64() {
        Some(n) if n >= 1 => Ok(n),
        _ if value.is_i64() || value.is_u64() => Err(Wrong::request("max_tokens: Input should be greater than or equal to 1")),
        _ => Err(Wrong::request("max_tokens: Input should be a valid integer")),
    }
}

/// The title of the schema the answer must follow; empty if it has none.
fn json_schema(map: &Map<String, Value>) -> Option<String> {
    let format = map.get("output_config").and_then(|config| config.get("format"));
    let format = format.or_else(|| map.get("output_format")).filter(|format| !format.is_null())?;
    let title = format.get("schema").and_then(|schema| schema.get("title"));
    Some(title.and_then(Value::as_str).unwrap_or("").to_owned())
}

/// `cache_control`: none, or whether it is for an hour.
fn one_hour(value: Option<&Value>) -> Result<Option<bool>, Wrong> {
    let Some(control) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    if control.get("type").and_then(Value::as_str) != Some("ephemeral") {
        return Err(Wrong::request("cache_control.type: Input should be 'ephemeral'"));
    }
    match control.get("ttl").and_then(Value::as_str) {
        None | Some("5m") => Ok(Some(false)),
        Some("1h") => Ok(Some(true)),
        Some(_) => Err(Wrong::request("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")),
    }
}

/// Adds the mark of a holder of `cache_control`.
pub(crate) fn mark(marks: &mut Vec<Mark>, holder: &Value, place: Place) -> Result<(), Wrong> {
    if let Some(one_hour) = one_hour(holder.get("cache_control"))? {
        marks.push(Mark { place, one_hour });
    }
    Ok(())
}

/// A text field, or the provider's words for its absence.
pub(crate) fn text_of<'v>(value: &'v Value, field: &str, path: &dyn Fn() -> String) -> Result<&'v str, Wrong> {
    match value.get(field) {
        Some(Value::String(text)) => Ok(text),
        None => Err(Wrong::request(format!("{}.{field}: Field required", path()))),
        Some(_) => Err(Wrong::request(format!("{}.{field}: Input should be a valid string", path()))),
    }
}

fn system(value: Option<&Value>, marks: &mut Vec<Mark>) -> Result<String, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(blocks)) => {
            let mut out = String::new();
            for (i, block) in blocks.iter().enumerate() {
                out.push_str(text_of(block, "text", &|| format!("system.{i}"))?);
                mark(marks, block, Place::System { bytes: out.len() })?;
            }
            Ok(out)
        }
        Some(_) => Err(Wrong::request("system: Input should be a valid string or a list of text blocks")),
    }
}

/// A tool's name: `[a-zA-Z0-9_-]{1,128}`.
fn name_is_good(name: &str, most: usize) -> bool {
    (1..=most).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Tools of the caller, and those that the provider runs itself.
fn tools(value: Option<&Value>, marks: &mut Vec<Mark>) -> Result<(Vec<ToolSpec>, Vec<Value>), Wrong> {
    let list = match value {
        None | Some(Value::Null) => return Ok((Vec::new(), Vec::new())),
        Some(Value::Array(list)) if list.len() <= TOOLS_MAX => list,
        Some(_) => return Err(Wrong::request("tools: Input should be a valid list")),
    };
    let mut names = HashSet::new();
    let (mut tools, mut own) = (Vec::with_capacity(list.len()), Vec::new());
    for (i, tool) in list.iter().enumerate() {
        let path = || format!("tools.{i}.custom");
        let name = text_of(tool, "name", &path)?;
        if !name_is_good(name, 128) {
            return Err(Wrong::request(format!("tools.{i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")));
        }
        if !names.insert(name) {
            return Err(Wrong::request("tools: Tool names must be unique."));
        }
        mark(marks, tool, Place::Tools { count: i + 1 })?;
        if tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("web_search_")) {
            own.push(tool.clone());
            continue;
        }
        let server_tool = tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind != "custom");
        let input_schema = match tool.get("input_schema") {
            Some(schema) if schema.get("type").and_then(Value::as_str) == Some("object") => schema.clone(),
            Some(_) => {
                return Err(Wrong::request(format!("tools.{i}.custom.input_schema.type: Input should be 'object'")));
            }
            None if server_tool => serde_json::json!({"type": "object"}),
            None => {
                return Err(Wrong::request(format!("tools.{i}.custom.input_schema: Field required")));
            }
        };
        let description = tool.get("description").and_then(Value::as_str).unwrap_or("").to_owned();
        tools.push(ToolSpec { name: name.to_owned(), description, input_schema });
    }
    Ok((tools, own))
}

fn tool_choice(value: Option<&Value>, tools: &[ToolSpec], own: &[Value]) -> Result<ToolChoice, Wrong> {
    let Some(choice) = value.filter(|value| !value.is_null()) else {
        return Ok(ToolChoice::Auto);
    };
    if tools.is_empty() && own.is_empty() {
        return Err(Wrong::request("tool_choice: tool_choice may only be specified while providing tools."));
    }
    match choice.get("type").and_then(Value::as_str) {
        Some("auto") => Ok(ToolChoice::Auto),
        Some("any") => Ok(ToolChoice::Any),
        Some("none") => Ok(ToolChoice::None),
        Some("tool") => {
            let name = text_of(choice, "name", &|| "tool_choice.tool".to_owned())?;
            if tools.iter().any(|tool| tool.name == name) {
                Ok(ToolChoice::Tool { name: name.to_owned() })
            } else {
                Err(Wrong::request(format!("tool_choice.name: Tool '{name}' not found in provided tools")))
            }
        }
        _ => Err(Wrong::request(
            "tool_choice: Input tag found using 'type' does not match any of the expected tags: 'any', 'auto', 'none', 'tool'",
        )),
    }
}

fn thinking(
    value: Option<&Value>,
    max_tokens: u64,
    choice: &ToolChoice,
    temperature: Option<f64>,
    messages: &[Message],
) -> Result<Option<u32>, Wrong> {
    let Some(config) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let budget = match config.get("type").and_then(Value::as_str) {
        Some("disabled") => return Ok(None),
        Some("enabled") => {
            let budget = config.get("budget_tokens").and_then(Value::as_u64);
            let budget = budget.ok_or_else(|| Wrong::request("thinking.enabled.budget_tokens: Field required"))?;
            if budget < THINKING_TOKENS_MIN {
                return Err(Wrong::request("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"));
            }
            if budget >= max_tokens {
                return Err(Wrong::request("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
            budget
        }
        Some("adaptive" | "between_tools") => max_tokens,
        _ => {
            return Err(Wrong::request(
                "thinking: Input tag found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'",
            ));
        }
    };
    if matches!(choice, ToolChoice::Any | ToolChoice::Tool { .. }) {
        return Err(Wrong::request("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if temperature.is_some_and(|t| t < 1.0) {
        return Err(Wrong::request("`temperature` may only be set to 1 when thinking is enabled."));
    }
    // The thinking of a tool turn must come back with it.
    let waiting = messages.iter().rev().nth(1).zip(messages.last());
    if let Some((turn, last)) = waiting
        && turn.role == Role::Assistant
        && last.content.iter().any(|block| matches!(block, Block::ToolResult { .. }))
        && !matches!(turn.content.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }))
    {
        let at = messages.len() - 2;
        return Err(Wrong::request(format!(
            "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        )));
    }
    Ok(Some(u32::try_from(budget).unwrap_or(u32::MAX)))
}
