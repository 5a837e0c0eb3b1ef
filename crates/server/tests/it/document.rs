//! The OpenAPI document: checked in, complete, and true of what the server serves.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::start;

fn checked_in() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json")
}

fn document() -> Value {
    serde_json::to_value(maos_server::openapi()).unwrap()
}

/// To renew the file: `MAOS_WRITE_OPENAPI=1 cargo nextest run -p maos-server document`.
#[test]
fn the_checked_in_document_is_current() {
    let text = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
    if std::env::var_os("MAOS_WRITE_OPENAPI").is_some() {
        std::fs::write(checked_in(), &text).unwrap();
    }
    let stored = std::fs::read_to_string(checked_in()).unwrap();
    assert!(stored == text, "openapi.json is out of date; renew it with MAOS_WRITE_OPENAPI=1 cargo nextest run -p maos-server document");
}

fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(r)) = map.get("$ref") {
                out.insert(r.trim_start_matches("#/components/schemas/").to_owned());
            }
            map.values().for_each(|v| references(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn every_operation_is_complete_and_every_reference_leads_somewhere() {
    let doc = document();
    assert_eq!(doc["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in doc["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap_or_else(|| panic!("{place}: no operationId")).to_owned()),
                "{place}"
            );
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{place}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|s| s.starts_with('2')) && responses.contains_key("500"), "{place}");
            for (status, response) in responses.iter().filter(|(s, _)| s.starts_with(['4', '5'])) {
                assert!(response["content"]["application/problem+json"].is_object(), "{place} {status}");
            }
        }
    }
    let words = |name: &str| serde_json::from_value::<Vec<String>>(doc["components"]["schemas"][name]["enum"].clone()).unwrap();
    assert_eq!(words("TaskStatus"), maos_api::TaskStatus::WORDS);
    assert_eq!(words("EventType"), maos_api::EventType::WORDS);
    assert_eq!(words("ProblemCode"), maos_api::ProblemCode::WORDS);
    let mut used = BTreeSet::new();
    references(&doc, &mut used);
    let defined: BTreeSet<String> = doc["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used.difference(&defined).collect::<Vec<_>>(), Vec::<&String>::new(), "references to schemas that are not there");
}

#[tokio::test]
async fn the_server_serves_its_document_as_json_and_yaml() {
    let server = start().await;
    assert_eq!(server.get("/api/openapi.json").await.body, document());
    let yaml = server.get("/api/openapi.yaml").await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let read: Value = serde_saphyr::from_str(yaml.body.as_str().unwrap()).unwrap();
    assert_eq!(read["paths"]["/api/tasks"]["post"]["operationId"], "submit_task");
    assert_eq!(read["info"]["title"], "MAOS");
}
