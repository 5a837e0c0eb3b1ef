//! A plan as text: a tree for people, Mermaid and Graphviz for documents.
//!
//! Invariant: every step appears exactly once, also when the graph is not a tree; what does not fit into the tree is said in words.
use super::{cost, step_mark};
use crate::print::text::{clean_line, cut, elapsed, width};
use crate::print::{Style, Ui};
use maos_api::StepState;
use maos_api::plan::{Plan, Step};
use std::collections::BTreeMap;

/// The tree: a step stands below the dependency that is furthest from the start.
pub(crate) fn tree(ui: &Ui, plan: &Plan) -> String {
    let done = plan.steps.iter().filter(|step| step.state == StepState::Completed).count();
    let source = plan.source.map_or("not planned yet", maos_api::plan::PlanSource::as_str);
    let mut text = format!(
        "{}  {}\n",
        ui.paint(Style::Bold, &format!("Plan of {}", plan.task_id)),
        ui.paint(Style::Dim, &format!("({source}, version {}, {done} of {} steps done)", plan.version, plan.steps.len()))
    );
    if let Some(rationale) = &plan.rationale {
        text.push_str(&format!("{}\n", ui.paint(Style::Dim, &clean_line(rationale))));
    }
    let depth = depths(&plan.steps);
    let parents: Vec<Option<&str>> =
        plan.steps.iter().map(|step| step.depends_on.iter().max_by_key(|id| depth.get(id.as_str())).map(String::as_str)).collect();
    let roots: Vec<usize> = (0..plan.steps.len()).filter(|at| parents[*at].is_none()).collect();
    let tree = Tree { ui, steps: &plan.steps, parents: &parents };
    for root in roots {
        tree.branch(root, "", "", &mut text);
    }
    text
}

struct Tree<'a> {
    ui: &'a Ui,
    steps: &'a [Step],
    parents: &'a [Option<&'a str>],
}

impl Tree<'_> {
    fn branch(&self, at: usize, lead: &str, below: &str, text: &mut String) {
        let step = &self.steps[at];
        text.push_str(&self.line(step, lead, self.parents[at]));
        let children: Vec<usize> = (0..self.steps.len()).filter(|child| self.parents[*child] == Some(step.id.as_str())).collect();
        for (n, child) in children.iter().enumerate() {
            let last = n + 1 == children.len();
            let (fork, stem) = match (last, self.ui.utf8) {
                (false, true) => ("├─ ", "│  "),
                (true, true) => ("└─ ", "   "),
                (false, false) => ("|- ", "|  "),
                (true, false) => ("`- ", "   "),
            };
            self.branch(*child, &format!("{below}{fork}"), &format!("{below}{stem}"), text);
        }
    }

    fn line(&self, step: &Step, lead: &str, parent: Option<&str>) -> String {
        let (style, glyph) = step_mark(self.ui, step.state);
        let mut facts = vec![step.agent_id.clone().unwrap_or_else(|| step.agent_type.clone())];
        facts.extend(step.duration_ms.map(elapsed));
        facts.extend(step.cost.amount.filter(|amount| amount.nanos() > 0).map(|_| cost(&step.cost)));
        if step.attempts > 1 {
            facts.push(format!("{} attempts", step.attempts));
        }
        let also: Vec<&str> = step.depends_on.iter().map(String::as_str).filter(|id| Some(*id) != parent).collect();
        if !also.is_empty() {
            facts.push(format!("also after {}", also.join(", ")));
        }
        let facts = format!("{} · {}", step.state, facts.join(" · "));
        let title = clean_line(&step.title);
        let used = width(lead) + 2 + width(&step.id) + 2 + 2 + width(&facts);
        let title = if self.ui.out_tty { cut(&title, self.ui.width.saturating_sub(used).max(16), '…') } else { title };
        let mut line = format!(
            "{lead}{} {}  {title}  {}\n",
            self.ui.paint(style, glyph),
            self.ui.paint(Style::Bold, &step.id),
            self.ui.paint(Style::Dim, &facts)
        );
        if let Some(error) = &step.error {
            let indent = " ".repeat(width(lead) + 2);
            line.push_str(&format!("{indent}{}\n", self.ui.paint(Style::Bad, &clean_line(&error.detail))));
        }
        line
    }
}

