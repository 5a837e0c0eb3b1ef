//! Declarative HTTP tools: the built-in ones against servers that answer like the real ones, writing, secrets, files that are wrong.
use crate::web_server::{Answer, Asked, TASK, WebServer, bad, good, is_safe};
use maos_egress::{Egress, Policy};
use maos_engine::event::Repeat;
use maos_engine::taint::Taint;
use maos_tools::http_tool::{Loaded, Surroundings, load};
use maos_tools::{Approval, Outward, Tool};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const SECRET: &str = "CANARY-1a2b3c4d";

fn load_files(files: &[(&str, &str)], secrets: &[(&str, &str)], egress: &Egress) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let secrets: BTreeMap<String, SecretString> = secrets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned().into())).collect();
    load(dir.path(), &secrets, egress, &Surroundings::default())
}

fn tool(loaded: &Loaded, name: &str) -> Arc<dyn Tool> {
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    let found = loaded.tools.iter().find(|t| t.spec().name == name);
    Arc::clone(found.unwrap_or_else(|| panic!("{name} is offered; not: {:?}", loaded.not_offered)))
}

/// A built-in definition with another address.
fn elsewhere(text: &str, original: &str, server: &WebServer) -> String {
    assert!(text.contains(original));
    text.replace(original, &server.url(""))
}

#[test]
fn the_built_in_tools_are_offered_without_a_folder() {
    let loaded = load(
        std::path::Path::new("/nonexistent/tools"),
        &BTreeMap::new(),
        &Egress::new(Policy::default()).unwrap(),
        &Surroundings::default(),
    );
    let names: Vec<String> = loaded.tools.iter().map(|t| t.spec().name).collect();
    assert_eq!(names, ["arxiv_search", "pubmed_search"]);
    assert!(loaded.errors.is_empty() && loaded.not_offered.is_empty());
    for tool in &loaded.tools {
        assert!(is_safe(&**tool) && tool.nature().brings == Taint::UNTRUSTED);
        let long = json!({"query": "x".repeat(200)});
        assert!(tool.outward(&long).unwrap().allowed, "the operator's host, only read");
        assert!(tool.check(&json!({"query": "x", "count": 1000})).is_err());
        assert!(tool.check(&json!({"query": "x", "other": 1})).is_err());
        assert!(tool.check(&json!({})).is_err());
    }
}

#[tokio::test]
async fn arxiv_search_reads_the_atom_feed() {
    let feed = r#"<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>ArXiv Query</title>
        <entry><id>http://arxiv.org/abs/1706.03762v7</id><published>2017-06-12T17:57:34Z</published><title>Attention Is
        All You Need</title><summary> The dominant sequence
        models &amp; more </summary><author><name>Ashish Vaswani</name></author><author><name>Noam Shazeer</name></author>
        <category term="cs.CL" scheme="http://arxiv.org/schemas/atom"/><category term="cs.LG"/></entry></feed>"#;
    let server = WebServer::fixed(200, "application/atom+xml; charset=UTF-8", feed).await;
    let yaml = elsewhere(include_str!("../../src/http_tools/arxiv_search.yml"), "https://export.arxiv.org", &server);
    let tool = tool(&load_files(&[("arxiv_search.yml", &yaml)], &[], &server.egress()), "arxiv_search");
    let text = good(&*tool, json!({"query": "ti:\"attention\" AND au:vaswani", "count": 3})).await;
    for line in [
        "1. abstract: The dominant sequence models & more",
        "   address: http://arxiv.org/abs/1706.03762v7",
        "   authors: Ashish Vaswani, Noam Shazeer",
        "   categories: cs.CL, cs.LG",
        "   title: Attention Is All You Need",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let expected = "GET /api/query?max_results=3&search_query=ti%3A%22attention%22+AND+au%3Avaswani&sortBy=relevance&start=0";
    assert_eq!(server.asked()[0].line(), expected);
}

#[tokio::test]
async fn pubmed_search_takes_two_steps() {
    let serve = |ids: &'static str| {
        move |asked: &Asked| -> Answer {
            if asked.line().contains("esearch") {
                (200, "application/json", format!("{{\"esearchresult\": {{\"count\": \"2\", \"idlist\": {ids}}}}}").into_bytes())
            } else {
                (200, "text/plain; charset=UTF-8", b"1. Lancet. 2024\nHeart failure.\nBACKGROUND: \xe2\x80\xa6".to_vec())
            }
        }
    };
    let yaml =
        |server: &WebServer| elsewhere(include_str!("../../src/http_tools/pubmed_search.yml"), "https://eutils.ncbi.nlm.nih.gov", server);
    let server = WebServer::start(serve("[\"111\", \"222\"]")).await;
    let found = tool(&load_files(&[("pubmed_search.yml", &yaml(&server))], &[], &server.egress()), "pubmed_search");
    let text = good(&*found, json!({"query": "heart failure[Title]", "count": 2})).await;
    assert!(text.contains("Heart failure.\nBACKGROUND: …"), "{text}");
    let asked = server.asked();
    assert!(asked[0].line().contains("/entrez/eutils/esearch.fcgi?") && asked[0].line().contains("term=heart+failure%5BTitle%5D"));
    assert_eq!(asked[1].line(), "GET /entrez/eutils/efetch.fcgi?db=pubmed&id=111%2C222&retmode=text&rettype=abstract&tool=maos");
    let server = WebServer::start(serve("[]")).await;
    let found = tool(&load_files(&[("pubmed_search.yml", &yaml(&server))], &[], &server.egress()), "pubmed_search");
    assert!(good(&*found, json!({"query": "nothing"})).await.contains("Nothing was found."));
    assert_eq!(server.asked().len(), 1);
}

