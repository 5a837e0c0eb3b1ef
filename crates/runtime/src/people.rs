//! The use cases of people in the loop: what agents ask, and the answers.
use crate::Runtime;
use crate::bodies::Bodies;
use crate::error::{Result, RuntimeError};
use maos_engine::Time;
use maos_engine::event::{Answer, Ask};
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::input::Command;
use maos_engine::message::Block;
use maos_engine::task::Task;
use serde_json::Value;
use std::sync::Arc;

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a person is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its id: the tool call that waits.
    pub id: EffectId,
    /// Where.
    pub place: Place,
    /// Who asks.
    pub agent: Option<AgentId>,
    /// What.
    pub ask: Ask,
    /// The exact arguments of the call that waits for consent.
    pub arguments: Option<Value>,
    /// Since when.
    pub asked_at: Time,
}

impl Runtime {
    /// What people are asked by a task now.
    ///
    /// # Errors
    /// No such task.
    pub async fn questions(&self, id: &str) -> Result<Vec<Question>> {
        let task = self.view(id).await?;
        let mut out = vec![];
        for q in task.questions() {
            let arguments = match q.ask {
                Ask::Approval { .. } => self.arguments(&task, &q.effect).await?,
                Ask::Question { .. } => None,
            };
            let place = q.effect.place.clone();
            out.push(Question { id: q.effect, place, agent: q.agent.cloned(), ask: q.ask.clone(), arguments, asked_at: q.at });
        }
        Ok(out)
    }

    /// The arguments of a tool call, from the reply that asked for it.
    async fn arguments(&self, task: &Task, effect: &EffectId) -> Result<Option<Value>> {
        let paid = task.runs.get(&effect.place).and_then(|r| r.turn(effect.turn)?.paid.as_ref());
        let Some(paid) = paid else { return Ok(None) };
        let mut bodies = Bodies::default();
        bodies.load(&*self.node.store, std::iter::once(&paid.reply)).await?;
        let call = |b: Block| match b {
            Block::ToolUse { id, input, .. } if Some(&id) == effect.call.as_ref() => Some(input),
            _ => None,
        };
        Ok(bodies.reply(&paid.reply).and_then(|r| r.content.into_iter().find_map(call)))
    }

    /// Answers what an agent asked, or agrees to a call. Without `question` there must be just one that waits.
    ///
    /// # Errors
    /// No such task or question; several wait and none is named; an answer of the wrong kind.
    pub async fn answer(&self, id: &str, question: Option<&str>, answer: Answer) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        let open: Vec<(EffectId, bool)> = task.questions().map(|q| (q.effect.clone(), matches!(q.ask, Ask::Approval { .. }))).collect();
        let names = || open.iter().map(|(e, _)| e.to_string()).collect::<Vec<_>>().join(", ");
        let (effect, approval) = match question {
            Some(named) => open.iter().find(|(e, _)| e.to_string() == named).cloned().ok_or_else(|| {
                let known = named.parse::<EffectId>().ok().and_then(|e| answered(&task, &e));
                let why = match known {
                    Some(()) => "it was answered before".to_owned(),
                    None if open.is_empty() => "nothing waits for an answer".to_owned(),
                    None => format!("these wait: {}", names()),
                };
                RuntimeError::NoQuestion { task: task.id.clone(), question: named.to_owned(), why, answered: known.is_some() }
            })?,
            None => match open.as_slice() {
                [one] => one.clone(),
                [] => {
                    let why = "nothing waits for an answer".to_owned();
                    return Err(RuntimeError::NoQuestion { task: task.id.clone(), question: String::new(), why, answered: false });
                }
                _ => {
                    let why = format!("{} questions wait; say which: {}", open.len(), names());
                    return Err(RuntimeError::Invalid { field: "question", why });
                }
            },
        };
        let invalid = |field, why: String| Err(RuntimeError::Invalid { field, why });
        match (&answer, approval) {
            (Answer::Text { .. }, true) => return invalid("answer", "a tool call waits for consent: approve or deny it".into()),
            (Answer::Approve {}, false) => return invalid("approve", "a question waits for an answer in words".into()),
            (Answer::Text { text }, false) if text.trim().is_empty() || text.len() > ANSWER_BYTES_MAX => {
                return invalid("answer", format!("an answer has 1 to {ANSWER_BYTES_MAX} bytes"));
            }
            (Answer::Deny { reason: Some(reason) }, _) if reason.len() > ANSWER_BYTES_MAX => {
                return invalid("reason", format!("a reason has at most {ANSWER_BYTES_MAX} bytes"));
            }
            _ => {}
        }
        let waits = effect.clone();
        self.command(&task, Command::Answer { effect, answer }, move |t| !t.asked.contains(&waits)).await
    }
}

/// Whether this call was asked about and answered.
fn answered(task: &Task, effect: &EffectId) -> Option<()> {
    let call = task.runs.get(&effect.place)?.turn(effect.turn)?.calls.iter().find(|c| Some(&c.id) == effect.call.as_ref())?;
    (call.name == maos_engine::share::ASK_HUMAN || !matches!(call.state, maos_engine::task::CallState::Waiting { .. })).then_some(())
}
