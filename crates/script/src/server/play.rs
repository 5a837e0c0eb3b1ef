//! Plays one answer onto the socket: the wait, the stream, the fault. Invariant: what the script says is what the wire shows; a good reply is
//! recorded before its last byte leaves.
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::check::Asked;
use super::connection::{Conn, Gone};
use super::frames::Frames;
use super::http::{self, Call};
use super::ledger::{Open, Outcome};
use super::route::{Api, id_header};
use super::{anthropic_out, openai_out, times};
use crate::fault::{ErrorBody, Fault, status_of_kind};
use crate::planned::Planned;
use crate::state::ScriptState;

/// Unpacked bytes of a gzip bomb that are packed at a time.
const BOMB_STEP_BYTES: usize = 1 << 20;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As it should.
    Proper,
    /// The connection is closed in the middle.
    Close,
    /// The connection is reset.
    Reset,
    /// Silence, until the client goes.
    Silent,
}

/// A body, ready to be sent: pieces with pauses between them.
struct Laid {
    status: u16,
    content_type: String,
    /// `None`: sent in chunks.
    length: Option<usize>,
    bytes: Vec<u8>,
    /// Where to break, each with a pause after it.
    breaks: Vec<usize>,
    pause: Duration,
    ending: Ending,
    outcome: Outcome,
}

/// One call being answered.
pub(crate) struct Player<'a> {
    pub(crate) conn: &'a mut Conn,
    pub(crate) call: &'a Call,
    pub(crate) state: &'a Arc<ScriptState>,
    pub(crate) api: Api,
    pub(crate) asked: &'a Asked,
    pub(crate) planned: &'a Planned,
    pub(crate) created: u64,
    /// The status that was sent, 0 if none was.
    pub(crate) status: u16,
}

