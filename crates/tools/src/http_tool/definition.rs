//! A definition: read from YAML, checked as a whole before anything is offered.
//!
//! Invariant: a [`Definition`] that exists can be asked: its schema compiles, its places are parameters, its parameters have places.
use crate::http_tool::extract::{Extract, pointer};
use crate::http_tool::template::{Body, Template, UrlTemplate, is_name};
use crate::tool::Approval;
use jsonschema::{PatternOptions, Validator};
use maos_engine::event::Repeat;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest description, bytes.
const MAX_DESCRIPTION_BYTES: usize = 4 * 1024;
/// Longest time of a call if the file says nothing, seconds.
const DEFAULT_TIMEOUT_S: u64 = 30;
/// Longest time of a call that a file may ask for, seconds.
const MAX_TIMEOUT_S: u64 = 300;
/// Longest time between two requests that a file may ask for, seconds.
const MAX_INTERVAL_S: f64 = 60.0;
/// Largest answer if the file says nothing, bytes.
const DEFAULT_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Methods a definition may use.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Headers that are not a file's to set.
const RESERVED_HEADERS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "accept-encoding", "idempotency-key"];

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) message: String,
}

impl Fault {
    fn at(line: u64, message: impl Into<String>) -> Self {
        Self { line: line.max(1), message: message.into() }
    }
}

/// A checked definition of a tool.
#[derive(Debug, Clone)]
pub struct Definition {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) parameters: Value,
    pub(super) validator: Validator,
    pub(super) first: Step,
    pub(super) then: Option<Then>,
    pub(super) repeat: Repeat,
    pub(super) approval: Approval,
    /// Its answers are the user's own data.
    pub(super) private: bool,
    pub(super) timeout: Duration,
    pub(super) max_answer_bytes: usize,
    /// Shortest time between two requests to one of its hosts.
    pub(super) min_interval: Duration,
    /// Where the address stands, for errors found later.
    pub(super) url_line: u64,
    /// Where the name stands.
    pub(super) name_line: u64,
}

/// One request and what is taken from its answer.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) method: Method,
    pub(super) url: UrlTemplate,
    pub(super) origin: String,
    pub(super) headers: Vec<(HeaderName, HeaderText)>,
    pub(super) body: Option<Body>,
    pub(super) extract: Extract,
}

