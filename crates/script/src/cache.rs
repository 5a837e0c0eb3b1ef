//! The prompt cache of a provider, simulated: a prefix that was marked and seen before is read, else it is written. A written prefix can be read only
//! once the call that writes it has produced its first token; that is why agents started at the same moment all pay. Time is an argument.
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use maos_engine::message::{Block, Request, Role};

use crate::tokens::{BYTES_PER_TOKEN, block_bytes, tokens_of_bytes, value_bytes};

/// A cache boundary asked for by the caller: everything up to here may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// After what.
    pub place: Place,
    /// Kept for an hour instead of five minutes.
    pub one_hour: bool,
}

/// A place in a request. The order of a prompt is tools, system, messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// After so many tools.
    Tools {
        /// How many.
        count: usize,
    },
    /// After so many bytes of the system prompt.
    System {
        /// How many.
        bytes: usize,
    },
    /// After a block of a message.
    Block {
        /// Index of the message.
        message: usize,
        /// Index of the block.
        block: usize,
    },
}

/// A prefix is looked for at most this many boundaries before a mark, as the real one does.
const LOOK_BACK_BOUNDARIES_MAX: usize = 20;
/// Most prefixes kept; the store is emptied when it is full.
const PREFIXES_MAX: usize = 200_000;
const FIVE_MINUTES_MS: u64 = 300_000;
const ONE_HOUR_MS: u64 = 3_600_000;

/// What a request is, for counting and caching: made in one pass.
pub(crate) struct Fingerprint {
    /// The same for the same request (model, system, tools and messages).
    pub(crate) hash: u64,
    /// All input tokens.
    pub(crate) tokens: u64,
    boundaries: Vec<Boundary>,
}

struct Boundary {
    hash: u64,
    bytes: u64,
    /// `Some(one_hour)` where the caller set a mark.
    mark: Option<bool>,
}

impl Fingerprint {
    /// Reads the request once. Boundaries are only collected if there are marks.
    pub(crate) fn of(request: &Request, marks: &[Mark]) -> Self {
        let mut reader = Reader { hasher: DefaultHasher::new(), bytes: 0, boundaries: Vec::new(), marks };
        request.model.hash(&mut reader.hasher);
        for (i, tool) in request.provider_tools.iter().enumerate() {
            tool.hash(&mut reader.hasher);
            reader.bytes += value_bytes(tool);
            reader.boundary(Place::Tools { count: i + 1 });
        }
        for (i, tool) in request.tools.iter().enumerate() {
            tool.name.hash(&mut reader.hasher);
            tool.description.hash(&mut reader.hasher);
            tool.input_schema.hash(&mut reader.hasher);
            reader.bytes += (tool.name.len() + tool.description.len()) as u64 + value_bytes(&tool.input_schema);
            reader.boundary(Place::Tools { count: request.provider_tools.len() + i + 1 });
        }
        reader.system(&request.system);
        for (m, message) in request.messages.iter().enumerate() {
            (message.role == Role::User).hash(&mut reader.hasher);
            for (b, block) in message.content.iter().enumerate() {
                hash_block(block, &mut reader.hasher);
                reader.bytes += block_bytes(block);
                reader.boundary(Place::Block { message: m, block: b });
            }
        }
        Self { hash: reader.hasher.finish(), tokens: tokens_of_bytes(reader.bytes), boundaries: reader.boundaries }
    }
}

struct Reader<'a> {
    hasher: DefaultHasher,
    bytes: u64,
    boundaries: Vec<Boundary>,
    marks: &'a [Mark],
}

impl Reader<'_> {
    fn boundary(&mut self, place: Place) {
        if self.marks.is_empty() {
            return;
        }
        let mark = self.marks.iter().find(|mark| mark.place == place).map(|mark| mark.one_hour);
        self.boundaries.push(Boundary { hash: self.hasher.finish(), bytes: self.bytes, mark });
    }

    fn system(&mut self, system: &str) {
        if system.is_empty() {
            return;
        }
        let mut done = 0;
        let mut cuts: Vec<usize> = self
            .marks
            .iter()
            .filter_map(|mark| match mark.place {
                Place::System { bytes } if bytes < system.len() => Some(bytes),
                Place::System { .. } | Place::Tools { .. } | Place::Block { .. } => None,
            })
            .collect();
        cuts.sort_unstable();
        for cut in cuts {
            self.hasher.write(&system.as_bytes()[done..cut.max(done)]);
            self.bytes += (cut.max(done) - done) as u64;
            done = cut.max(done);
            self.boundary(Place::System { bytes: cut });
        }
        self.hasher.write(&system.as_bytes()[done..]);
        self.bytes += (system.len() - done) as u64;
        // A mark "after the system prompt" may name any length from the whole on.
        if let Some(at) = self.marks.iter().find_map(|mark| match mark.place {
            Place::System { bytes } if bytes >= system.len() => Some(mark.place),
            Place::System { .. } | Place::Tools { .. } | Place::Block { .. } => None,
        }) {
            self.boundary(at);
        } else {
            self.boundary(Place::System { bytes: system.len() });
        }
    }
}

