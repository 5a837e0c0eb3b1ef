//! Sorts the failures of chat-completion servers into our classes. They agree on statuses, less on bodies.
use maos_engine::message::{CallError, FailureClass};
use serde_json::Value;

use crate::{
    claude::error::{is_billing, is_too_long, todo},
    http::Who,
};

/// What a server said: `{"error":{"message","type","code"}}`, `{"error":"…"}` (Ollama), `{"detail":…}` (FastAPI).
struct Said {
    message: String,
    kind: String,
}

fn said(error: &Value) -> Said {
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match error {
        Value::Object(map) => {
            let get = |key: &str| map.get(key).map(text).unwrap_or_default();
            let kind = [get("type"), get("code")].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" ");
            Said { message: get("message"), kind }
        }
        other => Said { message: text(other), kind: String::new() },
    }
}

/// The error of an answer that is no success.
pub(super) fn of_status(who: &Who, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> CallError {
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(map)) => match map.get("error").or_else(|| map.get("detail")).or_else(|| map.get("message")) {
            Some(error) => said(error),
            None => Said { message: Value::Object(map).to_string(), kind: String::new() },
        },
        Ok(_) | Err(_) => Said { message: String::from_utf8_lossy(body).trim().to_owned(), kind: String::new() },
    };
    let class = class(status, &said);
    CallError {
        status: Some(status),
        retry_after_ms,
        // A gateway lost its back-end: the model may have answered.
        possibly_billed: matches!(status, 502 | 504),
        ..who.error(class, &text(who, class, status, &said))
    }
}

/// The error inside a stream that had begun well.
pub(super) fn of_event(who: &Who, error: &Value) -> CallError {
    let said = said(error);
    let status = error.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
    let class = match class(status, &said) {
        // A code that says nothing: a repeat may mend it.
        FailureClass::Fatal => FailureClass::Overloaded,
        other => other,
    };
    CallError { status: Some(200), possibly_billed: true, ..who.error(class, &text(who, class, 200, &said)) }
}

fn class(status: u16, said: &Said) -> FailureClass {
    let all = format!("{} {}", said.kind, said.message).to_ascii_lowercase();
    if is_billing(&all) {
        return FailureClass::Billing;
    }
    if is_too_long(&all) && matches!(status, 400 | 413 | 500) {
        return FailureClass::ContextExceeded;
    }
    if all.contains("rate_limit") {
        return FailureClass::RateLimited;
    }
    if all.contains("model_not_found") || (status == 404 && all.contains("model")) {
        return FailureClass::ModelGone;
    }
    match status {
        401 | 403 => FailureClass::Auth,
        402 => FailureClass::Billing,
        404 | 405 | 410 => FailureClass::Fatal,
        408 | 409 | 500..=599 => FailureClass::Overloaded,
        429 => FailureClass::RateLimited,
        400..=499 => FailureClass::BadRequest,
        _ => FailureClass::Fatal,
    }
}

fn text(who: &Who, class: FailureClass, status: u16, said: &Said) -> String {
    let kind = if said.kind.is_empty() { String::new() } else { format!(" {}", said.kind) };
    let message = if said.message.is_empty() { String::new() } else { format!(": {}", said.message) };
    format!("HTTP {status}{kind} from {}{}{message}", who.host, todo(who, class))
}

#[cfg(test)]
mod tests {
    use maos_engine::message::FailureClass::{self, *};

    use super::of_status;
    use crate::http::Who;

    #[test]
    fn every_status_has_its_class() {
        let who = Who { provider: "openai", host: "h".into(), key: None, key_name: "K".into() };
        let table: &[(u16, &str, FailureClass)] = &[
            (400, r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#, BadRequest),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
                ContextExceeded,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                ContextExceeded,
            ),
            (401, r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#, Auth),
            (402, "", Billing),
            (404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, ModelGone),
            (404, r#"{"error":"model 'x' not found, try pulling it first"}"#, ModelGone),
            (404, "404 page not found", Fatal),
            (422, r#"{"detail":[{"msg":"field required"}]}"#, BadRequest),
            (429, r#"{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}"#, RateLimited),
            (429, r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#, Billing),
            (500, "", Overloaded),
            (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Overloaded),
        ];
        for (status, body, want) in table {
            assert_eq!(of_status(&who, *status, None, body.as_bytes()).class, *want, "{status} {body}");
        }
    }
}
