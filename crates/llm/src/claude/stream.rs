//! Puts a reply together from the events of a stream.
//!
//! Invariant: only a stream that gave a stop reason and closed its blocks becomes a reply. Unknown events, blocks and deltas are
//! passed over; garbled ones end the attempt. Blocks of the provider's own tools are kept as they came. What a text cites of them stands
//! behind it as links, because everybody who reads it later sees the text alone.
use std::borrow::Cow;

use maos_engine::message::{Block, CallError, FailureClass, Reply, StopReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::error::{self, WireError};
use crate::{
    estimate,
    http::Who,
    model::{Part, PartSink},
    tools::{self, tool_block},
    usage::Count,
};

/// Blocks in one reply.
const BLOCKS_MAX: usize = 4_096;
/// Pages cited by one block of text; more are left out.
const CITED_MAX: usize = 16;
/// Longest address of a cited page, bytes; one with a longer is left out.
const ADDRESS_BYTES_MAX: usize = 2 * 1024;
/// Longest title of a cited page, characters.
const TITLE_CHARS_MAX: usize = 120;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<Start<'a>>,
    message: Option<Head>,
    usage: Option<WireUsage>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    thinking: Cow<'a, str>,
    #[serde(borrow, default)]
    signature: Cow<'a, str>,
    #[serde(borrow, default)]
    partial_json: Cow<'a, str>,
    citation: Option<Citation>,
    stop_reason: Option<String>,
}

/// A place that a text refers to. Only those on the web have an address; places in documents have none and are passed over.
#[derive(Deserialize)]
struct Citation {
    url: Option<String>,
    title: Option<String>,
}

impl Citation {
    /// As a Markdown link.
    fn link(&self) -> Option<String> {
        let url = Url::parse(self.url.as_deref()?)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.as_str().len() <= ADDRESS_BYTES_MAX)?;
        // A link ends at the first parenthesis of its address that has no partner.
        let address = url.as_str().replace('(', "%28").replace(')', "%29");
        let title = self.title.as_deref().unwrap_or_default();
        let plain = title.chars().map(|c| if c.is_control() || "[]<>`\\".contains(c) { ' ' } else { c });
        let words = plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        let title: String = words.chars().take(TITLE_CHARS_MAX).collect();
        Some(if title.is_empty() { format!("<{address}>") } else { format!("[{title}]({address})") })
    }
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    model: String,
    usage: Option<WireUsage>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
}

/// Tools that the provider ran.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Count,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

impl WireUsage {
    /// Later events carry later totals; what they leave out stays.
    fn update(&mut self, later: Self) {
        self.input_tokens.update(later.input_tokens);
        self.output_tokens.update(later.output_tokens);
        self.cache_creation_input_tokens.update(later.cache_creation_input_tokens);
        self.cache_read_input_tokens.update(later.cache_read_input_tokens);
        if later.server_tool_use.is_some() {
            self.server_tool_use = later.server_tool_use;
        }
        if later.cache_creation.is_some() {
            self.cache_creation = later.cache_creation;
        }
    }
}

enum Building {
    /// A text, and links to what it cites.
    Text {
        text: String,
        cited: Vec<String>,
    },
    Thinking {
        thinking: String,
        signature: String,
    },
    Redacted(String),
    Tool {
        id: String,
        name: String,
        json: String,
        input: Option<Value>,
    },
    /// Of a tool that the provider runs itself: the block as it began, and the arguments that came after.
    Provider {
        block: Value,
        json: String,
    },
    /// A kind we do not know.
    Other,
}

#[derive(Deserialize)]
struct Raw {
    content_block: Value,
}

/// Calls and results of tools that the provider runs itself.
fn is_providers(kind: &str) -> bool {
    kind == "server_tool_use" || kind.ends_with("_tool_result")
}

struct Slot {
    index: u32,
    building: Building,
    open: bool,
}

