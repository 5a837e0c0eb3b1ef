//! Writes a request as the Messages API wants it. One pass, borrowed, straight into the bytes that are sent.
use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Value, json};

use crate::prices::{Accepts, ThinkingForm};

/// The smallest thinking budget the API takes.
const THINKING_TOKENS_MIN: u32 = 1_024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<SystemBlock<'a>>,
    #[serde(skip_serializing_if = "no_tools")]
    tools: Tools<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    messages: Messages<'a>,
}

#[derive(Serialize)]
struct SystemBlock<'a> {
    r#type: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Cache>,
}

/// `{"type":"ephemeral"}`: what comes before may be kept by the provider for five minutes.
#[derive(Serialize, Clone, Copy)]
struct Cache {
    r#type: &'static str,
}

const CACHE: Cache = Cache { r#type: "ephemeral" };

/// The provider's own tools stand first, so that the cache boundary after the last of ours covers all.
struct Tools<'a> {
    own: &'a [Value],
    ours: &'a [ToolSpec],
}

fn no_tools(tools: &Tools<'_>) -> bool {
    tools.own.is_empty() && tools.ours.is_empty()
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Cache>,
}

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(Some(self.own.len() + self.ours.len()))?;
        for tool in self.own {
            seq.serialize_element(tool)?;
        }
        for (i, tool) in self.ours.iter().enumerate() {
            seq.serialize_element(&Tool {
                name: &tool.name,
                description: &tool.description,
                input_schema: &tool.input_schema,
                cache_control: (i + 1 == self.ours.len()).then_some(CACHE),
            })?;
        }
        seq.end()
    }
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

struct Messages<'a>(&'a [Message]);

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Content<'a>,
}

struct Content<'a> {
    blocks: &'a [Block],
    /// Indexes of the blocks after which a cache boundary is set.
    cache_at: [Option<usize>; 2],
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(None)?;
        // A message that is left without content may not be sent.
        let last = self.0.iter().rposition(|m| m.content.iter().any(|b| sent(b, m.role)));
        for (i, message) in self.0.iter().enumerate() {
            if !message.content.iter().any(|b| sent(b, message.role)) {
                continue;
            }
            // What agents share ends inside the first message, after the task; everything so far is read again in the next turn.
            let at_task = (i == 0).then(|| shared_end(message)).flatten();
            let at_end = (Some(i) == last).then(|| message.content.iter().rposition(|b| sent(b, message.role) && bears_mark(b))).flatten();
            let cache_at = [at_task, at_end];
            let role = match message.role {
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            seq.serialize_element(&WireMessage { role, content: Content { blocks: &message.content, cache_at } })?;
        }
        seq.end()
    }
}

/// Where the part of the first message that several agents share ends, if it is a part.
fn shared_end(message: &Message) -> Option<usize> {
    let mut blocks = message.content.iter().enumerate().filter(|(_, b)| sent(b, message.role));
    let (first, block) = blocks.next()?;
    blocks.next()?;
    (message.role == Role::User && bears_mark(block)).then_some(first)
}

/// Thinking cannot carry a cache boundary, and a block of the provider's own goes back unchanged.
fn bears_mark(block: &Block) -> bool {
    !matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::Provider { .. })
}

/// Empty text is refused by the API, and so is thinking that carries no signature of its own (it came from elsewhere).
fn sent(block: &Block, role: Role) -> bool {
    match block {
        Block::Text { text } => !text.trim().is_empty(),
        Block::Thinking { signature, .. } => role == Role::Assistant && !signature.is_empty(),
        Block::RedactedThinking { .. } | Block::Provider { .. } => role == Role::Assistant,
        Block::ToolUse { .. } | Block::BadToolUse { .. } | Block::ToolResult { .. } => true,
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireBlock<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "is_false")]
        is_error: bool,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Good(&'a Value),
    /// What the model wrote, in a form the API takes: its own words must stay in the conversation.
    Bad {
        arguments_that_were_not_json: &'a str,
    },
}

fn is_false(b: &bool) -> bool {
    !*b
}

#[derive(Serialize)]
struct Cached<'a> {
    #[serde(flatten)]
    block: WireBlock<'a>,
    cache_control: Cache,
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(None)?;
        for (i, block) in self.blocks.iter().enumerate() {
            if !sent(block, Role::Assistant) {
                continue;
            }
            if let Block::Provider { block } = block {
                seq.serialize_element(block)?;
                continue;
            }
            let Some(block) = wire(block) else { continue };
            if self.cache_at.contains(&Some(i)) {
                seq.serialize_element(&Cached { block, cache_control: CACHE })?;
            } else {
                seq.serialize_element(&block)?;
            }
        }
        seq.end()
    }
}

