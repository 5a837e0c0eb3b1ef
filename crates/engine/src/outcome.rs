//! What follows from a model's reply: a plan, an output, tool calls, or a failure. The model is not trusted: nothing it says is run
//! before it was checked, and what is wrong goes back to it in words it can act on.
use crate::body::Body;
use crate::decide::Ctx;
use crate::event::{AskedCall, CallOutcome, Event, TextRef};
use crate::ids::{AgentId, EffectId, Place, StepId};
use crate::message::{Block, Reply, StopReason};
use crate::money::Money;
use crate::plan::{ANSWER, Plan, PlanSource, SUBMIT_PLAN};
use crate::share::{GetArgs, ReadArgs, SHARED_RESULT_BYTES_MAX, STATE_KEY_BYTES_MAX, SendArgs, SetArgs, Written, is_shared_tool};
use crate::status::FailureCode;
use crate::task::{Task, Turn};
use crate::time::Time;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
            Block::Text { .. } | Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::ToolResult { .. } => continue,
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
        };
        self.emit(now, event, out);
        let place = &effect.place;
        match &reply.stop {
            StopReason::Refusal => {
                let said = reply.text();
                let text = if said.is_empty() { "the model refused".to_owned() } else { format!("the model refused: {}", cut(&said)) };
                self.give_up(now, place, FailureCode::Refused, text, out);
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
                Place::Step(_) | Place::Synthesis if calls.is_empty() => self.answered(now, effect, reply, out),
                Place::Step(_) | Place::Synthesis => self.tool_calls(now, effect, &calls, ctx, out),
            },
        }
    }

    fn settle(&mut self, now: Time, effect: &EffectId, call: &str, outcome: CallOutcome, text: String, out: &mut Vec<Event>) {
        let effect = EffectId::tool(effect.place.clone(), effect.turn, call);
        self.emit(now, Event::ToolSettled { effect, outcome, result: Body::Inline(text) }, out);
    }

    /// The output limit was reached. A cut tool call is never executed; a cut text is continued once.
    fn cut_off(&mut self, now: Time, effect: &EffectId, calls: &[Asked<'_>], out: &mut Vec<Event>) {
        for call in calls {
            self.settle(
                now,
                effect,
                call.id,
                CallOutcome::Invalid,
                "not executed: your reply was cut off by the output limit; make it shorter".into(),
                out,
            );
        }
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
            let text = format!("the model asked for tools in the last of {} turns instead of answering", ctx.limits.turns_max);
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
            if is_shared_tool(call.name) {
                let (outcome, text) = self.shared_tool(now, effect, call.name, args, ctx, out);
                self.settle(now, effect, call.id, outcome, text, out);
            } else if let Err(error) = ctx.tools.check(call.name, args) {
                self.settle(now, effect, call.id, CallOutcome::Invalid, format!("not executed: {error}"), out);
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
        self.emit(now, Event::StateSet { key: args.key, value: args.value, version: version + 1, by }, out);
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
        self.emit(now, Event::MessageSent { from, from_step: effect.place.clone(), to: args.to, body: args.body }, out);
        Ok("sent".into())
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
    let text = args.get("text").and_then(Value::as_str).map_or("", str::trim);
    if text.is_empty() { Err(format!("{ANSWER} needs a non-empty text")) } else { Ok(None) }
}

fn parse<T: DeserializeOwned>(args: &Value) -> Result<T, (CallOutcome, String)> {
    serde_json::from_value(args.clone()).map_err(|e| (CallOutcome::Invalid, format!("not executed: {e}")))
}

/// The beginning of a text, for an error.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}
