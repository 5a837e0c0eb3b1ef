//! Which answer belongs to which path. Invariant: a wrong call is refused in the words and the form of the API it was made to.
use std::sync::Arc;

use serde_json::Value;

use super::check::{self, Asked, Wrong};
use super::connection::{Conn, Gone};
use super::http::{self, Call};
use super::ledger::Begun;
use super::{Shared, anthropic_in, anthropic_out, control, openai_in, openai_out, play, unix_seconds};
use crate::state::{Meta, ScriptState};

/// Which API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// The Messages API.
    Messages,
    /// Chat completions.
    Chat,
}

/// Models that are listed when the script names none.
const MODELS_DEFAULT: &[&str] = &["scripted-1"];

/// Answers one call. True: the connection can be kept.
pub(crate) async fn answer(conn: &mut Conn, call: &Call, shared: &Arc<Shared>) -> Result<bool, Gone> {
    if call.path.starts_with("/_control/") {
        return control::answer(conn, call, shared).await;
    }
    let state = shared.state();
    let api = match call.path.as_str() {
        "/v1/messages" | "/v1/messages/count_tokens" => Api::Messages,
        "/v1/chat/completions" => Api::Chat,
        _ if call.header("anthropic-version").is_some() => Api::Messages,
        _ => Api::Chat,
    };
    let done = match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/v1/messages" | "/v1/chat/completions") => match asked(call, &state, api) {
            Ok((asked, hash)) => {
                return play_call(conn, call, shared, &state, api, &asked, hash).await;
            }
            Err(wrong) => Err(wrong),
        },
        ("POST", "/v1/messages/count_tokens") => count_tokens(call, &state),
        ("GET", "/v1/models") => check::key(state.script(), call.key()).map(|()| models(&state, api)),
        ("GET", path) if path.starts_with("/v1/models/") => one_model(call, &state, api, &path["/v1/models/".len()..]),
        (_, "/v1/messages" | "/v1/chat/completions" | "/v1/messages/count_tokens" | "/v1/models") => {
            Err(Wrong::new(405, "Method Not Allowed"))
        }
        _ => Err(Wrong::new(404, "Not Found")),
    };
    let request_id = state.next_request_id();
    let (status, body) = match done {
        Ok(body) => (200, body),
        Err(wrong) => {
            shared.ledger.refuse(wrong.status);
            let body = match api {
                Api::Messages => anthropic_out::error_with(wrong.kind, &wrong.message, wrong.details, &request_id),
                Api::Chat => openai_out::error(wrong.kind, &wrong.message),
            };
            (wrong.status, body)
        }
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    http::begin(&mut out, status, "application/json", call.keep);
    http::header(&mut out, id_header(api), &request_id);
    http::finish(&mut out, body.as_bytes());
    conn.send(&out).await?;
    Ok(true)
}

/// The header that carries the id of the request.
pub(crate) fn id_header(api: Api) -> &'static str {
    match api {
        Api::Messages => "request-id",
        Api::Chat => "x-request-id",
    }
}

fn body_of(call: &Call, state: &ScriptState, api: Api) -> Result<Value, Wrong> {
    check::key(state.script(), call.key())?;
    if api == Api::Messages && call.header("anthropic-version").is_none() {
        return Err(Wrong::request("anthropic-version: header is required"));
    }
    serde_json::from_slice(&call.body).map_err(|error| Wrong::request(format!("The request body is not valid JSON: {error}")))
}

fn asked(call: &Call, state: &ScriptState, api: Api) -> Result<(Asked, [u8; 32]), Wrong> {
    let body = body_of(call, state, api)?;
    let asked = match api {
        Api::Messages => anthropic_in::read(&body, false)?,
        Api::Chat => openai_in::read(&body)?,
    };
    check::against_script(state.script(), &asked.request)?;
    Ok((asked, check::hash(&body)))
}

fn count_tokens(call: &Call, state: &ScriptState) -> Result<String, Wrong> {
    let asked = anthropic_in::read(&body_of(call, state, Api::Messages)?, true)?;
    check::against_script(state.script(), &asked.request)?;
    Ok(anthropic_out::count(crate::tokens::input_tokens(&asked.request)))
}

fn listed(state: &ScriptState) -> Vec<String> {
    let named = &state.script().models;
    if named.is_empty() { MODELS_DEFAULT.iter().map(|id| (*id).to_owned()).collect() } else { named.clone() }
}

fn models(state: &ScriptState, api: Api) -> String {
    match api {
        Api::Messages => anthropic_out::models(&listed(state), state.script().context_tokens),
        Api::Chat => openai_out::models(&listed(state)),
    }
}

fn one_model(call: &Call, state: &ScriptState, api: Api, id: &str) -> Result<String, Wrong> {
    check::key(state.script(), call.key())?;
    if !listed(state).iter().any(|known| known == id) {
        return Err(Wrong::new(404, format!("model: {id}")));
    }
    Ok(match api {
        Api::Messages => anthropic_out::one_model(id, state.script().context_tokens),
        Api::Chat => openai_out::one_model(id),
    })
}

async fn play_call(
    conn: &mut Conn,
    call: &Call,
    shared: &Arc<Shared>,
    state: &Arc<ScriptState>,
    api: Api,
    asked: &Asked,
    hash: [u8; 32],
) -> Result<bool, Gone> {
    let headers: Vec<(&str, &str)> = if state.script().needs_headers {
        call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    } else {
        Vec::new()
    };
    let at_ms = shared.now_ms();
    let meta = Meta {
        headers: &headers,
        key: call.key().unwrap_or(""),
        now_ms: at_ms,
        stream: asked.stream,
        json_schema: asked.json_schema.as_deref(),
        marks: &asked.marks,
    };
    let planned = state.answer(&asked.request, &meta);
    let prompt = crate::matching::last_prompt(&asked.request);
    let begun = Begun {
        hash,
        rule: planned.rule.clone(),
        model: planned.model.clone(),
        head: crate::template::head(&prompt).to_owned(),
        step: crate::matching::step_marker(&prompt).map(str::to_owned),
        at_ms,
    };
    let mut open = shared.ledger.begin(begun, planned.usage);
    let mut player = play::Player { conn, call, state, api, asked, planned: &planned, created: unix_seconds(), status: 0 };
    let played = player.play(&mut open).await;
    let status = player.status;
    match played {
        Ok((outcome, keep)) => {
            open.end(outcome, status, shared.now_ms());
            Ok(keep)
        }
        Err(Gone) => {
            let by_script = planned.fault.is_some();
            open.end(if by_script { super::ledger::Outcome::Cut } else { super::ledger::Outcome::Aborted }, status, shared.now_ms());
            Err(Gone)
        }
    }
}
