//! Forced tool calls for servers and models that do not obey `tool_choice`: the model is held by a JSON Schema to write one bare
//! object `{"name":…,"arguments":{…}}`, and what it writes is read back as a tool call.
//!
//! Invariant: only a text that is exactly such an object, naming a tool that was offered, becomes a call.
use maos_engine::message::{Request, ToolChoice, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a constrained request carries instead of tools.
pub(super) struct Constrained {
    pub(super) response_format: Value,
    pub(super) instruction: String,
}

/// A call read from text.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
}

/// Which tools the model must choose from, if it must.
fn offered(request: &Request) -> Option<Vec<&ToolSpec>> {
    let tools: Vec<&ToolSpec> = match &request.tool_choice {
        ToolChoice::Any => request.tools.iter().collect(),
        ToolChoice::Tool { name } => request.tools.iter().filter(|t| t.name == *name).collect(),
        ToolChoice::Auto | ToolChoice::None => Vec::new(),
    };
    (!tools.is_empty()).then_some(tools)
}

/// The schema and the instruction, if a tool is forced.
pub(super) fn forced(request: &Request) -> Option<Constrained> {
    let tools = offered(request)?;
    let one = |t: &&ToolSpec| {
        json!({
            "type": "object",
            "properties": {"name": {"const": t.name}, "arguments": t.input_schema},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let schema = match tools.as_slice() {
        [only] => one(only),
        several => json!({"anyOf": several.iter().map(one).collect::<Vec<_>>()}),
    };
    let mut instruction = String::from(
        "Answer with one JSON object {\"name\": …, \"arguments\": {…}} that calls one of these tools, and with nothing else.\n",
    );
    for tool in &tools {
        instruction.push_str(&format!("- {}: {} Arguments: {}\n", tool.name, tool.description.trim(), tool.input_schema));
    }
    let response_format = json!({"type": "json_schema", "json_schema": {"name": "tool_call", "strict": true, "schema": schema}});
    Some(Constrained { response_format, instruction })
}

/// Whether the model's text is to be read as a call and not shown as it comes.
pub(super) fn is_forced(request: &Request) -> bool {
    offered(request).is_some()
}

/// Reads a text as a call, if it is exactly one. Small models wrap it in fences or tags all the same; those are taken off.
pub(super) fn read(text: &str, tools: &[ToolSpec]) -> Option<Call> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire {
        name: String,
        arguments: Map<String, Value>,
    }
    let mut text = text.trim();
    for (open, close) in [("<tool_call>", "</tool_call>"), ("```json", "```"), ("```", "```")] {
        if let Some(inner) = text.strip_prefix(open) {
            text = inner.strip_suffix(close).unwrap_or(inner).trim();
        }
    }
    let wire: Wire = serde_json::from_str(text).ok()?;
    tools.iter().any(|t| t.name == wire.name).then_some(Call { name: wire.name, arguments: wire.arguments })
}

#[cfg(test)]
mod tests {
    use maos_engine::message::ToolSpec;
    use serde_json::json;

    use super::read;

    #[test]
    fn only_an_exact_call_is_a_call() {
        let tools = [ToolSpec { name: "add".into(), description: String::new(), input_schema: json!({}) }];
        for text in [
            "{\"name\":\"add\",\"arguments\":{\"a\":1}}",
            " ```json\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n``` ",
            "<tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n</tool_call>",
        ] {
            let call = read(text, &tools).expect(text);
            assert_eq!((call.name.as_str(), &call.arguments["a"]), ("add", &json!(1)));
        }
        for text in [
            "I will call {\"name\":\"add\",\"arguments\":{}}",
            "{\"name\":\"add\"}",
            "{\"name\":\"sub\",\"arguments\":{}}",
            "{\"name\":\"add\",\"arguments\":[]}",
            "{\"name\":\"add\",\"arguments\":{},\"more\":1}",
            "{\"name\":\"add\",\"arguments\":{}",
            "",
        ] {
            assert_eq!(read(text, &tools), None, "{text}");
        }
    }
}
