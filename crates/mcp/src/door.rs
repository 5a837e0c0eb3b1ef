//! What the tools need of MAOS: a few calls of the API. Implemented here over the client; the server implements it over its back-end.
use async_trait::async_trait;
use maos_api::page::List;
use maos_api::people::{Answered, Question, TaskInput};
use maos_api::query::TaskQuery;
use maos_api::tasks::{Results, Task, TaskSubmit};
use maos_api::{Client, ClientError, Problem};

/// Why something was not done, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What went wrong.
    pub text: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl From<&Problem> for Refusal {
    fn from(problem: &Problem) -> Self {
        let others: Vec<&str> = problem.errors.iter().skip(1).map(|e| e.detail.as_str()).collect();
        let more = if others.is_empty() { String::new() } else { format!(" Also: {}.", others.join("; ")) };
        Self { text: format!("{}{more}", problem.detail), hint: problem.hint.clone() }
    }
}

impl From<Box<Problem>> for Refusal {
    fn from(problem: Box<Problem>) -> Self {
        Self::from(&*problem)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error.problem() {
            Some(problem) => Self::from(problem),
            None => Self { text: format!("{error}."), hint: error.hint() },
        }
    }
}

/// The calls behind the tools.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// Makes a task; durable when answered.
    async fn submit(&self, task: TaskSubmit) -> Result<Task, Refusal>;
    /// One task.
    async fn task(&self, id: &str) -> Result<Task, Refusal>;
    /// The first page of the tasks that match.
    async fn list(&self, query: &TaskQuery) -> Result<List<Task>, Refusal>;
    /// The task when it has ended, or as it is after `wait_ms`.
    async fn wait(&self, id: &str, wait_ms: u64) -> Result<Task, Refusal>;
    /// Result, or what there is of it.
    async fn results(&self, id: &str) -> Result<Results, Refusal>;
    /// Stops a task for good.
    async fn cancel(&self, id: &str) -> Result<Task, Refusal>;
    /// What people are asked by a task now.
    async fn questions(&self, id: &str) -> Result<Vec<Question>, Refusal>;
    /// Answers a question in words. There is no way to consent to a tool call here: that is a person's to do.
    async fn answer(&self, id: &str, question: &str, text: String) -> Result<Answered, Refusal>;
    /// Keeps a file that a task is to be given; its id.
    async fn upload(&self, content: Vec<u8>) -> Result<String, Refusal>;
}

#[async_trait]
impl Door for Client {
    async fn submit(&self, task: TaskSubmit) -> Result<Task, Refusal> {
        Ok(self.submit_task(&task, None).await?)
    }
    async fn task(&self, id: &str) -> Result<Task, Refusal> {
        Ok(Client::task(self, id).await?)
    }
    async fn list(&self, query: &TaskQuery) -> Result<List<Task>, Refusal> {
        Ok(self.tasks(query).await?)
    }
    async fn wait(&self, id: &str, wait_ms: u64) -> Result<Task, Refusal> {
        Ok(self.task_wait(id, wait_ms).await?)
    }
    async fn results(&self, id: &str) -> Result<Results, Refusal> {
        Ok(Client::results(self, id, None).await?)
    }
    async fn cancel(&self, id: &str) -> Result<Task, Refusal> {
        Ok(self.cancel_task(id).await?)
    }
    async fn questions(&self, id: &str) -> Result<Vec<Question>, Refusal> {
        Ok(Client::questions(self, id).await?.data)
    }
    async fn answer(&self, id: &str, question: &str, text: String) -> Result<Answered, Refusal> {
        let input = TaskInput { question: Some(question.to_owned()), answer: Some(text), ..TaskInput::default() };
        Ok(Client::answer(self, id, &input, None).await?)
    }
    async fn upload(&self, content: Vec<u8>) -> Result<String, Refusal> {
        let bytes = content.len() as u64;
        let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(content)]);
        Ok(self.upload_file(whole, bytes).await?.file_id)
    }
}
