//! The table of models: prices, status, and what each accepts on the wire. Data (`prices.yml`), not code.
//!
//! Invariant: money is an integer of nano-USD, computed exactly and rounded half up once per call; an unknown model has no
//! price, which is never the same as a price of 0. Must not know budgets.
mod table;

use std::sync::Arc;

use jiff::civil::Date;
use maos_engine::message::Usage;

pub use self::table::{PriceError, PriceTable};

/// Money in nano-USD (1e-9 USD).
pub type Money = i64;

/// A web search that the provider makes by itself: 10 USD for a thousand. The tokens of what it finds are charged as input.
pub const WEB_SEARCH: Money = 10_000_000;

/// Prices in nano-USD per million tokens, one per class; they are stored, never derived from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Uncached input.
    pub input: i64,
    /// Output, thinking included.
    pub output: i64,
    /// Read from the cache.
    pub cache_read: i64,
    /// Written to the 5-minute cache.
    pub cache_write_5m: i64,
    /// Written to the 1-hour cache.
    pub cache_write_1h: i64,
}

/// What a model costs at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The prices.
    pub rates: Rates,
    /// Other prices for every token of a call whose prompt (all input classes) is longer than so many tokens.
    pub long_prompt: Option<(u64, Rates)>,
    /// Batch calls cost this many thousandths of the normal price.
    pub batch_milli: u32,
    /// Where the figures come from.
    pub source: Arc<str>,
    /// From when they hold.
    pub effective_from: Date,
}

impl Price {
    /// The cost of one call, exact, rounded half up to a nano-USD; saturates.
    pub fn cost(&self, usage: &Usage) -> Money {
        let prompt = usage.total() - usage.output_tokens;
        let rates = match self.long_prompt {
            Some((above, rates)) if prompt > above => rates,
            Some(_) | None => self.rates,
        };
        rates.cost(usage).saturating_add(i64::try_from(usage.web_searches).unwrap_or(i64::MAX).saturating_mul(WEB_SEARCH))
    }

    /// The most a call can cost: its input all at the dearest input rate that may apply, and all the output it may produce.
    pub fn worst_case(&self, input_tokens: u64, max_output_tokens: u64) -> Money {
        let rates = match self.long_prompt {
            Some((above, rates)) if input_tokens > above => rates,
            Some(_) | None => self.rates,
        };
        let input = rates.input.max(rates.cache_write_5m).max(rates.cache_read);
        Rates { input, ..rates }.cost(&Usage { input_tokens, output_tokens: max_output_tokens, ..Usage::default() })
    }
}

impl Rates {
    fn cost(&self, u: &Usage) -> Money {
        let sum = [
            (self.input, u.input_tokens),
            (self.output, u.output_tokens),
            (self.cache_read, u.cache_read_tokens),
            (self.cache_write_5m, u.cache_write_5m_tokens),
            (self.cache_write_1h, u.cache_write_1h_tokens),
        ]
        .into_iter()
        .map(|(rate, tokens)| i128::from(rate) * i128::from(tokens))
        .fold(0_i128, i128::saturating_add);
        i64::try_from((sum + 500_000) / 1_000_000).unwrap_or(i64::MAX)
    }
}

/// A model that is no longer served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The model.
    pub model: String,
    /// Since when.
    pub on: Date,
    /// What its maker recommends instead.
    pub replacement: Option<String>,
}

/// How a model wants its thinking asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingForm {
    /// `{"type":"enabled","budget_tokens":n}`.
    #[default]
    Budget,
    /// `{"type":"adaptive"}`; on by default, may be switched off.
    Adaptive,
    /// Adaptive and always on; nothing may be said about it but `adaptive`.
    Always,
}

/// What a model accepts on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accepts {
    /// `tool_choice` may force a tool.
    pub forced_tools: bool,
    /// `temperature` may be set.
    pub sampling: bool,
    /// How thinking is asked for.
    pub thinking: ThinkingForm,
}

impl Default for Accepts {
    fn default() -> Self {
        Self { forced_tools: true, sampling: true, thinking: ThinkingForm::Budget }
    }
}
