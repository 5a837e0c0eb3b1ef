//! ETags and preconditions. A task's ETag is `"r<revision>.<seq>"`: `If-None-Match` compares all of it, `If-Match` only the revision
//! (changes by people), so that an update of a running task is not refused because an agent did something.
use axum::http::{HeaderMap, header};
use maos_api::{FieldError, Problem, ProblemCode};

use crate::reply::Fault;

/// The tags of a header, without quotes and weakness; `*` stays.
fn tags(headers: &HeaderMap, name: header::HeaderName) -> Option<Vec<String>> {
    let mut out: Option<Vec<String>> = None;
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or("");
        let list = text.split(',').map(|t| t.trim().trim_start_matches("W/").trim_matches('"').to_owned());
        out.get_or_insert_default().extend(list);
    }
    out
}

/// `If-None-Match` names this tag (without quotes): answer 304.
pub(crate) fn none_match(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, header::IF_NONE_MATCH).is_some_and(|t| t.iter().any(|t| t == "*" || t == tag))
}

/// The revision that `If-Match` asks a task to have; `None` when there is no such header or it is `*`.
pub(crate) fn task_revision(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(tags) = tags(headers, header::IF_MATCH) else {
        return Ok(None);
    };
    match tags.as_slice() {
        [star] if star == "*" => Ok(None),
        [tag] => {
            let number = tag.strip_prefix('r').map(|t| t.split('.').next().unwrap_or(t));
            let revision = number.and_then(|n| n.parse().ok());
            revision.map(Some).ok_or_else(|| {
                Fault::new(ProblemCode::PreconditionFailed, format!("If-Match \"{tag}\" is not an ETag of a task (\"r7\")."))
            })
        }
        _ => Err(Problem::validation(vec![FieldError::parameter("If-Match", "invalid", "give one ETag")]).into()),
    }
}

/// The revision that `If-Match` asks the configuration to have; required.
pub(crate) fn config_revision(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    match tags(headers, header::IF_MATCH).as_deref() {
        None => Err(Fault::new(ProblemCode::PreconditionRequired, "Send the ETag of GET /api/config in If-Match.")),
        Some([star]) if star == "*" => Ok(None),
        Some([tag]) => Ok(Some(tag.clone())),
        Some(_) => Err(Problem::validation(vec![FieldError::parameter("If-Match", "invalid", "give one ETag")]).into()),
    }
}