/// Distance of each step from the start. A dependency that is not in the plan counts as the start.
fn depths(steps: &[Step]) -> BTreeMap<&str, usize> {
    let mut depth: BTreeMap<&str, usize> = BTreeMap::new();
    // Plans are acyclic and each pass settles at least one more level.
    for _ in 0..steps.len() {
        for step in steps {
            let own = step.depends_on.iter().map(|id| depth.get(id.as_str()).copied().unwrap_or(0) + 1).max().unwrap_or(0);
            depth.insert(&step.id, own);
        }
    }
    depth
}

/// A Mermaid flow chart.
pub(crate) fn mermaid(plan: &Plan) -> String {
    let mut text = String::from("flowchart TD\n");
    for step in &plan.steps {
        let title = clean_line(&step.title).replace('"', "#quot;");
        text.push_str(&format!(
            "  {}[\"{title}<br/>{} · {}\"]:::{}\n",
            step.id,
            step.agent_type,
            step.state,
            step.state.as_str().to_lowercase()
        ));
    }
    for step in &plan.steps {
        for from in &step.depends_on {
            text.push_str(&format!("  {from} --> {}\n", step.id));
        }
    }
    text.push_str("  classDef completed fill:#d5f5d5,stroke:#2e7d32\n  classDef failed fill:#fddede,stroke:#b71c1c\n  classDef running fill:#d8ecff,stroke:#1565c0\n");
    text
}

/// A Graphviz graph.
pub(crate) fn dot(plan: &Plan) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = String::from("digraph plan {\n  rankdir=TB;\n  node [shape=box];\n");
    for step in &plan.steps {
        text.push_str(&format!(
            "  {} [label={}];\n",
            quote(&step.id),
            quote(&format!("{}\n{} · {}", clean_line(&step.title), step.agent_type, step.state)).replace('\n', "\\n")
        ));
    }
    for step in &plan.steps {
        for from in &step.depends_on {
            text.push_str(&format!("  {} -> {};\n", quote(from), quote(&step.id)));
        }
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::table::tests::ui;
    use maos_api::tasks::Cost;

    fn step(id: &str, after: &[&str], state: StepState) -> Step {
        Step {
            id: id.to_owned(),
            title: format!("Do \"{id}\""),
            instructions: String::new(),
            agent_type: "researcher".to_owned(),
            capabilities: Vec::new(),
            depends_on: after.iter().map(|id| (*id).to_owned()).collect(),
            state,
            agent_id: (state == StepState::Completed).then(|| "agent_researcher_001".to_owned()),
            started_at: None,
            finished_at: None,
            duration_ms: (state == StepState::Completed).then_some(1_500),
            cost: Cost::usd(None, false, None),
            attempts: 1,
            error: None,
        }
    }

    fn plan() -> Plan {
        Plan {
            object: "plan".to_owned(),
            task_id: "task_1".to_owned(),
            source: Some(maos_api::plan::PlanSource::Planner),
            rationale: None,
            version: 1,
            steps: vec![
                step("a", &[], StepState::Completed),
                step("b", &[], StepState::Running),
                step("c", &["a"], StepState::Ready),
                step("d", &["c", "b"], StepState::Pending),
            ],
        }
    }

    #[test]
    fn every_step_once_with_its_other_dependencies_in_words() {
        let expected = "\
Plan of task_1  (planner, version 1, 1 of 4 steps done)
✓ a  Do \"a\"  COMPLETED · agent_researcher_001 · 1.5s
└─ ◎ c  Do \"c\"  READY · researcher
   └─ ○ d  Do \"d\"  PENDING · researcher · also after b
● b  Do \"b\"  RUNNING · researcher
";
        assert_eq!(tree(&ui(80, false), &plan()), expected);
    }

    #[test]
    fn graphs_for_documents() {
        let mermaid = mermaid(&plan());
        assert!(mermaid.contains("  a[\"Do #quot;a#quot;<br/>researcher · COMPLETED\"]:::completed\n"), "{mermaid}");
        assert!(mermaid.contains("  b --> d\n"));
        let dot = dot(&plan());
        assert!(dot.contains("  \"a\" [label=\"Do \\\"a\\\"\\nresearcher · COMPLETED\"];\n"), "{dot}");
        assert!(dot.contains("  \"c\" -> \"d\";\n"));
    }
}
