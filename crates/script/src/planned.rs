//! What the script has decided about one call: the answer, its timing and its fault. Plain data, made once per call.
use std::sync::Arc;
use std::time::Duration;

use maos_engine::message::{Block, Reply, StopReason, Usage};

use crate::fault::Fault;
use crate::rate::RateSeen;
use crate::yaml::WireYaml;

/// Most bytes of a garbled tool input that are kept in the engine's words.
const BAD_INPUT_BYTES_MAX: usize = 4 << 10;

/// The kind of a call of a tool that the provider runs itself.
pub(crate) const SERVER_TOOL_USE: &str = "server_tool_use";

/// One block of the reply, as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text.
    Text(String),
    /// Text with citations of what was found before.
    Cited {
        /// The text.
        text: String,
        /// The citations, as the Messages API has them; nobody else says them.
        citations: Vec<serde_json::Value>,
    },
    /// Extended thinking with its signature.
    Thinking {
        /// The thinking text.
        text: String,
        /// The signature over it.
        signature: String,
    },
    /// Encrypted thinking.
    Redacted(String),
    /// A tool call.
    Tool {
        /// Its id.
        id: String,
        /// Name of the tool.
        name: String,
        /// The arguments as text; usually JSON, garbled when the script says so.
        json: String,
    },
    /// A block of a tool that the provider runs itself.
    Server(serde_json::Value),
}

/// One thing a client of a stream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Some thinking.
    Thinking(&'a str),
    /// Some text.
    Text(&'a str),
    /// A tool call begins.
    ToolStart {
        /// Its id.
        id: &'a str,
        /// Name of the tool.
        name: &'a str,
    },
    /// Some of its arguments.
    ToolJson(&'a str),
}

/// What is said about usage on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageSaid {
    /// Nothing.
    Missing,
    /// These figures: input, output, cache read, cache write 5 minutes, cache write 1 hour. Negative ones only when the script says so.
    Figures {
        /// Uncached input tokens.
        input: i64,
        /// Output tokens.
        output: i64,
        /// Read from the cache.
        cache_read: i64,
        /// Written to the 5-minute cache.
        cache_write_5m: i64,
        /// Written to the 1-hour cache.
        cache_write_1h: i64,
    },
}

/// How the bytes of a good reply are laid on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wire {
    /// The stream begins with a byte order mark.
    pub bom: bool,
    /// Lines end in CRLF.
    pub crlf: bool,
    /// Written in pieces of this many bytes, which splits characters and events.
    pub split_bytes: Option<usize>,
    /// This many more pings, before and between the content.
    pub pings: usize,
    /// An event of an unknown type is sent.
    pub unknown_event: bool,
    /// Comment lines are sent.
    pub comments: bool,
    /// An event of an unknown type with a data line of this many bytes is sent.
    pub huge_line_bytes: usize,
}

impl From<WireYaml> for Wire {
    fn from(yaml: WireYaml) -> Self {
        let WireYaml { bom, crlf, split_bytes, pings, unknown_event, comments, huge_line_bytes } = yaml;
        Self { bom, crlf, split_bytes, pings, unknown_event, comments, huge_line_bytes }
    }
}

/// The answer to one call.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Name of the rule that answered; `-` if none matched.
    pub rule: Arc<str>,
    /// Time before the first byte.
    pub latency: Duration,
    /// The first byte also waits until the script has had so many calls; see [`crate::ScriptState::until_calls`].
    pub until_calls: Option<u64>,
    /// Time between two chunks of content; zero: all at once.
    pub drip: Duration,
    /// Bytes of content in a chunk (cut at character borders).
    pub chunk_bytes: usize,
    /// The blocks of the reply.
    pub pieces: Vec<Piece>,
    /// Why the model stops.
    pub stop: StopReason,
    /// What is said about usage.
    pub usage_said: UsageSaid,
    /// What the call really used (five disjoint classes).
    pub usage: Usage,
    /// How the call fails, if it does.
    pub fault: Option<Fault>,
    /// More headers for the answer, good or bad.
    pub headers: Vec<(String, String)>,
    /// On a wire, the seconds in the header `retry-after` are told as a date.
    pub retry_as_date: bool,
    /// How the bytes are laid.
    pub wire: Wire,
    /// Where the key stands against its limits, if there are any.
    pub rate: Option<RateSeen>,
    /// Model that was asked.
    pub model: String,
    /// `msg_…`, the same for the same request.
    pub message_id: String,
    /// `req_…`, different for every call.
    pub request_id: String,
    /// Prefixes that become readable with the first token; see [`crate::ScriptState::first_token`].
    pub(crate) warms: Vec<u64>,
    /// The caller's clock when the call came, in milliseconds.
    pub(crate) at_ms: u64,
}

