//! What the model says: the compiled reply of a rule and its rendering for one call.
//! Invariant: the same request gets the same bytes (ids are drawn from the request), and a reply never passes the request's output limit unless told to.
use maos_engine::message::{Request, StopReason};

use crate::planned::{Piece, Wire, floor_char_boundary};
use crate::planreply::{PLAN_TOOL, PlanReply};
use crate::ranges::mix;
use crate::search::{Search, is_offered};
use crate::template::{Template, TemplateValue, Vars};
use crate::tokens::{BYTES_PER_TOKEN, tokens_of_bytes};
use crate::yaml::{ReplyYaml, ToolCallYaml, UsageYaml};

/// Most tool calls one entry may be repeated to.
const REPEAT_MAX: usize = 10_000;
/// Deepest nesting that can be generated.
const NEST_MAX: usize = 100_000;
/// Most tokens of padding.
const PAD_TOKENS_MAX: u64 = 16 << 20;
/// Content bytes in one chunk when nothing is said.
pub(crate) const CHUNK_BYTES_DEFAULT: usize = 64;
/// Content bytes in one chunk at most.
const CHUNK_BYTES_MAX: usize = 16 << 20;

/// The compiled reply of a rule.
#[derive(Debug)]
pub(crate) struct Says {
    thinking: Option<Template>,
    pub(crate) signature: Option<String>,
    redacted: Option<String>,
    text: Option<Template>,
    json: Option<TemplateValue>,
    pad_tokens: u64,
    search: Option<Search>,
    calls: Vec<Call>,
    plan: Option<PlanReply>,
    stop: Option<StopReason>,
    pub(crate) usage: UsageYaml,
    pub(crate) chunk_bytes: usize,
    pub(crate) wire: Wire,
    pub(crate) highest_group: Option<usize>,
}

#[derive(Debug)]
struct Call {
    name: String,
    input: Input,
    id: Option<String>,
    repeat: usize,
}

#[derive(Debug)]
enum Input {
    Value(TemplateValue),
    Raw(Template),
    Nest(usize),
}

/// Bytes of content in a chunk, checked.
pub(crate) fn chunk_bytes(given: Option<&serde_saphyr::Spanned<usize>>, fallback: usize) -> Result<usize, (u64, String)> {
    match given {
        None => Ok(fallback),
        Some(chunk) if (1..=CHUNK_BYTES_MAX).contains(&chunk.value) => Ok(chunk.value),
        Some(chunk) => Err((chunk.referenced.line(), format!("chunk is 1 to {CHUNK_BYTES_MAX} bytes"))),
    }
}

/// The stop reason for a word of either API.
pub(crate) fn stop_of(word: &str) -> StopReason {
    match word {
        "end_turn" | "stop" => StopReason::EndTurn,
        "tool_use" | "tool_calls" => StopReason::ToolUse,
        "max_tokens" | "length" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" | "content_filter" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        other => StopReason::Unknown { raw: other.to_owned() },
    }
}

impl Call {
    fn compile(yaml: ToolCallYaml, line: u64) -> Result<Self, (u64, String)> {
        let repeat = yaml.repeat.as_ref().map_or(1, |repeat| repeat.value);
        if !(1..=REPEAT_MAX).contains(&repeat) {
            return Err((yaml.repeat.map_or(line, |repeat| repeat.referenced.line()), format!("repeat is 1 to {REPEAT_MAX}")));
        }
        let input = match (yaml.input, yaml.raw, yaml.nest) {
            (Some(value), None, None) => Input::Value(value),
            (None, Some(raw), None) => Input::Raw(raw),
            (None, None, Some(depth)) if (1..=NEST_MAX).contains(&depth.value) => Input::Nest(depth.value),
            (None, None, Some(depth)) => {
                return Err((depth.referenced.line(), format!("nest is 1 to {NEST_MAX}")));
            }
            (None, None, None) => Input::Value(TemplateValue::Map(Vec::new())),
            _ => {
                return Err((line, format!("tool call `{}` has more than one of input, raw and nest", yaml.name)));
            }
        };
        Ok(Self { name: yaml.name, input, id: yaml.id, repeat })
    }

