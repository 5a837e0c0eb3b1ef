//! What follows from a model's reply: a plan, an output, tool calls, or a failure. The model is not trusted: nothing it says is run
//! before it was checked, and what is wrong goes back to it in words it can act on.
use crate::body::Body;
use crate::consensus::{CAST_VOTE, Choice, REASON_BYTES_MAX, Vote};
use crate::decide::{Checked, Ctx};
use crate::event::{Ask, AskedCall, CallOutcome, Event, TextRef};
use crate::ids::{AgentId, EffectId, Place, StepId};
use crate::message::{Block, Reply, StopReason};
use crate::money::Money;
use crate::plan::{ANSWER, Plan, PlanSource, SUBMIT_PLAN};
use crate::share::{
    ASK_HUMAN, AskArgs, GetArgs, QUESTION_BYTES_MAX, QUESTION_OPTIONS_MAX, ReadArgs, SHARED_RESULT_BYTES_MAX, STATE_KEY_BYTES_MAX,
    SendArgs, SetArgs, Written, is_shared_tool,
};
use crate::status::FailureCode;
use crate::taint::Taint;
use crate::task::{Task, Turn};
use crate::time::Time;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest part of a bad call that is quoted back, in characters.
const QUOTED_CHARS_MAX: usize = 200;
/// Most steps named in one error.
const STEPS_NAMED_MAX: usize = 64;

/// A tool call of a reply: parsed, or garbled.
struct Asked<'a> {
    id: &'a str,
    name: &'a str,
    args: Result<&'a Value, &'a str>,
}

fn asked(reply: &Reply) -> Vec<Asked<'_>> {
    let mut out: Vec<Asked<'_>> = vec![];
    for block in &reply.content {
        let call = match block {
            Block::ToolUse { id, name, input } => Asked { id, name, args: Ok(input) },
            Block::BadToolUse { id, name, error, .. } => Asked { id, name, args: Err(error) },
            Block::Text { .. }
            | Block::Thinking { .. }
            | Block::RedactedThinking { .. }
            | Block::ToolResult { .. }
            | Block::Provider { .. } => continue,
        };
        // A second call with the same id is answered by the first one's result.
        if !out.iter().any(|c| c.id == call.id) {
            out.push(call);
        }
    }
    out
}

