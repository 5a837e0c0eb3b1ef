//! Rough token counts where nobody gave exact ones: four bytes a token, rounded up. Marked `estimated` wherever they are used.
use maos_engine::message::{Block, Request};

use crate::gate::BYTES_PER_TOKEN;

/// Overhead of a message or tool in tokens: role, separators.
const OVERHEAD_TOKENS: u64 = 4;

/// Tokens of a text of so many bytes.
pub(crate) fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// Input tokens of a request.
pub(crate) fn request_tokens(request: &Request) -> u64 {
    let mut bytes = request.system.len();
    let mut parts = 1;
    for message in &request.messages {
        parts += 1;
        bytes += message.content.iter().map(block_bytes).sum::<usize>();
    }
    for tool in request.tools.iter() {
        parts += 1;
        bytes += tool.name.len() + tool.description.len() + json_bytes(&tool.input_schema);
    }
    bytes += request.provider_tools.iter().map(json_bytes).sum::<usize>();
    tokens(bytes) + parts * OVERHEAD_TOKENS
}

/// Output tokens of an answer.
pub(crate) fn content_tokens(content: &[Block]) -> u64 {
    tokens(content.iter().map(block_bytes).sum())
}

fn block_bytes(block: &Block) -> usize {
    match block {
        Block::Text { text } => text.len(),
        Block::Thinking { thinking, .. } => thinking.len(),
        Block::RedactedThinking { data } => data.len(),
        Block::ToolUse { name, input, .. } => name.len() + json_bytes(input),
        Block::BadToolUse { name, raw, .. } => name.len() + raw.len(),
        Block::ToolResult { content, .. } => content.len(),
        Block::Provider { block } => json_bytes(block),
    }
}

/// Bytes of a value written as JSON, without writing it.
fn json_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 6,
        Value::String(s) => s.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|v| json_bytes(v) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + json_bytes(v)).sum::<usize>(),
    }
}
