//! The shapes of a script file, as serde reads them. Invariant: unknown keys are errors everywhere, so that a typing mistake never silently changes a test.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::ranges::{Glob, Millis, Named, Ranges};
use crate::template::{Template, TemplateValue};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileYaml {
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(default)]
    pub(crate) defaults: DefaultsYaml,
    #[serde(default)]
    pub(crate) cache: CacheYaml,
    pub(crate) rate_limit: Option<RateYaml>,
    #[serde(default)]
    pub(crate) require_key: bool,
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    #[serde(default)]
    pub(crate) models: Vec<String>,
    pub(crate) context_tokens: Option<u64>,
    pub(crate) rules: Vec<Spanned<RuleYaml>>,
}

/// What a rule gets where it says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultsYaml {
    pub(crate) latency_ms: Option<Millis>,
    pub(crate) drip: Option<Millis>,
    pub(crate) chunk: Option<Spanned<usize>>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// The prompt cache.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheYaml {
    pub(crate) enabled: bool,
    pub(crate) min_tokens: u64,
}

impl Default for CacheYaml {
    fn default() -> Self {
        Self { enabled: true, min_tokens: 1_024 }
    }
}

/// Limits per key and minute.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateYaml {
    pub(crate) requests_per_minute: Option<u64>,
    pub(crate) input_tokens_per_minute: Option<u64>,
    pub(crate) output_tokens_per_minute: Option<u64>,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleYaml {
    pub(crate) name: Option<String>,
    #[serde(default, rename = "match")]
    pub(crate) matches: MatchYaml,
    #[serde(default)]
    pub(crate) reply: ReplyYaml,
    pub(crate) latency_ms: Option<Millis>,
    pub(crate) until_calls: Option<u64>,
    pub(crate) drip: Option<Millis>,
    pub(crate) fault: Option<FaultYaml>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) times: Option<u64>,
}

/// When a rule applies: every given condition must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatchYaml {
    pub(crate) model: Option<Glob>,
    pub(crate) system_contains: Option<String>,
    pub(crate) prompt: Option<Spanned<String>>,
    pub(crate) prompt_contains: Option<String>,
    pub(crate) transcript_contains: Option<String>,
    pub(crate) step: Option<Glob>,
    pub(crate) has_tool: Option<String>,
    pub(crate) last_is_tool_result: Option<Named>,
    pub(crate) last_is_error: Option<bool>,
    pub(crate) json_schema: Option<Named>,
    pub(crate) stream: Option<bool>,
    pub(crate) turn: Option<Ranges>,
    pub(crate) nth: Option<Ranges>,
    pub(crate) nth_per_request: Option<Ranges>,
    #[serde(default)]
    pub(crate) header: BTreeMap<String, Glob>,
}

/// What the model says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplyYaml {
    pub(crate) thinking: Option<Template>,
    pub(crate) signature: Option<String>,
    pub(crate) redacted_thinking: Option<String>,
    pub(crate) text: Option<Template>,
    pub(crate) json: Option<TemplateValue>,
    pub(crate) pad_tokens: Option<u64>,
    pub(crate) server_search: Option<SearchYaml>,
    #[serde(default)]
    pub(crate) tool_calls: Vec<ToolCallYaml>,
    pub(crate) plan: Option<PlanYaml>,
    pub(crate) stop_reason: Option<String>,
    #[serde(default)]
    pub(crate) usage: UsageYaml,
    pub(crate) chunk: Option<Spanned<usize>>,
    #[serde(default)]
    pub(crate) wire: WireYaml,
}

/// A web search that the provider makes by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchYaml {
    pub(crate) query: Template,
    pub(crate) results: Vec<FoundYaml>,
}

/// One thing it finds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FoundYaml {
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) cited: bool,
}

/// One tool call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolCallYaml {
    pub(crate) name: String,
    pub(crate) input: Option<TemplateValue>,
    pub(crate) id: Option<String>,
    pub(crate) raw: Option<Template>,
    pub(crate) nest: Option<Spanned<usize>>,
    pub(crate) repeat: Option<Spanned<usize>>,
}

/// A generated plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanYaml {
    pub(crate) steps: StepsYaml,
    #[serde(default)]
    pub(crate) shape: Shape,
    pub(crate) agent_type: Option<String>,
    pub(crate) instructions: Option<Template>,
}

/// How the steps of a generated plan depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// No dependencies.
    #[default]
    Parallel,
    /// Each on the one before.
    Chain,
    /// The first, then all others, then the last.
    Diamond,
    /// All but the last at once; the last waits for all of them.
    FanIn,
}