/// A reply in the making.
pub(super) struct Assembler<'a> {
    who: &'a Who,
    parts: &'a dyn PartSink,
    wanted: bool,
    model: String,
    slots: Vec<Slot>,
    usage: WireUsage,
    stop: Option<String>,
    over: bool,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(who: &'a Who, parts: &'a dyn PartSink) -> Self {
        Self {
            who,
            wanted: parts.wanted(),
            parts,
            model: String::new(),
            slots: Vec::new(),
            usage: WireUsage::default(),
            stop: None,
            over: false,
        }
    }

    /// The stream has said that it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The stop reason has come.
    pub(super) fn has_stop(&self) -> bool {
        self.stop.is_some()
    }

    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &[u8]) -> Result<(), CallError> {
        if self.over || data.is_empty() {
            return Ok(());
        }
        let event: Event<'_> =
            serde_json::from_slice(data).map_err(|e| self.truncated(&format!("an event is not what it should be: {e}")))?;
        match &*event.kind {
            "content_block_delta" => self.delta(event.index, event.delta),
            "content_block_start" => return self.start(event.index, event.content_block, data),
            "content_block_stop" => {
                let (wanted, parts) = (self.wanted, self.parts);
                if let Some(slot) = self.slot(event.index)
                    && std::mem::take(&mut slot.open)
                    && let Building::Text { text, cited } = &mut slot.building
                    && !cited.is_empty()
                {
                    let links = format!(" ({})", std::mem::take(cited).join(", "));
                    text.push_str(&links);
                    if wanted {
                        parts.part(Part::Text(links));
                    }
                }
            }
            "message_start" => {
                if let Some(head) = event.message {
                    self.model = head.model;
                    self.usage.update(head.usage.unwrap_or_default());
                }
            }
            "message_delta" => {
                self.usage.update(event.usage.unwrap_or_default());
                if let Some(stop) = event.delta.and_then(|d| d.stop_reason) {
                    self.stop = Some(stop);
                }
            }
            "message_stop" => self.over = true,
            "ping" => {}
            // llama.cpp sends an error without a kind.
            "error" | "" => {
                if let Some(error) = &event.error {
                    return Err(error::of_event(self.who, error));
                }
            }
            other => tracing::debug!(kind = other, "an unknown event was passed over"),
        }
        Ok(())
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().rev().find(|s| s.index == index)
    }

    fn start(&mut self, index: u32, start: Option<Start<'_>>, data: &[u8]) -> Result<(), CallError> {
        let Some(start) = start else { return Ok(()) };
        if self.slots.len() >= BLOCKS_MAX {
            return Err(self.truncated(&format!("more than {BLOCKS_MAX} blocks")));
        }
        let building = match &*start.kind {
            "text" => Building::Text { text: start.text.unwrap_or_default(), cited: Vec::new() },
            "thinking" => {
                Building::Thinking { thinking: start.thinking.unwrap_or_default(), signature: start.signature.unwrap_or_default() }
            }
            "redacted_thinking" => Building::Redacted(start.data.unwrap_or_default()),
            "tool_use" => {
                let name = start.name.unwrap_or_default();
                if self.wanted {
                    self.parts.part(Part::ToolStart { name: name.clone() });
                }
                Building::Tool { id: start.id.unwrap_or_default(), name, json: String::new(), input: start.input }
            }
            kind if is_providers(kind) => {
                if self.wanted
                    && let Some(name) = start.name
                {
                    self.parts.part(Part::ToolStart { name });
                }
                let raw: Raw = serde_json::from_slice(data).map_err(|e| self.truncated(&format!("a block cannot be read: {e}")))?;
                Building::Provider { block: raw.content_block, json: String::new() }
            }
            other => {
                tracing::debug!(kind = other, "an unknown block was passed over");
                Building::Other
            }
        };
        self.slots.push(Slot { index, building, open: true });
        Ok(())
    }

    fn delta(&mut self, index: u32, delta: Option<Delta<'_>>) {
        let Some(delta) = delta else { return };
        let (wanted, parts) = (self.wanted, self.parts);
        let Some(slot) = self.slot(index) else { return };
        match (&mut slot.building, &*delta.kind) {
            (Building::Text { cited, .. }, "citations_delta") => {
                if let Some(link) = delta.citation.as_ref().and_then(Citation::link)
                    && cited.len() < CITED_MAX
                    && !cited.contains(&link)
                {
                    cited.push(link);
                }
            }
            (Building::Text { text, .. }, "text_delta") => {
                text.push_str(&delta.text);
                if wanted {
                    parts.part(Part::Text(delta.text.into_owned()));
                }
            }
            (Building::Thinking { thinking, .. }, "thinking_delta") => {
                thinking.push_str(&delta.thinking);
                if wanted {
                    parts.part(Part::Thinking(delta.thinking.into_owned()));
                }
            }
            (Building::Thinking { signature, .. }, "signature_delta") => signature.push_str(&delta.signature),
            (Building::Tool { json, .. } | Building::Provider { json, .. }, "input_json_delta") => json.push_str(&delta.partial_json),
            (_, other) => tracing::debug!(kind = other, "an unknown delta was passed over"),
        }
    }

    fn truncated(&self, text: &str) -> CallError {
        truncated(self.who, text)
    }

    /// The reply, if the stream was whole. `request_bytes` is for the estimate where usage is missing.
    pub(super) fn finish(self, request_bytes: usize, request_id: Option<String>) -> Result<Reply, CallError> {
        let Some(raw) = &self.stop else {
            return Err(self.truncated("the stream ended without a stop reason; the answer is not taken"));
        };
        let stop = stop_reason(raw);
        let cut = stop == StopReason::MaxTokens;
        if self.slots.iter().any(|s| s.open) && !cut {
            return Err(self.truncated("the stream ended inside a block; the answer is not taken"));
        }
        let last = self.slots.len().saturating_sub(1);
        let mut content = Vec::with_capacity(self.slots.len());
        for (i, slot) in self.slots.into_iter().enumerate() {
            match slot.building {
                Building::Text { text, .. } if text.is_empty() => {}
                Building::Text { text, .. } => content.push(Block::Text { text }),
                // Unsigned because cut: it could not be sent back.
                Building::Thinking { signature, .. } if signature.is_empty() && slot.open => {}
                Building::Thinking { thinking, signature } => content.push(Block::Thinking { thinking, signature }),
                Building::Redacted(data) => content.push(Block::RedactedThinking { data }),
                Building::Tool { id, name, json, input } => {
                    content.push(tool_block(id, name, json, input, cut && i == last));
                }
                Building::Provider { .. } if slot.open => {}
                Building::Provider { block, json } => match provider_block(block, &json) {
                    Ok(block) => content.push(block),
                    Err(why) => {
                        let text = format!("the arguments of a tool of the provider are not JSON ({why}); the answer is not taken");
                        return Err(truncated(self.who, &text));
                    }
                },
                Building::Other => {}
            }
        }
        if cut {
            drop_unanswered(&mut content);
        }
        tools::make_ids_unique(&mut content, "toolu");
        let usage = usage(self.usage, request_bytes, &content);
        Ok(Reply { model: self.model, content, stop, usage, request_id })
    }
}

