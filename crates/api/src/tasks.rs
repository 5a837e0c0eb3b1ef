//! Tasks on the wire: what is submitted, what is shown, what a person may change, and what comes out.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::files::{Artifact, Attachment};
use crate::money::Money;
use crate::time::Time;
use crate::votes::Consensus;
use crate::words::{AgentStatus, Priority, StepState, TaskStatus, TaskType};

/// A new task. Unknown fields are refused, so that a typing error is not silently ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"description": "Analyze customer satisfaction trends", "type": "analysis", "max_agents": 4, "priority": "HIGH"}))]
pub struct TaskSubmit {
    /// What is to be done, in the person's words. Not empty.
    #[schema(min_length = 1, max_length = 262144)]
    pub description: String,
    /// Kind of work; null lets the planner choose from every agent type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// Most agents that work on it at the same time; 1 skips planning. Default: `tasks.max_agents_per_task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub max_agents: Option<u32>,
    /// Every step is done by agents of this type (see `/api/agent-types`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// How urgent it is. Default NORMAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Seconds (or a duration such as `"1h30m"`) of running time after which the task is TIMED_OUT.
    #[serde(default, deserialize_with = "crate::time::seconds::deserialize", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::time::SecondsInput>, inline)]
    pub timeout: Option<u64>,
    /// Background that every agent sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 262144)]
    pub context: Option<String>,
    /// Rules that every agent must keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 262144)]
    pub constraints: Option<String>,
    /// Tasks whose results this one waits for and sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 256)]
    pub depends_on: Vec<String>,
    /// Free labels for finding tasks again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Most the task may spend, in US dollars: a decimal string or a number. At the limit it pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::money::MoneyInput>, inline)]
    pub max_cost: Option<Money>,
    /// Uploaded files that stand in the task's workspace before the first agent starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub attachments: Vec<Attachment>,
    /// Independent voters must agree with the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_consensus: Option<bool>,
    /// Share of the votes needed, above 0 and at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0.0, maximum = 1.0)]
    pub consensus_threshold: Option<f64>,
}

/// What may change on a task that has not ended. Absent fields stay; null clears where a field may be null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"priority": "HIGH", "max_agents": 8}))]
pub struct TaskPatch {
    /// Most agents that work on it at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub max_agents: Option<u32>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Seconds of running time (or a duration text); null removes the limit.
    #[serde(default, deserialize_with = "crate::time::seconds::patch", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::time::SecondsInput>, inline)]
    pub timeout: Option<Option<u64>>,
    /// Labels to set; null as a value removes that label; labels not named stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, Option<String>>>,
    /// Most the task may spend, in US dollars; null removes the limit.
    #[serde(default, deserialize_with = "crate::money::patch", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::money::MoneyInput>, inline)]
    pub max_cost: Option<Option<Money>>,
}

impl TaskPatch {
    /// Nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A task. All keys are always present; null when unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Always `task`.
    pub object: String,
    /// `task_` and 16 characters; sorts by time of submission.
    pub task_id: String,
    /// What is to be done.
    pub description: String,
    /// Kind of work, if it was said.
    #[serde(rename = "type")]
    pub task_type: Option<TaskType>,
    /// Where it stands.
    pub status: TaskStatus,
    /// How urgent it is.
    pub priority: Priority,
    /// Most agents that work on it at the same time.
    pub max_agents: u32,
    /// The agent type every step gets, if it was said.
    pub agent_type: Option<String>,
    /// Limit of running time, in seconds.
    pub timeout: Option<u64>,
    /// Limit of spending.
    pub max_cost: Option<Money>,
    /// Voters must agree with the result.
    pub require_consensus: bool,
    /// Share of the votes needed.
    pub consensus_threshold: Option<f64>,
    /// The ballots over its result; null when no ballot was held, and in lists.
    pub consensus: Option<Consensus>,
    /// Files given with it; in lists only their number is given.
    pub attachments: Vec<Attachment>,
    /// How many files were given with it.
    #[serde(default)]
    pub attachments_total: u64,
    /// Instructions beyond its description that its agents were given; null in lists.
    #[serde(default)]
    pub instructions: Option<Instructions>,
    /// Questions and requests for consent that wait for a person.
    pub questions: u32,
    /// Background that every agent sees.
    pub context: Option<String>,
    /// Rules that every agent must keep.
    pub constraints: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Tasks it waits for, as submitted.
    pub depends_on: Vec<String>,
    /// Those of `depends_on` that have not completed yet.
    pub blocked_by: Vec<String>,
    /// The batch it belongs to.
    pub batch_id: Option<String>,
    /// The template it was made from.
    pub template: Option<String>,
    /// The task it was forked from.
    pub parent_id: Option<String>,
    /// How far it is.
    pub progress: Progress,
    /// The agents at work on it now.
    pub agents: Vec<TaskAgent>,
    /// Tokens used, in five disjoint classes.
    pub usage: Tokens,
    /// What it cost so far.
    pub cost: Cost,
    /// When it was submitted.
    pub created_at: Time,
    /// When it first ran.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// From `started_at` to `finished_at`, in milliseconds; null until it has ended.
    pub duration_ms: Option<u64>,
    /// 1 at first; one more for every retry.
    pub attempt: u32,
    /// Grows with every change; the ETag is `"r<revision>"`.
    pub revision: u64,
    /// Why it failed or is held.
    pub error: Option<TaskError>,
    /// Where to look next.
    pub links: Links,
}

