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
/// Most references that are followed to check one argument: each place that refers to a part has it checked anew.
const REFERENCES_MAX: usize = 10_000;
/// Keywords that refer to another part.
const REFERS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

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
    bounded(&schema)?;
    Ok(schema)
}

/// Follows every reference as a check would, and counts: a short schema whose parts refer to each other twice doubles with each.
fn bounded(schema: &Value) -> Result<(), String> {
    let mut left = REFERENCES_MAX;
    let mut open = vec![];
    if follow(schema, schema, &mut open, &mut left) {
        Ok(())
    } else {
        Err(format!("its parts refer to each other in more than {REFERENCES_MAX} ways, or by names of their own (`$id`, an anchor)"))
    }
}

/// `false` once there are too many, or where a reference leads cannot be told. What is open is not entered again: a check ends there too.
fn follow<'a>(root: &'a Value, at: &'a Value, open: &mut Vec<&'a Value>, left: &mut usize) -> bool {
    match at {
        Value::Array(all) => all.iter().all(|inner| follow(root, inner, open, left)),
        Value::Object(map) => map.iter().all(|(key, inner)| match inner {
            Value::String(to) if REFERS.contains(&key.as_str()) => {
                let Some(target) = to.strip_prefix('#').and_then(|pointer| target(root, pointer)) else { return false };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return false;
                }
                if open.iter().any(|o| std::ptr::eq(*o, target)) {
                    return true;
                }
                open.push(target);
                let fits = follow(root, target, open, left);
                open.pop();
                fits
            }
            // Another base beneath the root would make the same reference lead elsewhere.
            Value::String(_) if key == "$id" || key == "id" && is_draft_4(root) => std::ptr::eq(at, root) || !has_reference(root),
            _ => follow(root, inner, open, left),
        }),
        _ => true,
    }
}

/// What a reference within the document means: its path, percent-encoded, from the root.
fn target<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    let plain = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
    root.pointer(&plain)
}

/// The draft in which `id` is what `$id` is in later ones.
fn is_draft_4(root: &Value) -> bool {
    root.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04"))
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(has_reference),
        Value::Object(map) => map.iter().any(|(key, inner)| REFERS.contains(&key.as_str()) || has_reference(inner)),
        _ => false,
    }
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

    /// Each part refers to the next one twice.
    fn doubling(parts: usize) -> Value {
        let part = |n: usize| json!({"allOf": [{"$ref": format!("#/$defs/d{n}")}, {"$ref": format!("#/$defs/d{n}")}]});
        let mut defs: serde_json::Map<String, Value> = (0..parts).map(|n| (format!("d{n}"), part(n + 1))).collect();
        defs.insert(format!("d{parts}"), json!({"type": "string"}));
        json!({"$defs": defs, "properties": {"a": part(0)}})
    }

    #[test]
    fn parts_that_refer_to_each_other_are_used_as_long_as_they_are_few() {
        let tree = json!({"$id": "http://x/tree", "$defs": {
            "node": {"properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}, "id": {"type": "string"}}},
        }, "properties": {"root": {"$ref": "#/$defs/node"}, "a b": {"$ref": "#/properties/root"}, "c": {"$ref": "#/properties/a%20b"}}});
        assert!(fit(tree).is_ok() && fit(doubling(8)).is_ok());
    }

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
            doubling(60),
            // The same, hidden behind another base.
            json!({"$defs": {"a": {"$id": "http://x/a", "$ref": "#/$defs/b", "$defs": {"b": {}}}, "b": {}}, "$ref": "#/$defs/a"}),
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