fn truncated(who: &Who, text: &str) -> CallError {
    CallError { status: Some(200), possibly_billed: true, ..who.error(FailureClass::Truncated, text) }
}

/// The block with the arguments that were streamed after its beginning.
fn provider_block(mut block: Value, json: &str) -> Result<Block, serde_json::Error> {
    if !json.trim().is_empty() {
        let input = serde_json::from_str(json)?;
        if let Some(map) = block.as_object_mut() {
            map.insert("input".to_owned(), input);
        }
    }
    Ok(Block::Provider { block })
}

/// Where the output limit cut the reply, a call of the provider's tool may stand without its result; the API would not take it back so.
fn drop_unanswered(content: &mut Vec<Block>) {
    let answered: Vec<String> = content
        .iter()
        .filter_map(|b| if let Block::Provider { block } = b { block["tool_use_id"].as_str().map(str::to_owned) } else { None })
        .collect();
    content.retain(|b| match b {
        Block::Provider { block } if block["type"] == "server_tool_use" => answered.iter().any(|id| block["id"] == id.as_str()),
        _ => true,
    });
}

fn stop_reason(raw: &str) -> StopReason {
    match raw {
        "end_turn" => StopReason::EndTurn,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "model_context_window_exceeded" => StopReason::ContextExceeded,
        other => StopReason::Unknown { raw: other.chars().take(64).collect() },
    }
}

