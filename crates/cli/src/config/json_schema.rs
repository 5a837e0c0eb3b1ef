//! The JSON Schema of the configuration file, made from the schema table (`maos config schema`).
use super::schema::{KEYS, Key, Kind};
use serde_json::{Map, Value, json};

/// The whole schema. Every value may also be a text `${NAME}` or `${NAME:-default}`, and null counts as not set.
pub(crate) fn document() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MAOS configuration",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {},
    });
    for key in KEYS {
        let mut at = &mut root;
        let parts: Vec<&str> = key.name.split('.').collect();
        let (last, sections) = parts.split_last().expect("a key has a name");
        for section in sections {
            let properties = at["properties"].as_object_mut().expect("every object of ours has properties");
            at = properties
                .entry((*section).to_owned())
                .or_insert_with(|| json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}}));
        }
        at["properties"][*last] = property(key);
    }
    root
}

fn property(key: &Key) -> Value {
    let variable = json!({"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"});
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let own = match key.kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Fraction(min, max) => {
            json!({"type": "number", "minimum": thousandths(min), "maximum": thousandths(max)})
        }
        Kind::Text | Kind::Path => json!({"type": "string", "minLength": 1}),
        Kind::Url => text("^[A-Za-z0-9]+://.+"),
        Kind::Size => text(r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B?$"),
        Kind::Duration => {
            json!({"anyOf": [{"type": "integer", "minimum": 0}, text("^([0-9]+(ms|s|m|h|d|w) *)+$")]})
        }
        Kind::Money => {
            json!({"anyOf": [{"type": "number", "minimum": 0}, text(r"^\$?[0-9]+(\.[0-9]{1,9})?$")]})
        }
        Kind::Choice(words) => json!({"enum": words}),
        Kind::List => {
            json!({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]})
        }
        Kind::Pairs => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    };
    let mut property = Map::new();
    let doc = match key.later {
        Some(instead) => format!("{} No effect in this version: {instead}.", key.doc),
        None => key.doc.to_owned(),
    };
    property.insert("description".to_owned(), doc.into());
    if let Some(default) = key.default {
        let value = super::value::parse(key.kind, default).expect("a default is a valid value (tested)");
        property.insert("default".to_owned(), value.to_json());
    }
    property.insert("anyOf".to_owned(), json!([own, variable, {"type": "null"}]));
    Value::Object(property)
}

fn thousandths(n: i64) -> Value {
    if n % 1000 == 0 {
        (n / 1000).into()
    } else {
        serde_json::Number::from_f64(f64::from(i32::try_from(n).unwrap_or(i32::MAX)) / 1000.0).map_or(Value::Null, Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_place() {
        let schema = document();
        for key in KEYS {
            let pointer: String = key.name.split('.').map(|part| format!("/properties/{part}")).collect();
            let property = schema.pointer(&pointer).unwrap_or_else(|| panic!("{}", key.name));
            assert!(property["description"].as_str().unwrap().starts_with(key.doc));
        }
        assert_eq!(schema["properties"]["api"]["additionalProperties"], false);
    }
}
