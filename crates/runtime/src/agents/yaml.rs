//! YAML as a tree with lines, so that whatever is wrong can be named by its place. Nothing is interpolated.
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Its line.
    pub(super) line: u64,
}

/// A key and its value.
pub(super) type Entry = (At<String>, At<Node>);

/// A node; scalars are texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// Nothing.
    Null,
    /// A scalar.
    Scalar(String),
    /// A list.
    List(Vec<At<Node>>),
    /// A mapping, in order.
    Map(Vec<Entry>),
}

impl Node {
    /// What it is, for errors.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

fn at<T>(spanned: Spanned<T>) -> At<T> {
    At { line: spanned.referenced.line(), value: spanned.value }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Node>>()? {
            items.push(at(item));
        }
        Ok(Node::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, node)) = map.next_entry::<Spanned<String>, Spanned<Node>>()? {
            entries.push((at(name), at(node)));
        }
        Ok(Node::Map(entries))
    }
}

/// Reads a mapping. The error has a line and says what is wrong.
pub(super) fn mapping(text: &str) -> Result<Vec<Entry>, At<String>> {
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "---";
    if text.lines().all(blank) {
        return Err(At { value: "the file is empty; expected `name:` and `type:`".into(), line: 1 });
    }
    let root = serde_saphyr::from_str::<Spanned<Node>>(text).map_err(|error| {
        let line = error.location().map_or(1, |l| l.line());
        let told = error.without_snippet().to_string();
        At { value: format!("not valid YAML: {}", told.lines().next().unwrap_or_default()), line }
    })?;
    let root = at(root);
    match root.value {
        Node::Map(entries) => Ok(entries),
        other => Err(At { value: format!("expected keys like `name:`, found {}", other.what()), line: root.line }),
    }
}
