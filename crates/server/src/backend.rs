//! What the routes need from the rest of MAOS, in words of the wire. The routes know nothing else.
//!
//! Invariant: every answer is a fact of the journal; a handler never decides a status. Implemented over the runtime in
//! `wire`, and by an in-memory double in the tests of the routes.
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn, AgentType};
use maos_api::analysis::Analysis;
use maos_api::files::{Artifact, Upload};
use maos_api::people::{Answered, Question};
use maos_api::plan::Plan;
use maos_api::query::{AgentQuery, OutputQuery, TaskQuery};
use maos_api::shared::{Message, Output, StateEntry};
use maos_api::system::{Health, ModelInfo, Status};
use maos_api::tasks::{Results, Task, TaskPatch, TaskSubmit};
use maos_api::usage::UsageReport;
use maos_api::{Event, Problem};
use tokio::sync::broadcast;

/// What a backend answers.
pub type Reply<T> = Result<T, Box<Problem>>;

/// Makes the repetition of a submit harmless, also across a crash of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's key.
    pub key: String,
    /// Route and principal: the same key under another path is another key.
    pub path: String,
    /// SHA-256 of the request body.
    pub body_hash: [u8; 32],
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task.
    pub task: Task,
    /// It had been made before by a request with the same key.
    pub replayed: bool,
}

/// What a person can ask of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Stop everything.
    Cancel,
    /// Hold.
    Pause,
    /// Go on.
    Resume,
    /// Run again what did not complete.
    Retry,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Acted {
    /// The task as it is now.
    pub task: Task,
    /// It was so already: nothing was done.
    pub already: bool,
}

/// Where a page of tasks begins: the key of the last row of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Priority, 0 (LOW) to 3 (CRITICAL); used when sorted by it.
    pub priority: i16,
    /// Submission time, microseconds.
    pub created_us: i64,
    /// Id.
    pub task_id: String,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The rows.
    pub tasks: Vec<Task>,
    /// The key of the last row, when more rows follow.
    pub next: Option<Point>,
    /// Exact number of matching rows, when asked for.
    pub total: Option<u64>,
}

/// Work: submit, find, change.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Makes a task. Durable when answered.
    async fn submit(&self, task: TaskSubmit, key: Option<IdempotencyKey>) -> Reply<Submitted>;
    /// At most `limit` tasks that match, behind `after`.
    async fn list(&self, query: &TaskQuery, after: Option<Point>, limit: u32) -> Reply<Listed>;
    /// One task.
    async fn task(&self, id: &str) -> Reply<Task>;
    /// Changes a task; with `if_revision` only if it still has that revision.
    async fn update(&self, id: &str, patch: TaskPatch, if_revision: Option<u64>) -> Reply<Task>;
    /// Asks for an action.
    async fn act(&self, id: &str, action: Action) -> Reply<Acted>;
}

/// What can be read of one task.
#[async_trait]
pub trait Views: Send + Sync {
    /// Result, or what there is of it.
    async fn results(&self, id: &str) -> Reply<Results>;
    /// The plan with the states of its steps.
    async fn plan(&self, id: &str) -> Reply<Plan>;
    /// Where time and money went.
    async fn analysis(&self, id: &str) -> Reply<Analysis>;
    /// Tokens and cost.
    async fn usage(&self, id: &str) -> Reply<UsageReport>;
    /// Agents that work or worked on it.
    async fn task_agents(&self, id: &str) -> Reply<Vec<Agent>>;
    /// Its shared state.
    async fn state(&self, id: &str) -> Reply<Vec<StateEntry>>;
    /// Messages between its agents.
    async fn messages(&self, id: &str) -> Reply<Vec<Message>>;
    /// The text written so far.
    async fn output(&self, id: &str, query: &OutputQuery) -> Reply<Output>;
}

