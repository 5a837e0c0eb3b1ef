//! The script: parsed, checked, compiled. Invariant: a `Script` that exists can answer any request; everything that can be wrong was found by `parse`.
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use regex::Regex;

use crate::error::ScriptError;
use crate::fault::Fault;
use crate::matching::Matcher;
use crate::ranges::Millis;
use crate::reply::{CHUNK_BYTES_DEFAULT, Says, chunk_bytes};
use crate::yaml::{FileYaml, MatchYaml, RateYaml, RetryForm, RuleYaml};

/// Most bytes of a script file.
const SCRIPT_BYTES_MAX: usize = 8 << 20;
/// Most rules of a script.
const RULES_MAX: usize = 10_000;
/// Tokens a model of the script takes in, when nothing is said.
const CONTEXT_TOKENS_DEFAULT: u64 = 200_000;

/// A script: a list of rules, the first that matches answers. See docs/scripted-models.md for the format.
#[derive(Debug)]
pub struct Script {
    pub(crate) seed: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) cache_enabled: bool,
    pub(crate) cache_min_tokens: u64,
    pub(crate) rate_limit: Option<RateYaml>,
    pub(crate) require_key: bool,
    pub(crate) keys: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) context_tokens: u64,
    /// Signatures given by hand: these are also taken back.
    pub(crate) signatures: HashSet<String>,
    pub(crate) needs_headers: bool,
}

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) matcher: Matcher,
    pub(crate) says: Says,
    pub(crate) latency: Millis,
    pub(crate) until_calls: Option<u64>,
    pub(crate) drip: Millis,
    pub(crate) fault: Option<Fault>,
    pub(crate) headers: Vec<(String, String)>,
    /// On a wire, `retry-after` is told as a date.
    pub(crate) retry_as_date: bool,
    pub(crate) times: Option<u64>,
}

struct Defaults {
    latency: Millis,
    drip: Millis,
    chunk: usize,
    headers: BTreeMap<String, String>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// Anything that is wrong with it, with the line: YAML, unknown keys, wrong types, a bad expression, an unknown template variable.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::at(1, format!("the script is larger than {SCRIPT_BYTES_MAX} bytes")));
        }
        let file: FileYaml = serde_saphyr::from_str(text)?;
        if file.rules.len() > RULES_MAX {
            return Err(ScriptError::at(1, format!("more than {RULES_MAX} rules")));
        }
        let at = |(line, message): (u64, String)| ScriptError::at(line, message);
        check_headers(&file.defaults.headers).map_err(|message| ScriptError::at(1, message))?;
        let defaults = Defaults {
            latency: file.defaults.latency_ms.unwrap_or_default(),
            drip: file.defaults.drip.unwrap_or_default(),
            chunk: chunk_bytes(file.defaults.chunk.as_ref(), CHUNK_BYTES_DEFAULT).map_err(at)?,
            headers: file.defaults.headers,
        };
        let mut rules = Vec::with_capacity(file.rules.len());
        for (i, rule) in file.rules.into_iter().enumerate() {
            let line = rule.referenced.line();
            rules.push(Rule::compile(rule.value, i, line, &defaults).map_err(at)?);
        }
        let mut names = HashSet::new();
        if let Some(twice) = rules.iter().find(|rule| !names.insert(rule.name.clone())) {
            return Err(ScriptError::at(1, format!("two rules are named `{}`", twice.name)));
        }
        if let Some(rate) = &file.rate_limit
            && [rate.requests_per_minute, rate.input_tokens_per_minute, rate.output_tokens_per_minute].contains(&Some(0))
        {
            return Err(ScriptError::at(1, "rate_limit: a limit of 0 would refuse every call; leave it out or give at least 1"));
        }
        Ok(Self {
            seed: file.seed,
            cache_enabled: file.cache.enabled,
            cache_min_tokens: file.cache.min_tokens,
            rate_limit: file.rate_limit,
            require_key: file.require_key || !file.keys.is_empty(),
            keys: file.keys,
            models: file.models,
            context_tokens: file.context_tokens.unwrap_or(CONTEXT_TOKENS_DEFAULT),
            signatures: rules.iter().filter_map(|rule| rule.says.signature.clone()).collect(),
            needs_headers: rules.iter().any(|rule| !rule.matcher.header.is_empty()),
            rules,
        })
    }

    /// Names of the rules, in order.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }
}

impl Rule {
    fn compile(yaml: RuleYaml, index: usize, line: u64, defaults: &Defaults) -> Result<Self, (u64, String)> {
        let matcher = compile_match(yaml.matches)?;
        let says = Says::compile(yaml.reply, line, defaults.chunk)?;
        if let Some(group) = says.highest_group {
            let groups = matcher.prompt.as_ref().map_or(0, Regex::captures_len);
            if group >= groups {
                return Err((line, format!("`match.{group}` is used, but `match.prompt` has {} groups", groups.saturating_sub(1))));
            }
        }
        let mut headers = defaults.headers.clone();
        headers.extend(yaml.headers);
        let mut retry_as_date = false;
        let fault = match yaml.fault {
            None => None,
            Some(mut fault) => {
                headers.append(&mut fault.headers);
                if let Some(wait) = fault.retry_after {
                    let (name, value) = match wait.form {
                        RetryForm::Ms => ("retry-after-ms", wait.ms),
                        RetryForm::Seconds | RetryForm::Date => ("retry-after", wait.ms.div_ceil(1_000)),
                    };
                    headers.insert(name.to_owned(), value.to_string());
                    retry_as_date = wait.form == RetryForm::Date;
                }
                Some(fault.compile().map_err(|message| (line, message))?)
            }
        };
        check_headers(&headers).map_err(|message| (line, message))?;
        if yaml.times == Some(0) {
            return Err((line, "times: 0 would never apply; leave the rule out".to_owned()));
        }
        Ok(Self {
            name: yaml.name.unwrap_or_else(|| format!("rule {}", index + 1)).into(),
            matcher,
            says,
            latency: yaml.latency_ms.unwrap_or(defaults.latency),
            until_calls: yaml.until_calls,
            drip: yaml.drip.unwrap_or(defaults.drip),
            fault,
            headers: headers.into_iter().collect(),
            retry_as_date,
            times: yaml.times,
        })
    }
}

fn compile_match(yaml: MatchYaml) -> Result<Matcher, (u64, String)> {
    let prompt = match yaml.prompt {
        None => None,
        Some(text) => Some(Regex::new(&text.value).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or("").trim().trim_start_matches("error: ");
            (text.referenced.line(), format!("match.prompt is no regular expression: {reason}"))
        })?),
    };
    Ok(Matcher {
        model: yaml.model,
        system_contains: yaml.system_contains,
        prompt,
        prompt_contains: yaml.prompt_contains,
        transcript_contains: yaml.transcript_contains,
        step: yaml.step,
        has_tool: yaml.has_tool,
        last_is_tool_result: yaml.last_is_tool_result,
        last_is_error: yaml.last_is_error,
        json_schema: yaml.json_schema,
        stream: yaml.stream,
        turn: yaml.turn,
        nth: yaml.nth,
        nth_per_request: yaml.nth_per_request,
        header: yaml.header.into_iter().collect(),
    })
}

/// Headers must be sendable: a token and a value without line breaks.
fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in headers {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() || http::HeaderValue::from_str(value).is_err() {
            return Err(format!("header `{name}` cannot be sent as it is"));
        }
    }
    Ok(())
}