/// How many steps: a number, or a template that gives one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StepsYaml {
    Fixed(usize),
    Says(Template),
}

/// Most steps a generated plan has.
pub(crate) const PLAN_STEPS_MAX: usize = 10_000;

impl<'de> Deserialize<'de> for StepsYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = StepsYaml;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(f, "a number of steps (1 to {PLAN_STEPS_MAX}) or a template such as \"{{{{match.1}}}}\"")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<StepsYaml, E> {
                match usize::try_from(n) {
                    Ok(steps) if (1..=PLAN_STEPS_MAX).contains(&steps) => Ok(StepsYaml::Fixed(steps)),
                    Ok(_) | Err(_) => Err(E::custom(format!("{n} steps: a plan has 1 to {PLAN_STEPS_MAX}"))),
                }
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<StepsYaml, E> {
                self.visit_u64(u64::try_from(n).unwrap_or(0))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StepsYaml, E> {
                Template::parse(text).map(StepsYaml::Says).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// What is said about usage: counted, `missing`, or figures of one's own (negative ones too, as a broken provider would).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UsageYaml {
    #[default]
    Counted,
    Missing,
    Own(OwnUsage),
}

/// Figures that replace the counted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OwnUsage {
    pub(crate) input_tokens: Option<i64>,
    pub(crate) output_tokens: Option<i64>,
    pub(crate) cache_read_tokens: Option<i64>,
    pub(crate) cache_write_5m_tokens: Option<i64>,
    pub(crate) cache_write_1h_tokens: Option<i64>,
}

impl<'de> Deserialize<'de> for UsageYaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KEYS: &[&str] = &["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"];
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = UsageYaml;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("`missing`, `counted`, or {input_tokens: …, output_tokens: …}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<UsageYaml, E> {
                match text {
                    "missing" => Ok(UsageYaml::Missing),
                    "counted" => Ok(UsageYaml::Counted),
                    other => Err(E::unknown_variant(other, &["missing", "counted"])),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UsageYaml, A::Error> {
                let mut own = OwnUsage::default();
                while let Some(key) = map.next_key::<String>()? {
                    let place = match key.as_str() {
                        "input_tokens" => &mut own.input_tokens,
                        "output_tokens" => &mut own.output_tokens,
                        "cache_read_tokens" => &mut own.cache_read_tokens,
                        "cache_write_5m_tokens" => &mut own.cache_write_5m_tokens,
                        "cache_write_1h_tokens" => &mut own.cache_write_1h_tokens,
                        other => return Err(de::Error::unknown_field(other, KEYS)),
                    };
                    *place = Some(map.next_value()?);
                }
                Ok(UsageYaml::Own(own))
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// How the bytes of a good reply are laid on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WireYaml {
    pub(crate) bom: bool,
    pub(crate) crlf: bool,
    pub(crate) split_bytes: Option<usize>,
    pub(crate) pings: usize,
    pub(crate) unknown_event: bool,
    pub(crate) comments: bool,
    pub(crate) huge_line_bytes: usize,
}

/// An error as a provider names it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorYaml {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) message: Option<String>,
}

/// In which form the wait after a refusal is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RetryForm {
    /// `retry-after: 2`
    #[default]
    Seconds,
    /// `retry-after: Sun, 22 Nov 2026 10:11:31 GMT`
    Date,
    /// `retry-after-ms: 1500`
    Ms,
}

/// The wait after a refusal.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryYaml {
    pub(crate) ms: u64,
    #[serde(default, rename = "as")]
    pub(crate) form: RetryForm,
}

/// How a call fails: exactly one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultYaml {
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<ErrorYaml>,
    pub(crate) body: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) retry_after: Option<RetryYaml>,
    pub(crate) no_header: bool,
    pub(crate) reset: bool,
    pub(crate) reset_after_bytes: Option<u64>,
    pub(crate) cut: bool,
    pub(crate) cut_after_bytes: Option<u64>,
    pub(crate) end_early: bool,
    pub(crate) stall: bool,
    pub(crate) stall_after_bytes: Option<u64>,
    pub(crate) error_event: Option<ErrorYaml>,
    pub(crate) malformed: bool,
    pub(crate) raw: Option<RawYaml>,
    pub(crate) gzip_bomb_mib: Option<u64>,
}

/// Bytes of one's own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawYaml {
    pub(crate) status: Option<u16>,
    pub(crate) content_type: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) hex: Option<String>,
    pub(crate) pad_bytes: usize,
    pub(crate) bom: bool,
    pub(crate) crlf: bool,
}
