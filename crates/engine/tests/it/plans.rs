//! What is a plan and what is not, in the words the model is told; and what becomes of a task without a valid one.
use crate::kit::{Kit, at, call, plan, spec, text};
use maos_engine::ids::{AgentType, EffectId, Place, StepId};
use maos_engine::limits::Limits;
use maos_engine::message::StopReason;
use maos_engine::plan::{Plan, PlanForm, coordinator_tools, offered, title_of, usual};
use maos_engine::spec::TaskSpec;
use maos_engine::status::{Status, TaskType};
use proptest::prelude::*;
use serde_json::{Value, json};

fn check(args: &Value, spec: &TaskSpec) -> Result<Plan, String> {
    Plan::check(args, spec, &Limits::default())
}

#[test]
fn every_error_says_exactly_what_is_wrong() {
    let many: Vec<Value> = (0..33).map(|i| json!({"id": format!("s{i}"), "instructions": "x"})).collect();
    let step = |more: Value| {
        let mut step = json!({"id": "a", "instructions": "x"});
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"steps": [step]})
    };
    let cases = [
        (json!({"steps": []}), "the plan has no steps"),
        (json!({"steps": many}), "the plan has 33 steps; at most 32 are allowed"),
        (json!({"steps": [{"id": "a", "instructions": " "}]}), "step 'a' has no instructions"),
        (plan(&[("a", &[]), ("b", &[]), ("a", &[])]), "the step id 'a' is used twice"),
        (
            step(json!({"agent_type": "wizard"})),
            "step 'a' asks for the agent type 'wizard'; available: researcher, analyst, coder, tester, coordinator",
        ),
        (plan(&[("a", &["zz"])]), "step 'a' depends on 'zz', which is not a step of the plan"),
        (plan(&[("a", &["a"])]), "the dependencies form a cycle: a, a"),
        (plan(&[("a", &["b"]), ("b", &["a"])]), "the dependencies form a cycle: b, a, b"),
        (
            plan(&[("root", &[]), ("a", &["root", "c"]), ("b", &["a"]), ("c", &["b"]), ("end", &["c"])]),
            "the dependencies form a cycle: b, c, a, b",
        ),
        (json!({"steps": "many"}), "the plan does not have the required form: invalid type: string \"many\", expected a sequence"),
        (json!(null), "the plan does not have the required form: invalid type: null, expected struct Plan"),
        (json!({"rationale": "x"}), "the plan does not have the required form: missing field `steps`"),
        (
            step(json!({"wizard": 1})),
            "the plan does not have the required form: unknown field `wizard`, expected one of `id`, `title`, `instructions`, `agent_type`, `capabilities`, `depends_on`",
        ),
        (
            json!({"steps": [{"id": "Step 1", "instructions": "x"}]}),
            "the plan does not have the required form: 'Step 1' is not a step id ([a-z][a-z0-9_]{0,31})",
        ),
    ];
    for (args, want) in cases {
        assert_eq!(check(&args, &spec()).unwrap_err(), want);
    }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let coding = TaskSpec { kind: Some(TaskType::Coding), ..spec() };
    let args = json!({"steps": [
        {"id": "a", "instructions": "Write the parser\nwith care."},
        {"id": "b", "title": "Test", "instructions": "x", "agent_type": "tester", "depends_on": ["a", "a"]},
    ]});
    let plan = check(&args, &coding).unwrap();
    let row = |i: usize| {
        let s = &plan.steps[i];
        (s.title.as_str(), s.agent_type.as_ref().unwrap().as_str(), s.depends_on.len())
    };
    assert_eq!((row(0), row(1)), (("Write the parser", "coder", 0), ("Test", "tester", 1)));
    // Asked for one type, every step is of that type, whatever the model says.
    let only = TaskSpec { agent_type: Some(AgentType::new("wizard").unwrap()), ..spec() };
    let plan = check(&args, &only).unwrap();
    assert!(plan.steps.iter().all(|s| s.agent_type.as_ref().unwrap().as_str() == "wizard"));
    assert_eq!(title_of(&"word ".repeat(30)), format!("{}word…", "word ".repeat(10)));
    let schema = coordinator_tools(&coding, &Limits::default(), maos_engine::plan::PlanForm::Free)[0].input_schema.to_string();
    assert!(schema.contains(r#""enum":["coder","tester"]"#) && schema.contains(r#""maxItems":32"#));
}

fn arbitrary_plan() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
    let deps = prop::collection::vec(0usize..9, 0..4);
    prop::collection::vec((0usize..9, deps), 1..9)
}

