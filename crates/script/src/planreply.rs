//! Generated plans: the arguments of a `submit_plan` call with steps s1…sN, for benchmarks and demos. Shape: design of the coordinator's tools.
use maos_engine::message::Request;
use serde_json::Value;

use crate::template::{Template, Vars, head, push_json_string};
use crate::yaml::{PLAN_STEPS_MAX, PlanYaml, Shape, StepsYaml};

/// Name of the tool a plan is handed in with.
pub(crate) const PLAN_TOOL: &str = "submit_plan";

/// A compiled plan reply.
#[derive(Debug)]
pub(crate) struct PlanReply {
    steps: StepsYaml,
    shape: Shape,
    agent_type: Option<String>,
    instructions: Option<Template>,
}

impl From<PlanYaml> for PlanReply {
    fn from(yaml: PlanYaml) -> Self {
        Self { steps: yaml.steps, shape: yaml.shape, agent_type: yaml.agent_type, instructions: yaml.instructions }
    }
}

impl PlanReply {
    /// The highest `match.N` used, if any.
    pub(crate) fn highest_group(&self) -> Option<usize> {
        let steps = match &self.steps {
            StepsYaml::Fixed(_) => None,
            StepsYaml::Says(template) => template.highest_group(),
        };
        steps.max(self.instructions.as_ref().and_then(Template::highest_group))
    }

    /// The plan as JSON. A template that gives no number plans one step.
    pub(crate) fn render(&self, request: &Request, vars: &Vars) -> String {
        let count = match &self.steps {
            StepsYaml::Fixed(n) => *n,
            StepsYaml::Says(template) => template.render(vars).trim().parse().unwrap_or(1).clamp(1, PLAN_STEPS_MAX),
        };
        let offered = if self.agent_type.is_none() { offered_types(request) } else { Vec::new() };
        let more = self.instructions.as_ref().map(|template| template.render(vars));
        let mut out = String::with_capacity(count * 160);
        out.push_str(r#"{"steps":["#);
        for i in 1..=count {
            if i > 1 {
                out.push(',');
            }
            out.push_str(&format!(r#"{{"id":"s{i}","title":"#));
            push_json_string(&mut out, &format!("Part {i} of {count}: {}", head(vars.prompt)));
            let mut instructions = format!("step s{i} of {count}");
            if let Some(more) = &more {
                instructions.push_str(": ");
                instructions.push_str(more);
            }
            out.push_str(r#","instructions":"#);
            push_json_string(&mut out, &instructions);
            let agent = match (&self.agent_type, offered.is_empty()) {
                (Some(name), _) => name.as_str(),
                (None, false) => offered[(i - 1) % offered.len()],
                (None, true) => "researcher",
            };
            out.push_str(r#","agent_type":"#);
            push_json_string(&mut out, agent);
            out.push_str(r#","capabilities":[],"depends_on":["#);
            for (j, needed) in self.depends_on(i, count).enumerate() {
                if j > 0 {
                    out.push(',');
                }
                out.push_str(&format!(r#""s{needed}""#));
            }
            out.push_str("]}");
        }
        out.push_str(r#"],"rationale":"scripted plan"}"#);
        out
    }

    fn depends_on(&self, step: usize, count: usize) -> std::ops::Range<usize> {
        match self.shape {
            Shape::Parallel => 0..0,
            Shape::Chain => step - 1..if step == 1 { 0 } else { step },
            Shape::FanIn if step == count && count > 1 => 1..count,
            Shape::FanIn => 0..0,
            Shape::Diamond if step == 1 => 0..0,
            Shape::Diamond if step == count && count > 2 => 2..count,
            Shape::Diamond => 1..2,
        }
    }
}

/// The agent types the planner is offered: the `enum` in the tool's schema, wherever the property stands.
fn offered_types(request: &Request) -> Vec<&str> {
    fn find(value: &Value) -> Option<&Vec<Value>> {
        match value {
            Value::Object(map) => match map.get("agent_type").and_then(|property| property.get("enum")) {
                Some(Value::Array(names)) => Some(names),
                _ => map.values().find_map(find),
            },
            Value::Array(items) => items.iter().find_map(find),
            _ => None,
        }
    }
    let tool = request.tools.iter().find(|tool| tool.name == PLAN_TOOL);
    tool.and_then(|tool| find(&tool.input_schema)).map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}
