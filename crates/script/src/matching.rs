//! When a rule applies. Invariant: conditions look at the request only; counting (`nth`, `times`) comes after all others hold.
use maos_engine::message::{Block, Message, Request, Role};
use regex::{Captures, Regex};

use crate::ranges::{Glob, Named, Ranges};

/// The compiled conditions of a rule.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    pub(crate) model: Option<Glob>,
    pub(crate) system_contains: Option<String>,
    pub(crate) prompt: Option<Regex>,
    pub(crate) prompt_contains: Option<String>,
    pub(crate) transcript_contains: Option<String>,
    pub(crate) step: Option<Glob>,
    pub(crate) has_tool: Option<String>,
    pub(crate) last_is_tool_result: Option<Named>,
    pub(crate) last_is_error: Option<bool>,
    pub(crate) json_schema: Option<Named>,
    pub(crate) stream: Option<bool>,
    pub(crate) turn: Option<Ranges>,
    pub(crate) nth: Option<Ranges>,
    pub(crate) nth_per_request: Option<Ranges>,
    pub(crate) header: Vec<(String, Glob)>,
}

/// What is looked at, worked out once per call.
pub(crate) struct Seen<'a> {
    pub(crate) request: &'a Request,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) json_schema: Option<&'a str>,
    pub(crate) stream: bool,
    pub(crate) prompt: &'a str,
    pub(crate) turn: u64,
    pub(crate) last_result: Option<LastResult<'a>>,
}

/// The last message is a tool result: this one (the last of them).
pub(crate) struct LastResult<'a> {
    pub(crate) tool: &'a str,
    pub(crate) is_error: bool,
}

/// The text of the last user message that has one. Several text blocks are joined by a line break.
pub(crate) fn last_prompt(request: &Request) -> std::borrow::Cow<'_, str> {
    for message in request.messages.iter().rev().filter(|message| message.role == Role::User) {
        let mut texts = message.content.iter().filter_map(|block| match block {
            Block::Text { text } => Some(text.as_str()),
            _ => None,
        });
        if let Some(first) = texts.next() {
            return match texts.next() {
                None => first.into(),
                Some(second) => std::iter::once(first).chain(std::iter::once(second)).chain(texts).collect::<Vec<_>>().join("\n").into(),
            };
        }
    }
    "".into()
}

/// The last tool result of the conversation, wherever it stands.
pub(crate) fn last_tool_result(request: &Request) -> &str {
    request
        .messages
        .iter()
        .rev()
        .flat_map(|message| message.content.iter().rev())
        .find_map(|block| match block {
            Block::ToolResult { content, .. } => Some(content.as_str()),
            _ => None,
        })
        .unwrap_or("")
}

/// The result the last message ends with, if it holds one, and the tool it came from.
pub(crate) fn last_result(request: &Request) -> Option<LastResult<'_>> {
    let (last, before) = request.messages.split_last()?;
    let (id, is_error) = last.content.iter().rev().find_map(|block| match block {
        Block::ToolResult { tool_use_id, is_error, .. } => Some((tool_use_id, *is_error)),
        _ => None,
    })?;
    let tool = before.iter().rev().flat_map(|message| &message.content).find_map(|block| match block {
        Block::ToolUse { id: call, name, .. } | Block::BadToolUse { id: call, name, .. } if call == id => Some(name.as_str()),
        _ => None,
    });
    Some(LastResult { tool: tool.unwrap_or(""), is_error })
}

/// How MAOS begins the part of a prompt that is about the step; its id stands in brackets at the end of the line.
const STEP_HEADING: &str = "# Your step: ";

/// The id of the step a prompt is about: the one in the last such heading; without one, the word after the first "step " that could be an id.
pub(crate) fn step_marker(prompt: &str) -> Option<&str> {
    if let Some(at) = prompt.rfind(STEP_HEADING) {
        let line = prompt[at..].lines().next().unwrap_or("");
        return line.strip_suffix(')').and_then(|line| line.rsplit_once('(')).map(|(_, id)| id).filter(|id| id_bytes(id) == id.len());
    }
    prompt.match_indices("tep ").filter(|(at, _)| prompt[..*at].ends_with(['s', 'S'])).find_map(|(at, word)| {
        let rest = &prompt[at + word.len()..];
        let id = &rest[..id_bytes(rest)];
        // A word without a digit ("step by step") is prose, not an id.
        let is_id = id.starts_with(|c: char| c.is_ascii_lowercase()) && id.len() <= 32 && id.contains(|c: char| c.is_ascii_digit());
        is_id.then_some(id)
    })
}

