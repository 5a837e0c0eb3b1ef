//! The JSON Schema of the YAML form, for editors (`maos agent schema`).
use super::{CAPABILITY_BYTES_MAX, CAPABILITY_TOOLS, DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX, TOOLS, TURNS_MAX, TYPES};
use serde_json::{Value, json};

/// The schema.
pub fn schema() -> Value {
    let names = |description: &str, words: &[&str]| {
        json!({
            "description": description,
            "type": "array",
            "maxItems": LIST_ITEMS_MAX,
            "items": {"type": "string", "minLength": 1, "anyOf": [{"enum": words}, {"pattern": "^[A-Za-z0-9_. -]+$"}]},
        })
    };
    let capabilities: Vec<&str> = CAPABILITY_TOOLS.iter().map(|(name, _)| *name).collect();
    let mut with_limit = names("What it can do. Known words bring tools; others go into the prompt.", &capabilities);
    with_limit["items"]["maxLength"] = json!(CAPABILITY_BYTES_MAX);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Definition of a MAOS agent",
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "type"],
        "properties": {
            "name": {"description": "By which it is spawned and assigned.", "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"},
            "type": {"description": "The built-in type from which it takes what it does not say.", "enum": TYPES},
            "description": {"description": "What it is for; the planner reads it.", "type": "string", "minLength": 1, "maxLength": DESCRIPTION_BYTES_MAX},
            "capabilities": with_limit,
            "prompt": {"description": "The whole system prompt, instead of the one of its type.", "type": "string", "minLength": 1},
            "model": {"description": "haiku, sonnet, opus, inherit, or a model like claude/claude-opus-5-5.", "type": "string", "minLength": 1},
            "tools": names("Tools it may use, instead of those of its type. Also mcp__server__tool and tools of ~/.maos/tools.", &TOOLS),
            "mcp_servers": names("MCP servers of ~/.maos/mcp.json all of whose tools it may use.", &[]),
            "max_turns": {"description": "Most turns of a step.", "type": "integer", "minimum": 1, "maximum": TURNS_MAX},
            "parameters": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max_memory": {"description": "Most memory of its programs together.", "type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]{1,6})? ?([KMGTkmgt]i?)?[Bb]?$"},
                    "timeout": {"description": "Longest time of a step: seconds, or 90m, 2h.", "type": ["string", "integer"], "pattern": "^([0-9]+|([0-9]+[smhdw])+)$"},
                    "specialized_tools": names("Further tools it may use.", &TOOLS),
                },
            },
        },
    })
}
