//! The table of all routes: what each answers to a foreign Host, a foreign Origin, no key, and methods it does not have.
use maos_server::AuthOptions;
use sha2::{Digest, Sha256};

use crate::support::{send, start, start_with};

/// Every route, with the methods it takes. A route that is missing here fails the test.
const ROUTES: &[(&str, &str)] = &[
    ("/api/agent-types", "GET"),
    ("/api/agents", "GET POST"),
    ("/api/agents/{id}", "GET DELETE"),
    ("/api/agents/{id}/logs", "GET"),
    ("/api/agents/{id}/metrics", "GET"),
    ("/api/agents/{id}/pause", "POST"),
    ("/api/agents/{id}/restart", "POST"),
    ("/api/agents/{id}/resume", "POST"),
    ("/api/config", "GET"),
    ("/api/config/{key}", "GET PUT"),
    ("/api/events", "GET"),
    ("/api/files", "POST"),
    ("/api/health", "GET"),
    ("/api/health/{component}", "GET"),
    ("/api/logs", "GET"),
    ("/api/models", "GET"),
    ("/api/openapi.json", "GET"),
    ("/api/openapi.yaml", "GET"),
    ("/api/problems", "GET"),
    ("/api/problems/{slug}", "GET"),
    ("/api/status", "GET"),
    ("/api/tasks", "GET POST"),
    ("/api/tasks/{id}", "GET PATCH"),
    ("/api/tasks/{id}/agents", "GET"),
    ("/api/tasks/{id}/analysis", "GET"),
    ("/api/tasks/{id}/artifacts", "GET"),
    ("/api/tasks/{id}/artifacts/{name}", "GET"),
    ("/api/tasks/{id}/cancel", "POST"),
    ("/api/tasks/{id}/events", "GET"),
    ("/api/tasks/{id}/input", "POST"),
    ("/api/tasks/{id}/messages", "GET"),
    ("/api/tasks/{id}/output", "GET"),
    ("/api/tasks/{id}/pause", "POST"),
    ("/api/tasks/{id}/plan", "GET"),
    ("/api/tasks/{id}/questions", "GET"),
    ("/api/tasks/{id}/results", "GET"),
    ("/api/tasks/{id}/resume", "POST"),
    ("/api/tasks/{id}/retry", "POST"),
    ("/api/tasks/{id}/state", "GET"),
    ("/api/tasks/{id}/usage", "GET"),
    ("/api/version", "GET"),
    ("/livez", "GET"),
    ("/metrics", "GET"),
    ("/readyz", "GET"),
];

const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"];

fn concrete(path: &str) -> String {
    path.replace("{id}", "task_0000000000000000")
        .replace("{key}", "system.max_agents")
        .replace("{name}", "out/plot.csv")
        .replace("{component}", "database")
        .replace("{slug}", "internal")
}

