//! `web_fetch`: a page of the web as text, in pieces.
//!
//! Invariant: a URL counts as sending unless it names a site and nothing else; of one that could carry more than a short address does (see
//! `maos_egress::carries_data`) it makes no difference where it was found. The text is framed, and its links are whole, so that they can be
//! followed and it can be told that they were found there.
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use crate::turns::{Turn, Turns};
use crate::web::{Kind, decode, framed, kind, readable};
use async_trait::async_trait;
use maos_egress::{Egress, Incoming, Request, carries_data, names_only_a_site};
use maos_engine::event::Repeat;
use maos_engine::ids::AgentId;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Longest piece of text in one answer, bytes.
pub const PAGE_BYTES: usize = 32 * 1024;
/// Longest piece of an answer with an error status, bytes.
const ERROR_BYTES: usize = 2 * 1024;
/// What is asked for.
const WANTED: HeaderValue =
    HeaderValue::from_static("text/html,application/xhtml+xml,text/plain,application/json;q=0.9,text/*;q=0.8,*/*;q=0.1");

/// Pages that are read at once: a small compressed answer can become the largest page there is.
const AT_ONCE: usize = 8;

/// The tool. Its clones wait for each other.
#[derive(Debug, Clone)]
pub struct WebFetch {
    egress: Egress,
    turns: Arc<Turns>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    url: String,
    #[serde(default)]
    offset: usize,
}

impl WebFetch {
    /// With a way out.
    pub fn new(egress: Egress) -> Self {
        Self { egress, turns: Arc::new(Turns::at_once(AT_ONCE)) }
    }

    async fn fetch(&self, args: Args, timeout: Duration) -> Result<Output, String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, WANTED);
        let request = Request { headers, timeout: Some(timeout), ..Request::get(args.url) };
        let incoming = self.egress.open(request).await.map_err(|e| e.to_string())?;
        let declared = content_type(&incoming);
        // Only a declared type can save reading it; without one the first bytes tell.
        if !declared.is_empty() && kind(&declared, &[]) == Kind::Binary {
            return Err(not_text(&incoming.url().clone(), &declared, incoming.announced_bytes()));
        }
        let answer = incoming.read().await.map_err(|e| e.to_string())?;
        let kind = kind(&declared, &answer.body[..answer.body.len().min(512)]);
        if kind == Kind::Binary {
            return Err(not_text(&answer.url, "unknown", Some(answer.body.len() as u64)));
        }
        // A large page takes a while; other tasks must not wait for it.
        let (body, says, url) = (answer.body.clone(), declared.clone(), answer.url.clone());
        let parsed = tokio::task::spawn_blocking(move || readable(&decode(&body, &says, kind), kind, Some(&url))).await;
        let (title, text) = parsed.map_err(|_| "the page was read and could not be made into text".to_owned())?;
        let failed = !answer.status.is_success();
        let piece = Piece::cut(&text, args.offset, if failed { ERROR_BYTES } else { PAGE_BYTES })?;
        let mut about = format!(
            "{}\nStatus: {}\nType: {}\n",
            answer.url,
            answer.status.as_u16(),
            if declared.is_empty() { "not declared" } else { &declared }
        );
        if let Some(title) = title {
            about.push_str(&format!("Title: {title}\n"));
        }
        about.push_str(&piece.range);
        if answer.truncated {
            about.push_str(&format!("\nThe page is longer than the limit of {} bytes; the rest was not read.", answer.body.len()));
        }
        let told = framed(&clipped(&answer.url), &format!("{about}\n\n{}", piece.text));
        let output = if failed { Output::error(told) } else { Output::ok(told) };
        Ok(Output { brings: private_mark(answer.private), ..output })
    }
}

