//! From the merged configuration to the plain options of each crate. This is the only place that knows both sides.
//!
//! Invariant: every key of the schema that is said to have an effect is read here, in `start` or by the command line itself.
use crate::config::{Config, Origin};
use crate::error::CliError;
use crate::home::Home;
use crate::logging::LogOptions;
use maos_engine::consensus::Strategy;
use maos_engine::message::{CallError, FailureClass};
use maos_llm::{
    ClaudeOptions, Endpoint, Fallback, LocalOptions, ModelRef, OpenAiOptions, Provider, RateOptions, Resolved, ScriptedOptions, Timeouts,
};
use maos_runtime::tools::Approval;
use maos_tools::web::SearchBackend;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Types of agents that can have a model of their own: key and type.
const AGENT_MODELS: &[(&str, &str)] = &[
    ("model.coordinator", "coordinator"),
    ("model.researcher", "researcher"),
    ("model.coder", "coder"),
    ("model.analyst", "analyst"),
    ("model.tester", "tester"),
];
/// Failures after which the fallback model is asked.
const FALLBACK_ON: &[FailureClass] = &[FailureClass::Overloaded, FailureClass::Unreachable, FailureClass::ModelGone];

/// Everything the model crate is told. The local part is handed back too, since its child must be ended with the server.
pub(crate) struct Models {
    /// What the model crate is told.
    pub(crate) options: maos_llm::Options,
    /// The managed local model, if one is used.
    pub(crate) local: Option<maos_local::Local>,
}

/// Options of the models.
///
/// `running` is the local model that runs already; it is kept as long as the configuration still wants one like it.
pub(crate) fn models(home: &Home, config: &Config, running: Option<maos_local::Local>) -> Models {
    let provider = match config.text("provider") {
        Some("claude") => Some(Provider::Claude),
        Some("openai") => Some(Provider::OpenAi),
        Some("local") => Some(Provider::Local),
        Some("scripted") => Some(Provider::Scripted),
        _ => None,
    };
    let wants = |one: Provider| provider == Some(one);
    let is_set = |key: &str| config.get(key).origin != Origin::Default && config.get(key).value.is_some();
    let claude = config.text("claude.api_key").map(|key| ClaudeOptions {
        api_key: SecretString::from(key),
        key_name: source_of(config, "claude.api_key"),
        base_url: config.text("claude.base_url").map(str::to_owned),
        model: config.text("claude.model").map(str::to_owned),
        bearer: config.is("claude.bearer"),
    });
    let openai_wanted = wants(Provider::OpenAi) || is_set("openai.api_key") || is_set("openai.base_url");
    let openai = openai_wanted.then(|| OpenAiOptions {
        api_key: config.text("openai.api_key").map(SecretString::from),
        key_name: source_of(config, "openai.api_key"),
        base_url: config.text("openai.base_url").map(str::to_owned),
        model: config.text("openai.model").map(str::to_owned),
        constrain: config.is("openai.constrain"),
    });
    let (local, managed) = local(home, config, running);
    let scripted = (wants(Provider::Scripted) || is_set("scripted.script"))
        .then(|| ScriptedOptions { path: path(config, "scripted.script"), model: None });
    let agent_models: BTreeMap<String, ModelRef> =
        AGENT_MODELS.iter().filter_map(|(key, agent)| Some(((*agent).to_owned(), ModelRef::from(config.text(key)?)))).collect();
    let mut options = maos_llm::Options {
        claude,
        openai,
        local,
        scripted,
        provider,
        model_aliases: pairs(config, "claude.model_aliases"),
        timeouts: timeouts(config),
        rates: rates(config),
        prices_path: Some(home.dir().join("prices.yml")).filter(|path| path.exists()),
        agent_models,
        ..maos_llm::Options::default()
    };
    if let Some(to) = config.text("model.fallback").map(ModelRef::from) {
        options.fallbacks = used_models(&options)
            .into_iter()
            .filter(|from| *from != to)
            .map(|from| Fallback { from, to: to.clone(), on: FALLBACK_ON.to_vec() })
            .collect();
    }
    Models { options, local: managed }
}

