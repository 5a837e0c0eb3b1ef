//! Sorts Anthropic's failures into our classes.
use maos_engine::message::{CallError, FailureClass};
use serde::Deserialize;

use crate::http::Who;

/// `{"type":"error","error":{"type":…,"message":…}}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireError {
    pub(super) r#type: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Envelope {
    error: WireError,
}

/// The error of an answer that is no success.
pub(super) fn of_status(who: &Who, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> CallError {
    let known: Option<Envelope> = serde_json::from_slice(body).ok();
    let error = match &known {
        Some(e) => WireError { r#type: e.error.r#type.clone(), message: e.error.message.clone() },
        None => WireError { r#type: String::new(), message: String::from_utf8_lossy(body).trim().to_owned() },
    };
    let class = class(Some(status), &error);
    let mut out = who.error(class, &text(who, class, status, &error));
    out.status = Some(status);
    out.retry_after_ms = retry_after_ms;
    // A gateway lost its back-end: the model may have answered.
    out.possibly_billed = matches!(status, 502 | 504);
    out
}

/// The error of an event inside a stream that had begun well.
pub(super) fn of_event(who: &Who, error: &WireError) -> CallError {
    let class = class(None, error);
    let mut out = who.error(class, &text(who, class, 200, error));
    out.status = Some(200);
    out.possibly_billed = true;
    out
}

fn class(status: Option<u16>, error: &WireError) -> FailureClass {
    let message = error.message.to_ascii_lowercase();
    if is_billing(&message) {
        return FailureClass::Billing;
    }
    if is_too_long(&message) && matches!(status, Some(400 | 413) | None) {
        return FailureClass::ContextExceeded;
    }
    match error.r#type.as_str() {
        "billing_error" => return FailureClass::Billing,
        "rate_limit_error" => return FailureClass::RateLimited,
        "overloaded_error" | "api_error" | "timeout_error" => return FailureClass::Overloaded,
        "authentication_error" | "permission_error" => return FailureClass::Auth,
        "not_found_error" if message.contains("model") => return FailureClass::ModelGone,
        "request_too_large" => return FailureClass::BadRequest,
        _ => {}
    }
    match status {
        Some(status) => of_code(status, &error.r#type),
        None if error.r#type == "invalid_request_error" => FailureClass::BadRequest,
        // An error we do not know, in the middle of a stream: a repeat may mend it.
        None => FailureClass::Overloaded,
    }
}

fn of_code(status: u16, kind: &str) -> FailureClass {
    match status {
        401 | 403 => FailureClass::Auth,
        402 => FailureClass::Billing,
        // The API itself knows the path; a 404 in another form comes from something else at this address.
        404 if kind == "not_found_error" => FailureClass::ModelGone,
        404 | 405 | 410 => FailureClass::Fatal,
        408 | 409 | 500..=599 => FailureClass::Overloaded,
        429 => FailureClass::RateLimited,
        400..=499 => FailureClass::BadRequest,
        _ => FailureClass::Fatal,
    }
}

/// Money, not tempo: waiting does not help.
pub(crate) fn is_billing(message: &str) -> bool {
    ["enforced_spend_limit_reached", "spend limit", "spending limit", "credit balance", "usage limits", "insufficient_quota", "billing"]
        .iter()
        .any(|word| message.contains(word))
}

/// The prompt does not fit.
pub(crate) fn is_too_long(message: &str) -> bool {
    [
        "prompt is too long",
        "exceed context limit",
        "exceeds the context",
        "context window",
        "context_length_exceeded",
        "maximum context length",
        "exceeds the available context size",
        "exceed_context_size",
    ]
    .iter()
    .any(|word| message.contains(word))
}

/// The text for people: what happened, and what to do where a person must act.
fn text(who: &Who, class: FailureClass, status: u16, error: &WireError) -> String {
    let kind = if error.r#type.is_empty() { String::new() } else { format!(" {}", error.r#type) };
    let said = if error.message.is_empty() { String::new() } else { format!(": {}", error.message) };
    let todo = todo(who, class);
    format!("HTTP {status}{kind} from {}{todo}{said}", who.host)
}

/// What a person can do.
pub(crate) fn todo(who: &Who, class: FailureClass) -> String {
    match class {
        FailureClass::Auth if who.key_name.is_empty() => " (the key is missing or not accepted)".to_owned(),
        FailureClass::Auth => format!(" (the key in {} is not accepted)", who.key_name),
        FailureClass::Billing => " (the account's spend limit or credit is used up)".to_owned(),
        FailureClass::ModelGone => format!(" (this model is not served; see `maos health` and set {}.model)", who.provider),
        FailureClass::ContextExceeded => " (the conversation is longer than the model's window)".to_owned(),
        FailureClass::Fatal => format!(" (check {}.base_url)", who.provider),
        FailureClass::RateLimited
        | FailureClass::Overloaded
        | FailureClass::Unreachable
        | FailureClass::Stalled
        | FailureClass::Truncated
        | FailureClass::BadRequest => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use maos_engine::message::FailureClass::{self, *};

    use super::{WireError, class};

    #[test]
    fn every_status_has_its_class() {
        let table: &[(u16, &str, &str, FailureClass)] = &[
            (400, "invalid_request_error", "messages: at least one message is required", BadRequest),
            (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextExceeded),
            (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3", ContextExceeded),
            (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", Billing),
            (400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access on …", Billing),
            (401, "authentication_error", "invalid x-api-key", Auth),
            (402, "billing_error", "", Billing),
            (402, "", "", Billing),
            (403, "permission_error", "", Auth),
            (404, "not_found_error", "model: claude-3-sonnet-20240229", ModelGone),
            (404, "", "<html>", Fatal),
            (413, "request_too_large", "Request exceeds the maximum size", BadRequest),
            (422, "", "", BadRequest),
            (429, "rate_limit_error", "slow down", RateLimited),
            (429, "rate_limit_error", "enforced_spend_limit_reached", Billing),
            (429, "", "", RateLimited),
            (500, "api_error", "", Overloaded),
            (502, "", "<html>", Overloaded),
            (503, "", "", Overloaded),
            (504, "timeout_error", "", Overloaded),
            (529, "overloaded_error", "Overloaded", Overloaded),
            (302, "", "", Fatal),
        ];
        for (status, kind, message, want) in table {
            let error = WireError { r#type: (*kind).into(), message: (*message).into() };
            assert_eq!(class(Some(*status), &error), *want, "{status} {kind} {message}");
        }
    }
}