/// FNV-1a over name and arguments.
fn signature(call: &Asked<'_>) -> u64 {
    let text = match call.args {
        Ok(args) => format!("{}\n{args}", call.name),
        Err(error) => format!("{}\n!{error}", call.name),
    };
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl Task {
    #[expect(clippy::too_many_arguments, reason = "the fields of one input")]
    pub(crate) fn replied(
        &mut self,
        now: Time,
        effect: &EffectId,
        reply: &Reply,
        body: Body,
        sent_at: Time,
        cost: Option<Money>,
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) {
        let calls = asked(reply);
        let event = Event::ModelReplied {
            effect: effect.clone(),
            reply: body,
            calls: calls.iter().map(|c| AskedCall { id: c.id.into(), name: c.name.into(), signature: signature(c) }).collect(),
            stop: reply.stop.clone(),
            usage: reply.usage,
            cost,
            sent_at,
            // Pages of strangers, read by the provider: known before any call of this reply is looked at.
            taint: if reply.has_provider_blocks() { Taint::UNTRUSTED } else { Taint::NONE },
        };
        self.emit(now, event, out);
        let place = &effect.place;
        if self.runs[place].turn(effect.turn).is_some_and(|t| t.compact) {
            return self.condensed(now, effect, &calls, reply, out);
        }
        match &reply.stop {
            StopReason::Refusal => {
                let said = reply.text();
                let text = if said.is_empty() { "the model refused".to_owned() } else { format!("the model refused: {}", cut(&said)) };
                self.give_up(now, place, FailureCode::Refused, text, out);
            }
            // The reply is paid; what it answered is condensed before the next turn. Its calls may be cut, and none was checked.
            StopReason::ContextExceeded if self.can_condense(place) => {
                self.refuse_all(now, effect, &calls, "not executed: the conversation has become longer than your window", out);
                self.condense(now, place, ctx, out);
            }
            StopReason::ContextExceeded => {
                self.give_up(now, place, FailureCode::ContextOverflow, "the conversation is longer than the model's window".into(), out)
            }
            StopReason::Unknown { raw } => {
                let text = format!(
                    "the model stopped for a reason MAOS does not know ('{}'); its reply is kept but not taken as an answer",
                    cut(raw)
                );
                self.give_up(now, place, FailureCode::UnknownStop, text, out);
            }
            StopReason::MaxTokens => self.cut_off(now, effect, &calls, out),
            // The provider wants the same conversation again: the next turn does that.
            StopReason::PauseTurn if calls.is_empty() => {}
            StopReason::PauseTurn | StopReason::EndTurn | StopReason::StopSequence | StopReason::ToolUse => match place {
                Place::Plan => self.plan_reply(now, effect, &calls, ctx, out),
                Place::Vote { round, seat } => self.vote_reply(now, effect, (*round, *seat), &calls, ctx, out),
                Place::Step(_) | Place::Synthesis | Place::Revision if calls.is_empty() => self.answered(now, effect, reply, out),
                Place::Step(_) | Place::Synthesis | Place::Revision => self.tool_calls(now, effect, &calls, ctx, out),
            },
        }
    }

    fn settle(&mut self, now: Time, effect: &EffectId, call: &str, outcome: CallOutcome, text: String, out: &mut Vec<Event>) {
        self.settle_with(now, effect, call, outcome, text, Taint::NONE, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn settle_with(
        &mut self,
        now: Time,
        effect: &EffectId,
        call: &str,
        outcome: CallOutcome,
        text: String,
        taint: Taint,
        out: &mut Vec<Event>,
    ) {
        let effect = EffectId::tool(effect.place.clone(), effect.turn, call);
        self.emit(now, Event::ToolSettled { effect, outcome, result: Body::Inline(text), taint }, out);
    }

    /// None of the calls of a reply is run.
    fn refuse_all(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], why: &str, out: &mut Vec<Event>) {
        for call in calls {
            self.settle(now, effect, call.id, CallOutcome::Invalid, why.to_owned(), out);
        }
    }

    /// The model condensed its conversation: from now on the summary stands for the turns before. Without one the step is given up,
    /// because the conversation cannot go on as it is.
    fn condensed(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], reply: &Reply, out: &mut Vec<Event>) {
        self.refuse_all(now, effect, calls, "not executed: no tool was offered", out);
        if reply.text().trim().is_empty() {
            let text = "the conversation is longer than the model's window, and the model did not condense it".into();
            return self.give_up(now, &effect.place, FailureCode::ContextOverflow, text, out);
        }
        self.emit(now, Event::Compacted { place: effect.place.clone(), turn: effect.turn }, out);
    }

    /// A vote, or what is wrong with it. One vote per voter and ballot: of several calls the first valid one counts.
    fn vote_reply(
        &mut self,
        now: Time,
        effect: &EffectId,
        (round, seat): (u8, u8),
        calls: &[Asked<'_>],
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) {
        let run = &self.runs[&effect.place];
        let voter = (self.agent_at(&effect.place), run.traits.record_milli.unwrap_or(1_000));
        let read = read_vote(calls, seat, voter);
        for (i, call) in calls.iter().enumerate() {
            let (outcome, text) = match &read {
                Ok((at, _)) if *at == i => (CallOutcome::Done, "counted".to_owned()),
                Ok(_) => (CallOutcome::Invalid, "not counted: one vote per voter".to_owned()),
                Err(reason) => (CallOutcome::Invalid, format!("not counted: {reason}")),
            };
            self.settle(now, effect, call.id, outcome, text, out);
        }
        match read {
            Ok((_, vote)) => {
                self.emit(now, Event::VoteCast { round, vote }, out);
                let output = TextRef { place: effect.place.clone(), from_turn: effect.turn, to_turn: effect.turn, answer: false };
                self.emit(now, Event::RunCompleted { place: effect.place.clone(), output }, out);
            }
            Err(reason) => {
                if self.runs[&effect.place].turns_now().len() > ctx.limits.repairs_max as usize {
                    self.give_up(now, &effect.place, FailureCode::ToolCallInvalid, format!("no valid vote: {reason}"), out);
                }
            }
        }
    }

    /// The output limit was reached. A cut tool call is never executed; a cut text is continued once.
    fn cut_off(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], out: &mut Vec<Event>) {
        self.refuse_all(now, effect, calls, "not executed: your reply was cut off by the output limit; make it shorter", out);
        let cut = self.runs[&effect.place]
            .turns_now()
            .iter()
            .rev()
            .take_while(|t| t.paid.as_ref().is_some_and(|p| p.stop == StopReason::MaxTokens))
            .count();
        if cut > 1 {
            self.give_up(
                now,
                &effect.place,
                FailureCode::OutputLimit,
                "the output limit cut the answer twice; raise agents.defaults.max_output_tokens".into(),
                out,
            );
        }
    }

    fn answered(&mut self, now: Time, effect: &EffectId, reply: &Reply, out: &mut Vec<Event>) {
        let turns = self.runs[&effect.place].turns_now();
        let continued = |t: &Turn| {
            t.calls.is_empty() && t.paid.as_ref().is_some_and(|p| matches!(p.stop, StopReason::MaxTokens | StopReason::PauseTurn))
        };
        let before = turns.iter().rev().skip(1).take_while(|t| continued(t)).count() as u32;
        if reply.text().trim().is_empty() && before == 0 {
            let empty = turns.iter().rev().take_while(|t| t.calls.is_empty()).count();
            if empty > 1 {
                self.give_up(now, &effect.place, FailureCode::EmptyAnswer, "the model gave an empty answer twice".into(), out);
            }
            return;
        }
        let output = TextRef { place: effect.place.clone(), from_turn: effect.turn - before, to_turn: effect.turn, answer: false };
        self.emit(now, Event::RunCompleted { place: effect.place.clone(), output }, out);
    }

    fn plan_reply(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], ctx: Ctx<'_>, out: &mut Vec<Event>) {
        let verdict = read_plan(self, calls, ctx);
        let told = match &verdict {
            Ok(_) => (CallOutcome::Done, "accepted".to_owned()),
            Err(reason) => (CallOutcome::Invalid, format!("refused: {reason}")),
        };
        for call in calls {
            self.settle(now, effect, call.id, told.0, told.1.clone(), out);
        }
        match verdict {
            Ok(Some(plan)) => self.emit(now, Event::PlanAccepted { plan: Box::new(plan), source: PlanSource::Model }, out),
            Ok(None) => {
                let result = TextRef { place: Place::Plan, from_turn: effect.turn, to_turn: effect.turn, answer: true };
                self.emit(now, Event::RunCompleted { place: Place::Plan, output: result.clone() }, out);
                self.emit(now, Event::Completed { result }, out);
            }
            Err(reason) => {
                self.emit(now, Event::PlanRejected { reason }, out);
                if self.runs[&Place::Plan].turns_now().len() >= ctx.limits.plan_rounds_max as usize {
                    let plan = Plan::single(&self.spec);
                    self.emit(now, Event::PlanAccepted { plan: Box::new(plan), source: PlanSource::Fallback }, out);
                }
            }
        }
    }

    fn tool_calls(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], ctx: Ctx<'_>, out: &mut Vec<Event>) {
        let run = &self.runs[&effect.place];
        if run.turns.last().is_some_and(|t| t.last) {
            let most = run.traits.max_turns.unwrap_or(ctx.limits.turns_max);
            let text = format!("the model asked for tools in the last of {most} turns instead of answering");
            return self.give_up(now, &effect.place, FailureCode::TurnLimit, text, out);
        }
        if run.repeats() >= ctx.limits.repeat_stop {
            let text = format!("the model made the same tool call {} times in a row", ctx.limits.repeat_stop);
            return self.give_up(now, &effect.place, FailureCode::Loop, text, out);
        }
        for (i, call) in calls.iter().enumerate() {
            if i >= ctx.limits.calls_per_turn_max as usize {
                let text = format!("not executed: more than {} calls in one turn", ctx.limits.calls_per_turn_max);
                self.settle(now, effect, call.id, CallOutcome::Invalid, text, out);
                continue;
            }
            let args = match call.args {
                Ok(args) => args,
                Err(error) => {
                    self.settle(
                        now,
                        effect,
                        call.id,
                        CallOutcome::Invalid,
                        format!("not executed: the arguments are not JSON ({error})"),
                        out,
                    );
                    continue;
                }
            };
            if call.name == ASK_HUMAN && ctx.tools.may_ask_person(&self.runs[&effect.place].kind) {
                self.ask_human(now, effect, call.id, args, out);
            } else if is_shared_tool(call.name) {
                let (outcome, text) = self.shared_tool(now, effect, call.name, args, ctx, out);
                let taint = self.shared_taint(call.name, args, outcome);
                self.settle_with(now, effect, call.id, outcome, text, taint, out);
            } else {
                match ctx.tools.check(&self.runs[&effect.place].kind, call.name, args) {
                    Ok(checked) => self.gate(now, effect, call, args, checked, ctx, out),
                    Err(error) => self.settle(now, effect, call.id, CallOutcome::Invalid, format!("not executed: {error}"), out),
                }
            }
        }
        let wrong = self.runs[&effect.place].turns_now().iter().rev().take_while(|t| t.all_invalid()).count();
        if wrong > ctx.limits.repairs_max as usize {
            self.give_up(
                now,
                &effect.place,
                FailureCode::ToolCallInvalid,
                format!("the model's tool calls were invalid {wrong} turns in a row"),
                out,
            );
        }
    }

    /// A person is asked before a call that the operator wants to see, and before one that would carry private data out of this machine
    /// on the word of strangers. Decided on what the agent had seen when it asked: results of the same turn came after.
    #[expect(clippy::too_many_arguments, reason = "the facts of one call")]
    fn gate(&mut self, now: Time, effect: &EffectId, call: &Asked<'_>, args: &Value, checked: Checked, ctx: Ctx<'_>, out: &mut Vec<Event>) {
        let seen = self.runs[&effect.place].taint;
        let sends = match &checked.address {
            Some(_) => "reads an address that nobody gave it, which could carry data out",
            None => "sends data out",
        };
        let found = |address: &String| ctx.quotes.found(self, &effect.place, call.name, address);
        let leak = checked.to.is_some() && !checked.allowed && seen.is_both() && !checked.address.as_ref().is_some_and(found);
        let why = checked.ask.or_else(|| {
            leak.then(|| format!("the agent has seen private data and text that strangers may have written, and this call {sends}"))
        });
        let Some(why) = why else { return };
        let arguments = crate::body::hex(&Sha256::digest(args.to_string().as_bytes()));
        let ask = Ask::Approval { tool: call.name.to_owned(), to: checked.to, why, arguments };
        self.emit(now, Event::HumanAsked { effect: EffectId::tool(effect.place.clone(), effect.turn, call.id), ask }, out);
    }

    fn ask_human(&mut self, now: Time, effect: &EffectId, call: &str, args: &Value, out: &mut Vec<Event>) {
        let asked = parse::<AskArgs>(args).and_then(|a| {
            let size = a.question.len() + a.options.iter().map(String::len).sum::<usize>();
            if a.question.trim().is_empty() || size > QUESTION_BYTES_MAX || a.options.len() > QUESTION_OPTIONS_MAX {
                let text = format!("not asked: a question has 1 to {QUESTION_BYTES_MAX} bytes and at most {QUESTION_OPTIONS_MAX} options");
                return Err((CallOutcome::Invalid, text));
            }
            Ok(Ask::Question { text: a.question, options: a.options })
        });
        match asked {
            Ok(ask) => {
                self.emit(now, Event::HumanAsked { effect: EffectId::tool(effect.place.clone(), effect.turn, call), ask }, out);
            }
            Err((outcome, text)) => self.settle(now, effect, call, outcome, text, out),
        }
    }

    /// What a look at the shared state brings: what its writers had seen. A write that came too late is told the value that stands there,
    /// which is a look too. Messages bring theirs when they are read.
    fn shared_taint(&self, tool: &str, args: &Value, outcome: CallOutcome) -> Taint {
        let marks = |t: Taint, w: &Written| t.and(w.taint);
        match tool {
            "state_get" => self.share.state.values().flatten().fold(Taint::NONE, marks),
            "state_set" if outcome == CallOutcome::Failed => {
                let key = args.get("key").and_then(Value::as_str).unwrap_or("");
                self.share.state.get(key).into_iter().flatten().fold(Taint::NONE, marks)
            }
            _ => Taint::NONE,
        }
    }

    /// The tools by which agents share state and messages, decided at once.
    fn shared_tool(
        &mut self,
        now: Time,
        effect: &EffectId,
        name: &str,
        args: &Value,
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) -> (CallOutcome, String) {
        let done = match name {
            "state_set" => parse(args).and_then(|a| self.state_set(now, effect, a, ctx, out)),
            "state_get" => parse(args).map(|a: GetArgs| self.state_get(a.key.as_deref())),
            "send_message" => parse(args).and_then(|a| self.send_message(now, effect, a, ctx, out)),
            _ => parse(args).map(|_: ReadArgs| self.read_messages(now, effect, out)),
        };
        match done {
            Ok(text) => (CallOutcome::Done, text),
            Err((outcome, text)) => (outcome, text),
        }
    }

    fn state_set(
        &mut self,
        now: Time,
        effect: &EffectId,
        args: SetArgs,
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) -> Result<String, (CallOutcome, String)> {
        let invalid = |text: String| Err((CallOutcome::Invalid, text));
        let most = ctx.limits.state_value_bytes_max as usize;
        if args.key.is_empty() || args.key.len() > STATE_KEY_BYTES_MAX {
            return invalid(format!("not written: a key has 1 to {STATE_KEY_BYTES_MAX} bytes"));
        }
        if args.value.to_string().len() > most {
            return invalid(format!("not written: the value is larger than {most} bytes"));
        }
        let writes = self.share.state.get(&args.key);
        if writes.is_none() && self.share.state.len() >= ctx.limits.state_keys_max as usize {
            return invalid(format!("not written: the shared state has {} keys, which is the most", ctx.limits.state_keys_max));
        }
        let version = writes.map_or(0, Vec::len) as u32;
        if let Some(expected) = args.expected_version.filter(|e| *e != version) {
            let current = writes.and_then(|w| w.last()).map_or(Value::Null, |w| w.value.clone());
            return Err((
                CallOutcome::Failed,
                json!({"conflict": true, "expected_version": expected, "version": version, "value": current}).to_string(),
            ));
        }
        let by = self.agent_at(&effect.place);
        let taint = self.runs[&effect.place].taint;
        self.emit(now, Event::StateSet { key: args.key, value: args.value, version: version + 1, by, taint }, out);
        Ok(json!({"version": version + 1}).to_string())
    }

    fn state_get(&self, key: Option<&str>) -> String {
        let entry = |writes: &Vec<Written>| {
            let value = writes.last().map_or(&Value::Null, |w| &w.value);
            json!({"version": writes.len(), "value": value})
        };
        if let Some(key) = key {
            return entry(self.share.state.get(key).unwrap_or(&vec![])).to_string();
        }
        let mut bytes = 0;
        let mut out = serde_json::Map::new();
        for (key, writes) in &self.share.state {
            let full = entry(writes);
            let size = full.to_string().len();
            if bytes + size <= SHARED_RESULT_BYTES_MAX {
                bytes += size;
                out.insert(key.clone(), full);
            } else {
                let left_out = json!({"version": writes.len(), "left_out": "ask for this key"});
                out.insert(key.clone(), left_out);
            }
        }
        Value::Object(out).to_string()
    }

    fn send_message(
        &mut self,
        now: Time,
        effect: &EffectId,
        args: SendArgs,
        ctx: Ctx<'_>,
        out: &mut Vec<Event>,
    ) -> Result<String, (CallOutcome, String)> {
        let most = ctx.limits.message_bytes_max as usize;
        if args.body.len() > most || self.share.mail.len() >= ctx.limits.messages_max as usize {
            return Err((
                CallOutcome::Invalid,
                format!("not sent: a message has at most {most} bytes, and a task at most {} messages", ctx.limits.messages_max),
            ));
        }
        let to_step = StepId::new(args.to.as_str()).is_ok_and(|id| self.runs.contains_key(&Place::Step(id)));
        let to_agent = || AgentId::new(args.to.as_str()).is_ok_and(|id| self.runs.values().any(|r| r.agent.as_ref() == Some(&id)));
        if args.to != "all" && !to_step && !to_agent() {
            let steps: Vec<&str> = self.plan.iter().flat_map(|p| &p.steps).map(|s| s.id.as_str()).take(STEPS_NAMED_MAX).collect();
            return Err((
                CallOutcome::Invalid,
                format!("not sent: nobody is called '{}'. Use all, an agent's id, or a step: {}", cut(&args.to), steps.join(", ")),
            ));
        }
        let from = self.agent_at(&effect.place);
        let taint = self.runs[&effect.place].taint;
        let to_place = AgentId::new(args.to.as_str()).ok().and_then(|to| self.desk_of(&to, &effect.place));
        self.emit(now, Event::MessageSent { from, from_step: effect.place.clone(), to: args.to, to_place, body: args.body, taint }, out);
        Ok("sent".into())
    }

    /// Where a message to an agent is meant to go: the place from which it last wrote to the sender, else where it works, else the place it
    /// had last; of those that are not over.
    fn desk_of(&self, agent: &AgentId, sender: &Place) -> Option<Place> {
        let wrote = self.share.mail.iter().rev().filter(|m| m.from == *agent && m.reaches(sender, self.runs[sender].agent.as_ref()));
        let has = |p: &&Place| self.runs[*p].agent.as_ref() == Some(agent);
        let works = self.running.iter().filter(has);
        let had = self.runs.keys().filter(has);
        let live = |p: &&Place| self.runs.get(*p).is_some_and(|r| !r.status.is_over());
        wrote.map(|m| &m.from_step).chain(works).chain(had).find(live).cloned()
    }

    fn read_messages(&mut self, now: Time, effect: &EffectId, out: &mut Vec<Event>) -> String {
        let run = &self.runs[&effect.place];
        let (mut upto, mut bytes) = (run.mail_read, 0);
        let mut unread: Vec<Value> = vec![];
        for mail in self.share.mail.iter().skip(run.mail_read as usize) {
            if mail.reaches(&effect.place, run.agent.as_ref()) {
                bytes += mail.body.len();
                if bytes > SHARED_RESULT_BYTES_MAX {
                    unread.push(json!("more messages wait: call read_messages again"));
                    break;
                }
                unread.push(json!({"from": mail.from, "from_step": mail.from_step.to_string(), "body": mail.body}));
            }
            upto += 1;
        }
        if upto > run.mail_read {
            self.emit(now, Event::MailRead { place: effect.place.clone(), upto }, out);
        }
        Value::Array(unread).to_string()
    }

    fn agent_at(&self, place: &Place) -> AgentId {
        self.runs[place].agent.clone().expect("a place that got a reply has an agent")
    }
}