impl Planned {
    /// The reply in the engine's words. Missing or impossible usage is replaced by the counted one and marked as estimated, as a provider does.
    pub fn reply(&self) -> Reply {
        let usage = match self.usage_said {
            UsageSaid::Missing => Usage { estimated: true, ..self.usage },
            UsageSaid::Figures { input, output, cache_read, cache_write_5m, cache_write_1h } => {
                figures([input, output, cache_read, cache_write_5m, cache_write_1h], self.usage)
            }
        };
        Reply {
            model: self.model.clone(),
            content: self.pieces.iter().map(block_of).collect(),
            stop: self.stop.clone(),
            usage,
            request_id: Some(self.request_id.clone()),
        }
    }

    /// The content in the order and the chunks of a stream.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let size = self.chunk_bytes;
        self.pieces.iter().flat_map(move |piece| -> Box<dyn Iterator<Item = Part<'_>> + '_> {
            match piece {
                Piece::Text(text) | Piece::Cited { text, .. } => Box::new(chunks(text, size).map(Part::Text)),
                Piece::Thinking { text, .. } => Box::new(chunks(text, size).map(Part::Thinking)),
                Piece::Server(block) if block["type"] == SERVER_TOOL_USE => {
                    let text = |key: &str| block[key].as_str().unwrap_or("");
                    Box::new(std::iter::once(Part::ToolStart { id: text("id"), name: text("name") }))
                }
                Piece::Redacted(_) | Piece::Server(_) => Box::new(std::iter::empty()),
                Piece::Tool { id, name, json } => {
                    Box::new(std::iter::once(Part::ToolStart { id, name }).chain(chunks(json, size).map(Part::ToolJson)))
                }
            }
        })
    }
}

fn figures(said: [i64; 5], counted: Usage) -> Usage {
    let mut tokens = [0u64; 5];
    for (to, from) in tokens.iter_mut().zip(said) {
        match u64::try_from(from) {
            Ok(n) => *to = n,
            Err(_) => {
                return Usage { estimated: true, ..counted };
            }
        }
    }
    let [input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens] = tokens;
    let web_searches = counted.web_searches;
    Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, web_searches, estimated: false }
}

fn block_of(piece: &Piece) -> Block {
    match piece {
        Piece::Text(text) | Piece::Cited { text, .. } => Block::Text { text: text.clone() },
        Piece::Thinking { text, signature } => Block::Thinking { thinking: text.clone(), signature: signature.clone() },
        Piece::Server(block) => Block::Provider { block: block.clone() },
        Piece::Redacted(data) => Block::RedactedThinking { data: data.clone() },
        Piece::Tool { id, name, json } => match serde_json::from_str(json) {
            Ok(input) => Block::ToolUse { id: id.clone(), name: name.clone(), input },
            Err(error) => Block::BadToolUse {
                id: id.clone(),
                name: name.clone(),
                raw: json[..floor_char_boundary(json, BAD_INPUT_BYTES_MAX)].to_owned(),
                error: error.to_string(),
            },
        },
    }
}

/// The greatest character border that is not past `at`.
pub(crate) fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Cuts a text in pieces of about `size` bytes, at character borders.
pub(crate) fn chunks(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let size = size.max(1);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = floor_char_boundary(rest, size);
        if end == 0 {
            end = rest.char_indices().nth(1).map_or(rest.len(), |(i, _)| i);
        }
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_every_character() {
        let text = "aä€😀 end";
        for size in 1..12 {
            assert_eq!(chunks(text, size).collect::<String>(), text, "size {size}");
        }
        assert_eq!(chunks("abcdef", 4).collect::<Vec<_>>(), ["abcd", "ef"]);
        assert_eq!(chunks("", 4).count(), 0);
    }
}
