//! Cursors: where the next page of tasks begins. Opaque to clients, checked when they come back.
use axum::http::HeaderValue;
use maos_api::query::{Query, TaskQuery};
use maos_api::{FieldError, Problem};

use crate::backend::Point;
use crate::reply::{Answer, Fault};

/// Form: `<priority>-<microseconds>-<task id>`.
pub(crate) fn write(point: &Point) -> String {
    format!("{}-{}-{}", point.priority, point.created_us, point.task_id)
}

/// # Errors
/// `validation-failed` naming `cursor`.
pub(crate) fn read(text: &str) -> Answer<Point> {
    let fault = || Fault::from(Problem::validation(vec![FieldError::parameter("cursor", "invalid", "is not a cursor of this list")]));
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next().ok_or_else(fault);
    let priority = part()?.parse().map_err(|_| fault())?;
    let created_us = part()?.parse().map_err(|_| fault())?;
    let task_id = part()?.to_owned();
    let fits = task_id.starts_with("task_") && task_id.len() <= 64 && task_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(Point { priority, created_us, task_id }) } else { Err(fault()) }
}

/// `Link: <…>; rel="next"`.
pub(crate) fn link(query: &TaskQuery, next: String) -> Option<HeaderValue> {
    let query = TaskQuery { cursor: Some(next), ..query.clone() };
    let pairs: Vec<String> = query.to_pairs().iter().map(|(n, v)| format!("{}={}", percent(n), percent(v))).collect();
    HeaderValue::from_str(&format!("</api/tasks?{}>; rel=\"next\"", pairs.join("&"))).ok()
}

/// Percent-encoding of everything but unreserved characters (RFC 3986).
fn percent(text: &str) -> String {
    let encode = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_garbage() {
        let point = Point { priority: 2, created_us: 1_732_271_467_000_000, task_id: "task_0123456789abcdef".into() };
        assert_eq!(read(&write(&point)).unwrap(), point);
        for bad in ["", "x", "1-2", "1-x-task_a", "1-2-agent_a", "99999-1-task_a", "1-2-task_é"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let query = TaskQuery { q: Some("a b&c".into()), ..TaskQuery::default() };
        assert_eq!(link(&query, "n".into()).unwrap(), "</api/tasks?q=a%20b%26c&cursor=n>; rel=\"next\"");
    }
}
