//! Tool calls as models write them: arguments that may be garbled, ids that may be missing or doubled.
//!
//! Invariant: what cannot be read exactly becomes [`Block::BadToolUse`] and is never guessed.
use std::collections::BTreeSet;

use maos_engine::message::Block;
use serde_json::{Map, Value};

/// Raw arguments kept for the error.
const RAW_BYTES_MAX: usize = 4 << 10;
/// Length of a tool's name.
const NAME_BYTES_MAX: usize = 256;

/// A tool call from its arguments as text (`json`), or as a value where the server sent one. `cut`: the output limit was
/// reached inside this block, so even readable arguments may be incomplete.
pub(crate) fn tool_block(id: String, name: String, json: String, input: Option<Value>, cut: bool) -> Block {
    let name = clipped(name, NAME_BYTES_MAX);
    if cut {
        return bad(id, name, json, "the output limit was reached inside the arguments".to_owned());
    }
    if name.is_empty() {
        return bad(id, name, json, "the call names no tool".to_owned());
    }
    let parsed = if json.trim().is_empty() {
        Ok(input.filter(|v| !v.is_null()).unwrap_or_else(|| Value::Object(Map::new())))
    } else {
        serde_json::from_str::<Value>(&json)
    };
    match parsed {
        Ok(input @ Value::Object(_)) => Block::ToolUse { id, name, input },
        Ok(other) => {
            let raw = if json.is_empty() { other.to_string() } else { json };
            bad(id, name, raw, "the arguments are not a JSON object".to_owned())
        }
        Err(e) => bad(id, name, json, format!("the arguments are not JSON: {e}")),
    }
}

fn bad(id: String, name: String, raw: String, error: String) -> Block {
    Block::BadToolUse { id, name, raw: clipped(raw, RAW_BYTES_MAX), error }
}

fn clipped(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut cut = max;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
    }
    text
}

/// Gives ids of ours to calls that have none, or one that was used before in the same reply.
pub(crate) fn make_ids_unique(content: &mut [Block], prefix: &str) {
    let mut seen = BTreeSet::new();
    for (i, block) in content.iter_mut().enumerate() {
        let (Block::ToolUse { id, .. } | Block::BadToolUse { id, .. }) = block else {
            continue;
        };
        if id.is_empty() || seen.contains(id.as_str()) {
            *id = fresh(prefix, i, &seen);
        }
        seen.insert(id.clone());
    }
}

/// Random, because it must be unique in the conversation, of which this reply is only a part.
fn fresh(prefix: &str, place: usize, seen: &BTreeSet<String>) -> String {
    loop {
        let id = format!("{prefix}_maos_{:012x}_{place}", rand::random::<u64>() >> 16);
        if !seen.contains(&id) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use maos_engine::message::Block;
    use serde_json::json;

    use super::{make_ids_unique, tool_block};

    fn read(json: &str) -> Block {
        tool_block("i".into(), "n".into(), json.into(), None, false)
    }

    #[test]
    fn arguments_are_read_exactly_or_not_at_all() {
        assert_eq!(read("{\"a\":1}"), Block::ToolUse { id: "i".into(), name: "n".into(), input: json!({"a": 1}) });
        assert_eq!(read(" "), Block::ToolUse { id: "i".into(), name: "n".into(), input: json!({}) });
        let deep = format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000));
        for garbled in ["{\"a\":", "[1]", "3", "null", "{\"a\":1} trailing", "{'a':1}", deep.as_str()] {
            assert!(matches!(read(garbled), Block::BadToolUse { .. }), "{garbled}");
        }
        let Block::BadToolUse { raw, .. } = read(&"é".repeat(9_000)) else { panic!("must be bad") };
        assert!(raw.len() <= 4_096);
        assert!(matches!(tool_block("i".into(), "n".into(), "{}".into(), None, true), Block::BadToolUse { .. }));
        assert!(matches!(tool_block("i".into(), String::new(), "{}".into(), None, false), Block::BadToolUse { .. }));
    }

    #[test]
    fn ids_become_unique() {
        let call = |id: &str| Block::ToolUse { id: id.into(), name: "n".into(), input: json!({}) };
        let mut content = vec![call("a"), call("a"), call(""), call(""), call("b")];
        make_ids_unique(&mut content, "call");
        let ids: std::collections::BTreeSet<_> = content
            .iter()
            .map(|b| match b {
                Block::ToolUse { id, .. } => id.clone(),
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(ids.len(), 5);
        assert!(ids.contains("a") && ids.contains("b") && !ids.contains(""));
    }
}
