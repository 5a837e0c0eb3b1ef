//! Query parameters of the lists and streams: one struct each, written by the client and read by the server.
//!
//! Reading is strict: an unknown name, a repeated name or a bad value is an error that names the parameter.
use std::collections::BTreeMap;

use crate::limits::{LOG_LINES_MAX, PAGE_ITEMS_MAX, QUERY_VALUE_BYTES_MAX, WAIT_SECONDS_MAX};
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::time::{Time, parse_duration_ms};
use crate::words::{AgentStatus, LogLevel, Priority, TaskStatus, TaskType};

/// Names and values as they stand in the query string, percent-decoded.
pub type Pairs = Vec<(String, String)>;

/// What a query struct can do.
pub trait Query: Sized + Default {
    /// Every name it knows; a name ending in `.` is a prefix.
    const NAMES: &'static [&'static str];
    /// The pairs that say the same.
    fn to_pairs(&self) -> Pairs;
    /// Takes one pair. The name is one of [`Query::NAMES`].
    ///
    /// # Errors
    /// One sentence about the value.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String>;

    /// Reads all pairs.
    ///
    /// # Errors
    /// `unknown-parameter` (400) or `validation-failed` (422), naming the parameter.
    fn from_pairs(pairs: &[(String, String)]) -> Result<Self, Box<Problem>> {
        let mut query = Self::default();
        for (i, (name, value)) in pairs.iter().enumerate() {
            let known = Self::NAMES.iter().any(|n| match n.strip_suffix('.') {
                Some(_) => name.len() > n.len() && name.starts_with(n),
                None => n == name,
            });
            if !known {
                return Err(unknown(name, Self::NAMES).into());
            }
            let fault = if pairs[..i].iter().any(|(n, _)| n == name) {
                Err("given more than once; use a comma to give several values".to_owned())
            } else if value.len() > QUERY_VALUE_BYTES_MAX {
                Err(format!("longer than {QUERY_VALUE_BYTES_MAX} bytes"))
            } else {
                query.set(name, value)
            };
            if let Err(detail) = fault {
                let error = FieldError::parameter(name, "invalid", detail);
                return Err(Problem::validation(vec![error]).into());
            }
        }
        Ok(query)
    }
}

fn unknown(name: &str, names: &[&str]) -> Problem {
    let takes = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let name = clip(name);
    let detail = format!("There is no parameter '{name}' here; it takes {takes}.");
    let error = FieldError::parameter(name, "unknown", "no such parameter");
    Problem::new(ProblemCode::UnknownParameter, detail).with_error(error)
}

fn clip(s: &str) -> String {
    s.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// For routes without parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoQuery;

impl Query for NoQuery {
    const NAMES: &'static [&'static str] = &[];
    fn to_pairs(&self) -> Pairs {
        Vec::new()
    }
    fn set(&mut self, _name: &str, _value: &str) -> Result<(), String> {
        Ok(())
    }
}

fn words<T>(value: &str, read: impl Fn(&str) -> Option<T>, allowed: &[&str]) -> Result<Vec<T>, String> {
    value.split(',').map(|w| read(w).ok_or_else(|| format!("'{}' is not one of {}", clip(w), allowed.join(", ")))).collect()
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn text(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("must not be empty".into()) } else { Ok(value.to_owned()) }
}

fn number<T: std::str::FromStr>(value: &str, what: &str) -> Result<T, String> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("'{}' is not {what}", clip(value)));
    }
    value.parse().map_err(|_| format!("'{}' is too large", clip(value)))
}

/// A count of bytes or an event sequence: what a signed 64-bit integer holds.
fn count(value: &str, what: &str) -> Result<u64, String> {
    number::<i64>(value, what).map(i64::unsigned_abs)
}

fn limit(value: &str, max: u32) -> Result<Option<u32>, String> {
    match number::<u32>(value, "a number")? {
        n if (1..=max).contains(&n) => Ok(Some(n)),
        n => Err(format!("{n} is not between 1 and {max}")),
    }
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("'{}' is not true or false", clip(value))),
    }
}

