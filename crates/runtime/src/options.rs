//! What the configuration says to the runtime: plain data, owned here, filled in by the binary.
use crate::toolset::ToolOptions;
use maos_engine::consensus::Strategy;
use maos_engine::limits::Limits;
use maos_engine::money::Money;
use std::path::PathBuf;
use std::time::Duration;

/// How long the files of a task are kept after its end where nothing says otherwise: 30 days.
const WORKSPACE_KEEP_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Options of a node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the data; locked by one process.
    pub data_dir: PathBuf,
    /// Where the journal is: `sqlite:/path/maos.db`.
    pub database_url: String,
    /// Models. A configuration without any is allowed: then nothing can be submitted.
    pub models: maos_llm::Options,
    /// Bounds of the rules.
    pub limits: Limits,
    /// Most agents at work at once on this node.
    pub max_agents: u32,
    /// Budget of all tasks together per day (UTC).
    pub budget_daily: Option<Money>,
    /// Budget of a task that names none.
    pub budget_task: Option<Money>,
    /// Running time of a task that names none, seconds.
    pub task_timeout_s: Option<u64>,
    /// Output limit of a planning call, tokens.
    pub plan_output_tokens_max: u32,
    /// Output limit of any other call, tokens.
    pub output_tokens_max: u32,
    /// Extended thinking of agents, tokens; off if absent.
    pub thinking_tokens: Option<u32>,
    /// Most tasks held in memory at once; the others wait in the store.
    pub live_tasks_max: usize,
    /// How long a lease holds without renewal, milliseconds.
    pub lease_ms: u64,
    /// Tools, sandbox, the way out.
    pub tools: ToolOptions,
    /// Room for prompt and reply of a model, tokens; by provider if absent.
    pub context_tokens: Option<u32>,
    /// How results are voted on where a task asks for it.
    pub consensus: ConsensusOptions,
    /// How long the files of a task are kept after its end; for ever if absent.
    pub workspace_keep: Option<Duration>,
}

/// How results are voted on.
#[derive(Debug, Clone)]
pub struct ConsensusOptions {
    /// How votes are counted.
    pub strategy: Strategy,
    /// Share that must approve, thousandths; more than half if absent.
    pub threshold_milli: Option<u32>,
    /// Voters of a ballot.
    pub voters: u8,
    /// Seconds a ballot may take.
    pub timeout_s: u64,
    /// Models of the voters in turn; those of their types if empty.
    pub models: Vec<maos_llm::ModelRef>,
}

impl Default for ConsensusOptions {
    fn default() -> Self {
        Self { strategy: Strategy::Majority, threshold_milli: None, voters: 3, timeout_s: 300, models: vec![] }
    }
}

impl Options {
    /// Defaults for a data directory, with no model.
    pub fn new(data_dir: PathBuf) -> Self {
        let database_url = format!("sqlite:{}", data_dir.join("maos.db").display());
        Self {
            data_dir,
            database_url,
            models: maos_llm::Options::default(),
            limits: Limits::default(),
            max_agents: 10,
            budget_daily: None,
            budget_task: None,
            task_timeout_s: None,
            plan_output_tokens_max: 4_096,
            output_tokens_max: 4_096,
            thinking_tokens: None,
            live_tasks_max: 1_024,
            lease_ms: 15_000,
            tools: ToolOptions::default(),
            context_tokens: None,
            consensus: ConsensusOptions::default(),
            workspace_keep: Some(WORKSPACE_KEEP_DEFAULT),
        }
    }
}
