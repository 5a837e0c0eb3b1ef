//! The plan: a DAG of steps, as the coordinator submits it. The form is public: users script against it.
use crate::ids::{AgentType, StepId};
use crate::limits::Limits;
use crate::message::ToolSpec;
use crate::spec::TaskSpec;
use crate::status::TaskType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Name of the tool that submits a plan.
pub const SUBMIT_PLAN: &str = "submit_plan";
/// Name of the tool that answers a trivial task at once.
pub const ANSWER: &str = "answer";

/// Longest title of a step, in characters; a longer one is cut to its first words.
pub const TITLE_CHARS_MAX: usize = 120;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// Unique in the plan.
    pub id: StepId,
    /// A few words.
    #[serde(default)]
    pub title: String,
    /// What the agent is told.
    pub instructions: String,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
    /// What the agent should be able to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Steps whose outputs it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepId>,
}

/// A plan: valid by construction once it went through [`Plan::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlanStep>,
    /// Why this plan.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
}

/// Where a plan came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// The coordinator.
    Model,
    /// The task runs as one step because it may use one agent only, or planning is off.
    Single,
    /// The task runs as one step because no valid plan was made.
    Fallback,
}

/// Most types of people's own that a planner is offered.
pub const OWN_TYPES_MAX: usize = 64;

/// Built-in types that do a kind of task; the first is the default. A type of people's own fits if its built-in type is among them.
pub fn built_in(kind: Option<TaskType>) -> &'static [&'static str] {
    match kind {
        Some(TaskType::Research) => &["researcher"],
        Some(TaskType::Coding) => &["coder", "tester"],
        Some(TaskType::Analysis) => &["analyst"],
        Some(TaskType::Mixed) | None => &["researcher", "analyst", "coder", "tester", "coordinator"],
    }
}

/// Types of agents that work on a task without being named: the one that was asked for, else the built-in ones of its kind.
pub fn usual(spec: &TaskSpec) -> Vec<AgentType> {
    let names = || built_in(spec.kind).iter().map(|n| AgentType::new(*n).expect("built-in names are valid")).collect();
    spec.agent_type.clone().map_or_else(names, |only| vec![only])
}

/// Types of agents the planner is offered for a task; the first is the default.
pub fn offered(spec: &TaskSpec) -> Vec<AgentType> {
    let own = spec.own_types.iter().filter(|_| spec.agent_type.is_none()).cloned();
    usual(spec).into_iter().chain(own).collect()
}

/// What the words of a task say about who should do it alone: deeds, of which the first decides, then things, which are counted.
const DEEDS: [(&str, &str); 3] = [
    ("coder", "implement code program debug fix refactor compile port"),
    ("analyst", "analyze analyse calculate compute plot forecast evaluate"),
    ("researcher", "research compare summarize summarise investigate survey explain"),
];
const THINGS: [(&str, &str); 3] = [
    (
        "coder",
        "api app application bug class cli code css endpoint function html java javascript library module program python repository rust \
         script server software sql test tool typescript website",
    ),
    ("analyst", "analysis average chart correlation csv dataset figure statistic table trend"),
    ("researcher", "article literature market news overview paper report research source study"),
];

/// Whether a list of words has a word.
fn lists(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|w| w == word)
}

/// The type that does a whole task alone: among those that usually work on it, the one its words point to. A wrong guess costs tools, so
/// of equals the one with more of them wins.
fn alone(spec: &TaskSpec) -> Option<AgentType> {
    let usual = usual(spec);
    let text = spec.description.to_lowercase();
    let words = || text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let known = |name: &str| usual.iter().find(|t| t.as_str() == name).cloned();
    let deed = words().find_map(|w| DEEDS.iter().find(|(_, deeds)| lists(deeds, w)).and_then(|(name, _)| known(name)));
    let count = |things: &str| words().filter(|w| lists(things, w) || w.strip_suffix('s').is_some_and(|w| lists(things, w))).count();
    // `max_by_key` gives the last of equals.
    let thing = || THINGS.iter().rev().map(|(name, things)| (count(things), *name)).filter(|(n, _)| *n > 0).max_by_key(|(n, _)| *n);
    deed.or_else(|| thing().and_then(|(_, name)| known(name))).or_else(|| usual.into_iter().next())
}

