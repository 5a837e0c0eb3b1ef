//! The use cases of people in the loop: what agents ask, and the answers.
use crate::Runtime;
use crate::bodies::Bodies;
use crate::error::{Result, RuntimeError};
use crate::views::event_of;
use maos_engine::Time;
use maos_engine::event::{Answer, Ask, Event};
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::input::Command;
use maos_engine::message::Block;
use maos_engine::task::Task;
use maos_store::PAGE_ROWS_MAX;
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

/// What became of an answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The task.
    pub task: Arc<Task>,
    /// The answer is in the journal. If not, it is kept and counts once the task is taken up, unless another one comes first.
    pub applied: bool,
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

    /// Answers what an agent asked, or agrees to a call. Without `question` there must be just one that waits; consent must name its call,
    /// since another one may wait by the time it arrives.
    ///
    /// # Errors
    /// No such task or question; several wait and none is named; consent to a call that is not named; an answer of the wrong kind; somebody
    /// else's answer came first.
    pub async fn answer(&self, id: &str, question: Option<&str>, answer: Answer) -> Result<Answered> {
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
            (Answer::Approve {}, true) if question.is_none() => {
                return invalid("question", format!("consent is for one call: name it ({effect})"));
            }
            (Answer::Approve {}, false) => return invalid("approve", "a question waits for an answer in words".into()),
            (Answer::Text { text }, false) if text.trim().is_empty() || text.len() > ANSWER_BYTES_MAX => {
                return invalid("answer", format!("an answer has 1 to {ANSWER_BYTES_MAX} bytes"));
            }
            (Answer::Deny { reason: Some(reason) }, _) if reason.len() > ANSWER_BYTES_MAX => {
                return invalid("reason", format!("a reason has at most {ANSWER_BYTES_MAX} bytes"));
            }
            _ => {}
        }
        let command = Command::Answer { effect: effect.clone(), answer: answer.clone() };
        let now = self.command(&task, command, |t| !t.asked.contains(&effect)).await?;
        // Of answers that were given at the same time one counts: which one, the journal says.
        match self.recorded_answer(&task, &effect).await? {
            Some(recorded) if recorded == answer => Ok(Answered { task: now, applied: true }),
            None if now.asked.contains(&effect) => Ok(Answered { task: now, applied: false }),
            recorded => {
                let why = if recorded.is_some() { "somebody else's answer came first" } else { "it no longer waits" };
                let question = effect.to_string();
                Err(RuntimeError::NoQuestion { task: task.id.clone(), question, why: why.to_owned(), answered: recorded.is_some() })
            }
        }
    }

    /// The first answer to a question behind this state of the task.
    async fn recorded_answer(&self, task: &Task, effect: &EffectId) -> Result<Option<Answer>> {
        let mut after = task.seq;
        loop {
            let rows = self.node.store.read(task.id.as_str(), after, PAGE_ROWS_MAX).await?;
            for row in rows.iter().filter(|row| row.kind == ANSWERED) {
                if let Event::HumanAnswered { effect: of, answer } = event_of(row)?
                    && of == *effect
                {
                    return Ok(Some(answer));
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE_ROWS_MAX as usize => after = last.seq,
                _ => return Ok(None),
            }
        }
    }
}

/// Kind of the journal's entry of an answer.
const ANSWERED: &str = "human_answered";

/// Whether this call was asked about and answered.
fn answered(task: &Task, effect: &EffectId) -> Option<()> {
    let call = task.runs.get(&effect.place)?.turn(effect.turn)?.calls.iter().find(|c| Some(&c.id) == effect.call.as_ref())?;
    (call.name == maos_engine::share::ASK_HUMAN || !matches!(call.state, maos_engine::task::CallState::Waiting { .. })).then_some(())
}
