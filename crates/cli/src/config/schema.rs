//! The one table of configuration keys. Invariant: a key exists if and only if it has a row here; the file reader, the
//! environment names, `config show`, the JSON Schema, `maos help environment` and the file `maos init` writes are all made from it.

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false` (also yes/no, on/off).
    Bool,
    /// A whole number between the two, inclusive.
    Int(i64, i64),
    /// A number between the two (in thousandths), inclusive.
    Fraction(i64, i64),
    /// Any text.
    Text,
    /// An `http://` or `https://` address, or another scheme where the key says so.
    Url,
    /// A path of a file; `~/` is the person's home.
    Path,
    /// A number of bytes: `512MB`, `1GiB`.
    Size,
    /// A length of time: `90s`, `1h30m`, or a bare number of seconds.
    Duration,
    /// An amount of money in USD: `2.50`.
    Money,
    /// One of these words; case does not matter.
    Choice(&'static [&'static str]),
    /// Several texts, in the file a list or `a,b`, elsewhere `a,b`.
    List,
    /// Pairs of texts, in the file a mapping, elsewhere `a=b,c=d`.
    Pairs,
}

/// One configuration key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted name, `section.key`.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// The value when nothing sets it, as it would be written.
    pub(crate) default: Option<&'static str>,
    /// One sentence: what it does.
    pub(crate) doc: &'static str,
    /// Never shown in full.
    pub(crate) secret: bool,
    /// Accepted, but without effect in this version: what is done instead.
    pub(crate) later: Option<&'static str>,
    /// Variables that set it besides its `MAOS_…` one, strongest first.
    pub(crate) env: &'static [&'static str],
    /// Only the command line reads it; a running server does not care.
    pub(crate) client: bool,
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { name, kind, default, doc, secret: false, later: None, env: &[], client: false }
}