    fn json(&self, vars: &Vars) -> String {
        let mut out = String::new();
        match &self.input {
            Input::Value(value) => value.render_into(vars, &mut out),
            Input::Raw(raw) => raw.render_into(vars, &mut out),
            Input::Nest(depth) => {
                out.push_str(&r#"{"a":"#.repeat(*depth));
                out.push('1');
                out.push_str(&"}".repeat(*depth));
            }
        }
        out
    }
}

impl Says {
    /// Compiles the reply; errors carry their line.
    pub(crate) fn compile(yaml: ReplyYaml, line: u64, chunk_default: usize) -> Result<Self, (u64, String)> {
        if yaml.text.is_some() && yaml.json.is_some() {
            return Err((line, "a reply has `text` or `json`, not both".to_owned()));
        }
        if yaml.signature.is_some() && yaml.thinking.is_none() {
            return Err((line, "`signature` belongs to `thinking`".to_owned()));
        }
        let pad_tokens = yaml.pad_tokens.unwrap_or(0);
        if pad_tokens > PAD_TOKENS_MAX {
            return Err((line, format!("pad_tokens is at most {PAD_TOKENS_MAX}")));
        }
        if yaml.wire.split_bytes == Some(0) || yaml.wire.huge_line_bytes > crate::fault::PAD_BYTES_MAX {
            return Err((line, format!("split_bytes is at least 1, huge_line_bytes at most {}", crate::fault::PAD_BYTES_MAX)));
        }
        let chunk_bytes = chunk_bytes(yaml.chunk.as_ref(), chunk_default)?;
        let calls = yaml.tool_calls.into_iter().map(|call| Call::compile(call, line)).collect::<Result<Vec<_>, _>>()?;
        let plan = yaml.plan.map(PlanReply::from);
        let search = yaml.server_search.map(Search::from);
        let highest_group = [
            search.as_ref().and_then(Search::highest_group),
            yaml.thinking.as_ref().and_then(Template::highest_group),
            yaml.text.as_ref().and_then(Template::highest_group),
            yaml.json.as_ref().and_then(TemplateValue::highest_group),
            plan.as_ref().and_then(PlanReply::highest_group),
        ]
        .into_iter()
        .chain(calls.iter().map(|call| match &call.input {
            Input::Value(value) => value.highest_group(),
            Input::Raw(raw) => raw.highest_group(),
            Input::Nest(_) => None,
        }))
        .max()
        .flatten();
        Ok(Self {
            thinking: yaml.thinking,
            signature: yaml.signature,
            redacted: yaml.redacted_thinking,
            text: yaml.text,
            json: yaml.json,
            pad_tokens,
            search,
            calls,
            plan,
            stop: yaml.stop_reason.as_deref().map(stop_of),
            usage: yaml.usage,
            chunk_bytes,
            wire: yaml.wire.into(),
            highest_group,
        })
    }

