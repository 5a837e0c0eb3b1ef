//! A web search that the provider makes by itself: the call and its result, as blocks of the Messages API, and how a changed one is noticed when it
//! comes back. What was found is sealed, as the real one encrypts it; here it stays readable, because nobody is to be kept from it.
use maos_engine::message::Request;
use serde_json::{Value, json};

use crate::reply::{drawn_id, signature_of};
use crate::template::{Template, Vars};
use crate::yaml::{FoundYaml, SearchYaml};

/// The compiled search of a reply.
#[derive(Debug)]
pub(crate) struct Search {
    query: Template,
    results: Vec<FoundYaml>,
}

impl From<SearchYaml> for Search {
    fn from(yaml: SearchYaml) -> Self {
        Self { query: yaml.query, results: yaml.results }
    }
}

impl Search {
    pub(crate) fn highest_group(&self) -> Option<usize> {
        self.query.highest_group()
    }

    /// What the text after it cites.
    pub(crate) fn citations(&self) -> Vec<Value> {
        let cite = |f: &FoundYaml| {
            let index = seal(&f.url, &f.title);
            json!({"type": "web_search_result_location", "url": f.url, "title": f.title, "cited_text": f.content, "encrypted_index": index})
        };
        self.results.iter().filter(|f| f.cited).map(cite).collect()
    }

    /// The call and the result.
    pub(crate) fn blocks(&self, vars: &Vars, seed: u64) -> [Value; 2] {
        let id = drawn_id("srvtoolu_", seed);
        let found = |f: &FoundYaml| {
            json!({
                "type": "web_search_result",
                "title": f.title,
                "url": f.url,
                "encrypted_content": format!("{}:{}", seal(&f.url, &f.content), f.content),
                "page_age": null,
            })
        };
        let results: Vec<Value> = self.results.iter().map(found).collect();
        [
            json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": self.query.render(vars)}}),
            json!({"type": "web_search_tool_result", "tool_use_id": id, "content": results}),
        ]
    }
}

fn seal(url: &str, content: &str) -> String {
    signature_of(&format!("{url}\n{content}"))
}

/// Whether a result that comes back is as it was given: every seal fits its address and content.
pub(crate) fn is_unchanged(block: &Value) -> bool {
    let whole = |item: &Value| {
        let sealed = item["encrypted_content"].as_str().and_then(|text| text.split_once(':'));
        sealed.is_some_and(|(given, content)| given == seal(item["url"].as_str().unwrap_or(""), content))
    };
    // An error of the search is an object.
    block["content"].as_array().is_none_or(|items| items.iter().all(whole))
}

/// Whether the provider's own web search is offered.
pub(crate) fn is_offered(request: &Request) -> bool {
    request.provider_tools.iter().any(|tool| tool["type"].as_str().is_some_and(|kind| kind.starts_with("web_search_")))
}