/// The type of the coordinator.
pub fn coordinator() -> AgentType {
    AgentType::new("coordinator").expect("a valid name")
}

impl Plan {
    /// The whole task as one step.
    pub fn single(spec: &TaskSpec) -> Self {
        let step = PlanStep {
            id: StepId::new("s1").expect("a valid id"),
            title: title_of(&spec.description),
            instructions: "Do the whole task and give its complete result.".into(),
            agent_type: alone(spec),
            capabilities: vec![],
            depends_on: vec![],
        };
        Self { steps: vec![step], rationale: String::new() }
    }

    /// Reads and checks the arguments of `submit_plan`. The error is one sentence for the model, with the exact reason.
    pub fn check(args: &Value, spec: &TaskSpec, limits: &Limits) -> Result<Self, String> {
        let mut plan: Self = serde_json::from_value(args.clone()).map_err(|e| format!("the plan does not have the required form: {e}"))?;
        let most = limits.plan_steps_max as usize;
        if plan.steps.is_empty() {
            return Err("the plan has no steps".into());
        }
        if plan.steps.len() > most {
            return Err(format!("the plan has {} steps; at most {most} are allowed", plan.steps.len()));
        }
        let types = offered(spec);
        let mut index = BTreeMap::new();
        for (i, step) in plan.steps.iter_mut().enumerate() {
            if step.instructions.trim().is_empty() {
                return Err(format!("step '{}' has no instructions", step.id));
            }
            if index.insert(step.id.clone(), i).is_some() {
                return Err(format!("the step id '{}' is used twice", step.id));
            }
            match &step.agent_type {
                _ if spec.agent_type.is_some() => step.agent_type = spec.agent_type.clone(),
                None => step.agent_type = types.first().cloned(),
                Some(t) if types.contains(t) => {}
                Some(t) => {
                    return Err(format!("step '{}' asks for the agent type '{t}'; available: {}", step.id, join(&types)));
                }
            }
            if step.title.trim().is_empty() {
                step.title = title_of(&step.instructions);
            } else if step.title.chars().count() > TITLE_CHARS_MAX {
                step.title = title_of(&step.title);
            }
            step.depends_on.sort();
            step.depends_on.dedup();
        }
        for step in &plan.steps {
            if let Some(unknown) = step.depends_on.iter().find(|d| !index.contains_key(*d)) {
                return Err(format!("step '{}' depends on '{unknown}', which is not a step of the plan", step.id));
            }
        }
        match plan.cycle(&index) {
            Some(cycle) => Err(format!("the dependencies form a cycle: {}", join(&cycle))),
            None => Ok(plan),
        }
    }

