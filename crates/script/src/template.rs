//! Templates: text with `{{variable}}` in it. A closed grammar and one pass: what a variable brings in is never looked at again, so a prompt that
//! holds `{{…}}` cannot do anything. `{{{{` stands for two literal braces.
use std::fmt::Write as _;

use crate::matching::step_marker;
use regex::Captures;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// What a variable stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Var {
    /// `prompt`: the last user text.
    Prompt,
    /// `prompt_head`: its first line that is neither blank nor a heading, at most 80 characters.
    PromptHead,
    /// `step`: the id of the step the prompt speaks of, or nothing.
    Step,
    /// `system`: the system prompt.
    System,
    /// `model`: the model asked for.
    Model,
    /// `last_tool_result`: the last tool result, or nothing.
    LastToolResult,
    /// `turn`: the number of this assistant turn in its conversation, from 1.
    Turn,
    /// `n`: how often this rule has matched, from 1.
    N,
    /// `call`: how many calls the script has answered, this one included.
    Call,
    /// `match.0`…`match.9`: a group of the rule's `prompt` expression.
    Match(usize),
}

const NAMES: &str = "prompt, prompt_head, step, system, model, last_tool_result, turn, n, call, match.0 to match.9";

impl Var {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "prompt" => Self::Prompt,
            "prompt_head" => Self::PromptHead,
            "step" => Self::Step,
            "system" => Self::System,
            "model" => Self::Model,
            "last_tool_result" => Self::LastToolResult,
            "turn" => Self::Turn,
            "n" => Self::N,
            "call" => Self::Call,
            other => match other.strip_prefix("match.").map(str::as_bytes) {
                Some([digit @ b'0'..=b'9']) => Self::Match(usize::from(digit - b'0')),
                _ => {
                    return Err(format!("unknown variable `{{{{{other}}}}}`; known: {NAMES}; two literal braces are written {{{{{{{{"));
                }
            },
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Var(Var),
}

/// The values of one call.
pub(crate) struct Vars<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) system: &'a str,
    pub(crate) model: &'a str,
    pub(crate) last_tool_result: &'a str,
    pub(crate) turn: u64,
    pub(crate) n: u64,
    pub(crate) call: u64,
    pub(crate) captures: Option<Captures<'a>>,
}

/// A compiled template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Compiles the text; an unknown variable or an open brace pair is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            literal.push_str(&rest[..open]);
            rest = &rest[open + 2..];
            if let Some(after) = rest.strip_prefix("{{") {
                literal.push_str("{{");
                rest = after;
                continue;
            }
            let close = rest.find("}}").ok_or_else(|| "`{{` without `}}`; two literal braces are written {{{{".to_owned())?;
            let var = Var::parse(rest[..close].trim())?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Var(var));
            rest = &rest[close + 2..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// The highest `match.N` used, if any.
    pub(crate) fn highest_group(&self) -> Option<usize> {
        self.0
            .iter()
            .filter_map(|piece| match piece {
                Piece::Var(Var::Match(group)) => Some(*group),
                Piece::Var(_) | Piece::Literal(_) => None,
            })
            .max()
    }

    /// Appends the text for these values.
    pub(crate) fn render_into(&self, vars: &Vars, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Var(Var::Prompt) => out.push_str(vars.prompt),
                Piece::Var(Var::PromptHead) => out.push_str(head(vars.prompt)),
                Piece::Var(Var::Step) => out.push_str(step_marker(vars.prompt).unwrap_or("")),
                Piece::Var(Var::System) => out.push_str(vars.system),
                Piece::Var(Var::Model) => out.push_str(vars.model),
                Piece::Var(Var::LastToolResult) => out.push_str(vars.last_tool_result),
                Piece::Var(Var::Turn) => push_number(out, vars.turn),
                Piece::Var(Var::N) => push_number(out, vars.n),
                Piece::Var(Var::Call) => push_number(out, vars.call),
                Piece::Var(Var::Match(group)) => {
                    if let Some(found) = vars.captures.as_ref().and_then(|captures| captures.get(*group)) {
                        out.push_str(found.as_str());
                    }
                }
            }
        }
    }

    /// The text for these values.
    pub(crate) fn render(&self, vars: &Vars) -> String {
        let mut out = String::new();
        self.render_into(vars, &mut out);
        out
    }
}

