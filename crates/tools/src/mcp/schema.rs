//! JSON Schemas of strangers: used to check arguments only where that can do no harm.
//!
//! Invariant: a schema that passed [`fit`] can be compiled, never reads anything from elsewhere, and ends on every argument.
use crate::mcp::text::clean;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, json};

/// Longest description inside a schema, bytes.
const TEXT_BYTES_MAX: usize = 2 * 1024;
/// Largest schema of a tool, bytes.
const SCHEMA_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 32;

/// A checker of arguments. Patterns are matched in linear time; references to other documents are refused.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|e| clean(&format!("its schema is not valid: {e}"), TEXT_BYTES_MAX))
}

/// The schema as models may see it, or why it cannot be used.
pub(super) fn fit(mut schema: Value) -> Result<Value, String> {
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(format!("its schema is larger than {SCHEMA_BYTES_MAX} bytes"));
    }
    if depth(&schema) > DEPTH_MAX {
        return Err(format!("its schema is nested deeper than {DEPTH_MAX}"));
    }
    if schema.get("type").is_some_and(|t| t != "object") {
        return Err("its schema does not describe an object".into());
    }
    schema["type"] = json!("object");
    clean_texts(&mut schema);
    validator(&schema)?;
    Ok(schema)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Descriptions inside a schema are text of strangers too. Other texts (names, choices, patterns) are what a call must match.
fn clean_texts(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match inner {
                    Value::String(text) if matches!(key.as_str(), "description" | "title" | "$comment") => {
                        *text = clean(text, TEXT_BYTES_MAX);
                    }
                    other => clean_texts(other),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(clean_texts),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let deep = (0..40).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
        let cases = [
            json!({"description": "x".repeat(40_000)}),
            deep,
            json!({"type": "string"}),
            json!({"properties": {"a": {"type": "nonsense"}}}),
            json!({"$ref": "http://127.0.0.1:1/x.json"}),
            json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            json!({"properties": {"a": {"pattern": "(?=a)b"}}}),
        ];
        for schema in cases {
            assert!(fit(schema.clone()).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_for_ever_does_no_harm() {
        for schema in [
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$ref": "#"}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "allOf": [{"$ref": "#/$defs/a"}]}),
            json!({"anyOf": [{"not": {"$ref": "#"}}]}),
        ] {
            // What such a schema allows is its own affair; that the answer comes at all is ours.
            let fit = fit(schema.clone()).unwrap();
            let checked = validator(&fit).unwrap();
            assert_eq!(checked.is_valid(&json!({"a": 1})), checked.validate(&json!({"a": 1})).is_ok(), "{schema}");
            assert!(!checked.is_valid(&json!([])), "{schema}");
        }
    }

    #[test]
    fn texts_are_cleaned_and_choices_are_not() {
        let schema = json!({"properties": {"description": {"type": "string", "description": "a\u{202e}b", "enum": ["x\u{200b}"]}}});
        let fit = fit(schema).unwrap();
        assert_eq!(fit["properties"]["description"], json!({"type": "string", "description": "ab", "enum": ["x\u{200b}"]}));
    }
}
