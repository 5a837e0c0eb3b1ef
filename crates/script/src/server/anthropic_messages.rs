//! The messages of a call of the Messages API: the blocks, and the rule that calls and results belong together.
use std::collections::HashSet;

use maos_engine::message::{Block, Message, Role};
use serde_json::Value;

use super::anthropic_in::{mark, text_of};
use super::check::Wrong;
use crate::cache::{Mark, Place};

/// Reads the list; cache marks are added to `marks`.
pub(crate) fn messages(value: Option<&Value>, marks: &mut Vec<Mark>) -> Result<Vec<Message>, Wrong> {
    let list = match value {
        None => return Err(Wrong::request("messages: Field required")),
        Some(Value::Array(list)) if list.is_empty() => {
            return Err(Wrong::request("messages: at least one message is required"));
        }
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Wrong::request("messages: Input should be a valid list")),
    };
    let mut messages = Vec::with_capacity(list.len());
    for (m, message) in list.iter().enumerate() {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("user" | "system") => Role::User,
            Some("assistant") => Role::Assistant,
            Some(_) => {
                return Err(Wrong::request(format!("messages.{m}.role: Input should be 'user' or 'assistant'")));
            }
            None => return Err(Wrong::request(format!("messages.{m}.role: Field required"))),
        };
        if m == 0 && role == Role::Assistant {
            return Err(Wrong::request("messages: first message must use the \"user\" role"));
        }
        let content = match message.get("content") {
            Some(Value::String(text)) => vec![Block::Text { text: text.clone() }],
            Some(Value::Array(blocks)) => {
                let mut content = Vec::with_capacity(blocks.len());
                for (b, value) in blocks.iter().enumerate() {
                    content.push(block(value, role, m, b)?);
                    mark(marks, value, Place::Block { message: m, block: b })?;
                }
                content
            }
            Some(_) => {
                return Err(Wrong::request(format!("messages.{m}.content: Input should be a valid list")));
            }
            None => {
                return Err(Wrong::request(format!("messages.{m}.content: Field required")));
            }
        };
        let last = m + 1 == list.len();
        let no_text = matches!(content.as_slice(), [Block::Text { text }] if text.is_empty());
        if (content.is_empty() || no_text) && !(last && role == Role::Assistant) {
            return Err(Wrong::request(format!(
                "messages.{m}: all messages must have non-empty content except for the optional final assistant message"
            )));
        }
        if content.iter().any(|block| matches!(block, Block::Text { text } if text.is_empty())) && !no_text {
            return Err(Wrong::request("messages: text content blocks must be non-empty"));
        }
        messages.push(Message { role, content });
    }
    Ok(messages)
}

fn block(value: &Value, role: Role, m: usize, b: usize) -> Result<Block, Wrong> {
    let path = || format!("messages.{m}.content.{b}");
    let kind = text_of(value, "type", &path)?;
    let inner = || format!("messages.{m}.content.{b}.{kind}");
    let text = |field: &str| text_of(value, field, &inner).map(str::to_owned);
    match (kind, role) {
        ("text", _) => Ok(Block::Text { text: text("text")? }),
        ("image" | "document" | "search_result", Role::User) => Ok(Block::Text { text: format!("[{kind}]") }),
        ("thinking", Role::Assistant) => Ok(Block::Thinking { thinking: text("thinking")?, signature: text("signature")? }),
        ("redacted_thinking", Role::Assistant) => Ok(Block::RedactedThinking { data: text("data")? }),
        ("server_tool_use" | "web_search_tool_result", Role::Assistant) => {
            let field = if kind == "server_tool_use" { "id" } else { "tool_use_id" };
            let id = text_of(value, field, &inner)?;
            if !id.starts_with("srvtoolu_") {
                return Err(Wrong::request(format!("{}.{field}: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'", inner())));
            }
            Ok(Block::Provider { block: value.clone() })
        }
        ("tool_use", Role::Assistant) => {
            let (id, name) = (text("id")?, text("name")?);
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
                return Err(Wrong::request(format!("{}.id: String should match pattern '^[a-zA-Z0-9_-]+$'", inner())));
            }
            match value.get("input") {
                Some(input @ Value::Object(_)) => Ok(Block::ToolUse { id, name, input: input.clone() }),
                Some(_) => Err(Wrong::request(format!("{}.input: Input should be a valid dictionary", inner()))),
                None => Err(Wrong::request(format!("{}.input: Field required", inner()))),
            }
        }
        ("tool_result", Role::User) => {
            let content = match value.get("content") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(Value::Array(parts)) => {
                    let mut out = String::new();
                    for part in parts {
                        out.push_str(part.get("text").and_then(Value::as_str).unwrap_or("[image]"));
                    }
                    out
                }
                Some(_) => {
                    return Err(Wrong::request(format!("{}.content: Input should be a valid list", inner())));
                }
            };
            let is_error = value.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            Ok(Block::ToolResult { tool_use_id: text("tool_use_id")?, content, is_error })
        }
        ("tool_use" | "thinking" | "redacted_thinking" | "server_tool_use" | "web_search_tool_result", Role::User) => {
            Err(Wrong::request(format!("messages.{m}: `{kind}` blocks can only be in `assistant` messages")))
        }
        ("tool_result", Role::Assistant) => {
            Err(Wrong::request(format!("messages.{m}: `tool_result` blocks can only be in `user` messages")))
        }
        (other, _) => Err(Wrong::request(format!(
            "{}: Input tag '{other}' found using 'type' does not match any of the expected tags: 'document', 'image', 'redacted_thinking', 'text', 'thinking', 'tool_result', 'tool_use'",
            path()
        ))),
    }
}

