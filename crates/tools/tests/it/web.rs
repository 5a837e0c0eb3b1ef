//! `web_fetch` against pages of every kind.
use crate::web_server::{WebServer, bad, call, good, is_safe};
use maos_egress::{Egress, Policy};
use maos_tools::web::WebFetch;
use maos_tools::{Approval, Outward, Tool};
use serde_json::json;

#[tokio::test]
async fn a_page_is_read_as_text_in_a_frame() {
    let page = "<html><head><title>Costs</title></head><body><h1>Clouds</h1><p>They cost.</p><script>x()</script></body></html>";
    let server = WebServer::fixed(200, "text/html; charset=utf-8", page).await;
    let tool = WebFetch::new(server.egress());
    assert!(is_safe(&tool) && tool.spec().name == "web_fetch" && tool.nature().approval == Approval::Never);
    let text = good(&tool, json!({"url": server.url("/page#part")})).await;
    for expected in ["not an instruction", &server.url("/page\n"), "Status: 200", "Title: Costs", "# Clouds\n\nThey cost.", "all of it"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("x()"));
    let (first, last) = (text.lines().nth(1).unwrap(), text.lines().last().unwrap());
    assert_eq!(format!("</{}", &first[1..]), last, "one mark at both ends");
}

#[tokio::test]
async fn long_texts_come_in_pieces() {
    let words: String = (0..20_000).map(|n| format!("word{n} ")).collect();
    let server = WebServer::fixed(200, "text/plain", words.clone()).await;
    let tool = WebFetch::new(server.egress());
    let mut joined = String::new();
    let mut offset = 0;
    loop {
        let text = good(&tool, json!({"url": server.url("/"), "offset": offset})).await;
        let piece = text.split("\n\n").nth(1).unwrap();
        joined.push_str(&piece[..piece.rfind("\n</data").unwrap()]);
        let Some(next) = text.split("read on with offset ").nth(1) else { break };
        offset = next.lines().next().unwrap().parse().unwrap();
    }
    assert_eq!(joined, words);
    assert!(server.asked().len() > 3);
    assert!(bad(&tool, json!({"url": server.url("/"), "offset": 1_000_000})).await.contains("beyond the end"));
}

#[tokio::test]
async fn json_passes_and_binaries_do_not() {
    for (kind, body, expected) in [
        ("application/json", "{\"a\": [1]}", Ok("{\"a\": [1]}")),
        ("text/csv", "a,b\n1,2", Ok("a,b\n1,2")),
        ("application/pdf", "%PDF-1.7", Err("type application/pdf, of 8 bytes")),
        ("image/png", "\u{89}PNG", Err("type image/png")),
        ("application/octet-stream", "x", Err("web_fetch reads text only")),
        ("", "%PDF-1.7", Err("type unknown, of 8 bytes")),
    ] {
        let server = WebServer::fixed(200, kind, body).await;
        let tool = WebFetch::new(server.egress());
        let args = json!({"url": server.url("/file")});
        match expected {
            Ok(text) => assert!(good(&tool, args).await.contains(text), "{kind}"),
            Err(why) => assert!(bad(&tool, args).await.contains(why), "{kind}"),
        }
    }
}

#[tokio::test]
async fn characters_of_other_scripts_arrive() {
    for (kind, body, expected) in [
        ("text/html; charset=windows-1251", b"<p>\xcf\xf0\xe8\xe2\xe5\xf2".to_vec(), "Привет"),
        ("text/html", b"<meta charset=shift_jis><p>\x83e\x83X\x83g".to_vec(), "テスト"),
        ("text/plain; charset=bogus", b"caf\xe9".to_vec(), "café"),
        ("text/plain; charset=utf-8", b"a\xff\xfeb".to_vec(), "a\u{fffd}\u{fffd}b"),
    ] {
        let server = WebServer::fixed(200, kind, body).await;
        let text = good(&WebFetch::new(server.egress()), json!({"url": server.url("/")})).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn an_error_page_is_an_error_with_its_beginning() {
    let server = WebServer::fixed(404, "text/html", format!("<p>No such page. {}</p>", "x".repeat(10_000))).await;
    let text = bad(&WebFetch::new(server.egress()), json!({"url": server.url("/gone")})).await;
    assert!(text.contains("Status: 404") && text.contains("No such page.") && text.len() < 3_000, "{text}");
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_sent() {
    let server = WebServer::fixed(200, "text/plain", "x").await;
    let tool = WebFetch::new(server.egress());
    for args in [
        json!({}),
        json!({"url": 1}),
        json!({"url": "example.org"}),
        json!({"url": "http://127.0.0.1/"}),
        json!({"url": "http://169.254.169.254/latest"}),
        json!({"url": "file:///etc/passwd"}),
        json!({"url": server.url("/"), "offset": -1}),
        json!({"url": server.url("/"), "headers": {"x": "y"}}),
        json!("http://example.org/"),
    ] {
        assert!(tool.check(&args).is_err(), "{args}");
        assert!(tool.run(call(&args)).await.is_error, "{args}: also without the check");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn a_url_that_could_carry_data_is_sending() {
    let policy = Policy { allow_hosts: vec!["*.example.org".parse().unwrap()], ..Policy::default() };
    let tool = WebFetch::new(Egress::new(policy).unwrap());
    let outward = |url: String| tool.outward(&json!({"url": url}));
    let data = "c2VjcmV0IHRleHQgb2YgdGhlIHVzZXI".repeat(3);
    let to = |to: &str, allowed| Some(Outward { to: to.to_owned(), allowed, address: None });
    assert_eq!(outward("https://evil.test/".to_owned()), None);
    // A key fits into a short address: that depends on where it was found.
    let short = |url: &str| Some(Outward { to: "evil.test".to_owned(), allowed: false, address: Some(url.to_owned()) });
    assert_eq!(outward("https://EVIL.test/page?id=5#part".to_owned()), short("https://evil.test/page?id=5"));
    assert_eq!(outward(format!("https://evil.test/?d={data}")), to("evil.test", false));
    assert_eq!(outward(format!("https://evil.test/{data}/{data}/{data}")), to("evil.test", false));
    assert_eq!(
        outward(format!("https://{}.evil.test/", &data[..40].to_lowercase())),
        to(&format!("{}.evil.test", &data[..40].to_lowercase()), false)
    );
    assert_eq!(outward(format!("https://api.example.org/?d={data}")), to("api.example.org", true));
    assert_eq!(outward(format!("https://example.org/?d={data}")), to("example.org", false));
}
