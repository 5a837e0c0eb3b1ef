//! How a call fails. Invariant: a closed list; each kind is one thing a provider or a network really does.
use maos_engine::message::{CallError, FailureClass};

use crate::yaml::{ErrorYaml, FaultYaml, RawYaml};

/// A scripted fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An answer with this status instead of a reply.
    Status {
        /// HTTP status.
        status: u16,
        /// The body.
        body: ErrorBody,
    },
    /// The request is read, nothing is ever answered.
    NoHeader,
    /// The connection is reset (RST) after so many bytes of body (none: before the header).
    Reset {
        /// Bytes of body sent before.
        after_bytes: Option<u64>,
    },
    /// The connection is closed after so many bytes of body (none: after the content, before the stop reason).
    Cut {
        /// Bytes of body sent before.
        after_bytes: Option<u64>,
    },
    /// The body ends properly, but without a stop reason.
    EndEarly,
    /// So many bytes of body are sent (none: up to the first piece of content), then silence on an open socket.
    Stall {
        /// Bytes of body sent before.
        after_bytes: Option<u64>,
    },
    /// An error inside a stream that began with 200.
    ErrorEvent {
        /// The provider's error type.
        kind: String,
        /// The provider's message.
        message: String,
    },
    /// One piece of the stream is broken JSON; the rest follows as if nothing had happened.
    Malformed,
    /// These bytes are the body.
    Raw {
        /// HTTP status.
        status: u16,
        /// Value of `content-type`.
        content_type: String,
        /// The body.
        bytes: Vec<u8>,
    },
    /// A body that unpacks to so many bytes of blanks (`content-encoding: gzip`).
    GzipBomb {
        /// Unpacked size in bytes.
        bytes: u64,
    },
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorBody {
    /// Said in the form of the API that was called.
    Typed {
        /// `rate_limit_error`, `overloaded_error`…
        kind: String,
        /// For people.
        message: String,
    },
    /// As it is.
    Raw(String),
}

/// Most MiB a gzip bomb may unpack to.
const GZIP_BOMB_MIB_MAX: u64 = 4_096;
/// Most bytes of padding in raw bytes and huge lines.
pub(crate) const PAD_BYTES_MAX: usize = 256 << 20;

impl Fault {
    /// What an in-process provider reports for this fault: the same class and status that a client of the server would come to.
    /// None for [`Fault::Raw`] with a good status, which only means something on a wire.
    pub fn call_error(&self, headers: &[(String, String)]) -> CallError {
        let (class, message, status, possibly_billed) = match self {
            Self::Status { status, body } => {
                let (kind, message) = match body {
                    ErrorBody::Typed { kind, message } => (kind.as_str(), message.as_str()),
                    ErrorBody::Raw(text) => ("", text.as_str()),
                };
                (class_of(*status, kind, message), format!("scripted status {status}: {message}"), Some(*status), false)
            }
            Self::NoHeader => (FailureClass::Stalled, "scripted: no answer came".to_owned(), None, true),
            Self::Reset { after_bytes: None } => (FailureClass::Unreachable, "scripted: connection reset".to_owned(), None, true),
            Self::Reset { after_bytes: Some(_) } => {
                (FailureClass::Truncated, "scripted: connection reset in the reply".to_owned(), Some(200), true)
            }
            Self::Cut { .. } => (FailureClass::Truncated, "scripted: connection closed in the reply".to_owned(), Some(200), true),
            Self::EndEarly => (FailureClass::Truncated, "scripted: the reply ended without a stop reason".to_owned(), Some(200), true),
            Self::Stall { .. } => (FailureClass::Stalled, "scripted: the reply fell silent".to_owned(), Some(200), true),
            Self::ErrorEvent { kind, message } => {
                (class_of(status_of_kind(kind), kind, message), format!("scripted {kind} in the stream: {message}"), Some(200), true)
            }
            Self::Malformed => (FailureClass::Truncated, "scripted: broken JSON in the stream".to_owned(), Some(200), true),
            Self::Raw { status, .. } if *status >= 400 => {
                (class_of(*status, "", ""), format!("scripted status {status}"), Some(*status), false)
            }
            Self::Raw { status, .. } => (FailureClass::Truncated, "scripted: the body is not a reply".to_owned(), Some(*status), true),
            Self::GzipBomb { .. } => (FailureClass::Truncated, "scripted: the body is too large when unpacked".to_owned(), Some(200), true),
        };
        CallError { class, message, retry_after_ms: retry_after_ms(headers), status, possibly_billed }
    }
}

fn class_of(status: u16, kind: &str, message: &str) -> FailureClass {
    let spend = kind == "billing_error"
        || message.contains("spend limit")
        || message.contains("enforced_spend_limit_reached")
        || message.contains("credit balance");
    match status {
        402 => FailureClass::Billing,
        400 | 403 | 429 if spend => FailureClass::Billing,
        429 => FailureClass::RateLimited,
        401 | 403 => FailureClass::Auth,
        404 | 410 => FailureClass::ModelGone,
        400 | 413 if message.contains("prompt is too long") || message.contains("context length") => FailureClass::ContextExceeded,
        400 | 409 | 413 | 422 => FailureClass::BadRequest,
        408 | 500..=599 => FailureClass::Overloaded,
        _ => FailureClass::Fatal,
    }
}