/// The plan, `None` for an immediate answer, or what is wrong.
fn read_plan(task: &Task, calls: &[Asked<'_>], ctx: Ctx<'_>) -> Result<Option<Plan>, String> {
    let must = format!("call exactly one of the tools {SUBMIT_PLAN} and {ANSWER}");
    let call = calls.iter().find(|c| c.name == SUBMIT_PLAN || c.name == ANSWER).ok_or_else(|| format!("you called neither; {must}"))?;
    let args = call.args.map_err(|e| format!("the arguments are not JSON ({e})"))?;
    if call.name == SUBMIT_PLAN {
        return Plan::check(args, &task.spec, ctx.limits).map(Some);
    }
    if task.spec.consensus.is_some() {
        return Err(format!("the result of this task is voted on: call {SUBMIT_PLAN}, with one step if it is trivial"));
    }
    let text = args.get("text").and_then(Value::as_str).map_or("", str::trim);
    if text.is_empty() { Err(format!("{ANSWER} needs a non-empty text")) } else { Ok(None) }
}

/// Arguments of `cast_vote`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoteArgs {
    vote: Choice,
    confidence: f64,
    reason: String,
}

/// The first valid vote among the calls and its position, or what is wrong.
fn read_vote(calls: &[Asked<'_>], seat: u8, (agent, record_milli): (AgentId, u32)) -> Result<(usize, Vote), String> {
    let mut wrong = format!("you did not call {CAST_VOTE}; call it once");
    for (i, call) in calls.iter().enumerate().filter(|(_, c)| c.name == CAST_VOTE) {
        let args = call.args.map_err(|e| format!("the arguments are not JSON ({e})"));
        let read = args.and_then(|a| serde_json::from_value::<VoteArgs>(a.clone()).map_err(|e| e.to_string()));
        match read {
            Ok(a) if !(0.0..=1.0).contains(&a.confidence) => wrong = format!("confidence is {}; it lies between 0 and 1", a.confidence),
            Ok(a) if a.reason.trim().is_empty() || a.reason.len() > REASON_BYTES_MAX => {
                wrong = format!("reason must have 1 to {REASON_BYTES_MAX} bytes");
            }
            Ok(a) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
                let confidence_milli = (a.confidence * 1_000.0).round() as u32;
                return Ok((i, Vote { agent, seat, vote: a.vote, confidence_milli, reason: a.reason, record_milli }));
            }
            Err(error) => wrong = error,
        }
    }
    Err(wrong)
}

fn parse<T: DeserializeOwned>(args: &Value) -> Result<T, (CallOutcome, String)> {
    serde_json::from_value(args.clone()).map_err(|e| (CallOutcome::Invalid, format!("not executed: {e}")))
}

/// The beginning of a text, for an error.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}
