//! The SSRF battery at the doors of tools: a URL given to `web_fetch`, a URL in a tool's file, and a URL as an argument of a tool.
use crate::web_server::call;
use crate::world::{HELPER, HELPER_PORT, enter, listeners::hex, vectors};
use maos_egress::{Egress, Policy};
use maos_tools::Tool;
use maos_tools::http_tool::{Surroundings, load};
use maos_tools::web::WebFetch;
use serde_json::json;
use std::collections::BTreeMap;

fn guarded() -> Egress {
    Egress::new(Policy { allow_private: vec![format!("{HELPER}:{HELPER_PORT}").parse().unwrap()], ..Policy::default() }).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

#[test]
fn web_fetch_reaches_nothing() {
    let Some(world) = enter("ssrf::web_fetch_reaches_nothing") else { return };
    let tool = WebFetch::new(guarded());
    let before = world.packets();
    block_on(async {
        for vector in vectors() {
            // Run without the check: the check is no border.
            let output = tool.run(call(&json!({"url": vector.url}))).await;
            assert!(output.is_error, "{:.100}: {}", vector.url, output.text);
            world.nothing_reached(before, &format!("{}: {:.100}", vector.family, vector.url));
        }
        let redirected = format!("http://{HELPER}:{HELPER_PORT}/to/302/{}", hex("http://169.254.169.254/latest/meta-data/"));
        assert!(tool.run(call(&json!({"url": redirected}))).await.is_error);
        world.nothing_reached(before, "a redirect");
        // The control: the public internet is reached.
        let output = tool.run(call(&json!({"url": "http://public.test/"}))).await;
        assert!(output.text.contains("reached 93.184.216.34:80") && output.brings.is_none(), "{}", output.text);
        let output = tool.run(call(&json!({"url": format!("http://{HELPER}:{HELPER_PORT}/")}))).await;
        assert!(output.brings.private, "what a private network says is the user's own data");
    });
    println!("web_fetch: {} vectors, 0 packets", vectors().len());
}

#[test]
fn the_address_in_a_file_reaches_nothing() {
    let Some(world) = enter("ssrf::the_address_in_a_file_reaches_nothing") else { return };
    let before = world.packets();
    let (mut refused_at_load, mut refused_when_run) = (0, 0);
    block_on(async {
        // A folder takes 200 files.
        for part in vectors().chunks(150) {
            let dir = tempfile::tempdir().unwrap();
            for (i, vector) in part.iter().enumerate() {
                let url: String = vector.url.chars().take(10_000).collect();
                let file = json!({"name": format!("t{i}"), "description": "d", "url": url, "parameters": {"type": "object"}});
                std::fs::write(dir.path().join(format!("t{i}.yml")), file.to_string()).unwrap();
            }
            let loaded = load(dir.path(), &BTreeMap::new(), &guarded(), &Surroundings::default());
            world.nothing_reached(before, "loading");
            for (i, vector) in part.iter().enumerate() {
                let Some(tool) = loaded.tools.iter().find(|t| t.spec().name == format!("t{i}")) else {
                    assert!(loaded.errors.iter().any(|e| e.file.ends_with(format!("t{i}.yml"))));
                    refused_at_load += 1;
                    continue;
                };
                assert!(!vector.as_text, "{:?} cannot be an address", vector.url);
                let output = tool.run(call(&json!({}))).await;
                assert!(output.is_error, "{:.100}: {}", vector.url, output.text);
                world.nothing_reached(before, &format!("{}: {:.100}", vector.family, vector.url));
                refused_when_run += 1;
            }
        }
    });
    assert!(refused_at_load > 100 && refused_when_run > 20, "{refused_at_load} {refused_when_run}");
    println!("address in a file: {refused_at_load} refused when loaded, {refused_when_run} when run, 0 packets");
}

#[test]
fn an_argument_never_leaves_its_place() {
    let Some(world) = enter("ssrf::an_argument_never_leaves_its_place") else { return };
    let before = world.packets();
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let text = json!({"type": "string"});
        let file = json!({
            "name": "t", "description": "d", "url": format!("http://{HELPER}:{HELPER_PORT}/x/{{a}}/y"), "query": {"q": "{b}"},
            "parameters": {"type": "object", "properties": {"a": text, "b": text}, "required": ["a", "b"]}
        });
        std::fs::write(dir.path().join("t.yml"), file.to_string()).unwrap();
        let loaded = load(dir.path(), &BTreeMap::new(), &guarded(), &Surroundings::default());
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        let tool = loaded.tools.iter().find(|t| t.spec().name == "t").unwrap();
        let mut arrived = 0;
        for vector in vectors() {
            world.visits();
            let output = tool.run(call(&json!({"a": vector.url, "b": vector.url}))).await;
            let visits = world.visits();
            assert!(
                visits.iter().all(|v| v.local.port() == HELPER_PORT && v.local.ip().to_string() == HELPER),
                "{:.100}: {visits:?}",
                vector.url
            );
            if !output.is_error {
                let said = visits[0].said.lock().unwrap().clone();
                let target = said.split(' ').nth(1).unwrap();
                assert!(target.starts_with("/x/") && target.contains("/y?q="), "{said}");
                let host: Vec<&str> = said.lines().filter(|l| l.to_ascii_lowercase().starts_with("host:")).collect();
                assert_eq!(host, [format!("host: {HELPER}:{HELPER_PORT}")], "no header was smuggled in");
                let asked = url::Url::parse(&format!("http://x{target}")).unwrap();
                assert_eq!(asked.query_pairs().next().unwrap().1, vector.url, "it arrived as it was");
                arrived += 1;
            }
        }
        assert!(arrived > 200, "{arrived}");
        world.nothing_reached(before, "arguments");
        println!("argument of a tool: {arrived} vectors arrived in their place, 0 packets elsewhere");
    });
}
