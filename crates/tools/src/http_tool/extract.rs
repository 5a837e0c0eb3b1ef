//! What is taken from an answer, and how it is shown to a model.
//!
//! Invariant: taking is bounded (items, bytes) and never fails on what is missing: a field that is not there is left out. Documents with
//! their own entity definitions are refused, so none can grow.
use crate::web::{Kind, readable};
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;
use std::fmt::Write;

/// Items of a list, if the file does not say.
const DEFAULT_ITEMS: usize = 20;
/// Most items of a list.
const MAX_ITEMS: usize = 200;
/// Most nodes of an XML document.
const MAX_NODES: u32 = 500_000;

/// What to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extract {
    /// JSON as it is, a page as text.
    Whole,
    /// Only the text: of a page, or of all elements of an XML document.
    Text,
    /// One value of JSON.
    Pointer(String),
    /// Fields of each item of a JSON list.
    Each { list: String, fields: Vec<(String, String)>, limit: usize },
    /// Fields of each XML element of a name.
    Xml { element: String, fields: Vec<(String, String)>, limit: usize },
}

const FORMS: &str = "write `text`, {pointer: /a/b}, {each: /list, fields: {title: /title}}, or {xml: entry, fields: {title: title}}; `limit: N` for the last two";

impl Extract {
    /// Reads the `extract` of a definition.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let fields = match value {
            Value::String(text) if text == "text" => return Ok(Self::Text),
            Value::Object(fields) => fields,
            _ => return Err(FORMS.to_owned()),
        };
        let kinds = ["pointer", "each", "xml"].map(|k| fields.get(k).and_then(Value::as_str));
        let known: &[&str] = match kinds {
            [Some(_), None, None] => &["pointer"],
            [None, Some(_), None] => &["each", "fields", "limit"],
            [None, None, Some(_)] => &["xml", "fields", "limit"],
            _ => return Err(FORMS.to_owned()),
        };
        if let Some(odd) = fields.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(format!("`{odd}` is not known here; {FORMS}"));
        }
        let limit = match fields.get("limit") {
            None => DEFAULT_ITEMS,
            Some(n) => n
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=MAX_ITEMS).contains(n))
                .ok_or_else(|| format!("`limit` is a number from 1 to {MAX_ITEMS}"))?,
        };
        let taken = |check: fn(&str) -> Result<String, String>| -> Result<Vec<(String, String)>, String> {
            let Some(map) = fields.get("fields").and_then(Value::as_object).filter(|m| !m.is_empty()) else {
                return Err(format!("`fields` is missing; {FORMS}"));
            };
            let one = |(name, place): (&String, &Value)| {
                let place = place.as_str().ok_or_else(|| format!("`fields.{name}` must be a text"))?;
                Ok((name.clone(), check(place).map_err(|e| format!("`fields.{name}`: {e}"))?))
            };
            map.iter().map(one).collect()
        };
        match kinds {
            [Some(at), ..] => Ok(Self::Pointer(pointer(at)?)),
            [_, Some(list), _] => Ok(Self::Each { list: pointer(list)?, fields: taken(pointer)?, limit }),
            [.., Some(element)] => Ok(Self::Xml { element: element_name(element)?, fields: taken(element_path)?, limit }),
            [None, None, None] => Err(FORMS.to_owned()),
        }
    }

    /// Takes it from a text; the error says what was expected.
    pub(super) fn take(&self, text: &str, kind: Kind) -> Result<String, String> {
        match self {
            Self::Whole => Ok(readable(text, kind, None).1),
            Self::Text => match kind {
                Kind::Text if text.trim_start().starts_with("<?xml") => all_text(&xml(text)?),
                kind => Ok(readable(text, kind, None).1),
            },
            Self::Pointer(at) => {
                let json = json(text)?;
                json.pointer(at).map(shown).ok_or_else(|| format!("the answer has nothing at `{at}`"))
            }
            Self::Each { list, fields, limit } => {
                let json = json(text)?;
                let items = match json.pointer(list) {
                    None | Some(Value::Null) => &[][..],
                    Some(Value::Array(items)) => items,
                    Some(_) => return Err(format!("the answer has no list at `{list}`")),
                };
                let of = |item: &Value, at: &str| item.pointer(at).filter(|v| !v.is_null()).map(shown).unwrap_or_default();
                Ok(list_of(items.iter(), fields, *limit, of))
            }
            Self::Xml { element, fields, limit } => {
                let document = xml(text)?;
                let items = document.descendants().filter(|n| n.tag_name().name() == element);
                Ok(list_of(items, fields, *limit, |node, path| at_path(node, path)))
            }
        }
    }
}

/// A JSON pointer (RFC 6901).
pub(super) fn pointer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a JSON pointer: it begins with /, such as /results/0/title"))
    }
}

fn element_name(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && !text.contains(['/', '@', ' ', '<', '>', ':']);
    if plain { Ok(text.to_owned()) } else { Err(format!("`{text}` is not the name of an element (without prefix), such as entry")) }
}

/// Names of elements, each below the one before; the last may be an attribute: `author/name`, `link/@href`.
fn element_path(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (last, before) = parts.split_last().ok_or("a path is missing")?;
    for part in before {
        element_name(part)?;
    }
    element_name(last.strip_prefix('@').unwrap_or(last))?;
    Ok(text.to_owned())
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|_| "the answer is not JSON".to_owned())
}