fn ticket(server: &WebServer) -> String {
    format!(
        "name: ticket\ndescription: Files a ticket.\nmethod: POST\nurl: {}\nquery: {{notify: \"{{notify}}\"}}\nheaders:\n  Authorization: {{secret: TICKETS, prefix: \"Bearer \"}}\n  \
         X-Api-Key: {{secret: TICKETS}}\n  Accept: application/json\nbody: {{title: \"{{title}}\", note: \"by MAOS: {{title}}\", tags: \"{{tags}}\", urgent: \"{{urgent}}\", source: 1}}\n\
         parameters:\n  type: object\n  properties:\n    project: {{type: string}}\n    title: {{type: string}}\n    tags: {{type: array, items: {{type: string}}}}\n    urgent: {{type: boolean, default: false}}\n    notify: {{type: string}}\n  \
         required: [project, title]\nextract: {{pointer: /ticket}}\napproval: outside_allowlist\nlimits: {{timeout: 5, bytes: 2000}}\n",
        server.url("/projects/{project}/tickets")
    )
}

#[test]
fn names_of_other_tools_are_refused_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["read_file", "mcp__github__search", "arxiv_search", "fine"] {
        let text = format!("# Mine.\nname: {name}\ndescription: X.\nurl: https://a.example/\nparameters: {{type: object}}\n");
        std::fs::write(dir.path().join(format!("{name}.yml")), text).unwrap();
    }
    let around = Surroundings { taken: ["read_file".to_owned()].into(), ..Surroundings::default() };
    let loaded = load(dir.path(), &BTreeMap::new(), &Egress::new(Policy::default()).unwrap(), &around);
    let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains("mcp__github__search.yml:2: `name: mcp__github__search` is the name of a tool"), "{errors:?}");
    assert!(errors[1].contains("read_file.yml:2: ") && errors[1].contains("such as my_read_file"), "{errors:?}");
    let names: Vec<String> = loaded.tools.iter().map(|t| t.spec().name).collect();
    assert_eq!(names, ["arxiv_search", "fine", "pubmed_search"]);
}

#[test]
fn both_requests_must_go_to_hosts_of_the_list() {
    let file = "name: two\ndescription: Two.\nmethod: POST\nurl: https://a.example/\nbody: {q: \"{q}\"}\nparameters:\n  type: object\n  properties: {q: {type: string}}\n  required: [q]\n\
                then:\n  take: {id: /id}\n  url: https://b.example/{id}\n  query: {q: \"{q}\"}\n";
    let outward = |allow: &[&str]| {
        let policy = Policy { allow_hosts: allow.iter().map(|h| h.parse().unwrap()).collect(), ..Policy::default() };
        let loaded = load_files(&[("two.yml", file)], &[], &Egress::new(policy).unwrap());
        tool(&loaded, "two").outward(&json!({"q": "x"})).map(|o| (o.to, o.allowed))
    };
    assert_eq!(outward(&["a.example", "b.example"]), Some(("a.example".to_owned(), true)));
    assert_eq!(outward(&["a.example"]), Some(("b.example".to_owned(), false)));
    assert_eq!(outward(&["b.example"]), Some(("a.example".to_owned(), false)));
}

