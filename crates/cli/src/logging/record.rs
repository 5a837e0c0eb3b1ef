//! Turns a tracing event into one JSON line. Ids of task, agent and request are taken from the event or the spans around it.
use super::LineSink;
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Longest text of one field.
const FIELD_BYTES_MAX: usize = 16 * 1024;

/// Writes JSON lines to a sink.
pub(crate) struct JsonLayer<S> {
    sink: S,
}

impl<S: LineSink> JsonLayer<S> {
    /// A layer that writes to `sink`.
    pub(crate) fn new(sink: S) -> Self {
        JsonLayer { sink }
    }
}

/// Fields of a span or event.
#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Fields {
    fn add(&mut self, field: &Field, text: &str) {
        let mut end = text.len().min(FIELD_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.insert(field.name().to_owned(), text[..end].into());
    }
}

impl<S, R> Layer<R> for JsonLayer<S>
where
    S: LineSink,
    R: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, R>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, R>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, R>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut all = Map::new();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                all.extend(fields.0.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        all.extend(fields.0);
        self.sink.line(line(event.metadata().level(), event.metadata().target(), all).as_bytes());
    }
}

fn line(level: &Level, target: &str, mut fields: Map<String, Value>) -> String {
    let message = fields.remove("message").unwrap_or_default();
    let component = fields.remove("component").unwrap_or_else(|| component(target).into());
    let now = format!("{:.3}", jiff::Timestamp::now());
    let head: [(&str, Value); 5] = [
        ("timestamp", now.into()),
        ("level", level_name(level).into()),
        ("target", target.into()),
        ("component", component),
        ("message", message),
    ];
    let ids = ["task_id", "agent_id", "request_id"].map(|name| (name, fields.remove(name).unwrap_or(Value::Null)));
    let mut text = String::from("{");
    for (name, value) in head.into_iter().chain(ids).filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.to_owned(), v)).chain(fields) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&format!("{}:{value}", Value::from(name)));
    }
    text.push_str("}\n");
    text
}

fn level_name(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// The part of the system a module belongs to, as in `maos logs --component`.
fn component(target: &str) -> &'static str {
    const PARTS: &[(&str, &str)] = &[
        ("maos_runtime::agent", "agents"),
        ("maos_runtime::perform", "agents"),
        ("maos_runtime::pool", "agents"),
        ("maos_runtime", "orchestrator"),
        ("maos_engine", "orchestrator"),
        ("maos_store", "database"),
        ("maos_llm", "models"),
        ("maos_local", "models"),
        ("maos_script", "models"),
        ("maos_server", "api"),
        ("maos_api", "api"),
    ];
    PARTS.iter().find(|(prefix, _)| target.starts_with(prefix)).map_or("system", |(_, part)| part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl LineSink for Lines {
        fn line(&self, line: &[u8]) {
            self.0.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        }
    }

    #[test]
    fn ids_come_from_the_spans_around() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(JsonLayer::new(lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("task", task_id = "task_1", request_id = tracing::field::Empty);
            let _in = span.enter();
            span.record("request_id", "req_1");
            tracing::warn!(target: "maos_store::sqlite", bytes = 3, "slow \"disk\"\n");
        });
        let line = lines.0.lock().unwrap().pop().unwrap();
        let rest = line.split_once(",\"level\"").unwrap().1;
        assert_eq!(
            rest,
            ":\"WARNING\",\"target\":\"maos_store::sqlite\",\"component\":\"database\",\"message\":\"slow \\\"disk\\\"\\n\",\"task_id\":\"task_1\",\"request_id\":\"req_1\",\"bytes\":3}\n"
        );
        assert!(serde_json::from_str::<Value>(&line).is_ok());
    }
}
