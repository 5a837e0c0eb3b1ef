//! The tools of each server as they were approved. What a server offers is text that models obey, so it is pinned: the first list is
//! recorded, a different one counts only after a person approved exactly it.
//!
//! Invariant: models see approved definitions only; the digest covers names, descriptions, schemas and hints as the server sent them.
use crate::mcp::names::hex_digest;
use crate::mcp::schema;
use crate::mcp::text::clean;
use crate::private_file;
use rmcp::model::Tool as RemoteTool;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Longest description of a tool, bytes; the rest is cut.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Longest name of a tool, bytes; one with a longer name is left out.
const NAME_BYTES_MAX: usize = 128;
/// Most tools of one server.
pub(super) const TOOLS_MAX: usize = 256;

/// A tool as it is pinned, fit for a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The server's name for it.
    pub name: String,
    /// What it says it does: cut, without characters that do not show.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// Digest of what the server sent.
    pub digest: String,
}

/// All tools of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Definitions {
    /// Digest of the whole list.
    pub digest: String,
    /// The tools, by name.
    pub tools: Vec<Definition>,
}

/// What is recorded of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pin {
    /// What may be used.
    pub approved: Definitions,
    /// What the server offered last, if that is something else: waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Definitions>,
}

impl Pin {
    /// What differs between the approved list and the offered one: `+ new`, `- gone`, `~ changed`.
    pub fn changes(&self) -> Vec<String> {
        let Some(offered) = &self.offered else { return Vec::new() };
        let by_name = |d: &Definitions| d.tools.iter().map(|t| (t.name.clone(), t.digest.clone())).collect::<BTreeMap<_, _>>();
        let (old, new) = (by_name(&self.approved), by_name(offered));
        let mut out: Vec<String> = Vec::new();
        for (name, digest) in &new {
            match old.get(name) {
                None => out.push(format!("+ {name}")),
                Some(before) if before != digest => out.push(format!("~ {name}")),
                Some(_) => {}
            }
        }
        out.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("- {name}")));
        out
    }
}

/// How an offered list compares with the approved one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It may be used: it is the approved one, or the first one ever.
    Approved(Definitions),
    /// It is another one: nothing may be used until a person says so.
    Changed(Vec<String>),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PinsFile {
    servers: BTreeMap<String, Pin>,
}

/// The record.
#[derive(Debug, Clone)]
pub struct Pins(PathBuf);

impl Pins {
    /// The record in this file.
    pub fn new(file: &Path) -> Self {
        Self(file.to_owned())
    }

    /// What is recorded of a server.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn get(&self, server: &str) -> io::Result<Option<Pin>> {
        private_file::read(&self.0).map(|mut file: PinsFile| file.servers.remove(server))
    }

    /// Compares what a server offers with what was approved; records the first list and every different one.
    pub(super) fn check(&self, server: &str, offered: &Definitions) -> io::Result<Verdict> {
        private_file::update(&self.0, |file: &mut PinsFile| match file.servers.get_mut(server) {
            None => {
                file.servers.insert(server.to_owned(), Pin { approved: offered.clone(), offered: None });
                (true, Verdict::Approved(offered.clone()))
            }
            Some(pin) if pin.approved.digest == offered.digest => (pin.offered.take().is_some(), Verdict::Approved(pin.approved.clone())),
            Some(pin) => {
                let news = pin.offered.as_ref() != Some(offered);
                pin.offered = Some(offered.clone());
                (news, Verdict::Changed(pin.changes()))
            }
        })
    }

    /// Records what a server offers now and gives what is recorded of it; a first list is approved by that.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn record(&self, server: &str, offered: &Definitions) -> io::Result<Pin> {
        self.check(server, offered)?;
        Ok(self.get(server)?.unwrap_or_default())
    }

    /// Approves what the server offered last, if it still is the list with this digest. `None` when nothing waits.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn approve(&self, server: &str, digest: &str) -> io::Result<Option<Definitions>> {
        private_file::update(&self.0, |file: &mut PinsFile| {
            let Some(pin) = file.servers.get_mut(server) else { return (false, None) };
            match pin.offered.take_if(|offered| offered.digest == digest) {
                Some(offered) => {
                    pin.approved = offered.clone();
                    (true, Some(offered))
                }
                None => (false, None),
            }
        })
    }
}

/// The definitions of what a server listed, and what was left out of it.
pub(super) fn definitions(listed: &[RemoteTool]) -> (Definitions, Vec<String>) {
    let (mut tools, mut left_out) = (BTreeMap::new(), Vec::new());
    let mut digests = BTreeMap::new();
    for tool in listed {
        let sent = json!({
            "name": tool.name, "title": tool.title, "description": tool.description, "input": *tool.input_schema,
            "output": tool.output_schema, "hints": tool.annotations,
        });
        let digest = hex_digest(canonical(&sent).as_bytes());
        let shown = clean(&tool.name, NAME_BYTES_MAX);
        if tool.name.len() > NAME_BYTES_MAX {
            left_out.push(format!("the tool '{shown}…' is left out: its name is longer than {NAME_BYTES_MAX} bytes"));
            continue;
        }
        if digests.insert(tool.name.to_string(), digest.clone()).is_some() {
            left_out.push(format!("the tool '{shown}' is listed twice"));
            continue;
        }
        match schema::fit(Value::Object(tool.input_schema.as_ref().clone())) {
            Ok(input_schema) => {
                let description = clean(tool.description.as_deref().unwrap_or_default(), DESCRIPTION_BYTES_MAX);
                tools.insert(tool.name.to_string(), Definition { name: tool.name.to_string(), description, input_schema, digest });
            }
            Err(why) => left_out.push(format!("the tool '{shown}' is left out: {why}")),
        }
    }
    let digest = hex_digest(format!("{digests:?}").as_bytes());
    (Definitions { digest, tools: tools.into_values().collect() }, left_out)
}

/// The same text for the same value, whatever the order of keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            let parts: Vec<String> = sorted.into_iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(all) => format!("[{}]", all.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
