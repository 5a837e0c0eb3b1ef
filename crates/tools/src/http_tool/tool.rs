//! A definition as a tool.
//!
//! Invariant: what a call asks for is what the file says, with arguments in their places; the answer is framed, and without secrets.
use crate::http_tool::definition::{Definition, HeaderText, Step};
use crate::http_tool::pace::Paces;
use crate::http_tool::redact::Redactor;
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use crate::turns::Turn;
use crate::web::{Kind, decode, framed, kind};
use async_trait::async_trait;
use bytes::Bytes;
use maos_egress::{Egress, Request, Response, carries_data};
use maos_engine::ids::AgentId;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use percent_encoding::{CONTROLS, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest text of an answer that a model is given, bytes.
const MAX_TEXT_BYTES: usize = 32 * 1024;
/// Longest text of an answer with an error status, bytes.
const MAX_ERROR_BYTES: usize = 2 * 1024;
/// Most faults of arguments that are told at once.
const MAX_FAULTS: usize = 3;
/// Where a receiver that knows it finds the key of a call.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A tool made from a file.
#[derive(Debug, Clone)]
pub struct HttpTool {
    definition: Definition,
    /// For each step, its headers with secrets filled in.
    headers: Vec<HeaderMap>,
    redactor: Redactor,
    egress: Egress,
    paces: Arc<Paces>,
}

impl HttpTool {
    /// With the secrets that the definition names.
    ///
    /// # Errors
    /// A secret is missing or cannot stand in a header: why the tool cannot be offered.
    pub(super) fn new(
        definition: Definition,
        secrets: &BTreeMap<String, SecretString>,
        egress: Egress,
        paces: Arc<Paces>,
    ) -> Result<Self, String> {
        let mut headers = vec![];
        let mut used = vec![];
        for step in definition.steps() {
            let mut map = HeaderMap::new();
            for (name, text) in &step.headers {
                let value = match text {
                    HeaderText::Plain(value) => value.clone(),
                    HeaderText::Secret { name, before } => {
                        let secret = secrets
                            .get(name)
                            .ok_or_else(|| format!("it needs the secret {name}; add it to `tools.secrets` in the configuration"))?;
                        used.push(secret);
                        let text = format!("{before}{}", secret.expose_secret());
                        let mut value = HeaderValue::from_str(&text).map_err(|_| {
                            format!("the secret {name} has characters that a header cannot carry; check it in `tools.secrets`")
                        })?;
                        value.set_sensitive(true);
                        value
                    }
                };
                map.insert(name.clone(), value);
            }
            headers.push(map);
        }
        Ok(Self { redactor: Redactor::new(used), headers, egress, definition, paces })
    }

    /// Whether a call only reads: then the operator's choice of the host is enough, unless the file asks for more.
    fn reads(&self) -> bool {
        self.definition.first.method == Method::GET
    }

    /// The answer. `private` becomes true if anything came from a private network.
    async fn ask(&self, call: &Call, private: &mut bool) -> Result<String, String> {
        let limit = self.definition.timeout.min(call.timeout);
        let deadline = Instant::now() + limit;
        let mut values = self.definition.with_defaults(&call.args);
        let key = format!("{}/{}", call.task, call.effect);
        let first = self.send(&self.definition.first, &self.headers[0], &values, &key, limit, private).await?;
        let Some(then) = &self.definition.then else { return self.told(&self.definition.first, &first) };
        let json: Value = serde_json::from_slice(&first.body).map_err(|_| "the first answer is not JSON".to_owned())?;
        for (name, pointer) in &then.take {
            match json.pointer(pointer) {
                None | Some(Value::Null) => return Ok(self.frame(&first, "Nothing was found.")),
                Some(Value::Array(items)) if items.is_empty() => return Ok(self.frame(&first, "Nothing was found.")),
                Some(value) => values.insert(name.clone(), value.clone()),
            };
        }
        self.paces.wait(then.step.url.host(), self.definition.min_interval).await;
        let left = deadline.saturating_duration_since(Instant::now());
        let second = self.send(&then.step, &self.headers[1], &values, &key, left, private).await?;
        self.told(&then.step, &second)
    }

    async fn send(
        &self,
        step: &Step,
        headers: &HeaderMap,
        values: &Map<String, Value>,
        key: &str,
        timeout: Duration,
        private: &mut bool,
    ) -> Result<Response, String> {
        let mut headers = headers.clone();
        let mut body = Bytes::new();
        if let Some(template) = &step.body {
            let filled = template.fill(values)?.unwrap_or(Value::Null);
            body = Bytes::from(filled.to_string());
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        if step.method != Method::GET {
            let plain = utf8_percent_encode(key, CONTROLS).to_string();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(&plain).map_err(|e| e.to_string())?);
        }
        let url = step.url.fill(values)?.to_string();
        let request = Request {
            method: step.method.clone(),
            url,
            headers,
            body,
            timeout: Some(timeout),
            max_body_bytes: Some(self.definition.max_answer_bytes),
        };
        let answer = self.egress.fetch(request).await.map_err(|e| e.to_string())?;
        *private |= answer.private;
        if !answer.status.is_success() {
            let (text, kind) = text_of(&answer)?;
            let text = crate::web::readable(&text, kind, None).1;
            let text = &text[..text.floor_char_boundary(MAX_ERROR_BYTES)];
            return Err(self.frame(&answer, &format!("Status: {}\n\n{text}", answer.status.as_u16())));
        }
        if answer.truncated {
            return Err(format!("the answer is longer than {} bytes; ask for less", self.definition.max_answer_bytes));
        }
        Ok(answer)
    }

    fn told(&self, step: &Step, answer: &Response) -> Result<String, String> {
        let (text, kind) = text_of(answer)?;
        let mut text = step.extract.take(&text, kind)?;
        if text.len() > MAX_TEXT_BYTES {
            let all = text.len();
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            text.push_str(&format!("\n… ({all} bytes in all, cut at {MAX_TEXT_BYTES}; ask for less to see the rest)"));
        }
        Ok(self.frame(answer, &text))
    }

    /// Secrets go before the frame is made: its mark depends on the text.
    fn frame(&self, answer: &Response, text: &str) -> String {
        framed(answer.url.host_str().unwrap_or_default(), &self.redactor.clean(text.to_owned()))
    }
}

fn text_of(answer: &Response) -> Result<(String, Kind), String> {
    let declared = answer.headers.get(CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default();
    let kind = kind(&declared, &answer.body[..answer.body.len().min(512)]);
    if kind == Kind::Binary {
        return Err(format!("the answer is not a text ({} bytes)", answer.body.len()));
    }
    Ok((decode(&answer.body, &declared, kind), kind))
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.definition.name.clone(),
            description: self.definition.description.clone(),
            input_schema: self.definition.parameters.clone(),
        }
    }

    fn nature(&self) -> Nature {
        let brings = if self.definition.private { Taint::BOTH } else { Taint::UNTRUSTED };
        Nature { repeat: self.definition.repeat, brings, writes: false, approval: self.definition.approval }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .definition
            .validator
            .iter_errors(args)
            .take(MAX_FAULTS)
            .map(|e| match e.instance_path().to_string() {
                path if path.is_empty() => e.to_string(),
                path => format!("{path}: {e}"),
            })
            .collect();
        if !faults.is_empty() {
            return Err(format!("the arguments are not right: {}", faults.join("; ")));
        }
        let url = self.definition.first.url.fill(&self.definition.with_defaults(args))?;
        self.egress.check_url(url.as_str()).map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    /// A GET to a host that the operator's file fixes is allowed, unless the file asks for the allow-list; whatever writes needs the list.
    /// Arguments may stand in the second request too, so both hosts must be on it.
    fn outward(&self, args: &Value) -> Option<Outward> {
        let first = &self.definition.first;
        let unlisted = self.definition.steps().map(|step| step.url.host()).find(|host| !self.egress.allows_host(host));
        let (host, listed) = (unlisted.unwrap_or(first.url.host()), unlisted.is_none());
        let chosen = self.reads() && self.definition.approval != Approval::OutsideAllowlist;
        let url = first.url.fill(&self.definition.with_defaults(args)).ok();
        let silent = self.reads() && url.is_some_and(|u| !carries_data(&u));
        let asked_for = self.definition.approval == Approval::OutsideAllowlist;
        (!silent || asked_for).then(|| Outward { to: host.to_owned(), allowed: listed || chosen, address: None })
    }

    /// A host that allows few requests is waited for; that is not the call's own time.
    async fn turn(&self, _agent: &AgentId) -> Turn {
        self.paces.wait(self.definition.first.url.host(), self.definition.min_interval).await;
        Turn::default()
    }

    async fn run(&self, call: Call) -> Output {
        let mut private = false;
        let output = match self.ask(&call, &mut private).await {
            Ok(text) => Output::ok(text),
            Err(why) => Output::error(self.redactor.clean(why)),
        };
        Output { brings: if private { Taint::PRIVATE } else { Taint::NONE }, ..output }
    }
}