#[test]
fn every_route_is_in_the_table() {
    let doc = serde_json::to_value(maos_server::openapi()).unwrap();
    let listed: Vec<(String, String)> = doc["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            (path.clone(), METHODS.iter().filter(|m| item.get(m.to_lowercase()).is_some()).copied().collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(listed, ROUTES.iter().map(|(p, m)| ((*p).to_owned(), (*m).to_owned())).collect::<Vec<_>>());
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_everywhere() {
    let server = start().await;
    let everywhere = ROUTES.iter().flat_map(|(p, methods)| methods.split(' ').map(move |m| (concrete(p), m)));
    for (path, method) in everywhere.chain([("/".to_owned(), "GET"), ("/nope".to_owned(), "POST"), ("/api/tasks".to_owned(), "OPTIONS")]) {
        for (name, value) in [
            ("host", "evil.test"),
            ("host", "localhost.evil.test:8000"),
            ("origin", "https://evil.test"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let reply = send(server.request(method, &path).header(name, value)).await;
            assert_eq!(
                (reply.status, reply.code()),
                (403, if method == "HEAD" { "" } else { "origin-not-allowed" }),
                "{method} {path} {name}: {value}"
            );
            assert_eq!(reply.header("access-control-allow-origin"), "");
        }
    }
}

#[tokio::test]
async fn without_or_with_a_wrong_key_only_the_probes_answer() {
    let key = "maos_sk_test";
    let server = start_with(AuthOptions { key_hashes: vec![Sha256::digest(key).into()] }).await;
    let id = server.fake.add(0);
    assert_eq!(id, "task_0000000000000000");
    for (path, methods) in ROUTES {
        for method in methods.split(' ') {
            let probe = matches!(*path, "/livez" | "/readyz");
            let path = concrete(path);
            for header in [
                None,
                Some(("authorization", "Bearer wrong")),
                Some(("authorization", "Bearer ")),
                Some(("authorization", "Basic bWFvcw==")),
                Some(("x-api-key", "wrong")),
                Some(("x-api-key", "")),
            ] {
                let request = server.request(method, &path);
                let reply = send(match header {
                    Some((n, v)) => request.header(n, v),
                    None => request,
                })
                .await;
                if probe {
                    assert_eq!(reply.status, 200, "{path}");
                } else {
                    assert_eq!(
                        (reply.status, reply.code(), reply.header("www-authenticate")),
                        (401, "unauthorized", "Bearer realm=\"maos\""),
                        "{method} {path}"
                    );
                }
            }
        }
    }
    for (n, v) in [("authorization", format!("Bearer {key}")), ("authorization", format!("bearer {key}")), ("x-api-key", key.to_owned())] {
        assert_eq!(send(server.request("GET", "/api/tasks").header(n, v)).await.status, 200);
    }
}

#[tokio::test]
async fn methods_that_are_not_there_answer_405_with_allow() {
    let server = start().await;
    server.fake.add(0);
    for (path, methods) in ROUTES {
        let path = concrete(path);
        for method in METHODS.iter().filter(|m| !methods.contains(**m)) {
            let reply = send(server.request(method, &path)).await;
            assert_eq!((reply.status, reply.code()), (405, "method-not-allowed"), "{method} {path}");
            for allowed in methods.split(' ') {
                assert!(reply.header("allow").contains(allowed), "{method} {path}: Allow: {}", reply.header("allow"));
            }
        }
        let options = send(server.request("OPTIONS", &path)).await;
        assert_eq!(options.status, 204, "{path}");
        assert!(options.header("allow").contains(methods.split(' ').next().unwrap()));
        if methods.contains("GET") && !path.ends_with("/events") {
            let (head, get) = (send(server.request("HEAD", &path)).await, server.get(&path).await);
            assert_eq!((head.status, head.header("content-type")), (get.status, get.header("content-type")), "HEAD {path}");
        }
    }
    assert_eq!(
        send(server.request("POST", "/api/tasks/task_0000000000000000").header("x-http-method-override", "PATCH")).await.status,
        405
    );
}

#[tokio::test]
async fn beyond_loopback_a_key_is_required() {
    use crate::fake::Fake;
    use maos_server::{LogBuffer, ServeError, ServeOptions, config::FixedConfig, serve};
    use std::sync::Arc;
    let view = maos_api::system::ConfigView { object: "config".into(), path: None, revision: "c".into(), entries: vec![] };
    let listen = async |options: ServeOptions| {
        serve(
            ServeOptions { api_port: 0, dashboard_port: 0, ..options },
            Arc::new(Fake::new()),
            Arc::new(FixedConfig(view.clone())),
            LogBuffer::default(),
        )
        .await
    };
    let open = ServeOptions { host: "0.0.0.0".into(), ..ServeOptions::default() };
    assert!(matches!(listen(open.clone()).await, Err(ServeError::NoAuth { .. })));
    assert!(matches!(listen(ServeOptions { host: "nope".into(), ..open.clone() }).await, Err(ServeError::BadHost { .. })));
    assert!(listen(ServeOptions { insecure_no_auth: true, ..open.clone() }).await.is_ok());
    assert!(listen(ServeOptions { auth: AuthOptions { key_hashes: vec![[0; 32]] }, ..open }).await.is_ok());
}

#[tokio::test]
async fn both_ports_serve_the_api_on_both_loopback_addresses_and_a_taken_port_is_named() {
    use maos_server::{LogBuffer, ServeError, ServeOptions, serve};
    let server = start().await;
    let addresses = [server.handle.api_addresses.clone(), server.handle.dashboard_addresses.clone()].concat();
    for address in &addresses {
        let reply = send(server.http.get(format!("http://{address}/api/version"))).await;
        assert_eq!((reply.status, reply.body["object"].as_str()), (200, Some("version")), "{address}");
    }
    let page = send(server.http.get(format!("http://{}/tasks", server.handle.dashboard_addresses[0])).header("accept", "text/html")).await;
    assert_eq!((page.status, page.header("content-type")), (503, "text/html; charset=utf-8"));
    assert!(page.body.as_str().unwrap().contains("/api/openapi.json"));
    assert_eq!(server.get("/").await.code(), "not-found");

    let taken = server.handle.api_addresses[0].port();
    let view = maos_api::system::ConfigView { object: "config".into(), path: None, revision: "c".into(), entries: vec![] };
    let options = ServeOptions { api_port: taken, dashboard_port: 0, ..ServeOptions::default() };
    let error = serve(options, server.fake.clone(), std::sync::Arc::new(maos_server::config::FixedConfig(view)), LogBuffer::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ServeError::PortInUse { port, key: "api.port", .. } if port == taken));
    assert_eq!(error.hint(), format!("maos start --api-port {}", taken + 1));
}