proptest! {
    /// A plan that is accepted can be carried out to its end; one that is refused really has a fault.
    #[test]
    fn accepted_means_it_can_be_done(raw in arbitrary_plan()) {
        let steps: Vec<Value> = raw.iter().map(|(id, deps)| {
            let deps: Vec<String> = deps.iter().map(|d| format!("s{d}")).collect();
            json!({"id": format!("s{id}"), "instructions": "x", "depends_on": deps})
        }).collect();
        let args = json!({"steps": steps});
        let mut done = std::collections::BTreeSet::new();
        let mut ids: Vec<usize> = raw.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        // Naive: do whatever can be done until nothing can.
        while let Some((id, _)) = raw.iter().find(|(id, deps)| !done.contains(id) && deps.iter().all(|d| done.contains(d))) {
            done.insert(*id);
        }
        let possible = ids.len() == raw.len() && done.len() == raw.len();
        let checked = check(&args, &spec());
        prop_assert_eq!(checked.is_ok(), possible, "{:?}", checked);
        if possible {
            let mut kit = Kit::new(TaskSpec { max_agents: 99, ..spec() });
            kit.seat(&Place::Plan);
            kit.says(&Place::Plan, vec![call("c1", "submit_plan", args)], StopReason::ToolUse);
            for _ in 0..=raw.len() {
                let ready: Vec<Place> = kit.task.runs.iter()
                    .filter(|(_, r)| r.status == maos_engine::status::StepStatus::Ready)
                    .map(|(p, _)| p.clone()).collect();
                for place in ready {
                    kit.does(&place);
                }
            }
            prop_assert_eq!(kit.status(), Status::Completed, "{}", kit.places());
        }
    }

    /// Whatever a provider calls its calls, the name of the effect reads back as itself.
    #[test]
    fn names_of_effects_read_back(id in "\\PC{0,12}", step in "[a-z][a-z0-9_]{0,31}", turn in 1u32..1000) {
        for place in [Place::Plan, Place::Synthesis, Place::Step(StepId::new(step).unwrap())] {
            for effect in [EffectId::model(place.clone(), turn), EffectId::tool(place.clone(), turn, id.clone())] {
                prop_assert_eq!(effect.to_string().parse::<EffectId>().unwrap(), effect);
            }
        }
    }
}

#[test]
fn a_bad_plan_goes_back_twice_and_then_the_task_is_one_step() {
    let mut kit = Kit::new(spec());
    kit.seat(&Place::Plan);
    let bad = plan(&[("a", &["a"])]);
    kit.asks(&Place::Plan, &[("c1", "submit_plan", bad.clone())]);
    assert_eq!(kit.told("c1"), "Invalid: refused: the dependencies form a cycle: a, a");
    kit.says(&Place::Plan, vec![text("I would rather talk.")], StopReason::EndTurn);
    let note = kit.task.runs[&Place::Plan].turns[1].note.clone();
    assert_eq!(note.unwrap(), "you called neither; call exactly one of the tools submit_plan and answer");
    kit.asks(&Place::Plan, &[("c3", "submit_plan", bad)]);
    assert_eq!(kit.places(), "@plan=COMPLETED s1=READY");
    kit.does(&at("s1"));
    assert_eq!(kit.status(), Status::Completed);
}

#[test]
fn a_trivial_task_is_answered_at_once() {
    let mut kit = Kit::new(spec());
    kit.seat(&Place::Plan);
    kit.asks(&Place::Plan, &[("c1", "answer", json!({"text": " "}))]);
    assert_eq!(kit.told("c1"), "Invalid: refused: answer needs a non-empty text");
    kit.asks(&Place::Plan, &[("c1", "answer", json!({"text": "4"}))]);
    assert_eq!(kit.status(), Status::Completed);
    let result = kit.task.result.clone().unwrap();
    assert_eq!((result.place, result.from_turn, result.answer), (Place::Plan, 2, true));
}

