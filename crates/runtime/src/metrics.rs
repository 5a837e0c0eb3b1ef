//! Figures of this node for Prometheus (ux.md E-21): prefix `maos_`, base units, no label without a bound.
use maos_engine::message::{FailureClass, Usage};
use maos_engine::money::Money;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    status: String,
    kind: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    model: String,
    outcome: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    model: String,
    class: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByModel {
    model: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentState {
    kind: String,
    state: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 18))
}

/// The instruments.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    tasks: Family<Ended, Counter>,
    in_state: Family<State, Gauge>,
    task_seconds: Histogram,
    queue_seconds: Histogram,
    agents: Family<AgentState, Gauge>,
    requests: Family<Outcome, Counter>,
    tokens: Family<Class, Counter>,
    cost: Family<ByModel, Counter<f64, AtomicU64>>,
    request_seconds: Histogram,
    events: Counter,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new(version: &str) -> Self {
        let mut r = Registry::with_prefix("maos");
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version: version.into() }).set(1);
        r.register("build_info", "Version of this program", build);
        let m = Self {
            tasks: Family::default(),
            in_state: Family::default(),
            task_seconds: seconds(),
            queue_seconds: seconds(),
            agents: Family::default(),
            requests: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            request_seconds: seconds(),
            events: Counter::default(),
            registry: Mutex::default(),
        };
        r.register("tasks", "Tasks ended, by status and type", m.tasks.clone());
        r.register("tasks_in_state", "Tasks in each state", m.in_state.clone());
        r.register("task_duration_seconds", "From the first agent to the end", m.task_seconds.clone());
        r.register("task_queue_wait_seconds", "From submission to the first agent", m.queue_seconds.clone());
        r.register("agents", "Agents of the pool by type and state", m.agents.clone());
        r.register("llm_requests", "Attempts of model calls by outcome", m.requests.clone());
        r.register("llm_tokens", "Tokens by model and class", m.tokens.clone());
        r.register("llm_cost_usd", "Known cost in US dollars", m.cost.clone());
        r.register("llm_request_duration_seconds", "Model calls that answered", m.request_seconds.clone());
        r.register("journal_events", "Entries appended to journals", m.events.clone());
        *m.registry.lock().unwrap_or_else(PoisonError::into_inner) = r;
        m
    }

    pub(crate) fn call_failed(&self, class: FailureClass) {
        let outcome = serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        self.requests.get_or_create(&Outcome { model: String::new(), outcome }).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for a chart")]
    pub(crate) fn replied(&self, model: &str, usage: &Usage, cost: Option<Money>, ms: u64) {
        let model = model.to_owned();
        self.requests.get_or_create(&Outcome { model: model.clone(), outcome: "ok".into() }).inc();
        let classes = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write_5m", usage.cache_write_5m_tokens),
            ("cache_write_1h", usage.cache_write_1h_tokens),
        ];
        for (class, n) in classes.into_iter().filter(|(_, n)| *n > 0) {
            self.tokens.get_or_create(&Class { model: model.clone(), class: class.into() }).inc_by(n);
        }
        if let Some(cost) = cost {
            self.cost.get_or_create(&ByModel { model }).inc_by(cost.0 as f64 / 1e9);
        }
        self.request_seconds.observe(ms as f64 / 1e3);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for a chart")]
    pub(crate) fn started(&self, wait_ms: u64) {
        self.queue_seconds.observe(wait_ms as f64 / 1e3);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for a chart")]
    pub(crate) fn ended(&self, status: &str, kind: Option<&str>, ms: u64) {
        self.tasks.get_or_create(&Ended { status: status.into(), kind: kind.unwrap_or("none").into() }).inc();
        self.task_seconds.observe(ms as f64 / 1e3);
    }

    pub(crate) fn appended(&self, events: usize) {
        self.events.inc_by(events as u64);
    }

    /// The text exposition, with the gauges set to these values.
    pub(crate) fn text(&self, in_state: &[(String, u64)], agents: &[(String, String, i64)]) -> String {
        self.in_state.clear();
        for (state, n) in in_state {
            self.in_state.get_or_create(&State { state: state.clone() }).set(i64::try_from(*n).unwrap_or(i64::MAX));
        }
        self.agents.clear();
        for (kind, state, n) in agents {
            self.agents.get_or_create(&AgentState { kind: kind.clone(), state: state.clone() }).set(*n);
        }
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut out, &registry).expect("writing to a string cannot fail");
        out
    }
}
