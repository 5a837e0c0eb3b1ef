//! Counting tokens: deterministic, four bytes to a token. Invariant: the same request always counts the same, on every machine.
use maos_engine::message::{Block, Request};
use serde_json::Value;

/// Bytes that count as one token.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// Tokens of a text of so many bytes, rounded up.
pub fn tokens_of_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Input tokens of a whole request: system prompt, tools and messages. Used for `count_tokens` and for usage.
pub fn input_tokens(request: &Request) -> u64 {
    let mut bytes = request.system.len() as u64;
    for tool in request.tools.iter() {
        bytes += (tool.name.len() + tool.description.len()) as u64 + value_bytes(&tool.input_schema);
    }
    bytes += request.provider_tools.iter().map(value_bytes).sum::<u64>();
    for block in request.messages.iter().flat_map(|message| &message.content) {
        bytes += block_bytes(block);
    }
    tokens_of_bytes(bytes)
}

/// Bytes of a block that a model would read.
pub(crate) fn block_bytes(block: &Block) -> u64 {
    match block {
        Block::Text { text } => text.len() as u64,
        Block::Thinking { thinking, .. } => thinking.len() as u64,
        Block::RedactedThinking { data } => data.len() as u64,
        Block::ToolUse { name, input, .. } => name.len() as u64 + value_bytes(input),
        Block::BadToolUse { name, raw, .. } => (name.len() + raw.len()) as u64,
        Block::ToolResult { content, .. } => content.len() as u64,
        Block::Provider { block } => value_bytes(block),
    }
}

/// Bytes of a JSON value as compact text (escapes not counted: this is an estimate by design, but a stable one).
pub(crate) fn value_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) => number.to_string().len() as u64,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|item| value_bytes(item) + 1).sum::<u64>() + 1,
        Value::Object(map) => map.iter().map(|(key, item)| key.len() as u64 + 4 + value_bytes(item)).sum::<u64>() + 1,
    }
}