/// How a list of tasks is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskSort {
    /// Newest first.
    #[default]
    CreatedDesc,
    /// Oldest first.
    CreatedAsc,
    /// Most urgent first; among equals newest first.
    PriorityDesc,
    /// Least urgent first; among equals oldest first.
    PriorityAsc,
}

impl TaskSort {
    /// As written in `sort=`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreatedDesc => "-created_at",
            Self::CreatedAsc => "created_at",
            Self::PriorityDesc => "-priority",
            Self::PriorityAsc => "priority",
        }
    }
}

/// `GET /api/tasks`. A comma is OR within one parameter; different parameters are AND.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskQuery {
    /// Any of these statuses.
    pub status: Vec<TaskStatus>,
    /// Any of these types.
    pub types: Vec<TaskType>,
    /// Any of these priorities.
    pub priority: Vec<Priority>,
    /// All of these labels (`label.KEY=VALUE`).
    pub labels: BTreeMap<String, String>,
    /// Submitted at or after.
    pub created_after: Option<Time>,
    /// Submitted before.
    pub created_before: Option<Time>,
    /// Text in the description, any case.
    pub q: Option<String>,
    /// Order.
    pub sort: TaskSort,
    /// Rows on the page, 1–500.
    pub limit: Option<u32>,
    /// From `next_cursor`.
    pub cursor: Option<String>,
    /// Count all matching rows too (`include=total`).
    pub include_total: bool,
}

impl Query for TaskQuery {
    const NAMES: &'static [&'static str] =
        &["status", "type", "priority", "label.", "created_after", "created_before", "q", "sort", "limit", "cursor", "include"];

    fn to_pairs(&self) -> Pairs {
        let mut p = Pairs::new();
        let mut push = |n: &str, v: String| p.push((n.to_owned(), v));
        if !self.status.is_empty() {
            push("status", join(&self.status));
        }
        if !self.types.is_empty() {
            push("type", join(&self.types));
        }
        if !self.priority.is_empty() {
            push("priority", join(&self.priority));
        }
        for (k, v) in &self.labels {
            push(&format!("label.{k}"), v.clone());
        }
        if let Some(t) = self.created_after {
            push("created_after", t.to_string());
        }
        if let Some(t) = self.created_before {
            push("created_before", t.to_string());
        }
        if let Some(q) = &self.q {
            push("q", q.clone());
        }
        if self.sort != TaskSort::default() {
            push("sort", self.sort.as_str().to_owned());
        }
        if let Some(n) = self.limit {
            push("limit", n.to_string());
        }
        if let Some(c) = &self.cursor {
            push("cursor", c.clone());
        }
        if self.include_total {
            push("include", "total".to_owned());
        }
        p
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "status" => self.status = words(value, TaskStatus::from_wire, TaskStatus::WORDS)?,
            "type" => self.types = words(value, TaskType::from_wire, TaskType::WORDS)?,
            "priority" => self.priority = words(value, Priority::from_wire, Priority::WORDS)?,
            "created_after" => self.created_after = Some(value.parse()?),
            "created_before" => self.created_before = Some(value.parse()?),
            "q" => self.q = Some(text(value)?),
            "sort" => {
                self.sort = match value {
                    "-created_at" => TaskSort::CreatedDesc,
                    "created_at" => TaskSort::CreatedAsc,
                    "-priority" => TaskSort::PriorityDesc,
                    "priority" => TaskSort::PriorityAsc,
                    _ => {
                        return Err(format!("'{}' is not one of -created_at, created_at, -priority, priority", clip(value)));
                    }
                }
            }
            "limit" => self.limit = limit(value, PAGE_ITEMS_MAX)?,
            "cursor" => self.cursor = Some(text(value)?),
            "include" if value == "total" => self.include_total = true,
            "include" => return Err(format!("'{}' is not total", clip(value))),
            label => {
                let key = label.strip_prefix("label.").unwrap_or(label);
                self.labels.insert(key.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

/// `GET /api/agents`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// Any of these statuses.
    pub status: Vec<AgentStatus>,
    /// Any of these types.
    pub types: Vec<String>,
}

impl Query for AgentQuery {
    const NAMES: &'static [&'static str] = &["status", "type"];
    fn to_pairs(&self) -> Pairs {
        let mut p = Pairs::new();
        if !self.status.is_empty() {
            p.push(("status".into(), join(&self.status)));
        }
        if !self.types.is_empty() {
            p.push(("type".into(), join(&self.types)));
        }
        p
    }
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "status" => self.status = words(value, AgentStatus::from_wire, AgentStatus::WORDS)?,
            _ => self.types = value.split(',').map(text).collect::<Result<_, _>>()?,
        }
        Ok(())
    }
}