impl Key {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
    const fn later(mut self, instead: &'static str) -> Self {
        self.later = Some(instead);
        self
    }
    const fn env(mut self, names: &'static [&'static str]) -> Self {
        self.env = names;
        self
    }
    const fn client(mut self) -> Self {
        self.client = true;
        self
    }

    /// The `MAOS_…` variable that sets this key: upper case, every other character an underscore.
    pub(crate) fn env_name(&self) -> String {
        let mut name = String::from("MAOS_");
        name.extend(self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }));
        name
    }

    /// One word for what it takes, for machine formats.
    pub(crate) fn kind_word(&self) -> &'static str {
        match self.kind {
            Kind::Bool => "boolean",
            Kind::Int(..) => "integer",
            Kind::Fraction(..) => "number",
            Kind::Text => "text",
            Kind::Url => "url",
            Kind::Path => "path",
            Kind::Size => "size",
            Kind::Duration => "duration",
            Kind::Money => "money",
            Kind::Choice(_) => "choice",
            Kind::List => "list",
            Kind::Pairs => "pairs",
        }
    }

    /// A running server takes a change over only when it is started again.
    pub(crate) fn needs_restart(&self) -> bool {
        let section = self.name.split('.').next().unwrap_or_default();
        matches!(section, "api" | "auth" | "dashboard" | "local" | "logs" | "database" | "redis" | "sandbox" | "web" | "tools")
            || self.name == "system.log_level"
    }

    /// The section (all before the last dot).
    pub(crate) fn section(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

const TOKENS_MAX: i64 = 1_000_000;
const RATE_MAX: i64 = 1_000_000_000;

/// All keys, in the order in which they are shown.
#[rustfmt::skip]
pub(crate) static KEYS: &[Key] = &[
    key("system.max_agents", Kind::Int(1, 100_000), Some("10"), "Most agents that work at the same time on this machine."),
    key("system.log_level", Kind::Choice(&["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]), Some("INFO"), "Least severe level that is logged."),
    key("system.max_memory", Kind::Size, None, "Most memory all agents together may use.").later("memory is not limited"),
    key("system.max_cpu_cores", Kind::Int(1, 4096), None, "Most processor cores all agents together may use.").later("cores are not limited"),
    key("system.memory_cleanup", Kind::Bool, None, "Free memory of ended agents at once.").later("ended agents hold no memory in any case"),
    key("database.primary_url", Kind::Url, None, "Address of a PostgreSQL database.").secret().later("the embedded SQLite database is used"),
    key("redis.url", Kind::Url, None, "Address of a Redis server for hints between machines.").secret().later("the in-process bus is used"),
    key("api.host", Kind::Text, Some("localhost"), "Address the API listens on; localhost is 127.0.0.1 and [::1]. Others need auth.api_keys."),
    key("api.port", Kind::Int(0, 65_535), Some("8000"), "Port of the API; 0 picks a free one."),
    key("api.allowed_hosts", Kind::List, None, "Names of this server, besides localhost, that requests may be addressed to."),
    key("auth.api_keys", Kind::List, None, "SHA-256 (hexadecimal) of each key that is accepted; without any, this machine's requests need none.").secret(),
    key("dashboard.port", Kind::Int(0, 65_535), Some("3001"), "Port of the dashboard, which also answers the API; 0 picks a free one."),
    key("provider", Kind::Choice(&["auto", "claude", "openai", "local", "scripted"]), Some("auto"), "Who answers model calls. auto: claude if it has a key, else openai if it has a key or an address, else a local model that is present."),
    key("claude.api_key", Kind::Text, None, "Key of the Anthropic API.").secret().env(&["CLAUDE_API_KEY", "ANTHROPIC_API_KEY"]),
    key("claude.model", Kind::Text, Some("claude-sonnet-5-5"), "Model for every agent type that has none of its own."),
    key("claude.base_url", Kind::Url, Some("https://api.anthropic.com"), "Address of the Messages API.").env(&["ANTHROPIC_BASE_URL"]),
    key("claude.bearer", Kind::Bool, Some("false"), "Also send the key as Authorization: Bearer; some gateways want that."),
    key("claude.model_aliases", Kind::Pairs, None, "Models to use in place of others, for example of a retired one: old=new."),
    key("openai.api_key", Kind::Text, None, "Key of an OpenAI-compatible API; many local servers need none.").secret().env(&["OPENAI_API_KEY"]),
    key("openai.model", Kind::Text, None, "Model to ask the OpenAI-compatible API for."),
    key("openai.base_url", Kind::Url, Some("https://api.openai.com/v1"), "Address of an OpenAI-compatible API (vLLM, Ollama, llama.cpp, LM Studio).").env(&["OPENAI_BASE_URL"]),
    key("openai.constrain", Kind::Bool, Some("false"), "Hold required tool calls to their JSON Schema by response_format, for servers that do not obey tool_choice."),
    key("local.model", Kind::Text, None, "Name of the local model, as in `maos model list`; the best one that is present if not set."),
    key("local.base_url", Kind::Url, None, "A llama.cpp server that already runs; none is started then."),
    key("local.llama_server", Kind::Path, None, "The llama-server program; looked up on the PATH if not set."),
    key("local.threads", Kind::Int(1, 1024), None, "Processor threads of the local model; cores minus one if not set."),
    key("local.tools", Kind::Bool, Some("false"), "Offer tools to the local model too; small models call them clumsily."),
    key("local.slots", Kind::Int(1, 64), Some("4"), "Requests the local model works on at the same time."),
    key("local.context_tokens", Kind::Int(512, TOKENS_MAX), Some("8192"), "Room for prompt and reply of one call to the local model, in tokens."),
    key("scripted.script", Kind::Path, None, "YAML script the scripted provider answers from; a built-in demonstration if not set."),
    key("model.coordinator", Kind::Text, None, "Model of the coordinator, which plans and joins."),
    key("model.researcher", Kind::Text, None, "Model of researchers."),
    key("model.coder", Kind::Text, None, "Model of coders."),
    key("model.analyst", Kind::Text, None, "Model of analysts."),
    key("model.tester", Kind::Text, None, "Model of testers."),
    key("model.fallback", Kind::Text, None, "Model to ask when another one is overloaded, unreachable or gone; none if not set."),
    key("planner.enabled", Kind::Bool, Some("true"), "Let the coordinator split tasks into steps; false runs each task as one step."),
    key("planner.max_steps", Kind::Int(1, 1_000), Some("32"), "Most steps a plan may have."),
    key("planner.max_output_tokens", Kind::Int(64, TOKENS_MAX), Some("4096"), "Longest answer of a planning call, in tokens."),
    key("agents.defaults.timeout", Kind::Duration, Some("3600"), "How long an agent may work on one step."),
    key("agents.defaults.max_turns", Kind::Int(1, 1_000), Some("24"), "Most model calls of one agent on one step."),
    key("agents.defaults.max_output_tokens", Kind::Int(64, TOKENS_MAX), Some("4096"), "Longest answer of one model call of an agent, in tokens."),
    key("agents.defaults.thinking_tokens", Kind::Int(1_024, TOKENS_MAX), None, "Extended thinking of one model call, in tokens; off if not set."),
    key("agents.defaults.max_memory", Kind::Size, Some("1GB"), "Most memory the programs of one agent may use."),
    key("agents.defaults.context_tokens", Kind::Int(2_048, 10_000_000), None, "Room of the models for prompt and reply, in tokens; conversations are condensed before it is full. Known for each provider if not set."),
    key("sandbox.tier", Kind::Choice(&["auto", "namespaces", "lsm"]), Some("auto"), "How programs of agents are contained: namespaces (made by bubblewrap where it is installed, else by MAOS itself) or lsm (Landlock and seccomp); auto takes the best that works here."),
    key("sandbox.network_allow", Kind::List, None, "Hosts that programs of agents may reach, like pypi.org or *.example.org; without any they have no network."),
    key("workspace.max_size", Kind::Size, Some("1GiB"), "Most room the files of one task may take."),
    key("workspace.max_files", Kind::Int(16, 10_000_000), Some("50000"), "Most files, folders and links of one task."),
    key("workspace.keep", Kind::Duration, Some("30d"), "How long the files of a task are kept after its end; 0: for ever."),
    key("web.search", Kind::Choice(&["none", "searxng", "brave", "tavily", "provider"]), Some("none"), "Who searches the web for agents; provider: the model's own provider (Claude only); none: they are not offered web_search."),
    key("web.searxng_url", Kind::Url, None, "Address of a SearXNG server, for web.search searxng."),
    key("web.brave_api_key", Kind::Text, None, "Key of the Brave Search API, for web.search brave.").secret().env(&["BRAVE_API_KEY"]),
    key("web.tavily_api_key", Kind::Text, None, "Key of the Tavily API, for web.search tavily.").secret().env(&["TAVILY_API_KEY"]),
    key("web.allow", Kind::List, None, "Hosts to which agents may send data without asking a person, like api.example.org or *.example.org."),
    key("web.allow_private", Kind::List, None, "Places on private networks that agents may reach, like intranet:8080 or 10.1.0.0/16; without any they reach the public internet only."),
    key("tools.approval", Kind::Pairs, None, "When a person must agree to calls of a tool: never, outside_allowlist or always, like run_shell=always."),
    key("tools.secrets", Kind::Pairs, None, "Secrets that HTTP tools in the folder tools may name, like patent_key=\"${PATENT_KEY}\".").secret(),
    key("tasks.timeout", Kind::Duration, None, "How long a task may run when it does not say so itself; no limit if not set."),
    key("budget.daily", Kind::Money, None, "Most that all tasks together may spend on one day (UTC), in USD; work pauses there."),
    key("budget.per_task", Kind::Money, None, "Most that one task may spend when it does not say so itself, in USD."),
    key("checkpoint.interval", Kind::Duration, Some("5m"), "How often a named point is recorded while work runs.").later("every step is journaled and survives a crash, but named checkpoints are not recorded"),
    key("consensus.voting_strategy", Kind::Choice(&["majority", "weighted", "unanimous"]), Some("majority"), "How votes on a result are counted; weighted: by the voter's confidence and record."),
    key("consensus.threshold", Kind::Fraction(1, 1_000), None, "Share of votes that must approve; more than half if not set."),
    key("consensus.timeout", Kind::Duration, Some("300"), "How long voters may take."),
    key("consensus.voters", Kind::Int(1, 15), Some("3"), "Voters of a ballot, each another agent."),
    key("consensus.models", Kind::List, None, "Models of the voters in turn; those of their agent types if not set."),
    key("limits.requests_per_minute", Kind::Int(1, RATE_MAX), None, "Most model calls a minute per key and model; the provider's own answer corrects it."),
    key("limits.input_tokens_per_minute", Kind::Int(1, RATE_MAX), None, "Most input tokens a minute per key and model."),
    key("limits.output_tokens_per_minute", Kind::Int(1, RATE_MAX), None, "Most output tokens a minute per key and model."),
    key("calls.connect_timeout", Kind::Duration, Some("10s"), "How long connecting to a model provider may take."),
    key("calls.first_byte_timeout", Kind::Duration, Some("2m"), "How long a model may take until it begins to answer."),
    key("calls.idle_timeout", Kind::Duration, Some("1m"), "How long a model may be silent in the middle of an answer."),
    key("calls.total_timeout", Kind::Duration, Some("15m"), "How long one model call may take in all."),
    key("calls.attempts_max", Kind::Int(1, 20), Some("4"), "Most attempts at one model call; each one is journaled."),
    key("logs.file_size_max", Kind::Size, Some("20MiB"), "Size at which a new log file is begun."),
    key("logs.files_max", Kind::Int(1, 1_000), Some("10"), "Log files that are kept."),
    key("cli.auto_start", Kind::Bool, Some("false"), "Commands that need the server start it when it is not running.").client(),
    key("cli.server", Kind::Url, None, "Server that commands talk to; the one started from this home folder if not set.").client(),
];

/// Finds a key by its exact name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether some key lies below this dotted path.
pub(crate) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// A valid value that differs from the default, for tests over the whole schema.
#[cfg(test)]
pub(crate) fn sample(key: &Key) -> String {
    match key.kind {
        Kind::Bool => if key.default == Some("true") { "false" } else { "true" }.to_owned(),
        Kind::Int(min, _) => min.max(7).to_string(),
        Kind::Fraction(..) => "0.75".to_owned(),
        Kind::Text => "some text: with # marks".to_owned(),
        Kind::Url => "http://127.0.0.1:9/x".to_owned(),
        Kind::Path => "/tmp/x.yml".to_owned(),
        Kind::Size => "512MB".to_owned(),
        Kind::Duration => "1h30m".to_owned(),
        Kind::Money => "2.5".to_owned(),
        Kind::Choice(words) => (*words.last().expect("a choice has words")).to_owned(),
        Kind::List => "a,b".to_owned(),
        Kind::Pairs => "claude-3.5=claude-4,b=c".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_variables_are_unique() {
        let mut names = BTreeSet::new();
        let mut variables = BTreeSet::new();
        for key in KEYS {
            assert!(names.insert(key.name), "{} twice", key.name);
            assert!(variables.insert(key.env_name()), "{} twice", key.env_name());
            for extra in key.env {
                assert!(variables.insert((*extra).to_owned()), "{extra} twice");
            }
            assert!(key.doc.ends_with('.'), "{}: the doc is a sentence", key.name);
            assert!(!is_section(key.name), "{} is both a key and a section", key.name);
        }
    }

    #[test]
    fn the_variables_of_the_guide() {
        let name = |key: &str| find(key).unwrap().env_name();
        assert_eq!(name("system.max_agents"), "MAOS_SYSTEM_MAX_AGENTS");
        assert_eq!(name("system.log_level"), "MAOS_SYSTEM_LOG_LEVEL");
        assert_eq!(name("database.primary_url"), "MAOS_DATABASE_PRIMARY_URL");
        assert_eq!(name("redis.url"), "MAOS_REDIS_URL");
        assert_eq!(name("agents.defaults.max_memory"), "MAOS_AGENTS_DEFAULTS_MAX_MEMORY");
        assert_eq!(name("claude.base_url"), "MAOS_CLAUDE_BASE_URL");
    }
}