#[test]
fn one_agent_plans_nothing() {
    for (max_agents, planner) in [(1, true), (8, false)] {
        let limits = Limits { planner, ..Limits::default() };
        let kit = Kit::with(TaskSpec { max_agents, ..spec() }, limits);
        assert_eq!((kit.places(), kit.pending()), ("s1=READY".into(), vec!["wait s1".to_owned()]));
    }
}

#[test]
fn one_end_is_the_result_several_are_joined() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("end", &["a", "b"])]);
    for step in ["a", "b", "end"] {
        assert_eq!(kit.status(), Status::Running);
        kit.does(&at(step));
    }
    assert_eq!((kit.status(), kit.task.result.clone().unwrap().place), (Status::Completed, at("end")));
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.does(&at("a"));
    kit.does(&at("b"));
    assert_eq!(kit.pending(), ["wait @synthesis"]);
    kit.does(&Place::Synthesis);
    assert_eq!((kit.status(), kit.task.result.clone().unwrap().place), (Status::Completed, Place::Synthesis));
}

#[test]
fn a_step_starts_when_its_last_dependency_ends_and_the_longest_way_goes_first() {
    let kit = Kit::planned(spec(), &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[]), ("e", &["a", "d"])]);
    let path = |id: &str| kit.task.runs[&at(id)].path;
    assert_eq!((path("a"), path("b"), path("c"), path("d"), path("e")), (3, 2, 1, 2, 1));
    let mut kit = kit;
    kit.does(&at("a"));
    assert_eq!(kit.places(), "@plan=COMPLETED a=COMPLETED b=READY c=PENDING d=READY e=PENDING");
    kit.does(&at("d"));
    assert_eq!(kit.places(), "@plan=COMPLETED a=COMPLETED b=READY c=PENDING d=COMPLETED e=READY");
}

/// One agent does the whole task: it should have the tools for it.
#[test]
fn who_does_a_task_alone_follows_from_its_words() {
    let kind_of = |description: &str, kind| {
        let plan = Plan::single(&TaskSpec { description: description.into(), kind, ..spec() });
        plan.steps[0].agent_type.as_ref().unwrap().to_string()
    };
    for (description, want) in [
        ("Create a Python REST API", "coder"),
        ("Fix the login of our website.", "coder"),
        ("Write a script that reads data.csv", "coder"),
        ("Add tests for the parser module", "coder"),
        ("Analyze sales.csv and plot the trend", "analyst"),
        ("Which trends are in this table?", "analyst"),
        ("Compare Python, Rust and Java for servers", "researcher"),
        ("Summarize the news of the week", "researcher"),
        ("Write a poem", "researcher"),
    ] {
        assert_eq!(kind_of(description, None), want, "{description}");
    }
    assert_eq!(kind_of("Fix the bug", Some(TaskType::Research)), "researcher", "the kind of the task has the first word");
    let named = TaskSpec { agent_type: Some(AgentType::new("reviewer").unwrap()), description: "Fix the bug".into(), ..spec() };
    assert_eq!(Plan::single(&named).steps[0].agent_type, named.agent_type);
}

/// People's own types are offered to the planner, take steps, and are not made voters.
#[test]
fn peoples_own_types_are_offered_to_the_planner() {
    let own = AgentType::new("security-reviewer").unwrap();
    let with = TaskSpec { own_types: vec![own.clone()], ..spec() };
    let args = json!({"steps": [{"id": "a", "instructions": "Look.", "agent_type": "security-reviewer"}]});
    assert_eq!(Plan::check(&args, &with, &Limits::default()).unwrap().steps[0].agent_type, Some(own.clone()));
    assert!(Plan::check(&args, &spec(), &Limits::default()).unwrap_err().contains("available: researcher"));
    assert!(offered(&with).contains(&own) && !usual(&with).contains(&own));
    let schema = coordinator_tools(&with, &Limits::default(), PlanForm::Free)[0].input_schema.to_string();
    assert!(schema.contains("security-reviewer"), "{schema}");
    let forced = TaskSpec { agent_type: Some(AgentType::new("coder").unwrap()), ..with };
    assert_eq!(offered(&forced), usual(&forced));
}
