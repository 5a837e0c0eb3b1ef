//! The tools agents are offered: a snapshot of what there is, and who may use what. Decides nothing about consent or taint: the engine
//! does, from what is said here.
use crate::agents::{Definition, Definitions};
use maos_engine::decide::{Checked, Manner, ToolTable};
use maos_engine::ids::AgentType;
use maos_engine::message::ToolSpec;
use maos_engine::share::{self, ASK_HUMAN};
use maos_llm::Provider;
pub use maos_tools::{Approval, Call, Nature, Output, Outward, Tool, Turn, Turns};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tool by which the web is searched, whoever does it.
pub(crate) const WEB_SEARCH: &str = "web_search";
/// Most searches of the provider in one call.
pub(crate) const PROVIDER_SEARCHES_MAX: u32 = 5;
/// Longest name quoted back, characters.
const NAME_CHARS_MAX: usize = 64;

/// All tools by name, all definitions of agents, and what each is offered. Never changed: a new one takes its place.
pub struct ToolBox {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    /// Tools of every agent, whatever its definition says.
    common: Vec<String>,
    definitions: Definitions,
    approvals: BTreeMap<String, Approval>,
    /// What each definition is offered, made once: every request holds it.
    offered: BTreeMap<String, Arc<[ToolSpec]>>,
    plain: Arc<[ToolSpec]>,
    skills: String,
    local_tools: bool,
    provider_search: bool,
}

/// What a tool box is made of.
pub struct Contents {
    /// Tools that definitions may name.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Tools of every agent.
    pub common: Vec<Arc<dyn Tool>>,
    /// Definitions of agents.
    pub definitions: Definitions,
    /// When a person must agree, by tool; what the tool itself says holds too.
    pub approvals: BTreeMap<String, Approval>,
    /// Skills, a line each, for the system prompt.
    pub skills: String,
    /// Small models on this machine are offered tools too.
    pub local_tools: bool,
    /// The web is searched by the model's own provider, where it has such a tool.
    pub provider_search: bool,
}

impl Default for ToolBox {
    fn default() -> Self {
        Self::of([])
    }
}

impl ToolBox {
    /// The built-in agents, each with all of these tools.
    pub fn of(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        Self::new(Contents {
            tools: vec![],
            common: tools.into_iter().collect(),
            definitions: Definitions::built_in(),
            approvals: BTreeMap::new(),
            skills: String::new(),
            local_tools: false,
            provider_search: false,
        })
    }

    /// A box of these contents.
    pub fn new(contents: Contents) -> Self {
        let common: Vec<String> = contents.common.iter().map(|t| t.spec().name).collect();
        let tools: BTreeMap<String, Arc<dyn Tool>> =
            contents.tools.into_iter().chain(contents.common).map(|t| (t.spec().name, t)).collect();
        let mut this = Self {
            tools,
            common,
            definitions: contents.definitions,
            approvals: contents.approvals,
            offered: BTreeMap::new(),
            plain: share::tool_specs().into(),
            skills: contents.skills,
            local_tools: contents.local_tools,
            provider_search: contents.provider_search,
        };
        let offered = |d: &Definition| {
            let own = this.tools.iter().filter(|(name, _)| this.may(&d.name, name)).map(|(_, t)| t.spec());
            let shared = share::tool_specs().into_iter().filter(|t| t.name != ASK_HUMAN || this.may_ask(&d.name));
            (d.name.clone(), shared.chain(own).collect())
        };
        this.offered = this.definitions.all().map(offered).collect();
        this
    }

    /// By name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }
    /// Names of all tools that run outside the engine.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
    /// Definitions of agents.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }
    /// Skills, a line each.
    pub fn skills(&self) -> &str {
        &self.skills
    }