#[tokio::test]
async fn a_tool_that_writes_sends_typed_values_its_key_and_a_secret() {
    let echo = |asked: &Asked| -> Answer {
        let echoed = json!({"ticket": {"id": 7, "you_sent": asked.head, "reversed": SECRET.chars().rev().collect::<String>()}});
        (201, "application/json", echoed.to_string().into_bytes())
    };
    let server = WebServer::start(echo).await;
    let loaded = load_files(&[("ticket.yml", &ticket(&server))], &[("TICKETS", SECRET)], &server.egress());
    let tool = tool(&loaded, "ticket");
    assert_eq!((tool.nature().repeat, tool.nature().approval), (Repeat::Never, Approval::OutsideAllowlist), "undeclared is never repeated");
    assert_eq!(tool.nature().brings, Taint::BOTH, "what needs a key may be the user's own");
    let args = json!({"project": "a/../b?x", "title": "{urgent} \"quoted\" ${HOME}", "tags": ["x", "y"]});
    assert_eq!(tool.outward(&args), Some(Outward { to: "127.0.0.1".to_owned(), allowed: false, address: None }));
    let text = good(&*tool, args).await;
    let asked = server.asked().remove(0);
    assert_eq!(asked.line(), "POST /projects/a%2F..%2Fb%3Fx/tickets");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let title = "{urgent} \"quoted\" ${HOME}";
    assert_eq!(body, json!({"title": title, "note": format!("by MAOS: {title}"), "tags": ["x", "y"], "urgent": false, "source": 1}));
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(asked.header("x-api-key"), Some(SECRET));
    assert_eq!(asked.header("idempotency-key"), Some(format!("{TASK}/s1/t2/tool/toolu_1").as_str()));
    assert!(text.contains("[secret]") && !text.contains("CANARY") && !text.contains("YRANAC"), "{text}");
}

#[tokio::test]
async fn failures_are_told_without_secrets() {
    for (status, kind, body, expected) in [
        (500, "text/plain", format!("broken: {SECRET}"), "Status: 500"),
        (302, "text/plain", String::new(), "Status: 302"),
        (200, "application/json", "{}".to_owned(), "nothing at `/ticket`"),
        (200, "text/html", "<p>hi".to_owned(), "not JSON"),
        (200, "image/png", "x".to_owned(), "not a text"),
        (200, "application/json", "x".repeat(3_000), "longer than 2000 bytes"),
    ] {
        let server = WebServer::fixed(status, kind, body).await;
        let tool = tool(&load_files(&[("ticket.yml", &ticket(&server))], &[("TICKETS", SECRET)], &server.egress()), "ticket");
        let text = bad(&*tool, json!({"project": "a", "title": "b"})).await;
        assert!(text.contains(expected) && !text.contains("CANARY"), "{text}");
        assert!(bad(&*tool, json!({"project": "..", "title": "b"})).await.contains("must not be empty"));
    }
}

#[tokio::test]
async fn a_tool_without_its_secret_is_not_offered() {
    let server = WebServer::fixed(200, "text/plain", "x").await;
    let loaded = load_files(&[("ticket.yml", &ticket(&server))], &[("OTHER", SECRET)], &server.egress());
    assert!(loaded.errors.is_empty() && loaded.tools.len() == 2);
    assert_eq!(
        (loaded.not_offered[0].name.as_str(), loaded.not_offered[0].why.as_str()),
        ("ticket", "it needs the secret TICKETS; add it to `tools.secrets` in the configuration")
    );
    let loaded = load_files(&[("ticket.yml", &ticket(&server))], &[("TICKETS", "CANARY\n")], &server.egress());
    assert!(loaded.not_offered[0].why.contains("characters") && !loaded.not_offered[0].why.contains("CANARY"));
}

