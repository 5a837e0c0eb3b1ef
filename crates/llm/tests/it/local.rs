//! The local provider: found when it is first needed, and again when it has moved.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use maos_engine::message::{CallError, FailureClass};
use maos_llm::{Endpoint, LocalOptions, NoParts, Options, Provider, Resolved};
use serde_json::json;

use crate::support::{Server, chosen, openai_stream, patient, request};

struct Moving {
    at: Mutex<Result<Resolved, CallError>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Endpoint for Moving {
    async fn resolve(&self) -> Result<Resolved, CallError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.at.lock().expect("not poisoned").clone()
    }
}

#[tokio::test]
async fn it_is_found_when_needed() {
    let stream = openai_stream(&[json!({"choices": [{"index": 0, "delta": {"content": "here"}, "finish_reason": "stop"}]})]);
    let (one, two) = (Server::stream(&stream).await, Server::stream(&stream).await);
    let down = CallError {
        class: FailureClass::Unreachable,
        message: "local: the model is not installed; run `maos model pull`".into(),
        retry_after_ms: None,
        status: None,
        possibly_billed: false,
    };
    let endpoint = Arc::new(Moving { at: Mutex::new(Err(down.clone())), asked: AtomicUsize::new(0) });
    let local =
        LocalOptions { endpoint: endpoint.clone(), model: "qwen".into(), constrain: true, note: Some("a small local model".into()) };
    let (models, chosen) = chosen(Options { local: Some(local), timeouts: patient(), ..Options::default() });
    assert_eq!((models.default_provider(), &*chosen.name, chosen.model.provider()), (Provider::Local, "qwen", "local"));
    assert_eq!(chosen.model.describe().note.as_deref(), Some("a small local model"));
    assert_eq!(endpoint.asked.load(Ordering::SeqCst), 0, "nothing is started before it is needed");

    assert_eq!(chosen.model.call(&request(&chosen), &NoParts).await, Err(down));
    for (server, key) in [(&one, "k1"), (&two, "k2"), (&two, "k3")] {
        *endpoint.at.lock().expect("not poisoned") = Ok(Resolved { base_url: server.url(), key: Some(key.to_owned().into()) });
        assert_eq!(chosen.model.call(&request(&chosen), &NoParts).await.expect("an answer").reply.text(), "here");
        let last = server.received().pop().expect("a request");
        assert_eq!(last.header("authorization"), Some(format!("Bearer {key}").as_str()));
    }
    *endpoint.at.lock().expect("not poisoned") = Ok(Resolved { base_url: "not a url".into(), key: None });
    assert_eq!(chosen.model.call(&request(&chosen), &NoParts).await.expect_err("must fail").class, FailureClass::Fatal);
}