/// `None`: a block that is sent as it is.
fn wire(block: &Block) -> Option<WireBlock<'_>> {
    Some(match block {
        Block::Provider { .. } => return None,
        Block::Text { text } => WireBlock::Text { text },
        Block::Thinking { thinking, signature } => WireBlock::Thinking { thinking, signature },
        Block::RedactedThinking { data } => WireBlock::RedactedThinking { data },
        Block::ToolUse { id, name, input } => WireBlock::ToolUse { id, name, input: Input::Good(input) },
        Block::BadToolUse { id, name, raw, error: _ } => {
            WireBlock::ToolUse { id, name, input: Input::Bad { arguments_that_were_not_json: raw } }
        }
        Block::ToolResult { tool_use_id, content, is_error } => WireBlock::ToolResult { tool_use_id, content, is_error: *is_error },
    })
}

/// The body of a request, as this model accepts it.
pub(super) fn body(request: &Request, accepts: Accepts) -> Result<Vec<u8>, serde_json::Error> {
    let forced = match &request.tool_choice {
        ToolChoice::Any => Some("Answer by calling one of the tools, and in no other way.".to_owned()),
        ToolChoice::Tool { name } => Some(format!("Answer by calling the tool `{name}`, and in no other way.")),
        ToolChoice::Auto | ToolChoice::None => None,
    };
    let thinking = thinking(request, accepts, forced.is_some());
    // Newer models refuse to be forced; they are asked instead, after the cache boundary, and the caller checks what comes.
    let asked = if accepts.forced_tools { None } else { forced };
    let mut system = Vec::new();
    if !request.system.trim().is_empty() {
        system.push(SystemBlock { r#type: "text", text: &request.system, cache_control: Some(CACHE) });
    }
    if let Some(text) = &asked {
        system.push(SystemBlock { r#type: "text", text, cache_control: None });
    }
    let body = Body {
        model: &request.model,
        max_tokens: request.max_output_tokens,
        stream: true,
        system,
        tools: Tools { own: &request.provider_tools, ours: &request.tools },
        tool_choice: choice(request, asked.is_some()),
        temperature: request.temperature_milli.filter(|_| accepts.sampling && thinking.is_none()).map(|milli| f64::from(milli) / 1_000.0),
        thinking,
        messages: Messages(&request.messages),
    };
    let mut out = Vec::with_capacity(1_024 + 4 * crate::estimate::request_tokens(request) as usize);
    serde_json::to_writer(&mut out, &body)?;
    Ok(out)
}

fn choice(request: &Request, asked: bool) -> Option<Choice<'_>> {
    if request.tools.is_empty() && request.provider_tools.is_empty() {
        return None;
    }
    match &request.tool_choice {
        // `auto` is the API's default.
        ToolChoice::Auto => None,
        ToolChoice::Any | ToolChoice::Tool { .. } if asked => None,
        ToolChoice::Any => Some(Choice { r#type: "any", name: None }),
        ToolChoice::Tool { name } => Some(Choice { r#type: "tool", name: Some(name) }),
        ToolChoice::None => Some(Choice { r#type: "none", name: None }),
    }
}

fn thinking(request: &Request, accepts: Accepts, forced: bool) -> Option<Value> {
    let tokens = request.thinking_tokens?;
    match accepts.thinking {
        // The API takes no budget beside a forced tool, none below its minimum, and none that leaves no room for an answer.
        ThinkingForm::Budget => {
            let budget = tokens.min(request.max_output_tokens.saturating_sub(1));
            (!forced && budget >= THINKING_TOKENS_MIN).then(|| json!({"type": "enabled", "budget_tokens": budget}))
        }
        ThinkingForm::Adaptive => (!forced || !accepts.forced_tools).then(|| json!({"type": "adaptive"})),
        ThinkingForm::Always => None,
    }
}

#[cfg(test)]
mod tests {
    use maos_engine::message::{Block, Message, Request, Role, ToolChoice, ToolSpec};
    use serde_json::{Value, json};

    use super::body;
    use crate::prices::{Accepts, ThinkingForm};

    fn request() -> Request {
        let tool = |name: &str| ToolSpec { name: name.into(), description: "d".into(), input_schema: json!({"type": "object"}) };
        Request {
            model: "m".into(),
            system: "sys".into(),
            messages: vec![
                Message::user("hi"),
                Message {
                    role: Role::Assistant,
                    content: vec![
                        Block::Thinking { thinking: "hm".into(), signature: "sig".into() },
                        Block::Thinking { thinking: "from elsewhere".into(), signature: String::new() },
                        Block::RedactedThinking { data: "xx".into() },
                        Block::Text { text: " ".into() },
                        Block::ToolUse { id: "t1".into(), name: "a".into(), input: json!({"k": 1}) },
                        Block::BadToolUse { id: "t2".into(), name: "b".into(), raw: "{oops".into(), error: "e".into() },
                    ],
                },
                Message { role: Role::Assistant, content: vec![] },
                Message {
                    role: Role::User,
                    content: vec![
                        Block::ToolResult { tool_use_id: "t1".into(), content: "ok".into(), is_error: false },
                        Block::ToolResult { tool_use_id: "t2".into(), content: "no".into(), is_error: true },
                    ],
                },
            ],
            tools: vec![tool("a"), tool("b")].into(),
            provider_tools: vec![],
            tool_choice: ToolChoice::Auto,
            max_output_tokens: 4_096,
            temperature_milli: Some(250),
            thinking_tokens: None,
        }
    }

    fn written(request: &Request, accepts: Accepts) -> Value {
        serde_json::from_slice(&body(request, accepts).unwrap()).unwrap()
    }

    #[test]
    fn the_whole_request() {
        let cache = json!({"type": "ephemeral"});
        let want = json!({
            "model": "m", "max_tokens": 4096, "stream": true, "temperature": 0.25,
            "system": [{"type": "text", "text": "sys", "cache_control": cache}],
            "tools": [
                {"name": "a", "description": "d", "input_schema": {"type": "object"}},
                {"name": "b", "description": "d", "input_schema": {"type": "object"}, "cache_control": cache},
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "xx"},
                    {"type": "tool_use", "id": "t1", "name": "a", "input": {"k": 1}},
                    {"type": "tool_use", "id": "t2", "name": "b", "input": {"arguments_that_were_not_json": "{oops"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "ok"},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": true, "cache_control": cache},
                ]},
            ],
        });
        assert_eq!(written(&request(), Accepts::default()), want);
    }

    #[test]
    fn the_shared_part_of_the_first_message_is_marked_and_marks_are_four_at_most() {
        let text = |t: &str| Block::Text { text: t.into() };
        let mut request = request();
        request.messages[0].content = vec![text("the task"), text("your step")];
        let marks = |w: &Value| w.to_string().matches("cache_control").count();
        let whole = written(&request, Accepts::default());
        let first = &whole["messages"][0]["content"];
        assert_eq!(first[0]["cache_control"], json!({"type": "ephemeral"}));
        assert_eq!(first[1].get("cache_control"), None);
        assert_eq!(marks(&whole), 4, "tools, system, task, end: the API takes no more");
        // The first message is the last too: both of its marks are set.
        request.messages.truncate(1);
        let whole = written(&request, Accepts::default());
        let first = &whole["messages"][0]["content"];
        assert!(first[0].get("cache_control").is_some() && first[1].get("cache_control").is_some());
        assert_eq!(marks(&whole), 4);
        // What is not sent is no part.
        request.messages[0].content[1] = text(" ");
        assert_eq!(marks(&written(&request, Accepts::default())), 3);
    }

    #[test]
    fn tools_and_blocks_of_the_provider_go_as_they_are() {
        let search = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 5});
        let found = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"encrypted_content": "x"}]});
        let mut request = request();
        request.provider_tools = vec![search.clone()];
        request.messages.truncate(1);
        let content = vec![Block::Text { text: "I look".into() }, Block::Provider { block: found.clone() }];
        request.messages.push(Message { role: Role::Assistant, content });
        let whole = written(&request, Accepts::default());
        assert_eq!((&whole["tools"][0], &whole["tools"][1]["name"]), (&search, &json!("a")));
        assert_eq!(whole["messages"][1]["content"][1], found);
        assert_eq!(whole["messages"][1]["content"][0]["cache_control"], json!({"type": "ephemeral"}), "the boundary stands before it");
    }

    #[test]
    fn a_model_that_cannot_be_forced_is_asked() {
        let mut request = request();
        request.tool_choice = ToolChoice::Tool { name: "a".into() };
        request.thinking_tokens = Some(2_000);
        let old = written(&request, Accepts::default());
        assert_eq!(old["tool_choice"], json!({"type": "tool", "name": "a"}));
        assert_eq!(old.get("thinking"), None, "a budget beside a forced tool is refused by the API");
        let accepts = Accepts { forced_tools: false, sampling: false, thinking: ThinkingForm::Always };
        let new = written(&request, accepts);
        assert_eq!((new.get("tool_choice"), new.get("thinking"), new.get("temperature")), (None, None, None));
        assert!(new["system"][1]["text"].as_str().unwrap().contains("`a`"), "{}", new["system"]);
    }

    #[test]
    fn thinking_leaves_room_for_an_answer() {
        let mut request = request();
        request.thinking_tokens = Some(10_000);
        let w = written(&request, Accepts::default());
        assert_eq!(w["thinking"], json!({"type": "enabled", "budget_tokens": 4095}));
        assert_eq!(w.get("temperature"), None);
        request.max_output_tokens = 500;
        assert_eq!(written(&request, Accepts::default()).get("thinking"), None);
        let adaptive = Accepts { thinking: ThinkingForm::Adaptive, ..Accepts::default() };
        assert_eq!(written(&request, adaptive)["thinking"], json!({"type": "adaptive"}));
    }
}