fn push_number(out: &mut String, n: u64) {
    write!(out, "{n}").expect("writing to a string cannot fail");
}

/// The first line that is neither blank nor a heading (`# …`), at most 80 characters.
pub(crate) fn head(text: &str) -> &str {
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or("");
    line.char_indices().nth(80).map_or(line, |(end, _)| &line[..end])
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A JSON value whose strings are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TemplateValue {
    /// Written as it is: null, booleans, numbers.
    Plain(serde_json::Value),
    /// A string.
    Text(Template),
    /// An array.
    List(Vec<TemplateValue>),
    /// An object, in the script's order.
    Map(Vec<(String, TemplateValue)>),
}

impl TemplateValue {
    /// The highest `match.N` used, if any.
    pub(crate) fn highest_group(&self) -> Option<usize> {
        match self {
            Self::Plain(_) => None,
            Self::Text(template) => template.highest_group(),
            Self::List(items) => items.iter().filter_map(Self::highest_group).max(),
            Self::Map(entries) => entries.iter().filter_map(|(_, item)| item.highest_group()).max(),
        }
    }

    /// Appends the value as compact JSON.
    pub(crate) fn render_into(&self, vars: &Vars, out: &mut String) {
        match self {
            Self::Plain(value) => out.push_str(&value.to_string()),
            Self::Text(template) => push_json_string(out, &template.render(vars)),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.render_into(vars, out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (i, (key, item)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    push_json_string(out, key);
                    out.push(':');
                    item.render_into(vars, out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a text as a JSON string, with quotes.
pub(crate) fn push_json_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

impl<'de> Deserialize<'de> for TemplateValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = TemplateValue;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(v.into()))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(v.into()))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(v.into()))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(v.into()))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<TemplateValue, E> {
                Template::parse(v).map(TemplateValue::Text).map_err(E::custom)
            }
            fn visit_unit<E: de::Error>(self) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(serde_json::Value::Null))
            }
            fn visit_none<E: de::Error>(self) -> Result<TemplateValue, E> {
                Ok(TemplateValue::Plain(serde_json::Value::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TemplateValue, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(TemplateValue::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TemplateValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(TemplateValue::Map(entries))
            }
        }
        deserializer.deserialize_any(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, prompt: &str) -> String {
        let vars = Vars { prompt, system: "sys", model: "m", last_tool_result: "42", turn: 2, n: 3, call: 9, captures: None };
        Template::parse(template).expect("valid").render(&vars)
    }

    #[test]
    fn one_pass_only() {
        assert_eq!(render("<{{prompt}}>", "{{system}} {{nope}}"), "<{{system}} {{nope}}>");
    }

    #[test]
    fn all_variables() {
        assert_eq!(render("{{ turn }}/{{n}}/{{call}}/{{model}}/{{system}}/{{last_tool_result}}/{{match.1}}|", "p"), "2/3/9/m/sys/42/|");
        assert_eq!(render("{{prompt_head}}", "# The task\n\nfirst\nsecond"), "first");
        assert_eq!(render("{{step}}", "# Your step: Look (s3)\nx"), "s3");
        assert_eq!(render("{{{{prompt}}", "p"), "{{prompt}}");
    }

    #[test]
    fn errors_say_what_is_known() {
        assert!(Template::parse("{{promt}}").expect_err("bad").contains("known: prompt"));
        assert!(Template::parse("{{prompt").expect_err("bad").contains("without"));
        assert!(Template::parse("{{match.10}}").is_err());
    }
}