/// How many bytes at the beginning could be an id (`[a-z0-9_]`).
fn id_bytes(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_').count()
}

fn block_contains(block: &Block, needle: &str) -> bool {
    match block {
        Block::Text { text } => text.contains(needle),
        Block::Thinking { thinking, .. } => thinking.contains(needle),
        Block::RedactedThinking { .. } => false,
        Block::ToolUse { name, input, .. } => name.contains(needle) || input.to_string().contains(needle),
        Block::BadToolUse { name, raw, .. } => name.contains(needle) || raw.contains(needle),
        Block::ToolResult { content, .. } => content.contains(needle),
        Block::Provider { block } => block.to_string().contains(needle),
    }
}

fn offered(request: &Request, name: &str) -> bool {
    request.tools.iter().any(|tool| tool.name == name) || request.provider_tools.iter().any(|tool| tool["name"] == name)
}

fn transcript_contains(messages: &[Message], needle: &str) -> bool {
    messages.iter().flat_map(|message| &message.content).any(|block| block_contains(block, needle))
}

fn named(want: Option<&Named>, have: Option<&str>) -> bool {
    match want {
        None => true,
        Some(Named::Is(is)) => have.is_some() == *is,
        Some(Named::Name(name)) => have == Some(name.as_str()),
    }
}

impl Matcher {
    /// Do all conditions hold that look at the request? Cheap ones first.
    pub(crate) fn holds(&self, seen: &Seen) -> bool {
        let request = seen.request;
        self.turn.as_ref().is_none_or(|turn| turn.contains(seen.turn))
            && self.stream.is_none_or(|stream| stream == seen.stream)
            && self.model.as_ref().is_none_or(|glob| glob.matches(&request.model))
            && self.has_tool.as_ref().is_none_or(|name| offered(request, name))
            && named(self.last_is_tool_result.as_ref(), seen.last_result.as_ref().map(|last| last.tool))
            && self.last_is_error.is_none_or(|is| seen.last_result.as_ref().is_some_and(|last| last.is_error) == is)
            && named(self.json_schema.as_ref(), seen.json_schema)
            && self
                .header
                .iter()
                .all(|(name, glob)| seen.headers.iter().any(|(key, value)| key.eq_ignore_ascii_case(name) && glob.matches(value)))
            && self.prompt_contains.as_ref().is_none_or(|needle| seen.prompt.contains(needle.as_str()))
            && self.step.as_ref().is_none_or(|glob| step_marker(seen.prompt).is_some_and(|step| glob.matches(step)))
            && self.prompt.as_ref().is_none_or(|regex| regex.is_match(seen.prompt))
            && self.system_contains.as_ref().is_none_or(|needle| request.system.contains(needle.as_str()))
            && self.transcript_contains.as_ref().is_none_or(|needle| transcript_contains(&request.messages, needle))
    }

    /// The groups of the `prompt` expression.
    pub(crate) fn captures<'p>(&self, prompt: &'p str) -> Option<Captures<'p>> {
        self.prompt.as_ref().and_then(|regex| regex.captures(prompt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_markers() {
        let given = "# Outputs of the steps you build on\n\n## A (s1)\nstep s1 is done\n\n# Your step: Join (all) of it (s3)\nstep s3 of 4";
        assert_eq!(step_marker(given), Some("s3"));
        assert_eq!(step_marker("do Step s7: look"), Some("s7"));
        assert_eq!(step_marker("step by step, then step x_9."), Some("x_9"));
        assert_eq!(step_marker("plan this"), None);
        assert_eq!(step_marker("# Your step: odd"), None);
    }
}
