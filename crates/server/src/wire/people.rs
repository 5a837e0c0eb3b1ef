//! Questions of agents and answers of people, over the runtime.
use async_trait::async_trait;
use maos_api::people::{Answered, Question, QuestionKind};
use maos_engine::event::{Answer as Given, Ask};

use super::problems::problem;
use super::{Wire, convert};
use crate::backend::{Answer, People, Reply};

#[async_trait]
impl People for Wire {
    async fn questions(&self, task: &str) -> Reply<Vec<Question>> {
        let open = self.runtime.questions(task).await.map_err(problem)?;
        Ok(open.into_iter().map(|q| question(task, q)).collect())
    }

    async fn answer(&self, task: &str, question: Option<&str>, answer: Answer) -> Reply<Answered> {
        let answer = match answer {
            Answer::Text(text) => Given::Text { text },
            Answer::Approve => Given::Approve {},
            Answer::Deny { reason } => Given::Deny { reason },
        };
        let answered = self.runtime.answer(task, question, answer).await.map_err(problem)?;
        Ok(Answered { task: self.task(&answered.task), applied: answered.applied })
    }
}

fn question(task: &str, q: maos_runtime::Question) -> Question {
    let (kind, text, options, tool, to) = match q.ask {
        Ask::Question { text, options } => (QuestionKind::Ask, text, options, None, None),
        Ask::Approval { tool, to, why, .. } => (QuestionKind::Approval, why, vec![], Some(tool), to),
    };
    Question {
        object: "question".into(),
        question_id: q.id.to_string(),
        task_id: task.to_owned(),
        step_id: q.place.step().map(ToString::to_string),
        agent_id: q.agent.map(|a| a.to_string()),
        kind,
        text,
        options,
        tool,
        arguments: q.arguments,
        to,
        asked_at: convert::time(q.asked_at),
        expires_at: None,
    }
}
