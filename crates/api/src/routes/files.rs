//! Files and people: upload, artifacts, questions and answers.
use crate::client::{Client, json};
use crate::error::{ClientError, classify};
use crate::files::{Artifact, Upload};
use crate::page::List;
use crate::people::{Answered, Question, TaskInput};
use futures_util::{Stream, StreamExt};
use reqwest::Method;

/// Slowest transfer of a file that is waited for, in bytes per millisecond (100 kB/s).
const TRANSFER_BYTES_PER_MS: u64 = 100;

impl Client {
    /// `POST /api/files`: uploads a file of `bytes` bytes. Sent once: content has no second effect, but a stream cannot be repeated.
    ///
    /// # Errors
    /// As [`ClientError`]; `file-too-large`, `storage-full`.
    pub async fn upload_file<S, B>(&self, content: S, bytes: u64) -> Result<Upload, ClientError>
    where
        S: Stream<Item = std::io::Result<B>> + Send + 'static,
        B: Into<Vec<u8>> + 'static,
    {
        let timeout_ms = self.options.request_timeout_ms + bytes / TRANSFER_BYTES_PER_MS;
        let body = reqwest::Body::wrap_stream(content.map(|chunk| chunk.map(Into::<Vec<u8>>::into)));
        let request = self.request(Method::POST, &["api", "files"], timeout_ms);
        let request = request.header("content-type", "application/octet-stream").header("content-length", bytes).body(body);
        let response = request.send().await.map_err(|e| classify(&e, self.base_url(), timeout_ms))?;
        let response = self.check(response, timeout_ms).await?;
        let text = response.bytes().await.map_err(|e| classify(&e, self.base_url(), timeout_ms))?;
        serde_json::from_slice(&text).map_err(|e| ClientError::Incompatible { url: self.base_url().into(), cause: e.to_string() })
    }

    /// `GET /api/tasks/{id}/artifacts`: the files a task made.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn artifacts(&self, id: &str) -> Result<List<Artifact>, ClientError> {
        self.get(&["api", "tasks", id, "artifacts"], Vec::new()).await
    }

    /// `GET /api/tasks/{id}/artifacts/{name}`: the content of one, as it comes. `bytes` is what its list says.
    ///
    /// # Errors
    /// As [`ClientError`]; `artifact-not-found`. An error in the stream means that the file is incomplete.
    pub async fn artifact(
        &self,
        id: &str,
        name: &str,
        bytes: u64,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + Send + 'static + use<>, ClientError> {
        let timeout_ms = self.options.request_timeout_ms + bytes / TRANSFER_BYTES_PER_MS;
        let path: Vec<&str> = ["api", "tasks", id, "artifacts"].into_iter().chain(name.split('/')).collect();
        let response = self.request(Method::GET, &path, timeout_ms).send().await;
        let response = self.check(response.map_err(|e| classify(&e, self.base_url(), timeout_ms))?, timeout_ms).await?;
        let url = self.base_url().to_owned();
        Ok(response.bytes_stream().map(move |chunk| chunk.map(|b| b.to_vec()).map_err(|e| classify(&e, &url, timeout_ms))))
    }

    /// `GET /api/tasks/{id}/questions`: what people are asked now.
    ///
    /// # Errors
    /// As [`ClientError`]; `task-not-found`.
    pub async fn questions(&self, id: &str) -> Result<List<Question>, ClientError> {
        self.get(&["api", "tasks", id, "questions"], Vec::new()).await
    }

    /// `POST /api/tasks/{id}/input`: answers.
    ///
    /// # Errors
    /// As [`ClientError`]; `question-not-found`, `question-answered`, `validation-failed`.
    pub async fn answer(&self, id: &str, input: &TaskInput, key: Option<&str>) -> Result<Answered, ClientError> {
        let path = ["api", "tasks", id, "input"];
        let (status, body) = self.send_for_status(&Self::posted(&path, Some(json(input)), key)).await?;
        Ok(Answered { task: self.decode(&body)?, applied: status != 202 })
    }

    fn request(&self, method: Method, path: &[&str], timeout_ms: u64) -> reqwest::RequestBuilder {
        let timeout = std::time::Duration::from_millis(timeout_ms);
        let request = self.http.request(method, self.url(path, &[])).timeout(timeout);
        match &self.options.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}
