//! Carries out actions: the only place from which MAOS acts on the world. Called after the commit that asked for the action; every
//! outcome goes back to the worker as an input.
use crate::clock;
use crate::node::Node;
use crate::prompt::Prepared;
use crate::tools::{self, Nature, Output};
use crate::warm;
use crate::worker::Msg;
use maos_engine::Time;
use maos_engine::body::Body;
use maos_engine::ids::{AgentId, EffectId, Place, TaskId};
use maos_engine::input::Input;
use maos_engine::message::{CallError, FailureClass};
use maos_engine::spec::Attachment;
use maos_engine::taint::Taint;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a tool gets beyond its own time to end in order.
const TOOL_GRACE: Duration = Duration::from_secs(10);

/// What a model call needs.
pub(crate) struct ModelCall {
    pub(crate) task: TaskId,
    pub(crate) agent: AgentId,
    pub(crate) effect: EffectId,
    pub(crate) attempt: u32,
    pub(crate) not_before: Time,
    pub(crate) prepared: Option<Prepared>,
}

/// Makes one attempt of a model call and reports it.
pub(crate) async fn model(node: Arc<Node>, call: ModelCall, out: mpsc::Sender<Msg>) {
    clock::until(call.not_before).await;
    let in_flight = node.call();
    maos_store::crash::point("model.before_send");
    let msg = match attempt(&node, &call).await {
        Ok((reply, sent_at)) => {
            maos_store::crash::point("model.after_reply");
            replied(&node, &call, reply, sent_at)
        }
        Err(error) => {
            node.metrics.call_failed(error.class);
            tracing::warn!(component = "agents", task_id = %call.task, agent_id = %call.agent, effect = %call.effect, class = ?error.class, "model call failed: {}", error.message);
            Msg::input(Input::CallFailed { effect: call.effect, attempt: call.attempt, error, dice: clock::dice() })
        }
    };
    // A closed channel means that the worker has stopped: a late outcome is dropped, and the call counts as interrupted.
    let _ = out.send(msg).await;
    drop(in_flight);
}

async fn attempt(node: &Arc<Node>, call: &ModelCall) -> Result<(maos_engine::message::Reply, Time), CallError> {
    let prepared = call.prepared.as_ref().ok_or_else(|| CallError {
        class: FailureClass::Auth,
        message:
            "no model provider is configured: maos config set claude.api_key, or openai.base_url, or maos model pull qwen2.5-coder-1.5b"
                .into(),
        retry_after_ms: None,
        status: None,
        possibly_billed: false,
    })?;
    let ticket = node.prefixes.enter(prepared.chosen.provider, &prepared.request).await;
    let permit = prepared.chosen.gate.enter(maos_llm::Need::of(&prepared.request)).await?;
    let sent_at = clock::now();
    let sink = node.bus.sink(&call.task, &call.agent, &call.effect);
    let answer = prepared.chosen.model.call(&prepared.request, &warm::Noticing { to: &sink, ticket: &ticket }).await;
    if answer.is_ok() {
        ticket.warm();
    }
    permit.settle(&answer);
    answer.map(|a| (a.reply, sent_at))
}

fn replied(node: &Node, call: &ModelCall, reply: maos_engine::message::Reply, sent_at: Time) -> Msg {
    let prepared = call.prepared.as_ref().expect("a reply comes from a prepared call");
    let models = node.models();
    let price = models.as_ref().as_ref().and_then(|m| m.price(prepared.chosen.provider, &prepared.chosen.name, sent_at.0 / 1_000));
    let cost = price.map(|p| maos_engine::money::Money(p.cost(&reply.usage)));
    node.metrics.replied(&prepared.chosen.name, &reply.usage, cost, clock::now().since_ms(sent_at));
    let (body, blob) = Body::from_text(serde_json::to_string(&reply).expect("a reply is plain data"));
    let input = Input::Replied { effect: call.effect.clone(), attempt: call.attempt, reply: Box::new(reply), body, sent_at, cost };
    Msg::Input { input: Box::new(input), blob, agent: None }
}

/// What a tool call needs.
pub(crate) struct ToolCall {
    pub(crate) task: TaskId,
    /// Files of the task, shared by all its calls: there may be thousands.
    pub(crate) attachments: Arc<[Attachment]>,
    pub(crate) agent: AgentId,
    pub(crate) effect: EffectId,
    pub(crate) name: String,
    pub(crate) args: Option<serde_json::Value>,
}

/// Runs a tool and reports how it ended.
pub(crate) async fn tool(node: Arc<Node>, call: ToolCall, out: mpsc::Sender<Msg>) {
    let in_flight = node.call();
    maos_store::crash::point("tool.before_start");
    let (effect, agent) = (call.effect.clone(), call.agent.clone());
    let (output, taint) = match run(&node, call).await {
        Ok((output, nature)) => {
            let taint = nature.brings.and(output.brings);
            (output, taint)
        }
        Err(why) => (Output::error(why), Taint::NONE),
    };
    maos_store::crash::point("tool.after_end");
    node.used_memory(&agent, output.memory_peak_bytes);
    let is_error = output.is_error;
    let (result, blob) = Body::from_text(output.text);
    let input = Input::ToolDone { effect, result, is_error, taint };
    let _ = out.send(Msg::Input { input: Box::new(input), blob, agent: None }).await;
    drop(in_flight);
}

async fn run(node: &Arc<Node>, call: ToolCall) -> Result<(Output, Nature), String> {
    let tools = node.tools();
    let tool = Arc::clone(tools.get(&call.name).ok_or_else(|| format!("the tool '{}' does not exist any more", call.name))?);
    let args = call.args.ok_or_else(|| "the arguments of the call are lost".to_owned())?;
    let (task, attachments, files) = (call.task.clone(), call.attachments, Arc::clone(node));
    let opened = tokio::task::spawn_blocking(move || files.workspace(&task, &attachments)).await;
    let workspace = opened.map_err(|e| e.to_string())?.map_err(|e| format!("the task's files cannot be opened: {e}"))?;
    let (memory_bytes, timeout) = node.agent_limits(&call.agent);
    let nature = tool.nature();
    let wanted = tools::Call { task: call.task, effect: call.effect, agent: call.agent, args, workspace, memory_bytes, timeout };
    // Waiting for others is not the call's own time.
    let _turn = tool.turn(&wanted.agent).await;
    // The tool keeps its own limits; this one holds whatever a tool forgets. Dropping it ends what it started.
    match tokio::time::timeout(timeout + TOOL_GRACE, tool.run(wanted)).await {
        Ok(output) => Ok((output, nature)),
        Err(_) => Ok((Output::error(format!("stopped: it took longer than {} s", timeout.as_secs())), nature)),
    }
}

/// Wakes the task at its deadline.
pub(crate) async fn deadline(at: Time, place: Option<Place>, out: mpsc::Sender<Msg>) {
    clock::until(at).await;
    let input = place.map_or(Input::Deadline, |place| Input::StepDeadline { place });
    let _ = out.send(Msg::input(input)).await;
}