#[async_trait]
impl Tool for WebFetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_fetch".to_owned(),
            description: format!(
                "Reads a page of the web (http or https) and gives its text. Long pages come in pieces of {} KiB: give `offset` to read on. \
                 PDF files, images and other binary files are refused.",
                PAGE_BYTES / 1024
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "url": {"type": "string", "description": "The whole address, such as https://example.org/page"},
                    "offset": {"type": "integer", "minimum": 0, "description": "Where in the text to begin, in bytes; as the last answer said"}
                },
                "required": ["url"],
                "additionalProperties": false
            }),
        }
    }

    fn nature(&self) -> Nature {
        Nature { repeat: Repeat::Safe, brings: Taint::UNTRUSTED, writes: false, approval: Approval::Never }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        let args = parse(args)?;
        self.egress.check_url(&args.url).map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    fn outward(&self, args: &Value) -> Option<Outward> {
        let target = self.egress.check_url(&parse(args).ok()?.url).ok()?;
        if names_only_a_site(target.url()) {
            return None;
        }
        let mut plain = target.url().clone();
        plain.set_fragment(None);
        let address = (!carries_data(&plain)).then(|| plain.to_string());
        Some(Outward { to: target.host().to_owned(), allowed: self.egress.allows_host(target.host()), address })
    }

    async fn turn(&self, agent: &AgentId) -> Turn {
        self.turns.take(agent).await
    }

    async fn run(&self, call: Call) -> Output {
        match parse(&call.args) {
            Ok(args) => self.fetch(args, call.timeout).await.unwrap_or_else(Output::error),
            Err(why) => Output::error(why),
        }
    }
}

fn parse(args: &Value) -> Result<Args, String> {
    Args::deserialize(args)
        .map_err(|e| format!("the arguments are not right: {e}; give {{\"url\": \"https://…\"}} and, to read on, \"offset\""))
}

/// What comes from a private network is the user's own data.
fn private_mark(private: bool) -> Taint {
    if private { Taint::PRIVATE } else { Taint::NONE }
}

fn content_type(incoming: &Incoming) -> String {
    incoming.headers().get(CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default()
}

fn not_text(url: &url::Url, declared: &str, bytes: Option<u64>) -> String {
    let declared: String = declared.chars().filter(|c| !c.is_control()).take(80).collect();
    let size = bytes.map_or_else(|| "of unknown size".to_owned(), |n| format!("of {n} bytes"));
    format!("{} is not a text: type {declared}, {size}. web_fetch reads text only; look for an HTML or text version", clipped(url))
}

/// An address for people, not too long.
fn clipped(url: &url::Url) -> String {
    const MAX_SHOWN_CHARS: usize = 200;
    url.as_str().chars().take(MAX_SHOWN_CHARS).collect()
}

/// A part of a text, cut between characters.
struct Piece<'t> {
    text: &'t str,
    range: String,
}

impl<'t> Piece<'t> {
    fn cut(text: &'t str, offset: usize, most: usize) -> Result<Self, String> {
        if offset > 0 && offset >= text.len() {
            return Err(format!("`offset` {offset} is beyond the end: the text has {} bytes", text.len()));
        }
        let start = text.floor_char_boundary(offset);
        let end = text.floor_char_boundary(start.saturating_add(most));
        let range = match (start, end == text.len()) {
            (0, true) => format!("Text: {} bytes, all of it", text.len()),
            (_, true) => format!("Text: bytes {start} to {end}, the end",),
            (_, false) => format!("Text: bytes {start} to {end} of {}; read on with offset {end}", text.len()),
        };
        Ok(Self { text: &text[start..end], range })
    }
}

#[cfg(test)]
mod tests {
    use super::Piece;

    #[test]
    fn pieces_join_to_the_whole() {
        let text = "aé€😀".repeat(100);
        let mut joined = String::new();
        let mut offset = 0;
        while offset < text.len() {
            let piece = Piece::cut(&text, offset, 7).unwrap();
            assert!(!piece.text.is_empty() && piece.text.len() <= 7);
            joined.push_str(piece.text);
            offset += piece.text.len();
        }
        assert_eq!(joined, text);
        assert!(Piece::cut(&text, text.len(), 7).is_err());
        assert_eq!(Piece::cut("", 0, 7).unwrap().text, "");
    }
}