impl Player<'_> {
    /// Plays it. The result: how it ended, and whether the connection can be kept.
    pub(crate) async fn play(&mut self, open: &mut Open) -> Result<(Outcome, bool), Gone> {
        self.state.begins();
        self.conn.wait(self.planned.latency).await?;
        if let Some(calls) = self.planned.until_calls {
            self.conn.wait_for(self.state.until_calls(calls)).await?;
        }
        let laid = match &self.planned.fault {
            Some(Fault::NoHeader) => return Err(self.conn.until_gone().await),
            Some(Fault::Reset { after_bytes: None }) => {
                self.conn.reset_on_close();
                return Ok((Outcome::Cut, false));
            }
            Some(Fault::GzipBomb { bytes }) => return self.bomb(*bytes).await,
            Some(Fault::Status { status, body }) => self.error(*status, body),
            Some(Fault::Raw { status, content_type, bytes }) => Laid {
                status: *status,
                content_type: content_type.clone(),
                length: Some(bytes.len()),
                bytes: bytes.clone(),
                breaks: Vec::new(),
                pause: Duration::ZERO,
                ending: Ending::Proper,
                outcome: Outcome::Cut,
            },
            fault if self.asked.stream => self.stream(fault.as_ref()),
            fault => self.whole(fault.as_ref()),
        };
        self.send(laid, open).await
    }

    fn error(&self, status: u16, body: &ErrorBody) -> Laid {
        let (content_type, text) = match body {
            ErrorBody::Typed { kind, message } => ("application/json", self.error_json(kind, message)),
            ErrorBody::Raw(text) if text.trim_start().starts_with('<') => ("text/html", text.clone()),
            ErrorBody::Raw(text) => ("application/json", text.clone()),
        };
        let outcome = if status < 300 { Outcome::Cut } else { Outcome::Refused };
        Self::fixed(status, content_type, text.into_bytes(), Ending::Proper, outcome)
    }

    fn error_json(&self, kind: &str, message: &str) -> String {
        match self.api {
            Api::Messages => anthropic_out::error(kind, message, &self.planned.request_id),
            Api::Chat => openai_out::error(kind, message),
        }
    }

    fn fixed(status: u16, content_type: &str, bytes: Vec<u8>, ending: Ending, outcome: Outcome) -> Laid {
        let length = Some(bytes.len());
        Laid { status, content_type: content_type.to_owned(), length, bytes, breaks: Vec::new(), pause: Duration::ZERO, ending, outcome }
    }

    /// A reply in one piece.
    fn whole(&self, fault: Option<&Fault>) -> Laid {
        let ended = !matches!(fault, Some(Fault::EndEarly));
        let mut bytes = match self.api {
            Api::Messages => anthropic_out::whole(self.planned, ended),
            Api::Chat => openai_out::whole(self.planned, ended, self.created),
        }
        .into_bytes();
        let length = bytes.len();
        let half = length / 2;
        let (cut, ending) = match fault {
            None | Some(Fault::EndEarly) => (length, Ending::Proper),
            Some(Fault::Malformed) => {
                bytes.truncate(half);
                return Self::fixed(200, "application/json", bytes, Ending::Proper, Outcome::Cut);
            }
            Some(Fault::ErrorEvent { kind, message }) => {
                // Without a stream there is no 200 to break: the error comes as a status.
                return Self::fixed(
                    status_of_kind(kind),
                    "application/json",
                    self.error_json(kind, message).into_bytes(),
                    Ending::Proper,
                    Outcome::Refused,
                );
            }
            Some(Fault::Cut { after_bytes }) => (after_bytes.map_or(half, clamp), Ending::Close),
            Some(Fault::Reset { after_bytes }) => (after_bytes.map_or(half, clamp), Ending::Reset),
            Some(Fault::Stall { after_bytes }) => (after_bytes.map_or(half, clamp), Ending::Silent),
            Some(Fault::Status { .. } | Fault::NoHeader | Fault::Raw { .. } | Fault::GzipBomb { .. }) => unreachable!("answered before"),
        };
        bytes.truncate(cut);
        let outcome = if fault.is_none() { Outcome::Finished } else { Outcome::Cut };
        Laid { length: Some(length), ..Self::fixed(200, "application/json", bytes, ending, outcome) }
    }

    /// A reply as a stream.
    fn stream(&self, fault: Option<&Fault>) -> Laid {
        let mut frames: Frames = match self.api {
            Api::Messages => anthropic_out::frames(self.planned),
            Api::Chat => openai_out::frames(self.planned, self.asked.include_usage, self.created),
        };
        let event = match self.api {
            Api::Messages => "error",
            Api::Chat => "",
        };
        let mut ending = Ending::Proper;
        let cut = match fault {
            None => None,
            Some(Fault::EndEarly) => Some(frames.content_end),
            Some(Fault::Malformed) => {
                let at = frames.after_first();
                let tail = frames.buf.split_off(at);
                let event = if self.api == Api::Messages { "content_block_delta" } else { "" };
                frames.event(event, &[r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_del"#]);
                frames.buf.extend_from_slice(&tail);
                None
            }
            Some(Fault::ErrorEvent { kind, message }) => {
                frames.buf.truncate(frames.after_first());
                frames.event(event, &[&self.error_json(kind, message)]);
                None
            }
            Some(Fault::Cut { after_bytes }) => {
                ending = Ending::Close;
                Some(after_bytes.map_or(frames.content_end, clamp))
            }
            Some(Fault::Reset { after_bytes }) => {
                ending = Ending::Reset;
                Some(after_bytes.map_or(frames.content_end, clamp))
            }
            Some(Fault::Stall { after_bytes }) => {
                ending = Ending::Silent;
                Some(after_bytes.map_or(frames.after_first(), clamp))
            }
            Some(Fault::Status { .. } | Fault::NoHeader | Fault::Raw { .. } | Fault::GzipBomb { .. }) => unreachable!("answered before"),
        };
        if let Some(at) = cut {
            frames.buf.truncate(at);
        }
        let pause = self.planned.drip;
        // The first piece of content goes with the header; each later one waits.
        let mut breaks = if pause.is_zero() { Vec::new() } else { frames.content.split_off(1.min(frames.content.len())) };
        breaks.retain(|at| *at < frames.buf.len());
        if let Some(step) = self.planned.wire.split_bytes {
            breaks = (1..).map(|i| i * step).take_while(|at| *at < frames.buf.len()).collect();
        }
        Laid {
            status: 200,
            content_type: "text/event-stream; charset=utf-8".to_owned(),
            length: None,
            bytes: frames.buf,
            breaks,
            pause: if self.planned.wire.split_bytes.is_some() { Duration::ZERO } else { pause },
            ending,
            outcome: if fault.is_none() { Outcome::Finished } else { Outcome::Cut },
        }
    }

    fn head(&self, status: u16, content_type: &str, keep: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        http::begin(&mut out, status, content_type, keep);
        http::header(&mut out, id_header(self.api), &self.planned.request_id);
        if let Some(seen) = &self.planned.rate {
            match self.api {
                Api::Messages => anthropic_out::rate_headers(&mut out, seen, self.created),
                Api::Chat => openai_out::rate_headers(&mut out, seen),
            }
        }
        for (name, value) in &self.planned.headers {
            match value.parse::<u64>() {
                Ok(seconds) if self.planned.retry_as_date && name == "retry-after" => {
                    // A date has whole seconds: one more, so that it is never too early.
                    http::header(&mut out, name, &times::http_date(self.created + seconds + 1));
                }
                Ok(_) | Err(_) => http::header(&mut out, name, value),
            }
        }
        out
    }

    async fn send(&mut self, laid: Laid, open: &mut Open) -> Result<(Outcome, bool), Gone> {
        // A body of unknown length on HTTP/1.0 ends with the connection.
        let chunked = laid.length.is_none() && !self.call.old;
        let keep = self.call.keep && laid.ending == Ending::Proper && (chunked || laid.length.is_some());
        let mut out = self.head(laid.status, &laid.content_type, keep);
        match laid.length {
            Some(length) => http::header(&mut out, "content-length", &length.to_string()),
            None if chunked => http::header(&mut out, "transfer-encoding", "chunked"),
            None => {}
        }
        out.extend_from_slice(b"\r\n");
        self.status = laid.status;
        if laid.status < 300 {
            self.state.first_token(self.planned);
        }
        let mut done = 0;
        for at in laid.breaks {
            push(&mut out, &laid.bytes[done..at], chunked);
            self.conn.send(&out).await?;
            out.clear();
            done = at;
            if laid.pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                self.conn.wait(laid.pause).await?;
            }
        }
        push(&mut out, &laid.bytes[done..], chunked);
        if chunked && laid.ending == Ending::Proper {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        if laid.outcome == Outcome::Finished {
            open.about_to_complete();
        }
        self.conn.send(&out).await?;
        match laid.ending {
            Ending::Proper | Ending::Close => {}
            Ending::Reset => self.conn.reset_on_close(),
            Ending::Silent => return Err(self.conn.until_gone().await),
        }
        Ok((laid.outcome, keep))
    }

    async fn bomb(&mut self, bytes: u64) -> Result<(Outcome, bool), Gone> {
        let mut out = self.head(200, "text/event-stream; charset=utf-8", false);
        http::header(&mut out, "content-encoding", "gzip");
        out.extend_from_slice(b"\r\n");
        self.status = 200;
        let mut packer = flate2::write::GzEncoder::new(out, flate2::Compression::best());
        let blanks = vec![b' '; BOMB_STEP_BYTES];
        let mut left = bytes;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(BOMB_STEP_BYTES);
            packer.write_all(&blanks[..step])?;
            left -= step as u64;
            let ready = std::mem::take(packer.get_mut());
            self.conn.send(&ready).await?;
            // Packing is work; others get their turn.
            tokio::task::yield_now().await;
        }
        let rest = packer.finish()?;
        self.conn.send(&rest).await?;
        Ok((Outcome::Cut, false))
    }
}

fn clamp(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Appends a piece of body, in the form of a chunk where that is asked for.
fn push(out: &mut Vec<u8>, bytes: &[u8], chunked: bool) {
    if !chunked {
        out.extend_from_slice(bytes);
    } else if !bytes.is_empty() {
        write!(out, "{:x}\r\n", bytes.len()).expect("writing to a vector cannot fail");
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}