/// Every `tool_use` is answered in the next message, once; no result without a call. Consecutive messages of one role count as one.
pub(crate) fn check_tool_pairs(messages: &[Message]) -> Result<(), Wrong> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut open: Vec<&str> = Vec::new();
    let mut open_at = 0;
    let mut answered: HashSet<&str> = HashSet::new();
    for (m, message) in messages.iter().enumerate() {
        if message.role == Role::Assistant || m == 0 {
            unanswered(&open, &answered, open_at)?;
        }
        if message.role == Role::Assistant && (m == 0 || messages[m - 1].role == Role::User) {
            open.clear();
            answered.clear();
        }
        for (b, block) in message.content.iter().enumerate() {
            match block {
                Block::ToolUse { id, .. } | Block::BadToolUse { id, .. } => {
                    if !seen.insert(id) {
                        return Err(Wrong::request("messages: `tool_use` ids must be unique"));
                    }
                    open.push(id);
                    open_at = m;
                }
                Block::ToolResult { tool_use_id, .. } => {
                    if !open.contains(&tool_use_id.as_str()) {
                        return Err(Wrong::request(format!(
                            "messages.{m}.content.{b}: unexpected `tool_use_id` found in `tool_result` blocks: {tool_use_id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                        )));
                    }
                    if !answered.insert(tool_use_id) {
                        return Err(Wrong::request(format!(
                            "messages.{m}.content.{b}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {tool_use_id}"
                        )));
                    }
                }
                Block::Text { .. } if message.role == Role::User => unanswered(&open, &answered, open_at)?,
                Block::Text { .. } | Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::Provider { .. } => {}
            }
        }
    }
    unanswered(&open, &answered, open_at)
}

/// Every search of the provider has its result in the same turn, or the conversation ends before it (the provider paused); no result without a
/// search.
pub(crate) fn check_server_pairs(messages: &[Message]) -> Result<(), Wrong> {
    let mut open: Vec<&str> = Vec::new();
    for (m, message) in messages.iter().enumerate() {
        if message.role == Role::User
            && let Some(id) = open.first()
        {
            return Err(Wrong::request(format!(
                "messages.{}: `web_search` tool use with id `{id}` was found without a corresponding `web_search_tool_result` block",
                m.saturating_sub(1)
            )));
        }
        for (b, block) in message.content.iter().enumerate() {
            let Block::Provider { block } = block else { continue };
            if let Some(id) = block["id"].as_str() {
                open.push(id);
                continue;
            }
            let id = block["tool_use_id"].as_str().unwrap_or("");
            let Some(at) = open.iter().position(|o| *o == id) else {
                return Err(Wrong::request(format!(
                    "messages.{m}.content.{b}: unexpected `tool_use_id` found in `web_search_tool_result` blocks: {id}. Each `web_search_tool_result` block must have a corresponding `server_tool_use` block before it."
                )));
            };
            open.remove(at);
        }
    }
    Ok(())
}

fn unanswered(open: &[&str], answered: &HashSet<&str>, at: usize) -> Result<(), Wrong> {
    let missing: Vec<&str> = open.iter().filter(|id| !answered.contains(*id)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Wrong::request(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        missing.join(", ")
    )))
}