    /// The blocks, the stop reason and the output tokens for one call. `seed` is drawn from the request.
    pub(crate) fn render(&self, request: &Request, vars: &Vars, seed: u64) -> (Vec<Piece>, StopReason, u64) {
        let mut pieces = Vec::with_capacity(1 + self.calls.len());
        if let Some(thinking) = &self.thinking {
            let text = thinking.render(vars);
            let signature = self.signature.clone().unwrap_or_else(|| signature_of(&text));
            pieces.push(Piece::Thinking { text, signature });
        }
        if let Some(data) = &self.redacted {
            pieces.push(Piece::Redacted(data.clone()));
        }
        if let Some(search) = self.search.as_ref().filter(|_| is_offered(request)) {
            pieces.extend(search.blocks(vars, seed).map(Piece::Server));
        }
        let mut text = String::new();
        if let Some(template) = &self.text {
            template.render_into(vars, &mut text);
        }
        if let Some(value) = &self.json {
            value.render_into(vars, &mut text);
        }
        let mut calls = Vec::new();
        if let Some(plan) = &self.plan {
            let json = plan.render(request, vars);
            if request.tools.iter().any(|tool| tool.name == PLAN_TOOL) {
                calls.push((PLAN_TOOL, json, None));
            } else {
                text.push_str(&json);
            }
        }
        pad(&mut text, self.pad_tokens);
        let citations = self.search.as_ref().filter(|_| is_offered(request)).map(Search::citations).unwrap_or_default();
        match (text.is_empty(), citations.is_empty()) {
            (true, _) => {}
            (false, true) => pieces.push(Piece::Text(text)),
            (false, false) => pieces.push(Piece::Cited { text, citations }),
        }
        for call in &self.calls {
            for _ in 0..call.repeat {
                calls.push((call.name.as_str(), call.json(vars), call.id.as_deref()));
            }
        }
        let has_calls = !calls.is_empty();
        for (i, (name, json, id)) in calls.into_iter().enumerate() {
            let id = id.map_or_else(|| drawn_id("toolu_", seed ^ (i as u64 + 1)), str::to_owned);
            pieces.push(Piece::Tool { id, name: name.to_owned(), json });
        }
        let stop = self.stop.clone().unwrap_or(if has_calls { StopReason::ToolUse } else { StopReason::EndTurn });
        let (cut, tokens) = limit(&mut pieces, u64::from(request.max_output_tokens));
        (pieces, if cut && self.stop.is_none() { StopReason::MaxTokens } else { stop }, tokens)
    }
}

/// Cuts the blocks at the output limit, as a model that runs out of tokens does. True if something was cut; and the tokens that are left.
fn limit(pieces: &mut Vec<Piece>, max_tokens: u64) -> (bool, u64) {
    let mut used = 0;
    for i in 0..pieces.len() {
        let text = match &mut pieces[i] {
            // The provider's own work is no output of the model.
            Piece::Server(_) => continue,
            Piece::Text(text)
            | Piece::Cited { text, .. }
            | Piece::Thinking { text, .. }
            | Piece::Redacted(text)
            | Piece::Tool { json: text, .. } => text,
        };
        let tokens = tokens_of_bytes(text.len() as u64);
        if used + tokens > max_tokens {
            let bytes = usize::try_from((max_tokens - used) * BYTES_PER_TOKEN).unwrap_or(usize::MAX);
            text.truncate(floor_char_boundary(text, bytes));
            let keep = if text.is_empty() { i } else { i + 1 };
            pieces.truncate(keep);
            return (true, max_tokens);
        }
        used += tokens;
    }
    (false, used)
}

const FILLER: &str = "the quick brown fox jumps over the lazy dog and ";

fn pad(text: &mut String, tokens: u64) {
    let bytes = usize::try_from(tokens * BYTES_PER_TOKEN).unwrap_or(usize::MAX);
    while text.len() < bytes {
        let missing = bytes - text.len();
        text.push_str(&FILLER[..missing.min(FILLER.len())]);
    }
}

/// An id of 24 letters and digits, drawn from a number.
pub(crate) fn drawn_id(prefix: &str, seed: u64) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz";
    let mut out = String::with_capacity(prefix.len() + 24);
    out.push_str(prefix);
    out.push_str("01");
    let mut bits = mix(seed);
    for i in 0..22u64 {
        if i == 11 {
            bits = mix(bits ^ seed.rotate_left(17));
        }
        out.push(char::from(DIGITS[usize::try_from(bits % DIGITS.len() as u64).unwrap_or(0)]));
        bits /= DIGITS.len() as u64;
    }
    out
}

/// The signature this provider puts under a thinking text, so that a changed one is noticed when it comes back.
pub(crate) fn signature_of(thinking: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in thinking.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    drawn_id("EqoB", hash)
}