fn usage(wire: WireUsage, request_bytes: usize, content: &[Block]) -> Usage {
    let mut estimated = false;
    let mut or = |count: Count, estimate: u64| {
        count.known().unwrap_or_else(|| {
            estimated = true;
            estimate
        })
    };
    let input_tokens = or(wire.input_tokens, estimate::tokens(request_bytes));
    let output_tokens = or(wire.output_tokens.not_zero_if(!content.is_empty()), estimate::content_tokens(content));
    // The classes of caching are optional; but a figure that is no count is an estimate of 0.
    let mut optional = |count: Count| match count {
        Count::Missing => 0,
        Count::Known(n) => n,
        Count::Impossible => {
            estimated = true;
            0
        }
    };
    let written = optional(wire.cache_creation_input_tokens);
    let cache_read_tokens = optional(wire.cache_read_input_tokens);
    let (cache_write_5m_tokens, cache_write_1h_tokens) = match wire.cache_creation {
        Some(split) => (optional(split.ephemeral_5m_input_tokens), optional(split.ephemeral_1h_input_tokens)),
        None => (written, 0),
    };
    let web_searches = optional(wire.server_tool_use.unwrap_or_default().web_search_requests);
    Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, web_searches, estimated }
}

#[cfg(test)]
mod tests {
    use super::Assembler;
    use crate::{http::Who, model::NoParts, testing::mutations};
    use maos_engine::message::Block;
    use serde_json::json;

    const EVENTS: [&str; 13] = [
        r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":1}}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":\"\u00e9\"}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"hi"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"query\":\"q\"}"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9,"server_tool_use":{"web_search_requests":1}}}"#,
    ];

    fn read(events: &[&str]) -> Result<maos_engine::message::Reply, maos_engine::message::CallError> {
        let who = Who { provider: "claude", host: "h".into(), key: None, key_name: "K".into() };
        let mut reply = Assembler::new(&who, &NoParts);
        events.iter().try_for_each(|event| reply.event(event.as_bytes()))?;
        reply.finish(100, None)
    }

    #[test]
    fn blocks_of_the_providers_tools_are_kept_whole_or_not_at_all() {
        let whole = read(&EVENTS).unwrap();
        let Block::Provider { block } = &whole.content[2] else { panic!("{:?}", whole.content) };
        assert_eq!(*block, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}));
        let Block::Provider { block } = &whole.content[3] else { panic!("{:?}", whole.content) };
        assert_eq!(*block, json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}));
        assert_eq!(whole.usage.web_searches, 1);
        // Cut by the output limit before the result came: the call alone could not be sent back.
        let cut = EVENTS[12].replace("tool_use\"}", "max_tokens\"}");
        let without: Vec<&str> = EVENTS[..10].iter().copied().chain([EVENTS[10], cut.as_str()]).collect();
        assert_eq!(read(&without).unwrap().content.len(), 2);
        let garbled: Vec<String> = EVENTS.iter().map(|e| e.replace("\\\"query\\\"", "query")).collect();
        let garbled: Vec<&str> = garbled.iter().map(String::as_str).collect();
        assert!(read(&garbled).unwrap_err().message.contains("not JSON"));
    }

    #[test]
    fn what_a_text_cites_stands_behind_it() {
        let page = |url: &str, title: &str| {
            let citation =
                json!({"type": "web_search_result_location", "url": url, "title": title, "cited_text": "x", "encrypted_index": "E"});
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": citation}}).to_string()
        };
        let cites = [
            page("https://example.org/a_(b)?q=1", "A [page]\n of `words`"),
            page("https://example.org/a_(b)?q=1", "A [page]\n of `words`"),
            page("http://example.org/", ""),
            page("javascript:alert(1)", "no page"),
            page(&format!("https://example.org/{}", "x".repeat(3_000)), "too long"),
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"char_location","document_index":0}}}"#
                .to_owned(),
        ];
        let mut events = EVENTS.map(str::to_owned).to_vec();
        events.splice(5..5, cites);
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let text = read(&events).unwrap().text();
        assert_eq!(text, "hi ([A page of words](https://example.org/a_%28b%29?q=1), <http://example.org/>)");
    }

    #[test]
    fn garbled_streams_end_in_an_answer_or_an_error_and_never_in_a_panic() {
        let who = Who { provider: "claude", host: "h".into(), key: None, key_name: "K".into() };
        let (mut good, mut bad) = (0, 0);
        for stream in mutations(&EVENTS, 5_000) {
            let mut reply = Assembler::new(&who, &NoParts);
            let read = stream.iter().try_for_each(|event| reply.event(event));
            match read.and_then(|()| reply.finish(100, None)) {
                Ok(reply) => {
                    good += 1;
                    assert!(reply.content.len() <= 4);
                }
                Err(error) => {
                    bad += 1;
                    assert!(error.possibly_billed);
                }
            }
        }
        assert!(good > 100 && bad > 100, "{good} {bad}");
    }
}