/// `GET /api/tasks/{id}/results` and `GET /api/tasks/{id}`: wait for the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitQuery {
    /// Answer when the task has ended, or after this many milliseconds (at most 60 s).
    pub wait_ms: Option<u64>,
}

impl Query for WaitQuery {
    const NAMES: &'static [&'static str] = &["wait"];
    fn to_pairs(&self) -> Pairs {
        self.wait_ms.map(|ms| ("wait".to_owned(), format!("{ms}ms"))).into_iter().collect()
    }
    fn set(&mut self, _name: &str, value: &str) -> Result<(), String> {
        self.wait_ms = Some(parse_duration_ms(value)?.min(WAIT_SECONDS_MAX * 1000));
        Ok(())
    }
}

/// `GET /api/tasks/{id}/output`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputQuery {
    /// Only this agent's text.
    pub agent: Option<String>,
    /// Only this stream (an effect's id).
    pub stream: Option<String>,
    /// Text from this byte on.
    pub offset: Option<u64>,
    /// Only the last bytes of each section.
    pub tail: Option<u64>,
}

impl Query for OutputQuery {
    const NAMES: &'static [&'static str] = &["agent", "stream", "offset", "tail"];
    fn to_pairs(&self) -> Pairs {
        let numbers = [("offset", self.offset), ("tail", self.tail)].into_iter().filter_map(|(n, v)| Some((n.to_owned(), v?.to_string())));
        let texts = [("agent", &self.agent), ("stream", &self.stream)].into_iter().filter_map(|(n, v)| Some((n.to_owned(), v.clone()?)));
        texts.chain(numbers).collect()
    }
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "agent" => self.agent = Some(text(value)?),
            "stream" => self.stream = Some(text(value)?),
            "offset" => self.offset = Some(count(value, "a number of bytes")?),
            _ => self.tail = Some(count(value, "a number of bytes")?),
        }
        Ok(())
    }
}

/// `GET /api/events` and the streams of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Types wanted: `task.*`, `step.failed`, `*`; empty for all.
    pub types: Vec<String>,
    /// Only this task (not on a task's own stream).
    pub task_id: Option<String>,
    /// Only this agent.
    pub agent_id: Option<String>,
    /// Replay from after this sequence; without it the global stream begins now, a task's stream at its start.
    pub after: Option<u64>,
}

impl Query for EventQuery {
    const NAMES: &'static [&'static str] = &["types", "task_id", "agent_id", "after"];
    fn to_pairs(&self) -> Pairs {
        let mut p = Pairs::new();
        if !self.types.is_empty() {
            p.push(("types".into(), self.types.join(",")));
        }
        if let Some(t) = &self.task_id {
            p.push(("task_id".into(), t.clone()));
        }
        if let Some(a) = &self.agent_id {
            p.push(("agent_id".into(), a.clone()));
        }
        if let Some(n) = self.after {
            p.push(("after".into(), n.to_string()));
        }
        p
    }
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "types" => {
                let known = |f: &str| crate::events::EventType::ALL.iter().any(|t| t.matches(f));
                self.types = words(value, |w| known(w).then(|| w.to_owned()), crate::events::EventType::WORDS)?;
            }
            "task_id" => self.task_id = Some(text(value)?),
            "agent_id" => self.agent_id = Some(text(value)?),
            _ => self.after = Some(count(value, "an event sequence")?),
        }
        Ok(())
    }
}

/// `GET /api/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// This level and above.
    pub level: Option<LogLevel>,
    /// Only this part.
    pub component: Option<String>,
    /// Only about this task.
    pub task_id: Option<String>,
    /// Only about this agent.
    pub agent_id: Option<String>,
    /// Text in the line, any case.
    pub q: Option<String>,
    /// Written at or after.
    pub since: Option<Time>,
    /// The last lines only (default 100).
    pub tail: Option<u32>,
    /// Answer with an event stream of `log.entry`.
    pub follow: bool,
}

