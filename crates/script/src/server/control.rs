//! The control side, under `/_control`: counters, the log, a wait for them, a reset, another script.
use std::sync::Arc;

use super::Shared;
use super::connection::{Conn, Gone};
use super::http::{self, Call};
use super::ledger::Stats;
use crate::script::Script;

/// Counters and log to nothing, the script from its beginning.
pub(crate) fn reset(shared: &Shared) {
    shared.ledger.reset();
    shared.set_script(shared.state().shared_script());
}

/// Answers a control call. True: the connection can be kept.
pub(crate) async fn answer(conn: &mut Conn, call: &Call, shared: &Arc<Shared>) -> Result<bool, Gone> {
    let what = call.path.trim_start_matches("/_control/");
    let (status, kind, body) = match (call.method.as_str(), what) {
        ("GET", "stats") => (200, "application/json", json(&shared.ledger.stats())),
        ("GET", "log") => (200, "application/jsonl", shared.ledger.log_lines(call.number("from").unwrap_or(0))),
        ("GET", "wait") => (200, "application/json", wait(conn, call, shared).await?),
        ("POST", "reset") => {
            reset(shared);
            (200, "application/json", r#"{"ok":true}"#.to_owned())
        }
        ("POST", "script") => match std::str::from_utf8(&call.body)
            .map_err(|_| (1, "the script is not UTF-8".to_owned()))
            .and_then(|text| Script::parse(text).map_err(|error| (error.line, error.message)))
        {
            Ok(script) => {
                shared.set_script(Arc::new(script));
                (200, "application/json", r#"{"ok":true}"#.to_owned())
            }
            Err((line, message)) => (400, "application/json", serde_json::json!({"line": line, "error": message}).to_string()),
        },
        _ => (404, "application/json", r#"{"error":"GET stats, log or wait; POST reset or script"}"#.to_owned()),
    };
    let mut out = Vec::with_capacity(body.len() + 256);
    http::begin(&mut out, status, kind, call.keep);
    http::finish(&mut out, body.as_bytes());
    conn.send(&out).await?;
    Ok(true)
}

fn json(stats: &Stats) -> String {
    serde_json::to_string(stats).expect("counters are plain data")
}

/// Waits until the counters have reached what the query asks for (`calls`, `completed`, `in_flight`, `cut`, `aborted`, `refused`), and tells them.
async fn wait(conn: &mut Conn, call: &Call, shared: &Arc<Shared>) -> Result<String, Gone> {
    let mut changes = shared.ledger.changes();
    loop {
        let stats = shared.ledger.summary();
        let wanted = [
            ("calls", stats.calls),
            ("completed", stats.completed),
            ("in_flight", stats.in_flight),
            ("cut", stats.cut),
            ("aborted", stats.aborted_by_client),
            ("refused", stats.refused),
        ];
        if wanted.iter().all(|(name, have)| call.number(name).is_none_or(|want| *have >= want)) {
            return Ok(json(&shared.ledger.stats()));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return Err(Gone);
            },
            gone = conn.until_gone() => return Err(gone),
        }
    }
}