/// The machine: agents, models, state of the server.
#[async_trait]
pub trait Machine: Send + Sync {
    /// The agents of this server.
    async fn agents(&self, query: &AgentQuery) -> Reply<Vec<Agent>>;
    /// One agent.
    async fn agent(&self, id: &str) -> Reply<Agent>;
    /// The types of agents.
    async fn agent_types(&self) -> Reply<Vec<AgentType>>;
    /// What the server is doing.
    async fn status(&self) -> Reply<Status>;
    /// Every check, or that of one component (`None` when there is no such component).
    async fn health(&self, component: Option<&str>) -> Reply<Option<Health>>;
    /// Models and prices.
    async fn models(&self) -> Reply<Vec<ModelInfo>>;
    /// New work is taken; the reason when not.
    async fn ready(&self) -> Reply<()>;
    /// Figures of the runtime in Prometheus' text form, complete lines, without the closing `# EOF`.
    async fn metrics(&self) -> Reply<String>;
}

/// What a person can ask of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentAction {
    /// No new call after the current one.
    Pause,
    /// Go on.
    Resume,
    /// Begin the step's current turn anew.
    Restart,
    /// End it; its step goes to another agent.
    Terminate,
}

/// The pool of agents, as people manage it.
#[async_trait]
pub trait Pool: Send + Sync {
    /// Adds agents. They are in the pool when this answers.
    async fn spawn(&self, spawn: AgentSpawn) -> Reply<Vec<Agent>>;
    /// Asks for an action; the agent as it is then.
    async fn act_on_agent(&self, id: &str, action: AgentAction) -> Reply<Agent>;
    /// What an agent has done.
    async fn agent_metrics(&self, id: &str) -> Reply<AgentMetrics>;
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a question.
    Text(String),
    /// The tool may run, once, with just these arguments.
    Approve,
    /// It may not.
    Deny {
        /// Told to the agent.
        reason: Option<String>,
    },
}

/// What agents ask of people.
#[async_trait]
pub trait People: Send + Sync {
    /// What is asked now, in order of the steps.
    async fn questions(&self, task: &str) -> Reply<Vec<Question>>;
    /// Answers a question; the only open one if none is named. Consent must name its call.
    async fn answer(&self, task: &str, question: Option<&str>, answer: Answer) -> Reply<Answered>;
}

/// Bytes as they come. An error means that the rest is missing.
pub type ByteStream = BoxStream<'static, std::io::Result<bytes::Bytes>>;

/// A file of a task, opened.
pub struct Content {
    /// What it is.
    pub artifact: Artifact,
    /// What is in it: exactly `artifact.bytes` bytes.
    pub body: ByteStream,
}

/// Files that come in and go out.
#[async_trait]
pub trait Files: Send + Sync {
    /// Keeps a file. Durable when answered; nothing is kept of a stream that ends in an error.
    async fn upload(&self, content: ByteStream) -> Reply<Upload>;
    /// The files a task made.
    async fn artifacts(&self, task: &str) -> Reply<Vec<Artifact>>;
    /// One of them.
    async fn artifact(&self, task: &str, name: &str) -> Reply<Content>;
}

/// A piece of the durable stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedPage {
    /// Events in order of `seq`, each behind the `after` that was asked for.
    pub events: Vec<Event>,
    /// Everything up to here is in this page or does not concern the asked-for task; ask again from here.
    pub upto: u64,
    /// Nothing is stored behind `upto` now.
    pub end: bool,
}

/// News that does not wait in the database.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// There may be new events: read the feed. Losing it only makes things slower.
    Hint,
    /// A live-only event (text of a model call). May be lost; never stored one by one. Whoever passes it on sets its `seq`.
    Live(Box<Event>),
}

/// Everything that happens.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Durable events behind `after`, at most about `limit`, of all tasks or one.
    async fn feed(&self, after: u64, limit: u32, task: Option<&str>) -> Reply<FeedPage>;
    /// The newest sequence.
    async fn last_seq(&self) -> Reply<u64>;
    /// News from now on.
    fn subscribe(&self) -> broadcast::Receiver<News>;
}

/// Everything the routes need.
pub trait Backend: Tasks + Views + Machine + Pool + People + Files + Feed + 'static {}
impl<T: Tasks + Views + Machine + Pool + People + Files + Feed + 'static> Backend for T {}