impl Query for LogQuery {
    const NAMES: &'static [&'static str] = &["level", "component", "task_id", "agent_id", "q", "since", "tail", "follow"];
    fn to_pairs(&self) -> Pairs {
        let texts = [("component", &self.component), ("task_id", &self.task_id), ("agent_id", &self.agent_id), ("q", &self.q)];
        let mut p: Pairs = texts.into_iter().filter_map(|(n, v)| Some((n.to_owned(), v.clone()?))).collect();
        if let Some(l) = self.level {
            p.push(("level".into(), l.to_string()));
        }
        if let Some(t) = self.since {
            p.push(("since".into(), t.to_string()));
        }
        if let Some(n) = self.tail {
            p.push(("tail".into(), n.to_string()));
        }
        if self.follow {
            p.push(("follow".into(), "true".into()));
        }
        p
    }
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "level" => self.level = words(value, LogLevel::from_wire, LogLevel::WORDS)?.into_iter().min(),
            "component" => self.component = Some(text(value)?),
            "task_id" => self.task_id = Some(text(value)?),
            "agent_id" => self.agent_id = Some(text(value)?),
            "q" => self.q = Some(text(value)?),
            "since" => self.since = Some(value.parse()?),
            "tail" => self.tail = limit(value, LOG_LINES_MAX)?,
            _ => self.follow = boolean(value)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<Q: Query + PartialEq + std::fmt::Debug>(q: Q) {
        assert_eq!(Q::from_pairs(&q.to_pairs()).unwrap(), q);
    }

    #[test]
    fn what_the_client_writes_the_server_reads() {
        round(TaskQuery {
            status: vec![TaskStatus::Running, TaskStatus::TimedOut],
            types: vec![TaskType::Coding],
            priority: vec![Priority::High],
            labels: [("team".to_owned(), "a".to_owned())].into(),
            created_after: Some(Time::from_millis(1)),
            created_before: Some(Time::from_millis(2)),
            q: Some("x y".into()),
            sort: TaskSort::CreatedAsc,
            limit: Some(7),
            cursor: Some("c".into()),
            include_total: true,
        });
        round(AgentQuery { status: vec![AgentStatus::Busy], types: vec!["coder".into()] });
        round(WaitQuery { wait_ms: Some(1500) });
        round(OutputQuery { agent: Some("a".into()), stream: Some("s/1".into()), offset: Some(3), tail: Some(9) });
        round(EventQuery { types: vec!["task.*".into()], task_id: Some("t".into()), agent_id: Some("a".into()), after: Some(9) });
        round(LogQuery { level: Some(LogLevel::Error), q: Some("q".into()), tail: Some(5), follow: true, ..LogQuery::default() });
    }

    #[test]
    fn faults_name_the_parameter() {
        let fault = |n: &str, v: &str| TaskQuery::from_pairs(&[(n.into(), v.into())]).unwrap_err();
        assert_eq!(fault("statuss", "x").code, ProblemCode::UnknownParameter);
        assert_eq!(fault("label.", "x").code, ProblemCode::UnknownParameter);
        for (n, v) in [
            ("status", "running"),
            ("status", ""),
            ("limit", "0"),
            ("limit", "501"),
            ("limit", "-1"),
            ("limit", "99999999999"),
            ("sort", "x"),
            ("include", "x"),
            ("created_after", "now"),
            ("q", ""),
        ] {
            let p = fault(n, v);
            assert_eq!((p.code, p.errors[0].parameter.as_deref()), (ProblemCode::ValidationFailed, Some(n)), "{n}={v}");
        }
        let twice = [("q".to_owned(), "a".to_owned()), ("q".to_owned(), "b".to_owned())];
        assert_eq!(TaskQuery::from_pairs(&twice).unwrap_err().code, ProblemCode::ValidationFailed);
        assert_eq!(NoQuery::from_pairs(&twice).unwrap_err().code, ProblemCode::UnknownParameter);
    }
}