fn retry_after_ms(headers: &[(String, String)]) -> Option<u64> {
    let value = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    if let Some(ms) = value("retry-after-ms").and_then(|text| text.parse().ok()) {
        return Some(ms);
    }
    value("retry-after").and_then(|text| text.parse::<u64>().ok()).map(|seconds| seconds.saturating_mul(1_000))
}

/// The error type the Messages API uses with a status.
pub(crate) fn kind_of_status(status: u16) -> &'static str {
    match status {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

/// The status that goes with an error type.
pub(crate) fn status_of_kind(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

fn default_message(kind: &str) -> &'static str {
    match kind {
        "rate_limit_error" => "This request would exceed your account's rate limit. Please try again later.",
        "overloaded_error" => "Overloaded",
        "authentication_error" => "invalid x-api-key",
        "billing_error" => "Your credit balance is too low to access the API.",
        "permission_error" => "Your API key does not have permission to use the specified resource.",
        "not_found_error" => "The requested resource could not be found.",
        "request_too_large" => "Request exceeds the maximum size",
        "timeout_error" => "The request timed out.",
        "invalid_request_error" => "The request is wrong.",
        _ => "Internal server error",
    }
}

fn typed(error: Option<&ErrorYaml>, fallback: &str) -> (String, String) {
    let kind = error.and_then(|e| e.kind.clone()).unwrap_or_else(|| fallback.to_owned());
    let message = error.and_then(|e| e.message.clone()).unwrap_or_else(|| default_message(&kind).to_owned());
    (kind, message)
}

fn status_in_range(status: u16) -> Result<u16, String> {
    if (200..=599).contains(&status) { Ok(status) } else { Err(format!("status {status}: write one from 200 to 599")) }
}

impl FaultYaml {
    /// The one fault that is asked for. Its headers are taken by the rule.
    pub(crate) fn compile(self) -> Result<Fault, String> {
        let mut found: Vec<(&str, Fault)> = Vec::new();
        let typed_without_status = self.status.is_none() && (self.error.is_some() || self.body.is_some());
        if let Some(status) = self.status {
            let body = match (self.body, &self.error) {
                (Some(_), Some(_)) => {
                    return Err("a fault has `error` or `body`, not both".to_owned());
                }
                (Some(text), None) => ErrorBody::Raw(text),
                (None, error) => {
                    let (kind, message) = typed(error.as_ref(), kind_of_status(status));
                    ErrorBody::Typed { kind, message }
                }
            };
            found.push(("status", Fault::Status { status: status_in_range(status)?, body }));
        }
        if self.no_header {
            found.push(("no_header", Fault::NoHeader));
        }
        if self.reset || self.reset_after_bytes.is_some() {
            found.push(("reset", Fault::Reset { after_bytes: self.reset_after_bytes }));
        }
        if self.cut || self.cut_after_bytes.is_some() {
            found.push(("cut", Fault::Cut { after_bytes: self.cut_after_bytes }));
        }
        if self.end_early {
            found.push(("end_early", Fault::EndEarly));
        }
        if self.stall || self.stall_after_bytes.is_some() {
            found.push(("stall", Fault::Stall { after_bytes: self.stall_after_bytes }));
        }
        if let Some(error) = &self.error_event {
            let (kind, message) = typed(Some(error), "overloaded_error");
            found.push(("error_event", Fault::ErrorEvent { kind, message }));
        }
        if self.malformed {
            found.push(("malformed", Fault::Malformed));
        }
        if let Some(raw) = self.raw {
            found.push(("raw", raw.compile()?));
        }
        if let Some(mib) = self.gzip_bomb_mib {
            if !(1..=GZIP_BOMB_MIB_MAX).contains(&mib) {
                return Err(format!("gzip_bomb_mib is 1 to {GZIP_BOMB_MIB_MAX}"));
            }
            found.push(("gzip_bomb_mib", Fault::GzipBomb { bytes: mib << 20 }));
        }
        if typed_without_status {
            return Err("`error` and `body` belong to `status`; an error inside a stream is `error_event`".to_owned());
        }
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        match found.len() {
            1 => Ok(found.remove(0).1),
            0 => Err("a fault needs one of: status, no_header, reset, cut, end_early, stall, error_event, malformed, raw, gzip_bomb_mib"
                .to_owned()),
            _ => Err(format!("a fault is one thing; this one has {}", names.join(" and "))),
        }
    }
}

impl RawYaml {
    fn compile(self) -> Result<Fault, String> {
        let ends = if self.crlf { "\r\n" } else { "\n" };
        let mut bytes = Vec::new();
        if self.bom {
            bytes.extend_from_slice("\u{feff}".as_bytes());
        }
        if let Some(text) = &self.text {
            bytes.extend_from_slice(if self.crlf { text.replace('\n', "\r\n") } else { text.clone() }.as_bytes());
        }
        for line in &self.lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(ends.as_bytes());
        }
        if let Some(hex) = &self.hex {
            bytes.extend(unhex(hex)?);
        }
        if self.pad_bytes > PAD_BYTES_MAX {
            return Err(format!("pad_bytes is at most {PAD_BYTES_MAX}"));
        }
        bytes.resize(bytes.len() + self.pad_bytes, b'x');
        let content_type = self.content_type.unwrap_or_else(|| "text/event-stream; charset=utf-8".to_owned());
        Ok(Fault::Raw { status: status_in_range(self.status.unwrap_or(200))?, content_type, bytes })
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| "hex wants pairs of the digits 0-9 and a-f".to_owned())
}