#[test]
fn a_wrong_file_says_where_and_what() {
    let good = "name: t\ndescription: d\nurl: https://a.org/x/{id}\nquery: {q: \"{q}\"}\nparameters:\n  type: object\n  properties: {id: {type: string}, q: {type: string}}\n  required: [id]\n";
    let egress = Egress::new(Policy::default()).unwrap();
    assert!(load_files(&[("t.yml", good)], &[], &egress).errors.is_empty());
    for (from, to, line, expected) in [
        ("description: d", "descripton: d", 2, "descripton"),
        ("description: d", "description: ''", 2, "description"),
        ("description: d\n", "", 4, "missing field `description`"),
        ("name: t", "name: T", 1, "lower-case"),
        ("name: t", "name: other", 1, "must be the same"),
        ("url: https://a.org", "url: ftp://a.org", 3, "only http and https"),
        ("url: https://a.org", "url: https://{id}.org", 3, "scheme, host and port"),
        ("url: https://a.org", "url: http://127.0.0.1:8000", 3, "port 8000"),
        ("url: https://a.org", "url: http://10.0.0.1", 3, "not on the public internet"),
        ("url: https://a.org", "url: https://u:p@a.org", 3, "user name"),
        ("x/{id}", "x/{name}", 3, "there are: id, q"),
        ("x/{id}", "x/{id", 3, "`}`"),
        ("\"{q}\"", "\"${Q}\"", 4, "lower-case letters"),
        ("\"{q}\"", "[1]", 4, "query.q"),
        ("\"{q}\"", "x", 5, "`q` is not used"),
        ("required: [id]", "required: []", 5, "`id` stands in the path"),
        ("type: object\n", "type: array\n", 5, "must describe an object"),
        ("q: {type: string}}", "q: {type: text}}", 5, "not a valid JSON Schema"),
        ("q: {type: string}}", "q: {type: string, pattern: '('}}", 5, "not a valid JSON Schema"),
        ("q: {type: string}}", "q: {$ref: 'https://evil.test/schema'}}", 5, "not a valid JSON Schema"),
        ("name: t\n", "name: t\nname: t\n", 2, "name"),
        ("name: t\n", "name: t\nmethod: BREW\n", 2, "GET, POST, PUT, PATCH, DELETE"),
        ("name: t\n", "name: t\nbody: {a: 1}\n", 2, "a GET has no `body`"),
        ("name: t\n", "name: t\nheaders: {Host: x}\n", 2, "set by MAOS"),
        ("name: t\n", "name: t\nheaders: {X: '{q}'}\n", 2, "cannot have parameters"),
        ("name: t\n", "name: t\nheaders: {X: {secrt: A}}\n", 2, "{secret: NAME}"),
        ("name: t\n", "name: t\nextract: [1]\n", 2, "{pointer: /a/b}"),
        ("name: t\n", "name: t\nextract: {pointer: a}\n", 2, "JSON pointer"),
        ("name: t\n", "name: t\nrepeat: always\n", 2, "safe"),
        ("name: t\n", "name: t\napproval: maybe\n", 2, "outside_allowlist"),
        ("name: t\n", "name: t\ndata: mine\n", 2, "public"),
        ("name: t\n", "name: t\nlimits: {timeout: 0}\n", 2, "from 1 to 300"),
        ("name: t\n", "name: t\nlimits: {time: 1}\n", 2, "timeout"),
        ("name: t\n", "name: t\nthen: {take: {id: /a}, url: 'https://a.org/{id}'}\n", 6, "choose another"),
        ("name: t\n", "name: t\nthen: {take: {ids: /a}, url: 'https://a.org/'}\n", 6, "not used in `then`"),
        ("name: t\n", "name: [\n", 2, ""),
    ] {
        assert!(good.contains(from), "{from}");
        let loaded = load_files(&[("t.yml", &good.replacen(from, to, 1))], &[], &egress);
        let [error] = loaded.errors.as_slice() else { panic!("{to}: {:?}", loaded.errors) };
        assert!(error.message.contains(expected), "{to}: {error}");
        assert!(error.line.abs_diff(line) <= 1, "{to}: line {line} expected: {error}");
        assert!(error.to_string().contains("t.yml:"), "{error}");
        assert_eq!(loaded.tools.len(), 2, "the others are offered all the same");
    }
}

#[test]
fn secrets_travel_encrypted_only() {
    let text = "name: t\ndescription: d\nurl: http://a.org/\nheaders: {X: {secret: S}}\nparameters: {type: object}\n";
    let plain = load_files(&[("t.yml", text)], &[("S", SECRET)], &Egress::new(Policy::default()).unwrap());
    assert!(plain.errors[0].message.contains("https"));
    let private = Policy { allow_private: vec!["a.org:80".parse().unwrap()], ..Policy::default() };
    assert!(load_files(&[("t.yml", text)], &[("S", SECRET)], &Egress::new(private).unwrap()).errors.is_empty());
}

#[test]
fn folders_are_bounded_and_doubles_told() {
    let egress = Egress::new(Policy::default()).unwrap();
    let text = "name: t\ndescription: d\nurl: https://a.org/\nparameters: {type: object}\n";
    let twice = load_files(&[("t.yml", text), ("t.yaml", text), ("notes.txt", "x"), ("big.yml", &"# x\n".repeat(20_000))], &[], &egress);
    assert_eq!(twice.errors.len(), 2);
    assert!(
        twice.errors.iter().any(|e| e.message.contains("defined twice")) && twice.errors.iter().any(|e| e.message.contains("65536 bytes"))
    );
    assert_eq!(twice.tools.len(), 3);
}

#[test]
fn the_documented_example_is_sound() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http-tools.md")).unwrap();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).map(|part| part.split("```").next().unwrap()).collect();
    let egress = Egress::new(Policy::default()).unwrap();
    let mut names = vec![];
    for text in examples.iter().filter(|t| t.contains("\nparameters:")) {
        let name = text.lines().find_map(|l| l.strip_prefix("name: ")).unwrap().to_owned();
        let loaded = load_files(&[(&format!("{name}.yml"), text)], &[("PATENTSVIEW_KEY", SECRET), ("TICKETS_TOKEN", SECRET)], &egress);
        assert_eq!(tool(&loaded, &name).nature().brings, Taint::UNTRUSTED);
        names.push(name);
    }
    assert!(names.contains(&"patent_db_access".to_owned()), "{names:?}");
}