    /// The steps of a cycle, if there is one (Kahn 1962: what remains after removing steps without open dependencies).
    fn cycle(&self, index: &BTreeMap<StepId, usize>) -> Option<Vec<StepId>> {
        let mut open: Vec<usize> = self.steps.iter().map(|s| s.depends_on.len()).collect();
        let mut next: Vec<Vec<usize>> = vec![vec![]; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate() {
            for d in &step.depends_on {
                next[index[d]].push(i);
            }
        }
        let mut free: Vec<usize> = (0..open.len()).filter(|i| open[*i] == 0).collect();
        let mut seen = 0;
        while let Some(i) = free.pop() {
            seen += 1;
            for &n in &next[i] {
                open[n] -= 1;
                if open[n] == 0 {
                    free.push(n);
                }
            }
        }
        if seen == self.steps.len() {
            return None;
        }
        // Walk back along open dependencies until a step repeats: that stretch is the cycle.
        let mut at = open.iter().position(|n| *n > 0)?;
        let mut path = vec![];
        let mut on_path = vec![false; self.steps.len()];
        while !std::mem::replace(&mut on_path[at], true) {
            path.push(at);
            at = self.steps[at].depends_on.iter().map(|d| index[d]).find(|d| open[*d] > 0)?;
        }
        let start = path.iter().position(|p| *p == at)?;
        Some(path[start..].iter().rev().chain([&path[path.len() - 1]]).map(|i| self.steps[*i].id.clone()).collect())
    }
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The first words of a text, at most 60 characters.
pub fn title_of(text: &str) -> String {
    let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
    if line.chars().count() <= 60 {
        return line.to_owned();
    }
    let cut: String = line.chars().take(59).collect();
    let head = cut.rsplit_once(' ').map_or(cut.as_str(), |(h, _)| h);
    format!("{head}…")
}

/// How much freedom the schema of a plan leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanForm {
    /// Any DAG.
    Free,
    /// For small models held to the schema: 2 to [`FLAT_STEPS_MAX`] independent steps named s1, s2, …, joined by the synthesis: no plan they
    /// can write has a cycle, and all of it runs at the same time.
    Flat,
}

/// Most steps of a flat plan.
pub const FLAT_STEPS_MAX: u32 = 4;
/// Longest title and instructions of a step of a flat plan, in characters: a small model loses the thread beyond that.
const FLAT_CHARS_MAX: (u32, u32) = (60, 240);

/// The tools of the coordinator, one of which it must use. A result that is voted on has no short way: it comes from a step.
pub fn coordinator_tools(spec: &TaskSpec, limits: &Limits, form: PlanForm) -> Vec<ToolSpec> {
    let types: Vec<String> = offered(spec).iter().map(ToString::to_string).collect();
    let steps = match form {
        PlanForm::Free => free_steps(&types, limits),
        PlanForm::Flat => {
            let most = FLAT_STEPS_MAX.min(limits.plan_steps_max).max(2);
            json!({"anyOf": (2..=most).map(|n| flat_steps(&types, n)).collect::<Vec<_>>()})
        }
    };
    let mut rationale = json!({"type": "string", "description": "One sentence: why these steps."});
    if form == PlanForm::Flat {
        rationale["maxLength"] = json!(FLAT_CHARS_MAX.1);
    }
    let mut tools = vec![ToolSpec {
        name: SUBMIT_PLAN.into(),
        description: "Submit the plan: steps that agents will carry out, in parallel wherever their dependencies allow.".into(),
        input_schema: json!({
                "type": "object", "additionalProperties": false, "required": ["steps", "rationale"],
                "properties": {"steps": steps, "rationale": rationale}}),
    }];
    if spec.consensus.is_none() {
        tools.push(ToolSpec {
            name: ANSWER.into(),
            description: "Answer a trivial task at once, when splitting it up would be a waste.".into(),
            input_schema: json!({"type": "object", "additionalProperties": false, "required": ["text"], "properties": {"text": {"type": "string", "description": "The complete answer."}}}),
        });
    }
    tools
}

fn free_steps(types: &[String], limits: &Limits) -> Value {
    let id = json!({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"});
    json!({"type": "array", "minItems": 1, "maxItems": limits.plan_steps_max, "items": {
    "type": "object", "additionalProperties": false, "required": ["id", "title", "instructions", "agent_type", "depends_on"],
    "properties": {
        "id": id, "title": {"type": "string"},
        "instructions": {"type": "string", "description": "Everything the agent must know; it sees the task and the outputs of the steps it depends on, nothing else."},
        "agent_type": {"type": "string", "enum": types},
        "capabilities": {"type": "array", "items": {"type": "string"}},
        "depends_on": {"type": "array", "items": id, "description": "Ids of earlier steps whose outputs this step needs. Empty if it can start at once."}
    }}})
}

/// Exactly `n` steps, none waiting for another.
fn flat_steps(types: &[String], n: u32) -> Value {
    let step = |i: u32| {
        json!({"type": "object", "additionalProperties": false, "required": ["id", "title", "instructions", "agent_type", "depends_on"],
        "properties": {
            "id": {"const": format!("s{i}")},
            "title": {"type": "string", "maxLength": FLAT_CHARS_MAX.0},
            "instructions": {"type": "string", "maxLength": FLAT_CHARS_MAX.1},
            "agent_type": {"type": "string", "enum": types},
            "depends_on": {"const": []}
        }})
    };
    json!({"type": "array", "minItems": n, "maxItems": n, "prefixItems": (1..=n).map(step).collect::<Vec<_>>()})
}
