//! JSON Schemas of strangers: used to check arguments only where that can do no harm.
//!
//! Invariant: a schema that passed [`fit`] can be compiled, never reads anything from elsewhere, and ends on every argument; on those that
//! are [`affordable`], soon.
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
/// Most meetings of a part of a schema with a part of the arguments.
const MEETINGS_MAX: usize = 1_000_000;
/// Most meetings within each other.
const NESTED_MAX: usize = 256;
/// Keywords whose schemas are about the same place as the schema they stand in.
const ABOUT_THE_SAME: [&str; 9] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Keywords whose schemas are about what the place holds.
const ABOUT_PARTS: [&str; 10] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
];
/// Keywords about what no other keyword was about.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
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

/// Whether a check of these arguments is a matter of moments. Static bounds cannot tell: a part that refers to itself twice, one level
/// deeper each time, doubles with every level of the arguments; and a long chain of references, once for each level, fills the stack.
///
/// Walks as a check would and counts each meeting of a schema with a place in the arguments; more than a check makes, never fewer.
pub(super) fn affordable(schema: &Value, args: &Value) -> bool {
    Walk { root: schema, meetings: 0, nested: 0 }.meet(schema, args, &mut vec![])
}

struct Walk<'a> {
    root: &'a Value,
    meetings: usize,
    nested: usize,
}

impl<'a> Walk<'a> {
    /// `open` are the schemas that references lead through at this very place: a check does not enter one twice.
    fn meet(&mut self, schema: &'a Value, place: &Value, open: &mut Vec<&'a Value>) -> bool {
        let Value::Object(keywords) = schema else { return true };
        self.meetings += 1;
        if self.meetings > MEETINGS_MAX || self.nested == NESTED_MAX {
            return false;
        }
        self.nested += 1;
        // To know what was evaluated, a check asks the other keywords again for each thing that the place holds.
        let asks_again = UNEVALUATED.iter().any(|keyword| keywords.contains_key(*keyword));
        let held = place.as_object().map_or(0, serde_json::Map::len) + place.as_array().map_or(0, Vec::len);
        let times = if asks_again { 1 + held } else { 1 };
        let fits = (0..times).all(|_| keywords.iter().all(|(keyword, inner)| self.follow(keyword, inner, place, open)));
        self.nested -= 1;
        fits
    }

    fn follow(&mut self, keyword: &str, inner: &'a Value, place: &Value, open: &mut Vec<&'a Value>) -> bool {
        match (keyword, inner) {
            (refers, Value::String(to)) if REFERS.contains(&refers) => {
                let target = to.strip_prefix('#').and_then(|pointer| target(self.root, pointer));
                let Some(target) = target.filter(|t| !open.iter().any(|o| std::ptr::eq(*o, *t))) else { return true };
                open.push(target);
                let fits = self.meet(target, place, open);
                open.pop();
                fits
            }
            (same, _) if ABOUT_THE_SAME.contains(&same) => schemas(inner).all(|inner| self.meet(inner, place, open)),
            ("properties", Value::Object(named)) => {
                named.iter().all(|(name, inner)| place.get(name).is_none_or(|part| self.meet(inner, part, &mut vec![])))
            }
            (parts, _) if ABOUT_PARTS.contains(&parts) => match place {
                Value::Object(map) => schemas(inner).all(|inner| map.values().all(|part| self.meet(inner, part, &mut vec![]))),
                Value::Array(all) => schemas(inner).all(|inner| all.iter().all(|part| self.meet(inner, part, &mut vec![]))),
                _ => true,
            },
            _ => true,
        }
    }
}

/// The schemas of a keyword: itself, and those it may hold under names or in a list.
fn schemas(keyword: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match keyword {
        Value::Array(all) => Box::new(all.iter()),
        Value::Object(named) => Box::new(std::iter::once(keyword).chain(named.values())),
        _ => Box::new(std::iter::empty()),
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
    fn what_doubles_with_every_level_of_the_arguments_is_not_begun() {
        let twice = |inner: Value| json!({"$defs": {"n": inner}, "$ref": "#/$defs/n"});
        let again = json!({"properties": {"x": {"$ref": "#/$defs/n"}}});
        let nested = |levels| (0..levels).fold(json!({}), |inner, _| json!({"x": inner}));
        for schema in [
            twice(json!({"allOf": [again, again]})),
            twice(json!({"anyOf": [{"type": "string"}, again], "not": again})),
            twice(json!({"additionalProperties": {"$ref": "#/$defs/n"}, "patternProperties": {"x": {"$ref": "#/$defs/n"}}})),
            twice(json!({"anyOf": [again, again], "unevaluatedProperties": false})),
            twice(json!({"if": again, "then": {}, "dependentSchemas": {"x": again}})),
        ] {
            assert!(fit(schema.clone()).is_ok() && affordable(&schema, &nested(8)), "{schema}");
            assert!(!affordable(&schema, &nested(100)), "{schema}");
        }
        // A chain through eighty parts, anew at every level.
        let link = |n: usize| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}));
        let mut chain: serde_json::Map<String, Value> = (0..80).map(link).collect();
        chain.insert("d80".into(), json!({"properties": {"x": {"$ref": "#/$defs/d0"}}}));
        let chain = json!({"$defs": chain, "$ref": "#/$defs/d0"});
        assert!(fit(chain.clone()).is_ok() && !affordable(&chain, &nested(100)));
        // A tree that refers to itself once for each branch is met once for each node, however deep.
        let tree = twice(json!({"properties": {"x": {"$ref": "#/$defs/n"}, "y": {"$ref": "#/$defs/n"}}}));
        assert!(affordable(&tree, &nested(60)));
        let list = json!({"properties": {"all": {"items": {"properties": {"a": {"type": "string"}, "b": {"enum": [1]}}}}}});
        assert!(affordable(&list, &json!({"all": vec![json!({"a": "a", "b": 1}); 20_000]})));
    }

    #[test]
    fn texts_are_cleaned_and_choices_are_not() {
        let schema = json!({"properties": {"description": {"type": "string", "description": "a\u{202e}b", "enum": ["x\u{200b}"]}}});
        let fit = fit(schema).unwrap();
        assert_eq!(fit["properties"]["description"], json!({"type": "string", "description": "ab", "enum": ["x\u{200b}"]}));
    }
}
