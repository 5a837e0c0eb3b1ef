//! A node on a temporary directory, with a scripted model.
use maos_engine::status::Status;
use maos_engine::task::Task;
use maos_llm::{ClaudeOptions, Options as LlmOptions, ScriptedOptions};
use maos_runtime::tools::Tool;
use maos_runtime::{Options, Runtime, Submit};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn options(dir: &Path, script: &str) -> Options {
    let path = dir.join("script.yml");
    std::fs::write(&path, script).unwrap();
    let mut options = Options::new(dir.join("data"));
    options.models = LlmOptions { scripted: Some(ScriptedOptions { path: Some(path), model: None }), ..LlmOptions::default() };
    options
}

/// A node whose models are at a scripted server that speaks the Messages API.
pub(crate) fn claude(dir: &Path, server: &maos_script::Running) -> Options {
    let mut options = Options::new(dir.join("data"));
    let claude = ClaudeOptions {
        api_key: "k".to_owned().into(),
        key_name: "K".into(),
        base_url: Some(server.url()),
        model: Some("m".into()),
        bearer: false,
    };
    options.models = LlmOptions { claude: Some(claude), ..LlmOptions::default() };
    options
}

pub(crate) async fn open(options: Options) -> Runtime {
    open_with(options, vec![]).await
}

/// The same with more tools.
pub(crate) async fn open_with(options: Options, tools: Vec<Arc<dyn Tool>>) -> Runtime {
    Runtime::open(options, "test", tools).await.unwrap()
}

pub(crate) fn work(description: &str) -> Submit {
    Submit { description: description.into(), ..Submit::default() }
}

/// Waits until the task is as asked, woken by hints.
pub(crate) async fn until(runtime: &Runtime, id: &str, done: impl Fn(&Task) -> bool) -> Arc<Task> {
    let mut hints = runtime.hints();
    loop {
        let task = runtime.view(id).await.unwrap();
        if done(&task) {
            return task;
        }
        let _ = hints.recv().await;
    }
}

pub(crate) async fn ended(runtime: &Runtime, id: &str) -> Arc<Task> {
    until(runtime, id, |t| t.status.is_terminal() || t.status == Status::Paused).await
}
