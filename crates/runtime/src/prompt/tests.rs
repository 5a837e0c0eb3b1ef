//! The first message of a conversation fits, whatever others have written, and says where the rest is; it is the same in every call.
use super::*;
use maos_engine::body::Body;
use maos_engine::consensus::{Consensus, Strategy};
use maos_engine::decide::Ctx;
use maos_engine::ids::{AgentId, AgentType};
use maos_engine::input::{Input, Traits};
use maos_engine::message::{Reply, Usage};
use maos_engine::spec::TaskSpec;
use maos_engine::status::Priority;
use maos_llm::{ClaudeOptions, Options as LlmOptions};
use serde_json::Value;

/// Window of the model, tokens.
const WINDOW: u32 = 16_384;
/// Output limit, tokens.
const OUTPUT: u32 = 2_048;

/// A task in the hand, with all that prompts are made of.
struct Desk {
    tools: ToolBox,
    models: Models,
    settings: Options,
    bodies: Bodies,
    given: Given,
    task: Task,
}

impl Desk {
    fn new(spec: TaskSpec) -> Self {
        let claude = ClaudeOptions {
            api_key: "k".to_owned().into(),
            key_name: "K".into(),
            base_url: Some("http://127.0.0.1:9".into()),
            model: Some("m".into()),
            bearer: false,
        };
        let models = maos_llm::connect(LlmOptions { claude: Some(claude), ..LlmOptions::default() }).unwrap();
        let mut settings = Options::new("/nonexistent".into());
        (settings.context_tokens, settings.output_tokens_max) = (Some(WINDOW), OUTPUT);
        let task = Task::empty(TaskId::new("task_000000000z").unwrap());
        let mut desk = Self { tools: ToolBox::default(), models, settings, bodies: Bodies::default(), given: vec![], task };
        desk.task = {
            let prompter = desk.prompter();
            Task::submit(desk.task.id.clone(), Time(0), spec, desk.ctx(&prompter)).0
        };
        desk
    }

    fn prompter(&self) -> Prompter<'_> {
        Prompter {
            tools: &self.tools,
            models: Some(&self.models),
            settings: &self.settings,
            bodies: &self.bodies,
            given: &self.given,
            instructions: &None,
            now: Time(0),
            built: RefCell::default(),
        }
    }

    fn ctx<'a>(&'a self, quotes: &'a Prompter<'a>) -> Ctx<'a> {
        Ctx { limits: &self.settings.limits, tools: &self.tools, quotes, daily_left: None, draining: false }
    }

    fn handle(&mut self, input: Input) {
        let mut task = self.task.clone();
        let prompter = self.prompter();
        task.handle(Time(0), input, self.ctx(&prompter)).unwrap();
        drop(prompter);
        self.task = task;
    }

    fn seat(&mut self, place: &Place) {
        let run = &self.task.runs[place];
        let agent = AgentId::numbered(&run.kind, run.index + 1);
        self.handle(Input::Seated { place: place.clone(), agent, traits: Traits::default() });
    }

    fn says(&mut self, place: &Place, content: Vec<Block>, stop: StopReason) {
        let reply = Reply { model: "m".into(), content, stop, usage: Usage::default(), request_id: None };
        let (body, blob) = Body::from_text(serde_json::to_string(&reply).unwrap());
        if let Some((hash, text)) = blob {
            self.bodies.insert(&hash, text);
        }
        let run = &self.task.runs[place];
        let effect = EffectId::model(place.clone(), run.turns.len() as u32);
        let attempt = run.current().unwrap().open.as_ref().unwrap().attempt;
        self.handle(Input::Replied { effect, attempt, reply: Box::new(reply), body, sent_at: Time(0), cost: None });
    }

    fn calls(&mut self, place: &Place, name: &str, input: Value) {
        let block = Block::ToolUse { id: "c1".into(), name: name.into(), input };
        self.says(place, vec![block], StopReason::ToolUse);
    }

    /// Takes a place and answers at once.
    fn does(&mut self, place: &Place, output: String) {
        self.seat(place);
        self.says(place, vec![Block::Text { text: output }], StopReason::EndTurn);
    }

    fn request(&self, place: &Place, mode: Mode) -> Request {
        let turn = self.task.runs[place].turns.len().max(1) as u32;
        let prepared = self.prompter().prepare(&self.task, &EffectId::model(place.clone(), turn), mode);
        Arc::unwrap_or_clone(prepared.unwrap().request)
    }
}

fn spec(consensus: Option<Consensus>) -> TaskSpec {
    TaskSpec {
        description: "Compare them".into(),
        kind: None,
        priority: Priority::Normal,
        max_agents: 20,
        agent_type: None,
        own_types: vec![AgentType::new("security-reviewer").unwrap()],
        timeout_s: None,
        step_timeout_s: 0,
        max_cost: None,
        context: None,
        constraints: None,
        depends_on: vec![],
        labels: BTreeMap::new(),
        attachments: vec![],
        consensus,
    }
}

fn step(id: &str) -> Place {
    Place::Step(StepId::new(id).unwrap())
}