fn xml(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| format!("the answer is not XML that can be read: {e}"))
}

/// Every text of a document, one a line.
fn all_text(document: &Document<'_>) -> Result<String, String> {
    let texts = document.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).map(folded).filter(|t| !t.is_empty());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}

/// The texts at a path below a node, joined with commas.
fn at_path(node: Node<'_, '_>, path: &str) -> String {
    let mut nodes = vec![node];
    for part in path.split('/') {
        if let Some(attribute) = part.strip_prefix('@') {
            let values = nodes.iter().filter_map(|n| n.attribute(attribute));
            return values.collect::<Vec<_>>().join(", ");
        }
        nodes = nodes.iter().flat_map(Node::children).filter(|n| n.tag_name().name() == part).collect();
    }
    let texts =
        nodes.iter().map(|n| folded(&n.descendants().filter_map(|d| if d.is_text() { d.text() } else { None }).collect::<String>()));
    texts.filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ")
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value for a reader: texts as they are, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|i| i.is_string() || i.is_number()) => {
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => serde_json::to_string_pretty(other).expect("JSON can be written"),
    }
}

fn list_of<T>(items: impl Iterator<Item = T>, fields: &[(String, String)], limit: usize, of: impl Fn(T, &str) -> String) -> String
where
    T: Copy,
{
    let mut out = String::new();
    for (i, item) in items.take(limit).enumerate() {
        let mut lead = format!("{}. ", i + 1);
        for (name, place) in fields {
            let text = of(item, place);
            if !text.is_empty() {
                writeln!(out, "{lead}{name}: {text}").expect("writing to a string does not fail");
                lead = "   ".to_owned();
            }
        }
    }
    if out.is_empty() { "Nothing was found.".to_owned() } else { out.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Extract;
    use crate::web::Kind;
    use serde_json::{Value, json};

    fn take(extract: Value, text: &str) -> Result<String, String> {
        Extract::read(&extract).unwrap().take(text, Kind::Text)
    }

    #[test]
    fn fields_of_json() {
        let text = r#"{"r": [{"t": "One", "n": {"a": 1}, "l": ["x", "y"]}, {"t": "Two"}, {"t": null}], "one": {"x": "y"}}"#;
        let each = json!({"each": "/r", "fields": {"title": "/t", "tags": "/l", "a": "/n/a"}});
        assert_eq!(take(each, text).unwrap(), "1. a: 1\n   tags: x, y\n   title: One\n2. title: Two");
        assert_eq!(take(json!({"pointer": "/one/x"}), text).unwrap(), "y");
        assert_eq!(take(json!({"each": "/none", "fields": {"a": "/a"}}), text).unwrap(), "Nothing was found.");
        assert!(take(json!({"pointer": "/none"}), text).is_err());
        assert!(take(json!({"each": "/one", "fields": {"a": "/a"}}), text).is_err());
        assert!(take(json!({"pointer": ""}), "<html>").is_err());
        let limited = json!({"each": "/r", "fields": {"t": "/t"}, "limit": 1});
        assert_eq!(take(limited, text).unwrap(), "1. t: One");
    }

    #[test]
    fn fields_of_xml() {
        let text = r#"<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:x="urn:x"><title>Feed</title>
            <entry><title>One
              long</title><author><name>A</name></author><author><name>B</name></author><link href="http://a"/><link href="http://b"/><x:doi>10.1</x:doi></entry>
            <entry><title>T&amp;wo</title></entry></feed>"#;
        let extract = json!({"xml": "entry", "fields": {"title": "title", "authors": "author/name", "link": "link/@href", "doi": "doi"}});
        assert_eq!(
            take(extract, text).unwrap(),
            "1. authors: A, B\n   doi: 10.1\n   link: http://a, http://b\n   title: One long\n2. title: T&wo"
        );
        assert_eq!(take(json!("text"), "<?xml version='1.0'?><a><b>x</b> <c>y z</c></a>").unwrap(), "x\ny z");
    }

    #[test]
    fn bombs_and_rubbish_are_refused() {
        let laughs = r#"<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>"#;
        let outside = r#"<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>"#;
        for text in [laughs, outside, "<a>", "", "not xml"] {
            assert!(take(json!({"xml": "l", "fields": {"a": "a"}}), text).is_err(), "{text}");
        }
    }

    #[test]
    fn forms_are_checked() {
        for bad in [
            json!("all"),
            json!(1),
            json!({}),
            json!({"pointer": "a"}),
            json!({"pointer": "/a", "limit": 1}),
            json!({"each": "/a"}),
            json!({"each": "/a", "fields": {}}),
            json!({"each": "/a", "fields": {"x": "y"}}),
            json!({"each": "/a", "xml": "b", "fields": {"x": "/y"}}),
            json!({"xml": "a/b", "fields": {"x": "y"}}),
            json!({"xml": "a", "fields": {"x": "y//z"}}),
            json!({"xml": "a", "fields": {"x": "@y/z"}}),
            json!({"xml": "a", "fields": {"x": "y"}, "limit": 0}),
            json!({"xml": "a", "fields": {"x": "y"}, "first": 1}),
        ] {
            assert!(Extract::read(&bad).is_err(), "{bad}");
        }
    }
}
