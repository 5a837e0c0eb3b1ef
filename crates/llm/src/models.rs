//! Holds the configured providers and answers: which model for which agent, through which gate, at what price.
//!
//! Invariant: one gate per provider key and model, shared by all who call it. Must not know tasks or budgets.
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use maos_engine::message::{CallError, FailureClass, Request};

use crate::{
    build_providers::{self, Built},
    gate::{Gate, Need},
    model::{Answer, Model, PartSink},
    options::{Fallback, ModelRef, Options, Provider, RateOptions},
    prices::{Price, PriceError, PriceTable, Retired},
};

/// The model used where a Claude key is configured and no model is named.
pub const CLAUDE_MODEL_DEFAULT: &str = "claude-sonnet-5-5";
/// The model used where an OpenAI key is configured and no model is named.
pub const OPENAI_MODEL_DEFAULT: &str = "gpt-4.1";
/// Name of the "model" of the scripted provider.
pub const SCRIPTED_MODEL_DEFAULT: &str = "scripted-1";

/// Why the configuration of models cannot be used; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nothing is configured at all.
    #[error(
        "no model provider is configured: set CLAUDE_API_KEY (or `maos config set claude.api_key`), or openai.base_url, or get a local \
         model with `maos model pull`, or start with `--provider scripted`"
    )]
    NoProvider,
    /// A provider is named that is not configured.
    #[error("the provider `{provider}` is named by {by} but not configured: {hint}")]
    NotConfigured {
        /// The provider.
        provider: Provider,
        /// What names it.
        by: String,
        /// What to do.
        hint: &'static str,
    },
    /// A URL is no URL.
    #[error("{name} is not a usable URL: {reason}")]
    BadUrl {
        /// The key of the configuration.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key holds characters that no HTTP header may hold.
    #[error("{name} holds characters that cannot be sent in an HTTP header; check it for line breaks and quotes")]
    BadKey {
        /// The name of the key, never its value.
        name: String,
    },
    /// The price table.
    #[error(transparent)]
    Prices(#[from] PriceError),
    /// The script.
    #[error("the script cannot be used: {0}")]
    Script(String),
    /// No HTTP client can be built.
    #[error("the HTTP client cannot be built: {0}")]
    Http(String),
}

/// A model ready to be called.
#[derive(Clone)]
pub struct Chosen {
    /// Which provider.
    pub provider: Provider,
    /// The name to put into [`Request::model`].
    pub name: Arc<str>,
    /// The provider's client.
    pub model: Arc<dyn Model>,
    /// Its gate.
    pub gate: Arc<Gate>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chosen({}/{})", self.provider, self.name)
    }
}

impl Chosen {
    /// One attempt through the gate: waits for its turn, calls, and tells the gate how it went.
    ///
    /// # Errors
    /// As [`Model::call`] and [`Gate::enter`].
    pub async fn call(&self, request: &Request, parts: &dyn PartSink) -> Result<Answer, CallError> {
        let permit = self.gate.enter(Need::of(request)).await?;
        let result = self.model.call(request, parts).await;
        permit.settle(&result);
        result
    }
}

/// A configured model that is no longer served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredUse {
    /// Where it is configured: `claude.model`, `model.researcher`.
    pub config_key: String,
    /// The model.
    pub retired: Retired,
}

/// Prices by provider and model, for one day.
#[derive(Default)]
struct Priced {
    day: i64,
    prices: BTreeMap<Provider, HashMap<String, Option<Price>>>,
}

/// Different names that are remembered; a name comes from a person, so the number is not ours.
const NAMES_MAX: usize = 10_000;
const DAY_MS: i64 = 86_400_000;

/// All configured providers.
pub struct Models {
    providers: BTreeMap<Provider, Built>,
    default: Provider,
    agent_models: BTreeMap<String, ModelRef>,
    aliases: BTreeMap<String, String>,
    fallbacks: Vec<Fallback>,
    rates: BTreeMap<String, RateOptions>,
    prices: Arc<PriceTable>,
    /// Every model that was asked for so far, with its gate.
    chosen: Mutex<BTreeMap<Provider, HashMap<String, Chosen>>>,
    /// Prices looked up so far, by day.
    priced: Mutex<Priced>,
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").field("providers", &self.providers.keys()).field("default", &self.default).finish_non_exhaustive()
    }
}

/// Builds the configured providers. Opens no connection and starts no process.
///
/// # Errors
/// [`ConfigError`] says what to change.
pub fn connect(options: Options) -> Result<Models, ConfigError> {
    let prices = Arc::new(match &options.prices_path {
        Some(path) => PriceTable::with_file(path)?,
        None => PriceTable::built_in(),
    });
    let providers = build_providers::providers(&options, &prices)?;
    let first = providers.keys().next().copied().ok_or(ConfigError::NoProvider)?;
    let models = Models {
        default: options.provider.unwrap_or(first),
        providers,
        agent_models: options.agent_models,
        aliases: options.model_aliases,
        fallbacks: options.fallbacks,
        rates: options.rates,
        prices,
        chosen: Mutex::default(),
        priced: Mutex::default(),
    };
    models.check_names()?;
    Ok(models)
}