/// Steps `s1` to `s<n>` side by side, each with an output of so many bytes, and a step `end` behind them if asked for.
fn outputs(n: usize, bytes: usize, end: bool) -> Desk {
    let mut desk = Desk::new(spec(None));
    let ids: Vec<String> = (1..=n).map(|i| format!("s{i}")).collect();
    let mut steps: Vec<Value> = ids.iter().map(|id| json!({"id": id, "instructions": "Do it."})).collect();
    if end {
        steps.push(json!({"id": "end", "instructions": "Join.", "depends_on": ids}));
    }
    desk.seat(&Place::Plan);
    desk.calls(&Place::Plan, plan::SUBMIT_PLAN, json!({"steps": steps, "rationale": "so"}));
    for id in &ids {
        desk.does(&step(id), "word ".repeat(bytes / 5));
    }
    desk
}

/// What is asked and what may be answered fit into the window, at the fewest bytes a token has.
fn assert_fits(request: &Request) {
    let tokens = serde_json::to_vec(request).unwrap().len() as u64 / TOKEN_BYTES + u64::from(request.max_output_tokens);
    assert!(tokens <= u64::from(WINDOW), "{tokens} of {WINDOW} tokens");
}

fn first_text(request: &Request) -> String {
    let texts = request.messages[0].content.iter().map(|b| if let Block::Text { text } = b { text.as_str() } else { "" });
    texts.collect()
}

#[test]
fn outputs_that_do_not_fit_are_cut_to_the_same_length_and_can_be_read() {
    for (n, bytes) in [(12, 60_000), (30, 200_000)] {
        let mut desk = outputs(n, bytes, false);
        desk.seat(&Place::Synthesis);
        let joined = desk.request(&Place::Synthesis, Mode::Normal);
        assert_fits(&joined);
        assert!((1..=n).all(|i| first_text(&joined).contains(&format!("(s{i})"))), "every output is there in part");

        let mut desk = outputs(n, bytes, true);
        desk.seat(&step("end"));
        let request = desk.request(&step("end"), Mode::Normal);
        assert_fits(&request);
        let text = first_text(&request);
        assert!((1..=n).all(|i| text.contains(&format!(r#"read_output {{"of": "s{i}""#))), "{text}");
    }
    // What fits is whole.
    let mut desk = outputs(3, 2_000, true);
    desk.seat(&step("end"));
    assert!(!first_text(&desk.request(&step("end"), Mode::Normal)).contains("left out"));
}

#[test]
fn results_shared_state_and_messages_take_no_more_than_their_share() {
    let mut desk = outputs(2, 100, true);
    desk.given = (0..200).map(|i| (TaskId::new(format!("task_{i:010}")).unwrap(), "x".repeat(40_000))).collect();
    // As if the others had written all this while they worked.
    let by = AgentId::new("agent_coder_009").unwrap();
    for i in 0..900u32 {
        let value = json!("v".repeat(if i % 2 == 0 { 10 } else { 60_000 }));
        let event = maos_engine::event::Event::StateSet {
            key: format!("key{i:04}"),
            value,
            version: 1,
            by: by.clone(),
            taint: maos_engine::taint::Taint::NONE,
        };
        desk.task.apply(Time(0), &event);
    }
    for _ in 0..400 {
        let event = maos_engine::event::Event::MessageSent {
            from: by.clone(),
            from_step: step("s1"),
            to: "all".into(),
            to_place: None,
            body: "m".repeat(1_000),
            taint: maos_engine::taint::Taint::NONE,
        };
        desk.task.apply(Time(0), &event);
    }
    desk.seat(&step("end"));
    let request = desk.request(&step("end"), Mode::Normal);
    assert_fits(&request);
    let text = first_text(&request);
    for what in
        ["read_output {\"of\": \"<id>\"}", "task_0000000000 (40000)", "key0000 (version 1) = \"vvvv", "state_get", "From agent_coder_009"]
    {
        assert!(text.contains(what), "{what} is not in {text}");
    }
    assert!(desk.task.runs[&step("end")].mail_read < 400, "what is not shown waits to be read");
}

/// What is condensed is what was shown: the call that condenses offers no tool, and yet shows no more than the calls before.
#[test]
fn the_first_message_is_the_same_when_the_conversation_is_condensed() {
    let mut desk = outputs(1, 60_000, true);
    desk.seat(&step("end"));
    let (normal, compact) = (desk.request(&step("end"), Mode::Normal), desk.request(&step("end"), Mode::Compact));
    assert!(!normal.tools.is_empty() && compact.tools.is_empty());
    assert_eq!(compact.system, normal.system);
    assert_eq!(compact.messages[0].content[..2], normal.messages[0].content[..2]);
}

#[test]
fn the_planner_reads_of_peoples_own_types_and_of_no_short_way_past_voters() {
    let rule = Consensus { strategy: Strategy::Majority, threshold_milli: None, voters: 3, timeout_s: 300 };
    for (consensus, tools) in [(None, 2), (Some(rule), 1)] {
        let mut desk = Desk::new(spec(consensus));
        desk.seat(&Place::Plan);
        let request = desk.request(&Place::Plan, Mode::Normal);
        assert_eq!(request.tools.len(), tools);
        assert!(request.system.contains("\n- security-reviewer"), "{}", request.system);
        assert_eq!(request.system.contains("Others vote on the result"), consensus.is_some());
        assert_eq!(first_text(&request).contains("or answer if it is trivial"), consensus.is_none());
    }
}

#[test]
fn room_is_shared_so_that_short_texts_are_whole() {
    assert_eq!(most_each([10, 20, 30].into_iter(), 60), usize::MAX);
    assert_eq!(most_each([10, 200, 300].into_iter(), 110), 50);
    assert_eq!(most_each([100, 100].into_iter(), 0), 0);
    assert_eq!(most_each([].into_iter(), 0), usize::MAX);
}