    /// What agents of a type are offered. A small model on this machine is offered none unless the operator says so: it calls them for
    /// no reason and repeats the calls, and its step ends without an output.
    pub fn offered(&self, kind: &str, provider: Provider) -> Arc<[ToolSpec]> {
        if provider == Provider::Local && !self.local_tools {
            return Arc::default();
        }
        Arc::clone(self.offered.get(kind).unwrap_or(&self.plain))
    }

    /// The provider's own tools for agents of a type: its web search, in its own form, where they may search and nobody has to be asked
    /// before (the provider asks nobody).
    pub fn provider_tools(&self, kind: &str, provider: Provider) -> Vec<Value> {
        let consent = self.approvals.get(WEB_SEARCH) == Some(&Approval::Always);
        let has = self.provider_search && provider == Provider::Claude && !consent && self.may(kind, WEB_SEARCH);
        let search = || json!({"type": "web_search_20250305", "name": WEB_SEARCH, "max_uses": PROVIDER_SEARCHES_MAX});
        has.then(search).into_iter().collect()
    }

    /// Whether an agent of this type may use a tool.
    fn may(&self, kind: &str, tool: &str) -> bool {
        let definition = self.definitions.get(kind);
        let denied = definition.is_some_and(|d| d.denied_tools.contains(tool));
        !denied && (self.common.iter().any(|c| c == tool) || definition.is_some_and(|d| d.allows(tool)))
    }

    /// Whether an agent of this type may ask a person: every one may whose definition does not forbid it.
    fn may_ask(&self, kind: &str) -> bool {
        self.definitions.get(kind).is_none_or(|d| !d.denied_tools.contains(ASK_HUMAN))
    }

    fn unknown(&self, kind: &str, name: &str) -> String {
        let own = self.tools.keys().filter(|t| self.may(kind, t)).map(String::as_str);
        let names: Vec<&str> = share::TOOLS.into_iter().chain(self.may_ask(kind).then_some(ASK_HUMAN)).chain(own).collect();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        format!("there is no tool '{name}' for you; available: {}", names.join(", "))
    }

    /// Why a person must be asked before this call, if the operator or the tool wants that.
    fn consent(&self, name: &str, tool: &dyn Tool, outward: Option<&Outward>) -> Option<String> {
        let stricter = |a: Approval, b: Approval| if rank(a) >= rank(b) { a } else { b };
        let approval = stricter(tool.nature().approval, self.approvals.get(name).copied().unwrap_or_default());
        match (approval, outward) {
            (Approval::Always, _) => Some(format!("each call of {name} needs a person's consent")),
            // To read a short address is not to send: only for who has seen too much it depends on where the address was found.
            (Approval::OutsideAllowlist, Some(out)) if !out.allowed && out.address.is_none() => {
                Some(format!("{} is not on the list of allowed destinations", out.to))
            }
            (Approval::OutsideAllowlist | Approval::Never, _) => None,
        }
    }
}

fn rank(approval: Approval) -> u8 {
    match approval {
        Approval::Never => 0,
        Approval::OutsideAllowlist => 1,
        Approval::Always => 2,
    }
}

impl ToolTable for ToolBox {
    fn check(&self, kind: &AgentType, name: &str, args: &Value) -> Result<Checked, String> {
        let tool = self.tools.get(name).filter(|_| self.may(kind.as_str(), name)).ok_or_else(|| self.unknown(kind.as_str(), name))?;
        tool.check(args)?;
        let outward = tool.outward(args);
        let ask = self.consent(name, &**tool, outward.as_ref());
        let allowed = outward.as_ref().is_some_and(|o| o.allowed);
        let address = outward.as_ref().and_then(|o| o.address.clone());
        Ok(Checked { ask, to: outward.map(|o| o.to), allowed, address })
    }
    fn may_ask_person(&self, kind: &AgentType) -> bool {
        self.may_ask(kind.as_str())
    }
    fn manner(&self, name: &str) -> Option<Manner> {
        let nature = self.tools.get(name)?.nature();
        Some(Manner { repeat: nature.repeat, writes: nature.writes, brings: nature.brings })
    }
}