fn hash_block(block: &Block, hasher: &mut DefaultHasher) {
    match block {
        Block::Text { text } => (0u8, text).hash(hasher),
        Block::Thinking { thinking, signature } => (1u8, thinking, signature).hash(hasher),
        Block::RedactedThinking { data } => (2u8, data).hash(hasher),
        Block::ToolUse { id, name, input } => (3u8, id, name, input).hash(hasher),
        Block::BadToolUse { id, name, raw, .. } => (4u8, id, name, raw).hash(hasher),
        Block::Provider { block } => (6u8, block).hash(hasher),
        Block::ToolResult { tool_use_id, content, is_error } => (5u8, tool_use_id, content, is_error).hash(hasher),
    }
}

/// Input tokens by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Input {
    pub(crate) fresh: u64,
    pub(crate) read: u64,
    pub(crate) write_5m: u64,
    pub(crate) write_1h: u64,
}

/// The store of prefixes.
pub(crate) struct Cache {
    min_tokens: u64,
    enabled: bool,
    /// Hash of a prefix → (readable until, one hour).
    prefixes: Mutex<HashMap<u64, (u64, bool)>>,
}

impl Cache {
    pub(crate) fn new(enabled: bool, min_tokens: u64) -> Self {
        Self { min_tokens, enabled, prefixes: Mutex::new(HashMap::new()) }
    }

    /// Sorts the input tokens of a call into classes, and names the prefixes it will write (low bit: one hour).
    pub(crate) fn classify(&self, print: &Fingerprint, key: &str, now_ms: u64) -> (Input, Vec<u64>) {
        let fresh = Input { fresh: print.tokens, ..Input::default() };
        let marked = |b: &Boundary| b.mark.is_some() && b.bytes / BYTES_PER_TOKEN >= self.min_tokens;
        if !self.enabled || !print.boundaries.iter().any(marked) {
            return (fresh, Vec::new());
        }
        let mut key_hasher = DefaultHasher::new();
        key.hash(&mut key_hasher);
        let salt = key_hasher.finish() & !1;
        let name = |b: &Boundary| (b.hash ^ salt) & !1;
        let mut read = 0;
        {
            let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
            for (i, _) in print.boundaries.iter().enumerate().filter(|(_, b)| marked(b)) {
                let first = i.saturating_sub(LOOK_BACK_BOUNDARIES_MAX);
                for b in print.boundaries[first..=i].iter().rev() {
                    if let Some((until, one_hour)) = prefixes.get_mut(&name(b)).filter(|(until, _)| *until > now_ms) {
                        // Reading keeps a prefix alive.
                        *until = now_ms + if *one_hour { ONE_HOUR_MS } else { FIVE_MINUTES_MS };
                        read = read.max(b.bytes / BYTES_PER_TOKEN);
                        break;
                    }
                }
            }
        }
        let mut input = Input { read, ..Input::default() };
        let mut warms = Vec::new();
        let mut done = read;
        for b in print.boundaries.iter().filter(|b| marked(b)) {
            let tokens = b.bytes / BYTES_PER_TOKEN;
            if tokens <= done {
                continue;
            }
            let one_hour = b.mark == Some(true);
            *if one_hour { &mut input.write_1h } else { &mut input.write_5m } += tokens - done;
            warms.push(name(b) | u64::from(one_hour));
            done = tokens;
        }
        input.fresh = print.tokens - done;
        (input, warms)
    }

    /// The call that writes these prefixes has produced its first token: from now on they can be read.
    pub(crate) fn warm(&self, warms: &[u64], now_ms: u64) {
        if warms.is_empty() {
            return;
        }
        let mut prefixes = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        if prefixes.len() + warms.len() > PREFIXES_MAX {
            prefixes.clear();
        }
        for warm in warms {
            let one_hour = warm & 1 == 1;
            prefixes.insert(warm & !1, (now_ms + if one_hour { ONE_HOUR_MS } else { FIVE_MINUTES_MS }, one_hour));
        }
    }
}