/// Every model that some agent type may be given.
fn used_models(options: &maos_llm::Options) -> Vec<ModelRef> {
    let defaults = [
        (Provider::Claude, options.claude.as_ref().and_then(|claude| claude.model.clone())),
        (Provider::OpenAi, options.openai.as_ref().and_then(|openai| openai.model.clone())),
        (Provider::Local, options.local.as_ref().map(|local| local.model.clone())),
    ];
    let named = defaults.into_iter().filter_map(|(provider, model)| Some(ModelRef { provider: Some(provider), model: model? }));
    let mut all: Vec<ModelRef> = named.chain(options.agent_models.values().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

/// The local model: a server that runs already, or a managed one for a model file that is present.
fn local(home: &Home, config: &Config, running: Option<maos_local::Local>) -> (Option<LocalOptions>, Option<maos_local::Local>) {
    let wanted = config.text("provider") == Some("local");
    if let Some(url) = config.text("local.base_url") {
        let options = LocalOptions {
            endpoint: Arc::new(FixedEndpoint(url.to_owned())),
            model: config.text("local.model").unwrap_or("local").to_owned(),
            constrain: true,
            note: Some(format!("Answers come from a local model at {url}; check facts before you rely on them.")),
        };
        return (Some(options), None);
    }
    let options = local_options(home.dir(), config, None);
    let store = options.store();
    let present = match &options.model {
        Some(name) => store.list().into_iter().find(|installed| installed.name == *name),
        None => store.best_present(),
    };
    let Some(name) = present.map(|installed| installed.name).or_else(|| options.model.clone().filter(|_| wanted)) else {
        return (None, None);
    };
    let worth = store.catalog().get(&name).map(|model| model.worth.clone());
    let note = worth.map(|worth| format!("Answers come from the small local model {name}. {worth}"));
    let same = |local: &maos_local::Local| format!("{:?}", local.options()) == format!("{options:?}");
    let managed = running.filter(same).unwrap_or_else(|| maos_local::Local::new(options.clone()));
    let endpoint = Arc::new(ManagedEndpoint(managed.clone()));
    (Some(LocalOptions { endpoint, model: name, constrain: true, note }), Some(managed))
}

/// A server that someone else runs.
struct FixedEndpoint(String);

#[async_trait::async_trait]
impl Endpoint for FixedEndpoint {
    async fn resolve(&self) -> Result<Resolved, CallError> {
        Ok(Resolved { base_url: self.0.clone(), key: None })
    }
    fn known_url(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// The managed child; started by the first call.
struct ManagedEndpoint(maos_local::Local);

#[async_trait::async_trait]
impl Endpoint for ManagedEndpoint {
    async fn resolve(&self) -> Result<Resolved, CallError> {
        match self.0.endpoint().await {
            Ok(endpoint) => Ok(Resolved { base_url: endpoint.base_url, key: Some(endpoint.key) }),
            Err(error) => Err(CallError {
                class: FailureClass::Unreachable,
                message: error.to_string(),
                retry_after_ms: None,
                status: None,
                possibly_billed: false,
            }),
        }
    }
    fn known_url(&self) -> Option<String> {
        self.0.running().map(|endpoint| endpoint.base_url)
    }
}

/// How the local model is served; `model` beats the configuration.
pub(crate) fn local_options(home: &Path, config: &Config, model: Option<String>) -> maos_local::Options {
    maos_local::Options {
        home: home.to_owned(),
        model: model.or_else(|| config.text("local.model").map(str::to_owned)),
        llama_server: path(config, "local.llama_server"),
        threads: number(config, "local.threads"),
        slots: number(config, "local.slots"),
        context_tokens: number(config, "local.context_tokens"),
    }
}

fn timeouts(config: &Config) -> Timeouts {
    let standard = Timeouts::default();
    let millis = |key: &str, standard: u64| config.duration(key).map_or(standard, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    Timeouts {
        connect_ms: millis("calls.connect_timeout", standard.connect_ms),
        first_byte_ms: millis("calls.first_byte_timeout", standard.first_byte_ms),
        idle_ms: millis("calls.idle_timeout", standard.idle_ms),
        call_ms: millis("calls.total_timeout", standard.call_ms),
        reply_bytes_max: standard.reply_bytes_max,
    }
}

/// The same limits for every key and model, if any are set.
fn rates(config: &Config) -> BTreeMap<String, RateOptions> {
    let limit = |key: &str| config.int(key).and_then(|n| u64::try_from(n).ok());
    let rates = RateOptions {
        requests_per_minute: limit("limits.requests_per_minute"),
        input_tokens_per_minute: limit("limits.input_tokens_per_minute"),
        output_tokens_per_minute: limit("limits.output_tokens_per_minute"),
    };
    if rates == RateOptions::default() { BTreeMap::new() } else { BTreeMap::from([("*".to_owned(), rates)]) }
}

/// What the runtime is told.
pub(crate) fn runtime(home: &Home, config: &Config, models: maos_llm::Options, start: &Start) -> Result<maos_runtime::Options, CliError> {
    let mut options = maos_runtime::Options::new(home.dir().to_owned());
    options.database_url = format!("sqlite:{}", home.database().display());
    options.models = models;
    let set = |to: &mut u32, key: &str| *to = number(config, key).unwrap_or(*to);
    set(&mut options.max_agents, "system.max_agents");
    set(&mut options.plan_output_tokens_max, "planner.max_output_tokens");
    set(&mut options.output_tokens_max, "agents.defaults.max_output_tokens");
    set(&mut options.limits.plan_steps_max, "planner.max_steps");
    set(&mut options.limits.turns_max, "agents.defaults.max_turns");
    set(&mut options.limits.attempts_max, "calls.attempts_max");
    options.limits.planner = config.is("planner.enabled");
    options.limits.step_timeout_s =
        config.duration("agents.defaults.timeout").map_or(options.limits.step_timeout_s, |d| d.as_secs().max(1));
    options.thinking_tokens = number(config, "agents.defaults.thinking_tokens");
    options.task_timeout_s = config.duration("tasks.timeout").map(|d| d.as_secs().max(1));
    let money = |key: &str| config.money(key).map(maos_engine::money::Money);
    options.budget_daily = money("budget.daily");
    options.budget_task = money("budget.per_task");
    options.context_tokens = number(config, "agents.defaults.context_tokens").or(match &options.models.local {
        // The local server was started with this much room.
        Some(_) if options.models.claude.is_none() && options.models.openai.is_none() => number(config, "local.context_tokens"),
        _ => None,
    });
    options.consensus = consensus(config);
    options.workspace_keep = config.duration("workspace.keep").or(options.workspace_keep).filter(|keep| !keep.is_zero());
    options.tools = tools(home, config, start)?;
    Ok(options)
}

/// What this start of the server says besides the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Start {
    /// Programs of agents run uncontained.
    pub(crate) no_sandbox: bool,
    /// The environment of the process.
    pub(crate) environment: Vec<(String, String)>,
}

fn consensus(config: &Config) -> maos_runtime::ConsensusOptions {
    let standard = maos_runtime::ConsensusOptions::default();
    let strategy = match config.text("consensus.voting_strategy") {
        Some("weighted") => Strategy::Weighted,
        Some("unanimous") => Strategy::Unanimous,
        _ => Strategy::Majority,
    };
    maos_runtime::ConsensusOptions {
        strategy,
        threshold_milli: config.fraction_milli("consensus.threshold"),
        voters: config.int("consensus.voters").and_then(|n| u8::try_from(n).ok()).unwrap_or(standard.voters),
        timeout_s: config.duration("consensus.timeout").map_or(standard.timeout_s, |d| d.as_secs()),
        models: config.list("consensus.models").iter().map(|m| ModelRef::from(m.as_str())).collect(),
    }
}

/// This program as the helper that contains and keeps others.
pub(crate) fn helper() -> maos_sandbox::Helper {
    maos_sandbox::Helper { program: PathBuf::from("/proc/self/exe"), prefix: vec![crate::SANDBOX_EXEC.to_owned()] }
}

/// Rules of the way out.
pub(crate) fn policy(config: &Config) -> Result<maos_egress::Policy, CliError> {
    Ok(maos_egress::Policy {
        allow_private: all(config, "web.allow_private")?,
        allow_hosts: all(config, "web.allow")?,
        ..maos_egress::Policy::default()
    })
}

fn tools(home: &Home, config: &Config, start: &Start) -> Result<maos_runtime::ToolOptions, CliError> {
    let standard = maos_runtime::ToolOptions::default();
    let choice = match config.text("sandbox.tier") {
        _ if start.no_sandbox => maos_sandbox::Choice::Off,
        Some("namespaces") => maos_sandbox::Choice::Namespaces,
        Some("lsm") => maos_sandbox::Choice::Lsm,
        _ => maos_sandbox::Choice::Auto,
    };
    let policy = policy(config)?;
    let quota = maos_sandbox::Quota {
        bytes: config.size("workspace.max_size").unwrap_or(standard.quota.bytes),
        files: config.int("workspace.max_files").and_then(|n| u64::try_from(n).ok()).unwrap_or(standard.quota.files),
    };
    let secrets = pairs(config, "tools.secrets").into_iter().map(|(name, value)| (name, SecretString::from(value))).collect();
    Ok(maos_runtime::ToolOptions {
        helper: Some(helper()),
        sandbox: choice,
        network_allow: all(config, "sandbox.network_allow")?,
        policy,
        search: search(config)?,
        provider_search: config.text("web.search") == Some("provider"),
        quota,
        memory_bytes: config.size("agents.defaults.max_memory").unwrap_or(standard.memory_bytes),
        agents_dir: Some(home.agents()),
        http_tools_dir: Some(home.tools()),
        skills_dirs: home.skills(),
        secrets,
        mcp: Some(home.mcp_files()),
        environment: start.environment.clone(),
        approvals: approvals(config)?,
        local_tools: config.is("local.tools"),
    })
}

/// The entries of a list, each read as what it should be.
fn all<T: std::str::FromStr<Err: std::fmt::Display>>(config: &Config, key: &str) -> Result<Vec<T>, CliError> {
    let read = |text: &String| text.parse::<T>().map_err(|why| not_valid(key, &why.to_string()));
    config.list(key).iter().map(read).collect()
}

fn not_valid(key: &str, why: &str) -> CliError {
    CliError::usage(format!("{key} is not valid"), format!("maos config set {key} …")).because(why.to_owned())
}

fn search(config: &Config) -> Result<Option<SearchBackend>, CliError> {
    let missing = |key: &str| CliError::usage(format!("web.search needs {key}"), format!("maos config set {key} …"));
    let needed = |key: &str| config.text(key).ok_or_else(|| missing(key));
    Ok(match config.text("web.search") {
        Some("searxng") => {
            let url = needed("web.searxng_url")?;
            Some(SearchBackend::searxng(url).map_err(|why| not_valid("web.searxng_url", &why))?)
        }
        Some("brave") => Some(SearchBackend::brave(SecretString::from(needed("web.brave_api_key")?))),
        Some("tavily") => Some(SearchBackend::tavily(SecretString::from(needed("web.tavily_api_key")?))),
        _ => None,
    })
}

fn approvals(config: &Config) -> Result<BTreeMap<String, Approval>, CliError> {
    let read = |(tool, word): (String, String)| match word.as_str() {
        "never" => Ok((tool, Approval::Never)),
        "outside_allowlist" => Ok((tool, Approval::OutsideAllowlist)),
        "always" => Ok((tool, Approval::Always)),
        other => Err(not_valid("tools.approval", &format!("{tool}: '{other}' is none of never, outside_allowlist, always"))),
    };
    pairs(config, "tools.approval").into_iter().map(read).collect()
}

/// How the log is written.
pub(crate) fn log_options(config: &Config, stderr_json: Option<bool>) -> LogOptions {
    LogOptions {
        level: config.text("system.log_level").unwrap_or("INFO").to_owned(),
        file_bytes_max: config.size("logs.file_size_max").unwrap_or(u64::MAX),
        files_max: number(config, "logs.files_max").unwrap_or(1),
        stderr_json,
    }
}

/// How the server listens.
pub(crate) fn serve_options(config: &Config, insecure_no_auth: bool) -> Result<maos_server::ServeOptions, CliError> {
    let port = |key: &str| config.int(key).and_then(|n| u16::try_from(n).ok()).expect("a port is 0 to 65535 (schema)");
    let auth = maos_server::AuthOptions::from_hex(&config.list("auth.api_keys"))
        .map_err(|why| CliError::usage("auth.api_keys is not valid", "maos config edit").because(why))?;
    let known = |text: &'static str| Some(text.to_owned()).filter(|text| !text.is_empty() && text != "development");
    Ok(maos_server::ServeOptions {
        host: config.text("api.host").unwrap_or("localhost").to_owned(),
        api_port: port("api.port"),
        dashboard_port: port("dashboard.port"),
        allowed_hosts: config.list("api.allowed_hosts"),
        auth,
        insecure_no_auth,
        build: maos_server::BuildInfo { git: known(env!("MAOS_COMMIT")), rustc: known(env!("MAOS_RUSTC")) },
    })
}

/// Where a key's value came from, in words for messages: a variable's name or the key's own.
fn source_of(config: &Config, key: &str) -> String {
    match &config.get(key).origin {
        Origin::Env(name) | Origin::File { variable: Some(name), .. } => name.clone(),
        Origin::File { .. } | Origin::Flag(_) | Origin::Default => key.to_owned(),
    }
}

fn pairs(config: &Config, key: &str) -> BTreeMap<String, String> {
    match &config.get(key).value {
        Some(crate::config::value::Value::Pairs(pairs)) => pairs.clone(),
        _ => BTreeMap::new(),
    }
}

fn number(config: &Config, key: &str) -> Option<u32> {
    config.int(key).and_then(|n| u32::try_from(n).ok())
}

/// A path of the configuration: `~/` is the person's home; a relative one in a file counts from that file's folder.
pub(crate) fn path(config: &Config, key: &str) -> Option<PathBuf> {
    let text = config.text(key)?;
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), std::env::home_dir()) {
        return Some(home.join(rest));
    }
    let base = match &config.get(key).origin {
        Origin::File { path, .. } => path.parent().map(Path::to_owned),
        Origin::Default | Origin::Env(_) | Origin::Flag(_) => None,
    };
    Some(base.map_or_else(|| PathBuf::from(text), |base| base.join(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::config::schema;
    use crate::env::Env;

    fn config(dir: &Path, vars: &[(&str, &str)]) -> (Home, Config) {
        let mut env = Env::of(vars);
        env.add_default("MAOS_HOME".to_owned(), dir.display().to_string());
        let home = Home::find(&env);
        let nowhere = dir.join("none.yml");
        let config = Config::load(&Sources { home: &home, env: &env, system_file: &nowhere, file: None, flags: &[] }).unwrap();
        (home, config)
    }

    #[test]
    fn the_default_model_has_a_price_and_is_not_retired() {
        let model = schema::find("claude.model").unwrap().default.unwrap();
        let table = maos_llm::PriceTable::built_in();
        let now = jiff::Timestamp::now().as_millisecond();
        assert!(table.price(Provider::Claude, model, now).is_some());
        assert!(table.retired(Provider::Claude, model, now).is_none());
    }

    #[test]
    fn a_provider_is_there_only_when_it_is_configured() {
        let dir = tempfile::tempdir().unwrap();
        let of = |vars: &[(&str, &str)]| {
            let (home, config) = config(dir.path(), vars);
            let options = models(&home, &config, None).options;
            (options.claude.is_some(), options.openai.is_some(), options.local.is_some(), options.scripted.is_some())
        };
        assert_eq!(of(&[]), (false, false, false, false));
        assert_eq!(of(&[("ANTHROPIC_API_KEY", "k")]), (true, false, false, false));
        assert_eq!(of(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]), (false, true, false, false));
        assert_eq!(of(&[("MAOS_LOCAL_BASE_URL", "http://127.0.0.1:1/v1")]), (false, false, true, false));
        assert_eq!(of(&[("MAOS_PROVIDER", "scripted")]), (false, false, false, true));
    }

    #[test]
    fn numbers_reach_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let vars = [
            ("MAOS_SYSTEM_MAX_AGENTS", "3"),
            ("MAOS_PLANNER_ENABLED", "false"),
            ("MAOS_PLANNER_MAX_STEPS", "5"),
            ("MAOS_AGENTS_DEFAULTS_TIMEOUT", "90s"),
            ("MAOS_TASKS_TIMEOUT", "2m"),
            ("MAOS_BUDGET_DAILY", "2.50"),
            ("MAOS_CALLS_ATTEMPTS_MAX", "7"),
            ("MAOS_LIMITS_REQUESTS_PER_MINUTE", "60"),
        ];
        let (home, config) = config(dir.path(), &vars);
        let models = models(&home, &config, None).options;
        assert_eq!(models.rates["*"].requests_per_minute, Some(60));
        let options = runtime(&home, &config, models, &Start::default()).unwrap();
        assert_eq!((options.max_agents, options.limits.planner, options.limits.plan_steps_max), (3, false, 5));
        assert_eq!((options.limits.step_timeout_s, options.task_timeout_s, options.limits.attempts_max), (90, Some(120), 7));
        assert_eq!(options.budget_daily, Some(maos_engine::money::Money(2_500_000_000)));
    }

    #[test]
    fn defaults_are_those_of_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let (home, config) = config(dir.path(), &[]);
        let ours = runtime(&home, &config, maos_llm::Options::default(), &Start::default()).unwrap();
        assert_eq!(ours.tools.quota, maos_runtime::ToolOptions::default().quota);
        assert_eq!(ours.tools.memory_bytes, maos_runtime::MEMORY_BYTES_DEFAULT);
        let theirs = maos_runtime::Options::new(home.dir().to_owned());
        assert_eq!(ours.limits, theirs.limits);
        let output = |options: &maos_runtime::Options| (options.max_agents, options.plan_output_tokens_max, options.output_tokens_max);
        assert_eq!(output(&ours), output(&theirs));
        assert_eq!(
            (ours.task_timeout_s, ours.budget_daily, ours.thinking_tokens),
            (theirs.task_timeout_s, theirs.budget_daily, theirs.thinking_tokens)
        );
        assert_eq!(timeouts(&config), Timeouts::default());
    }

    #[test]
    fn the_fallback_stands_for_every_model_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let vars =
            [("CLAUDE_API_KEY", "k"), ("MAOS_CLAUDE_MODEL", "m1"), ("MAOS_MODEL_CODER", "claude/m2"), ("MAOS_MODEL_FALLBACK", "claude/m3")];
        let (home, config) = config(dir.path(), &vars);
        let fallbacks = models(&home, &config, None).options.fallbacks;
        let from: Vec<&str> = fallbacks.iter().map(|fallback| fallback.from.model.as_str()).collect();
        assert_eq!(from, ["m1", "m2"]);
    }

    #[test]
    fn paths_count_from_where_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yml"), "scripted:\n  script: s.yml\n").unwrap();
        let (_, config) = config(dir.path(), &[]);
        assert_eq!(path(&config, "scripted.script"), Some(dir.path().join("s.yml")));
    }
}