/// Instructions that a task's agents were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instructions {
    /// The AGENTS.md that was attached: coding agents have it.
    pub agents_md: bool,
    /// Skills that agents opened, by name.
    pub skills: Vec<String>,
}

/// How far a task is, counted in steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Steps that ended well.
    pub completed: u32,
    /// Steps of the plan; 0 while there is no plan.
    pub total: u32,
    /// 0–100, rounded down.
    #[schema(maximum = 100)]
    pub percent: u8,
    /// What is going on, in a few words.
    pub message: Option<String>,
}

/// An agent at work on a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskAgent {
    /// `agent_<type>_<NNN>`.
    pub agent_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub agent_type: String,
    /// What it is doing.
    pub status: AgentStatus,
    /// The step it works on.
    pub step_id: Option<String>,
    /// When it last did anything.
    pub last_activity_at: Option<Time>,
    /// What it did last, in a few words.
    pub activity: Option<String>,
}

/// Tokens in five disjoint classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// Uncached input.
    pub input_tokens: u64,
    /// Output, thinking included.
    pub output_tokens: u64,
    /// Input read from the cache.
    pub cache_read_tokens: u64,
    /// Input written to the 5-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Input written to the 1-hour cache.
    pub cache_write_1h_tokens: u64,
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, o: Self) {
        self.input_tokens += o.input_tokens;
        self.output_tokens += o.output_tokens;
        self.cache_read_tokens += o.cache_read_tokens;
        self.cache_write_5m_tokens += o.cache_write_5m_tokens;
        self.cache_write_1h_tokens += o.cache_write_1h_tokens;
    }
}

impl Tokens {
    /// All classes together.
    pub const fn total(self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
    }
}

/// An amount spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// US dollars; null when a price is unknown (never 0 instead).
    pub amount: Option<Money>,
    /// Always `USD`.
    pub currency: String,
    /// Some of the figures are our estimate, because the provider gave none.
    pub estimated: bool,
    /// Version of the price table.
    pub price_table: Option<String>,
}

impl Cost {
    /// An amount in US dollars; `None` for an unknown price.
    pub fn usd(amount: Option<Money>, estimated: bool, price_table: Option<String>) -> Self {
        Self { amount, currency: "USD".into(), estimated, price_table }
    }
}

/// Why a task, a step or a call failed or is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskError {
    /// A short name of the cause, such as `budget-exceeded` or `step-failed`.
    pub code: String,
    /// One sentence for people.
    pub detail: String,
    /// What to do about it: usually a command.
    pub hint: Option<String>,
    /// The same task may succeed when retried.
    pub retryable: bool,
    /// The step it happened in.
    pub step_id: Option<String>,
}

/// Where to look next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// This task.
    #[serde(rename = "self")]
    pub self_: String,
    /// Its results.
    pub results: String,
    /// Its live events.
    pub events: String,
    /// Its page in the dashboard.
    pub dashboard: String,
}

/// What came out of a task. For a task that exists this is never an error: `final` says whether it is the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Results {
    /// The task.
    pub task_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// The task has ended; nothing will change unless it is retried.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The result; null until there is one.
    pub result: Option<ResultText>,
    /// Files it made.
    pub artifacts: Vec<Artifact>,
    /// Outputs of the steps that have completed so far. While voters have not accepted the joined text, it is the last one (`step_id` is `draft`).
    pub partial: Vec<Partial>,
    /// Why there is no result.
    pub error: Option<TaskError>,
}

/// The text of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultText {
    /// `markdown`.
    pub format: String,
    /// The text.
    pub text: String,
}

impl ResultText {
    /// Markdown, as all models write it.
    pub fn markdown(text: impl Into<String>) -> Self {
        Self { format: "markdown".into(), text: text.into() }
    }
}

/// The output of one step, or the draft of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Partial {
    /// The step; `draft` for the draft of the result.
    pub step_id: String,
    /// Its title.
    pub title: String,
    /// Who did it.
    pub agent_id: Option<String>,
    /// Where it stands.
    pub state: StepState,
    /// Its output.
    pub text: String,
}