/// A second request, with values from the first answer.
#[derive(Debug, Clone)]
pub(super) struct Then {
    /// A name and the JSON pointer of its value.
    pub(super) take: Vec<(String, String)>,
    pub(super) step: Step,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeaderText {
    Plain(HeaderValue),
    /// A secret of the configuration, after some fixed text.
    Secret {
        name: String,
        before: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileYaml {
    name: Spanned<String>,
    description: Spanned<String>,
    method: Option<Spanned<String>>,
    url: Spanned<String>,
    #[serde(default)]
    query: BTreeMap<String, Spanned<Value>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Value>>,
    body: Option<Spanned<Value>>,
    parameters: Spanned<Value>,
    extract: Option<Spanned<Value>>,
    then: Option<Spanned<ThenYaml>>,
    repeat: Option<Repeat>,
    approval: Option<Approval>,
    data: Option<Data>,
    limits: Option<Spanned<LimitsYaml>>,
}

/// Whose the answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Data {
    Public,
    Private,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThenYaml {
    take: BTreeMap<String, Spanned<String>>,
    url: Spanned<String>,
    #[serde(default)]
    query: BTreeMap<String, Spanned<Value>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Value>>,
    extract: Option<Spanned<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsYaml {
    /// Seconds.
    timeout: Option<u64>,
    bytes: Option<usize>,
    /// Seconds.
    min_interval: Option<f64>,
}

/// Reads a definition.
pub(super) fn read(text: &str) -> Result<Definition, Fault> {
    let file: FileYaml = serde_saphyr::from_str(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        Fault::at(error.location().map_or(1, |l| l.line()), message.lines().next().unwrap_or_default())
    })?;
    if !is_name(&file.name.value) {
        return Err(at(&file.name, "`name` must be lower-case letters, digits and _, beginning with a letter, at most 64"));
    }
    let length = file.description.value.trim().len();
    if length == 0 || length > MAX_DESCRIPTION_BYTES {
        return Err(at(&file.description, &format!("`description` must have 1 to {MAX_DESCRIPTION_BYTES} bytes: the model chooses by it")));
    }
    let method = match &file.method {
        None => Method::GET,
        Some(given) => METHODS
            .into_iter()
            .find(|m| m.as_str() == given.value)
            .ok_or_else(|| at(given, &format!("`method: {}` is not one of GET, POST, PUT, PATCH, DELETE", given.value)))?,
    };
    if let Some(body) = &file.body
        && method == Method::GET
    {
        return Err(at(body, "a GET has no `body`; use `query`, or another `method`"));
    }
    let (parameters, validator) = schema(&file.parameters)?;
    let then = file.then.as_ref().map(|then| second(&then.value)).transpose()?;
    let url_line = file.url.referenced.line();
    let first = Step {
        method,
        headers: headers(&file.headers)?,
        body: file.body.as_ref().map(|body| Body::parse(&body.value).map_err(|e| at(body, &e))).transpose()?,
        extract: extract(file.extract.as_ref())?,
        ..step(&file.url, &file.query)?
    };
    let steps = || std::iter::once(&first).chain(then.iter().map(|t| &t.step));
    // Whoever needs a key to read something may be reading what is his own.
    let with_secret = steps().flat_map(|s| &s.headers).any(|(_, text)| matches!(text, HeaderText::Secret { .. }));
    let private = file.data.map_or(with_secret, |data| data == Data::Private);
    let (timeout, max_answer_bytes, min_interval) = limits(file.limits.as_ref())?;
    let name_line = file.name.referenced.line();
    let definition = Definition {
        name: file.name.value,
        description: file.description.value.trim().to_owned(),
        parameters,
        validator,
        first,
        then,
        repeat: file.repeat.unwrap_or(Repeat::Never),
        approval: file.approval.unwrap_or_default(),
        private,
        timeout,
        max_answer_bytes,
        min_interval,
        url_line,
        name_line,
    };
    names_agree(&definition, file.parameters.referenced.line())?;
    Ok(definition)
}

fn at<T>(place: &Spanned<T>, message: &str) -> Fault {
    Fault::at(place.referenced.line(), message)
}

/// Longest time of a call, largest answer in bytes, shortest time between two requests.
fn limits(given: Option<&Spanned<LimitsYaml>>) -> Result<(Duration, usize, Duration), Fault> {
    let Some(limits) = given else { return Ok((Duration::from_secs(DEFAULT_TIMEOUT_S), DEFAULT_ANSWER_BYTES, Duration::ZERO)) };
    let timeout = limits.value.timeout.unwrap_or(DEFAULT_TIMEOUT_S);
    if !(1..=MAX_TIMEOUT_S).contains(&timeout) {
        return Err(at(limits, &format!("`limits.timeout` is in seconds, from 1 to {MAX_TIMEOUT_S}")));
    }
    let bytes = limits.value.bytes.unwrap_or(DEFAULT_ANSWER_BYTES);
    if bytes == 0 {
        return Err(at(limits, "`limits.bytes` must be at least 1"));
    }
    let interval = limits.value.min_interval.unwrap_or(0.0);
    if !(0.0..=MAX_INTERVAL_S).contains(&interval) {
        return Err(at(limits, &format!("`limits.min_interval` is in seconds, from 0 to {MAX_INTERVAL_S}")));
    }
    Ok((Duration::from_secs(timeout), bytes, Duration::from_secs_f64(interval)))
}

fn step(url: &Spanned<String>, query: &BTreeMap<String, Spanned<Value>>) -> Result<Step, Fault> {
    let mut pairs = vec![];
    for (key, value) in query {
        let text = match &value.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return Err(at(value, &format!("`query.{key}` must be a text such as \"{{{key}}}\", a number, true or false"))),
        };
        pairs.push((key.clone(), Template::parse(&text).map_err(|e| at(value, &format!("`query.{key}`: {e}")))?));
    }
    let template = UrlTemplate::parse(&url.value, pairs).map_err(|e| at(url, &format!("`url`: {e}")))?;
    let origin = template.origin().to_owned();
    Ok(Step { method: Method::GET, url: template, origin, headers: vec![], body: None, extract: Extract::Whole })
}

fn second(then: &ThenYaml) -> Result<Then, Fault> {
    let mut take = vec![];
    for (name, place) in &then.take {
        if !is_name(name) {
            return Err(at(place, &format!("`then.take.{name}`: names are lower-case letters, digits and _")));
        }
        take.push((name.clone(), pointer(&place.value).map_err(|e| at(place, &format!("`then.take.{name}`: {e}")))?));
    }
    let step = Step { headers: headers(&then.headers)?, extract: extract(then.extract.as_ref())?, ..step(&then.url, &then.query)? };
    Ok(Then { take, step })
}

fn headers(given: &BTreeMap<String, Spanned<Value>>) -> Result<Vec<(HeaderName, HeaderText)>, Fault> {
    let mut out = vec![];
    for (key, value) in given {
        let name: HeaderName = key.parse().map_err(|_| at(value, &format!("`{key}` is not the name of a header")))?;
        if RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(at(value, &format!("the header `{key}` is set by MAOS, not by a file")));
        }
        let wrong = || at(value, &format!("`headers.{key}` must be a text, or {{secret: NAME}} (with `prefix: \"Bearer \"` if needed)"));
        let text = match &value.value {
            Value::String(text) => {
                if !Template::parse(text).is_ok_and(|t| t.names().is_empty()) {
                    return Err(at(value, &format!("`headers.{key}`: a header cannot have parameters; write `{{{{` for a brace")));
                }
                HeaderText::Plain(HeaderValue::from_str(text).map_err(|_| wrong())?)
            }
            Value::Object(fields) => {
                let known = fields.keys().all(|k| k == "secret" || k == "prefix");
                let text = |key: &str| fields.get(key).map(|v| v.as_str().map(str::to_owned)).unwrap_or(Some(String::new()));
                match (known, text("secret"), text("prefix")) {
                    (true, Some(name), Some(before)) if !name.is_empty() => HeaderText::Secret { name, before },
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        };
        out.push((name, text));
    }
    Ok(out)
}

fn extract(given: Option<&Spanned<Value>>) -> Result<Extract, Fault> {
    given.map_or(Ok(Extract::Whole), |value| Extract::read(&value.value).map_err(|e| at(value, &format!("`extract`: {e}"))))
}

/// The schema as the model sees it, and its checker: draft 2020-12, patterns in linear time, no references elsewhere.
fn schema(given: &Spanned<Value>) -> Result<(Value, Validator), Fault> {
    let mut schema = given.value.clone();
    let Some(fields) = schema.as_object_mut() else {
        return Err(at(given, "`parameters` must be a JSON Schema object: {type: object, properties: {…}}"));
    };
    if fields.get("type") != Some(&json!("object")) || !fields.get("properties").is_none_or(Value::is_object) {
        return Err(at(given, "`parameters` must describe an object: `type: object` with `properties`"));
    }
    fields.entry("properties").or_insert_with(|| json!({}));
    fields.entry("additionalProperties").or_insert(json!(false));
    let draft = jsonschema::Draft::Draft202012;
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        return Err(at(given, &format!("`parameters` is not a valid JSON Schema: {error}, at {}", error.instance_path())));
    }
    let options = jsonschema::options().with_draft(draft).with_pattern_options(PatternOptions::regex());
    let validator = options.build(&schema).map_err(|e| at(given, &format!("`parameters` is not a valid JSON Schema: {e}")))?;
    Ok((schema, validator))
}

/// Every place is a parameter, every parameter has a place, and the path is never without a value.
fn names_agree(definition: &Definition, line: u64) -> Result<(), Fault> {
    let empty = Map::new();
    let properties = definition.parameters["properties"].as_object().unwrap_or(&empty);
    let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    if let Some(odd) = known.iter().find(|n| !is_name(n)) {
        return Err(Fault::at(line, format!("`parameters.{odd}`: names are lower-case letters, digits and _")));
    }
    let required: BTreeSet<&str> = definition.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let always: BTreeSet<&str> =
        known.iter().copied().filter(|n| required.contains(n) || properties[*n].get("default").is_some()).collect();
    let taken: BTreeSet<&str> = definition.then.iter().flat_map(|t| t.take.iter().map(|(n, _)| n.as_str())).collect();
    if let Some(both) = taken.intersection(&known).next() {
        return Err(Fault::at(line, format!("`then.take.{both}` has the name of a parameter; choose another")));
    }
    let mut used = definition.first.url.names();
    used.extend(definition.first.body.iter().flat_map(Body::names));
    let in_then: BTreeSet<&str> = definition.then.iter().flat_map(|t| t.step.url.names()).collect();
    let unknown = used.difference(&known).chain(in_then.iter().filter(|n| !known.contains(*n) && !taken.contains(*n))).next();
    if let Some(name) = unknown {
        return Err(Fault::at(definition.url_line, format!("`{{{name}}}` is not a parameter; there are: {list}")));
    }
    let paths = definition.first.url.path_names();
    let then_paths: BTreeSet<&str> = definition.then.iter().flat_map(|t| t.step.url.path_names()).collect();
    if let Some(name) = paths.iter().chain(&then_paths).find(|n| !always.contains(*n) && !taken.contains(*n)) {
        return Err(Fault::at(line, format!("`{name}` stands in the path, so it must be in `required` or have a `default`")));
    }
    if let Some(name) = known.iter().find(|n| !used.contains(*n) && !in_then.contains(*n)) {
        return Err(Fault::at(line, format!("the parameter `{name}` is not used: write {{{name}}} in `url`, `query` or `body`")));
    }
    if let Some(name) = taken.iter().find(|n| !in_then.contains(*n)) {
        return Err(Fault::at(line, format!("`then.take.{name}` is not used in `then`")));
    }
    Ok(())
}

impl Definition {
    /// The arguments with the schema's defaults for what was left out.
    pub(super) fn with_defaults(&self, args: &Value) -> Map<String, Value> {
        let mut values = args.as_object().cloned().unwrap_or_default();
        for (name, schema) in self.parameters["properties"].as_object().into_iter().flatten() {
            if let Some(default) = schema.get("default") {
                values.entry(name.clone()).or_insert_with(|| default.clone());
            }
        }
        values
    }

    /// The steps in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        std::iter::once(&self.first).chain(self.then.iter().map(|t| &t.step))
    }
}