impl Models {
    fn check_names(&self) -> Result<(), ConfigError> {
        self.known(self.default, "the configured provider")?;
        let agents = self.agent_models.iter().map(|(agent, m)| (format!("the model of agent type {agent}"), m));
        let falls = self.fallbacks.iter().flat_map(|f| [&f.from, &f.to]).map(|m| (format!("the fallback of {}", m.model), m));
        for (by, model) in agents.chain(falls) {
            if let Some(provider) = model.provider {
                self.known(provider, &by)?;
            }
        }
        Ok(())
    }

    fn known(&self, provider: Provider, by: &str) -> Result<&Built, ConfigError> {
        self.providers.get(&provider).ok_or_else(|| ConfigError::NotConfigured { provider, by: by.to_owned(), hint: hint(provider) })
    }

    /// The model for an agent type (`coordinator`, `researcher`, …): the configured one, else the default provider's.
    pub fn model_for(&self, agent_type: &str) -> Chosen {
        let named = self.agent_models.get(agent_type);
        let provider = named.and_then(|m| m.provider).unwrap_or(self.default);
        let model = named.map_or("", |m| m.model.as_str());
        self.choose(provider, model).expect("check_names has seen every provider that is named")
    }

    /// A model named by a person (`claude/claude-opus-4-5`, or without the provider).
    ///
    /// # Errors
    /// The provider is not configured.
    pub fn named(&self, model: &ModelRef) -> Result<Chosen, ConfigError> {
        self.choose(model.provider.unwrap_or(self.default), &model.model)
    }

    fn choose(&self, provider: Provider, model: &str) -> Result<Chosen, ConfigError> {
        let (client, default) = self.known(provider, "the request")?;
        let model = if model.is_empty() { default.as_str() } else { model };
        let name = self.aliases.get(model).map_or(model, String::as_str);
        let mut all = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(provider).or_default();
        if let Some(chosen) = known.get(name) {
            return Ok(chosen.clone());
        }
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        let rates = self.rates.get(name).or_else(|| self.rates.get("*")).copied().unwrap_or_default();
        let gate = Gate::new(format!("{provider}/{name}"), rates);
        let chosen = Chosen { provider, name: name.into(), model: Arc::clone(client), gate };
        known.insert(name.to_owned(), chosen.clone());
        Ok(chosen)
    }

    /// Where to go after such a failure, if the configuration says so.
    pub fn fallback(&self, from: &Chosen, class: FailureClass) -> Option<Chosen> {
        let concerns = |rule: &ModelRef| match (rule.provider, rule.model.as_str()) {
            (None, "") => true,
            (provider, model) => provider.unwrap_or(self.default) == from.provider && (model.is_empty() || *model == *from.name),
        };
        let rule = self.fallbacks.iter().find(|f| f.on.contains(&class) && concerns(&f.from))?;
        // A model is no refuge from itself.
        self.named(&rule.to).ok().filter(|to| (to.provider, &to.name) != (from.provider, &from.name))
    }

    /// What a model costs at a time; `None` if nobody knows (never 0 for that reason).
    pub fn price(&self, provider: Provider, model: &str, at_unix_ms: i64) -> Option<Price> {
        let day = at_unix_ms.div_euclid(DAY_MS);
        let mut priced = self.priced.lock().unwrap_or_else(PoisonError::into_inner);
        if priced.day != day {
            *priced = Priced { day, ..Priced::default() };
        }
        let known = priced.prices.entry(provider).or_default();
        if let Some(price) = known.get(model) {
            return price.clone();
        }
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        let price = self.prices.price(provider, model, at_unix_ms);
        known.insert(model.to_owned(), price.clone());
        price
    }

    /// The price table itself.
    pub fn prices(&self) -> &PriceTable {
        &self.prices
    }

    /// Whether a model is retired at a time, and what replaces it.
    pub fn retired(&self, provider: Provider, model: &str, at_unix_ms: i64) -> Option<Retired> {
        self.prices.retired(provider, model, at_unix_ms)
    }

    /// Every configured model that is retired at a time (after aliases).
    pub fn retired_in_use(&self, at_unix_ms: i64) -> Vec<RetiredUse> {
        let defaults = self.providers.keys().map(|p| (format!("{p}.model"), *p, ""));
        let agents =
            self.agent_models.iter().map(|(agent, m)| (format!("model.{agent}"), m.provider.unwrap_or(self.default), m.model.as_str()));
        defaults
            .chain(agents)
            .filter_map(|(config_key, provider, model)| {
                let chosen = self.choose(provider, model).ok()?;
                let retired = self.retired(provider, &chosen.name, at_unix_ms)?;
                Some(RetiredUse { config_key, retired })
            })
            .collect()
    }

    /// The provider used where none is named.
    pub fn default_provider(&self) -> Provider {
        self.default
    }

    /// All configured providers, for health checks and displays.
    pub fn providers(&self) -> impl Iterator<Item = (Provider, &Arc<dyn Model>)> {
        self.providers.iter().map(|(p, (m, _))| (*p, m))
    }

    /// All gates that exist so far.
    pub fn gates(&self) -> Vec<Arc<Gate>> {
        let all = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flat_map(|models| models.values().map(|c| Arc::clone(&c.gate))).collect()
    }
}

fn hint(provider: Provider) -> &'static str {
    match provider {
        Provider::Claude => "set CLAUDE_API_KEY or `maos config set claude.api_key`",
        Provider::OpenAi => "set OPENAI_API_KEY or `maos config set openai.base_url URL`",
        Provider::Local => "get a local model with `maos model pull`, or set local.base_url",
        Provider::Scripted => "start with `--provider scripted`",
    }
}
