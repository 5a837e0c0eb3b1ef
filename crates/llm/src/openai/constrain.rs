//! Forced tool calls for servers and models that do not obey `tool_choice`: the model is held by a JSON Schema to write one bare
//! object `{"name":…,"arguments":{…}}`, and what it writes is read back as a tool call.
//!
//! Invariant: only a text that is exactly such an object, naming a tool that was offered, becomes a call.
use maos_engine::message::{Request, ToolChoice, ToolSpec};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

/// What a constrained request carries instead of tools.
pub(super) struct Constrained<'a> {
    pub(super) response_format: ResponseFormat<'a>,
    pub(super) instruction: String,
}

#[derive(Serialize)]
pub(super) struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: NamedSchema<'a>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: CallSchema<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CallSchema<'a> {
    One(OneCall<'a>),
    Any {
        #[serde(rename = "anyOf")]
        any_of: Vec<OneCall<'a>>,
    },
}

#[derive(Serialize)]
struct OneCall<'a> {
    r#type: &'static str,
    properties: CallProperties<'a>,
    required: [&'static str; 2],
    #[serde(rename = "additionalProperties")]
    additional_properties: bool,
}

/// The name first: a model that writes from left to right must choose before it fills in.
#[derive(Serialize)]
struct CallProperties<'a> {
    name: Const<'a>,
    arguments: Ordered<'a>,
}

#[derive(Serialize)]
struct Const<'a> {
    r#const: &'a str,
}

impl<'a> OneCall<'a> {
    fn of(tool: &'a ToolSpec) -> Self {
        Self {
            r#type: "object",
            properties: CallProperties { name: Const { r#const: &tool.name }, arguments: Ordered(&tool.input_schema) },
            required: ["name", "arguments"],
            additional_properties: false,
        }
    }
}

/// A schema whose properties are written in the order in which it requires them, because grammars made from it keep that order
/// (a JSON value in memory has lost it): otherwise a small model spends its output on whatever comes first in the alphabet.
struct Ordered<'a>(&'a Value);

struct Properties<'a> {
    all: &'a Map<String, Value>,
    required: Option<&'a Value>,
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut out = s.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    match value {
                        Value::Object(all) if key == "properties" => {
                            out.serialize_entry(key, &Properties { all, required: map.get("required") })?;
                        }
                        other => out.serialize_entry(key, &Ordered(other))?,
                    }
                }
                out.end()
            }
            Value::Array(items) => s.collect_seq(items.iter().map(Ordered)),
            plain => plain.serialize(s),
        }
    }
}

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let required: Vec<&str> = self.required.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let first = required.iter().filter_map(|name| self.all.get_key_value(*name));
        let rest = self.all.iter().filter(|(name, _)| !required.contains(&name.as_str()));
        s.collect_map(first.chain(rest).map(|(name, schema)| (name, Ordered(schema))))
    }
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
///
/// # Errors
/// Only if a schema cannot be written as JSON.
pub(super) fn forced(request: &Request) -> Result<Option<Constrained<'_>>, serde_json::Error> {
    let Some(tools) = offered(request) else { return Ok(None) };
    let mut instruction = String::from(
        "Answer with one JSON object {\"name\": …, \"arguments\": {…}} that calls one of these tools, and with nothing else.\n",
    );
    for tool in &tools {
        let schema = serde_json::to_string(&Ordered(&tool.input_schema))?;
        instruction.push_str(&format!("- {}: {} Arguments: {schema}\n", tool.name, tool.description.trim()));
    }
    let schema = match tools.as_slice() {
        [only] => CallSchema::One(OneCall::of(only)),
        several => CallSchema::Any { any_of: several.iter().map(|t| OneCall::of(t)).collect() },
    };
    let json_schema = NamedSchema { name: "tool_call", strict: true, schema };
    Ok(Some(Constrained { response_format: ResponseFormat { r#type: "json_schema", json_schema }, instruction }))
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

    use super::{Ordered, read};

    #[test]
    fn properties_are_written_in_the_order_in_which_they_are_required() {
        let schema = json!({
            "type": "object", "required": ["steps", "rationale"],
            "properties": {
                "a_note": {"type": "string"}, "rationale": {"type": "string"},
                "steps": {"type": "array", "items": {"required": ["title", "id"], "properties": {"id": {}, "title": {}}}},
            },
        });
        let written = serde_json::to_string(&Ordered(&schema)).unwrap();
        let at = |word: &str| written.find(word).unwrap();
        assert!(at("\"steps\":") < at("\"rationale\":") && at("\"rationale\":") < at("\"a_note\":"), "{written}");
        assert!(at("\"title\":") < at("\"id\":"), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), schema);
    }

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
